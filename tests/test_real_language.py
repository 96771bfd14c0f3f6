"""Pairs that people wrote or translated in each language: what they are divided by, their order in training, and the benchmark of
transfer between them, on a tiny model."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from refusals import refused

from benchmarks import real_language, transfer_matrix
from xlrm.data import data_card, division
from xlrm.errors import ConfigError
from xlrm.run import experiment
from xlrm.run.sections import stage_config
from xlrm.stages import curate
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.training import columns

ROOT = Path(__file__).parents[1]
ASKED = {
    "en": ("The ship {name} left the old harbour with {count} barrels of salt.",
           ("Which ship left the harbour?", "How many barrels of salt did it carry?", "What was in the barrels?"), "salt"),
    "de": ("Das Schiff {name} verließ den alten Hafen mit {count} Fässern Salz.",
           ("Welches Schiff verließ den Hafen?", "Wie viele Fässer Salz hatte es geladen?", "Was war in den Fässern?"), "Salz"),
}  # fmt: skip
NAMES = ("Aurora", "Borea", "Cassia", "Delfin", "Elbe", "Falke", "Greta", "Hansa", "Iris", "Juno")


def pairs(language: str) -> list[dict]:
    """Three questions on each of ten passages, with the answer to the next question as rejected."""
    passage, questions, load = ASKED[language]
    rows = []
    for number, name in enumerate(NAMES):
        answers = (name, str(20 + number), load)
        text = passage.format(name=name, count=20 + number)
        rows += [
            {
                "id": f"{number}-{i}",
                "prompt": f"{text}\n\n{question}",
                "chosen": answers[i],
                "rejected": answers[(i + 1) % 3],
            }
            for i, question in enumerate(questions)
        ]
    return rows


@pytest.fixture
def data(tmp_path: Path) -> str:
    for language in ASKED:
        write_jsonl(tmp_path / f"pairs_{language}.jsonl", pairs(language))
    return str(tmp_path / "pairs_{language}.jsonl")


@pytest.mark.parametrize(("benchmark", "table"), [("heldout", "benchmark"), (None, "heldout")])
def test_no_document_of_the_held_out_pairs_is_trained_on_in_any_language(
    tmp_path: Path, data: str, benchmark: str | None, table: str
) -> None:
    common = {"benchmark": benchmark, "train_share": 0.7, "train_share_of": "documents", "clean": []}
    ids, source = [], None
    for language in ASKED:
        config = curate.Config(language=language, preferences=(data.format(language=language),), **common)
        curate.run(config, source=source, output=tmp_path / language)
        train, held = (read_rows(tmp_path / language / f"{name}.jsonl") for name in ("preferences", table))
        passages = [{row["prompt"].split("\n\n")[0] for row in rows} for rows in (train, held)]
        assert [len(each) for each in passages] == [7, 3] and not passages[0] & passages[1]
        assert (len(train), len(held)) == (21, 9)
        ids.append([row["id"] for row in held])
        source = tmp_path / language
    assert ids[0] == ids[1], "the same rows in both languages"
    card = data_card.DataCard.read(tmp_path / "de")
    assert card.division == data_card.Division(of="documents", training=7, held_out=3, both=0)
    assert data_card.notes(card)[-1].startswith("Pairs divided by documents: 7 for training, 3 held out, 0 in both")


def divided(folder: Path, source: Path | None, rows: list[dict], **options) -> tuple[list[str], list[str]]:
    """Ids of the pairs that `curate` has for training, and of those held out to test on."""
    write_jsonl(folder.with_suffix(".jsonl"), rows)
    config = {"train_share": 0.6, "clean": [], "preferences": (str(folder.with_suffix(".jsonl")),)} | options
    curate.run(curate.Config(language=folder.name, **config), source=source, output=folder)
    table = "benchmark" if options["benchmark"] else "heldout"
    train, held = ([row["id"] for row in read_rows(folder / f"{name}.jsonl")] for name in ("preferences", table))
    assert not {*train} & {*held}
    return train, held


@pytest.mark.parametrize("of", ["pairs", "prompts", "documents"])
@pytest.mark.parametrize(("benchmark", "limit"), [("heldout", "benchmark_items"), (None, "heldout_pairs")])
def test_a_limit_of_held_out_pairs_takes_the_same_in_each_language(tmp_path, benchmark, limit, of) -> None:
    options = {"benchmark": benchmark, limit: 5, "train_share_of": of}
    english = divided(tmp_path / "en", None, pairs("en"), **options)
    missing = english[1][0]
    german = divided(tmp_path / "de", tmp_path / "en", [row for row in pairs("de") if row["id"] != missing], **options)
    assert german[0] == english[0], "no pair beyond the limit is trained on instead"
    assert len(german[1]) == len(english[1]) == 5 and {*english[1]} - {missing} <= {*german[1]}


@pytest.mark.parametrize("of", ["pairs", "prompts", "documents"])
@pytest.mark.parametrize("benchmark", ["heldout", None])
def test_pairs_that_the_source_lacks_are_in_the_same_part_in_all_other_languages(tmp_path, benchmark, of) -> None:
    """The source's were lost in cleaning, or are a sample; the others lack some of their own."""
    draw = np.random.default_rng(0)
    options = {"benchmark": benchmark, "train_share_of": of}
    sets = []
    for language, share in (("en", 0.5), ("de", 0.9), ("es", 0.9)):
        rows = pairs("de" if language == "es" else language)
        have = [f"{number}-{i}" for number in range(len(NAMES)) if draw.random() < share for i in range(3)]
        source = None if language == "en" else tmp_path / "en"
        sets.append(divided(tmp_path / language, source, [row for row in rows if row["id"] in have], **options))
    for train, _ in sets:
        assert all(not {*train} & {*held} for _, held in sets)
    (german, held), (spanish, _) = sets[1:]
    assert {*german} ^ {*spanish} and {*german, *held} - {*sets[0][0], *sets[0][1]}


def test_prompts_that_share_a_document_are_in_both_parts_if_divided_by_prompt(tmp_path: Path, data: str) -> None:
    config = curate.Config(
        preferences=(data.format(language="en"),),
        benchmark="heldout",
        train_share=0.5,
        train_share_of="prompts",
        clean=[],
    )
    curate.run(config, output=tmp_path / "en")
    train, held = (read_rows(tmp_path / "en" / f"{name}.jsonl") for name in ("preferences", "benchmark"))
    assert {division.document(row["prompt"]) for row in train} & {division.document(row["prompt"]) for row in held}
    assert data_card.DataCard.read(tmp_path / "en").division == data_card.Division(
        of="prompts", training=15, held_out=15, both=0
    )


@pytest.mark.parametrize(
    ("prompt", "about"),
    [
        ("A.\n\nB.\n\nC?", "A.\n\nB."),
        ("C?", "C?"),
        ("\n\nC?\n", "C?"),
        ([{"role": "user", "content": "A.\n\nB?"}, {"role": "assistant", "content": "C."}], "A.\n\nB?"),
    ],
)
def test_a_prompt_is_about_all_but_its_last_paragraph(prompt: str | list, about: str) -> None:
    assert division.document(prompt) == about


def test_texts_that_share_half_of_the_shorter_one_follow_each_other() -> None:
    texts = [[1, 2, 3, 4], [7, 8], [1, 2, 9], [5], [7, 8, 6, 6, 6], [1, 3, 3, 3]]
    order = columns.shared_beginnings_together(texts, seed=0)
    groups = [[0, 2], [1, 4], [3], [5]]
    assert sorted(order) == list(range(6))
    assert all(order[(at := order.index(group[0])) : at + len(group)] == group for group in groups)
    assert order == columns.shared_beginnings_together(texts, seed=0)
    assert len({tuple(columns.shared_beginnings_together(texts, seed)) for seed in range(9)}) > 3


def test_one_order_of_the_pairs_at_a_time() -> None:
    with refused(ConfigError, "reward.shared_beginnings", True):
        stage_config("reward", {"language": "en", "shared_beginnings": True, "similar_lengths": True})


def test_intervals_resample_documents() -> None:
    """Two documents of four pairs that are all right or all wrong: half of the samples have one of each."""
    values = np.array([1.0] * 4 + [0.0] * 4)
    assert transfer_matrix.clustered(values, ["a"] * 4 + ["b"] * 4) == (0.5, 0.0, 1.0)
    mean, low, high = transfer_matrix.clustered(np.tile([1.0, 0.0], 200), [str(i) for i in range(400)])
    assert mean == 0.5 and 0.44 < low < 0.47 and 0.53 < high < 0.56, "0.5 +- 1.96 * sqrt(0.25 / 400)"


def test_the_experiment_takes_files_and_other_languages(data: str) -> None:
    options = real_language.parser().parse_args(["--output", "x", "--data", data, "--languages", "tr", "vi", "zh"])
    made = real_language.experiment_of(options, "OWNER/NAME", 7)
    assert made.languages == ("tr", "vi", "zh") and not made.translated
    assert made.corpora["zh"] == {"preferences": [data.format(language="zh")], "benchmark": "heldout"}
    assert made.config("reward", language="tr").seed == 7
    shipped = experiment.load(ROOT / "configs" / "real_small.yaml")
    assert not shipped.translated and {row["benchmark"] for row in shipped.corpora.values()} == {"heldout"}


def test_the_matrix_on_a_tiny_model(
    tmp_path: Path, data: str, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Two seeds of one source language, and then another language and the representations, with nothing trained twice."""
    write_jsonl(tmp_path / "texts.jsonl", [dict.fromkeys(ASKED, row["prompt"]) for row in pairs("en")])
    monkeypatch.setenv("XLRM_HOME", str(tmp_path / "home"))
    command = [
        "real_language", "--output", str(tmp_path / "out"), "--models", str(tiny_base), "--data", data,
        "--languages", "en", "de", "--parallel", str(tmp_path / "texts.jsonl"),
        "--set", "reward.learning_rate=1e-3", "reward.batch_size=7", "reward.precision=float32", "reward.max_length=128",
        "evaluate.max_length=128", "validate.max_reject_share=0.9",
    ]  # fmt: skip

    def run(*more: str) -> tuple[dict, str]:
        monkeypatch.setattr(sys, "argv", [*command, *more])
        real_language.main()
        shown = capsys.readouterr()
        return json.loads((tmp_path / "out" / "results.json").read_text()), shown.out + shown.err

    figures, shown = run("--sources", "en", "--seeds", "1", "2")
    assert shown.count("reward[en]: started") == 2
    for cell in figures["matrix"]:
        mean, low, high = cell["accuracy"]
        assert (cell["target"] == "en") == (cell["other_texts"] == cell["accuracy"])
        assert cell["items"] == 9 and low <= mean <= high and mean == pytest.approx(sum(cell["seeds"].values()) / 2)
    figures, shown = run("--seeds", "1", "--represent")
    assert [line for line in shown.splitlines() if "reward[" in line and ": started" in line] == [
        "xlrm │ reward[de]: started"
    ]
    cells = {(cell["source"], cell["target"]): cell for cell in figures["matrix"]}
    assert list(cells) == [("en", "en"), ("en", "de"), ("de", "en"), ("de", "de")]
    (gap,) = figures["against_own"]
    own, transferred = (cells[source, "de"]["accuracy"][0] for source in ("de", "en"))
    assert gap["target"] == "de" and gap["minus_own"][0] == pytest.approx(transferred - own)
    (similar,) = figures["representations"].values()
    assert list(similar["similarity"]) == ["base", "en", "de"]
    assert all(of["f"][0] == pytest.approx(of["spectrum"][0], abs=1e-5) for of in similar["similarity"].values())
    assert "| en | 1 | " in (tmp_path / "out" / "tables.md").read_text()
