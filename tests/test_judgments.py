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


def test_curated_from_csv_with_the_file_s_own_names(tmp_path: Path) -> None:
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
