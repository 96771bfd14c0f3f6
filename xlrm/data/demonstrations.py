"""Demonstrations, prompts with a good response: read, cleaned, divided into training and validation, and mixed."""

import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from xlrm import progress
from xlrm.data import catalog, cleaning, conversations, hub_sets, pair_records
from xlrm.data.catalog import DEMONSTRATIONS
from xlrm.data.cleaning import Contamination, Report
from xlrm.data.conversations import plain
from xlrm.data.hub_sets import Loaded
from xlrm.errors import ConfigError, DataError
from xlrm.store.row_files import PLAIN, Reading, RowFile

TRAIN, VALIDATION = pair_records.SPLITS
AS_PROMPTS = "demonstrations"
"""Value of `curate.prompts` that takes the inputs of the demonstrations."""

Row = dict[str, Any]
Rows = list[Row]


def load(entry: str, language: str, count: int | None, seed: int, reading: Reading = PLAIN) -> Loaded:
    """Rows with id, prompt, response, subset and, if the dataset has one, split, and the rejects of a dataset or a file:
    all, or a sample of `count`. Raises ConfigError for any other name."""
    catalog.check(DEMONSTRATIONS, entry)
    if catalog.find(DEMONSTRATIONS, entry):
        loaded = catalog.load(DEMONSTRATIONS, entry, language, count, seed, ())
        return replace(loaded, rows=[{"subset": entry, **row} for row in loaded.rows])
    rows, rejects = _of_file(RowFile(entry, reading).records())
    name = catalog.stem(entry)
    rows = [{"subset": name, **row} for row in rows]
    return catalog.of_file(entry, rows, rejects, language, count, seed)


def _of_file(records: Iterable[tuple[int, Row | DataError]]) -> tuple[Rows, Rows]:
    """Demonstrations and rejects of numbered records; a record may be the error of one that cannot be read."""
    rows, rejects = [], []
    for number, record in records:
        try:
            if isinstance(record, DataError):
                raise record
            rows.append(row_of(record))
        except DataError as error:
            rejects.append({"line": number, "reason": str(error)})
    return rows, rejects


def row_of(record: Row) -> Row:
    """The demonstration in a record with prompt and response, or with messages whose last is the response, with the
    record's own id, split and subset. Raises DataError with the reason if it cannot be used, as one judged to be bad."""
    label = record.get("label")
    if isinstance(label, int | float) and label < 0.5:
        raise DataError(
            "a demonstration is a good response: no label, or one of 0.5 or more", where="label", value=label
        )
    turns = conversations.of_row(record)
    if len(turns) < 2:
        raise DataError("a prompt before the response is required", where="messages", value=len(turns))
    last = turns[-1:]
    row = {"prompt": conversations.prompt(turns[:-1]), "response": conversations.response(last)}
    pair_records.check_split(record.get("split"))
    return row | {name: str(record[name]) for name in ("id", "split", "subset") if record.get(name) not in (None, "")}


def clean(
    loaded: dict[str, Loaded],
    contamination: Contamination,
    train_share: float,
    seed: int,
    apart: Collection[str] = (),
    wanted: Collection[str] = cleaning.CLEANED,
) -> tuple[Rows, Report]:
    """The rows of all datasets that are worth training on, each with a split, and the counts of dropped rows.

    Rows without a split are divided by prompt: a share `train_share` of each dataset's prompts is for training. Reasons to
    drop a row: an empty text (unusable); prompt and response of an earlier row (duplicate); a prompt of a benchmark, of a
    validation row or of `apart`, prompts as `key` returns them (contaminated). The last two do not apply to generated sets
    whose rows are alike by design. Raises DataError if no row for training is left.
    """
    rows = cleaning.unique_ids([
        {**_of_table(row), "source": entry}
        for entry, source in loaded.items() for row in _divided(source.rows, train_share, seed)
    ])  # fmt: skip
    alike = {name for name, dataset in DEMONSTRATIONS.items() if dataset.alike}
    judged = {key(row["prompt"]) for row in rows if row["split"] == VALIDATION and row["source"] not in alike}
    report, kept, seen = Report(), [], set()
    for row in rows:
        prompt, free = key(row["prompt"]), row["source"] in alike
        both = prompt, key(row["response"])
        hits = frozenset() if free or "contaminated" not in wanted else _hits(row, prompt, contamination, judged, apart)
        repeated = both in seen and "duplicate" in wanted and not free
        why = "unusable" if not all(both) else "duplicate" if repeated else "contaminated" if hits else None
        seen.add(both)
        report.count(row["source"], why, hits if why == "contaminated" else ())
        if why is None:
            kept.append({name: value for name, value in row.items() if name != "source"})
    for name, source in loaded.items():
        report.reject(name, len(source.rejects))
    if not any(row["split"] == TRAIN for row in kept):
        raise DataError(
            "no demonstration to train on is left after cleaning",
            where="curate.demonstrations",
            value=", ".join(loaded),
        )
    return kept, report


def counted(source: Loaded, apart: Collection[str]) -> Loaded:
    """The dataset with the numbers of rows of its splits without those whose prompt is in `apart`, as paper B counts them."""
    if not (apart and source.origin.splits):
        return source
    counts = Counter(row["split"] for row in source.rows if key(row["prompt"]) not in apart)
    splits = {split: counts[split] for split in source.origin.splits}
    return replace(source, origin=source.origin.model_copy(update={"splits": splits}))


def _of_table(row: Row) -> Row:
    return {name: row[name] for name in ("id", "prompt", "response", "split", "subset")}


def _hits(
    row: Row, prompt: str, contamination: Contamination, judged: Collection[str], apart: Collection[str]
) -> frozenset[str]:
    """Names of what else uses the prompt. Rows for validation may have a benchmark's prompts, but not those of `apart`."""
    names = {"preferences"} if prompt in apart else set()
    if row["split"] == TRAIN:
        names |= contamination.hits(row["prompt"]) | ({VALIDATION} if prompt in judged else set())
    return frozenset(names)


def key(prompt: conversations.Turns) -> str:
    """The text of a prompt, by which prompts are compared: without differences in white space."""
    return " ".join(plain(prompt).split())


def _divided(rows: Rows, train_share: float, seed: int) -> Iterator[Row]:
    """The rows, each with a split: its own, else by its prompt."""
    prompts = list(dict.fromkeys(key(row["prompt"]) for row in rows if not row.get("split")))
    drawn = hub_sets.sample(len(prompts), max(1, round(train_share * len(prompts))), seed) if prompts else []
    training = {prompts[i] for i in drawn}
    for row in rows:
        yield row if row.get("split") else row | {"split": TRAIN if key(row["prompt"]) in training else VALIDATION}


def evenly(rows: Rows, seed: int) -> Rows:
    """The rows, with those for training of every subset repeated until each subset has as many as the largest: whole passes
    over the subset, then a sample of it. Repeated rows have ids of their own."""
    by_subset: dict[str, Rows] = {}
    for row in rows:
        if row["split"] == TRAIN:
            by_subset.setdefault(row["subset"], []).append(row)
    most = max(map(len, by_subset.values()), default=0)
    more: Rows = []
    for subset, own in by_subset.items():
        passes, rest = divmod(most, len(own))
        more += own * (passes - 1) + [own[i] for i in hub_sets.sample(len(own), rest, seed)]
        if most > len(own):
            progress.say(
                f"curate: {subset}: {len(own):,} demonstrations repeated to {most:,}, as many as the largest set has"
            )
    mixed = cleaning.unique_ids([*rows, *more])
    return mixed if not more else _shuffled(mixed, seed)


def _shuffled(rows: Rows, seed: int) -> Rows:
    train = [row for row in rows if row["split"] == TRAIN]
    random.Random(seed).shuffle(train)
    return [*train, *(row for row in rows if row["split"] != TRAIN)]


def prompts(rows: Rows, train: int | None, evaluation: int | None, seed: int) -> Rows:
    """The inputs of demonstrations as rows of the table of prompts: those for training as split train, those for validation
    as split eval, each input of a subset once, or a sample of `train` and `evaluation` of them; the latter is `spread` over the
    subsets, which count the same in the results. Raises ConfigError if there is none to align on or, unless `evaluation` is 0, to
    judge on."""
    table: Rows = []
    for split, name, count in ((TRAIN, "train", train), (VALIDATION, "eval", evaluation)):
        own = {(row["subset"], key(row["prompt"])): row for row in reversed(rows) if row["split"] == split}
        distinct = list(reversed(own.values()))
        if not distinct and count != 0:
            raise ConfigError(
                f"no demonstration for {split}, whose inputs would be the prompts of split {name}", where="curate.prompts",
                value=AS_PROMPTS, hint="set demonstrations_train_share below 1, or name prompts",
            )  # fmt: skip
        drawn = (
            spread([row["subset"] for row in distinct], count, seed) if split == VALIDATION
            else hub_sets.sample(len(distinct), count, seed)
        )  # fmt: skip
        table += [
            {"id": distinct[i]["id"], "prompt": distinct[i]["prompt"], "split": name, "subset": distinct[i]["subset"]}
            for i in drawn
        ]
    return table


def spread(groups: Sequence[str], most: int | None, seed: int) -> list[int]:
    """Places of at most `most` rows, in their order, as many of each group as of each other: a group with fewer leaves its share
    to the others. `groups`: that of each row; None takes all."""
    if most is None or len(groups) <= most:
        return list(range(len(groups)))
    rng = random.Random(seed)
    places: dict[str, list[int]] = {}
    for place, name in enumerate(groups):
        places.setdefault(name, []).append(place)
    left, taken = most, list[int]()
    for number, name in enumerate(sorted(places, key=lambda name: (len(places[name]), name))):
        share = left // (len(places) - number)
        drawn = rng.sample(places[name], min(share, len(places[name])))
        left, taken = left - len(drawn), taken + drawn
    return sorted(taken)
