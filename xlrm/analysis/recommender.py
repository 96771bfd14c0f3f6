"""Which source language's reward model to reuse for a target language, predicted from what is cheap to know, and what that
costs in points of win rate against simple rules. Targets are left out one at a time: nothing of the matrix that belongs to
a target is used to choose for it.

Regret is the best source's win rate for the target minus the chosen one's. A choice between equal scores is drawn, so its
regret is the mean over them, and a hit counts its share. With as few targets as in Wu et al. (2024), six, the smallest
p-value that an exact permutation test of paired differences can give is 2 / 2^6 = 0.03: an advantage of a rule that is
there may well not show.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from statistics import fmean

from xlrm.analysis.source_ranking import SAME, Matrix, column, targets
from xlrm.analysis.typology import Value

Signals = Mapping[str, Matrix]
"""Name -> source -> target -> number that is known without aligning a policy in the target: the larger, the better the
source's reward model is expected to be."""
ACCURACY, OWN_ACCURACY, ABOVE_LENGTH = "accuracy", "own accuracy", "above length"
AGREEMENT, REPRESENTATION, SIMILARITY = "agreement", "representation", "similarity"
OTHERS = "other targets"
"""The signal that the matrix itself gives: a source's mean over the other targets (paper B, section 5.4)."""
RANKS, RIDGE, RIDGE_OF_SIGNALS = "rank average", "ridge", "ridge of signals"
ENGLISH, NEAREST, OWN, RANDOM, BEST = "english", "nearest", "own", "random", "best"
PENALTY = 1.0
"""Ridge penalty on standardised signals: scikit-learn's default, not tuned, since there is nothing to tune it on."""


def signals(
    accuracy: Matrix | None = None, length: Mapping[str, float] | None = None, similarity: Matrix | None = None,
    agreement: Matrix | None = None, representation: Matrix | None = None,
) -> dict[str, Matrix]:  # fmt: skip
    """The signals that are there.

    `accuracy`: of a source's reward model on a target's validation rows; its diagonal gives the accuracy in the reward
    model's own language, and that minus the accuracy of the `length` baseline there, which is small for a reward model that
    may go by length alone. `similarity`: of two languages. `agreement`: of the reward model with the others on the target's
    rows. `representation`: of the representation analysis, turned so that larger is better."""
    known: dict[str, Matrix] = {}
    if accuracy is not None:
        own = {source: row[source] for source, row in accuracy.items() if source in row}
        known |= {ACCURACY: accuracy, OWN_ACCURACY: _of_sources(own, accuracy)}
        if length is not None:
            known[ABOVE_LENGTH] = _of_sources(
                {name: own[name] - length[name] for name in own if name in length}, accuracy
            )
    further = {SIMILARITY: similarity, AGREEMENT: agreement, REPRESENTATION: representation}
    return known | {name: matrix for name, matrix in further.items() if matrix is not None}


def _of_sources(values: Mapping[str, float], like: Matrix) -> Matrix:
    return {source: dict.fromkeys(like[source], value) for source, value in values.items()}


def similarity(values: Iterable[Value]) -> dict[str, dict[str, float]]:
    """Share of the features of WALS known of two languages in which they have the same value; 1 for a language with
    itself."""
    by_language: dict[str, dict[str, str]] = {}
    for entry in values:
        by_language.setdefault(entry.language, {})[entry.feature] = entry.value
    return {a: {b: _alike(own, other) for b, other in by_language.items()} for a, own in by_language.items()}


def _alike(own: Mapping[str, str], other: Mapping[str, str]) -> float:
    both = own.keys() & other.keys()
    return sum(own[feature] == other[feature] for feature in both) / len(both) if both else 0.0


def agreement(rewards: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, float]]:
    """Mean Spearman correlation of a reward model with each of the others on the same rows. `rewards`: source -> target ->
    rewards of the target's rows, or margins of its pairs, in the same order for all sources."""
    from scipy import stats

    correlations: dict[str, dict[str, list[float]]] = {source: {} for source in rewards}
    for pair in combinations(rewards, 2):
        first, second = (rewards[source] for source in pair)
        for target in first.keys() & second.keys():
            rho = float(stats.spearmanr(first[target], second[target]).statistic)
            for source in pair:
                correlations[source].setdefault(target, []).append(rho)
    return {source: {target: fmean(each) for target, each in row.items()} for source, row in correlations.items()}


@dataclass(frozen=True)
class Choices:
    """What a rule chooses for each target, and what that costs."""

    rule: str
    chosen: dict[str, tuple[str, ...]]
    """Target -> source, several if their scores are equal."""
    regrets: dict[str, float]
    """Target -> points of win rate below the best source."""
    hits: float
    """Targets for which the best source is chosen."""

    @property
    def regret(self) -> float:
        return fmean(self.regrets.values())


@dataclass(frozen=True)
class Comparison:
    """Regret of one rule minus that of another, paired by target."""

    first: str
    second: str
    value: float
    """Mean over targets, in points; below 0 if the first is better."""
    p: float
    """Two-sided, of all choices of signs of the targets' differences (exact)."""
    better: int
    """Targets for which the first has the smaller regret."""
    worse: int
    targets: int

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that so many targets can give."""
        return 2 / 2**self.targets


def evaluate(matrix: Matrix, known: Signals, english: str = "en", own: bool = True) -> list[Choices]:
    """Choices of all rules for the targets of a matrix, each without the target's own cells: a fixed source, the nearest
    language (by `similarity`, another than the target), the target's own reward model, each signal alone, the mean of the
    signals' ranks, the mean over the other targets, ridge regression on the signals and on all of these, a random source and
    the best. Signals and their ranks need no aligned policy at all; the mean and ridge regression need those of the other
    targets.

    `own`: whether the target's own reward model is among the choices. A fixed source that is not among them is replaced by
    a random one. A signal that lacks a cell is left out, as is a rule without what it needs, and a target without a choice."""
    usable = {name: values for name, values in known.items() if _covers(values, matrix)}
    rules: dict[str, Callable[[str, list[str]], Mapping[str, float]]] = {
        ENGLISH: lambda _, sources: {source: float(source == english) for source in sources},
        OWN: lambda target, sources: {source: float(source == target) for source in sources},
        RANDOM: lambda _, sources: dict.fromkeys(sources, 0.0),
        BEST: lambda target, sources: {source: matrix[source][target] for source in sources},
    }
    if not own:
        del rules[OWN]
    if SIMILARITY in usable:
        rules[NEAREST] = lambda target, sources: {
            source: usable[SIMILARITY][source][target] for source in sources if source != target
        }
    for name in usable:
        if name != SIMILARITY:
            rules[name] = lambda target, sources, name=name: {  # type: ignore[misc]
                source: usable[name][source][target] for source in sources
            }
    rules[OTHERS] = lambda target, sources: _others(matrix, sources, (target,), own)
    if usable:
        rules[RANKS] = lambda target, sources: _mean_ranks(usable, target, sources)
        rules[RIDGE_OF_SIGNALS] = lambda target, sources: _ridge(matrix, usable, target, sources, own, others=False)
    rules[RIDGE] = lambda target, sources: _ridge(matrix, usable, target, sources, own)
    return [_choices(name, matrix, rule, own) for name, rule in rules.items()]


def predicted(matrix: Matrix, known: Signals, target: str, own: bool = True) -> dict[str, float]:
    """Source -> predicted win rate for a target that needs no cell in the matrix, in points above the mean of the sources,
    the best first: by ridge regression on the other targets."""
    sources = [source for source in matrix if own or source != target]
    usable = {
        name: values for name, values in known.items()
        if _covers(values, matrix) and all(target in values[source] for source in sources)
    }  # fmt: skip
    scores = _ridge(matrix, usable, target, sources, own)
    return dict(sorted(scores.items(), key=lambda entry: -entry[1]))


def _covers(values: Matrix, matrix: Matrix) -> bool:
    return all(target in values.get(source, {}) for source, row in matrix.items() for target in row)


def _choices(name: str, matrix: Matrix, rule: Callable[[str, list[str]], Mapping[str, float]], own: bool) -> Choices:
    chosen, regrets, hits = {}, {}, 0.0
    for target in targets(matrix):
        if not (rates := column(matrix, target, own)):
            continue
        scores = rule(target, list(rates)) or dict.fromkeys(rates, 0.0)
        highest, best = max(scores.values()), max(rates.values())
        chosen[target] = tuple(source for source, score in scores.items() if score >= highest - SAME)
        regrets[target] = best - fmean(rates[source] for source in chosen[target])
        hits += fmean(float(rates[source] >= best - SAME) for source in chosen[target])
    return Choices(name, chosen, regrets, hits)


def _others(matrix: Matrix, sources: Sequence[str], without: Sequence[str], own: bool) -> dict[str, float]:
    """Source -> its mean, over the other targets, of the win rate minus that of the target's mean; 0 without a cell."""
    means: dict[str, list[float]] = {source: [] for source in sources}
    for target in targets(matrix):
        rates = {} if target in without else column(matrix, target, own)
        centre = fmean(rates.values()) if rates else 0.0
        for source in means.keys() & rates.keys():
            means[source].append(rates[source] - centre)
    return {source: fmean(values) if values else 0.0 for source, values in means.items()}


def _mean_ranks(known: Signals, target: str, sources: Sequence[str]) -> dict[str, float]:
    """Source -> mean over the signals of the number of sources that it exceeds, ties counting half."""
    tables = [{source: values[source][target] for source in sources} for values in known.values()]
    return {source: fmean(_above(table, source) for table in tables) for source in sources}


def _above(table: Mapping[str, float], source: str) -> float:
    differences = [table[source] - value for name, value in table.items() if name != source]
    return sum(0.5 if abs(each) <= SAME else float(each > 0) for each in differences)


def _ridge(
    matrix: Matrix, known: Signals, target: str, sources: Sequence[str], own: bool, others: bool = True
) -> dict[str, float]:
    """Source -> predicted win rate minus the mean of the sources. Signals and win rates are centred within each target, since
    only the order of its sources matters; signals are divided by their standard deviation over the other targets' cells.
    `others`: with the mean over the other targets as a signal; that of a cell that is learned from leaves out its own target
    too."""
    import numpy as np

    def centred(other: str, names: Sequence[str]) -> "np.ndarray":
        table = [[values[source][other] for source in names] for values in known.values()]
        if others:
            means = _others(matrix, names, (target, other), own)
            table.append([means[source] for source in names])
        rows = np.array(table)
        return (rows - rows.mean(axis=1, keepdims=True)).T

    features, rates = [], []
    for other in targets(matrix):
        given = {} if other == target else column(matrix, other, own)
        if given:
            features.append(centred(other, list(given)))
            rates.append(np.array(list(given.values())) - fmean(given.values()))
    if not features:
        return dict.fromkeys(sources, 0.0)
    learned = np.concatenate(features)
    scale = learned.std(axis=0)
    scale[scale < SAME] = 1.0
    x, y = learned / scale, np.concatenate(rates)
    weights = np.linalg.solve(x.T @ x + PENALTY * np.eye(x.shape[1]), x.T @ y)  # Hoerl and Kennard (1970)
    values = centred(target, sources) / scale @ weights
    return dict(zip(sources, map(float, values), strict=True))


def over_matrices(evaluations: Sequence[Sequence[Choices]]) -> list[Choices]:
    """Rules that all evaluations have, with each target's mean regret over them, and the sum of their hits. Matrices of the
    same targets are not independent, so a target stays one unit of a comparison however many there are. The choices are
    those of the first."""
    names = [each.rule for each in evaluations[0] if all(any(o.rule == each.rule for o in own) for own in evaluations)]
    tables = [{each.rule: each for each in own} for own in evaluations]
    return [
        Choices(
            name, tables[0][name].chosen,
            {target: fmean(table[name].regrets[target] for table in tables) for target in tables[0][name].regrets},
            sum(table[name].hits for table in tables),
        )
        for name in names
    ]  # fmt: skip


def compare(evaluation: Sequence[Choices], first: str, second: str) -> Comparison:
    """Exact permutation test of the mean difference of two rules' regrets: each target's difference may have either sign.

    :raises KeyError: a rule that is not there
    """
    by_rule = {each.rule: each for each in evaluation}
    ours, theirs = by_rule[first].regrets, by_rule[second].regrets
    differences = [ours[target] - theirs[target] for target in ours]
    total = abs(sum(differences))
    signs = list(product((1, -1), repeat=len(differences)))
    as_far = sum(abs(sum(s * d for s, d in zip(each, differences, strict=True))) >= total - SAME for each in signs)
    return Comparison(
        first, second, fmean(differences), as_far / len(signs), sum(each < -SAME for each in differences),
        sum(each > SAME for each in differences), len(differences),
    )  # fmt: skip
