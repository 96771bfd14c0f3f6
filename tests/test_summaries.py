"""The sets of paper B: GEM's documents, Seahorse's ratings of their summaries, and OpenAssistant's trees, from samples laid out
as the published sets are."""

import json
import shutil
import zipfile
from dataclasses import astuple
from pathlib import Path

import pytest
from refusals import refused

from xlrm.data import catalog, conversation_trees, data_card, hub_sets, seahorse, summaries, wikilingua
from xlrm.data.hub_sets import SOURCES
from xlrm.errors import ArtifactError, DataError
from xlrm.reporting.published import paper_b
from xlrm.run import data_readiness
from xlrm.run.sections import Experiment
from xlrm.stages import curate, validate
from xlrm.store.jsonl import read_rows, write_jsonl

SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def sample(name: str) -> list[dict]:
    return read_rows(SAMPLES / f"{name}.jsonl")


@pytest.fixture
def gem(tmp_path: Path) -> tuple[str, ...]:
    """Entries of GEM's sets: the records of each sample are the validation set; others are for training."""
    entries = []
    for name, language in (
        ("xsum", "en"),
        ("xlsum", "en"),
        ("wikilingua", "en"),
        ("mlsum", "de"),
        ("wikilingua", "de"),
    ):
        folder = tmp_path / name / SOURCES[name].folders[language]
        records = sample(name)
        if (name, language) == ("wikilingua", "en"):
            records = [_english(record) for record in records]
        write_jsonl(folder / "validation.jsonl", records)
        write_jsonl(folder / "train.jsonl", [_for_training(name, record) for record in records])
        write_jsonl(
            folder / "test.jsonl",
            [record | {"gem_id": record["gem_id"].replace("validation", "test")} for record in records],
        )
        entries.append(f"{name}={tmp_path / name}")
    return tuple(dict.fromkeys(entries))


def _english(record: dict) -> dict:
    return record | {
        "gem_id": record["gem_id"].replace("german_de", "english_en"), "source": record["source_aligned"]["en"],
        "target_aligned": {"en": record["target"]}, "source_aligned": {"en": record["source_aligned"]["en"]},
    }  # fmt: skip


def _for_training(name: str, record: dict) -> dict:
    column = {"xsum": "document", "wikilingua": "source"}.get(name, "text")
    changed = record[column].replace("Monday", "Friday").replace(".", "!")
    return record | {"gem_id": record["gem_id"].replace("validation", "train"), column: changed}


def test_documents_are_prompts_and_summaries_responses() -> None:
    for name, column in (("xsum", "document"), ("xlsum", "text"), ("mlsum", "text")):
        rows = list(SOURCES[name].rows(sample(name)))
        assert rows[1] == {
            "id": sample(name)[1]["gem_id"], "prompt": sample(name)[1][column], "response": sample(name)[1]["target"],
            "subset": name,
        }  # fmt: skip


def test_the_summary_of_wikilingua_is_in_the_document_s_language() -> None:
    rows = list(SOURCES["wikilingua"].rows(sample("wikilingua")))
    assert rows[0]["response"] == "Koche Wasser in einem Topf." != sample("wikilingua")[0]["target"]
    empty = sample("wikilingua")[0] | {"target_aligned": {"de": "Koche.", "en": "Boil.", "vi": None}}
    assert next(SOURCES["wikilingua"].rows([empty]))["response"] == "Koche."
    assert next(SOURCES["wikilingua"].rows([_english(sample("wikilingua")[0])]))["response"] == "Boil water in a pot."


def test_seahorse_is_joined_with_its_documents_by_the_sixth_question(gem: tuple[str, ...], capsys) -> None:
    source = seahorse.SOURCE.at(str(SAMPLES / "seahorse"), None)
    loaded = seahorse.load(source, "en", gem)
    assert [(row["id"], row["response"], row["label"], row["split"], row["subset"]) for row in loaded.rows] == [
        ("seahorse-en-train-0", "A storm closed the harbour.", 1.0, "train", "xsum"),
        ("seahorse-en-train-1", "The town has a harbour, and boats, and people.", 0.0, "train", "xsum"),
        ("seahorse-en-train-2", "The library lends spades.", 1.0, "train", "xlsum"),
        ("seahorse-en-validation-0", "A roof for the school.", 1.0, "validation", "xsum"),
    ]
    assert loaded.rows[0]["prompt"] == loaded.rows[1]["prompt"] == sample("xsum")[0]["document"]
    assert loaded.origin.left_out == {"nothing": 1, "Unsure": 1} and loaded.origin.records == 10
    assert [reject["line"] for reject in loaded.rejects] == [9]
    assert loaded.origin.splits == {"train": 3, "validation": 1}
    assert loaded.origin.paper_b == {"train": 14031, "validation": 2071}
    assert "left out: 1 Unsure, 1 nothing" in capsys.readouterr().err
    german = seahorse.load(source, "de", gem)
    assert [(row["subset"], row["label"]) for row in german.rows] == [
        ("mlsum", 1.0),
        ("wikilingua", 0.0),
        ("mlsum", 0.0),
    ]


def test_seahorse_is_read_from_its_archive_without_the_duplicates(gem: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "seahorse_data.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted((SAMPLES / "seahorse").rglob("*.tsv")):
            archive.write(path, Path("seahorse_data") / path.relative_to(SAMPLES / "seahorse"))
    folder = seahorse.load(seahorse.SOURCE.at(str(SAMPLES / "seahorse"), None), "en", gem)
    assert seahorse.load(seahorse.SOURCE.at(str(file), None), "en", gem).rows == folder.rows
    assert catalog.fingerprint([f"seahorse={file}"]) != catalog.fingerprint([])
    shutil.copytree(SAMPLES / "seahorse" / "duplicates", tmp_path / "alone" / "duplicates")
    with refused(DataError, tmp_path / "alone"):
        seahorse.load(seahorse.SOURCE.at(str(tmp_path / "alone"), None), "en", gem)
    (tmp_path / "broken.zip").write_text("no archive")
    with refused(ArtifactError, tmp_path / "broken.zip"):
        seahorse.load(seahorse.SOURCE.at(str(tmp_path / "broken.zip"), None), "en", gem)


def test_other_columns_than_seahorse_s_are_refused() -> None:
    with refused(DataError, "question6"):
        summaries.judgments([(1, {"gem_id": "x", "worker_lang": "de", "summary": "s"})], "de", {})


def curated(gem: tuple[str, ...], **fields: object) -> curate.Config:
    return curate.Config.model_validate({
        "preferences": [f"seahorse={SAMPLES / 'seahorse'}"], "benchmark": None, "demonstrations": list(gem[:3]),
        "prompts": "demonstrations", "max_reject_share": 0.2, "clean": [], **fields,
    })  # fmt: skip


def test_demonstrations_are_apart_from_seahorse_s_training_instances(gem: tuple[str, ...], tmp_path: Path) -> None:
    curate.run(curated(gem, demonstrations_apart=True, clean=["contaminated"]), output=tmp_path / "apart")
    rows = read_rows(tmp_path / "apart" / "demonstrations.jsonl")
    judged = {row["prompt"] for row in read_rows(tmp_path / "apart" / "preferences.jsonl")}
    assert len(judged) == 2 and not judged & {row["prompt"] for row in rows}
    assert [row["id"] for row in rows if row["split"] == "validation" and row["subset"] != "wikilingua"] == [
        "xsum-validation-1", "xsum-validation-2", "xlsum_english-validation-0", "xlsum_english-validation-1",
    ]  # fmt: skip
    held = read_rows(tmp_path / "apart" / "heldout.jsonl")
    assert [row["subset"] for row in held] == ["xsum"], "its validation set is not excluded"
    prompts = read_rows(tmp_path / "apart" / "prompts.jsonl")
    assert {(row["id"], row["subset"]) for row in prompts if row["split"] == "eval"} == {
        (row["id"], row["subset"]) for row in rows if row["split"] == "validation"
    }
    curate.run(curated(gem), output=tmp_path / "all")
    assert len(read_rows(tmp_path / "all" / "demonstrations.jsonl")) == len(rows) + 2


def test_numbers_that_differ_from_paper_b_s_stand_in_the_account(gem: tuple[str, ...], tmp_path: Path) -> None:
    config = curated(gem, demonstrations_apart=True, clean=["contaminated"])
    curate.run(config, output=tmp_path / "out")
    account = (tmp_path / "out" / "curation.md").read_text()
    seahorse_s = "3 rows for train, paper B says 14,031 and 1 rows for validation, paper B says 2,071."
    xsum_s = "3 rows for train, paper B says 23,206 and 2 rows for validation, paper B says 642."
    assert f"{config.preferences[0]} (preferences): {seahorse_s}" in account
    assert f"{gem[0]} (demonstrations): {xsum_s}" in account
    assert "rated neither Yes nor No left out: 1 Unsure, 1 nothing." in account
    card = data_card.DataCard.read(tmp_path / "out")
    exact = card.origins["preferences"][config.preferences[0]].model_copy(
        update={"paper_b": {"train": 3, "validation": 1}}
    )
    alike = card.model_copy(update={"origins": {"preferences": {"seahorse": exact}}})
    assert not any("paper B" in note for note in data_card.notes(alike))
    assert card.non_commercial and json.loads((tmp_path / "out" / "corpus.json").read_text())["licences"][gem[0]]


def test_seahorse_s_languages_are_validated_as_corpora_of_their_own(gem: tuple[str, ...], tmp_path: Path) -> None:
    curate.run(curated(gem), output=tmp_path / "en")
    german = curated(gem, language="de", demonstrations=[gem[2], gem[3]])
    curate.run(german, source=tmp_path / "en", output=tmp_path / "de")
    validate.run(validate.Config(), source=tmp_path / "en", own=[tmp_path / "de"], output=tmp_path / "out")
    rows = read_rows(tmp_path / "out" / "de" / "demonstrations.jsonl")
    assert {row["subset"] for row in rows} == {"mlsum", "wikilingua"} and len(rows) == 12
    assert read_rows(tmp_path / "out" / "de" / "preferences.jsonl")


def test_wikilingua_is_read_from_its_archives(tmp_path: Path) -> None:
    """As published: `german.zip` with a folder `german`, in which `val.src.de` has a document on each line."""
    records, folder = sample("wikilingua"), tmp_path / "content" / "german"
    folder.mkdir(parents=True)
    for part, chosen in (("train", records), ("val", records[:2]), ("test", records[2:])):
        for kind in ("source", "target"):
            for code in ("de", "en"):
                lines = "".join(f"{record[f'{kind}_aligned'][code]}\n" for record in chosen)
                (folder / f"{part}.{'src' if kind == 'source' else 'tgt'}.{code}").write_text(lines, encoding="utf-8")
    expected = [
        {"gem_id": f"wiki_lingua_german_de-val-{i}", "source": record["source"], "target_aligned": record["target_aligned"]}
        for i, record in enumerate(records[:2])
    ]  # fmt: skip
    assert wikilingua.records(str(tmp_path / "content"), "de", "validation") == expected
    assert wikilingua.records(str(folder), "de", "validation") == expected
    assert wikilingua.records(str(tmp_path / "content"), "tr", "validation") is None
    (tmp_path / "zips").mkdir()
    shutil.make_archive(str(tmp_path / "zips" / "german"), "zip", tmp_path / "content")
    loaded = catalog.load(catalog.DEMONSTRATIONS, f"wikilingua={tmp_path / 'zips'}", "de", None, 0, ())
    assert [(row["id"], row["split"]) for row in loaded.rows] == [
        *((f"wiki_lingua_german_de-train-{i}", "train") for i in range(3)),
        *((f"wiki_lingua_german_de-val-{i}", "validation") for i in range(2)),
    ]
    assert [row["response"] for row in loaded.rows[:3]] == [record["target_aligned"]["de"] for record in records]
    (folder / "val.tgt.en").write_text("one\n")
    with refused(DataError, folder / "val", "2 in src.de, 2 in src.en, 2 in tgt.de, 1 in tgt.en"):
        wikilingua.records(str(folder), "de", "validation")


# OpenAssistant


def test_every_ranked_pair_of_answers_to_a_message_is_a_pair() -> None:
    pairs = list(conversation_trees.pairs(sample("oasst1")))
    assert [row["id"] for row in pairs] == ["a1-a3", "a1-a2", "a3-a2", "a6-a5", "b2-b1"]
    assert pairs[3]["prompt"] == [
        {"role": "user", "content": "How do I boil an egg?"},
        {"role": "assistant", "content": "Put it in boiling water for eight minutes."},
        {"role": "user", "content": "And a soft one?"},
    ]
    assert (pairs[3]["chosen"], pairs[3]["rejected"]) == ("Five minutes are enough.", "No idea.")
    assert pairs[0]["prompt"] == "How do I boil an egg?" and pairs[4]["language"] == "es"


def test_the_answer_that_is_ranked_first_is_a_demonstration() -> None:
    rows = list(conversation_trees.preferred(sample("oasst1")))
    assert [(row["id"], row["response"]) for row in rows] == [
        ("a1", "Put it in boiling water for eight minutes."), ("a6", "Five minutes are enough."),
        ("b2", "Son las tres de la tarde."),
    ]  # fmt: skip
    tied = [record | {"rank": 0} if record["rank"] is not None else record for record in sample("oasst1")]
    assert not list(conversation_trees.preferred(tied)) and not list(conversation_trees.pairs(tied))


def test_trees_keep_their_published_split_and_language(tmp_path: Path) -> None:
    folder = tmp_path / "oasst1"
    write_jsonl(folder / "train.jsonl", sample("oasst1"))
    write_jsonl(folder / "validation.jsonl", [record for record in sample("oasst1") if record["message_id"][0] in "ab"])
    for code, train, held in (("en", 4, 4), ("es", 1, 1)):
        config = curate.Config.model_validate({
            "language": code, "preferences": [f"oasst1={folder}"], "benchmark": None, "clean": [],
            "demonstrations": [f"oasst1-preferred={folder}"], "prompts": "demonstrations",
        })  # fmt: skip
        metrics = curate.run(config, output=tmp_path / code)
        assert (metrics["preferences"], metrics["heldout_pairs"]) == (train, held)
        rows = read_rows(tmp_path / code / "demonstrations.jsonl")
        assert {row["split"] for row in rows} == {"train", "validation"} and {row["subset"] for row in rows} == {
            "oasst1"
        }
        prompts = read_rows(tmp_path / code / "prompts.jsonl")
        assert [row["prompt"] for row in prompts] == [row["prompt"] for row in rows]
        card = data_card.DataCard.read(tmp_path / code)
        assert card.origins["preferences"][f"oasst1={folder}"].splits == {"train": train, "validation": held}
    assert hub_sets.SOURCES["oasst1"].paper_b["en"] == (22076, 1026)


def test_a_loss_of_pairs_is_refused_for_sets_of_judgments() -> None:
    stages = {"curate": {"preferences": ["seahorse"], "benchmark": "rewardbench"}}
    for loss, problems in (("bradley_terry", ["reward.loss"]), ("pointwise", [])):
        asked = Experiment(name="x", targets=(), stages={**stages, "reward": {"loss": loss}})
        assert [error.where for error in data_readiness.losses(asked, ("curate", "reward"))] == problems


def test_the_published_counts_are_those_of_the_paper_s_tables() -> None:
    published = paper_b.counts_sft()
    names = {"MLSum": "mlsum", "WikiLingua": "wikilingua", "XSum": "xsum", "XL-Sum": "xlsum"}
    for language, counts in published.items():
        for name, count in counts.items():
            assert summaries.SFT_COUNTS[names[name]][language] == astuple(count)
    assert sum(map(len, summaries.SFT_COUNTS.values())) == sum(map(len, published.values())) == 14
    for ours, theirs in (
        (summaries.SEAHORSE_COUNTS, paper_b.counts_rewards()),
        (conversation_trees.SFT_COUNTS, paper_b.counts_dialog_sft()),
        (conversation_trees.PAIR_COUNTS, paper_b.counts_dialog_rewards()),
    ):
        assert ours == {language: astuple(count) for language, count in theirs.items()}
