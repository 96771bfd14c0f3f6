"""Benchmarks of reward models, one typed row each: where the pairs come from, and how subsets make sections.

A section's accuracy is the mean of its subsets' accuracies weighted as the benchmark says, by rows where it says
nothing; the average is the plain mean of the sections (paper A: "Avg." of Tables 3-7, reproduced on all 80 rows).
"""

from dataclasses import dataclass, field, replace

from xlrm import datasets
from xlrm.datasets import Dataset
from xlrm.phrasebook import data
from xlrm.sources import Loaded


@dataclass(frozen=True)
class Benchmark:
    dataset: Dataset
    """Rows with id, prompt, chosen, rejected, subset."""
    sections: dict[str, str]
    """Subset -> section."""
    weights: dict[str, int] = field(default_factory=dict)
    """Subset -> weight in its section; a subset without one counts by its rows."""


def _phrasebook(language: str, count: int, seed: int) -> list[dict]:
    return [
        datasets.pair_row(f"phrasebook-bench-{i}", pair, language)
        for i, pair in enumerate(data.pairs(seed, count, test=True))
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

_OF_THE_HUB = {row.name: row for row in datasets.from_hub("benchmark")}

BENCHMARKS = {
    row.dataset.name: row
    for row in (
        Benchmark(Dataset("phrasebook", "Apache-2.0", datasets.SPOKEN, _phrasebook, alike=True), data.SUBSETS),
        Benchmark(
            _OF_THE_HUB["rewardbench"],
            {subset: section for section, weights in _REWARDBENCH.items() for subset in weights},
            {subset: weight for weights in _REWARDBENCH.values() for subset, weight in weights.items()},
        ),
    )
}  # fmt: skip

TABLE = {name: row.dataset for name, row in BENCHMARKS.items()}

HELD_OUT = {
    row.name: row for use in ("benchmark", "eval_prompts", "held_out") for row in datasets.from_hub(use)
}  # fmt: skip
"""What training data can be held against: their rows have a prompt."""


def load(name: str, language: str, count: int, seed: int) -> Loaded:
    """Rows of a benchmark of the table, or of a file, each with its subset and section.

    A file's rows may name their `subset` and `section`; a subset of RewardBench's belongs to RewardBench's section.
    Raises ConfigError and DataError as `datasets.load` does.
    """
    loaded = datasets.load(TABLE, name, language, count, seed, ("prompt", "chosen", "rejected"))
    row = datasets.find(TABLE, name)
    sections = BENCHMARKS[row.name if row else "rewardbench"].sections
    fields = ("id", "prompt", "chosen", "rejected")
    found = []
    for row in loaded.rows:
        subset = str(row.get("subset") or "all")
        section = sections.get(subset) or str(row.get("section") or subset)
        found.append({**{key: row[key] for key in fields}, "subset": subset, "section": section})
    return replace(loaded, rows=found)


def section_weights(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Section -> subset -> weight, for the subsets present in `rows`."""
    table = BENCHMARKS["rewardbench"].weights
    counts: dict[str, dict[str, float]] = {}
    for row in rows:
        section = counts.setdefault(row["section"], {})
        section[row["subset"]] = section.get(row["subset"], 0) + 1
    return {s: {subset: table.get(subset, n) for subset, n in subsets.items()} for s, subsets in counts.items()}
