"""Descriptions of an experiment's fields and its stages' inputs, read from the classes: for docs/configuration.md and
`xlrm stage NAME --help`."""

import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from rich.console import Group
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from xlrm.run.sections import POLICY, REFERENCE, STAGES, Experiment, config_class, stage_module
from xlrm.run.steps import PIPELINES, Step
from xlrm.store.fields import CountedIf, NotCounted, sentences

_EXPERIMENTS = [
    Experiment(
        name="reference",
        targets=("es", "ko"),
        corpora={"ko": {"preferences": ["x"]}},
        stages={"curate": {"prompts": "x", "parallel": "x"}, "judge": {"judge": "x"}, "rl": {}} | more,
    )
    for more in ({}, {POLICY: {"model": "x"}, REFERENCE: {"given": "x"}})
]
"""Experiments whose pipelines have every step, a language's own corpus too, with and without a separate model to align
and responses to compare with."""
_BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "entries >=", "pattern": "as"}
_KEY = {
    "": "",
    "no": "not counted for the artifact's key",
    "partly": "counted for the artifact's key where it can matter",
}


@dataclass(frozen=True)
class FieldEntry:
    name: str
    type: str
    """Type and limits, such as `integer, >= 1`."""
    default: str
    """Default as YAML; empty for a required field."""
    sentence: str
    key: str
    """Whether it counts for the artifact's key: empty if it does, `no` if not, `partly` if only where it can change the
    result."""


@dataclass(frozen=True)
class InputEntry:
    name: str
    several: bool
    optional: bool
    makers: tuple[str, ...]
    """Stages whose steps make it in either pipeline; `base (policy)` is the step of the section `policy`."""


def entries(config: type[BaseModel], prefix: str = "") -> Iterator[FieldEntry]:
    """The fields of a config. A field that is a config is followed by its own fields, such as `limits.copied_words`."""
    below = sentences(config)
    for name, field in config.model_fields.items():
        kind = field.annotation
        nested = kind if inspect.isclass(kind) and issubclass(kind, BaseModel) else None
        default = "" if field.is_required() else _value(field.get_default(call_default_factory=True))
        yield FieldEntry(
            name=prefix + (field.alias or name),
            type="section" if nested else ", ".join([_type(field.annotation), *_bounds(field.metadata)]),
            default="{}" if nested else default,
            sentence=below.get(name) or ("Seed of the random numbers." if name == "seed" else ""),
            key=_key(field.metadata),
        )
        if nested:
            yield from entries(nested, f"{prefix}{name}.")


def inputs(stage: str) -> Iterator[InputEntry]:
    """Inputs of the stage's `run`, without config, lineage and output, which the runner provides."""
    made: dict[str, dict[str, None]] = {}
    for steps in _pipelines():
        by_label = {step.label: f"{step.stage} ({step.section})" if step.section else step.stage for step in steps}
        for step in (step for step in steps if step.stage == stage):
            for name, labels in step.inputs.items():
                for label in (labels,) if isinstance(labels, str) else labels:
                    made.setdefault(name, {})[by_label[label]] = None
    for name, parameter in inspect.signature(stage_module(stage).run).parameters.items():
        if name not in ("config", "lineage", "output"):
            several, optional = "list[" in str(parameter.annotation), parameter.default is None
            yield InputEntry(name, several, optional, tuple(made.get(name, ())))


def given(stage: str) -> tuple[str, ...]:
    """Fields that the pipelines fill in, over all steps of the stage; those of the section `corpora` are the user's."""
    steps = [step for steps in _pipelines() for step in steps if step.stage == stage]
    if stage == "curate":
        steps = [step for step in steps if not step.of]
    return tuple(dict.fromkeys(field for step in steps for field in step.config))


def _pipelines() -> list[list[Step]]:
    return [pipeline(experiment) for pipeline in PIPELINES.values() for experiment in _EXPERIMENTS]


def _type(annotation: Any) -> str:
    kind, parts = get_origin(annotation), get_args(annotation)
    names = {str: "text", int: "integer", float: "number", bool: "true or false", types.NoneType: "null", Any: "any"}
    if annotation in names:
        return names[annotation]
    if kind is Literal:
        return " | ".join(map(str, parts))
    if kind in (Union, types.UnionType):
        return " or ".join(map(_type, parts))
    if kind is dict:
        return f"mapping of {_type(parts[0])} to {_type(parts[1])}"
    if kind in (list, tuple):
        kinds = [part for part in parts if part is not Ellipsis]
        return (
            f"list of {_type(kinds[0])}"
            if len(kinds) == 1 or Ellipsis in parts
            else f"[{', '.join(map(_type, kinds))}]"
        )
    if hasattr(annotation, "__metadata__"):
        return _type(parts[0])
    return "section" if issubclass(annotation, BaseModel) else annotation.__name__


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for constraint in metadata:
        for name, sign in _BOUNDS.items():
            if (bound := getattr(constraint, name, None)) is not None:
                yield f"{sign} {bound}"


def _key(metadata: list[Any]) -> str:
    if NotCounted in metadata:
        return "no"
    return "partly" if any(isinstance(mark, CountedIf) for mark in metadata) else ""


def _value(value: Any) -> str:
    """The value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if value != "" else '""'


# For a terminal


def help_of(stage: str) -> Group:
    """Help of a stage: what it does, its inputs and its fields, readable from 60 columns on."""
    parts: list[Any] = [Text(_first_paragraph(stage)), Text()]
    parts += [Text("Inputs", style="bold"), *(Padding(Text(_input(entry)), (0, 0, 0, 2)) for entry in inputs(stage))]
    parts += [Text(), Text("Fields", style="bold")]
    for entry in entries(config_class(stage)):
        default = f" = {entry.default}" if entry.default else ", must be given"
        head = Text.from_markup(f"  [bold]{escape(entry.name)}[/]: {escape(entry.type)}{escape(default)}")
        notes = " ".join(filter(None, [entry.sentence, f"({_KEY[entry.key]})" if entry.key else ""]))
        parts += [head, Padding(Text(notes), (0, 0, 0, 6))]
    return Group(*parts)


def _input(entry: InputEntry) -> str:
    how = f"--inputs {entry.name}=URI,URI,..." if entry.several else f"--input {entry.name}=URI"
    return f"{how}{' (optional)' if entry.optional else ''}: {_makers(entry)}"


def _makers(entry: InputEntry) -> str:
    return "made by " + ", ".join(entry.makers) if entry.makers else "made by no step of a pipeline"


def _first_paragraph(stage: str) -> str:
    return " ".join((stage_module(stage).__doc__ or "").split("\n\n")[0].split())


# For docs/configuration.md


def markdown() -> str:
    """Tables of the experiment's fields and of all sections."""
    top = [entry for entry in entries(Experiment) if entry.name != "stages"]
    parts = ["## The experiment's own fields", *_table(top, with_key=False)]
    for stage in STAGES:
        parts += [
            "",
            f"## {stage}",
            "",
            _first_paragraph(stage),
            *_inputs_table(stage),
            *_table(entries(config_class(stage))),
        ]
        if filled := given(stage):
            parts += ["", f"A pipeline fills in {_listed(filled)}."]
    parts += [
        "",
        f"## {POLICY}",
        "",
        "The model to align: the fields of [base](#base). Without this section it is the base model.",
        "",
        f"## {REFERENCE}",
        "",
        "The responses that a judge compares policies with: the fields of [sample](#sample), of which `served` or `given` is "
        "required. Without this section they are those of the policy before alignment.",
    ]
    return "\n".join(parts) + "\n"


def section(title: str, config: type[BaseModel]) -> str:
    """Table of settings that belong to no stage."""
    return "\n".join([f"## {title}", *_table(entries(config), with_key=False)]) + "\n"


def _listed(names: tuple[str, ...]) -> str:
    *most, last = [f"`{name}`" for name in names]
    return f"{', '.join(most)} and {last}" if most else last


def _inputs_table(stage: str) -> list[str]:
    rows = []
    for entry in inputs(stage):
        number = f"{'several' if entry.several else 'one'}{', optional' if entry.optional else ''}"
        rows.append(f"| `{entry.name}` | {number} | {', '.join(entry.makers)} |")
    return ["", "| input | artifacts | made by |", "|---|---|---|", *rows] if rows else []


def _table(entries: Any, with_key: bool = True) -> list[str]:
    head = ["| field | type | default | |", "|---|---|---|---|"]
    rows = []
    for entry in entries:
        note = f" *({_KEY[entry.key]})*" if entry.key and with_key else ""
        default = f"`{entry.default}`" if entry.default else "must be given"
        cells = (f"`{entry.name}`", entry.type, default, f"{entry.sentence}{note}")
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return ["", *head, *rows]
