"""Parallel texts: the same content in several languages, row by row, without repetitions.

They come from a dataset that is published in several languages, from a file with a column per language, or from
corpora that were translated here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from xlrm import progress
from xlrm.data import catalog, hub_sets
from xlrm.data.catalog import PUBLISHED_PARALLEL
from xlrm.data.corpus_schema import PARALLEL_TEXTS
from xlrm.data.hub_sets import Origin, Source
from xlrm.data.licences import YOUR_OWN
from xlrm.errors import ConfigError, DataError
from xlrm.store.jsonl import read_rows

Table = dict[str, str]
"""Id -> text, in one language."""


class Account(BaseModel):
    """Where parallel texts come from, and how many there are."""

    model_config = ConfigDict(frozen=True)

    set: str
    """Dataset or file as the config names it."""
    licence: str | None = None
    file: str | None = None
    repository: str | None = None
    revision: str | None = None
    records: dict[str, int | None] = {}
    """By language."""
    commit: dict[str, str | None] = {}
    """By language."""
    rows: int
    incomplete: int
    """Rows without a text in every language."""
    duplicates: int
    used: int


@dataclass(frozen=True)
class Parallel:
    texts: dict[str, list[str]]
    """Language -> texts; texts at the same index say the same in each language."""
    account: Account

    def __len__(self) -> int:
        return len(next(iter(self.texts.values())))


def check(entry: str) -> None:
    """Raises ConfigError for an entry that names neither a dataset with its own languages nor a file."""
    try:
        catalog.check(PUBLISHED_PARALLEL, entry)
    except ConfigError as error:
        error.within("represent.parallel: ")
        raise


def gather(entry: str | None, corpora: Path | None, languages: Sequence[str], count: int | None, seed: int) -> Parallel:
    """Texts of the dataset or file `entry`, or else of corpora in these languages. Raises ConfigError if there is
    neither, and the errors of `load` and `read_corpora`."""
    if entry:
        return load(entry, languages, count, seed)
    if corpora is None:
        raise ConfigError(
            "null, and there are no corpora; a dataset, a file or corpora with parallel.jsonl are allowed",
            where="represent.parallel",
        )
    return read_corpora(corpora, languages, count, seed)


def load(entry: str, languages: Sequence[str], count: int | None, seed: int) -> Parallel:
    """At most `count` texts, sampled by seed, of a dataset NAME[=OWNER/NAME][@REVISION] or a file with a column for each.

    Raises ConfigError for another entry or a language that the dataset lacks, ArtifactError for a dataset that cannot
    be fetched, DataError for a file that lacks a language's column, or if no row has a text in all languages.
    """
    check(entry)
    if row := catalog.find(PUBLISHED_PARALLEL, entry):
        tables, origins = _published(row, languages)
    else:
        tables = _columns(entry, languages)
        origins = dict.fromkeys(languages, Origin(licence=YOUR_OWN, file=entry))
    return align(entry, tables, origins, count, seed)


def read_corpora(folder: Path, languages: Sequence[str], count: int | None, seed: int) -> Parallel:
    """The texts that `curate` selected and `translate` translated. Raises DataError for a row without id or text."""
    tables = {}
    for language in languages:
        rows = PARALLEL_TEXTS.read(folder / language)
        tables[language] = {str(row["id"]): row["text"] for row in rows}
    return align("the translated corpora", tables, {}, count, seed)


def align(
    entry: str, tables: Mapping[str, Table], origins: Mapping[str, Origin], count: int | None, seed: int
) -> Parallel:
    """Texts by id, in the order of the first language, for the ids with a text in every language. Of rows whose texts
    in the first language differ only in white space, the first is kept. The rows left out are counted and logged."""
    first = next(iter(tables.values()))
    ids = dict.fromkeys(name for table in tables.values() for name in table)
    whole = [name for name in ids if all(table.get(name, "").strip() for table in tables.values())]
    if not whole:
        raise DataError(f"no text in all of {', '.join(tables)}", where="represent.parallel", value=entry)
    firsts: dict[str, str] = {}
    for name in whole:
        firsts.setdefault(" ".join(first[name].split()), name)
    once = list(firsts.values())
    kept = [once[i] for i in hub_sets.sample(len(once), count, seed)]
    counts = {"incomplete": len(ids) - len(whole), "duplicates": len(whole) - len(once), "used": len(kept)}
    account = Account.model_validate({"set": entry, **_shared(origins), "rows": len(ids), **counts})
    progress.say(
        f"represent: {entry}: {len(ids)} texts, {account.incomplete} not in every language, {account.duplicates} "
        f"duplicates, {account.used} used"
    )
    return Parallel({language: [table[name] for name in kept] for language, table in tables.items()}, account)


def _shared(origins: Mapping[str, Origin]) -> dict[str, Any]:
    """Fields of `Account`: what the origins of all languages have in common, and the records and commit of each."""
    first = next(iter(origins.values()), None)
    if first is None:
        return {}
    shared = first.model_dump(include={"licence", "file", "repository", "revision"}, exclude_unset=True)
    if first.records is None:
        return shared
    records = {language: origin.records for language, origin in origins.items()}
    return shared | {"records": records, "commit": {language: origin.commit for language, origin in origins.items()}}


def _published(row: catalog.Dataset, languages: Sequence[str]) -> tuple[dict[str, Table], dict[str, Origin]]:
    tables, origins = {}, {}
    for language in languages:
        if language not in row.languages:
            raise ConfigError(
                f"a dataset in {language!r} is required",
                where="represent.parallel", value=row.name, hint=f"it is in {', '.join(row.languages)}",
            )  # fmt: skip
        assert isinstance(row.rows, Source)
        loaded = hub_sets.load(row.rows, language)
        tables[language] = {record["id"]: record["text"] for record in loaded.rows}
        origins[language] = loaded.origin
    return tables, origins


def _columns(path: str, languages: Sequence[str]) -> dict[str, Table]:
    rows = read_rows(path)
    if not rows:
        raise DataError("no rows", where=f"represent.parallel: {path}")
    columns = dict.fromkeys(name for row in rows for name in row)
    for language in languages:
        if language not in columns:
            raise DataError(
                f"no such column, but represent.languages has {', '.join(languages)}",
                where=f"represent.parallel: {path}", value=language, hint=f"there are {', '.join(columns)}",
            )  # fmt: skip
    return {
        language: {str(number): _text(path, number, language, row) for number, row in enumerate(rows, 1)}
        for language in languages
    }


def _text(path: str, number: int, language: str, row: dict) -> str:
    text = row.get(language)
    if text is not None and not isinstance(text, str):
        raise DataError("a text is allowed", where=f"represent.parallel: {path}:{number}: {language}", value=text)
    return text or ""
