"""The sets of the Hub: their row functions on records in each set's schema, where they are taken from, and what happens
where there is no Hub. The sets here are folders laid out like repositories, which the real library loads."""

import json
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from phrasebook_settings import CURATE, curated
from refusals import refused

from xlrm.data import data_card, hub_sets
from xlrm.data.catalog import EVAL_PROMPTS, PREFERENCES, PROMPTS, find, load, load_pairs
from xlrm.data.hub_sets import SOURCES
from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.evaluation import benchmarks
from xlrm.run.sections import stage_config
from xlrm.stages import curate, sample
from xlrm.store.jsonl import read_rows, write_jsonl

SAMPLES = Path(__file__).parent / "samples"
SAMPLE_OF = {
    name: "safe-rlhf" if name.startswith("safe-rlhf") else name.replace("magpielm", "magpie").removesuffix("-preferred")
    for name in SOURCES
}

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def repository(folder: Path, records: list[dict], split: str = "train", config: str | None = None) -> str:
    """A folder with one table, as repositories of the Hub are laid out."""
    (folder / "data").mkdir(parents=True)
    file = folder / "data" / f"{split}-00000-of-00001.parquet"
    if config:
        (folder / "README.md").write_text(
            f"---\nconfigs:\n- config_name: {config}\n  data_files:\n  - split: {split}\n    path: data/*.parquet\n---\n"
        )
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), file)
    return str(folder)


def copy_of(name: str, folder: Path, times: int = 1) -> str:
    """An entry of a config: the set, taken from a folder with a sample of it."""
    records = read_rows(SAMPLES / f"{SAMPLE_OF[name]}.jsonl") * times
    return f"{name}={repository(folder / name, records, SOURCES[name].split.format(language='english'), SOURCES[name].config)}"


def rows(name: str) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in SOURCES[name].rows(read_rows(SAMPLES / f"{SAMPLE_OF[name]}.jsonl"))]


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_makes_text_rows_of_its_records(name: str) -> None:
    found = list(SOURCES[name].rows(read_rows(SAMPLES / f"{SAMPLE_OF[name]}.jsonl")))
    fields = {
        "preferences": ["prompt", "chosen", "rejected"], "benchmark": ["id", "prompt", "chosen", "rejected", "subset"],
        "parallel": ["id", "text"], "demonstrations": ["id", "prompt", "response", "subset"],
    }.get(SOURCES[name].use, ["prompt"])  # fmt: skip
    fields = ["id", *fields, "subset"] if name == "oasst1" else ["id", *fields] if name == "xquad" else fields
    assert found and all([key for key in row if key not in ("margin", "language")] == fields for row in found)
    values = [value for row in found for key, value in row.items() if key != "margin"]
    several = [value for value in values if isinstance(value, list) and isinstance(value[0], dict)]
    assert bool(several) == name.startswith(("helpsteer", "oasst1")), "whose prompts may have turns"
    best_of = [value for value in values if isinstance(value, list) and value not in several]
    assert bool(best_of) == (name == "rewardbench-2"), "a best of n has lists"
    texts = [value for value in values if isinstance(value, str)] + [text for value in best_of for text in value]
    texts += [message["content"] for value in several for message in value]
    assert all(isinstance(text, str) and text for text in texts)
    assert all(row.get("margin", 1.0) > 0 for row in found)
    assert SOURCES[name].licence and SOURCES[name].revision


def test_helpsteer3_comes_in_each_of_its_languages(tmp_path: Path) -> None:
    entry = copy_of("helpsteer3", tmp_path)
    english, japanese, korean = (load_pairs(entry, code, 10, 0).rows for code in ("en", "ja", "ko"))
    assert [(row["id"], row["chosen"], row["margin"]) for row in english] == [
        ("helpsteer3-0", "Eleven.", 2.0), ("helpsteer3-1", "def add(a, b):\n    return a + b", 1.0),
    ], "code has a programming language in the column"  # fmt: skip
    assert [message["role"] for message in english[0]["prompt"]] == ["user", "assistant", "user"]
    assert [(row["id"], row["prompt"], row["margin"]) for row in japanese] == [
        ("helpsteer3-ja-0", "一番高い山は何ですか。", 3.0)
    ], "an id of its own: it is no translation of an English row"  # fmt: skip
    assert korean == [], "the sample has none"


def test_safe_rlhf_by_each_of_its_labels() -> None:
    diary = "Pick the lock with a hairpin while she sleeps, then put it back."
    assert [row[1] for row in rows("safe-rlhf-better")][1] == diary
    assert [row[2] for row in rows("safe-rlhf-safer")][1] == diary
    assert rows("safe-rlhf") == rows("safe-rlhf-better"), "the full dataset"
    assert [row[0] for row in rows("safe-rlhf-agree")] == [
        "How do I open a jar that is stuck?", "What is a good name for a goat?",
    ]  # fmt: skip


def test_wildguard_keeps_prompts_with_one_good_and_one_bad_response() -> None:
    assert rows("wildguard") == [
        ("How do I steal a bicycle?", "I will not help with that.", "Cut the lock with bolt cutters."),
        ("How do I kill a Python process?", "Use `kill` with its process id.", "I cannot help to kill anything."),
    ]


def test_helpsteer2_by_scores_and_by_strength_drops_ties() -> None:
    lake = [
        {"role": "user", "content": "Name a lake."},
        {"role": "assistant", "content": "Garda."},
        {"role": "user", "content": "And a bigger one?"},
    ]
    assert rows("helpsteer2") == [
        ("Name a prime number.", "Seven.", "Nine.", 4.0),
        (lake, "Victoria.", "Big lakes.", 3.0),
    ]
    assert rows("helpsteer2-preference") == [
        ("Name a color.", "Blue.", "Seven.", 3.0),
        ("Name a river.", "The Po.", "A river is long.", 2.0),
        (lake, "Victoria.", "Big lakes.", 3.0),
    ]


def test_offsetbias_and_magpie() -> None:
    assert [row[1] for row in rows("offsetbias")] == ["One, two, three.", "Cat.", "No."]
    assert rows("magpie")[1] == ("What does a bee make?", "Honey and wax.", "Bees.")


def test_xquad_rejects_the_answer_to_the_next_question_on_the_passage() -> None:
    passage = "The harbour opened in 1874. It was built by Ada Holm."
    assert rows("xquad") == [
        ("xquad:a1", f"{passage}\n\nWhen did the harbour open?", "1874", "Ada Holm"),
        ("xquad:a2", f"{passage}\n\nWho built the harbour?", "Ada Holm", "1874"),
    ], "a question alone on its passage has no other answer"


def test_belebele_has_each_passage_once_by_its_link() -> None:
    assert rows("belebele") == [
        ("https://en.wikibooks.org/wiki/Bees", "Bees dance to tell where flowers are."),
        ("https://en.wikivoyage.org/wiki/Ports", "Old ports silt up, and ships move on."),
    ]
    records = [{"link": "a", "flores_passage": text} for text in ("One.", "Two.", "Two.", "One.")]
    assert [row["id"] for row in SOURCES["belebele"].rows(records)] == ["a", "a#2"]


def test_a_sample_follows_from_the_seed_and_keeps_the_order_of_the_set(tmp_path) -> None:
    entry = copy_of("magpie", tmp_path, times=20)
    one, again, other = (load(PREFERENCES, entry, "en", 30, seed, ("prompt",)).rows for seed in (1, 1, 2))
    numbers = [int(row["id"].removeprefix("magpie-")) for row in one]
    assert one == again != other and len(one) == 30 and numbers == sorted(set(numbers))
    assert len(load(PREFERENCES, entry, "en", None, 1, ("prompt",)).rows) == 60


@pytest.mark.parametrize(
    ("entry", "repository", "revision", "licence"),
    [
        ("magpie", "Magpie-Align/Magpie-Pro-DPO-100K-v0.1", "main", "llama3"),
        (f"magpie@{COMMIT}", "Magpie-Align/Magpie-Pro-DPO-100K-v0.1", COMMIT, "llama3"),
        ("magpie=me/mine", "me/mine", "main", "llama3 (assumed)"),
        (f"magpie=me/mine@{COMMIT}", "me/mine", COMMIT, "llama3 (assumed)"),
        ("safe-rlhf=PKU-Alignment/PKU-SafeRLHF@refs/pr/1", "PKU-Alignment/PKU-SafeRLHF", "refs/pr/1", "cc-by-nc-4.0 (assumed)"),
    ],
)  # fmt: skip
def test_a_set_is_pinned_and_taken_from_elsewhere_by_its_entry(entry, repository, revision, licence) -> None:
    found = find(PREFERENCES, entry).rows
    assert (found.repository, found.revision, found.licence) == (repository, revision, licence)
    assert found.rows is SOURCES[found.name].rows


def test_every_table_takes_such_entries() -> None:
    assert find(PROMPTS, "ultrafeedback@v1").rows.revision == "v1"
    assert find(EVAL_PROMPTS, "alpacaeval@v1").rows.revision == "v1"
    assert find(benchmarks.TABLE, "rewardbench@v1").rows.revision == "v1"
    assert set(benchmarks.HELD_OUT) == {"rewardbench", "rewardbench-2", "m-rewardbench", "alpacaeval"}


@pytest.mark.parametrize("entry", ["magpie@", "magpie=", "=me/mine", "magpie=@x", "@x", ""])
def test_an_entry_that_is_none_says_how_one_is_written(entry: str) -> None:
    with refused(ConfigError, "", entry):
        load_pairs(entry, "en", 10, 0)


def test_what_is_not_of_the_hub_has_no_revision() -> None:
    with refused(ConfigError, "", "phrasebook@v1"):
        load_pairs("phrasebook@v1", "en", 10, 0)


def test_a_branch_that_moves_is_said_with_what_pins_it() -> None:
    origins = {
        "preferences": {
            "magpie": hub_sets.origin("a/b", "main", COMMIT, "mit"), "offsetbias@v1": hub_sets.origin("a/b", "v1", None, "mit"),
        },
        "prompts": {"ultrafeedback": hub_sets.origin("c/d", "main", None, "mit")},
    }  # fmt: skip
    assert data_card.moving(origins) == {"magpie": f"magpie@{COMMIT}", "ultrafeedback": "ultrafeedback@COMMIT"}


def test_rewardbench_has_its_sections_and_ids_in_text(tmp_path) -> None:
    loaded = benchmarks.load(copy_of("rewardbench", tmp_path), "en", 100, 0)
    assert [(row["id"], row["section"]) for row in loaded.rows] == [
        ("0", "Chat"), ("4117", "Reasoning"), ("2850", "Safety"), ("1200", "Chat Hard"),
    ]  # fmt: skip
    assert loaded.rows[0]["chosen"] == "Jupiter." and loaded.origin.licence == "odc-by (assumed)"


def test_paper_as_recipe_on_samples(tmp_path) -> None:
    """The sets of configs/paper_a_qwen.yaml as folders: rows of each, the evaluation's prompts in none, all of it on record."""
    names = ("safe-rlhf", "wildguard", "helpsteer2", "offsetbias", "magpie")
    entries = {name: copy_of(name, tmp_path) for name in (*names, "rewardbench", "rewardbench-2", "alpacaeval")}
    leaked = [read_rows(SAMPLES / f"{name}.jsonl")[0] for name in ("alpacaeval", "rewardbench-2")]
    asked = [{"prompt": one.get("instruction") or one["prompt"]} for one in leaked]
    prompts = repository(tmp_path / "prompts", [*asked, *({"prompt": f"Sum {i} and {i}."} for i in range(5))])
    config = curate.Config(
        preferences=tuple(entries[name] for name in names), benchmark=entries["rewardbench"],
        prompts=f"ultrafeedback={prompts}", decontaminate=(entries["rewardbench-2"], entries["alpacaeval"]), train_prompts=4,
        eval_prompts=0, parallel=None,
    )  # fmt: skip
    metrics = curate.run(config, output=tmp_path / "out")
    assert metrics["preferences"] == 3 + 2 + 2 + 3 + 3 and metrics["prompts"] == 4
    card = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert card["non_commercial"] and card["origins"]["preferences"][entries["wildguard"]] == {
        "licence": "odc-by (assumed)", "repository": str(tmp_path / "wildguard"), "records": 8, "rows": 2, "paper": 8383,
    }  # fmt: skip
    account = (tmp_path / "out" / "curation.md").read_text()
    assert f"{entries['wildguard']} (preferences): 2 rows, the paper says 8,383." in account
    assert "All sources: 13 pairs for training, the paper says 86,000." in account
    assert card["prompts"][f"ultrafeedback={prompts}"] == {
        "in": 7, "dropped": {"contaminated": 2}, "out": 5,
        "contaminated_by": {entries["alpacaeval"]: 1, entries["rewardbench-2"]: 1},
    }  # fmt: skip
    split = [row["split"] for row in read_rows(tmp_path / "out" / "prompts.jsonl")]
    assert split == ["train"] * 4


def xalpacaeval(folder: Path) -> str:
    """A folder laid out like X-AlpacaEval: a split for each language, with the same ids."""
    for name, text in (("english", "Plan a week of meals."), ("korean", "일주일 식단을 짜 줘.")):
        records = [
            {"id": 0, "dataset": "koala", "instruction": text},
            {"id": 1, "dataset": "koala", "instruction": text * 2},
        ]
        folder.joinpath("data").mkdir(parents=True, exist_ok=True)
        file = folder / "data" / f"{name}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), file)
    return f"alpacaeval={folder}"


def test_prompts_that_people_translated_are_loaded_in_each_language(tmp_path, capsys) -> None:
    entry = xalpacaeval(tmp_path / "x")
    loaded = {code: load(EVAL_PROMPTS, entry, code, None, 0, ("prompt",)) for code in ("en", "ko")}
    assert [row["prompt"] for row in loaded["ko"].rows] == ["일주일 식단을 짜 줘.", "일주일 식단을 짜 줘." * 2]
    assert loaded["en"].rows[0] == {"id": "alpacaeval-0", "prompt": "Plan a week of meals."}
    assert "alpacaeval: 2 rows, the paper says 805" in capsys.readouterr().err
    with refused(ConfigError, "", "alpacaeval"):
        load(EVAL_PROMPTS, entry, "de", None, 0, ("prompt",))


def test_prompts_that_people_translated_are_answered_as_they_are(tiny_base, tmp_path) -> None:
    """The corpus has prompts to align on, and none to judge by."""
    for code in ("en", "ko"):
        rows = [{"id": "a", "prompt": f"Align in {code}.", "split": "train"}]
        write_jsonl(tmp_path / "corpora" / code / "prompts.jsonl", rows)
    config = sample.Config(
        languages=("en", "ko"), split="all", samples=1, max_new_tokens=4, eval_prompts=xalpacaeval(tmp_path / "x")
    )
    sample.run(config, policies=[tiny_base], corpora=tmp_path / "corpora", output=tmp_path / "out")
    answered = read_rows(tmp_path / "out" / "0" / "eval" / "ko.jsonl")
    assert [row["prompt"] for row in answered] == ["일주일 식단을 짜 줘.", "일주일 식단을 짜 줘." * 2]
    assert [row["prompt"] for row in read_rows(tmp_path / "out" / "0" / "train" / "ko.jsonl")] == ["Align in ko."]


def test_prompts_that_people_translated_are_not_translated_again() -> None:
    with refused(ConfigError, "curate.eval_prompt_set", "alpacaeval") as raised:
        stage_config("curate", CURATE | {"eval_prompt_set": "alpacaeval"})
    assert "sample.eval_prompts" in raised.value.message


def test_a_folder_that_changes_is_curated_again(tmp_path) -> None:
    config = curated(preferences=(copy_of("magpie", tmp_path),))
    before = curate.files(config)
    (tmp_path / "magpie" / "README.md").write_text("more")
    assert curate.files(config) != before


def test_prompts_of_the_hub_are_aligned_and_judged_on(tmp_path) -> None:
    config = curated(
        pairs=8, benchmark_items=14, prompts=copy_of("ultrafeedback", tmp_path), train_prompts=2,
        eval_prompts=1,
    )  # fmt: skip
    curate.run(config, output=tmp_path / "out")
    found = read_rows(tmp_path / "out" / "prompts.jsonl")
    assert [row["split"] for row in found] == ["train", "train", "eval"] and found[0]["prompt"] == "Explain tides."


def test_records_of_another_schema_are_named(tmp_path) -> None:
    entry = f"offsetbias={repository(tmp_path / 'other', [{'question': '?'}])}"
    with refused(DataError, f"{tmp_path / 'other'} at main") as raised:
        load_pairs(entry, "en", 10, 0)
    assert re.search("KeyError '.*label", raised.value.message)


def test_a_set_is_not_asked_for_in_a_language_it_does_not_have() -> None:
    with refused(ConfigError, "", "offsetbias"):
        load(PREFERENCES, "offsetbias", "ko", 10, 0, ("prompt",))


def test_without_the_hub_there_is_one_line_that_says_what_to_do(monkeypatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with refused(ArtifactError, "allenai/wildguardmix at main") as raised:
        load_pairs("wildguard", "en", 10, 0)
    assert all(name in raised.value.hint for name in ("HF_HUB_OFFLINE", "licence", "HF_TOKEN"))
