"""Conversations in every form, at every door: the reward of each is what plain transformers gives the whole conversation."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from refusals import refused
from reward_server import started
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

import xlrm
from xlrm.data import conversations, hub_sets
from xlrm.data.catalog import load
from xlrm.errors import DataError
from xlrm.evaluation import benchmarks, reward_table
from xlrm.models import chat_templates, loading, prompt_limits, reward_models
from xlrm.registry import mlflow_loader, releases
from xlrm.scorers import engines, labelers, online, score_file
from xlrm.scorers.interface import Scoring
from xlrm.scorers.judges import gold, pairwise, rewardbench
from xlrm.stages import curate, sample
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.training import columns

SPECIAL = ["<|begin|>", "<|start|>", "<|end|>", "<|eot|>", "<|pad|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}"
    "{% if 'name' in m %} name={{ m['name'] }}{% endif %}"
    "{% if 'tool_call_id' in m %} of={{ m['tool_call_id'] }}{% endif %}<|end|>"
    "{% if m.reasoning_content is defined and loop.last %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m['content'] | trim }}"
    "{% if 'tool_calls' in m %}{% for call in m.tool_calls %}<call>{{ call.function.name }} "
    "{{ call.function.arguments | tojson }}</call>{% endfor %}{% endif %}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|>{% endif %}"
)
"""It tests for keys, and writes tool calls, names and reasoning, as those of Llama 3.1 and Qwen3 do."""


def said(role: str, content: str, **more: object) -> dict:
    return {"role": role, "content": content, **more}


ASK, SAY, HELP = said("user", "How much is one plus two?"), said("assistant", "Three."), said("system", "Be short.")
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": "1", "b": "2", "of": {"unit": "cm"}}}}
OTHER = {"type": "function", "function": {"name": "look", "arguments": {"at": ["x", "y"]}}}
CALLS, RESULT = said("assistant", "", tool_calls=[CALL, OTHER]), said("tool", "3", tool_call_id="c1", name="add")
FROM = [{"from": "system", "value": "Be short."}, {"from": "human", "value": ASK["content"]}]

ROWS: dict[str, tuple[dict, list[dict]]] = {
    "texts": ({"prompt": ASK["content"], "response": "Three."}, [ASK, SAY]),
    "one message for a prompt": ({"prompt": ASK, "response": SAY}, [ASK, SAY]),
    "a system's turn": ({"prompt": [HELP, ASK], "response": "Three."}, [HELP, ASK, SAY]),
    "several turns": ({"prompt": [HELP, ASK, SAY, ASK], "response": "3."}, [HELP, ASK, SAY, ASK, said("assistant", "3.")]),
    "from and value": ({"prompt": FROM, "response": {"from": "gpt", "value": "Three."}}, [HELP, ASK, SAY]),
    "a name": ({"prompt": [ASK | {"name": "Ann"}], "response": "Three."}, [ASK | {"name": "Ann"}, SAY]),
    "reasoning": (
        {"prompt": [ASK], "response": [SAY | {"reasoning_content": "1 + 2"}]}, [ASK, SAY | {"reasoning_content": "1 + 2"}]
    ),
    "calls in the prompt": ({"prompt": [ASK, CALLS, RESULT], "response": "Three."}, [ASK, CALLS, RESULT, SAY]),
    "calls in the response": ({"prompt": [ASK], "response": [CALLS, RESULT, SAY]}, [ASK, CALLS, RESULT, SAY]),
    "a call alone, content null": ({"prompt": [ASK], "response": [CALLS | {"content": None}]}, [ASK, CALLS]),
    "a part of type text": (
        {"prompt": [ASK | {"content": [{"type": "text", "text": ASK["content"]}]}], "response": "Three."}, [ASK, SAY]
    ),
}  # fmt: skip
GIVEN = [row for row, _ in ROWS.values()]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A random reward model with the template."""
    folder = tmp_path_factory.mktemp("model")
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.add_special_tokens(SPECIAL)
    backend.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    names = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[3], "pad_token": SPECIAL[4]}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=TEMPLATE, **names)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=0, eos_token_id=3, pad_token_id=4, num_labels=1,
    )  # fmt: skip
    torch.manual_seed(0)
    network = LlamaForSequenceClassification(config)
    for name, weights in network.named_parameters():
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=1.0 if name.startswith("score") else 0.15)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def ids_of(model: Path, chat: list[dict]) -> list[int]:
    return AutoTokenizer.from_pretrained(model).apply_chat_template(chat, return_dict=True)["input_ids"]


def by_transformers(model: Path, chats: list[list[dict]]) -> list[float]:
    """One conversation at a time, without padding, in float32."""
    network = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32).eval()
    with torch.inference_mode():
        return [float(network(input_ids=torch.tensor([ids_of(model, chat)])).logits[0, 0]) for chat in chats]


@pytest.fixture(scope="module")
def expected(model) -> list[float]:
    rewards = by_transformers(model, [chat for _, chat in ROWS.values()])
    assert len({round(reward, 3) for reward in rewards}) >= len(rewards) - 4, (
        "conversations that differ have other rewards"
    )
    return rewards


def as_parquet(rows: list[dict], path: Path) -> Path:
    """Prompt and response as lists of messages in one table, so that Arrow gives every message the keys of all."""
    columns = {
        "prompt": [conversations.messages(row["prompt"]) for row in rows],
        "response": [conversations.as_messages(conversations.response(row["response"]), "assistant") for row in rows],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    assert "name" in pyarrow.parquet.read_table(path).to_pylist()[0]["prompt"][0], "Arrow has added keys"
    return path


def scored(model: Path, source: Path, output: Path) -> list[float]:
    score_file.score_file(lambda: model, source, output, Scoring())
    return [row["reward"] for row in read_rows(output)]


def by_jsonl(model: Path, work: Path) -> list[float]:
    write_jsonl(work / "in.jsonl", GIVEN)
    return scored(model, work / "in.jsonl", work / "out.jsonl")


def by_parquet(model: Path, work: Path) -> list[float]:
    return scored(model, as_parquet(GIVEN, work / "in.parquet"), work / "out.jsonl")


def by_messages(model: Path, work: Path) -> list[float]:
    rows = [{"messages": [*conversations.messages(row["prompt"]), *chat[-1:]]} for row, chat in ROWS.values()]
    rows[list(ROWS).index("calls in the response")] = {"messages": ROWS["calls in the response"][1]}
    write_jsonl(work / "in.jsonl", rows)
    return scored(model, work / "in.jsonl", work / "out.jsonl")


def by_benchmark(model: Path, work: Path) -> list[float]:
    """Prompt and sides apart, and both sides as whole conversations."""
    apart = [{"prompt": row["prompt"], "chosen": row["response"], "rejected": "No."} for row in GIVEN]
    whole = [
        {"chosen": chat, "rejected": [*chat[: len(conversations.messages(row["prompt"]))], said("assistant", "No.")]}
        for row, chat in ROWS.values()
    ]
    found = []
    for rows in (apart, whole):
        write_jsonl(work / "bench.jsonl", rows)
        loaded = benchmarks.load(str(work / "bench.jsonl"), "en", None, 0)
        rewards = reward_table.score_items(loaded.rows, engines.load(model, Scoring()))
        found.append([chosen for (chosen,), _ in rewards])
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    return found[0]


def by_server(model: Path, work: Path) -> list[float]:
    with started(model) as server:
        return server.rewards(GIVEN)


def by_pyfunc(model: Path, work: Path) -> list[float]:
    return list(mlflow_loader.RewardModel(engines.load(model, Scoring()).score).predict(GIVEN))


def by_frame(model: Path, work: Path) -> list[float]:
    """Through the public API, on what pandas makes of Parquet: arrays within arrays."""
    import pandas

    return xlrm.load(model).score(pandas.read_parquet(as_parquet(GIVEN, work / "in.parquet")))


def by_pyfunc_alone(model: Path, work: Path) -> list[float]:
    """As on a machine without xlrm, on what pandas makes of Parquet."""
    (work / "model").mkdir()
    for path in model.iterdir():
        (work / "model" / path.name).write_bytes(path.read_bytes())
    probes = [{"messages": [ASK, SAY], "reward": by_transformers(model, [[ASK, SAY]])[0]}]
    probes.append({"messages": [ASK, CALLS], "reward": by_transformers(model, [[ASK, CALLS]])[0]})
    about = {"probes": probes, "tolerance": {"float32": 1e-3}, "max_length": 2048}
    (work / "model" / "fingerprint.json").write_text(json.dumps(about))
    import pandas

    frame = pandas.read_parquet(as_parquet(GIVEN, work / "in.parquet"))
    assert isinstance(frame["prompt"][0], np.ndarray)
    return list(mlflow_loader.RewardModel(mlflow_loader._plain(work / "model")).predict(frame))


def by_signature(model: Path, work: Path) -> list[float]:
    """Through MLflow's check of the signature, which drops what it does not name."""

    class Loaded(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return mlflow_loader.RewardModel(engines.load(model, Scoring()).score).predict(model_input)

    given, returned = json.dumps(releases.INPUTS), json.dumps(releases.OUTPUTS)
    signature = mlflow.models.ModelSignature.from_dict({"inputs": given, "outputs": returned})
    mlflow.pyfunc.save_model(work / "saved", python_model=Loaded(), signature=signature)
    return list(mlflow.pyfunc.load_model(str(work / "saved")).predict(GIVEN))


DOORS: dict[str, Callable[[Path, Path], list[float]]] = {
    "score, JSONL": by_jsonl, "score, Parquet": by_parquet, "score, messages": by_messages, "evaluate": by_benchmark,
    "serve": by_server, "pyfunc": by_pyfunc, "pyfunc without xlrm": by_pyfunc_alone, "pyfunc with a signature": by_signature,
    "a data frame": by_frame,
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
def test_the_reward_of_every_form_at_every_door_is_that_of_plain_transformers(door, model, expected, tmp_path) -> None:
    found = dict(zip(ROWS, DOORS[door](model, tmp_path), strict=True))
    assert found == pytest.approx(dict(zip(ROWS, expected, strict=True)), abs=1e-4)


# Reward models with a limit on the prompt

LIMIT = 260
LONG = said("user", " ".join([ASK["content"]] * 20))
CUT: dict[str, tuple[dict, list[dict]]] = {
    "texts": ({"prompt": LONG["content"], "response": "Three."}, [LONG, SAY]),
    "a short one": ({"prompt": ASK["content"], "response": "Three."}, [ASK, SAY]),
    "several turns": ({"prompt": [HELP, LONG, SAY, ASK], "response": "3."}, [HELP, LONG, SAY, ASK, said("assistant", "3.")]),
    "a name": ({"prompt": [LONG | {"name": "Ann"}], "response": "Three."}, [LONG | {"name": "Ann"}, SAY]),
    "calls in the response": ({"prompt": [LONG], "response": [CALLS, RESULT, SAY]}, [LONG, CALLS, RESULT, SAY]),
}  # fmt: skip


@pytest.fixture
def limited(model, tmp_path, monkeypatch) -> Path:
    """The model with a limit, and the rows that the doors are given."""
    folder = tmp_path / "limited"
    shutil.copytree(model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt_limits.write(tokenizer, LIMIT)
    tokenizer.save_pretrained(folder)
    monkeypatch.setitem(globals(), "ROWS", CUT)
    monkeypatch.setitem(globals(), "GIVEN", [row for row, _ in CUT.values()])
    return folder


def cut(model: Path, chat: list[dict]) -> list[dict]:
    """The conversation with LONG shortened so that the prompt has LIMIT tokens, of which each letter is one."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
    kept = len(LONG["content"]) - max(0, len(ids) - LIMIT)
    return [
        each | {"content": each["content"][:kept] if len(each["content"]) > 99 else each["content"]} for each in chat
    ]


def by_labeler(model: Path, work: Path) -> list[float]:
    """As rank, best_of_n and gains score."""
    answered = [(chat[:-1], [chat[-1]["content"]]) for _, chat in ROWS.values()]
    (labelled,) = labelers.label(answered, ("en",), [model], Scoring(), work / "output", "rank")
    return [reward for (reward,) in labelled.rewards]


def by_training(model: Path, work: Path) -> list[float]:
    """As a policy is trained by it."""
    return online.InProcess(engines.load(model, Scoring())).of([chat for _, chat in ROWS.values()])


SCORING = ("score, JSONL", "score, messages", "evaluate", "serve", "pyfunc without xlrm", "a data frame")


@pytest.mark.parametrize("door", [DOORS[name] for name in SCORING] + [by_labeler, by_training])
def test_a_limit_on_the_prompt_counts_at_every_door(door, model, limited, tmp_path) -> None:
    given = [chat for _, chat in CUT.values()]
    expected = by_transformers(model, [cut(model, chat) for chat in given])
    whole = by_transformers(model, given)
    apart = [abs(one - other) > 1e-3 for one, other in zip(whole, expected, strict=True)]
    assert apart == [True, False, True, True, True]
    assert door(limited, tmp_path) == pytest.approx(expected, abs=1e-4)


def test_a_limit_on_the_prompt_counts_in_training(model) -> None:
    rows = [{"prompt": LONG["content"], "chosen": "Three.", "rejected": "No."}]
    free, limited = (loading.reward_tokenizer(model) for _ in range(2))
    prompt_limits.write(limited, LIMIT)
    shortened = {
        side: ids_of(model, cut(model, [LONG, said("assistant", rows[0][side])])) for side in ("chosen", "rejected")
    }
    assert columns.pairs(limited, rows, 2048, False) == {f"{side}_ids": [ids] for side, ids in shortened.items()}
    assert columns.judgments(limited, rows, 2048)["input_ids"] == list(shortened.values())
    assert columns.pairs(free, rows, 2048, False)["chosen_ids"] == [ids_of(model, [LONG, SAY])]
    assert not loading.same_text(free, limited), "tokens of the one are not those of the other"
    assert len(shortened["chosen"]) == LIMIT + len("Three.<")


def curated(work: Path, rows: list[dict], **changes: object) -> Path:
    write_jsonl(work / "mine.jsonl", rows)
    given = {
        "preferences": (str(work / "mine.jsonl"),), "benchmark": str(work / "mine.jsonl"), "prompts": None, "parallel": None,
        "near_duplicates": 1.0, "max_reject_share": 1.0,
    }  # fmt: skip
    (work / "en").mkdir(exist_ok=True)
    curate.run(curate.Config(**given | changes), output=work / "en")
    return work / "en"


def test_what_is_trained_on_is_the_whole_conversation(model, tmp_path) -> None:
    rows = [
        {"prompt": row["prompt"], "chosen": row["response"], "rejected": f"No {i}.", "margin": i + 1.0}
        for i, row in enumerate(GIVEN)
    ]
    kept = read_rows(curated(tmp_path, rows, benchmark="phrasebook") / "preferences.jsonl")
    names = [list(ROWS)[int(row["margin"]) - 1] for row in kept]
    assert len(kept) == len(rows), "each has another rejected response"
    made = columns.pairs(loading.load_tokenizer(model), kept, 2048, margin=True)
    assert made["chosen_ids"] == [ids_of(model, ROWS[name][1]) for name in names]
    no = [said("assistant", row["rejected"]) for row in kept]
    starts = [ROWS[name][1][: -3 if name == "calls in the response" else -1] for name in names]
    assert made["rejected_ids"] == [ids_of(model, [*start, last]) for start, last in zip(starts, no, strict=True)]
    judged = columns.judgments(loading.load_tokenizer(model), kept, 2048)
    assert judged["input_ids"][::2] == made["chosen_ids"] and judged["input_ids"][1::2] == made["rejected_ids"]


def test_pairs_that_lost_turns_and_calls_keep_them_or_are_rejects(tmp_path) -> None:
    hotel = [said("user", "Name a hotel."), said("assistant", "The Grand."), said("user", "What is 17 times 3?")]
    french = [said("system", "Answer in French."), said("user", "Say hello.")]
    rows = [
        {"id": "turns", "prompt": "Name a hotel.", "chosen": [*hotel, said("assistant", "51.")],
         "rejected": [*hotel, said("assistant", "41.")]},
        {"id": "system", "prompt": "Say hello.", "chosen": [*french, said("assistant", "Bonjour.")],
         "rejected": [*french, said("assistant", "Hello.")]},
        {"id": "two questions", "prompt": "Name a colour.",
         "chosen": [said("user", "Name a colour."), said("assistant", "Blue.")],
         "rejected": [said("user", "Name an animal."), said("assistant", "A cat.")]},
        {"id": "calls", "prompt": "Which month is next?", "chosen": [said("assistant", "June.", tool_calls=[CALL])],
         "rejected": [said("assistant", "July.")]},
    ]  # fmt: skip
    folder = curated(tmp_path, rows, benchmark="phrasebook")
    kept = {
        row["id"]: (row["prompt"], row["chosen"], row["rejected"]) for row in read_rows(folder / "preferences.jsonl")
    }
    assert kept == {
        "turns": (hotel, "51.", "41."), "system": (french, "Bonjour.", "Hello."),
        "calls": ("Which month is next?", [said("assistant", "June.", tool_calls=[CALL])], "July."),
    }  # fmt: skip
    (reject,) = read_rows(folder / "rejects.jsonl")
    assert reject["line"] == 3 and reject["reason"].startswith("chosen, rejected: the messages before chosen differ")


def test_a_turn_of_a_benchmark_is_contamination_too(tmp_path) -> None:
    other = [said("user", "Hello."), said("assistant", "Hello."), ASK]
    rows = [
        {"id": "whole", "prompt": other, "chosen": "Three.", "rejected": "Two."},
        {"id": "free", "prompt": other[:1], "chosen": "Hi.", "rejected": "Two."},
    ]
    write_jsonl(tmp_path / "bench.jsonl", [{"prompt": [ASK | {"name": "Ann"}], "chosen": "3.", "rejected": "2."}])
    folder = curated(tmp_path, rows, benchmark=str(tmp_path / "bench.jsonl"))
    assert [row["id"] for row in read_rows(folder / "preferences.jsonl")] == ["free"]
    (item,) = read_rows(folder / "benchmark.jsonl")
    assert item["prompt"] == [ASK | {"name": "Ann"}], "a file of messages is a benchmark"


def test_a_prompt_in_another_shape_is_read_or_refused_where_prompts_are_read(tmp_path) -> None:
    write_jsonl(tmp_path / "asked.jsonl", [{"prompt": FROM}, {"prompt": [ASK]}])
    asked = load({}, str(tmp_path / "asked.jsonl"), "en", None, 0, ("prompt",)).rows
    assert [row["prompt"] for row in asked] == [[HELP, ASK], ASK["content"]]
    write_jsonl(tmp_path / "bad.jsonl", [{"prompt": "Hello."}, {"prompt": 3}])
    with refused(DataError, f"{tmp_path / 'bad.jsonl'}:2: prompt", 3):
        load({}, str(tmp_path / "bad.jsonl"), "en", None, 0, ("prompt",))


def test_a_judge_of_single_questions_is_not_asked_about_several_turns() -> None:
    pairs = rewardbench.pairs([{"id": "7", "prompt": [HELP, ASK], "chosen": "Three.", "rejected": "Two."}])
    with refused(DataError, "item 7: prompt"):
        pairwise.load(reward_models.find("served=m"), pairwise.Settings()).questions(pairs[0])
    with refused(DataError, "item 7: prompt"):
        gold.JUDGES["phrasebook"].judge(pairs, "en")
    with refused(DataError, "item 7: response"):
        rewardbench.pairs([{"id": "7", "prompt": "How many?", "chosen": [SAY], "rejected": "Two."}])


def test_a_policy_is_asked_the_whole_conversation(tiny_base, tmp_path, monkeypatch) -> None:
    prompts = [[HELP, ASK, SAY, ASK], [ASK, CALLS, RESULT], ASK["content"]]
    rows = [{"id": str(i), "prompt": prompt, "split": "train"} for i, prompt in enumerate(prompts)]
    write_jsonl(tmp_path / "corpora" / "en" / "prompts.jsonl", rows)
    asked: list[list[int]] = []
    monkeypatch.setattr("xlrm.models.transformers_engine.Transformers._batch", _recorded(asked))
    config = sample.Config(languages=("en",), samples=1, max_new_tokens=4)
    (tmp_path / "out").mkdir()
    sample.run(config, policies=[tiny_base], corpora=tmp_path / "corpora", output=tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    chats = [prompt if isinstance(prompt, list) else [ASK] for prompt in prompts]
    expected = [
        tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"] for chat in chats
    ]
    assert sorted(asked) == sorted(expected)
    written = read_rows(tmp_path / "out" / "0" / "train" / "en.jsonl")
    assert [row["prompt"] for row in written] == prompts and all(len(row["responses"]) == 1 for row in written)


def _recorded(asked: list[list[int]]) -> Callable:
    from xlrm.models.transformers_engine import Transformers

    batch = Transformers._batch

    def recorded(engine, encoded, *rest):
        asked.extend(list(ids) for ids in encoded)
        return batch(engine, encoded, *rest)

    return recorded


def test_helpsteer2s_marks_are_messages() -> None:
    marked = "Name a hotel.\n<extra_id_1>Assistant\nThe Grand.\n\nIt is central.\n<extra_id_1>User\nThanks.\nWhat is 17 times 3?"
    expected = [
        said("user", "Name a hotel."),
        said("assistant", "The Grand.\n\nIt is central."),
        said("user", "Thanks.\nWhat is 17 times 3?"),
    ]
    scores = [{"prompt": marked, "response": f"{n}.", "helpfulness": n} for n in (1, 4)]
    (row,) = hub_sets.SOURCES["helpsteer2"].rows(scores)
    assert (row["prompt"], row["chosen"], row["margin"]) == (expected, "4.", 3.0)
    preferred = {"prompt": marked, "response_1": "a", "response_2": "b", "preference_strength": -2}
    (row,) = hub_sets.SOURCES["helpsteer2-preference"].rows([preferred])
    assert (row["prompt"], row["chosen"]) == (expected, "a")


def test_plain_text_and_tokens_of_conversations_have_all_of_them() -> None:
    assert conversations.plain([HELP, ASK | {"name": "Ann"}, CALLS, RESULT]).split("\n\n") == [
        "Be short.", ASK["content"], json.dumps([CALL, OTHER]), "3",
    ]  # fmt: skip
    assert conversations.shown([HELP, CALLS]) == f"system: Be short.\n\nassistant: {json.dumps([CALL, OTHER])}"
    assert chat_templates.conversation([HELP, ASK], [CALLS, RESULT, SAY]) == [HELP, ASK, CALLS, RESULT, SAY]
