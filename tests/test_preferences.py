"""Preference data of one's own: text or messages, bad rows listed, the run stopped where there are too many."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from phrasebook_settings import curated
from refusals import refused

from xlrm.data import catalog, pair_records
from xlrm.data.hub_sets import Origin
from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.stages import curate
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.store.row_files import Reading

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
        {"prompt": None, "chosen": [ASK | {"name": None}, YES], "rejected": [ASK, NO]},
        {"prompt": ASK, "chosen": YES, "rejected": NO},
        {
            "prompt": [{"from": "human", "value": ASK["content"]}],
            "chosen": "It is.",
            "rejected": {"from": "gpt", "value": "No."},
        },
        {"chosen": [ASK | {"content": [{"type": "text", "text": ASK["content"]}]}, YES], "rejected": [ASK, NO]},
    ],
)
def test_every_usual_form_is_the_same_row(record: dict) -> None:
    assert pair_records.pair_of(record) == WANTED


@pytest.mark.parametrize(
    ("record", "field", "value"),
    [
        ({"prompt": "p", "chosen": "c"}, "rejected", None),
        (WANTED | {"margin": "large"}, "margin", "large"),
        ({"chosen": "c", "rejected": "r"}, "prompt", None),
        ({"chosen": [YES], "rejected": [NO]}, "prompt", None),
        ({"prompt": "p", "chosen": 3, "rejected": "r"}, "chosen", 3),
        ({"prompt": "p", "chosen": [{"from": "gpt"}], "rejected": "r"}, "chosen", {"from": "gpt"}),
        ({"prompt": [{"from": "dog", "value": "?"}], "chosen": "c", "rejected": "r"}, "prompt: from", "dog"),
        ({"prompt": 3, "chosen": "c", "rejected": "r"}, "prompt", 3),
        (WANTED | {"tools": [{"name": "calendar"}]}, "tools", None),
        ({"prompt": "p", "chosen": [], "rejected": "r"}, "chosen", []),
        ({"chosen": [ASK, YES], "rejected": [said("user", "?"), NO]}, "chosen, rejected", None),
        ({"chosen": [ASK], "rejected": [ASK, NO]}, "chosen", "user"),
        ({"prompt": "Is it?", "chosen": [ASK, YES], "rejected": [ASK, NO]}, "prompt", "Is it?"),
        ({"chosen": [ASK, YES, ASK, YES], "rejected": [ASK, YES, said("user", "?"), NO]}, "chosen, rejected", None),
        ({"chosen": [ASK | {"name": "me"}, YES], "rejected": [ASK, NO]}, "chosen, rejected", None),
    ],
)
def test_what_cannot_be_used_says_why(record: dict, field: str, value: object) -> None:
    with refused(DataError, field, value):
        pair_records.pair_of(record)


HH = "\n\nHuman: Is it?\n\nAssistant:"


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({"chosen": HH + " Yes.", "rejected": HH + " No."}, "chosen"),
        ({"prompt": HH, "chosen": " Yes.", "rejected": " No."}, "prompt"),
        ({"prompt": "Is it?", "chosen": "Yes.", "rejected": HH + " No."}, "rejected"),
    ],
)
def test_a_conversation_in_a_text_is_refused(record: dict, field: str) -> None:
    """As in Anthropic's HH: the answer would be part of the question."""
    with refused(DataError, field, record[field]):
        pair_records.item_of(record)
    with refused(DataError, field, record[field]):
        pair_records.pair_of(record)
    about = {"prompt": "What does Human: mean?", "chosen": "Assistant: a name", "rejected": "Human: hello"}
    assert pair_records.pair_of(about) == about


def test_what_openai_and_llama_factory_write_is_mapped_by_columns(tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    openai = {"input": {"messages": [ASK], "tools": [], "parallel_tool_calls": True}, "preferred_output": [YES],
              "non_preferred_output": [NO]}  # fmt: skip
    factory = {
        "conversations": [{"from": "human", "value": WANTED["prompt"]}],
        "chosen": {"from": "gpt", "value": "It is."}, "rejected": {"from": "gpt", "value": "No."},
    }  # fmt: skip
    for row, columns in (
        (openai, {"prompt": "input", "chosen": "preferred_output", "rejected": "non_preferred_output"}),
        (factory, {"prompt": "conversations"}),
    ):
        file.write_text(json.dumps(row) + "\n")
        assert pair_records.read_pairs(file, Reading(columns)) == ([WANTED], [])
        _, (reject,) = pair_records.read_pairs(file)
        assert all(name in reject["reason"] for name in row), "its fields are named"


def test_rejects_of_a_file_have_their_lines(tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(WANTED) + "\n\n{broken\n[1]\n" + json.dumps({"prompt": "p", "chosen": "c"}) + "\n")
    rows, rejects = pair_records.read_pairs(file)
    assert rows == [WANTED]
    assert [reject["line"] for reject in rejects] == [3, 4, 5]
    reasons = [reject["reason"] for reject in rejects]
    assert "JSON" in reasons[0] and reasons[1].startswith("[1]: ") and reasons[2].startswith("rejected: ")


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
    assert [reject["line"] for reject in loaded.rejects] == [2, 3]
    assert [reject["reason"].partition(":")[0] for reject in loaded.rejects] == ["chosen='user'", "chosen=[]"]
    assert loaded.origin == Origin(licence="unknown", repository=str(tmp_path / "mine"), records=3, rows=1)
    assert len(catalog.load_pairs(f"hub:{tmp_path / 'mine'}:b:dev", "en", 10, 0).rows) == 2
    with refused(ArtifactError, f"{tmp_path / 'mine'} at main") as raised:
        catalog.load_pairs(f"hub:{tmp_path / 'mine'}", "en", 10, 0)
    assert "Config name is missing" in raised.value.message
    with refused(ConfigError, "", "mine"):
        catalog.load_pairs("mine", "en", 10, 0)


def test_half_a_character_is_a_reject_and_not_the_end_of_the_run(tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(WANTED) + "\n" + json.dumps(WANTED | {"chosen": "\ud83d"}) + "\n")
    rows, rejects = pair_records.read_pairs(file)
    assert rows == [WANTED] and rejects[0]["line"] == 2 and rejects[0]["reason"].startswith("chosen: ")


def test_the_share_of_rejects_is_of_the_whole_file(tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [
        {"prompt": f"Name {i} things a sailor {i * 3} would keep.", "chosen": "Rope.", "rejected": "?"}
        for i in range(100)
    ]
    write_jsonl(file, [*rows, {"prompt": "p"}, {"prompt": "p"}])
    config = curated(preferences=(str(file),), pairs=8, near_duplicates=1.0, benchmark_items=14)
    assert curate.run(config, output=tmp_path / "out")["preferences"] == 8


def test_the_stage_lists_rejects_and_stops_past_the_stated_share(tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [
        {"prompt": f"What is the number {i} called by {i * 7} sailors?", "chosen": str(i), "rejected": "?"}
        for i in range(9)
    ]
    write_jsonl(file, [*rows, {"prompt": "p"}])
    config = {"preferences": (str(file),), "benchmark": "phrasebook", "benchmark_items": 14, "near_duplicates": 1.0}
    with refused(DataError, file) as raised:
        curate.run(curate.Config(**config), output=tmp_path / "stopped")
    assert "1 of 10 rows" in raised.value.message and "line 10: chosen: " in raised.value.message
    assert not (tmp_path / "stopped").exists()
    metrics = curate.run(curate.Config(**config, max_reject_share=0.1), output=tmp_path / "out")
    (reject,) = read_rows(tmp_path / "out" / "rejects.jsonl")
    assert reject["source"] == str(file) and reject["line"] == 10 and reject["reason"].startswith("chosen: ")
    card = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert card["sources"][str(file)] == {"in": 10, "dropped": {"rejected": 1}, "out": 9}
    assert metrics["dropped_rejected"] == 1 and metrics["preferences"] == 9


def test_margins_reach_what_is_trained_on(tmp_path) -> None:
    from xlrm.stages import reward

    rows = [{**WANTED, "prompt": f"Is the number {i} {'odd' if i % 2 else 'even'}?"} for i in range(8)]
    write_jsonl(tmp_path / "mine.jsonl", [row | {"margin": i} if i else row for i, row in enumerate(rows)])
    config = curated(preferences=(str(tmp_path / "mine.jsonl"),), benchmark_items=14)
    curate.run(config, output=tmp_path / "en")
    found = reward.training_rows(reward.Config(language="en", margin=True), tmp_path)
    assert [row.get("margin") for row in found] == [None, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
