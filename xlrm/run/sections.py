"""Sections of an experiment: one for each stage with its settings, `policy`, which has the fields of `base`, and
`reference`, which has those of `sample`."""

import importlib
import pkgutil
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

import xlrm.stages
from xlrm.data.corpus_schema import Name
from xlrm.errors import ConfigError, wrong_before_missing
from xlrm.languages import MoreLanguages
from xlrm.store.fields import Sets, marked, sentences
from xlrm.store.json_values import not_finite

STAGES = tuple(sorted(module.name for module in pkgutil.iter_modules(xlrm.stages.__path__)))
POLICY = "policy"
"""Section of the model to align; without it, the base model is aligned."""
REFERENCE = "reference"
"""Section of the responses that a judge compares policies with; without it, those of the policy before alignment."""
SECTIONS = (*STAGES, POLICY, REFERENCE)
CROSS_LINGUAL, RETRAIN, REUSE = "cross-lingual-transfer", "retrain", "reuse-rewards"
SFT = "sft"
"""Name of the fine-tuned policy's responses, which verdicts of `reuse-rewards` compare with."""


def stage_module(name: str) -> ModuleType:
    if name not in STAGES:
        raise ConfigError("no such stage", where="stage", value=name, hint=f"there are {', '.join(STAGES)}")
    return importlib.import_module(f"xlrm.stages.{name}")


def stage_config(name: str, values: dict[str, Any], where: str = "") -> BaseModel:
    """Validates the config of a stage. Raises ConfigError, one line that names field, value and what is allowed."""
    try:
        config = config_class(name)(**values)
    except ValidationError as error:
        _raise(name, error, where)
        raise  # for the type alone: `_raise` leaves out no error here
    _check_finite(name, config.model_dump(), where)
    return config


def check_section(name: str, values: dict[str, Any], where: str) -> None:
    """Validates a section of an experiment. Fields may be missing, because the pipeline adds some, such as the
    language."""
    try:
        config_class(name)(**values)
    except ValidationError as error:
        _raise(name, error, where, ignore="missing")
    _check_finite(name, values, where)


def stage_of(section: str) -> str:
    return {POLICY: "base", REFERENCE: "sample"}.get(section, section)


def config_class(section: str) -> type[BaseModel]:
    return stage_module(stage_of(section)).Config


_RENAMED = {
    "curate.max_rejects": "max_reject_share", "external.dtype": "precision", "register.shared": "min_common_share",
    "represent.token_sets.share": "token_sets.min_share",
}  # fmt: skip
"""Former name of a field -> its name."""


def _raise(name: str, error: ValidationError, where: str, ignore: str = "") -> None:
    for first in wrong_before_missing(error.errors(include_url=False)):
        if first["type"] == ignore:
            continue
        field = ".".join([name, *(str(part) for part in first["loc"])])
        allowed = ", ".join(config_class(name).model_fields)
        hint = f"fields of {name}: {allowed}" if first["type"] == "extra_forbidden" else _example(name, first)
        if new := _RENAMED.get(field):
            hint = f"it is now {name}.{new}"
        raise ConfigError.invalid(first, f"{where}{name}.", hint) from error


def _example(name: str, details: Mapping[str, Any]) -> str:
    """What a missing field means, and a value; nothing for another error."""
    field = config_class(name).model_fields.get(str(details["loc"][0])) if details["loc"] else None
    if field is None or details["type"] != "missing":
        return ""
    label = details["loc"][0]
    shown = f"; for example {name}.{label}={field.examples[0]}" if field.examples else ""
    return sentences(config_class(name)).get(str(label), "").rstrip(".") + shown


def _check_finite(name: str, values: dict[str, Any], where: str) -> None:
    for field, value in not_finite(values):
        raise ConfigError("a finite number is required", where=f"{where}{name}.{field}", value=value)


OF_A_CORPUS: dict[str, tuple[Name, ...]] = {
    "preferences": ("preferences", "heldout"), "benchmark": ("benchmark",), "prompts": ("prompts",), "parallel": ("parallel",),
    "demonstrations": ("demonstrations",),
}  # fmt: skip
"""Field of `curate` -> tables that it makes."""


class Experiment(BaseModel, frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True):
    name: str
    """Name of the MLflow experiment."""
    source: str = "en"
    """Language that the models of other languages are compared with, and that data is translated from."""
    targets: tuple[str, ...] = ("es", "it", "ko", "zh")
    """Other languages, none for a reward model in one language alone. Each gets a reward model and an aligned policy of
    its own."""
    more_languages: MoreLanguages = Field({}, alias="languages")
    """Section `languages`: code -> name, script and more of a language that is not one of xlrm's own (docs/languages.md)."""
    corpora: dict[str, dict[str, Any]] = {}
    """Target language -> fields of `curate` for data that is in this language already; what it names no dataset for is
    translated from the source (docs/languages.md)."""
    pipeline: Literal["", "cross-lingual-transfer", "retrain", "reuse-rewards"] = ""
    """Pipeline that the experiment is made for, and the only one that takes it; empty: cross-lingual-transfer, or the one that
    a command names."""
    stages: dict[str, dict[str, Any]] = {}
    """Section -> settings that differ from its stage's defaults."""

    @property
    def of_pipeline(self) -> str:
        """Name of the pipeline that it runs in if no other is asked for."""
        return self.pipeline or CROSS_LINGUAL

    @property
    def languages(self) -> tuple[str, ...]:
        return (self.source, *self.targets)

    @property
    def prefix(self) -> str:
        """Beginning of the names that its reward models are registered under: its own name if no other is given."""
        return self.stages.get("register", {}).get("prefix", re.sub(r"[^\w-]+", "-", self.name))

    @property
    def named_languages(self) -> str:
        """Its languages for display, such as `en → es, ko`."""
        return " → ".join(filter(None, (self.source, ", ".join(self.targets))))

    @property
    def aligned(self) -> tuple[str, ...]:
        """Languages that policies are aligned in."""
        return self.languages if self.pipeline == REUSE else self.targets or (self.source,)

    @property
    def judged(self) -> bool:
        """Whether a judge compares responses."""
        return self.setting("judge", "judge") is not None

    @property
    def best_of(self) -> int:
        """Candidates of best-of-n."""
        return int(self.setting("best_of_n", "n"))  # Kubeflow only has floats

    @property
    def bilingual(self) -> tuple[str, ...]:
        """Languages of each bilingual reward model, joined by +."""
        return tuple(self.setting("reward", "bilingual"))

    @property
    def translate_train(self) -> bool:
        """Whether silver reward models are trained on translated pairs."""
        return bool(self.setting("reward", "translate_train"))

    @property
    def translated_demonstrations(self) -> tuple[str, ...]:
        """How policies on translated demonstrations come about: translated, round_trip, or both."""
        return tuple(self.setting("sft", "translated"))

    @property
    def represented(self) -> bool:
        """Whether representations are compared: of texts in at least two languages."""
        parallel = self.setting("represent", "parallel") or self.setting("curate", "parallel")
        return len(self.languages) > 1 and parallel is not None

    @property
    def translated(self) -> dict[str, tuple[Name, ...]]:
        """Target language -> tables that are translated into it, for languages with at least one."""
        has = [field for field in OF_A_CORPUS if self.setting("curate", field)]
        lacks = {
            code: tuple(
                name for field in has if not self.corpora.get(code, {}).get(field) for name in OF_A_CORPUS[field]
            )
            for code in self.targets
        }
        return {code: names for code, names in lacks.items() if names}

    @property
    def limits(self) -> dict[str, Any]:
        """Thresholds of the checks on translations that differ from the defaults."""
        translated = {"same_code": False} if self.setting("translate", "code") == "translate" else {}
        return translated | self.stages.get("validate", {}).get("limits", {})

    @property
    def judged_as_published(self) -> dict[str, Any]:
        """Fields of `curate` if the prompts for judging are used as published: the corpus has none, and is free of them."""
        entry, curated = self.setting("sample", "eval_prompts"), self.stages.get("curate", {})
        if not entry or not self.setting("curate", "prompts"):
            return {}
        free = "contaminated" in self.setting("curate", "clean")
        others = [name for name in curated.get("decontaminate", ()) if name != entry]
        return {"eval_prompts": 0} | ({"decontaminate": [*others, entry]} if free else {})

    def setting(self, section: str, field: str) -> Any:
        """The value in the section, else the default of its stage; None for a required field without a value."""
        known = config_class(section).model_fields[field]
        return self.stages.get(section, {}).get(field, None if known.is_required() else known.default)

    def as_file(self) -> dict[str, Any]:
        """The mapping that `build` takes."""
        more = {code: entry.model_dump(exclude_defaults=True) for code, entry in self.more_languages.items()}
        sections = {"languages": more, "corpora": self.corpora}
        return {
            "name": self.name, **({"pipeline": self.pipeline} if self.pipeline else {}), "source": self.source,
            "targets": list(self.targets),
            **{name: values for name, values in sections.items() if values}, **self.stages,
        }  # fmt: skip

    def corpus(self, language: str) -> dict[str, Any]:
        """Fields of `curate` for a language's own data: those of its entry in `corpora`, else of the section `curate`,
        which names datasets only for the source."""
        none = {field: () if field in _SEVERAL else None for field in marked(config_class("curate"), Sets)}
        return self.stages.get("curate", {}) | none | self.corpora[language] | {"language": language}

    @property
    def policy(self) -> dict[str, Any]:
        """Fields of the model to align: those of `base` without a section of its own. One that is tuned is the pretrained
        model of `base`."""
        base = self.stages.get("base", {})
        own = self.stages.get(POLICY)
        if own is None:
            return base
        return {"pretraining": base.get("pretraining", {})} | own if own.get("tuning") is not None else own

    def config(self, section: str, **given: Any) -> Any:
        """Config of a section as a pipeline fills it in. `given`: values to use instead, such as another language.
        Raises ConfigError."""
        values = self.policy if section == POLICY else self.stages.get(section) or {}
        target = self.aligned[0]
        first = self.source if section in ("curate", "reward", "evaluate", "sft") else target
        reused = {"runs": self.best_of + 1} if self.pipeline == REUSE and section == "sample" else {}
        pipeline = reused | {
            "language": first, "languages": self.languages, "targets": self.targets, "labeler": self.source,
            "labelers": tuple(dict.fromkeys((self.source, target))), "prefix": self.prefix,
        } | given  # fmt: skip
        own = self.more_languages.get(pipeline["language"])
        if section == "translate" and own and own.translator:
            pipeline["translator"] = own.translator
        if section == "curate":
            pipeline |= self.judged_as_published
        known = config_class(section).model_fields
        return stage_config(section, values | {name: value for name, value in pipeline.items() if name in known})


_SEVERAL = ("preferences", "decontaminate", "demonstrations")
"""Fields of `curate` that name several datasets."""
