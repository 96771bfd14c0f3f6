"""Rows of several turns from curation to the reward model: every turn is translated and checked, and all else is unchanged."""

import json
from pathlib import Path

import pytest
from datasets import load_from_disk
from test_turns import ids_of, said
from transformers import AutoTokenizer

from xlrm.data.catalog import PREFERENCES
from xlrm.models import chat_templates, loading
from xlrm.stages import align, curate, evaluate, reward, translate, validate
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.training import columns
from xlrm.validation import suite
from xlrm.validation.limits import Limits

CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"word": "house", "deep": {"level": 2}}}}
COUNT = 24


def turns(rows: list[dict], place: int) -> dict:
    """A pair of rows of the phrasebook as one pair of several turns; the sentences are its own."""
    first, second = rows[place], rows[place + 1]
    prompt = [
        said("system", second["chosen"]),
        said("user", first["prompt"], name="Ann"),
        said("assistant", "", tool_calls=[CALL]),
        said("tool", "The house: 3", tool_call_id="c1"),
        said("assistant", first["chosen"], reasoning_content=second["chosen"]),
        said("user", second["prompt"]),
    ]
    chosen = [said("assistant", "", tool_calls=[CALL]), said("tool", "3"), said("assistant", second["chosen"])]
    return {
        "id": str(place), "prompt": prompt, "chosen": chosen if place % 2 else second["chosen"], "rejected": second["rejected"],
        "subset": "turns", "section": "S",
    }  # fmt: skip


def in_language(code: str) -> list[dict]:
    rows = PREFERENCES["phrasebook"].rows(code, 2 * COUNT, 0)
    return [turns(rows, place) for place in range(2 * COUNT - 1)]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> Path:
    """Curated in English, translated into Spanish, and validated."""
    work = tmp_path_factory.mktemp("turns")
    every = in_language("en")
    write_jsonl(work / "pairs.jsonl", every[:COUNT])
    write_jsonl(work / "bench.jsonl", every[COUNT : COUNT + 12])
    write_jsonl(work / "asked.jsonl", [{"id": row["id"], "prompt": row["prompt"]} for row in every[-10:]])
    for name in ("en", "es", "validated"):
        (work / name).mkdir()
    config = curate.Config(
        preferences=(str(work / "pairs.jsonl"),), benchmark=str(work / "bench.jsonl"), prompts=str(work / "asked.jsonl"),
        train_prompts=4, eval_prompts=4, parallel=None, near_duplicates=1.0,
    )  # fmt: skip
    metrics = curate.run(config, output=work / "en")
    assert metrics["preferences"] == COUNT - metrics["dropped_contaminated"] and metrics["benchmark_items"] == 12
    given = translate.Config(language="es", translator="phrasebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLRM_HOME", str(work / "home"))
        made = translate.run(given, corpus=work / "en", output=work / "es")
    assert made["untranslated"] == 0 and made["segments_made"] == made["segments"], (
        "the estimate counts what is translated"
    )
    tables = {name: len(read_rows(work / "en" / f"{name}.jsonl")) for name in ("preferences", "benchmark", "prompts")}
    assert made["texts"] == 7 * (tables["preferences"] + tables["benchmark"]) + 5 * tables["prompts"]
    validate.run(validate.Config(), source=work / "en", translations=[work / "es"], output=work / "validated")
    return work / "validated"


def test_every_turn_is_translated_and_all_else_is_as_it_was(corpora) -> None:
    expected = {row["id"]: row for row in in_language("es")}
    for name in ("preferences.jsonl", "benchmark.jsonl"):
        rows = read_rows(corpora / "es" / name)
        assert [row["id"] for row in rows] == [row["id"] for row in read_rows(corpora / "en" / name)] and rows
        for row in rows:
            wanted = expected[row["id"]]
            assert {key: row[key] for key in ("prompt", "chosen", "rejected")} == {
                key: wanted[key] for key in ("prompt", "chosen", "rejected")
            }
    prompts = read_rows(corpora / "es" / "prompts.jsonl")
    assert {row["split"] for row in prompts} == {"train", "eval"}
    assert all(row["prompt"] == expected[row["id"]]["prompt"] for row in prompts)


def test_a_reward_model_is_trained_on_all_turns_and_evaluated_on_them(corpora, tiny_base, tmp_path) -> None:
    (tmp_path / "model" / "output").mkdir(parents=True)
    config = reward.Config(
        language="es",
        batch_size=4,
        device_batch_size=4,
        learning_rate=1e-3,
        gradient_checkpointing=False,
        max_length=512,
    )
    output = tmp_path / "model" / "output"
    metrics = reward.run(config, base=tiny_base, corpora=corpora, output=output)
    assert metrics["steps"] == -(-len(read_rows(corpora / "es" / "preferences.jsonl")) // 4)
    rows = read_rows(corpora / "es" / "preferences.jsonl")
    made = columns.pairs(loading.load_tokenizer(output), rows, 2048, margin=False)
    for side in ("chosen", "rejected"):
        chats = [chat_templates.conversation(row["prompt"], row[side]) for row in rows]
        assert made[f"{side}_ids"] == [ids_of(output, chat) for chat in chats]
    (tmp_path / "results").mkdir()
    asked = evaluate.Config(language="es", languages=("en", "es"), max_length=512)
    evaluate.run(asked, model=output, corpora=corpora, output=tmp_path / "results")
    results = json.loads((tmp_path / "results" / "results.json").read_text())["results"]
    assert {code: found["items"] for code, found in results.items()} == {"en": 12, "es": 12}


def test_a_policy_is_aligned_on_messages_without_the_keys_of_others(tiny_base, tmp_path) -> None:
    """Every turn is in the tokens, as the template writes it, and the response begins after the prompt."""
    rows = [{**row, "chosen": row["chosen"] if i % 2 else "Yes."} for i, row in enumerate(in_language("en")[:4])]
    rows[2]["prompt"] = "Hello."
    write_jsonl(tmp_path / "ranked" / "en.jsonl", rows)
    (tmp_path / "work" / "output").mkdir(parents=True)
    config = align.Config(
        language="en", labeler="en", batch_size=4, device_batch_size=2, gradient_checkpointing=False, max_length=1024
    )
    metrics = align.run(config, policy=tiny_base, ranked=tmp_path / "ranked", output=tmp_path / "work" / "output")
    assert (metrics["steps"], metrics["pairs"], metrics["cut"], metrics["dropped"]) == (1, 4, 0, 0)
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    for given, row in zip(rows, load_from_disk(str(tmp_path / "work" / "tokens")), strict=True):
        prompt = chat_templates.messages(given["prompt"])
        asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)
        for side in ("chosen", "rejected"):
            assert row[f"{side}_ids"] == ids_of(tiny_base, chat_templates.conversation(given["prompt"], given[side]))
            assert row[f"{side}_ids"][: row[f"{side}_start"]] == asked["input_ids"]


def drop_a_turn(row: dict) -> None:
    del row["prompt"][3]


def change_a_role(row: dict) -> None:
    row["prompt"][0]["role"] = "user"


def translate_a_call(row: dict) -> None:
    row["prompt"][2] = said("assistant", "", tool_calls=[json.loads(json.dumps(CALL).replace("house", "casa"))])


def translate_an_answer_of_a_tool(row: dict) -> None:
    row["prompt"][3]["content"] = "La casa: 3"


def lose_a_name(row: dict) -> None:
    del row["prompt"][1]["name"]


def make_a_text_of_messages(row: dict) -> None:
    row["chosen"] = row["chosen"][-1]["content"]


def leave_a_turn_untranslated(row: dict) -> None:
    row["prompt"][1]["content"] = "Please tell me where the dog has its home, and where the cat has its own."


def lose_the_reasoning(row: dict) -> None:
    row["prompt"][4]["reasoning_content"] = ""


@pytest.mark.parametrize(
    ("damage", "expectation", "column"),
    [
        (drop_a_turn, "turns", "prompt"), (change_a_role, "turns", "prompt"), (translate_a_call, "turns", "prompt"),
        (translate_an_answer_of_a_tool, "turns", "prompt"), (lose_a_name, "turns", "prompt"),
        (make_a_text_of_messages, "turns", "chosen"), (lose_the_reasoning, "turns", "prompt"),
        (leave_a_turn_untranslated, "language", "prompt"),
    ],
)  # fmt: skip
def test_what_a_translator_does_to_a_conversation_is_found(damage, expectation, column) -> None:
    rows = in_language("es")[:COUNT]
    assert failures(rows) == {}
    damage(rows[5])
    assert failures(rows).get((expectation, column)) == {5}


def failures(rows: list[dict]) -> dict[tuple[str, str], set[int]]:
    names = ("id", "prompt", "chosen", "rejected")
    outcomes = suite.failures(rows, in_language("en")[:COUNT], names, "es", "en", Limits())
    return {(each.expectation.name, each.expectation.column): set(each.failed) for each in outcomes if each.failed}
