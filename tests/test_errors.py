"""The fields of an error, and the one line that is shown of it."""

import copy
import pickle
from pathlib import Path

import phrasebook_settings as settings
import pytest
from pydantic import BaseModel, Field, ValidationError

from xlrm.errors import ConfigError, DataError, GateError, XlrmError
from xlrm.run.sections import stage_config


class Nested(BaseModel, extra="forbid"):
    share: float = Field(0.5, le=1)


class Config(BaseModel, extra="forbid"):
    size: int = 1
    names: str | tuple[str, ...] = ()
    nested: Nested = Nested()


def test_the_line_says_where_what_and_what_next() -> None:
    error = DataError("a number is allowed", where="margin", value="much", hint="see docs/data.md")
    assert str(error) == "margin='much': a number is allowed; see docs/data.md"
    assert (
        str(error.within("pairs.jsonl:41: ")) == "pairs.jsonl:41: margin='much': a number is allowed; see docs/data.md"
    )
    assert error.where == "pairs.jsonl:41: margin"


def test_a_field_that_is_absent_leaves_no_mark() -> None:
    assert str(XlrmError("no space left")) == "no space left"
    assert str(XlrmError("no rows", where=Path("/a/b.jsonl"))) == "/a/b.jsonl: no rows"
    assert str(XlrmError("above 0", value=0)) == "0: above 0"
    assert XlrmError("no rows").within("reward.").where == "reward"
    assert XlrmError("no rows", hint="a").within("", "b").hint == "a; b"


def test_a_long_value_is_cut_off_in_the_line_alone() -> None:
    error = DataError("a text is allowed", value=["x"] * 1000)
    assert len(str(error)) < 250 and error.value == ["x"] * 1000


def test_a_copy_and_another_process_have_the_same_fields() -> None:
    error = GateError("too bad", where="validate[ko]", value=3, hint="look")
    error.kept = "file:///store/refused"
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert vars(other) == vars(error) and str(other) == str(error) and type(other) is GateError
    assert str(error) == f"{error.reason}; see file:///store/refused"


@pytest.mark.parametrize(
    ("values", "where", "value"),
    [
        ({"size": 16.5}, "demo.yaml: reward.size", 16.5),
        ({"size": None}, "demo.yaml: reward.size", None),
        ({"nested": {"share": 2}}, "demo.yaml: reward.nested.share", 2),
        ({"sise": 2}, "demo.yaml: reward.sise", 2),
    ],
)
def test_a_value_that_pydantic_refuses_is_named_by_its_field(values: dict, where: str, value: object) -> None:
    with pytest.raises(ValidationError) as raised:
        Config(**values)
    error = ConfigError.invalid(raised.value.errors()[0], "demo.yaml: reward.")
    assert (error.where, error.value) == (where, value)
    assert str(error).startswith(f"{where}={value!r}: ") if value else str(error).endswith("not null")


@pytest.mark.parametrize(
    ("stage", "values", "field", "value"),
    [
        ("reward", {"quantize": True}, "quantize", True),
        ("reward", {"keep": "best", "heldout_scorings": 0}, "keep", "best"),
        ("reward", {"margin": True, "loss": "pointwise"}, "margin", True),
        ("curate", {"prompts": None, "eval_prompt_set": "asks.jsonl"}, "eval_prompt_set", "asks.jsonl"),
        ("translate", {"shard": "5/4"}, "shard", "5/4"),
        ("sft", {"validations": 0}, "keep", "best"),
        ("curate", {"prompts": "demonstrations"}, "prompts", "demonstrations"),
        (
            "curate",
            {"prompts": "demonstrations", "demonstrations": ["phrasebook"], "eval_prompt_set": "asks.jsonl"},
            "eval_prompt_set",
            "asks.jsonl",
        ),
        ("judge", {"labelers": ["en"], "judge": "gpt-4o", "logprobs": False}, "logprobs", False),
        ("rl", {"observe_steps": 0}, "observe_steps", 0),
        ("reward", {"bilingual": ["de"]}, "bilingual", ["de"]),
        ("best_of_n", {"labelers": ["en"], "n": 0}, "n", 0),
    ],
)
def test_a_value_that_does_not_fit_the_others_is_named_by_its_field(
    stage: str, values: dict, field: str, value
) -> None:
    with pytest.raises(ConfigError) as raised:
        stage_config(stage, {"language": "en"} | (settings.SECTIONS.get(stage, {})) | values)
    assert (raised.value.where, raised.value.value) == (f"{stage}.{field}", value)


def test_a_missing_field_has_no_value() -> None:
    with pytest.raises(ConfigError) as raised:
        stage_config("reward", {})
    assert (raised.value.where, raised.value.value) == ("reward.language", None)


@pytest.mark.parametrize(("names", "where"), [(3, "names"), ([3], "names"), (["a", 3], "names")])
def test_a_field_of_several_types_is_named_without_them(names, where: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Config(names=names)
    error = ConfigError.invalid(raised.value.errors()[0])
    assert (error.where, error.value) == (where, names)
