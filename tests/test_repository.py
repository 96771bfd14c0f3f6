"""What the repository tells those who use, cite and change it: versions that agree, forms that GitHub reads, pinned hooks."""

import re
from pathlib import Path

import pytest
import yaml

from xlrm import __version__

ROOT = Path(__file__).parents[1]
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
KINDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
"""The parts of a form, as GitHub knows them."""


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["title"] and citation["message"] and citation["authors"]
    assert citation["version"] == __version__


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_shows(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form["name"] and form["description"] and {part["type"] for part in form["body"]} <= KINDS
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len({part["attributes"]["label"] for part in asked}) == len(asked)
    assert any(part.get("validations", {}).get("required") for part in asked), "an empty form can be sent"


def test_hooks_are_pinned_by_commit_with_their_version() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    foreign = [repo for repo in yaml.safe_load(text)["repos"] if repo["repo"] != "local"]
    assert foreign and len(re.findall(r"rev: [0-9a-f]{40}  # frozen: v\d+\.\d+\.\d+\n", text)) == len(foreign)


def test_design_notes_have_numbers_of_their_own() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "adr").iterdir())
    assert all(re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name) for name in names), names
    assert len({name[:4] for name in names}) == len(names), names
    for name in names:
        text = (ROOT / "docs" / "adr" / name).read_text(encoding="utf-8")
        assert text.startswith("# ") and "**Decision.**" in text and len(text.splitlines()) <= 50, name


def test_files_that_the_release_page_names_exist() -> None:
    text = (ROOT / "RELEASE.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:\.github|\.ci|xlrm|configs|k8s|tests|docs)/[\w./*-]*|[\w]+\.(?:cff|md))`", text)
    assert named and all(list(ROOT.glob(name)) for name in named), named
