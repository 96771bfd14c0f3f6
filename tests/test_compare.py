"""Comparisons of models on shared items: the statistics against other implementations, what is compared with what, and the
command and its documents."""

import csv
import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from refusals import refused
from typer.testing import CliRunner

from xlrm.analysis import paired_models
from xlrm.cli import app
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation import reward_results, reward_table
from xlrm.evaluation.evaluated import ModelEvaluation, read_file, read_folder
from xlrm.evaluation.results import EvaluationResults
from xlrm.evaluation.statistics import mcnemar, paired
from xlrm.models import loading
from xlrm.reporting import bases, comparison, documents
from xlrm.run import evaluations
from xlrm.store import addresses, artifacts, objects
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.tracking import mlflow_registry, mlflow_runs


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def items(rewards: list[tuple[float, float]], section: str = "S", first: int = 0, text: str = "t") -> list[dict]:
    return [
        {"id": f"{section}{i}", "text": text, "subset": section, "section": section, "chosen": [a], "rejected": [b]}
        for i, (a, b) in enumerate(rewards, first)
    ]


def model(
    name: str, rows: list[dict], ties: str | None = "lost", language: str = "en", **about: str
) -> ModelEvaluation:
    return ModelEvaluation(name, {("mine", language): rows}, ties, **about)


RIGHT, WRONG, EQUAL = (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)


# Statistics


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (5, 1), (12, 12), (30, 8), (1200, 1100)])
def test_mcnemars_test_is_the_binomial_test_of_scipy(better: int, worse: int) -> None:
    rows = items([RIGHT] * (better + worse + 7))
    difference = np.array([1.0] * better + [-1.0] * worse + [0.0] * 7)
    result = mcnemar(rows, difference)["average"]
    expected = scipy.stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert (result.better, result.worse) == (better, worse) and result.p == pytest.approx(expected, rel=1e-9)


def test_a_table_worked_out_by_hand() -> None:
    """Six items: A is right on 0 and 1, B on 1 to 5: four better, one worse; p of McNemar = 2 (1 + 5) / 32."""
    before = model("A", items([RIGHT, RIGHT, WRONG, WRONG, WRONG, WRONG]))
    after = model("B", items([WRONG, RIGHT, RIGHT, RIGHT, RIGHT, RIGHT]))
    compared = paired_models.compare([(before, after)])
    row = compared.row("S", "en")
    assert (row.first_accuracy, row.second_accuracy) == pytest.approx((2 / 6, 5 / 6))
    assert (row.items, row.better, row.worse, row.difference) == (6, 4, 1, pytest.approx(0.5))
    assert row.mcnemar_p_alone == pytest.approx(2 * (1 + 5) / 32) == pytest.approx(0.375)
    # The permutation test of five items that differ is the share of the 32 choices of signs with a sum of 3 or more.
    sums = [abs(sum(signs)) for signs in itertools.product((-1, 1), repeat=5)]
    assert row.p_alone == pytest.approx(sum(total >= 3 for total in sums) / 32, abs=0.02)
    # One section, so that its two rows have the same p-values: Holm doubles the smaller, and keeps the order.
    assert row.p == compared.row("average").p == pytest.approx(min(1, 2 * row.p_alone))
    assert row.mcnemar_p == pytest.approx(0.75)


def test_the_interval_is_that_of_scipys_paired_bootstrap() -> None:
    rng = np.random.default_rng(3)
    before, after = rng.random(300) < 0.6, rng.random(300) < 0.7
    difference = after.astype(float) - before
    ours = paired(items([RIGHT] * 300), difference)["S"]
    theirs = scipy.stats.bootstrap(
        (after.astype(float), before.astype(float)), lambda a, b, axis=-1: a.mean(axis) - b.mean(axis), paired=True,
        method="percentile", n_resamples=4000, rng=1,
    ).confidence_interval  # fmt: skip
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_p_values_are_adjusted_for_all_rows_of_the_table() -> None:
    rng = np.random.default_rng(0)
    tables = {
        code: [RIGHT if right else WRONG for right in rng.random(60) < share]
        for code, share in (("en", 0.9), ("ko", 0.6))
    }
    before = ModelEvaluation("A", {("mine", code): items([WRONG, RIGHT] * 30) for code in tables}, "lost")
    after = ModelEvaluation("B", {("mine", code): items(rows) for code, rows in tables.items()}, "lost")
    table = paired_models.compare([(before, after)]).table
    assert len(table) == 4
    for alone, adjusted in (("p_alone", "p"), ("mcnemar_p_alone", "mcnemar_p")):
        values = sorted((getattr(row, alone), getattr(row, adjusted)) for row in table)
        highest = 0.0
        for rank, (own, given) in enumerate(values):
            highest = max(highest, min(1.0, (4 - rank) * own))
            assert given == pytest.approx(highest)


# What is compared


def test_items_that_differ_are_left_out_and_counted() -> None:
    before = model("A", items([RIGHT] * 4) + items([RIGHT], first=4, text="older"))
    after = model("B", items([WRONG] * 3 + [RIGHT], first=1) + items([RIGHT], "T"))
    compared = paired_models.compare([(before, after)])
    (shared,) = compared.shared
    assert (shared.items, shared.other_texts, shared.only_first, shared.only_second) == (3, 1, 1, 1)
    assert {row.part: row.items for row in compared.table} == {"S": 3, "average": 3}
    note = comparison.document(compared).grids[0].note
    assert "3 items in both" in note and "1 with other texts" in note


def test_models_without_an_item_in_common_are_refused() -> None:
    before, after = model("A", items([RIGHT] * 4)), model("B", items([RIGHT] * 4, text="other"))
    with refused(DataError, "B") as raised:
        paired_models.compare([(before, after)])
    assert "4 with other texts" in raised.value.message
    with refused(DataError, "B"):
        paired_models.compare([(before, model("B", items([RIGHT]), language="ko"))])


def test_equal_rewards_count_by_one_rule() -> None:
    before, after = items([EQUAL, RIGHT]), items([RIGHT, RIGHT])
    lost = paired_models.compare([(model("A", before), model("B", after))]).row()
    half = paired_models.compare([(model("A", before, "half"), model("B", after, None))]).row()
    assert (lost.first_accuracy, half.first_accuracy) == (0.5, 0.75)
    with refused(ConfigError, "--ties", "half and lost"):
        paired_models.compare([(model("A", before, "half"), model("B", after))])
    chosen = paired_models.compare([(model("A", before, "half"), model("B", after))], "half").row()
    assert chosen.first_accuracy == 0.75


def test_runs_are_compared_model_by_model_and_one_model_with_all() -> None:
    first = [model(f"1 {code}", items([RIGHT]), trained_in=code) for code in ("en", "ko")]
    second = [model(f"2 {code}", items([RIGHT]), trained_in=code) for code in ("ko", "en", "zh")]
    named = [(before.name, after.name) for before, after in evaluations.paired([first, second])]
    assert named == [("1 ko", "2 ko"), ("1 en", "2 en")]
    alone = evaluations.paired([first[:1], second, first[1:]])
    assert [after.name for _, after in alone] == ["2 ko", "2 en", "2 zh", "1 ko"]
    of_one_folder = evaluations.paired([second])
    assert [(before.name, after.name) for before, after in of_one_folder] == [("2 ko", "2 en"), ("2 ko", "2 zh")]
    with refused(ConfigError, "xlrm compare", ["1 en", "1 ko", "2 zh", "2 zh"]):
        evaluations.paired([first, [second[2], second[2]]])


# Files of rewards

PAIRS = [
    {
        "id": f"p{i}",
        "prompt": f"How much is {i} plus one?",
        "chosen": f"{i + 1}.",
        "rejected": "Snow.",
        "subset": "sums",
    }
    for i in range(12)
]


def responses(pairs: list[dict]) -> list[dict]:
    return [
        {"id": pair["id"], "side": side, "prompt": pair["prompt"], "response": pair[side], "subset": pair["subset"]}
        for pair in pairs
        for side in ("chosen", "rejected")
    ]


@pytest.fixture(scope="module")
def folders(tiny_base, tmp_path_factory):
    """Two reward models with different heads."""
    made = {}
    for name, seed in (("a", 3), ("b", 4)):
        folder = tmp_path_factory.mktemp("models") / name
        tokenizer = loading.load_tokenizer(tiny_base)
        loading.new_reward_model(tiny_base, tokenizer, seed=seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        made[name] = folder
    return made


def test_files_that_score_wrote_are_compared_as_evaluations_are(folders, tmp_path) -> None:
    write_jsonl(tmp_path / "responses.jsonl", responses(PAIRS))
    write_jsonl(tmp_path / "pairs.jsonl", PAIRS)
    for name, folder in folders.items():
        output = tmp_path / f"{name}.jsonl"
        scored = run("score", "--model", folder, "--input", tmp_path / "responses.jsonl", "--output", output)
        assert scored.exit_code == 0, scored.output
        written = run(
            "evaluate", "--model", folder, "--benchmark", tmp_path / "pairs.jsonl", "--output", tmp_path / "out"
        )
        assert written.exit_code == 0, written.output
    assert len(list((tmp_path / "out").iterdir())) == 2
    one, two = read_file(tmp_path / "a.jsonl"), read_file(tmp_path / "b.jsonl")
    from_files = paired_models.compare([(one, two)]).row()
    first, second = sorted(read_folder(tmp_path / "out"), key=lambda each: str(folders["b"]) in each.name)
    from_folders = paired_models.compare([(first, second)]).row()
    assert from_files.items == 12 and from_files.difference == from_folders.difference != 0.0
    flat = [
        {**pair, "chosen_reward": item["chosen"][0], "rejected_reward": item["rejected"][0]}
        for pair, item in zip(PAIRS, first.items["pairs", "en"], strict=True)
    ]
    write_jsonl(tmp_path / "flat.jsonl", flat)
    assert paired_models.compare([(read_file(tmp_path / "flat.jsonl"), two)]).row().difference == from_files.difference


RESPONSE = {"prompt": "p", "response": "r"}


@pytest.mark.parametrize(
    ("rows", "place", "value"),
    [
        ([{**RESPONSE, "reward": 1.0}], ":1: side", None),
        ([{"id": 1, "side": "best", "reward": 1.0}], ":1: side", "best"),
        ([{"side": "chosen", "reward": 1.0}], ":1: id", None),
        ([{"id": 1, "side": "chosen", **RESPONSE, "reward": "high"}], ":1: reward", "high"),
        ([{"id": 1, "side": "chosen", **RESPONSE, "reward": 1.0}], ": id", "1"),
        ([{"chosen_reward": 1.0, "rejected_reward": None}], ":1: rejected_reward", None),
    ],
)
def test_a_file_without_rewards_of_pairs_is_refused(rows: list[dict], place: str, value: object, tmp_path) -> None:
    write_jsonl(tmp_path / "a.jsonl", rows)
    with refused(DataError, f"{tmp_path / 'a.jsonl'}{place}", value):
        read_file(tmp_path / "a.jsonl")


# The command


def test_models_are_evaluated_for_a_comparison_and_not_twice(folders, tmp_path, monkeypatch) -> None:
    for code in ("en", "ko"):
        write_jsonl(tmp_path / f"mine-{code}.jsonl", PAIRS)
    given = (
        "compare",
        folders["a"],
        folders["b"],
        "--benchmark",
        tmp_path / "mine-{language}.jsonl",
        "--language",
        "en,ko",
    )
    first = run(*given, "--output", tmp_path / "compared.csv")
    assert first.exit_code == 0, first.output
    (columns, *rows) = list(csv.reader((tmp_path / "compared.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert [row[columns.index("language")] for row in rows] == ["en", "en", "ko", "ko"]
    assert len(list((addresses.home() / "evaluations").iterdir())) == 4
    monkeypatch.setattr(reward_table, "score_items", lambda *_: pytest.fail("scored again"))
    second = run(*given, "--output", tmp_path / "compared.md")
    assert second.exit_code == 0, second.output
    text = (tmp_path / "compared.md").read_text()
    assert f"- A: {folders['a']}" in text and "| Korean | sums | 12 |" in text


def test_the_page_shows_what_the_text_does(tmp_path) -> None:
    before, after = model("<A>", items([WRONG] * 20)), model("B", items([RIGHT] * 20))
    document = comparison.document(paired_models.compare([(before, after)]))
    assert document.lead == ["B against A: better in English (+100.0 [+100.0, +100.0])."]
    for ending in (".html", ".md", ".csv"):
        documents.write(document, tmp_path / f"out{ending}")
    page = (tmp_path / "out.html").read_text()
    assert "&lt;A&gt;" in page and "<A>" not in page and "+100.0" in page and "data:text/csv" in page
    assert "B − A" in page and (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbffirst,second")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("{model}", "{model}"), "{model}"),
        (("no-such-run", "other"), "'no-such-run'"),
        (("OWNER/NAME", "OWNER/OTHER"), "'OWNER/NAME'"),
        (("/no/such/folder", "x"), "'/no/such/folder'"),
        (("nosuch.jsonl", "x"), "'nosuch.jsonl'"),
        (("models:/nosuch@champion", "x"), "models:/nosuch@champion"),
        (("a", "b", "--output", "c.docx"), "--output='c.docx'"),
        (("a", "b", "--ties", "maybe"), "--ties='maybe'"),
        (("a", "b", "--max-length", "64"), "--max-length"),
        (("a", "b", "--benchmark", "phrasebook", "--language", "en,en"), "--language='en,en'"),
        (("a", "b", "--benchmark", "mine.jsonl", "--language", "en,ko"), "--language='en,ko'"),
        (("{empty}", "x"), "{empty}"),
    ],
)
def test_what_cannot_be_compared_is_one_line(arguments: tuple[str, ...], shown: str, folders, tmp_path) -> None:
    places = {"model": folders["a"], "empty": tmp_path}
    result = run("compare", *(argument.format(**places) for argument in arguments))
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.output.splitlines() if line]
    assert line.startswith("error: ") and shown.format(**places) in line


def test_one_model_alone_is_refused(tmp_path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{**PAIRS[0], "chosen_reward": 1.0, "rejected_reward": 0.0}])
    result = run("compare", tmp_path / "a.jsonl")
    assert result.exit_code == 2 and "two or more models" in result.output


# Registered models, artifacts and runs


def evaluation(folder: Path, trained_in: str, share: float) -> Path:
    """Files of the stage evaluate, of a model that is right on a share of the pairs in English and Korean."""
    tables = {code: [pair | {"section": "Chat"} for pair in PAIRS] for code in ("en", "ko")}
    scored = {code: [([float(i < share * 12)], [0.5]) for i in range(12)] for code in tables}
    records = [
        record for code, rows in tables.items() for record in reward_table.records("corpus", code, rows, scored[code])
    ]
    reward_table.write(folder / reward_table.FILE, records)
    results = {code: reward_results.result(rows, scored[code], "lost") for code, rows in tables.items()}
    EvaluationResults(language=trained_in, tie_policy="lost", results=results).write(folder)
    return folder


def publish(stage: str, key: str, folder: Path, config: dict, inputs: dict[str, str]) -> str:
    uri = objects.join(addresses.store(), stage, key)
    given = {name: [{"uri": where, "digest": artifacts.load(where).digest}] for name, where in inputs.items()}
    artifacts.publish(
        folder, uri, stage=stage, key=key, config=config, inputs=given, metrics={}, code_version="c", git_commit=None,
        image=None, versions={}, started=datetime(2026, 1, 1, tzinfo=UTC), seconds=1.0, peak_memory_mib=1.0,
        mlflow_run_id=None,
    )  # fmt: skip
    return uri


def experiment(tmp_path: Path, name: str, base: str, shares: dict[str, float], source: str = "en") -> list[str]:
    """A run in the store with an evaluation for each language."""
    for part in ("base", "reward"):
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / "config.json").write_text(json.dumps([name, part]))
    started_from = publish("base", f"{name}-base", tmp_path / "base", {"model": base}, {})
    uris = []
    for code, share in shares.items():
        reward = publish("reward", f"{name}-{code}", tmp_path / "reward", {"language": code}, {"base": started_from})
        folder = evaluation(tmp_path / f"{name}-{code}", code, share)
        uris.append(publish("evaluate", f"{name}-{code}", folder, {"language": code}, {"model": reward}))
        objects.write(
            objects.join(addresses.store(), "runs", f"{name}-1", "made", f"evaluate-{code}"), uris[-1].encode()
        )
    content = json.dumps({"experiment": {"name": name, "source": source}})
    objects.write(objects.join(addresses.store(), "runs", f"{name}-1", "run.json"), content.encode())
    return uris


QWEN, LLAMA = "Qwen/Qwen2.5-3B-Instruct", "meta-llama/Llama-3.2-3B-Instruct@abc"


def test_runs_and_artifacts_are_found(tmp_path) -> None:
    uris = experiment(tmp_path, "one", QWEN, {"en": 0.5, "ko": 0.25}, source="ko")
    experiment(tmp_path, "two", LLAMA, {"en": 1.0, "ko": 0.75})
    by_name, by_run = evaluations.find("one"), evaluations.find("one-1")
    assert [(each.trained_in, each.base) for each in by_name] == [("ko", QWEN), ("en", QWEN)]
    assert [each.name for each in by_run] == ["one-1: ko", "one-1: en"]
    (single,) = evaluations.find(uris[0])
    assert single.items == by_name[1].items and single.trained_in == "en"
    result = run("compare", "one", "two", "--output", tmp_path / "compared.csv")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "compared.csv").read_text(encoding="utf-8-sig").splitlines()))
    averages = {(r["second"], r["language"]): float(r["difference"]) for r in rows if r["part"] == "average"}
    assert averages == {(f"two-1: {code}", on): pytest.approx(0.5) for code in ("en", "ko") for on in ("en", "ko")}


def test_a_table_of_two_bases_has_the_papers_figures_beside(tmp_path) -> None:
    experiment(tmp_path, "one", QWEN, {"en": 0.5, "ko": 0.25})
    experiment(tmp_path, "two", "OWNER/other", {"en": 1.0})
    result = run("compare", "--table", "one", "two", "--output", tmp_path / "table.md")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "table.md").read_text()
    # Table 3: Qwen2.5-3B in English on English 86.8; Table 6: in Korean on Korean 68.5, in English on Korean 72.8.
    assert f"## {QWEN}: average accuracy, %" in text and "## OWNER/other: average accuracy, %" in text
    assert "| English | 50.0 [25–75] · paper 86.8 |" in text and "paper 68.5" in text
    assert "| English | 100.0 [100–100] | 100.0 [100–100] |" in text
    (line,) = [line for line in text.splitlines() if "difference" in line and line.startswith("|")]
    assert "+25.0 paper +4.3" in line, "72.8 - 68.5 points"
    assert run("compare", "--table", "one", "two", "--output", tmp_path / "table.csv").exit_code == 0
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text(encoding="utf-8-sig").splitlines()))
    (own,) = [r for r in rows if (r["trained_in"], r["tested_in"], r["part"]) == ("ko", "ko", "average")]
    assert (own["base"], float(own["accuracy"]), float(own["paper_percent"])) == (QWEN, 0.25, 68.5)
    assert len({r["base"] for r in rows}) == 2
    with refused(DataError, "a"):
        bases.document([[model("a", items([RIGHT]))]])


def test_a_registered_model_is_found_with_the_evaluation_it_was_registered_with(tmp_path) -> None:
    for code, share in (("en", 0.5), ("ko", 0.75)):
        folder = tmp_path / code
        evaluation(folder / "evaluation", code, share)
        (folder / "config.json").write_text("{}")
        with mlflow_runs.run("demo", "register", {}, {}) as logged:
            number = mlflow_registry.add_version(f"demo-{code}", [folder], {"language": code}, "", logged)
        mlflow_registry.set_alias(f"demo-{code}", number, "champion")
    result = run("compare", "models:/demo-en@champion", "models:/demo-ko/1", "--output", tmp_path / "compared.md")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "compared.md").read_text()
    assert "- A: models:/demo-en@champion (version 1)\n- B: models:/demo-ko/1\n" in text
    assert "| Korean | Chat | 12 | 50.0 | 75.0 | +25.0 " in text and " 3 / 0 |" in text


def test_verdicts_of_a_judge_are_compared_with_rewards(folders, tmp_path) -> None:
    """By the credit that each verdict earned: 1, 0 or a half."""
    pairs = tmp_path / "pairs.jsonl"
    write_jsonl(pairs, PAIRS)
    assert run("evaluate", "--model", folders["a"], "--benchmark", pairs, "--output", tmp_path / "out").exit_code == 0
    (scored,) = read_folder(tmp_path / "out")
    (folder,) = (tmp_path / "out").iterdir()
    judged = tmp_path / "judged"
    credits = [1.0, 0.5] * 6
    rows = [
        {**{key: item[key] for key in ("id", "text", "subset", "section")}, "language": "en", "credit": value}
        for item, value in zip(scored.items["pairs", "en"], credits, strict=True)
    ]
    write_jsonl(judged / "verdicts.jsonl", rows)
    (judged / "results.json").write_bytes((folder / "results.json").read_bytes())
    assert len(read_rows(judged / "verdicts.jsonl")) == 12
    (verdicts,) = read_folder(judged, "judge")
    row = paired_models.compare([(scored, verdicts)]).row()
    assert row.second_accuracy == 0.75 and row.items == 12 and row.difference == 0.75 - scored.accuracy["average"]
