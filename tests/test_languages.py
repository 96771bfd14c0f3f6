"""One language alone, languages with data of their own, and languages that an experiment adds."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_corpora
import yaml
from refusals import refused

from pipelines import changes
from xlrm import cli, languages
from xlrm.data import division
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation.results import EvaluationResults
from xlrm.languages import LANGUAGES, NewLanguage
from xlrm.reporting import gate_sentences, sentences
from xlrm.run.experiment import Experiment, build, parse, write
from xlrm.run.runner import run_stage
from xlrm.run.steps import steps
from xlrm.stages import curate, validate
from xlrm.store import addresses, artifacts
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.training import columns
from xlrm.translation import translators
from xlrm.validation import suite
from xlrm.validation.frame import Plan, script_share
from xlrm.validation.language_id import Identifier
from xlrm.validation.limits import Limits
from xlrm.validation.summary import Summary

PAGE = Path(__file__).parents[1] / "docs" / "languages.md"
ALONE = {
    "name": "alone", "base": {"model": "owner/model"},
    "curate": {"preferences": ["ja.jsonl"], "benchmark": "b.jsonl", "prompts": None, "parallel": None},
}  # fmt: skip
JAPANESE = {"source": "ja", "targets": [], "languages": {"ja": small_corpora.LANGUAGES["ja"]}}
SMALL = {
    "reward": {"batch_size": 8, "max_length": 512, "precision": "float32"},
    "evaluate": {"max_length": 512, "precision": "float32"},
    "rank": {"max_length": 512, "precision": "float32", "unfinished": "keep"},
    "sample": {"samples": 2, "max_new_tokens": 4, "precision": "float32"},
    "align": {"batch_size": 2, "max_length": 512, "precision": "float32"}, "judge": {"judge": None},
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_languages() -> Iterator[None]:
    """The languages of one test are not known to the next."""
    before = dict(LANGUAGES)
    yield
    LANGUAGES.clear()
    LANGUAGES.update(before)


def experiment(raw: dict[str, Any], **overrides: Any) -> Experiment:
    return build({"name": "x"} | raw, overrides, "x.yaml")


def made(raw: dict[str, Any]) -> dict[str, str]:
    """Label -> URI of the artifact of every step."""
    asked, uris = experiment(raw), {}
    for label, step in steps("cross-lingual-transfer", asked).items():
        inputs = {
            name: uris[of] if isinstance(of, str) else [uris[one] for one in of] for name, of in step.inputs.items()
        }
        uris[label] = run_stage(step.stage, step.config, inputs, experiment=asked.name).uri
    return uris


def folder(uri: str) -> Path:
    return artifacts.fetch(uri, addresses.home() / "cache")


def documented(name: str, base: Path) -> dict[str, Any]:
    """The experiment of this name in docs/languages.md, with a base model and settings for seconds."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    raw = next(loaded for loaded in map(yaml.safe_load, blocks) if loaded["name"] == name)
    return raw | SMALL | {"base": {"model": str(base)}}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `data` of the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


# One language alone


def test_one_language_needs_no_translation_and_no_comparison() -> None:
    labels = set(steps("cross-lingual-transfer", experiment(ALONE | {"source": "en", "targets": []})))
    assert labels == {"curate", "validate", "base", "reward-en", "evaluate-en", "external", "register", "report"}
    asked = experiment(ALONE | JAPANESE, **{"curate.prompts": "p.jsonl", "judge.judge": "served=m"})
    labels = steps("cross-lingual-transfer", asked)
    assert {"rank-ja", "align-ja-ja", "sample-policy-ja", "sample-ja", "judge-ja"} <= set(labels)
    assert labels["rank-ja"].config["labelers"] == ["ja"] and "represent" not in labels
    assert asked.named_languages == "ja" and experiment(CORPORA).named_languages == "en → ko, de, es"


def test_japanese_alone_from_its_files_to_its_report(tiny_base: Path, data: Path) -> None:
    small_corpora.files(data, "ja", with_prompts=True)
    uris = made(documented("japanese", tiny_base))
    kept = read_rows(folder(uris["validate"]) / "ja" / "preferences.jsonl")
    assert [row["prompt"] for row in kept] == [row["prompt"] for row in small_corpora.rows("ja", 0)]
    results = EvaluationResults.read(folder(uris["evaluate-ja"])).results
    assert {code: result.items for code, result in results.items()} == {"ja": 16}
    page = (folder(uris["report"]) / "report.html").read_text(encoding="utf-8")
    assert "16 preference pairs in Japanese" in page and "<h2>Accuracy" in page and "<h2>Validation" in page
    assert "against each language" not in page and "Transfer matrix" not in page and "translation" not in page.lower()
    assert "Representations: they are compared between languages, and there is only one." in page
    assert "Japanese" in (folder(uris["reward-ja"]) / "README.md").read_text(encoding="utf-8")


# Languages with data of their own

CORPORA = {
    "source": "en", "targets": ["ko", "de", "es"], "base": {"model": "owner/model"}, "translate": {"translator": "x-alma"},
    "curate": {"preferences": ["en.jsonl"], "benchmark": "b.jsonl", "prompts": None, "parallel": None, "near_duplicates": 0.7},
    "corpora": {"ko": {"preferences": ["ko.jsonl"], "benchmark": "kb.jsonl"}, "de": {"benchmark": "db.jsonl"}},
}  # fmt: skip
WRONG_SCRIPT = {"pt": {"name": "Portuguese", "script": "Latim"}}
KNOWN = {"ko": {"name": "Korean", "script": "Hangul"}}


def test_what_a_language_lacks_is_translated_and_the_rest_is_not() -> None:
    wired = steps("cross-lingual-transfer", experiment(CORPORA))
    assert {label for label in wired if label.startswith(("curate", "translate"))} == {
        "curate", "curate-ko", "curate-de", "translate-de", "translate-es",
    }  # fmt: skip
    own = curate.Config(**wired["curate-ko"].config)
    assert (own.language, own.preferences, own.benchmark, own.prompts, own.near_duplicates) == (
        "ko", ("ko.jsonl",), "kb.jsonl", None, 0.7,
    ), "rules of the section `curate`, but none of its datasets"  # fmt: skip
    assert (
        wired["translate-de"].config["files"] == ["preferences", "heldout"]
        and "files" not in wired["translate-es"].config
    )
    assert wired["plan"].config["targets"] == ["de", "es"]
    assert wired["validate"].inputs == {
        "source": "curate", "translations": ("translate-de", "translate-es"), "own": ("curate-ko", "curate-de"),
    }  # fmt: skip
    retrained = steps("retrain", experiment(CORPORA))
    assert "translate-de" not in retrained and retrained["translate-es"].config["files"] == ["benchmark"]
    every = CORPORA["corpora"] | dict.fromkeys(("de", "es"), CORPORA["corpora"]["ko"])
    alone = experiment(CORPORA | {"corpora": every, "translate": {}})
    assert not {"plan", "translate"} & {step.stage for step in steps("cross-lingual-transfer", alone).values()}
    assert Experiment(**_top(parse(write(alone), "x"))) == alone, "as `configure` passes it on"


def _top(raw: dict[str, Any]) -> dict[str, Any]:
    known = {name: raw.pop(name) for name in ("name", "source", "targets", "corpora") if name in raw}
    return known | {"stages": raw}


@pytest.mark.parametrize(
    "overrides, where, value",
    [
        ({"corpora.fr": {"benchmark": "f.jsonl"}}, "x.yaml: corpora.fr", None),
        ({"corpora.en": {"benchmark": "f.jsonl"}}, "x.yaml: corpora.en", None),
        ({"corpora.ko": {"pairs": 10}}, "x.yaml: corpora.ko", None),
        ({"corpora.ko.language": "ko"}, "x.yaml: corpora.ko.language", "ko"),
        ({"corpora.ko.pairs": 1}, "x.yaml: corpora.ko.pairs", 1),
        ({"corpora.ko.benchmark": "nowhere"}, "x.yaml: corpora.ko.benchmark", "nowhere"),
        ({"corpora.ko.benchmark": "rewardbench"}, "x.yaml: corpora.ko.benchmark", "rewardbench"),
        ({"corpora.ko.prompts": "p.jsonl"}, "x.yaml: corpora.ko.prompts", "p.jsonl"),
        ({"curate.benchmark": None}, "x.yaml: curate.benchmark", None),
        (
            {"translate.translator": "phrasebook", "curate.preferences": ["helpsteer2"]},
            "x.yaml: translate.translator", "phrasebook",
        ),
        ({"targets": ["ko", "pt"]}, "x.yaml: targets", "pt"),
        ({"languages": WRONG_SCRIPT}, "x.yaml: languages", WRONG_SCRIPT),
        ({"languages": KNOWN}, "x.yaml: languages", KNOWN),
        ({"languages.pt": {"name": "Portuguese"}}, "x.yaml: languages.pt.script", None),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_at_load(overrides: dict, where: str, value: object) -> None:
    with refused(ConfigError, where, value):
        experiment(CORPORA, **overrides)


def test_without_a_translator_every_table_is_the_languages_own() -> None:
    raw = {**CORPORA, "targets": ["ko", "de"], "translate": {}}
    with refused(ConfigError, "x.yaml: translate.translator") as raised:
        experiment(raw)
    assert "or name preferences in German in corpora.de" in raised.value.hint


def test_an_unknown_language_says_where_to_add_it() -> None:
    for overrides in ({"source": "pt"}, {"targets": ["pt"]}):
        with pytest.raises(ConfigError) as raised:
            experiment(CORPORA | {"corpora": {}}, **overrides)
        assert languages.ADD in raised.value.hint


def test_texts_of_people_are_not_refused_as_if_a_machine_had_made_them(tmp_path: Path) -> None:
    """A translation that leaves out a number is dropped; the same text, translated by somebody else, is kept."""
    said = {
        "en": "There are {n} boats in the harbour of the old town today, and each of them has a captain.",
        "de": "Heute liegen viele Boote im Hafen der alten Stadt, und jedes davon hat einen Kapitän.",
    }
    for code, text in said.items():
        said_of = [(n, text.format(n=n + 40)) for n in range(20)]
        rows = [
            {"id": f"r{n}", "prompt": f"{n}: {one}", "chosen": one, "rejected": f"{one[:30]}.", "subset": "s"}
            for n, one in said_of
        ]
        write_jsonl(tmp_path / code / "preferences.jsonl", [row | {"source": "t"} for row in rows])
        write_jsonl(tmp_path / code / "benchmark.jsonl", [row | {"section": "s"} for row in rows])
        (tmp_path / code / "corpus.json").write_text(json.dumps({"language": code}))
    config = validate.Config(max_reject_share=1)
    source, german = tmp_path / "en", tmp_path / "de"
    with pytest.raises(Exception, match="no row of"):
        validate.run(config, source=source, translations=[german], output=tmp_path / "as_translation")
    metrics = validate.run(config, source=source, own=[german], output=tmp_path / "own")
    assert metrics["kept/de"] == 40 and "failures/de/number" not in metrics
    summary = Summary.read(tmp_path / "own")
    assert summary.own == {"de": ("preferences", "benchmark")} and not summary.translations
    assert "Data in German was not translated here" in gate_sentences.validated(summary)
    with refused(DataError, "validate.translations", "en, de, de"):
        validate.run(config, source=source, translations=[german], own=[german], output=tmp_path / "twice")


def test_a_short_answer_that_is_a_name_is_not_in_the_wrong_script() -> None:
    said = {"prompt": "Как называется памятник, который стоит на площади старого города?", "rejected": "Нет."}
    long = "Эта статуя называется Momus." + " The rest of this long answer is not in Russian at all, and has no reason."
    rows = [{"id": str(n), "chosen": chosen} | said for n, chosen in enumerate(("Momus", long))]
    plan = Plan(("id", "prompt", "chosen", "rejected"), LANGUAGES["ru"], None, Limits())
    failed = {(outcome.expectation.name, row) for outcome in suite.check(plan, rows) for row in outcome.failed}
    assert {row for _, row in failed} == {1}


def test_a_pair_that_is_held_out_in_one_language_is_in_no_other_languages_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = small_corpora.files(tmp_path, "pt")
    shares = {"train_share": 0.5, "more_languages": small_corpora.LANGUAGES}
    curate.run(curate.Config(language="pt", **source, **shares), output=tmp_path / "pt-out")
    other = curate.Config(language="ar", **small_corpora.files(tmp_path, "ar"), **shares)
    curate.run(other, source=tmp_path / "pt-out", output=tmp_path / "ar-out")
    assert "16 of 16 pairs have an id of the source's" in capsys.readouterr().err
    assert division.held_out_ids(tmp_path / "ar-out") == division.held_out_ids(tmp_path / "pt-out")
    assert len(division.held_out_ids(tmp_path / "pt-out")[1]) == 8


def test_a_pair_that_tests_in_one_language_is_in_no_other_languages_training(tmp_path: Path) -> None:
    shares = {"train_share": 0.5, "benchmark": "heldout", "more_languages": small_corpora.LANGUAGES}
    for code, source in (("pt", None), ("ar", tmp_path / "pt-out")):
        config = curate.Config(language=code, **small_corpora.files(tmp_path, code) | shares)
        curate.run(config, source=source, output=tmp_path / f"{code}-out")
    files = ("preferences.jsonl", "benchmark.jsonl")
    ids = [
        [{row["id"] for row in read_rows(tmp_path / f"{code}-out" / file)} for file in files] for code in ("pt", "ar")
    ]
    assert ids[0] == ids[1] and len(ids[0][1]) == 8


def test_parallel_texts_correspond_by_their_ids(tmp_path: Path) -> None:
    config = {"preferences": (), "benchmark": None, "prompts": None, "language": "de"}
    write_jsonl(tmp_path / "source" / "parallel.jsonl", [{"id": "t1", "text": "One."}])
    for row, fits in (({"id": "t1", "text": "Eins."}, True), ({"text": "Zwei."}, False)):
        write_jsonl(file := tmp_path / "texts.jsonl", [row])
        asked = curate.Config(**config, parallel=str(file))
        if fits:
            assert curate.run(asked, source=tmp_path / "source", output=tmp_path / "out")["parallel_texts"] == 1
        else:
            with refused(DataError, "curate.parallel", str(file)):
                curate.run(asked, source=tmp_path / "source", output=tmp_path / "out")


def test_commits_of_a_languages_own_sets_are_noted_in_its_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes.hub, "dataset_commit", lambda name, revision: "c" * 40)
    asked = experiment(CORPORA, **{
        "curate.preferences": ["helpsteer2"], "corpora.ko.preferences": ["helpsteer3"], "base.model": str(tmp_path),
    })  # fmt: skip
    pinned = changes._pin(asked, "cross-lingual-transfer", [])
    assert pinned.stages["curate"]["preferences"] == [f"helpsteer2@{'c' * 40}"]
    assert pinned.corpora["ko"]["preferences"] == [f"helpsteer3@{'c' * 40}"]
    assert pinned.corpora["de"] == asked.corpora["de"]


def test_rows_without_ids_are_not_matched_between_languages(tmp_path: Path) -> None:
    ids = {}
    for code in ("ja", "hi"):
        config = curate.Config(language=code, **small_corpora.files(tmp_path, code, aligned=False))
        curate.run(config, output=tmp_path / f"{code}-out")
        ids[code] = {row["id"] for row in read_rows(tmp_path / f"{code}-out" / "preferences.jsonl")}
    assert "pairs-ja-0" in ids["ja"] and not ids["ja"] & ids["hi"]
    rows = {code: [{"id": one} for one in sorted(ids[code])] for code in ids}
    assert len(columns.mixture(rows, "split", 0)) == 32, "a reward model of both languages trains on all pairs of both"


def test_pairs_in_five_languages_without_a_translator(tiny_base: Path, data: Path) -> None:
    """Hindi's rows are not the translations of the others'."""
    for code in small_corpora.CODES:
        small_corpora.files(data, code, aligned=code != "hi")
    uris = made(documented("five-languages", tiny_base))
    for code in small_corpora.CODES:
        kept = read_rows(folder(uris["validate"]) / code / "preferences.jsonl")
        assert [row["chosen"] for row in kept] == [row["chosen"] for row in small_corpora.rows(code, 0)], code
    (card,) = [file.read_text(encoding="utf-8") for file in folder(uris["register"]).glob("*-ar/README.md")]
    assert "data/ar/pairs.jsonl" in card and "data/en/pairs.jsonl" not in card and "Arabic" in card
    page = (folder(uris["report"]) / "report.html").read_text(encoding="utf-8")
    assert (
        sentences.NO_MEAN in page and "Data in Portuguese, Japanese, Arabic and Hindi was not translated here" in page
    )
    assert page.count(' dir="auto"') == page.count(' lang="') - 1 > 0, (
        "texts run in their own direction, Arabic to the left"
    )


# Languages that an experiment adds


def test_a_step_gets_the_languages_that_it_looks_up_and_no_others() -> None:
    raw = CORPORA | {"targets": ["ko", "pt"], "languages": small_corpora.LANGUAGES, "corpora": {}}
    wired = steps(
        "cross-lingual-transfer", experiment(raw, **{"translate.translator": "facebook/nllb-200-distilled-600M"})
    )
    given = {label: set(step.config.get("more_languages", {})) for label, step in wired.items()}
    assert {label for label, codes in given.items() if codes == {"pt"}} == {
        "plan", "translate-pt", "validate", "reward-pt", "report",
    }  # fmt: skip
    assert not any(codes for label, codes in given.items() if codes != {"pt"}), (
        "another language changes no key of these"
    )


def test_a_language_may_have_a_translator_of_its_own() -> None:
    pt = {"name": "Portuguese", "script": "Latin", "x_alma_group": 2}
    asked = experiment(CORPORA | {"targets": ["es", "pt"], "corpora": {}, "languages": {"pt": pt}})
    wired = steps("cross-lingual-transfer", asked)
    assert "translator" in wired["translate-pt"].config
    assert translators.x_alma_model(LANGUAGES["en"], LANGUAGES["pt"]) == "haoranxu/X-ALMA-13B-Group2"
    own = {"name": "Hindi", "script": "Devanagari", "translator": "some/model"}
    asked = experiment(CORPORA | {"targets": ["es", "hi"], "corpora": {}, "languages": {"hi": own}})
    wired = steps("cross-lingual-transfer", asked)
    assert [wired[f"translate-{code}"].config["translator"] for code in ("es", "hi")] == ["x-alma", "some/model"]
    assert asked.config("translate", language="hi").translator == "some/model"
    with refused(ConfigError, "x.yaml: translate.translator", "x-alma"):
        experiment(CORPORA | {"targets": ["hi"], "corpora": {}, "languages": {"hi": small_corpora.LANGUAGES["hi"]}})


def test_scripts_and_languages_are_recognised() -> None:
    languages.known({code: NewLanguage(**entry) for code, entry in small_corpora.LANGUAGES.items()})
    texts = {code: [row["chosen"] for row in small_corpora.rows(code, 0)] for code in small_corpora.LANGUAGES}
    for code, own in texts.items():
        assert script_share(own, LANGUAGES[code].script).min() == 1, code
        identifier = Identifier(code, 25, 0.05)
        doubts = {text: doubt for text, doubt in zip(own, identifier.doubts(own), strict=True) if doubt}
        assert not any(identifier.foreign(doubts).values()) if doubts else True, code
    assert script_share(texts["ja"], "Arabic").max() == 0
    foreign = Identifier("ja", 25, 0.05).doubts(texts["pt"])
    assert foreign.count("pt") == 16
    languages.known({"ast": NewLanguage(name="Asturian", script="Latin")})
    assert Identifier("ast", 25, 0.05).doubts(texts["pt"]) == [None] * 16, (
        "lingua does not know it, so nothing is doubted"
    )


BOATS = {
    "pt": "Há 12 barcos no porto da cidade velha, e 1.500 pessoas vivem lá desde 1987.",
    "ja": "古い町の港には12隻の船があり、1987年から1500人がそこに住んでいます。",
    "ar": "يوجد ١٢ قاربًا في ميناء المدينة القديمة، ويعيش هناك ١٥٠٠ شخص منذ عام ١٩٨٧.",
    "hi": "पुराने शहर के बंदरगाह में १२ नावें हैं, और १९८७ से वहाँ १,५०० लोग रहते हैं।",
}


@pytest.mark.parametrize("code", BOATS)
def test_translations_into_added_languages_are_checked(code: str) -> None:
    """Numbers in the digits of Arabic and Hindi are those of the source."""
    languages.known({code: NewLanguage(**small_corpora.LANGUAGES[code])})
    english = "There are 12 boats in the harbour of the old town, and 1,500 people live there since 1987."

    def failing(text: str) -> set[str]:
        rows = ([{"id": "a", "prompt": one}] for one in (text, english))
        outcomes = suite.failures(*rows, ("id", "prompt"), code, "en", Limits())
        return {outcome.expectation.name for outcome in outcomes if outcome.failed}

    assert failing(BOATS[code]) == set()
    assert failing(BOATS[code].translate(str.maketrans("2٢२", "3٣३"))) == {"number"}
    assert {"copy", "language"} <= failing(english)


@pytest.mark.parametrize("code", ["Portuguese", "p", "pt+en", "../pt"])
def test_a_language_is_named_by_its_code(code: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.app(["evaluate", "--model", "m", "--benchmark", "b.jsonl", "--output", str(tmp_path), "--language", code])
    assert raised.value.code == 2 and f"--language={code!r}: {languages.CODE} is required" in capsys.readouterr().err


def test_no_model_of_a_language_trains_on_pairs_that_the_source_is_tested_on(tmp_path: Path) -> None:
    """The entry of a language names no benchmark of its own: that of the source, of its held-out pairs, is translated."""
    words = ["bread", "rain", "stairs", "violin", "moon", "tea", "glass", "storm"]
    asked = [(a, b) for a in words for b in words if a < b]
    for code, prompt in (("en", "What do {} and {} share?"), ("de", "Was haben {} und {} gemeinsam?")):
        pairs = [
            {"id": f"{a}-{b}", "prompt": prompt.format(a, b), "chosen": f"{a}.", "rejected": f"{b}."} for a, b in asked
        ]
        more = [{**pair, "id": f"{code}-{pair['id']}", "chosen": "?"} for pair in pairs]  # pairs with the same prompts
        write_jsonl(tmp_path / f"{code}.jsonl", [*pairs, *(more if code == "de" else [])])
    made = steps("cross-lingual-transfer", experiment(
        yaml.safe_load("{name: x, source: en, targets: [de], base: {model: a/b}, translate: {translator: a/b},"
        " curate: {clean: [], train_share: 0.8, benchmark: heldout}}"),
        **{"curate.preferences": [str(tmp_path / "en.jsonl")], "corpora.de.preferences": [str(tmp_path / "de.jsonl")]},
    ))  # fmt: skip
    curate.run(curate.Config(**made["curate"].config), output=tmp_path / "en")
    own = curate.Config(**made["curate-de"].config)
    curate.run(own, source=tmp_path / "en", output=tmp_path / "de")
    tested = {row["id"] for row in read_rows(tmp_path / "en" / "benchmark.jsonl")}
    trained = {row["id"].removeprefix("de-") for row in read_rows(tmp_path / "de" / "preferences.jsonl")}
    assert len(tested) == 6 and len(trained) == 22 and not tested & trained
    assert "corpus.json" in curate.reads(own)["source"], "it says what the source's benchmark is made of"
