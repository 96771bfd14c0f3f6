"""Preference datasets, prompts and parallel texts, one typed row each. Adding a dataset: a row and a row function."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xlrm import preferences, sources
from xlrm.errors import ConfigError, DataError
from xlrm.phrasebook import data
from xlrm.phrasebook.translator import render
from xlrm.rows import read_rows


@dataclass(frozen=True)
class Dataset:
    name: str
    licence: str
    languages: tuple[str, ...]
    """Languages it can be had in."""
    rows: Callable[[str, int, int], list[dict]]
    """(language, count, seed) -> rows; what a row holds depends on the table it stands in."""
    alike: bool = False
    """True where rows resemble each other, and a benchmark, by design: a closed world."""


def _phrasebook_pairs(language: str, count: int, seed: int) -> list[dict]:
    return [pair_row(f"phrasebook-{i}", pair, language) for i, pair in enumerate(data.pairs(seed, count, test=False))]


def pair_row(row_id: str, pair: data.Pair, language: str) -> dict:
    return {
        "id": row_id,
        "prompt": render(pair.prompt, language),
        "chosen": render(pair.chosen, language),
        "rejected": render(pair.rejected, language, pair.other_language),
        "subset": pair.subset,
    }


def _phrasebook_prompts(test: bool) -> Callable[[str, int, int], list[dict]]:
    def rows(language: str, count: int, seed: int) -> list[dict]:
        questions = data.prompts(seed, count, test)
        split = "eval" if test else "train"
        return [
            {"id": f"phrasebook-{split}-{i}", "prompt": render(q.prompt, language), "split": split}
            for i, q in enumerate(questions)
        ]

    return rows


def _phrasebook_parallel(language: str, count: int, seed: int) -> list[dict]:
    true = data.true_sentences()
    step = max(1, len(true) // count)
    chosen = itertools.islice(true[seed % step :: step], count)
    return [{"id": f"phrasebook-{i}", "text": render((sentence,), language)} for i, sentence in enumerate(chosen)]


_SPOKEN = ("en", "es", "it", "ko", "zh", "de", "ru", "tr", "vi")


def _from_hub(name: str) -> Dataset:
    """A set of `xlrm.sources`, all of which are English."""
    source = sources.SOURCES[name]
    return Dataset(name, source.licence, ("en",), lambda language, count, seed: sources.load(source, count, seed))


HUB = "hub:"
PREFERENCES = {
    row.name: row
    for row in (
        Dataset("phrasebook", "Apache-2.0", _SPOKEN, _phrasebook_pairs, alike=True),
        *(_from_hub(name) for name in sources.SOURCES if name != "ultrafeedback"),
    )
}
PROMPTS = {
    row.name: row
    for row in (
        Dataset("phrasebook", "Apache-2.0", _SPOKEN, _phrasebook_prompts(test=False)),
        _from_hub("ultrafeedback"),
    )
}
EVAL_PROMPTS = {
    row.name: row for row in (Dataset("phrasebook", "Apache-2.0", _SPOKEN, _phrasebook_prompts(test=True)),)
}
PARALLEL = {row.name: row for row in (Dataset("phrasebook", "Apache-2.0", _SPOKEN, _phrasebook_parallel),)}


def load(
    table: dict[str, Dataset], name: str, language: str, count: int, seed: int, required: tuple[str, ...]
) -> list[dict]:
    """Rows of a dataset of `table`, or of the .jsonl or .parquet file `name`, at most `count` of these, with ids.

    Raises ConfigError for a name that is neither, DataError for a row without the `required` text fields.
    """
    if name in table:
        if language not in table[name].languages:
            raise ConfigError(f"dataset {name!r} is in {', '.join(table[name].languages)}, not in {language!r}")
        return table[name].rows(language, count, seed)
    if not is_file(name):
        raise ConfigError(
            f"no dataset {name!r}; there are {', '.join(table)}, or the path of a .jsonl or .parquet file"
        )
    rows = read_rows(Path(name), required)
    if not rows:
        raise DataError(f"{name}: no rows")
    return [{"id": f"{Path(name).stem}-{i}", **row} for i, row in enumerate(rows[:count])]


def load_pairs(name: str, language: str, count: int, seed: int) -> tuple[list[dict], list[dict]]:
    """Preference pairs with ids, at most `count` of a dataset, all of a file or a set of the Hub
    (`hub:OWNER/NAME[@REVISION]`); and the rejects, with line and reason. Raises ConfigError for any other name."""
    if name in PREFERENCES:
        return load(PREFERENCES, name, language, count, seed, ()), []
    if name.startswith(HUB):
        repository, _, revision = name.removeprefix(HUB).partition("@")
        rows, rejects = preferences.sort_out(enumerate(sources.records(repository, revision or "main"), 1))
    elif is_file(name):
        rows, rejects = preferences.read_pairs(Path(name))
    else:
        raise ConfigError(
            f"no dataset {name!r}; there are {', '.join(PREFERENCES)}, the path of a .jsonl or .parquet file, or "
            f"{HUB}OWNER/NAME[@REVISION]"
        )
    stem = Path(name).stem
    return [{"id": f"{stem}-{i}", **row} for i, row in enumerate(rows)], rejects


def is_file(name: str) -> bool:
    return name.endswith((".jsonl", ".json", ".parquet"))
