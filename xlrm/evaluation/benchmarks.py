"""Benchmarks of reward models, one typed row each: the items' dataset, and the subsets of each section.

A section's accuracy is the mean of its subsets' accuracies, weighted by the weights that the benchmark defines, which
its rows carry. A subset without a weight counts by its number of rows, so that every item of such a section counts the
same. The average is the plain mean of the sections (paper A: "Avg." of Tables 3-7, reproduced on all 80 rows).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from xlrm import progress
from xlrm.data import catalog, cleaning, hub_sets, pair_records
from xlrm.data.catalog import Dataset
from xlrm.data.conversations import is_messages
from xlrm.data.corpus_schema import is_judgment
from xlrm.data.hub_sets import Loaded, Origin
from xlrm.data.pair_records import SIDES
from xlrm.data.phrasebook import questions, sets
from xlrm.errors import ConfigError, DataError, within
from xlrm.store.row_files import PLAIN, Reading

AVERAGE, SUBSET = "average", "subset/"
"""Names beside those of sections in results and metrics: the mean of the sections, and the prefix of subsets' names."""


@dataclass(frozen=True)
class Benchmark:
    dataset: Dataset
    """Rows with id, prompt, chosen, rejected, subset; in a best of n, chosen and rejected are lists of responses."""
    sections: dict[str, str]
    """Subset -> section."""
    weights: dict[str, int] = field(default_factory=dict)
    """Subset -> weight in its section, for all subsets or for none; without weights, a subset counts by its number
    of rows."""
    whole: bool = True
    """True if an average that lacks one of the sections is not a result of this benchmark."""


def _phrasebook(language: str, count: int, seed: int) -> list[dict]:
    return [
        sets.pair_row(f"phrasebook-bench-{seed}-{i}", pair, language)
        for i, pair in enumerate(questions.pairs(seed, count, test=True))
    ]


# rewardbench/constants.py at v0.1.4: EXAMPLE_COUNTS and SUBSET_MAPPING. Safety as corrected there on 2024-09-10 (154
# should-refuse, 250 should-respond); math-prm counts 984, as much as the code subsets together.
_REWARDBENCH = {
    "Chat": {
        "alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95, "mt-bench-easy": 28, "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37, "llmbar-natural": 100, "llmbar-adver-neighbor": 134, "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100, "refusals-offensive": 100, "xstest-should-refuse": 154, "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 984, "hep-cpp": 164, "hep-go": 164, "hep-java": 164, "hep-js": 164, "hep-python": 164, "hep-rust": 164,
    },
}  # fmt: skip
_SECTIONS = {subset: section for section, counts in _REWARDBENCH.items() for subset in counts}
_COUNTS = {subset: count for counts in _REWARDBENCH.values() for subset, count in counts.items()}
# The dataset's card: the score is the mean of six subsets; here each subset is a section of its own.
_REWARDBENCH_2 = ("Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties")

_OF_THE_HUB = {row.name: row for row in catalog.from_hub("benchmark")}

BENCHMARKS = {
    row.dataset.name: row
    for row in (
        Benchmark(
            Dataset("phrasebook", "Apache-2.0", catalog.SPOKEN, _phrasebook, size=560, alike=True), questions.SUBSETS,
            whole=False,
        ),
        Benchmark(_OF_THE_HUB["rewardbench"], _SECTIONS, _COUNTS),
        Benchmark(_OF_THE_HUB["rewardbench-2"], {subset: subset for subset in _REWARDBENCH_2}),
        # RewardBench's weights, although its 2,869 rows per language are fewer than 2,985; as the dataset's
        # scripts/rewardbench.py does.
        Benchmark(_OF_THE_HUB["m-rewardbench"], _SECTIONS, _COUNTS),
    )
}  # fmt: skip

HELDOUT = "heldout"
"""Benchmark of a corpus that is made of the pairs that are not trained on."""
TABLE = {name: row.dataset for name, row in BENCHMARKS.items()}

HELD_OUT = {row.name: row for use in ("benchmark", "eval_prompts") for row in catalog.from_hub(use)}
"""Benchmarks and judging prompts, with a prompt in each row, that training data can be decontaminated against."""

_DEFAULT = "rewardbench"
"""Benchmark whose sections and weights the subsets of a file have."""


def load(name: str, language: str, count: int | None, seed: int, reading: Reading = PLAIN) -> Loaded:
    """Rows of a benchmark in the table, or of a file, all or a sample of `count`, each with its subset, its section, and
    the weight of its subset if the benchmark has weights.

    A file's rows may have `subset` and `section`, or be single judgments, whose pairs are the items; a subset of
    RewardBench belongs to RewardBench's section and has its weight. Raises ConfigError and DataError as `catalog.load` does,
    and DataError for a benchmark of the table that lacks a section, for a prompt or responses that cannot be read, and for a
    reserved name of a section.
    """
    loaded = _judgments(name, language, count, seed, reading) or catalog.load(
        TABLE, name, language, count, seed, SIDES, reading, _read
    )
    row = catalog.find(TABLE, name)
    benchmark = BENCHMARKS[row.name if row else _DEFAULT]
    items = rated(name, loaded.rows, benchmark)
    if row and benchmark.whole:
        _check_sections(name, items, benchmark.sections)
    return replace(loaded, rows=items, origin=_with_lost(name, loaded, items, benchmark))


def _judgments(name: str, language: str, count: int | None, seed: int, reading: Reading) -> Loaded | None:
    """Pairs of the single judgments in a file (`pair_records.pairs_of_judgments`); None for anything else."""
    if not catalog.is_file(name) or not is_judgment(catalog.first_row(name, reading)):
        return None
    loaded = catalog.load(TABLE, name, language, None, seed, (), reading, pair_records.judgment_of)
    with within(f"{name}: "):
        pairs = pair_records.pairs_of_judgments(loaded.rows)
    return hub_sets.take(name, replace(loaded, rows=pairs), count, seed)


def _with_lost(name: str, loaded: Loaded, items: list[dict], benchmark: Benchmark) -> Origin:
    """The origin with the sections of which a limit left no item."""
    lost = _lost(name, rated(name, loaded.left, benchmark), items)
    return loaded.origin.model_copy(update={"lost": lost}) if lost else loaded.origin


def _lost(name: str, rows: list[dict], taken: list[dict]) -> tuple[str, ...]:
    """Sections of rows of which none was taken; they are logged."""
    lost = sorted({row["section"] for row in rows} - {row["section"] for row in taken})
    if lost:
        progress.say(f"{name}: no item of {', '.join(lost)} is among those taken")
    return tuple(lost)


def of_rows(name: str, rows: Sequence[dict]) -> list[dict]:
    """Rows with prompt, chosen and rejected as `load` gives those of a file. Raises DataError for a row that lacks one of
    these, and as `load` does."""
    items = []
    for number, row in enumerate(rows, 1):
        with within(f"{name}:{number}: "):
            if missing := [key for key in SIDES if row.get(key) is None]:
                raise DataError("missing; a row needs prompt, chosen and rejected", where=missing[0])
            own = row.get("id")
            items.append({**_read(row), "id": f"{name}-{number - 1}" if own in (None, "") else str(own)})
    return cleaning.unique_ids(rated(name, items))


def rated(name: str, rows: list[dict], benchmark: Benchmark | None = None) -> list[dict]:
    """Rows as items of a benchmark, by default RewardBench: with subset, section and weight."""
    benchmark, items = benchmark or BENCHMARKS[_DEFAULT], []
    for number, item in enumerate(rows, 1):
        turns = {key: item[key] for key in ("prompt", *SIDES)}
        subset = str(item.get("subset") or "all")
        section = benchmark.sections.get(subset) or str(item.get("section") or subset)
        _check_name(f"{name}:{number}: section", section)
        weight = {"weight": benchmark.weights[subset]} if subset in benchmark.weights else {}
        items.append({"id": item["id"], **turns, "subset": subset, "section": section, **weight})
    return items


def load_published(entry: str, language: str, source: str) -> Loaded | None:
    """All rows of a benchmark as published in a language, with unique ids; None if it does not exist in that language.

    A file is in the `source` language, unless its path contains `{language}`, which is replaced by the language's code.
    Raises as `load` does.
    """
    path = entry.replace("{language}", language)
    if catalog.is_file(entry):
        missing = not catalog.local_files(path) if "{language}" in entry else language != source
    else:
        catalog.check(TABLE, entry)
        row = catalog.find(TABLE, entry)
        missing = row is None or language not in row.languages
    if missing:
        return None
    loaded = load(path, language, None, seed=0)
    return replace(loaded, rows=cleaning.unique_ids(loaded.rows))


def label(entry: str) -> str:
    """Name of a benchmark in results and metrics: its name in the table, or the file's name without `{language}`."""
    name = catalog.stem(entry).replace("{language}", "") if catalog.is_file(entry) else entry.partition("=")[0]
    return re.sub(r"[^\w.-]+", "-", name.partition("@")[0]).strip("-_.") or "file"


def check_pairs(name: str, rows: list[dict]) -> None:
    """Raises ConfigError for a benchmark with lists of responses: only pairs can be translated."""
    if any(not isinstance(row[side], str) and not is_messages(row[side]) for row in rows for side in SIDES):
        raise ConfigError(
            "has lists of responses, and only pairs can be translated", where="curate.benchmark", value=name,
            hint="name it in evaluate.benchmarks",
        )  # fmt: skip


def section_weights(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Section -> subset -> weight, for the subsets present in `rows`: the `weight` that the subset's rows carry, or
    else their number. As in RewardBench's calculate_scores_per_section, an incomplete section is weighted as if it
    were complete."""
    weights: dict[str, dict[str, float]] = {}
    for row in rows:
        section = weights.setdefault(row["section"], {})
        section[row["subset"]] = row.get("weight") or section.get(row["subset"], 0) + 1
    return weights


def missing(items: Mapping[str, list[dict]]) -> dict[str, list[str]]:
    """Language -> subsets without a row in it: subsets that another language of `items` has, and those of the
    benchmark whose subsets and weights match the rows. An average without them is not comparable."""
    present = {language: dict.fromkeys(row["subset"] for row in rows) for language, rows in items.items()}
    weights = {row["subset"]: row.get("weight") for rows in items.values() for row in rows}
    whole = [entry.weights for entry in BENCHMARKS.values() if weights and weights.items() <= entry.weights.items()]
    known = dict.fromkeys([*(whole[0] if whole else ()), *weights])
    lacking = {language: [subset for subset in known if subset not in own] for language, own in present.items()}
    return {language: subsets for language, subsets in lacking.items() if subsets}


def _read(row: dict) -> dict:
    """A row of a file with its prompt and responses in their one form. Raises DataError, without the row's place, for one
    that cannot be an item."""
    _check_name("section", str(row.get("section") or row.get("subset") or ""))
    return {**row, **pair_records.item_of(row)}


def _check_name(where: str, section: str) -> None:
    if section.lower() == AVERAGE or section.lower().startswith(SUBSET):
        raise DataError(
            f"reserved: {AVERAGE!r} names the mean of the sections in results, and {SUBSET!r} begins the names of subsets",
            where=where, value=section,
        )  # fmt: skip


def _check_sections(name: str, rows: list[dict], sections: dict[str, str]) -> None:
    present = {row["section"] for row in rows}
    for section in dict.fromkeys(sections.values()):
        if section not in present:
            allowed = ", ".join(subset for subset, its in sections.items() if its == section)
            raise DataError(
                f"no item among {len(rows)} (its subsets: {allowed}), so the average would not be comparable",
                where=f"{name}: section", value=section, hint="take more items, or name a file with only the subsets you want",
            )  # fmt: skip
