"""Division of a corpus's pairs into those for training and those held out, the same in every language whose pairs have the
same ids."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from xlrm import progress
from xlrm.data import data_card, hub_sets
from xlrm.data.conversations import Turns, plain
from xlrm.data.corpus_schema import BENCHMARK_ITEMS, HELDOUT_PAIRS, PREFERENCE_PAIRS, Name, Table, is_judgment
from xlrm.errors import DataError
from xlrm.store.json_file import JsonFile
from xlrm.store.jsonl import read_rows

Rows = list[dict]
Tables = dict[Name, Rows]


def _ids(corpus: Path | None, table: Table) -> set[str]:
    file = corpus and corpus / table.file
    return {row["id"] for row in read_rows(file)} if file and file.is_file() else set()


class LeftOut(JsonFile):
    """left_out.json: ids of the pairs that are held out beyond the largest number to test on, so that they are held out in
    other languages too."""

    FILE: ClassVar[str] = "left_out.json"
    WRITTEN_BY: ClassVar[str] = "the stage curate writes it"

    ids: list[str]


def held_out_ids(corpus: Path | None) -> tuple[set[str], set[str]]:
    """Ids of the training pairs, and of the held-out pairs, those of its benchmark included, of the source's corpus, if
    there is one."""
    return _ids(corpus, PREFERENCE_PAIRS), _ids(corpus, HELDOUT_PAIRS) | tested_ids(corpus)


def tested_ids(corpus: Path | None) -> set[str]:
    """Ids of the benchmark of the source's corpus, if it is made of held-out pairs: no dataset is its origin then."""
    card = data_card.DataCard.find(corpus)
    return set() if card is None or card.origins.get("benchmark") else _ids(corpus, BENCHMARK_ITEMS)


def with_same_prompts(pairs: Rows, ids: Collection[str]) -> set[str]:
    """`ids`, and those of the other pairs with the prompt of one of these."""
    asked = {plain(row["prompt"]) for row in pairs if row["id"] in ids}
    return {*ids, *(row["id"] for row in pairs if plain(row["prompt"]) in asked)}


def say_shared(pairs: Rows, ids: Collection[str]) -> None:
    """Logs how many pairs are divided as in the source's corpus, whose ids are `ids`."""
    if shared := sum(row["id"] in ids for row in pairs):
        progress.say(f"curate: {shared} of {len(pairs)} pairs have an id of the source's, and are held out as there")


@dataclass(frozen=True)
class Division:
    """How pairs are divided into those for training and those held out."""

    train_share: float
    seed: int
    trained: Collection[str] = ()
    """Ids that are for training in another language."""
    held: Collection[str] = ()
    """Ids that are held out in another language, so that no pair is in both parts."""
    documents: bool = False
    """Whether prompts about one document are in the same part."""
    beside: bool = False
    """Whether another language was divided before."""

    def drawn(self, free: Mapping[Any, str], least: int, most: int) -> set[Any]:
        """Those of `free`, which no other language has divided, that are for training: a share, `least` to `most` of them.
        Values are ids: beside another language each one decides by itself, so that the same pair is never trained on in one
        language and tested on in the next, whatever else these have."""
        names = list(free)
        if not self.beside:
            count = min(max(least, round(self.train_share * len(names))), most)
            return {names[i] for i in hub_sets.sample(len(names), count, self.seed)}
        places = {name: int(hashlib.sha256(f"{self.seed} {free[name]}".encode()).hexdigest()[:8], 16) for name in names}
        count = sum(place < self.train_share * 16**8 for place in places.values())
        return set(sorted(names, key=places.__getitem__)[: min(max(least, count), most)])


def hold_out(pairs: Rows, division: Division) -> tuple[Rows, Rows]:
    """(a share of the pairs for training, the others)."""
    taken = {place for place, row in enumerate(pairs) if row["id"] in division.trained}
    free = {
        place: row["id"] for place, row in enumerate(pairs) if place not in taken and row["id"] not in division.held
    }
    return _grouped(pairs, range(len(pairs)), taken | division.drawn(free, min(not taken, len(free)), len(free)))


def say_divided(pairs: Rows, training: Rows, rest: Rows, kept: Rows, purpose: str) -> None:
    """Logs how many pairs are in each part, and how many of those held out are kept."""
    if rest:
        some = f"{len(kept)} of the {len(rest)} others" if len(kept) < len(rest) else f"the other {len(rest)}"
        progress.say(f"curate: {len(pairs)} pairs: {len(training)} for training, {some} held out{purpose}")


def by_own_split(rows: Rows) -> tuple[Rows, Rows, Rows]:
    """(rows for training, rows for validation, others), by what the dataset says, without their field `split`. Raises
    DataError if all are for validation."""
    parts: dict[str | None, Rows] = {"train": [], "validation": [], None: []}
    for row in rows:
        parts[row.get("split")].append({name: value for name, value in row.items() if name != "split"})
    train, validation, others = parts.values()
    if validation and not (train or others):
        raise DataError("all rows are for validation, none to train on", where="curate.preferences", value=len(rows))
    return train, validation, others


def check_comparable(pairs: Rows) -> None:
    """Raises DataError for single judgments, which cannot be a benchmark."""
    if judged := sum(map(is_judgment, pairs)):
        raise DataError(
            f"{judged} of {len(pairs)} rows are single judgments, and only pairs can be a benchmark", where="curate.benchmark",
            value="heldout", hint="name a file of pairs, by --eval in xlrm train",
        )  # fmt: skip


def sampled(rows: Rows, most: int | None, seed: int, first: Collection[str] = ()) -> Rows:
    """At most `most` of the rows, sampled by seed and in their order, those with an id in `first` before others; None takes
    all."""
    early = [i for i, row in enumerate(rows) if row["id"] in first]
    late = [i for i, row in enumerate(rows) if row["id"] not in first]
    chosen = [early[i] for i in hub_sets.sample(len(early), most, seed)]
    left = None if most is None else most - len(chosen)
    return [rows[i] for i in sorted(chosen + [late[i] for i in hub_sets.sample(len(late), left, seed)])]


def hold_out_prompts(pairs: Rows, division: Division) -> tuple[Rows, Rows]:
    """(pairs of a share of the prompts, or of the documents that prompts are about, for training, those of the others). Raises
    DataError if either has none, and for single judgments, with which nothing can be compared."""
    check_comparable(pairs)
    asked, free, taken, kept_out = _prompts(pairs, division)
    least, most = 0 if taken else 1, len(free) - (0 if kept_out else 1)
    if most < least:
        raise DataError(
            "two or more prompts are required, to train on some and evaluate on the others", where="curate.preferences",
            value=len(free),
        )  # fmt: skip
    return _grouped(pairs, asked, division.drawn(free, least, most) | (taken - kept_out))


def hold_out_by_prompt(pairs: Rows, division: Division) -> tuple[Rows, Rows]:
    """As `hold_out_prompts`, for single judgments too, so that no prompt or document has rows in both parts; a share of 1 holds
    out nothing, or what `division.held` says."""
    asked, free, taken, kept_out = _prompts(pairs, division)
    return _grouped(pairs, asked, division.drawn(free, min(not taken, len(free)), len(free)) | (taken - kept_out))


def document(prompt: Turns) -> str:
    """What a prompt is about: all of it but the last paragraph, such as a passage before a question; a prompt of one paragraph
    is itself what it is about."""
    text = plain(prompt).strip()
    return text.rpartition("\n\n")[0].strip() or text


def _prompts(pairs: Rows, division: Division) -> tuple[list[str], dict[str, str], set[str], set[str]]:
    """Prompt of each row, or its document; the different ones that are in neither part in another language, each with the
    first of its rows' ids; those in its part to train on, and those in its held-out part."""
    asked = [
        document(pair["prompt"]) if division.documents else json.dumps(pair["prompt"], sort_keys=True, allow_nan=False)
        for pair in pairs
    ]
    taken, kept_out = (
        {p for p, pair in zip(asked, pairs, strict=True) if pair["id"] in ids}
        for ids in (division.trained, division.held)
    )
    free: dict[str, str] = {}
    for prompt, pair in zip(asked, pairs, strict=True):
        if prompt not in taken and prompt not in kept_out:
            free[prompt] = min(free.get(prompt, pair["id"]), pair["id"])
    return asked, free, taken, kept_out


def divided(tables: Tables, of: str) -> data_card.Division | None:
    """What pairs are divided by, and how many of these are in each part; None if they are divided one by one."""
    if of not in ("prompts", "documents") or "preferences" not in tables:
        return None
    key = document if of == "documents" else plain
    training = {key(row["prompt"]) for row in tables["preferences"]}
    held = {key(row["prompt"]) for row in [*tables.get("heldout", []), *tables.get("benchmark", [])]}
    return data_card.Division.model_validate(
        {"of": of, "training": len(training), "held_out": len(held), "both": len(training & held)}
    )


def _grouped(pairs: Rows, names: Iterable[Any], training: Collection[Any]) -> tuple[Rows, Rows]:
    """(pairs whose name is one of those for training, the others)."""
    groups: tuple[Rows, Rows] = ([], [])
    for name, pair in zip(names, pairs, strict=True):
        groups[name not in training].append(pair)
    return groups
