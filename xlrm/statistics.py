"""Accuracies of subsets, sections and benchmarks, with bootstrap intervals."""

from typing import TYPE_CHECKING

from xlrm.benchmarks import section_weights

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 1000


def summary(rows: list[dict], credit: "np.ndarray") -> dict:
    """What a reward model makes of a benchmark: items, accuracy, its interval, and the length baseline beside them.

    `rows` (n) as a benchmark's; `credit` (n) in [0, 1], 1 where the model is right.
    """
    import numpy as np

    return {
        "items": len(rows),
        "accuracy": accuracies(rows, credit),
        "interval": intervals(rows, credit),
        "length_baseline": accuracies(rows, np.array(length_baseline(rows))),
    }


def accuracies(rows: list[dict], correct: "np.ndarray") -> dict[str, float]:
    """`section` -> accuracy in [0, 1], `average` (plain mean of the sections) and `subset/<name>`.

    `rows` (n) have section and subset; `correct` (n) holds 1 where chosen scored above rejected, else 0: a tie is lost,
    as in RewardBench.
    """
    return {name: float(value[0]) for name, value in _aggregate(rows, correct[None, :]).items()}


def intervals(rows: list[dict], correct: "np.ndarray", seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % bootstrap percentile intervals of what `accuracies` returns: items resampled within their subset."""
    import numpy as np

    rng = np.random.default_rng(seed)
    resampled = np.empty((RESAMPLES, len(rows)), dtype=correct.dtype)
    for places in _subset_places(rows).values():
        draws = rng.integers(0, len(places), (RESAMPLES, len(places)))
        resampled[:, places] = correct[places][draws]
    bounds = {name: np.quantile(values, (0.025, 0.975)) for name, values in _aggregate(rows, resampled).items()}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}


def mean_interval(values: "np.ndarray", seed: int = 0) -> tuple[float, float, float]:
    """Mean of `values` (n) with its 95 % bootstrap percentile interval: (mean, low, high)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def length_baseline(rows: list[dict]) -> list[float]:
    """1 where the chosen answer is the longer one (in characters), 0.5 for equal lengths."""
    lengths = [(len(row["chosen"]), len(row["rejected"])) for row in rows]
    return [0.5 if chosen == rejected else float(chosen > rejected) for chosen, rejected in lengths]


def _subset_places(rows: list[dict]) -> dict[str, "np.ndarray"]:
    import numpy as np

    places: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        places.setdefault(row["subset"], []).append(i)
    return {subset: np.array(found) for subset, found in places.items()}


def _aggregate(rows: list[dict], correct: "np.ndarray") -> dict[str, "np.ndarray"]:
    """As `accuracies`, for a matrix (resamples, n): each value is an array (resamples,)."""
    import numpy as np

    subsets = {name: correct[:, places].mean(axis=1) for name, places in _subset_places(rows).items()}
    sections = {
        section: np.average([subsets[s] for s in weights], axis=0, weights=list(weights.values()))
        for section, weights in section_weights(rows).items()
    }
    average = np.mean(list(sections.values()), axis=0)
    return sections | {"average": average} | {f"subset/{name}": value for name, value in subsets.items()}
