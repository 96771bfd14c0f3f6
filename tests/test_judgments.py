"""Single judgments: a prompt, a response and a label take the place of preference pairs."""

import csv
import json
from pathlib import Path

import pytest
from refusals import refused

from xlrm.data import pair_records
from xlrm.errors import ConfigError, DataError
from xlrm.run import experiment
from xlrm.stages import curate, reward, validate
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.training import heldout

SENTENCES = ("The sky is blue today.", "Water boils when it is hot.", "A week has seven days.", "Snow falls in winter.")
BENCHMARK = [
    {"prompt": f"Which number comes after {i}?", "chosen": f"It is {i + 1}.", "rejected": f"It is {i + 7}."}
    for i in range(4)
]


def judged(count: int = 24) -> list[dict]:
    return [
        {"prompt": f"Tell me about case {i}, please.", "response": SENTENCES[i % 4], "label": i % 3 / 2}
        for i in range(count)
    ]


def config(tmp_path: Path, file: str, **fields: object) -> curate.Config:
    write_jsonl(tmp_path / "bench.jsonl", BENCHMARK)
    return curate.Config.model_validate(
        {"preferences": (str(tmp_path / file),), "benchmark": str(tmp_path / "bench.jsonl"), "prompts": None,
         "parallel": None, **fields}
    )  # fmt: skip


@pytest.mark.parametrize(("label", "made"), [(0, 0.0), (1, 1.0), (True, 1.0), (False, 0.0), (0.25, 0.25)])
def test_a_label_is_a_number_from_bad_to_good(label: object, made: float) -> None:
    row = pair_records.judgment_of({"prompt": "p", "response": "r", "label": label, "subset": "s", "note": 1})
    assert row == {"prompt": "p", "response": "r", "label": made, "subset": "s"}
    assert type(row["label"]) is float


@pytest.mark.parametrize("label", [None, "1", 2, -0.1, [1], float("nan")])
def test_another_label_is_refused(label: object) -> None:
    with pytest.raises(DataError) as raised:
        pair_records.judgment_of({"prompt": "p", "response": "r", "label": label})
    assert raised.value.where == "label"


def test_a_judgment_is_one_whatever_null_columns_a_table_adds() -> None:
    row = {"prompt": "p", "chosen": None, "rejected": None, "response": "r", "label": 1.0}
    pair = {"prompt": "p", "chosen": "c", "rejected": "r", "response": None, "label": None}
    ((judgment, its), rejects) = pair_records.sort_out([(1, row), (2, pair)])
    assert judgment == {"prompt": "p", "response": "r", "label": 1.0} and not rejects
    assert its == {"prompt": "p", "chosen": "c", "rejected": "r"}


def test_curated_from_csv_with_the_file_s_own_names(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [*judged(), judged()[1], {**judged()[2], "label": 0.0}]  # a duplicate; the same text with the other label
    with (tmp_path / "judged.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "response", "label"])
        writer.writerows([row["prompt"], row["response"], row["label"]] for row in rows)
    counts = curate.run(config(tmp_path, "judged.csv", columns={"prompt": "question"}), output=tmp_path / "en")
    wanted = [row | {"subset": "all"} for i, row in enumerate(judged()) if i != 2]
    written = read_rows(tmp_path / "en" / "preferences.jsonl")
    assert [{key: row[key] for key in wanted[0]} for row in written] == wanted
    assert (counts["preferences"], counts["dropped_duplicate"], counts["dropped_conflict"]) == (23, 1, 2)
    assert "26 single judgments in, dropped 2 conflict, 1 duplicate, 23 out" in capsys.readouterr().err


def test_pairs_and_judgments_are_not_one_corpus(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", judged())
    write_jsonl(tmp_path / "b.jsonl", BENCHMARK)
    both = (str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"))
    with refused(DataError, "curate.preferences", ", ".join(both)):
        curate.run(config(tmp_path, "a.jsonl", preferences=both), output=tmp_path / "en")


def test_a_loss_of_pairs_is_refused_before_the_training(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "judged.jsonl", judged())
    curate.run(config(tmp_path, "judged.jsonl"), output=tmp_path / "corpora" / "en")
    with refused(ConfigError, "reward.loss", "bradley_terry"):
        reward.training_rows(reward.Config(language="en"), tmp_path / "corpora")
    rows = reward.training_rows(reward.Config(language="en", loss="pointwise"), tmp_path / "corpora")
    assert [row["label"] for row in rows] == [row["label"] for row in judged()]


def test_a_loss_of_pairs_is_refused_when_the_experiment_is_loaded(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "judged.jsonl", judged(4000))
    path = Path("configs/demo.yaml")
    settings = (f"curate.preferences=[{tmp_path / 'judged.jsonl'}]",)
    with refused(ConfigError, f"{path}: reward.loss", "bradley_terry"):
        experiment.load(path, settings)
    assert experiment.load(path, (*settings, "reward.loss=pointwise")).config("reward").loss == "pointwise"


def test_translations_of_judgments_are_compared_with_their_sources(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "judged.jsonl", judged())
    curate.run(config(tmp_path, "judged.jsonl"), output=tmp_path / "en")
    spanish = dict(zip(SENTENCES, ("El cielo es azul hoy.", "El agua hierve cuando está caliente.",
                                   "Una semana tiene siete días.", "La nieve cae en invierno."), strict=True))  # fmt: skip
    for name in ("preferences", "benchmark"):
        rows = read_rows(tmp_path / "en" / f"{name}.jsonl")
        for row in rows:
            row["prompt"] = (
                row["prompt"].replace("Tell me about case", "Háblame sobre el caso").replace("please", "por favor")
            )
            row["prompt"] = row["prompt"].replace("Which number comes after", "¿Qué número viene después de")
            if name == "preferences":
                row["response"] = spanish[row["response"]]
            else:
                row |= {side: row[side].replace("It is", "Es el") for side in ("chosen", "rejected")}
        if name == "preferences":
            rows[5]["response"] = ""
            rows[6]["response"] = "no, " * 60
        write_jsonl(tmp_path / "es" / f"{name}.jsonl", rows)
    (tmp_path / "es" / "corpus.json").write_text(json.dumps({"language": "es", "files": ["preferences", "benchmark"]}))
    validate.run(
        validate.Config(max_reject_share=0.5),
        source=tmp_path / "en",
        translations=[tmp_path / "es"],
        output=tmp_path / "v",
    )
    kept = read_rows(tmp_path / "v" / "es" / "preferences.jsonl")
    assert [row["id"] for row in kept] == [f"judged-{i}" for i in range(24) if i not in (5, 6)]
    assert {row["label"] for row in kept} == {0.0, 0.5, 1.0}


# Splits, and corpora that are no translations of each other


def documents(count: int = 10, **more: object) -> list[dict]:
    """Three summaries of each document."""
    return [
        {"prompt": f"Sum up report number {i} of the harbour, please.", "response": f"{SENTENCES[j]} That was report {i}.",
         "label": j % 2, **more}
        for i in range(count) for j in range(3)
    ]  # fmt: skip


@pytest.mark.parametrize(("of", "shared"), [("prompts", False), ("pairs", True)])
def test_the_pairs_of_a_prompt_stay_together_if_asked_for(tmp_path: Path, of: str, shared: bool) -> None:
    pairs = [
        {"prompt": f"Sum up report number {i} of the harbour, please.", "chosen": f"{SENTENCES[j]} That was report {i}.",
         "rejected": f"{SENTENCES[j]} Nothing more on {i}."}
        for i in range(10) for j in range(3)
    ]  # fmt: skip
    write_jsonl(tmp_path / "mine.jsonl", pairs)
    made = config(tmp_path, "mine.jsonl", train_share=0.7, train_share_of=of, clean=[])
    curate.run(made, output=tmp_path / "en")
    train, held = (read_rows(tmp_path / "en" / f"{name}.jsonl") for name in ("preferences", "heldout"))
    assert (len(train), len(held)) == (21, 9)
    assert bool({row["prompt"] for row in train} & {row["prompt"] for row in held}) == shared


def test_the_summaries_of_a_document_stay_together(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mine.jsonl", documents())
    made = config(tmp_path, "mine.jsonl", train_share=0.7, clean=[])
    curate.run(made, output=tmp_path / "en")
    train, held = (read_rows(tmp_path / "en" / f"{name}.jsonl") for name in ("preferences", "heldout"))
    assert (len(train), len(held)) == (21, 9)
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held}
    curate.run(made.model_copy(update={"language": "es"}), source=tmp_path / "en", output=tmp_path / "es")
    apart = curate.Config.model_validate({**made.model_dump(), "train_share": 1.0})
    metrics = curate.run(apart, output=tmp_path / "whole")
    assert metrics["preferences"] == 30 and "heldout_pairs" not in metrics
    with refused(DataError, "curate.benchmark", "heldout"):
        curate.run(
            curate.Config.model_validate({**made.model_dump(), "benchmark": "heldout"}), output=tmp_path / "tested"
        )


def test_a_split_that_the_data_has_is_kept(tmp_path: Path) -> None:
    rows = [*documents(4, split="train"), *documents(2, split="validation"), {**judged(1)[0], "split": "dev"}]
    rows = [row | {"id": f"r{i}"} for i, row in enumerate(rows)]
    write_jsonl(tmp_path / "mine.jsonl", rows)
    made = config(tmp_path, "mine.jsonl", max_reject_share=0.1, clean=[])
    curate.run(made, output=tmp_path / "en")
    train, held = (read_rows(tmp_path / "en" / f"{name}.jsonl") for name in ("preferences", "heldout"))
    assert [row["id"] for row in train] == [f"r{i}" for i in range(12)]
    assert [row["id"] for row in held] == [f"r{i}" for i in range(12, 18)]
    assert not any("split" in row for row in train + held)
    assert "split=" in read_rows(tmp_path / "en" / "rejects.jsonl")[0]["reason"]
    capped = made.model_copy(update={"heldout_pairs": 2})
    assert curate.run(capped, output=tmp_path / "capped")["heldout_pairs"] == 2
    write_jsonl(tmp_path / "mine.jsonl", documents(2, split="validation"))
    with refused(DataError, "curate.preferences", 6):
        curate.run(made, output=tmp_path / "none")


def test_pairs_with_a_split_can_be_the_benchmark(tmp_path: Path) -> None:
    pairs = [
        {
            "prompt": f"Which number comes after {i}?",
            "chosen": f"It is {i + 1}.",
            "rejected": "No idea.",
            "split": split,
        }
        for i, split in enumerate(["train"] * 6 + ["validation"] * 3)
    ]
    write_jsonl(tmp_path / "mine.jsonl", pairs)
    made = curate.Config(preferences=(str(tmp_path / "mine.jsonl"),), benchmark="heldout", train_share=0.5, clean=())
    curate.run(made, output=tmp_path / "en")
    bench = read_rows(tmp_path / "en" / "benchmark.jsonl")
    assert [row["prompt"] for row in bench] == [pair["prompt"] for pair in pairs[6:]]
    assert len(read_rows(tmp_path / "en" / "preferences.jsonl")) == 6


def test_languages_with_ids_of_their_own_are_validated_and_pooled(tmp_path: Path) -> None:
    codes = ("en", "de", "vi")
    for seed, code in enumerate(codes):
        made = curate.Config(
            language=code, preferences=("phrasebook-judgments",), pairs=40 + 10 * seed, benchmark=None, seed=seed
        )
        curate.run(made, source=tmp_path / "en" if seed else None, output=tmp_path / code)
    own = [tmp_path / code for code in codes[1:]]
    validate.run(validate.Config(), source=tmp_path / "en", own=own, output=tmp_path / "v")
    by_language = {code: read_rows(tmp_path / "v" / code / "preferences.jsonl") for code in codes}
    pooled = reward.Config(language="en+de+vi", loss="pointwise", mixture="pool")
    assert reward.training_rows(pooled, tmp_path / "v") == [row for rows in by_language.values() for row in rows]
    held = heldout.rows(tmp_path / "v", list(codes), reward.required(pooled))
    assert len(held) == sum(len(read_rows(tmp_path / "v" / code / "heldout.jsonl")) for code in codes) > 12
    assert {row["label"] for row in held} == {0.0, 1.0}
    with refused(ConfigError, "reward.loss", "bradley_terry"):
        reward.training_rows(reward.Config(language="en+de", mixture="pool"), tmp_path / "v")
