"""docs/configuration.md and `xlrm stage NAME --help`, from the classes."""

import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from pipelines import configuration_page
from pipelines.placement import Placement
from xlrm.cli import app
from xlrm.run import reference
from xlrm.run.sections import STAGES, config_class
from xlrm.store.fields import CountedIf, NotCounted

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"


class Inner(BaseModel):
    share: float = Field(0.5, gt=0, le=1)
    """Share of all."""


class Base(BaseModel):
    language: str
    """Code of
    the language."""
    speed: Annotated[int, NotCounted] = 3
    """Rows at a time."""


class Config(Base):
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of weights."""
    batch: Annotated[int | None, CountedIf(lambda config: True)] = None
    """Rows."""
    languages: tuple[str, ...] = ("en", "es")
    """Codes."""
    inner: Inner = Inner()
    """More."""
    seed: int = 42


def test_fields_of_a_class_of_those_it_extends_and_of_sections_in_it() -> None:
    found = [(one.name, one.type, one.default, one.sentence, one.key) for one in reference.entries(Config)]
    assert found == [
        ("language", "text", "", "Code of the language.", ""),
        ("speed", "integer", "3", "Rows at a time.", "no"),
        ("precision", "float32 | bfloat16", "float32", "Precision of weights.", ""),
        ("batch", "integer or null", "null", "Rows.", "partly"),
        ("languages", "list of text", "[en, es]", "Codes.", ""),
        ("inner", "section", "{}", "More.", ""),
        ("inner.share", "number, > 0, <= 1", "0.5", "Share of all.", ""),
        ("seed", "integer", "42", "Seed of the random numbers.", ""),
    ]


def test_inputs_and_the_steps_that_make_them() -> None:
    found = {one.name: one for one in reference.inputs("align")}
    assert found.keys() == {"policy", "ranked"}
    assert found["policy"].makers == ("base", "base (policy)") and found["ranked"].makers == ("rank",)
    (models,) = (one for one in reference.inputs("register") if one.name == "reward_models")
    assert models.several and not models.optional and models.makers == ("reward",)
    assert {one.name for one in reference.inputs("report") if one.makers} == {
        "corpora", "evaluations", "representations", "verdicts", "policies", "registered", "external", "curated",
    }  # fmt: skip
    assert set(reference.given("align")) == {"language", "labeler"}


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == configuration_page.text(), "make docs"


def test_the_page_has_every_field() -> None:
    sections = dict(re.findall(r"^## (\S+)$(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S))
    for stage in STAGES:
        names = re.findall(r"^\| `([\w.]+)` \| [^|]+", sections[stage].split("| field |")[1], re.M)
        assert {one.split(".")[0] for one in names} == set(config_class(stage).model_fields), stage
    assert all(f"| `{name}` |" in sections["Placement"] for name in Placement.model_fields)


@pytest.mark.parametrize("stage", STAGES)
def test_help_of_a_stage_has_every_field_and_fits_a_terminal(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["stage", stage, "--help"])
    assert result.exit_code == 0 and all(len(line) <= 80 for line in result.output.splitlines())
    assert set(config_class(stage).model_fields) <= set(re.findall(r"^  (\w+): ", result.output, re.M))


def test_help_of_the_command_is_its_own() -> None:
    result = CliRunner().invoke(app, ["stage", "--help"])
    assert result.exit_code == 0 and "--inputs" in result.output
