"""Demonstrations for supervised fine-tuning: read, divided, cleaned, mixed, and their inputs as prompts."""

import json
from collections import Counter
from pathlib import Path

import pytest
from refusals import refused

from xlrm.data import demonstrations
from xlrm.data.catalog import DEMONSTRATIONS, PREFERENCES
from xlrm.data.cleaning import Contamination
from xlrm.data.hub_sets import Loaded, Origin
from xlrm.data.phrasebook import judge
from xlrm.errors import ConfigError, DataError
from xlrm.run.experiment import stage_config
from xlrm.stages import curate, sample, validate
from xlrm.store.jsonl import read_rows, write_jsonl

SIX = ("en", "de", "es", "ru", "tr", "vi")
OWN: dict = {
    "preferences": ("phrasebook-judgments",), "pairs": 60, "benchmark": None, "prompts": "demonstrations",
    "demonstrations": ("phrasebook",), "demonstrations_rows": 80,
}  # fmt: skip


def row(number: int, subset: str = "a", **more: str) -> dict:
    return {
        "id": f"{subset}{number}",
        "prompt": f"Text {number} of {subset}",
        "response": f"Short {number}",
        "subset": subset,
        **more,
    }


def cleaned(rows: list[dict], train_share: float = 1.0, **given: object) -> tuple[list[dict], dict]:
    loaded = {"file.jsonl": Loaded(rows, Origin(licence="mit"))}
    kept, report = demonstrations.clean(loaded, given.pop("contamination", Contamination([])), train_share, 42, **given)
    return kept, report.counts()["file.jsonl"].dropped


def test_rows_without_a_split_are_divided_by_prompt() -> None:
    rows = [row(i // 2) | {"id": str(i), "response": f"Answer {i}"} for i in range(20)]
    kept, _ = cleaned(rows, 0.7)
    by_prompt: dict[str, set] = {}
    for made in kept:
        by_prompt.setdefault(made["prompt"], set()).add(made["split"])
    assert Counter(split for (split,) in by_prompt.values()) == {"train": 7, "validation": 3}
    assert kept == cleaned(rows, 0.7)[0]


def test_a_split_of_the_dataset_is_kept() -> None:
    kept, _ = cleaned([row(1, split="validation"), row(2, split="train"), row(3, split="validation")], 0.5)
    assert [made["split"] for made in kept] == ["validation", "train", "validation"]


def test_each_reason_to_drop_a_row_is_counted() -> None:
    story = "a long prompt of more than eight words that a benchmark has too"
    rows = [
        row(1), row(1), row(2) | {"response": " "}, row(3) | {"prompt": story}, row(4, split="validation"),
        row(4, split="train") | {"response": "Another"}, row(5), row(6),
    ]  # fmt: skip
    kept, dropped = cleaned(rows, contamination=Contamination([("bench", story)]), apart={"Text 5 of a"})
    assert [made["id"] for made in kept] == ["a1", "a4", "a6"]
    assert dropped == {"duplicate": 1, "unusable": 1, "contaminated": 3}
    everything, none = cleaned(rows, contamination=Contamination([("bench", story)]), apart={"Text 5 of a"}, wanted=())
    assert len(everything) == 7 and none == {"unusable": 1}


def test_none_to_train_on_is_an_error() -> None:
    with refused(DataError, "curate.demonstrations", "file.jsonl"):
        cleaned([row(1, split="validation")])


def test_an_even_mixture_repeats_smaller_sets() -> None:
    rows = [row(i, split="train") for i in range(7)] + [row(i, "b", split="train") for i in range(3)]
    rows.append(row(9, "b", split="validation"))
    mixed = demonstrations.evenly(rows, 42)
    train = [made for made in mixed if made["split"] == "train"]
    assert Counter(made["subset"] for made in train) == {"a": 7, "b": 7}
    assert sorted(Counter(made["prompt"] for made in train if made["subset"] == "b").values()) == [2, 2, 3]
    assert len({made["id"] for made in mixed}) == 15 and mixed[-1] == rows[-1]
    assert demonstrations.evenly(rows[:7], 42) == rows[:7]


def test_inputs_are_prompts_once_each() -> None:
    rows = [
        row(1, split="train"),
        row(1, split="train") | {"id": "x"},
        row(2, split="train"),
        row(3, split="validation"),
    ]
    table = demonstrations.prompts(rows, None, None, 42)
    assert table == [
        {"id": "a1", "prompt": "Text 1 of a", "split": "train", "subset": "a"},
        {"id": "a2", "prompt": "Text 2 of a", "split": "train", "subset": "a"},
        {"id": "a3", "prompt": "Text 3 of a", "split": "eval", "subset": "a"},
    ]  # fmt: skip
    assert [made["split"] for made in demonstrations.prompts(rows, 1, 0, 42)] == ["train"]


def test_a_sample_of_prompts_for_judging_has_as_many_of_each_subset() -> None:
    """A small subset has all of its 5; the others share the remaining 15."""
    sizes = {"a": 100, "b": 5, "c": 40}
    rows = [row(i, name, split="validation") for name, size in sizes.items() for i in range(size)]
    table = demonstrations.prompts([*rows, row(0, "d", split="train")], None, 20, 42)
    assert Counter(made["subset"] for made in table if made["split"] == "eval") == {"a": 8, "b": 5, "c": 7}
    assert table == demonstrations.prompts([*rows, row(0, "d", split="train")], None, 20, 42)


def test_prompts_of_both_splits_are_required() -> None:
    rows = [row(i, split="train") for i in range(3)]
    with refused(ConfigError, "curate.prompts", "demonstrations"):
        demonstrations.prompts(rows, None, None, 42)


def test_a_file_of_rows_or_messages_is_read_and_unusable_rows_are_listed(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Hi?"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "A cat"},
    ]
    answer = {"role": "assistant", "content": "A cat it is."}
    file = tmp_path / "mine.jsonl"
    write_jsonl(file, [
        *(row(i) | {"split": "train"} for i in range(3)),
        {"messages": [*turns, answer], "subset": "chats", "split": "validation"},
        {"prompt": "no response"}, row(8, split="dev"), {"messages": [answer]}, row(9) | {"label": 0},
        row(9) | {"label": 1, "split": "train"},
    ])  # fmt: skip
    loaded = demonstrations.load(str(file), "de", None, 42)
    assert [made["id"] for made in loaded.rows] == ["a0", "a1", "a2", "mine-de-3", "a9"]
    assert loaded.rows[3] == {
        "id": "mine-de-3", "prompt": turns, "response": "A cat it is.", "subset": "chats", "split": "validation",
    }  # fmt: skip
    assert [reject["line"] for reject in loaded.rejects] == [5, 6, 7, 8], "one of them is judged bad"
    config = curate.Config(language="de", preferences=(), benchmark=None, demonstrations=(str(file),))
    with refused(DataError, file):
        curate.run(config, output=tmp_path / "strict")
    metrics = curate.run(config.model_copy(update={"max_reject_share": 0.5}), output=tmp_path / "out")
    assert metrics["demonstrations"] == 5 and len(read_rows(tmp_path / "out" / "rejects.jsonl")) == 4
    card = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert card["demonstrations"][str(file)] == {"in": 9, "dropped": {"rejected": 4}, "out": 5}
    assert card["licences"] == {str(file): "your own"}
    validate.run(validate.Config(), source=tmp_path / "out", output=tmp_path / "checked")
    assert (tmp_path / "checked" / "de" / "demonstrations.jsonl").read_bytes() == (
        tmp_path / "out" / "demonstrations.jsonl"
    ).read_bytes()


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"prompts": "demonstrations"}, "curate.prompts"),
        (
            {"prompts": "demonstrations", "demonstrations": ("phrasebook",), "eval_prompt_set": "phrasebook"},
            "curate.eval_prompt_set",
        ),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_together_are_refused(fields: dict, where: str) -> None:
    with pytest.raises(ConfigError) as raised:
        stage_config("curate", {"preferences": ["phrasebook"], "benchmark": None, **fields})
    assert raised.value.where == where


def test_the_phrasebook_s_answers_are_right_in_a_stated_share() -> None:
    rows = DEMONSTRATIONS["phrasebook"].rows("de", 3000, 7)
    grades = Counter(judge.grade(made["prompt"], made["response"], "de") for made in rows if made["split"] == "train")
    assert sum(grades.values()) == 2818 and sum(made["split"] == "validation" for made in rows) == 182
    assert 0.26 < grades[3] / 2818 < 0.34 and 0 not in grades


def test_labels_of_the_phrasebook_s_judgments_are_the_gold_judge_s() -> None:
    rows = PREFERENCES["phrasebook-judgments"].rows("tr", 400, 7)
    assert Counter(made["label"] for made in rows) == {1.0: 200, 0.0: 200}
    assert all(made["label"] == (judge.grade(made["prompt"], made["response"], "tr") == 3) for made in rows)
    assert Counter(made["split"] for made in rows) == {"train": 360, "validation": 40}


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora of six languages of their own, each from another seed, validated."""
    folder = tmp_path_factory.mktemp("six")
    for seed, code in enumerate(SIX):
        curate.run(
            curate.Config(**OWN, language=code, seed=seed), source=folder / "en" if seed else None, output=folder / code
        )
    validate.run(
        validate.Config(), source=folder / "en", own=[folder / code for code in SIX[1:]], output=folder / "validated"
    )
    return folder / "validated"


def test_six_languages_have_rows_of_their_own(six: Path) -> None:
    ids: dict[str, set[str]] = {"demonstrations": set(), "preferences": set(), "heldout": set(), "prompts": set()}
    sizes: Counter[str] = Counter()
    for code in SIX:
        for name, known in ids.items():
            rows = read_rows(six / code / f"{name}.jsonl")
            known |= {made["id"] for made in rows}
            sizes[name] += len(rows)
        demos = read_rows(six / code / "demonstrations.jsonl", ("id", "prompt", "response", "split", "subset"))
        prompts = read_rows(six / code / "prompts.jsonl")
        for split, name in (("train", "train"), ("validation", "eval")):
            inputs = {made["prompt"] for made in demos if made["split"] == split}
            assert inputs == {made["prompt"] for made in prompts if made["split"] == name}
        assert {made["subset"] for made in prompts} == {"phrasebook"}
    assert {name: len(known) for name, known in ids.items()} == sizes
    assert not (six / "de" / "benchmark.jsonl").exists()


def test_the_subset_of_a_prompt_is_that_of_its_responses(six: Path, tmp_path: Path) -> None:
    config = sample.Config(languages=("tr",), split="eval", given="phrasebook")
    sample.run(config, corpora=six, output=tmp_path / "out")
    rows = read_rows(tmp_path / "out" / "0" / "eval" / "tr.jsonl")
    assert rows and {made["subset"] for made in rows} == {"phrasebook"}


def test_a_response_in_another_language_is_dropped(six: Path, tmp_path: Path) -> None:
    """In demonstrations; a single judgment may be bad because of its language."""
    folder = tmp_path / "de"
    folder.mkdir()
    (folder / "corpus.json").write_text('{"language": "de"}')
    english = {made["id"]: made["response"] for made in read_rows(six / "en" / "demonstrations.jsonl")}
    rows = read_rows(six / "de" / "demonstrations.jsonl")
    longest = max(english.values(), key=len)
    write_jsonl(folder / "demonstrations.jsonl", [rows[0] | {"response": longest}, *rows[1:]])
    validate.run(validate.Config(), source=folder, output=tmp_path / "out")
    assert [made["id"] for made in read_rows(tmp_path / "out" / "rejects.jsonl")] == [rows[0]["id"]]
    judgments = read_rows(six / "de" / "preferences.jsonl")
    write_jsonl(folder / "preferences.jsonl", [judgments[0] | {"response": longest}, *judgments[1:]])
    (folder / "demonstrations.jsonl").unlink()
    assert validate.run(validate.Config(), source=folder, output=tmp_path / "again")["failures/de"] == 0
