"""Translations of translations: round trips, pivots, and the corpora that they are checked against."""

from pathlib import Path

import pytest
from refusals import refused

from xlrm.data.corpus_schema import Description
from xlrm.errors import ConfigError
from xlrm.languages import LANGUAGES
from xlrm.stages import curate, plan, translate, validate
from xlrm.store.jsonl import read_rows
from xlrm.translation import chains, translators
from xlrm.translation.workload import Plan

TABLES = ("preferences", "heldout", "prompts", "demonstrations")


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("english") / "en"
    config = curate.Config(
        preferences=("phrasebook-judgments",), pairs=60, benchmark=None, prompts="demonstrations",
        demonstrations=("phrasebook",), demonstrations_rows=60,
    )  # fmt: skip
    curate.run(config, output=folder)
    return folder


def translated(corpus: Path, language: str, output: Path, **fields: object) -> Path:
    config = translate.Config.model_validate({"language": language, "translator": "phrasebook", **fields})
    translate.run(config, corpus=corpus, output=output)
    return output


def test_a_round_trip_gives_the_same_texts_and_passes_validation(english: Path, tmp_path: Path) -> None:
    german = translated(english, "de", tmp_path / "de")
    back = translated(german, "en", tmp_path / "en")
    for name in TABLES:
        assert (back / f"{name}.jsonl").read_bytes() == (english / f"{name}.jsonl").read_bytes()
        assert read_rows(german / f"{name}.jsonl")[0]["prompt"] != read_rows(english / f"{name}.jsonl")[0]["prompt"]
    assert Description.read(back).files == TABLES
    metrics = validate.run(validate.Config(), source=german, translations=[back], output=tmp_path / "checked")
    assert metrics["failures/en"] == 0 and metrics["failures/de"] == 0
    for code, folder in (("en", back), ("de", german)):
        for name in TABLES:
            assert (tmp_path / "checked" / code / f"{name}.jsonl").read_bytes() == (
                folder / f"{name}.jsonl"
            ).read_bytes()


def test_a_pivot_is_as_good_as_a_direct_translation(english: Path, tmp_path: Path) -> None:
    german = translated(english, "de", tmp_path / "de", files=("demonstrations",))
    direct = translated(german, "tr", tmp_path / "direct")
    pivot = translated(translated(german, "en", tmp_path / "en"), "tr", tmp_path / "pivot")
    assert (pivot / "demonstrations.jsonl").read_bytes() == (direct / "demonstrations.jsonl").read_bytes()
    assert Description.read(pivot).files == ("demonstrations",)
    validate.run(validate.Config(), source=german, translations=[pivot], output=tmp_path / "checked")
    assert len(read_rows(tmp_path / "checked" / "tr" / "demonstrations.jsonl")) == 60


def test_a_shard_is_translated_again_as_that_shard(english: Path, tmp_path: Path) -> None:
    back = []
    for number in (1, 2):
        part = translated(english, "de", tmp_path / f"de{number}", shard=f"{number}/2")
        back.append(translated(part, "en", tmp_path / f"en{number}"))
    assert [Description.read(folder).shard for folder in back] == [(1, 2), (2, 2)]
    rows = [row for folder in back for row in read_rows(folder / "demonstrations.jsonl")]
    assert rows == read_rows(english / "demonstrations.jsonl")
    with refused(ConfigError, "translate.shard", "1/2"):
        translated(tmp_path / "de1", "en", tmp_path / "again", shard="1/2")


def test_a_corpus_is_not_translated_into_its_own_language(english: Path, tmp_path: Path) -> None:
    with refused(ConfigError, "translate.language", "en"):
        translated(english, "en", tmp_path / "out")


def test_a_translation_can_be_planned(english: Path, tmp_path: Path) -> None:
    german = translated(english, "de", tmp_path / "de", files=("demonstrations",))
    config = plan.Config(targets=("tr", "en"), translate={"translator": "phrasebook"})
    plan.run(config, corpus=german, output=tmp_path / "plan")
    assert {code: job.texts for code, job in Plan.read(tmp_path / "plan").languages.items()} == {"tr": 120, "en": 120}


@pytest.mark.parametrize(
    ("translator", "source", "target", "steps"),
    [
        ("x-alma", "de", "es", "en es"), ("x-alma", "es", "it", "it"), ("x-alma", "en", "vi", "vi"), ("x-alma", "ru", "en", "en"),
        ("phrasebook", "de", "es", "es"), ("facebook/nllb-200-3.3B", "ru", "tr", "tr"),
    ],
)  # fmt: skip
def test_a_route_goes_through_english_only_if_it_must(translator: str, source: str, target: str, steps: str) -> None:
    route = chains.route(translator, LANGUAGES[source], LANGUAGES[target])
    assert " ".join(language.code for language in route) == steps


def test_an_impossible_pair_names_the_pivot() -> None:
    with pytest.raises(ConfigError) as raised:
        translators.x_alma_model(LANGUAGES["de"], LANGUAGES["es"])
    assert raised.value.where == "translate.translator" and "English" in raised.value.hint
