"""The reward of every response of a benchmark, as Parquet with one row per response."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from xlrm.errors import DataError
from xlrm.evaluation.credit import Rewards, responses
from xlrm.models.chat_templates import Message, conversation

FILE = "rewards.parquet"
CORPUS = "corpus"
"""Name of the benchmark that is part of the corpus, translated with it."""
_COLUMNS = ("benchmark", "language", "id", "text", "subset", "section", "side", "response", "reward")
_SIDES = ("chosen", "rejected")


def records(benchmark: str, language: str, rows: Iterable[dict], rewards: Iterable[Rewards]) -> Iterator[dict]:
    """One record per response: `side` is chosen or rejected, `response` its number on that side of the item, `text` a
    digest of the item's texts, which shows whether two evaluations asked the same."""
    for row, both in zip(rows, rewards, strict=True):
        labels = {
            "benchmark": benchmark,
            "language": language,
            "text": _digest(row),
            **{key: row[key] for key in ("id", "subset", "section")},
        }
        for side, values in zip(_SIDES, both, strict=True):
            yield from (labels | {"side": side, "response": i, "reward": value} for i, value in enumerate(values))


def _digest(row: dict) -> str:
    texts = [row.get(key) for key in ("prompt", "chosen", "rejected")]
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]


def write(path: Path, found: list[dict]) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [one[name] for one in found] for name in _COLUMNS}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")


def benchmarks(path: Path) -> list[str]:
    """Names of the benchmarks in the file."""
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path, columns=["benchmark"])["benchmark"].unique().to_pylist()


def read(path: Path, benchmark: str = CORPUS) -> dict[str, list[dict]]:
    """Items of one benchmark by language, in the order of the file: id, text, subset, section, and the rewards of the
    chosen and of the rejected responses, as lists. Raises DataError for a file that does not exist or has other
    columns."""
    import pyarrow.parquet

    if not path.is_file():
        raise DataError(f"{path}: no such file; evaluate writes the rewards of every response there")
    table = pyarrow.parquet.read_table(path)
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise DataError(f"{path}: no column {', '.join(missing)}; the columns are {', '.join(_COLUMNS)}")
    items: dict[tuple[str, str], dict] = {}
    for one in table.to_pylist():
        if one["benchmark"] == benchmark:
            item = items.setdefault((one["language"], one["id"]), _item(one))
            item[one["side"]].append(one["reward"])
    found: dict[str, list[dict]] = {}
    for (language, _), item in items.items():
        found.setdefault(language, []).append(item)
    return found


def _item(one: dict) -> dict:
    return {key: one[key] for key in ("id", "text", "subset", "section")} | {"chosen": [], "rejected": []}


def score_items(rows: Sequence[dict], rewards_of: Callable[[list[list[Message]]], list[float]]) -> list[Rewards]:
    """Rewards of each benchmark row's chosen and rejected responses, all requested in one call."""
    sides = [responses(row) for row in rows]
    asked = [
        conversation(row["prompt"], text)
        for row, both in zip(rows, sides, strict=True)
        for side in both
        for text in side
    ]
    found = iter(rewards_of(asked))
    return [([next(found) for _ in chosen], [next(found) for _ in rejected]) for chosen, rejected in sides]
