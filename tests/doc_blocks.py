"""The fenced blocks of a page, and what is known of a command without running it.

A block runs as it is printed, after those before it, unless a comment above it says why not:

    <!-- not run: needs a cluster -->
"""

import ast
import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml

from pipelines import __main__ as pipelines_main
from pipelines import placement
from xlrm import cli
from xlrm.run import experiment
from xlrm.run.sections import SECTIONS, check_section, config_class
from xlrm.serving.service import Settings

ROOT = Path(__file__).parents[1]
REASONS = ("needs a cluster", "needs the network", "needs other software", "takes minutes")
"""Why a block is not run. Its commands are checked all the same: options, fields and files exist."""
LANGUAGES = {"sh", "python", "yaml", "json", "text", "groovy"}
TOP = ("name", "pipeline", "source", "targets", "languages", "corpora")
"""Keys of an experiment that are no sections of stages."""
_FENCED = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>[^\n]*) -->\n+)?^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
_TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@dataclass(frozen=True)
class Block:
    where: str
    """`page.md:line` of its fence."""
    language: str
    text: str
    reason: str | None
    """Why it is not run; None for one that is."""


def blocks(page: Path) -> list[Block]:
    text, found = page.read_text(encoding="utf-8"), []
    for match in _FENCED.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        code = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        found.append(Block(f"{page.relative_to(ROOT)}:{line}", match["language"], code, match["reason"]))
    return found


def check(block: Block) -> None:
    """Raises an error for a block that cannot be right, whatever it runs on."""
    if block.language == "json":
        _json(block.text)
    elif block.language == "yaml":
        _yaml(block)
    elif block.language == "python":
        _imports(ast.parse(block.text))
    elif block.language == "groovy":
        for command in re.findall(r"""\bsh (?:"([^"\n]+)"|'([^'\n]+)')""", block.text):
            check_shell("".join(command))
    elif block.language == "sh":
        check_shell(block.text)


def _json(text: str) -> None:
    try:
        json.loads(text)
    except json.JSONDecodeError:  # an object a line
        assert [json.loads(line) for line in text.splitlines()]


def _yaml(block: Block) -> None:
    for document in yaml.safe_load_all(block.text):
        if document.keys() <= {*TOP, *SECTIONS}:
            _experiment(document, block.where)
        elif document.keys() <= set(placement.Placement.model_fields):
            placement.Placement(**{"name": "mine"} | document)
        else:
            lines = [line for job in document.values() if isinstance(job, dict) for line in job.get("script", ())]
            assert lines or "apiVersion" in document, f"{block.where}: of an experiment, a placement or Kubernetes?"
            check_shell("\n".join(lines))


def _experiment(given: dict[str, Any], where: str) -> None:
    """A whole one, which has a name; else its sections, on top of the demo's, which have what is required."""
    if "name" in given:
        experiment.build(given, {}, where)
    demo = yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text(encoding="utf-8"))
    for stage in given.keys() - set(TOP):
        check_section(stage, demo.get(stage, {}) | given[stage], f"{where}: ")


def _imports(tree: ast.Module) -> None:
    """That what it imports of this project is there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("xlrm", "pipelines"):
            for alias in node.names:
                module = importlib.import_module(node.module)
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")


# Commands of a shell


def check_shell(text: str) -> None:
    for words in commands(text):
        try:
            _check(words)
        except Exception as error:
            raise AssertionError(f"{shlex.join(words)}: {error!r}") from error


def commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command, without redirections and what is set before it."""
    for statement in _statements(text):
        lexer = shlex.shlex(statement, posix=True, punctuation_chars=";<>|&")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";|&") and words:
                yield words
                words = []
            elif not set(word) <= set(";|&"):
                words.append(word)


def _statements(text: str) -> Iterator[str]:
    """Logical lines: with what a backslash or an open quotation mark continues, without here-documents."""
    joined = text.replace("\\\n", " ")
    joined = re.sub(r"<<'?(\w+)'?([^\n]*)\n.*?^\s*\1$", r"\2", joined, flags=re.MULTILINE | re.DOTALL)
    line = ""
    for part in joined.splitlines(keepends=True):
        line += part
        try:
            shlex.split(line, comments=True)
        except ValueError:  # no closing quotation
            continue
        yield line
        line = ""
    assert not line.strip(), f"an open quotation mark: {line}"


def _check(words: list[str]) -> None:
    words = _bare(words)
    if not words:
        return
    program, given = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "xlrm":
        _parsed(cli.app, given)
    elif program == "make":
        assert {word for word in given if "=" not in word} <= set(_TARGETS), "no such target"
    elif program in ("pip", "python", "python3") and "install" in given:
        _installs(given)
    elif program == "python" and given[:2] == ["-m", "pipelines"]:
        _parsed(pipelines_main.app, given[2:])
    for word in given:
        if re.match(r"(?:configs|k8s|docs|docker|tests|pipelines/placements)/", word):
            assert list(ROOT.glob(word)), f"{word}: no such file"


def _bare(words: list[str]) -> list[str]:
    """Without redirections, variables that are set, `for` and the like."""
    kept: list[str] = []
    skipped = False
    for word in words:
        bare = re.sub(r"^\w+=\$\(", "", word)
        if set(word) <= set("<>&") or word in ("2>", "1>"):
            skipped = True
        elif skipped:
            skipped = False
        elif kept or not (re.match(r"\w+=", bare) or bare in ("export", "until", "do", "done", "then", "for", "!")):
            kept.append(bare)
    return kept


def _parsed(app: typer.Typer, given: list[str]) -> None:
    """Parses a command line without running it, and looks at the settings among its arguments."""
    commands_of: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    name, rest = given[0], given[1:]
    assert name in commands_of, f"no command {name}"
    command = commands_of[name]
    if "--help" in rest:
        return
    values = command.make_context(name, [word.rstrip(")") for word in rest]).params
    settings = {key: experiment.parse_value(key, text) for key, text in _assignments(values)}
    if name == "stage":
        raw: dict[str, Any] = {}
        for key, value in settings.items():
            experiment.override(raw, key, value)
        assert raw.keys() <= config_class(values["name"]).model_fields.keys(), "no such field"
    elif name == "serve":
        assert settings.keys() <= Settings.model_fields.keys(), "no such setting"
    elif isinstance(values.get("config"), Path) and values["config"].parts[0] == "configs":
        experiment.load(ROOT / values["config"], tuple(values["overrides"] or ()))


def _assignments(values: dict[str, Any]) -> list[list[str]]:
    return [field.split("=", 1) for field in values.get("fields") or ()]


def _installs(given: list[str]) -> None:
    for word in given:
        if extras := re.search(r"\[([\w,-]+)\]", word):
            assert set(extras[1].split(",")) <= _EXTRAS.keys(), f"{word}: no such extra"
    if "-c" in given:
        assert (ROOT / given[given.index("-c") + 1]).is_file()
