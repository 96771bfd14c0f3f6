"""Rewards of every response of a benchmark, as Parquet with one row per response; and computing them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xlrm.errors import DataError
from xlrm.evaluation.credit import Rewards, responses
from xlrm.evaluation.facts import text_digest
from xlrm.models.chat_templates import conversation

if TYPE_CHECKING:
    from xlrm.scorers.interface import Scorer
    from xlrm.scorers.reward_journal import Journal

FILE = "rewards.parquet"
CORPUS = "corpus"
"""Name of the benchmark that is part of the corpus and translated with it."""
_COLUMNS = ("benchmark", "language", "id", "text", "subset", "section", "side", "response", "reward")
_OPTIONAL = ("weight", "label")
"""Weight of the item's subset in its section; empty for a subset that counts by its rows, and absent if no benchmark
had weights. Label of a single judgment, from 0 to 1; empty for all other items, and absent if there are none."""
_SIDES = ("chosen", "rejected")
"""A single judgment has one response, on the side `chosen` if it is good and on `rejected` if it is bad."""


def records(benchmark: str, language: str, rows: Iterable[dict], rewards: Iterable[Rewards]) -> Iterator[dict]:
    """One record for each response: `side` is chosen or rejected, `response` its index on that side, and `text` a
    digest of the item's texts, which shows whether two evaluations used the same texts."""
    for row, both in zip(rows, rewards, strict=True):
        labels = {
            "benchmark": benchmark,
            "language": language,
            "text": text_digest(row),
            **{key: row[key] for key in ("id", "subset", "section")},
            **{key: row[key] for key in _OPTIONAL if key in row},
        }
        for side, values in zip(_SIDES, both, strict=True):
            yield from (labels | {"side": side, "response": i, "reward": value} for i, value in enumerate(values))


def write(path: Path, rows: list[dict]) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row[name] for row in rows] for name in _COLUMNS}
    columns |= {name: [row.get(name) for row in rows] for name in _OPTIONAL if any(name in row for row in rows)}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")


def benchmarks(path: Path) -> list[str]:
    """Benchmarks whose rewards are in the file. Raises DataError for a missing file."""
    import pyarrow.parquet

    return pyarrow.parquet.read_table(_existing(path), columns=["benchmark"])["benchmark"].unique().to_pylist()


def read(path: Path, benchmark: str = CORPUS) -> dict[str, list[dict]]:
    """Language -> items of one benchmark, in the order in which they were written: id, text, subset, section, weight
    if any, and the rewards of the chosen and of the rejected responses as lists. Raises DataError for a missing file
    or other columns."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(_existing(path))
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise DataError(
            f"missing columns: {', '.join(missing)}", where=path, hint=f"required are {', '.join(_COLUMNS)}"
        )
    return grouped(record for record in table.to_pylist() if record["benchmark"] == benchmark)


def grouped(responses_of_items: Iterable[dict]) -> dict[str, list[dict]]:
    """Language -> items of one benchmark, from the records of their responses."""
    items: dict[tuple[str, str], dict] = {}
    for record in responses_of_items:
        item = items.setdefault((record["language"], record["id"]), _item(record))
        item[record["side"]].append(record["reward"])
    by_language: dict[str, list[dict]] = {}
    for (language, _), item in items.items():
        by_language.setdefault(language, []).append(item)
    return by_language


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError("no such file; evaluate writes the rewards of all responses there", where=path)
    return path


def _item(row: dict) -> dict:
    kept = {key: row[key] for key in ("id", "text", "subset", "section")}
    return kept | {key: row[key] for key in _OPTIONAL if row.get(key) is not None} | {"chosen": [], "rejected": []}


def score_items(rows: Sequence[dict], scorer: "Scorer", journal: "Journal | None" = None) -> list[Rewards]:
    """Rewards of each benchmark row's chosen and rejected responses; the scorer gets all of them at once. Logs how many
    conversations were cut."""
    sides = [responses(row) for row in rows]
    asked = [
        conversation(row["prompt"], text)
        for row, both in zip(rows, sides, strict=True)
        for side in both
        for text in side
    ]
    rewards = iter(scorer.score(asked, journal))
    scorer.say_cut("evaluate", len(asked))
    return [([next(rewards) for _ in chosen], [next(rewards) for _ in rejected]) for chosen, rejected in sides]


def cut_items(rows: Sequence[dict], scorer: "Scorer") -> list[int]:
    """Number of each row's conversations that were cut when `score_items` scored them."""
    owners = [number for number, row in enumerate(rows) for side in responses(row) for _ in side]
    counts = Counter(owners[place] for place in scorer.cut)
    return [counts[number] for number in range(len(rows))]
