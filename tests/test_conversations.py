"""What is a conversation, by one rule: for `xlrm score`, the server, preference records, and models loaded by MLflow alone."""

import json

import numpy as np
import pytest

from xlrm.data import conversations, pair_records
from xlrm.errors import DataError
from xlrm.registry import mlflow_loader
from xlrm.serving import exchange

ASK, SAY = {"role": "user", "content": "How much?"}, {"role": "assistant", "content": "Three."}
HELP = {"role": "system", "content": "Be short."}

GOOD = {
    "messages": ({"messages": [ASK, SAY]}, [ASK, SAY]),
    "a system's turn": ({"messages": [HELP, ASK, SAY]}, [HELP, ASK, SAY]),
    "texts": ({"prompt": "How much?", "response": "Three."}, [ASK, SAY]),
    "a prompt of messages": ({"prompt": [HELP, ASK], "response": "Three."}, [HELP, ASK, SAY]),
    "an empty answer": ({"prompt": "How much?", "response": ""}, [ASK, {"role": "assistant", "content": ""}]),
    "an answer alone": ({"messages": [SAY]}, [SAY]),
}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "3", "tool_call_id": "1"}
GOOD |= {
    "no content but calls": ({"messages": [ASK, {"role": "assistant", "tool_calls": [CALL]}]}, [ASK, CALLS]),
    "null for content, and calls": ({"messages": [ASK, CALLS | {"content": None}]}, [ASK, CALLS]),
    "a response of messages": ({"prompt": "How much?", "response": [CALLS, RESULT, SAY]}, [ASK, CALLS, RESULT, SAY]),
    "messages in a table of texts": ({"messages": json.dumps([ASK, SAY])}, [ASK, SAY]),
    "JSON that is not of messages": (
        {"prompt": '[{"role": "dog"}]', "response": "Three."},
        [ASK | {"content": '[{"role": "dog"}]'}, SAY],
    ),
    "single messages": ({"prompt": ASK, "response": SAY}, [ASK, SAY]),
    "an input as OpenAI writes it": (
        {"prompt": {"messages": [HELP, ASK], "tools": []}, "response": [SAY]},
        [HELP, ASK, SAY],
    ),
    "a question and what it is about, joined": (
        {"prompt": "How much?", "response": "Three.", "instruction": "How", "input": "much?"},
        [ASK, SAY],
    ),
    "an instruction without input": (
        {"prompt": "How much?", "response": "Three.", "instruction": "How much?", "input": ""},
        [ASK, SAY],
    ),
    "JSON with other keys": (
        {"prompt": "How much?", "response": '{"from": "EUR", "value": 3}'},
        [ASK, SAY | {"content": '{"from": "EUR", "value": 3}'}],
    ),
    "a text part": ({"messages": [ASK | {"content": [{"type": "text", "text": "How much?"}]}, SAY]}, [ASK, SAY]),
    "from and value": (
        {
            "messages": [
                {"from": "system", "value": "Be short."},
                {"from": "human", "value": "How much?", "weight": 1},
                {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
                {"from": "observation", "value": "3"},
                {"from": "gpt", "value": "Three."},
            ]
        },
        [HELP, ASK | {"weight": 1}, CALLS, {"role": "tool", "content": "3"}, SAY],
    ),
}
DEEP: list = []
for _ in range(100):
    DEEP = [DEEP]
BAD = {
    "neither": {"prompt": "p"},
    "messages as JSON in a text": {"prompt": json.dumps([ASK]), "response": "Three."},
    "a response as JSON in a text": {
        "prompt": "How much?",
        "response": json.dumps([{"from": "gpt", "value": "Three."}]),
    },
    "one message as JSON in a text": {"prompt": "How much?", "response": json.dumps(SAY)},
    "messages as Python prints them": {"prompt": "How much?", "response": str([ASK, SAY])},
    "messages as NumPy prints them": {"prompt": str(np.array([HELP, ASK], dtype=object)), "response": "Three."},
    "one message as Python prints it": {"prompt": str({"from": "human", "value": "How much?"}), "response": "Three."},
    "an input beside an instruction": {"prompt": "How", "instruction": "How", "input": "much?", "response": "Three."},
    "an instruction beside an input": {"prompt": "much?", "instruction": "How", "input": "much?", "response": "Three."},
    "tools of an input": {"prompt": {"messages": [ASK], "tools": [{"type": "function"}]}, "response": "Three."},
    "a sender as a role": {"messages": [ASK | {"role": "human"}, SAY]},
    "a sender as a role, and more": {"messages": [ASK, SAY | {"role": "gpt", "name": "Ann"}, ASK, SAY]},
    "an unknown sender": {"messages": [{"from": "dog", "value": "How much?"}, SAY]},
    "a call that is no JSON": {"messages": [ASK, {"from": "function_call", "value": "add(1)"}]},
    "two text parts": {"messages": [ASK | {"content": [{"type": "text", "text": "How"}] * 2}, SAY]},
    "an image": {"messages": [ASK | {"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, SAY]},
    "no content and no calls": {"messages": [ASK | {"content": None}, SAY]},
    "tools": {"messages": [ASK, SAY], "tools": [{"type": "function"}]},
    "a system prompt beside": {"prompt": "How much?", "response": "Three.", "system": "Be brief."},
    "a history beside": {"prompt": "How much?", "response": "Three.", "history": [["Hello.", "Good day."]]},
    "settings of a template": {"messages": [ASK, SAY], "chat_template_kwargs": {"enable_thinking": False}},
    "a response that ends with a tool": {"prompt": "How much?", "response": [CALLS, RESULT]},
    "too many levels": {"messages": [ASK | {"extra": DEEP}, SAY]},
    "a number that is not finite": {"messages": [ASK | {"weight": float("inf")}, SAY]},
    "half of a character in a call": {"messages": [ASK, CALLS | {"name": "\ud800"}]},
    "a response alone": {"response": "r"},
    "no messages": {"messages": []},
    "an empty prompt": {"prompt": [], "response": "r"},
    "messages as text": {"messages": "Hello."},
    "texts for messages": {"messages": ["Hello.", "You."]},
    "no content": {"messages": [{"role": "user"}, SAY]},
    "no role": {"messages": [{"content": "Hello."}, SAY]},
    "an empty role": {"messages": [{"role": "", "content": "Hello."}, SAY]},
    "content that is no text": {"messages": [ASK, {"role": "assistant", "content": 3}]},
    "a prompt that is no text": {"prompt": 1, "response": "r"},
    "a response that is no text": {"prompt": "p", "response": None},
    "the user's last": {"messages": [ASK, SAY, ASK]},
    "half of a character": {"prompt": "p\ud800", "response": "r"},
    "half of a character in messages": {"messages": [ASK, {"role": "assistant", "content": "\udfff"}]},
}


def by_server(row: dict) -> list[dict]:
    return exchange.RewardsRequest(conversations=[row]).conversations[0]


READERS = {"rule": conversations.of_row, "loader": lambda row: mlflow_loader._conversation(0, row), "server": by_server}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", GOOD)
def test_all_readers_take_the_same_rows_for_the_same_conversations(reader: str, name: str) -> None:
    row, expected = GOOD[name]
    assert READERS[reader](row) == expected


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", BAD)
def test_all_readers_refuse_the_same_rows(reader: str, name: str) -> None:
    with pytest.raises((DataError, ValueError)):
        READERS[reader](BAD[name])


@pytest.mark.parametrize("reader", READERS)
def test_a_row_with_both_is_its_prompt_and_response(reader: str) -> None:
    row = {"messages": [HELP, SAY], "prompt": "How much?", "response": "Three."}
    assert READERS[reader](row) == [ASK, SAY]
    assert READERS[reader](row | {"prompt": None, "response": None}) == [HELP, SAY]


@pytest.mark.parametrize("reader", READERS)
def test_what_else_a_message_has_is_kept_and_null_left_out(reader: str) -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1, "b": None}}, "id": None}
    kept = {"function": {"name": "f", "arguments": {"a": 1}}}
    row = {
        "messages": [ASK | {"name": "Ann", "tool_calls": None}, SAY | {"name": None, "tool_calls": [call]}],
        "tools": None,
    }
    assert READERS[reader](row) == [ASK | {"name": "Ann"}, SAY | {"tool_calls": [kept]}]


def test_the_loader_takes_what_a_data_frame_makes_of_rows() -> None:
    rows = [
        {"messages": np.array([ASK, SAY], dtype=object), "prompt": float("nan"), "response": None},
        {"messages": float("nan"), "prompt": np.array([HELP, ASK], dtype=object), "response": "Three."},
    ]
    assert [READERS["loader"](row) for row in rows] == [[ASK, SAY], [HELP, ASK, SAY]]


@pytest.mark.parametrize("name", [name for name, row in BAD.items() if isinstance(row.get("messages"), list)])
def test_a_side_of_a_preference_pair_is_held_to_it_too(name: str) -> None:
    assert (
        pair_records.pair_of({"chosen": [ASK, SAY], "rejected": [ASK, SAY | {"content": "Four."}]})["chosen"]
        == "Three."
    )
    messages = BAD[name]["messages"]
    with pytest.raises(DataError):
        pair_records.pair_of({**BAD[name], "prompt": "How much?", "chosen": messages, "rejected": "Four."})
