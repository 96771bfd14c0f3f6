"""The public names of `import xlrm`: which there are, what they take, and the notebook that shows them."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from refusals import refused
from test_architecture import HEAVY
from test_compare import PAIRS, evaluation, folders  # noqa: F401

import xlrm
from xlrm import api
from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.scorers.interface import Scoring
from xlrm.store.jsonl import write_jsonl
from xlrm.tracking import mlflow_registry, mlflow_runs

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
SIGNATURES = {
    "compare": ["first", "*others", "ties="],
    "evaluate": ["model", "table", "language=", "ties=", "items="],
    "load": [
        "model", "max_length=", "truncation_side=", "precision=", "engine=", "device=", "batch_tokens=", "processes=",
    ],
    "Model.score": ["self", "conversations"],
}  # fmt: skip


def shown(function) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    marks = {inspect.Parameter.VAR_POSITIONAL: "*{}", inspect.Parameter.KEYWORD_ONLY: "{}="}
    return [marks.get(parameter.kind, "{}").format(parameter.name) for parameter in parameters]


def test_the_public_names_and_what_they_take() -> None:
    """A change here breaks notebooks of users: it belongs in the changelog."""
    assert xlrm.__all__ == ["Model", "ModelComparison", "ModelEvaluation", "__version__", "compare", "evaluate", "load"]
    assert sorted([*api.__all__, "__version__"]) == sorted(xlrm.__all__) and set(xlrm.__all__) <= set(dir(xlrm))
    functions = {name: getattr(xlrm, name) for name in ("compare", "evaluate", "load")} | {
        "Model.score": xlrm.Model.score
    }
    assert {name: shown(function) for name, function in functions.items()} == SIGNATURES
    members = {name for name, _ in inspect.getmembers(xlrm.Model) if not name.startswith("_")}
    assert members == {"digest", "max_length", "name", "score", "version"}
    assert {"accuracy", "interval", "item_rows", "items", "name", "result", "results", "rows"} <= set(
        dir(xlrm.ModelEvaluation)
    ) | set(xlrm.ModelEvaluation.__dataclass_fields__)
    assert {"row", "rows"} <= set(dir(xlrm.ModelComparison)) and {"table", "shared"} <= set(
        xlrm.ModelComparison.__dataclass_fields__
    )
    with pytest.raises(AttributeError, match="nosuch"):
        xlrm.nosuch  # noqa: B018


def test_load_takes_every_setting_of_scoring() -> None:
    assert {name.rstrip("=") for name in SIGNATURES["load"][1:]} == set(Scoring.model_fields)


def test_type_checkers_see_the_same_names() -> None:
    stub = (ROOT / "xlrm" / "__init__.pyi").read_text()
    assert all(f"from xlrm.api import {name} as {name}\n" in stub for name in api.__all__)
    assert (ROOT / "xlrm" / "py.typed").is_file()


def test_the_names_are_there_without_anything_heavy() -> None:
    script = f"import sys, xlrm; xlrm.load, xlrm.compare; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.fixture(scope="module")
def model(folders):  # noqa: F811
    return xlrm.load(folders["a"], max_length=128)


def test_conversations_in_every_form_have_the_rewards_of_the_command(model, tmp_path) -> None:
    asked = ("How much is one plus two?", "Three.")
    messages = [{"role": "user", "content": asked[0]}, {"role": "assistant", "content": asked[1]}]
    row = dict(zip(("prompt", "response"), asked, strict=True))
    write_jsonl(tmp_path / "rows.jsonl", [row])
    expected = model.score([asked])
    assert len(expected) == 1 and isinstance(expected[0], float)
    for given in (
        [row], [{"messages": messages}], [messages], pandas.DataFrame([row]), pandas.DataFrame({"messages": [messages]}),
        tmp_path / "rows.jsonl", iter([row]),
    ):  # fmt: skip
        assert model.score(given) == expected
    assert model.score([]) == [] and model.max_length == 128


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ([("p", 3)], "conversations:1"), ([{"prompt": "p"}], "conversations:1"), (["text"], "conversations:1"),
        ([{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}], "conversations"),
        ({"prompt": "p", "response": "r"}, "conversations"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_conversations(given, place: str, model) -> None:
    with pytest.raises(DataError) as raised:
        model.score(given)
    assert raised.value.where.startswith(place) and "\n" not in str(raised.value)


def test_a_table_is_rows_a_data_frame_or_a_file(model, tmp_path) -> None:
    write_jsonl(tmp_path / "table.jsonl", PAIRS)
    results = [xlrm.evaluate(model, table) for table in (PAIRS, pandas.DataFrame(PAIRS), tmp_path / "table.jsonl")]
    assert results[0] == results[1] or results[0].accuracy == results[1].accuracy
    for result in results:
        assert result.accuracy == results[0].accuracy and result.interval == results[0].interval
        assert result.result.items == 12 and result.result.scoring.max_length == 128
    frame = pandas.DataFrame(results[0].rows())
    assert list(frame.part) == ["sums", "average", "subset/sums"] and set(frame.language) == {"en"}
    each = pandas.DataFrame(results[0].item_rows())
    assert len(each) == 12 and each.credit.mean() == pytest.approx(results[0].accuracy["average"])
    with_gaps = pandas.DataFrame([PAIRS[0], {**PAIRS[1], "subset": None, "id": float("nan")}])
    assert {row["subset"] for row in xlrm.evaluate(model, with_gaps).item_rows()} == {"sums", "all"}


def test_results_of_two_models_are_compared(model, folders, tmp_path) -> None:  # noqa: F811
    ours, theirs = (xlrm.evaluate(one, PAIRS, ties="half") for one in (model, folders["b"]))
    compared = xlrm.compare(ours, theirs)
    row = compared.row()
    assert row.difference == pytest.approx(theirs.accuracy["average"] - ours.accuracy["average"])
    assert compared.ties == "half" and list(pandas.DataFrame(compared.rows()).part) == ["sums", "average"]
    with refused(ConfigError, "", ("nosuch", None)):
        compared.row("nosuch")


@pytest.mark.parametrize(
    ("call", "error", "place", "value"),
    [
        (lambda model: xlrm.load("/no/such/model"), ArtifactError, "/no/such/model", None),
        (lambda model: xlrm.load("gpt-4o"), ConfigError, "", "gpt-4o"),
        (lambda model: xlrm.load("m", precision="half"), ConfigError, "xlrm.load: precision", "half"),
        (lambda model: xlrm.evaluate(model, PAIRS, ties="maybe"), ConfigError, "ties", "maybe"),
        (lambda model: xlrm.evaluate(model, PAIRS, items=0), ConfigError, "items", 0),
        (lambda model: xlrm.evaluate(model, []), DataError, "table", None),
        (lambda model: xlrm.evaluate(model, [{"prompt": "p", "chosen": "c"}]), DataError, "table:1: rejected", None),
        (lambda model: xlrm.evaluate(model, ["text"]), DataError, "table:1", "text"),
        (lambda model: xlrm.compare("nosuch", "other"), ConfigError, "", "nosuch"),
    ],
)
def test_what_cannot_work_is_one_line(call, error, place: str, value: object, model) -> None:
    with refused(error, place, value):
        call(model)


def test_the_notebook_runs(folders, tmp_path) -> None:  # noqa: F811
    """Its cells, in order, as printed, with small models registered under the demo's names."""
    for code, folder in (("en", folders["a"]), ("ko", folders["b"])):
        added = evaluation(tmp_path / code / "evaluation", code, 0.5).parent
        with mlflow_runs.run("demo", "register", {}, {}) as logged:
            number = mlflow_registry.add_version(f"xlrm-demo-{code}", [folder, added], {"language": code}, "", logged)
        mlflow_registry.set_alias(f"xlrm-demo-{code}", number, "champion")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert "xlrm.load(" in code and "xlrm.compare(" in code
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
