"""Names that people give to sections, from a benchmark's file to MLflow, the gate and the pages."""

import pytest
from refusals import refused

from xlrm.errors import DataError
from xlrm.evaluation import benchmarks, reward_results, reward_table
from xlrm.evaluation.statistics import with_missing
from xlrm.registry import gate
from xlrm.store.jsonl import write_jsonl
from xlrm.tracking import metric_keys, mlflow_client, mlflow_runs

NAMES = (
    "Chat Hard", "chat_hard", "Q&A", "Q:26:A", "Math (hard)", "It's fine", "100%", "안전", "a+b", "a/b", "a//b", "/", ".", "..",
    "x|y", "two\nlines", "long" * 90, "long" * 91,
)  # fmt: skip


def named(name: str) -> list[dict]:
    return [
        {
            "id": f"{name}{i}",
            "prompt": f"{name} {i}",
            "chosen": "yes",
            "rejected": "no",
            "subset": name,
            "section": name,
        }
        for i in range(2)
    ]


ROWS = [row for name in NAMES for row in named(name)]


def test_any_name_is_a_metric_of_its_own_in_mlflow() -> None:
    result = reward_results.result(ROWS, [([float(i)], [0.0]) for i in range(len(ROWS))], "lost")
    metrics = reward_results.metrics("en", {"en": result}, {"a+b": {"en": result}})
    with mlflow_runs.run("names", "evaluate", {}, {}) as run:
        run.log(metrics)
    kept = mlflow_client.client().get_run(run.id).data.metrics
    assert kept == {metric_keys.key(name): value for name, value in metrics.items()} and len(kept) == len(metrics)
    assert kept["accuracy/en/Q:26:A"] == metrics["accuracy/en/Q&A"] and kept["accuracy/en/안전"] == 1.0


def test_a_version_is_tagged_by_it() -> None:
    client, tags = mlflow_client.client(), {metric_keys.key(f"metric.{name}"): "1" for name in NAMES}
    client.create_registered_model("model", tags=tags)
    assert client.get_registered_model("model").tags == tags and len(tags) == len(NAMES)


def test_the_gate_compares_in_it(tmp_path) -> None:
    scored = {"a": [([1.0], [0.0])] * len(ROWS), "b": [([0.0], [1.0])] * len(ROWS)}
    for folder, one in scored.items():
        (tmp_path / folder).mkdir()
        reward_table.write(
            tmp_path / folder / reward_table.FILE, list(reward_table.records(reward_table.CORPUS, "en", ROWS, one))
        )
    paths = (tmp_path / "b" / reward_table.FILE, tmp_path / "a" / reward_table.FILE)
    found = gate.decide(*paths, "1", gate.Rule(resamples=200))
    assert found.promoted and {row.section for row in found.rows} == {"average", *NAMES}
    lines = found.markdown("m").splitlines()
    table = [line for line in lines if line.startswith("| corpus")]
    assert len(table) == len(found.rows) and all(line.replace("\\|", "").count("|") == 10 for line in table)


@pytest.mark.parametrize("name", ["average", "Average", "subset/x"])
def test_a_name_that_results_use_themselves_is_refused_when_the_benchmark_is_loaded(name: str, tmp_path) -> None:
    write_jsonl(tmp_path / "mine.jsonl", [row | {"section": section} for section in ("S", name) for row in named("p")])
    with refused(DataError, f"{tmp_path / 'mine.jsonl'}:3: section", name):
        benchmarks.load(str(tmp_path / "mine.jsonl"), "en", None, 0)


def test_subsets_that_are_gone_are_named(capsys) -> None:
    weights = benchmarks.BENCHMARKS["rewardbench"].weights
    rows = [
        row | {"subset": subset, "section": "S", "weight": weight}
        for subset, weight in weights.items()
        for row in named("p")
    ]
    assert benchmarks.missing({"en": rows}) == benchmarks.missing({"en": ROWS}) == benchmarks.missing({"en": []}) == {}
    left = [row for row in rows if not row["subset"].startswith("hep-r")]
    result = reward_results.result(ROWS, [([1.0], [0.0])] * len(ROWS), "lost")
    found = with_missing("evaluate: corpus", {"en": result, "ko": result}, {"en": rows, "ko": left})
    assert found["en"] is result and found["ko"] == result.model_copy(update={"missing": ("hep-rust",)})
    assert "corpus in ko has no item of hep-rust" in "".join(capsys.readouterr())
    assert benchmarks.missing({"ko": left}) == {"ko": ["hep-rust"]}, "of a benchmark with weights the whole is known"


def test_a_subset_of_any_benchmark_that_one_language_lost_is_named() -> None:
    lost = [row for row in ROWS if row["subset"] not in ("Q&A", "안전")]
    assert benchmarks.missing({"en": ROWS, "ko": lost}) == {"ko": ["Q&A", "안전"]}
