"""Preference datasets, prompts and parallel texts, one typed row each. A new dataset needs a row and a function that
makes rows."""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from xlrm.data import conversations, hub_sets, pair_records, seahorse
from xlrm.data.hub_sets import Loaded, Origin, Source
from xlrm.data.licences import YOUR_OWN
from xlrm.data.phrasebook import questions, sets
from xlrm.data.phrasebook.translator import render
from xlrm.errors import ConfigError, DataError
from xlrm.store import hub, objects, row_files
from xlrm.store.jsonl import read_rows
from xlrm.store.local_copies import S3, local_copy, readable
from xlrm.store.objects import sha256_of
from xlrm.store.row_files import PLAIN, Reading


@dataclass(frozen=True)
class Dataset:
    name: str
    licence: str
    languages: tuple[str, ...]
    """Languages that it is available in."""
    rows: Callable[[str, int, int], list[dict]] | Source
    """(language, count, seed) -> rows, or a dataset of the Hub; the fields of a row depend on its table."""
    size: int | None = None
    """Rows of a generated dataset if no number is given: its whole, as it has no end."""
    judged: bool = False
    """True if rows are single judgments."""
    alike: bool = False
    """True if rows resemble each other and those of a benchmark by design, because they come from a closed world."""


def _phrasebook_pairs(language: str, count: int, seed: int) -> list[dict]:
    return [
        sets.pair_row(f"phrasebook-{seed}-{i}", pair, language)
        for i, pair in enumerate(questions.pairs(seed, count, test=False))
    ]


def _phrasebook_prompts(test: bool) -> Callable[[str, int, int], list[dict]]:
    def rows(language: str, count: int, seed: int) -> list[dict]:
        asked = questions.prompts(seed, count, test)
        split = "eval" if test else "train"
        return [
            {"id": f"phrasebook-prompt-{split}-{seed}-{i}", "prompt": render(q.prompt, language), "split": split}
            for i, q in enumerate(asked)
        ]

    return rows


def _phrasebook_parallel(language: str, count: int, seed: int) -> list[dict]:
    true = questions.true_sentences()
    step = max(1, len(true) // count)
    chosen = itertools.islice(true[seed % step :: step], count)
    return [
        {"id": f"phrasebook-{seed}-{i}", "text": render((sentence,), language)} for i, sentence in enumerate(chosen)
    ]


SPOKEN = ("en", "es", "it", "ko", "zh", "de", "ru", "tr", "vi")
PHRASEBOOK = ("phrasebook", "phrasebook-pairs", "phrasebook-judgments")
"""Datasets of its sentences, in several tables or in that of the preferences alone."""


HUB = "hub:"


def from_hub(use: str) -> list[Dataset]:
    """The datasets of `xlrm.data.hub_sets` for one use."""
    return [Dataset(name, row.licence, row.languages, row) for name, row in hub_sets.SOURCES.items() if row.use == use]


def _table(*rows: Dataset) -> dict[str, Dataset]:
    return {row.name: row for row in rows}


PREFERENCES = _table(
    Dataset("phrasebook", "Apache-2.0", SPOKEN, _phrasebook_pairs, size=5600, alike=True),
    Dataset("phrasebook-pairs", "Apache-2.0", SPOKEN, sets.pairs, size=5600, alike=True),
    Dataset("phrasebook-judgments", "Apache-2.0", SPOKEN, sets.judgments, size=5600, judged=True, alike=True),
    Dataset(seahorse.NAME, seahorse.SOURCE.licence, seahorse.SOURCE.languages, seahorse.SOURCE, judged=True),
    *from_hub("preferences"),
)
PROMPTS = _table(
    Dataset("phrasebook", "Apache-2.0", SPOKEN, _phrasebook_prompts(test=False), size=120, alike=True),
    *from_hub("prompts"),
)
EVAL_PROMPTS = _table(
    Dataset("phrasebook", "Apache-2.0", SPOKEN, _phrasebook_prompts(test=True), size=80), *from_hub("eval_prompts")
)
DEMONSTRATIONS = _table(
    Dataset("phrasebook", "Apache-2.0", SPOKEN, sets.demonstrations, size=3000, alike=True), *from_hub("demonstrations")
)
PARALLEL = _table(Dataset("phrasebook", "Apache-2.0", SPOKEN, _phrasebook_parallel, size=120))
PUBLISHED_PARALLEL = _table(*from_hub("parallel"))
"""Sets that come in several languages: used as published, never translated."""


def find(table: Mapping[str, Dataset], entry: str) -> Dataset | None:
    """The row of `table` that NAME[=OWNER/NAME][@REVISION] names, or None. Raises ConfigError for a row that is not
    of the Hub and has another repository or revision."""
    name, repository, revision = (entry, None, None) if is_file(entry) else hub.parse_entry(entry)
    row = table.get(name)
    if row is None or not (repository or revision):
        return row
    if not isinstance(row.rows, Source):
        raise ConfigError(f"{name} is not on the Hub, so it has no repository or revision to choose", value=entry)
    return replace(row, rows=row.rows.at(repository, revision))


def is_multilingual(table: Mapping[str, Dataset], entry: str) -> bool:
    """Whether the entry names a dataset of the Hub that is published in several languages."""
    row = find(table, entry)
    return row is not None and isinstance(row.rows, Source) and len(row.languages) > 1


def check(table: Mapping[str, Dataset], entry: str, hub_too: bool = False) -> None:
    """Raises ConfigError for an entry that names no row of `table` and no file (and, if allowed, no dataset of the
    Hub as `hub:`)."""
    if find(table, entry) or is_file(entry) or (hub_too and entry.startswith(HUB)):
        return
    allowed = f"{', '.join(table)}, or the path of {row_files.ALLOWED}"
    if Path(entry).is_dir():
        raise ConfigError("is a folder", value=entry, hint=f"name the files in it, each {row_files.ALLOWED}")
    more = f", or {HUB}OWNER/NAME[:CONFIG[:SPLIT]][@REVISION]" if hub_too else ""
    raise ConfigError("no such dataset", value=entry, hint=f"there are {allowed}{more}")


def load(
    table: Mapping[str, Dataset],
    entry: str,
    language: str,
    count: int | None,
    seed: int,
    required: tuple[str, ...],
    reading: Reading = PLAIN,
    convert: Callable[[dict], dict] | None = None,
) -> Loaded:
    """Rows with ids of a dataset of `table`, or of a file that `reading` says how to read: all, or a sample of `count`.

    Raises ConfigError for a name that is neither, DataError for a row of a file without the `required` fields or that
    cannot be read. `convert` reads a row of a file; without it a prompt is read in its one form.
    """
    check(table, entry)
    if row := find(table, entry):
        if language not in row.languages:
            raise ConfigError(
                f"a dataset in {language!r} is required", value=row.name, hint=f"it is in {', '.join(row.languages)}"
            )
        if isinstance(row.rows, Source):
            return hub_sets.take(entry, hub_sets.load(row.rows, language), count, seed)
        return Loaded(row.rows(language, count or row.size or 0, seed), Origin(licence=row.licence))
    convert = convert or (_with_prompt if "prompt" in required else _with_text if "text" in required else None)
    rows = read_rows(entry, required, reading=reading, convert=convert)
    if not rows:
        raise DataError("no rows", where=entry)
    rows = _with_ids(rows, hub_sets.in_language(stem(entry), language))
    return hub_sets.take(entry, Loaded(rows, Origin(licence=YOUR_OWN, file=entry, rows=len(rows))), count, seed)


def _with_prompt(row: dict) -> dict:
    conversations.check_fields(row)
    return {**row, "prompt": conversations.prompt(row["prompt"])}


def _with_text(row: dict) -> dict:
    if not isinstance(row["text"], str):
        raise DataError("a text is allowed", where="text", value=row["text"])
    return row


def load_pairs(
    entry: str, language: str, count: int | None, seed: int, reading: Reading = PLAIN, beside: tuple[str, ...] = ()
) -> Loaded:
    """Preference pairs with ids and the rejects of a dataset, a file or a dataset of the Hub
    (`hub:OWNER/NAME[:CONFIG[:SPLIT]][@REVISION]`): all, or a sample of `count`.
    `beside`: entries of demonstrations, whose documents a dataset may name by their ids.

    Raises ConfigError for any other name.
    """
    check(PREFERENCES, entry, hub_too=True)
    row = find(PREFERENCES, entry)
    if row and row.name == seahorse.NAME and isinstance(row.rows, Source) and language in row.languages:
        return hub_sets.take(entry, seahorse.load(row.rows, language, beside), count, seed)
    if row:
        return load(PREFERENCES, entry, language, count, seed, ())
    if entry.startswith(HUB):
        name, _, revision = hub.parse_entry(entry)
        repository, config, split = [*name.removeprefix(HUB).split(":"), "", ""][:3]
        records, commit = hub.records(repository, revision or "main", split or "train", config or None)
        rows, rejects = pair_records.sort_out(row_files.renamed(entry, lambda: enumerate(records, 1), reading))
        counts = {"records": len(records), "rows": len(rows)}
        origin = hub_sets.origin(repository, revision or "main", commit, "unknown", **counts)
        name = Path(repository).name
    else:
        rows, rejects = pair_records.read_pairs(entry, reading)
        origin, name = Origin(licence=YOUR_OWN, file=entry, rows=len(rows)), stem(entry)
    whole = Loaded(_with_ids(rows, hub_sets.in_language(name, language)), origin, rejects)
    return hub_sets.take(entry, whole, count, seed)


def of_file(entry: str, rows: list[dict], rejects: list[dict], language: str, count: int | None, seed: int) -> Loaded:
    """Rows that were read from a file, with ids: all, or a sample of `count`."""
    origin = Origin(licence=YOUR_OWN, file=entry, rows=len(rows))
    whole = Loaded(_with_ids(rows, hub_sets.in_language(stem(entry), language)), origin, rejects)
    return hub_sets.take(entry, whole, count, seed)


def _with_ids(rows: list[dict], name: str) -> list[dict]:
    """The rows with ids: their own as text, or `name` and a number."""
    return [
        {**row, "id": str(row["id"]) if row.get("id") not in (None, "") else f"{name}-{i}"}
        for i, row in enumerate(rows)
    ]


def is_file(entry: str) -> bool:
    """Whether an entry is a file of rows, by the ending of its name."""
    return row_files.form_of(entry) is not None


def first_row(entry: str, reading: Reading) -> dict:
    """The first row of a file that can be read; empty if there is none."""
    try:
        rows = row_files.RowFile(entry, reading).records()
        return next((row for _, row in rows if isinstance(row, dict)), {})
    except DataError:
        return {}


def stem(entry: str) -> str:
    """A file's name without folder and endings."""
    return Path(entry).name.removesuffix(row_files.ending_of(entry))


def local_files(entry: str) -> list[Path]:
    """Files of this machine that an entry names: the file itself (downloaded, if it is on S3), those of a folder with a
    published dataset, or its archive."""
    if is_file(entry):
        if entry.startswith(S3):
            return [local_copy(entry)] if objects.stat(entry) else []
        return [Path(entry)] if os.path.isfile(entry) else []
    name, repository, _ = hub.parse_entry(entry)
    folder = Path(repository or (name.startswith(HUB) and name.removeprefix(HUB).split(":")[0]) or "/dev/null")
    if folder.is_file():  # an archive
        return [folder]
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def fingerprint(entries: Iterable[str | None]) -> str:
    """Digest of the files that the entries name, so that changed files count as another dataset. Raises DataError for one
    that cannot be read."""
    digest = hashlib.sha256()
    for entry in entries:
        for path in local_files(entry) if entry else ():
            with readable(entry or ""):
                digest.update(bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()
