"""Conversations of OpenAssistant (Köpf et al. 2023), trees in which several people answered the same message and others ranked
the answers, as preference pairs and as demonstrations.

As in Open-Assistant's own loader: trees that are ready for export and whose first message was accepted by its reviewers, without
threads that have a deleted or synthetic message.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from xlrm.data import conversations

Record = dict[str, Any]
Row = dict[str, Any]
SPOKEN = (
    "en", "es", "ru", "de", "pl", "th", "vi", "sv", "bn", "da", "he", "it", "fa", "sk", "id", "nb", "el", "nl", "hu", "eu",
    "zh", "eo", "ja", "ca", "cs", "bg", "fi", "pt", "tr", "ro", "ar", "uk", "gl", "fr", "ko",
)  # fmt: skip
"""Languages of OASST1 (its dataset card)."""
_ROLES = {"prompter": "user", "assistant": conversations.ANSWERER}

# Paper B (Wu et al. 2024), appendix A, Tables 3 and 4: language -> instances for training and for validation.
SFT_COUNTS = {"en": (8898, 472), "es": (5681, 311), "ru": (1884, 99)}
PAIR_COUNTS = {"en": (22076, 1026), "es": (13714, 699), "ru": (2627, 135)}


def pairs(records: Iterable[Record]) -> Iterator[Row]:
    """Every pair of answers to a message of which people ranked one above the other, with the thread as prompt. A row has the
    field `language`: that of its tree's first message."""
    for language, prompt, answers in _ranked(records):
        for better, worse in itertools.combinations(answers, 2):
            if better["rank"] < worse["rank"]:
                yield {
                    "id": f"{better['message_id']}-{worse['message_id']}", "prompt": prompt,
                    "chosen": conversations.response(better["text"]), "rejected": conversations.response(worse["text"]),
                    "subset": "oasst1", "language": language,
                }  # fmt: skip


def preferred(records: Iterable[Record]) -> Iterator[Row]:
    """The answer that is ranked first among those to a message, once for each message with a pair."""
    for language, prompt, answers in _ranked(records):
        if answers[0]["rank"] < answers[-1]["rank"]:
            yield {
                "id": answers[0]["message_id"], "prompt": prompt, "response": conversations.response(answers[0]["text"]),
                "subset": "oasst1", "language": language,
            }  # fmt: skip


def _ranked(records: Iterable[Record]) -> Iterator[tuple[str, conversations.Turns, list[Record]]]:
    """(language of the tree, thread, its answers from best to worst) for each message with two or more ranked answers."""
    messages = {record["message_id"]: record for record in records}
    answers: dict[str, list[Record]] = {}
    for message in messages.values():
        if message["role"] == "assistant" and message["rank"] is not None and _is_kept(message):
            answers.setdefault(message["parent_id"], []).append(message)
    for asked in messages.values():
        several = sorted(answers.get(asked["message_id"], ()), key=lambda message: message["rank"])
        if asked["role"] != "prompter" or len(several) < 2:
            continue
        thread = _thread(messages, asked)
        if thread and thread[0]["review_result"] and all(map(_is_kept, thread)):
            turns = [{"role": _ROLES[message["role"]], "content": message["text"]} for message in thread]
            yield thread[0]["lang"].partition("-")[0], conversations.prompt(turns), several


def _thread(messages: dict[str, Record], last: Record) -> list[Record]:
    """The messages from the first of the tree to `last`; none if one is missing."""
    thread = [last]
    while thread[0]["parent_id"] is not None:
        if thread[0]["parent_id"] not in messages:
            return []
        thread.insert(0, messages[thread[0]["parent_id"]])
    return thread


def _is_kept(message: Record) -> bool:
    return (
        message["tree_state"] == "ready_for_export" and message["review_result"] is not False
        and not message["deleted"] and not message["synthetic"]
    )  # fmt: skip
