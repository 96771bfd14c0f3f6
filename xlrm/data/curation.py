"""Turns loaded sources into the tables of a corpus: pairs for training and held-out pairs, prompts for alignment and
for judging."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from xlrm import progress
from xlrm.data import catalog, cleaning, data_card, hub_sets
from xlrm.data.catalog import EVAL_PROMPTS, PREFERENCES, PROMPTS
from xlrm.data.cleaning import Contamination, Counts, Report
from xlrm.data.corpus_schema import (
    CORPUS_PROMPTS,
    PARALLEL_TEXTS,
    TABLES,
    is_judgment,
)
from xlrm.data.division import Rows, Tables
from xlrm.data.hub_sets import Loaded
from xlrm.errors import DataError
from xlrm.store import row_files
from xlrm.store.jsonl import write_jsonl
from xlrm.store.row_files import PLAIN, Reading

_JUDGED = 10
"""One in ten prompts is for judging if there is no set for judging and no number."""

Sources = dict[str, Loaded]
"""Entry of the config -> the rows loaded for it."""


def load_pairs(
    entry: str, language: str, count: int | None, seed: int, max_reject_share: float, reading: Reading = PLAIN,
    beside: tuple[str, ...] = (),
) -> Loaded:  # fmt: skip
    """The pairs of a preference source, or a sample of `count`. Raises DataError if the share of unusable rows is above
    `max_reject_share`, and the errors of `catalog.load_pairs`."""
    loaded = catalog.load_pairs(entry, language, count, seed, reading, beside)
    check_rejects(entry, loaded, max_reject_share, reading)
    return loaded


def check_rejects(entry: str, loaded: Loaded, max_reject_share: float, reading: Reading = PLAIN) -> None:
    """Raises DataError if the share of unusable rows is above `max_reject_share`."""
    total = len(loaded.rows) + len(loaded.left) + len(loaded.rejects)
    if len(loaded.rejects) > max_reject_share * total:
        first = f"line {loaded.rejects[0]['line']}: {loaded.rejects[0]['reason']}"
        raise DataError(
            f"{len(loaded.rejects)} of {total} rows are unusable, more than "
            f"curate.max_reject_share={max_reject_share} allows; the first: {first}",
            where=entry, hint=_other_names(entry, reading),
        )  # fmt: skip


def _other_names(entry: str, reading: Reading) -> str:
    """What to do about a file whose fields may have other names."""
    there = catalog.first_row(entry, reading) if catalog.is_file(entry) else {}
    return row_files.other_names(there) if there and not {"chosen", "response"} & there.keys() else ""


def load_prompts(
    entry: str,
    judging: str | None,
    language: str,
    train: int | None,
    evaluation: int | None,
    seed: int,
    reading: Reading = PLAIN,
) -> dict[str, Sources]:
    """`prompts` for alignment (more than `train` if available) and `eval_prompts` for judging: the set `judging`, or
    else the judging set of `entry`'s name, or else a sample of `entry`, a tenth if no number is given."""

    def get(table: dict, name: str, count: int | None) -> Loaded:
        return catalog.load(table, name, language, count, seed, ("prompt",), reading)

    row = catalog.find(PROMPTS, entry)
    if evaluation == 0:
        return {"prompts": {entry: get(PROMPTS, entry, train if row and row.size else None)}, "eval_prompts": {}}
    judging = judging or (entry if catalog.find(EVAL_PROMPTS, entry) else None)
    if judging:
        align = get(PROMPTS, entry, train if row and row.alike else None)
        judge = get(EVAL_PROMPTS, judging, evaluation)
    else:
        both = get(PROMPTS, entry, train + evaluation if train and evaluation else None)
        judged = set(hub_sets.sample(len(both.rows), _for_judging(len(both.rows), train, evaluation), seed))
        align, judge = (
            replace(both, rows=[row for i, row in enumerate(both.rows) if (i in judged) == wanted])
            for wanted in (False, True)
        )
    return {"prompts": {entry: align}, "eval_prompts": {judging or entry: judge}}


def prompts(corpus: Path, split: str, published: str | None) -> Rows:
    """The prompts of a split of a corpus, or for judging, those of the dataset `published` in the corpus's language, which
    is the name of its folder. Raises DataError for a file that cannot be read, and as `catalog.load` does."""
    if published and split == "eval":
        rows = catalog.load(EVAL_PROMPTS, published, corpus.name, None, 0, ("prompt",)).rows
        return [{"id": row["id"], "prompt": row["prompt"], "split": split} | _subset(row) for row in rows]
    return [row for row in CORPUS_PROMPTS.read(corpus) if row["split"] == split]


def _for_judging(size: int, train: int | None, evaluation: int | None) -> int:
    """How many of `size` prompts are for judging; the others are for alignment."""
    if train and evaluation:
        return size - size * train // (train + evaluation)
    return min(size, evaluation or max(1, size // _JUDGED))


def clean_pairs(
    loaded: Sources, contamination: Contamination, near_duplicates: float, wanted: Collection[str] = cleaning.CLEANED
) -> tuple[Rows, Report]:
    """The cleaned pairs or single judgments of all sources, and the counts of dropped rows. Raises DataError if none is
    left, and if there are both."""
    _check_one_kind(loaded)
    rows = cleaning.unique_ids(
        [
            {
                "id": row["id"], **{key: row[key] for key in cleaning.texts_of(row)},
                "subset": str(row.get("subset") or row.get("section") or "all"), "source": name,
                **{key: float(row[key]) for key in ("margin", "label") if key in row},
                **({"split": row["split"]} if row.get("split") else {}),
            }
            for name, source in loaded.items() for row in source.rows
        ]
    )  # fmt: skip
    alike = frozenset(name for name, dataset in PREFERENCES.items() if dataset.alike)
    kept, report = cleaning.clean(rows, contamination, near_duplicates, alike, wanted)
    for name, source in loaded.items():
        report.reject(name, len(source.rejects))
    say(report, "single judgments" if any(map(is_judgment, rows)) else "pairs")
    if not kept:
        raise DataError("no pair is left after cleaning", where="curate.preferences", value=", ".join(loaded))
    return kept, report


def _check_one_kind(loaded: Sources) -> None:
    kinds = {is_judgment(row): (name, row["id"]) for name, source in loaded.items() for row in source.rows}
    if len(kinds) > 1:
        (pairs, pair), (judged, judgment) = kinds[False], kinds[True]
        raise DataError(
            f"pairs ({pair} of {pairs}) and single judgments ({judgment} of {judged}) are two corpora",
            where="curate.preferences", value=", ".join(loaded), hint="write each side of a pair as a single judgment",
        )  # fmt: skip


def check_parallel(entry: str, rows: Rows, source: Path | None) -> None:
    """Raises DataError for texts of which none has the id of one of the source's: they could not be compared."""
    if source is None or not (source / PARALLEL_TEXTS.file).is_file():
        return
    known = {row["id"] for row in PARALLEL_TEXTS.read(source)}
    if not any(row["id"] in known for row in rows):
        raise DataError(
            "no text has an id of the source's texts, by which they are compared", where="curate.parallel", value=entry,
            hint="give translations the same id, or name texts of all languages in represent.parallel",
        )  # fmt: skip


def clean_prompts(
    entry: str,
    source: Loaded,
    contamination: Contamination,
    count: int | None,
    seed: int,
    wanted: Collection[str] = cleaning.CLEANED,
) -> tuple[Loaded, dict[str, Counts]]:
    """The prompts for alignment without those that judging uses, or a sample of `count` of them; and the counts of the
    cleaning. Raises DataError if none is left."""
    row = catalog.find(PROMPTS, entry)
    if row and row.alike:
        return source, {}
    rows, report = cleaning.clean_prompts(source.rows, entry, contamination, wanted)
    say(report, "prompts")
    if not rows:
        raise DataError("no prompt to align on is left after cleaning", where="curate.prompts", value=entry)
    return hub_sets.take(entry, replace(source, rows=rows), count, seed), report.counts()


def prompt_rows(align: Sources, judge: Sources) -> Rows:
    """The table of prompts: those for alignment, followed by those for judging."""
    both = [
        (split, row) for split, use in (("train", align), ("eval", judge)) for data in use.values() for row in data.rows
    ]
    return [{"id": row["id"], "prompt": row["prompt"], "split": split} | _subset(row) for split, row in both]


def _subset(row: dict) -> dict:
    return {"subset": str(row["subset"])} if row.get("subset") else {}


def say(report: Report, what: str) -> None:
    """Logs the counts of a cleaning."""
    for source, counts in report.counts().items():
        dropped = ", ".join(f"{count} {reason}" for reason, count in counts.dropped.items()) or "none"
        hits = ", ".join(f"{count} of {name}" for name, count in counts.contaminated_by.items())
        detail = f"{dropped} ({hits})" if hits else dropped
        progress.say(f"curate: {source}: {counts.rows_in} {what} in, dropped {detail}, {counts.rows_out} out")


def rejects(loaded: dict[str, Sources]) -> Rows:
    """Source, line and reason of each row that could not be read."""
    return [
        {"source": entry, **row}
        for use in ("preferences", "demonstrations")
        for entry, data in loaded.get(use, {}).items()
        for row in data.rejects
    ]


def write(tables: Tables, rejects: Rows, card: data_card.DataCard, output: Path) -> None:
    """Writes each table to its file, with unique ids, and the card as corpus.json and curation.md."""
    for name, rows in tables.items():
        write_jsonl(output / TABLES[name].file, cleaning.unique_ids(rows))
    if rejects:
        write_jsonl(output / "rejects.jsonl", rejects)
    card.write(output)
    (output / "curation.md").write_text(data_card.markdown(card), encoding="utf-8")
