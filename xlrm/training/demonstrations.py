"""Demonstrations, which are prompts with a response to imitate, as token ids; their order in a training; and a sample of them
for validation."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.data.corpus_schema import DEMONSTRATIONS
from xlrm.data.demonstrations import spread
from xlrm.errors import DataError
from xlrm.models import chat_templates, prompt_limits
from xlrm.models.decoding import Prompt
from xlrm.training.recipes import SftTraining

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE = DEMONSTRATIONS.file
Row = dict[str, Any]
Pair = tuple[list[int], list[int]]
"""Token ids of a prompt and of its response."""
IGNORED = -100
"""Label of a token that the loss leaves out (torch's cross_entropy)."""


@dataclass
class Counts:
    """Numbers of demonstrations, and of those that were cut."""

    rows: int = 0
    cut_prompts: int = 0
    cut_responses: int = 0


class Encoder:
    """Encodes demonstrations as a policy reads and writes them, and counts what it cuts."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", config: SftTraining, encoder_decoder: bool):
        self.tokenizer, self.config, self.encoder_decoder = tokenizer, config, encoder_decoder
        self.end = tokenizer.eos_token_id
        self.ends = chat_templates.turn_ends(tokenizer) | {self.end}
        self.counts = Counts()

    def columns(self, rows: Sequence[Row]) -> dict[str, list[list[int]]]:
        """Columns input_ids and labels. In a decoder they are of the same length, and the prompt's labels are `IGNORED`; in an
        encoder-decoder they are prompt and response."""
        chats = [chat_templates.accepted(self.tokenizer, row["prompt"]) for row in rows]
        pairs = self._encoded(chats, [row["response"] for row in rows])
        for place, (row, chat) in enumerate(zip(rows, chats, strict=True)):
            self.counts.cut_prompts += self._is_cut(row["prompt"], chat)
            if len(pairs[place][1]) > self.config.max_response_length:
                self.counts.cut_responses += 1
                pairs[place] = self._cut(chat, row["response"], pairs[place])
        self.counts.rows += len(rows)
        if self.encoder_decoder:
            return {"input_ids": [read for read, _ in pairs], "labels": [written for _, written in pairs]}
        return {
            "input_ids": [[*read, *written] for read, written in pairs],
            "labels": [[IGNORED] * len(read) + written for read, written in pairs],
        }

    def _is_cut(self, prompt: Prompt, chat: list[dict[str, Any]]) -> bool:
        """Whether `chat`, as the policy reads it, is a prompt that was cut."""
        limit, before = prompt_limits.of(self.tokenizer), chat_templates.messages(prompt)
        return chat != before and limit is not None and prompt_limits.length(self.tokenizer, before) > limit

    def _cut(self, chat: list[dict[str, Any]], response: str, pair: Pair) -> Pair:
        """The pair with the end token after as much of the response as fits."""
        while (excess := len(pair[1]) - self.config.max_response_length) > 0:
            count = len(self.tokenizer(response, add_special_tokens=False, verbose=False)["input_ids"])
            if count < 2:
                break
            response = prompt_limits.beginning(self.tokenizer, response, max(1, count - excess))
            (pair,) = self._encoded([chat], [response])
        return pair

    def _encoded(self, chats: Sequence[list[dict[str, Any]]], responses: Sequence[str]) -> list[Pair]:
        """Token ids of prompts, and of responses with the token that ends them."""
        if not chats:
            return []
        if self.encoder_decoder:
            written = self.tokenizer(text_target=list(responses), verbose=False)["input_ids"]
            pairs = list(zip(chat_templates.as_encoded(self.tokenizer, chats), written, strict=True))
        else:
            asked = chat_templates.as_trained(self.tokenizer, chats)
            both = map(chat_templates.conversation, chats, responses)
            pairs = [
                (ids[:start], ids[start:])
                for read, ids in zip(asked, chat_templates.as_rendered(self.tokenizer, list(both)), strict=True)
                for start in [chat_templates.shared(read, ids)]
            ]
        return [(read, ids if self.ends.intersection(ids) else [*ids, self.end]) for read, ids in pairs]


def order(groups: Sequence[str], config: SftTraining) -> list[int]:
    """Places of the demonstrations of all steps, in the order of training. `groups`: subset and language of each. With `mixing`
    even, the groups take turns, in random order; each goes through its own demonstrations in random order, again and again. Else
    a pass is a random order of all. The last step of `epochs` may be short."""
    rng = random.Random(config.seed)
    count = round(config.epochs * len(groups)) if config.steps is None else config.steps * config.batch_size
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group if config.mixing == "even" else "", []).append(place)
    streams = [_endless(places[group], random.Random(rng.random())) for group in sorted(places)]
    turns = _endless(range(len(streams)), rng)
    return [next(streams[next(turns)]) for _ in range(count)]


def _endless(values: Sequence[int], rng: random.Random) -> Iterator[int]:
    """The values in random order, again and again, in another order each time."""
    while True:
        yield from rng.sample(values, len(values))


def read(corpora: Path, languages: Sequence[str]) -> dict[str, list[Row]]:
    """Demonstrations of these languages by split (train, validation), each with its `language`. Raises DataError for a file or
    row that cannot be read, for another split, and for a language without demonstrations to train on."""
    splits: dict[str, list[Row]] = {"train": [], "validation": []}
    for language in languages:
        path, before = corpora / language / FILE, len(splits["train"])
        for number, row in enumerate(DEMONSTRATIONS.read(path.parent), 1):
            if row["split"] not in splits:
                raise DataError("train or validation is required", where=f"{path}:{number}: split", value=row["split"])
            splits[row["split"]].append(row | {"language": language})
        if len(splits["train"]) == before:
            raise DataError("no demonstration has split train", where=path)
    return splits


def sample(rows: Sequence[Row], most: int | None, seed: int) -> list[Row]:
    """At most `most` of the rows, evenly over their groups: a group with fewer leaves its share to the others. In corpus
    order."""
    return [rows[place] for place in spread([group(row) for row in rows], most, seed)]


def group(row: Row) -> str:
    """Language and subset of a demonstration."""
    return f"{row['language']}/{row['subset']}"
