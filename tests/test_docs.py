"""The pages name modules and files that exist, and link to files and headings that are there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from xlrm.run import experiment
from xlrm.run.sections import SECTIONS

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
ROOMS = {path.parent.name for path in (ROOT / "xlrm").glob("*/__init__.py")}
TAGS = {"data.source_uri", "data.source_digest"}
"""Parts of a registered version that only look like modules."""
_ENDINGS = r"(?:json|jsonl|md|yaml|html|csv|parquet|css|txt|log)"
_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def prose(text: str) -> str:
    """Without fenced code."""
    return re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)


def unknown(text: str) -> list[str]:
    """What a page names in backticks as a file or module of the project, and is none."""
    return [
        name for name in re.findall(r"`([^`\n]+)`", prose(text)) if not all(_exists(place) for place in _places(name))
    ]


def _places(name: str) -> Iterator[str]:
    """Path below the root that a name stands for; nothing for what is no file or module."""
    path = re.sub(r"<[^>]+>", "*", name)
    if re.fullmatch(r"(?:xlrm|components|pipelines|benchmarks|configs|tests|k8s|docs|docker)/[\w./*-]*", path):
        yield path
    dotted = re.match(r"(?:xlrm\.)?([a-z_]\w*(?:\.\w+)+)", name)
    is_ours = dotted and dotted[1].split(".")[0] in ROOMS and name not in TAGS
    if is_ours and not re.search(rf"\.{_ENDINGS}$", name):
        yield _module("xlrm", dotted[1].split("."))


def _module(above: str, parts: list[str]) -> str:
    """Path of the module that a dotted name begins with: what follows a module's name is in it."""
    here = f"{above}/{parts[0]}"
    return _module(here, parts[1:]) if len(parts) > 1 and (ROOT / here).is_dir() else here


def _exists(place: str) -> bool:
    return bool(list(ROOT.glob(place.rstrip("/")))) or (ROOT / f"{place}.py").is_file()


def headings(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@_PAGE
def test_files_and_modules_that_a_page_names_exist(page: Path) -> None:
    assert unknown(page.read_text(encoding="utf-8")) == []


@_PAGE
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in headings(there.read_text(encoding="utf-8")), f"{page.name}: {target}#{anchor}"


def test_pages_that_files_name_exist() -> None:
    folders = ("xlrm", "components", "pipelines", "benchmarks", "configs", "k8s", "tests")
    files = [path for top in folders for path in sorted((ROOT / top).rglob("*")) if path.suffix in (".py", ".yaml")]
    for path in {*files, *PAGES} - {Path(__file__)}:
        named = re.findall(r"(?<![\w/`])docs/[\w/-]+\.md\b", path.read_text(encoding="utf-8"))
        assert all((ROOT / name).is_file() for name in named), f"{path.relative_to(ROOT)}: {named}"


@pytest.mark.parametrize(
    "name",
    [
        "xlrm/packing",
        "xlrm/scoring.py",
        "store.memory",
        "xlrm.training.training",
        "models.engines.Vllm",
        "docs/none.md",
    ],
)
def test_a_name_of_nothing_is_found(name: str) -> None:
    assert unknown(f"See `{name}`.") == [name]


@pytest.mark.parametrize(
    "name",
    [
        "xlrm/stages/<stage>.py", "xlrm.run.runner.run_stage(stage, config)", "models.packing", "models.packing.model",
        "store.fields.NotCounted", "run.json", "evaluate.benchmarks", "data.source_uri", "models:/NAME@champion",
    ],
)  # fmt: skip
def test_what_exists_or_is_no_module_is_not(name: str) -> None:
    assert unknown(f"See `{name}`.") == []


def test_experiments_on_the_pages_load() -> None:
    """A part of one is loaded with the little that it leaves out."""
    loaded = 0
    for page in PAGES:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            raw = yaml.safe_load(block)
            if not raw.keys() <= {"name", "pipeline", "source", "targets", "languages", "corpora", *SECTIONS}:
                continue
            rest = {
                "base": {"model": "OWNER/NAME"}, "translate": {"translator": "OWNER/NAME"},
                "curate": {"preferences": ["phrasebook"], "benchmark": "phrasebook"},
            }  # fmt: skip
            whole = {name: rest.get(name, {}) | raw[name] if name in SECTIONS else raw[name] for name in raw}
            experiment.build({"name": "x"} | rest | whole, {}, str(page))
            loaded += 1
    assert loaded >= 8
