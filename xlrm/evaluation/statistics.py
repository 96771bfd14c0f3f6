"""Accuracies of subsets, sections and benchmarks with bootstrap intervals, and tests of the difference of two models."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from xlrm import progress
from xlrm.evaluation import benchmarks
from xlrm.evaluation import credit as credits
from xlrm.evaluation.benchmarks import AVERAGE, SUBSET, section_weights
from xlrm.evaluation.facts import rows_digest
from xlrm.evaluation.results import Estimate, Result, Results

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 1000
PERMUTATIONS = 9999


class Paired(NamedTuple):
    """Difference of two models on the same items, its 95 % interval, and the two-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


def summary(rows: list[dict], credit: "np.ndarray", ties: int | None = None) -> Result:
    """`rows`: the benchmark's; `credit` (n): from `xlrm.evaluation.credit`; `ties`: number of items with equal
    rewards."""
    single = any(credits.is_single(*credits.responses(row)) for row in rows)
    return Result(
        items=len(rows),
        accuracy=accuracies(rows, credit),
        interval=intervals(rows, credit),
        length_baseline={} if single else accuracies(rows, credits.by_length(rows)),
        random_baseline=accuracies(rows, credits.by_chance(rows)),
        rows_digest=rows_digest(rows),
        **({} if ties is None else {"ties": ties}),
    )


def with_missing(where: str, results: Results, items: Mapping[str, list[dict]]) -> Results:
    """Adds `missing` to the `results` of each language whose `items` lack subsets of their benchmark, for example
    after validation, and logs it after `where`: incomplete sections are weighted as if they were complete."""
    missing = benchmarks.missing(items)
    for language, subsets in missing.items():
        progress.say(
            f"{where} in {language} has no item of {', '.join(subsets)}: its averages are over the other subsets"
        )
    return {
        code: result.model_copy(update={"missing": tuple(missing[code])}) if code in missing else result
        for code, result in results.items()
    }


def accuracies(rows: list[dict], credit: "np.ndarray") -> dict[str, float]:
    """Mean credit by `section`, by `subset/<name>`, and as `average`, the plain mean of the sections. `rows` (n)
    have section and subset; `credit` (n) is what each row earned."""
    subsets = {name: credit[places].mean(keepdims=True) for name, places in _subset_places(rows).items()}
    return {name: float(value[0]) for name, value in _aggregate(rows, subsets).items()}


def intervals(
    rows: list[dict], credit: "np.ndarray", seed: int = 0, resamples: int = RESAMPLES, confidence: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Bootstrap percentile intervals of the values of `accuracies`: items are resampled within their subset, and the
    two items of a prompt of RewardBench 2's Ties together."""
    import numpy as np

    rng = np.random.default_rng(seed)
    resampled = {}
    for subset, places in _subset_places(rows).items():
        sums, sizes = _clusters(rows, credit, places)
        drawn = [rng.integers(0, len(sums), (size, len(sums))) for size in _chunks(resamples, 1000)]
        resampled[subset] = np.concatenate([sums[draw].sum(axis=1) / sizes[draw].sum(axis=1) for draw in drawn])
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    bounds = {name: np.quantile(values, tails) for name, values in _aggregate(rows, resampled).items()}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}


def paired(rows: list[dict], difference: "np.ndarray", seed: int = 0) -> dict[str, Paired]:
    """Differences between two models on the same items, by the keys of `accuracies`; input is the difference of their
    credits (n).

    The interval resamples the items' differences. The p-value is that of a permutation test: if the models were
    equally good, each item's difference could as well have the opposite sign. It is the share of 9,999 random choices
    of signs, plus the observed one, with a difference at least as far from 0 as the observed one, so it is at least
    0.0001.
    """
    values, bounds = accuracies(rows, difference), intervals(rows, difference, seed)
    flipped = _aggregate(rows, _sign_flips(rows, difference, seed))
    results = {}
    for name, value in values.items():
        as_far = (abs(flipped[name]) >= abs(value) - _SAME).sum()
        results[name] = Paired(value, *bounds[name], p=float((1 + as_far) / (1 + PERMUTATIONS)))
    return results


class Discordant(NamedTuple):
    """Items for which one of two models earns more than the other, and the two-sided p-value of McNemar's exact test."""

    better: int
    worse: int
    p: float


def mcnemar(rows: list[dict], difference: "np.ndarray") -> dict[str, Discordant]:
    """McNemar's exact test for each section and for all items together (as `average`), by the differences of two models'
    credits (n). Every item counts the same, whatever its subset's weight; the two items of a prompt of RewardBench 2's
    Ties count as one. Items without a difference do not count."""
    sums = {subset: _clusters(rows, difference, places)[0] for subset, places in _subset_places(rows).items()}
    signs = {subset: (int((own > _SAME).sum()), int((own < -_SAME).sum())) for subset, own in sums.items()}
    parts = {section: list(weights) for section, weights in section_weights(rows).items()} | {AVERAGE: list(signs)}
    counts = {part: tuple(map(sum, zip(*(signs[name] for name in own), strict=True))) for part, own in parts.items()}
    return {part: Discordant(better, worse, _binomial(better, worse)) for part, (better, worse) in counts.items()}


_SAME = 1e-12
"""Largest difference in credit that counts as none."""


def _binomial(better: int, worse: int) -> float:
    """Two-sided probability of a split at least as uneven as this one, if both sides are equally likely: exact."""
    total = better + worse
    tail = sum(math.comb(total, count) for count in range(min(better, worse) + 1))
    return min(1.0, 2 * tail / 2**total)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for the number of tests (Holm 1979): compared with a level, they keep the chance of any
    false finding below that level."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def mean_interval(values: "np.ndarray", seed: int = 0) -> tuple[float, float, float]:
    """Mean of `values` (n) with its 95 % bootstrap percentile interval: (mean, low, high)."""
    return macro_interval([values], seed)


def macro_means(strata: Iterable["np.ndarray"], seed: int = 0) -> list[Estimate]:
    """Plain mean of the strata's means of each column, with its 95 % bootstrap percentile interval. `strata`: values (items,
    columns) of each; items are resampled within their stratum, the same ones for all columns."""
    import numpy as np

    rng, strata = np.random.default_rng(seed), list(strata)
    drawn = [_times_drawn(rng, len(values)) @ values / len(values) for values in strata]
    bounds = np.quantile(np.mean(drawn, axis=0), (0.025, 0.975), axis=0)
    central = np.mean([values.mean(axis=0) for values in strata], axis=0)
    return [Estimate(*map(float, each)) for each in zip(central, *bounds, strict=True)]


def _times_drawn(rng: "np.random.Generator", items: int) -> "np.ndarray":
    """How often each item is in each of the samples with replacement (RESAMPLES, items)."""
    import numpy as np

    times = [np.bincount(drawn, minlength=items) for drawn in rng.integers(0, items, (RESAMPLES, items))]
    return np.array(times, dtype=float)


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def by_label(values: "np.ndarray", labels: Sequence[str]) -> dict[str, "np.ndarray"]:
    """Label, in the order of first appearance -> its values, the same places of the first axis."""
    import numpy as np

    given = np.array(labels)
    return {label: values[given == label] for label in dict.fromkeys(labels)}


def macro_interval(strata: Sequence["np.ndarray"], seed: int = 0) -> tuple[float, float, float]:
    """Plain mean of the strata's means with its 95 % bootstrap percentile interval: (mean, low, high). Values are resampled
    within their stratum; a single stratum has the interval of `mean_interval`."""
    (estimate,) = macro_means([values[:, None] for values in strata], seed)
    return estimate.value, estimate.low, estimate.high


def macro_standard_error(strata: Sequence["np.ndarray"]) -> float | None:
    """Standard error of the plain mean of the strata's means; None if a stratum has fewer than two values."""
    errors = [standard_error(values.tolist()) for values in strata]
    known = [error for error in errors if error is not None]
    return math.sqrt(math.fsum(error * error for error in known)) / len(errors) if len(known) == len(errors) else None


def paired_macro(strata: Sequence["np.ndarray"], seed: int = 0) -> Paired:
    """`paired_mean` for the plain mean of the strata's mean differences; a value's sign is flipped by itself."""
    import numpy as np

    parts = np.concatenate([values / len(values) / len(strata) for values in strata])
    return Paired(*macro_interval(strata, seed), p=_p_of_signs(parts, seed))


def mean_of_rows(values: "np.ndarray") -> "np.ndarray":
    """Mean of each row (rows, columns) over the columns that are not NaN; NaN for a row without any."""
    import numpy as np

    known = ~np.isnan(values)
    return np.where(known, values, 0.0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)


def standard_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean, from the sample's standard deviation (n - 1); None for fewer than two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))


def paired_mean(differences: "np.ndarray", seed: int = 0) -> Paired:
    """Mean of the differences (n) between two systems on the same items, as `paired` has it of benchmarks' sections."""
    return Paired(*mean_interval(differences, seed), p=_p_of_signs(differences / len(differences), seed))


def paired_mean_of_groups(differences: "np.ndarray", seed: int = 0) -> Paired:
    """The same for the plain mean of the groups' means, with `differences` (items, groups): NaN where a group lacks an item.
    Items are resampled, and their signs flipped, in all groups together, because a prompt is alike in every language."""
    import numpy as np

    parts = np.where(np.isnan(differences), 0.0, differences) / (~np.isnan(differences)).sum(axis=0)
    return Paired(*mean_interval_of_groups(differences, seed), p=_p_of_signs(parts.mean(axis=1), seed))


def mean_interval_of_groups(values: "np.ndarray", seed: int = 0) -> tuple[float, float, float]:
    """Plain mean of the groups' means with its 95 % bootstrap percentile interval, for `values` (items, groups) that are
    NaN where a group lacks an item: (mean, low, high). Items are resampled in all groups together."""
    import numpy as np

    rng, known, items = np.random.default_rng(seed), ~np.isnan(values), len(values)
    filled = np.where(known, values, 0.0)
    times = _times_drawn(rng, items)
    with np.errstate(invalid="ignore"):  # a group without any of the drawn items
        means = np.nanmean(times @ filled / (times @ known), axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float((filled.sum(axis=0) / known.sum(axis=0)).mean()), float(low), float(high)


def _p_of_signs(parts: "np.ndarray", seed: int) -> float:
    """Two-sided p-value of the sum of `parts` (n) being 0, by flipping their signs."""
    import numpy as np

    flipped = _flipped_sums(parts, np.random.default_rng(seed))
    return float((1 + (abs(flipped) >= abs(parts.sum()) - _SAME).sum()) / (1 + PERMUTATIONS))


def _flipped_sums(values: "np.ndarray", rng: "np.random.Generator") -> "np.ndarray":
    """Sums of the values (n) under random signs (permutations); zeros have no sign."""
    import numpy as np

    values = values[values != 0]
    return np.concatenate(
        [(2.0 * rng.integers(0, 2, (size, len(values))) - 1) @ values for size in _chunks(PERMUTATIONS, 1000)]
    )


def _subset_places(rows: list[dict]) -> dict[str, "np.ndarray"]:
    import numpy as np

    places: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        places.setdefault(row["subset"], []).append(i)
    return {subset: np.array(indices) for subset, indices in places.items()}


def _clusters(rows: list[dict], credit: "np.ndarray", places: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
    """(sum of credit, number of items) of each resampling unit: an item, or the items of one prompt of Ties."""
    import numpy as np

    numbers: dict[str | int, int] = {}
    prompts = [(place, credits.prompt_of_ties(rows[place])) for place in places.tolist()]
    labels = [numbers.setdefault(prompt[1] if prompt else place, len(numbers)) for place, prompt in prompts]
    sums = np.bincount(labels, weights=credit[places], minlength=len(numbers))
    return sums, np.bincount(labels, minlength=len(numbers))


def _sign_flips(rows: list[dict], difference: "np.ndarray", seed: int) -> dict[str, "np.ndarray"]:
    """Subset -> its mean differences (permutations) under random signs; items without a difference are left out
    because they have no sign."""
    import numpy as np

    rng = np.random.default_rng(seed)
    return {
        subset: _flipped_sums(_clusters(rows, difference, places)[0], rng) / len(places)
        for subset, places in _subset_places(rows).items()
    }


def _chunks(total: int, size: int) -> Iterator[int]:
    while total > 0:
        yield min(total, size)
        total -= size


def _aggregate(rows: list[dict], subsets: dict[str, "np.ndarray"]) -> dict[str, "np.ndarray"]:
    """Sections, average and subsets, computed from the subsets' means; each value is an array (resamples)."""
    import numpy as np

    sections = {
        section: np.average([subsets[s] for s in weights], axis=0, weights=list(weights.values()))
        for section, weights in section_weights(rows).items()
    }
    average = np.mean(list(sections.values()), axis=0)
    return sections | {AVERAGE: average} | {f"{SUBSET}{name}": value for name, value in subsets.items()}
