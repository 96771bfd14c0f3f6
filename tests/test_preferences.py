"""Preference data of one's own: text or messages, bad rows listed, the run stopped where there are too many."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from xlrm.data import catalog, pair_records
from xlrm.data.hub_sets import Origin
from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.stages import curate
from xlrm.store.jsonl import read_rows, write_jsonl

WANTED = {"prompt": "Is the sea salty?", "chosen": "It is.", "rejected": "No."}


def said(role: str, content: str) -> dict:
    return {"role": role, "content": content}


ASK, YES, NO = said("user", WANTED["prompt"]), said("assistant", "It is."), said("assistant", "No.")


@pytest.mark.parametrize(
    "record",
    [
        WANTED,
        WANTED | {"score": 3, "prompt_id": "x"},
        {"prompt": [ASK], "chosen": "It is.", "rejected": "No."},
        {"prompt": [ASK], "chosen": [YES], "rejected": [NO]},
        {"prompt": WANTED["prompt"], "chosen": [ASK, YES], "rejected": [ASK, NO]},
        {"chosen": [ASK, YES], "rejected": [ASK, NO]},
        {"prompt": None, "chosen": [ASK | {"name": "me"}, YES], "rejected": [ASK, NO]},
    ],
)
def test_every_usual_form_is_the_same_row(record: dict) -> None:
    assert pair_records.pair_of(record) == WANTED


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "p", "chosen": "c"}, "no 'rejected'"),
        (WANTED | {"margin": "large"}, "'margin' is 'large'; a finite number is allowed"),
        ({"chosen": "c", "rejected": "r"}, "no 'prompt', and no messages to take it from"),
        ({"chosen": [YES], "rejected": [NO]}, "no 'prompt', and no messages"),
        ({"prompt": "p", "chosen": 3, "rejected": "r"}, "'chosen' is neither text nor messages"),
        ({"prompt": "p", "chosen": [{"from": "gpt", "value": "c"}], "rejected": "r"}, "'chosen' is neither text nor"),
        ({"prompt": "p", "chosen": [], "rejected": "r"}, "'chosen' is neither text nor messages"),
        ({"chosen": [ASK, YES], "rejected": [said("user", "?"), NO]}, "before chosen and before rejected differ"),
        ({"chosen": [ASK], "rejected": [ASK, NO]}, "the last message of 'chosen' is by 'user', not 'assistant'"),
        (
            {"chosen": [ASK, YES, ASK, YES], "rejected": [ASK, YES, ASK, NO]},
            r"a prompt of 3 turns \(user, assistant, user\); one by 'user'",
        ),
    ],
)
def test_what_cannot_be_used_says_why(record: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        pair_records.pair_of(record)


def test_rejects_of_a_file_have_their_lines(tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(WANTED) + "\n\n{broken\n[1]\n" + json.dumps({"prompt": "p", "chosen": "c"}) + "\n")
    rows, rejects = pair_records.read_pairs(file)
    assert rows == [WANTED]
    assert [reject["line"] for reject in rejects] == [3, 4, 5]
    assert [reject["reason"].split("(")[0].strip() for reject in rejects] == [
        "not JSON", "a row is a JSON object, not list", "no 'rejected'",
    ]  # fmt: skip


def test_messages_come_from_parquet_too(tmp_path) -> None:
    table = pyarrow.Table.from_pylist([{"chosen": [ASK, YES], "rejected": [ASK, NO]}] * 2)
    pyarrow.parquet.write_table(table, tmp_path / "mine.parquet")
    assert pair_records.read_pairs(tmp_path / "mine.parquet") == ([WANTED, WANTED], [])


def test_a_set_of_the_hub_is_a_dataset_by_its_name_alone(tmp_path, monkeypatch) -> None:
    """The set is a folder laid out like a repository with two tables, which the real library loads."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    said = {"chosen": [ASK, YES], "rejected": [ASK, NO]}
    (tmp_path / "mine").mkdir()
    write_jsonl(tmp_path / "mine" / "train.jsonl", [said, said | {"chosen": [ASK]}, said | {"chosen": []}])
    write_jsonl(tmp_path / "mine" / "more.jsonl", [WANTED, WANTED])
    tables = (
        "[{config_name: a, data_files: train.jsonl}, {config_name: b, data_files: [{split: dev, path: more.jsonl}]}]"
    )
    (tmp_path / "mine" / "README.md").write_text(f"---\nconfigs: {tables}\n---\n")
    loaded = catalog.load_pairs(f"hub:{tmp_path / 'mine'}:a", "en", 10, 0)
    assert loaded.rows == [WANTED | {"id": "mine-0"}]
    assert loaded.rejects == [
        {"line": 2, "reason": "the last message of 'chosen' is by 'user', not 'assistant'"},
        {"line": 3, "reason": "'chosen' is neither text nor messages with role and content: []"},
    ]
    assert loaded.origin == Origin(licence="unknown", repository=str(tmp_path / "mine"))
    assert len(catalog.load_pairs(f"hub:{tmp_path / 'mine'}:b:dev", "en", 10, 0).rows) == 2
    with pytest.raises(
        ArtifactError,
        match=r"cannot fetch '.*/mine' at 'main': Config name is missing.*a folder holds what the repository does",
    ):
        catalog.load_pairs(f"hub:{tmp_path / 'mine'}", "en", 10, 0)
    with pytest.raises(ConfigError, match=r"no dataset 'mine'; there are phrasebook.*hub:OWNER/NAME"):
        catalog.load_pairs("mine", "en", 10, 0)


def test_half_a_character_is_a_reject_and_not_the_end_of_the_run(tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(WANTED) + "\n" + json.dumps(WANTED | {"chosen": "\ud83d"}) + "\n")
    rows, rejects = pair_records.read_pairs(file)
    assert (
        rows == [WANTED]
        and rejects[0]["line"] == 2
        and "'chosen' holds half of a surrogate pair" in rejects[0]["reason"]
    )


def test_the_share_of_rejects_is_of_the_whole_file(tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [
        {"prompt": f"Name {i} things a sailor {i * 3} would keep.", "chosen": "Rope.", "rejected": "?"}
        for i in range(100)
    ]
    write_jsonl(file, [*rows, {"prompt": "p"}, {"prompt": "p"}])
    config = curate.Config(preferences=(str(file),), pairs=8, near_duplicates=1.0, benchmark_items=14)
    assert curate.run(config, output=tmp_path / "out")["preferences"] == 8


def test_the_stage_lists_rejects_and_stops_past_the_stated_share(tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [
        {"prompt": f"What is the number {i} called by {i * 7} sailors?", "chosen": str(i), "rejected": "?"}
        for i in range(9)
    ]
    write_jsonl(file, [*rows, {"prompt": "p"}])
    config = {"preferences": (str(file),), "benchmark_items": 14, "near_duplicates": 1.0}
    with pytest.raises(
        DataError,
        match=r"mine.jsonl: 1 of 10 rows cannot be used, more than curate.max_reject_share=0.05.*line 10: no 'chosen'",
    ):
        curate.run(curate.Config(**config), output=tmp_path / "stopped")
    assert not (tmp_path / "stopped").exists()
    metrics = curate.run(curate.Config(**config, max_reject_share=0.1), output=tmp_path / "out")
    assert read_rows(tmp_path / "out" / "rejects.jsonl") == [{"source": str(file), "line": 10, "reason": "no 'chosen'"}]
    card = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert card["sources"][str(file)] == {"in": 10, "dropped": {"rejected": 1}, "out": 9}
    assert metrics["dropped_rejected"] == 1 and metrics["preferences"] == 9


def test_margins_reach_what_is_trained_on(tmp_path) -> None:
    from xlrm.stages import reward

    rows = [{**WANTED, "prompt": f"Is the number {i} {'odd' if i % 2 else 'even'}?"} for i in range(8)]
    write_jsonl(tmp_path / "mine.jsonl", [row | {"margin": i} if i else row for i, row in enumerate(rows)])
    config = curate.Config(preferences=(str(tmp_path / "mine.jsonl"),), benchmark_items=14, prompts=None, parallel=None)
    curate.run(config, output=tmp_path / "en")
    found = reward.training_rows(reward.Config(language="en", margin=True), tmp_path)
    assert [row.get("margin") for row in found] == [None, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
