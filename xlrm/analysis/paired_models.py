"""Comparisons of models on the benchmark items that they share: accuracies, differences and tests, by language and
section."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from xlrm.errors import ConfigError, DataError
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.credit import Ties
from xlrm.evaluation.evaluated import ModelEvaluation, Place, earned
from xlrm.evaluation.statistics import accuracies, holm, mcnemar, paired


@dataclass(frozen=True)
class Shared:
    """Items of two evaluations in one language."""

    first: str
    second: str
    benchmark: str
    language: str
    items: int
    """Items in both, with the same texts. Only these are compared."""
    other_texts: int
    """Items in both with different texts."""
    only_first: int
    only_second: int


@dataclass(frozen=True)
class Row:
    """Two models on the items of one section, or of all sections, that both were evaluated on."""

    first: str
    second: str
    benchmark: str
    language: str
    part: str
    """Section, or `average`: the mean of the sections."""
    items: int
    first_accuracy: float
    second_accuracy: float
    difference: float
    """Second minus first."""
    low: float
    high: float
    """Ends of the 95 % bootstrap interval of the difference."""
    p: float
    """p-value of the permutation test, adjusted for all rows of the table (Holm)."""
    p_alone: float
    """The same p-value without adjustment."""
    better: int
    """Items for which the second earns more than the first."""
    worse: int
    mcnemar_p: float
    """p-value of McNemar's exact test, adjusted for all rows of the table (Holm)."""
    mcnemar_p_alone: float


@dataclass(frozen=True)
class ModelComparison:
    """Models compared with the first one."""

    ties: Ties
    table: list[Row]
    shared: list[Shared]

    def rows(self) -> list[dict[str, Any]]:
        """The table's rows, as for `pandas.DataFrame`."""
        return [asdict(row) for row in self.table]

    def row(self, part: str = AVERAGE, language: str | None = None) -> Row:
        """The first row of a section, or of the average; in one language if it is given. Raises ConfigError."""
        for row in self.table:
            if row.part == part and language in (None, row.language):
                return row
        raise ConfigError("no such row", value=(part, language), hint="`rows()` has all of them")


def compare(pairs: Sequence[tuple[ModelEvaluation, ModelEvaluation]], ties: Ties | None = None) -> ModelComparison:
    """Each pair's second model minus its first. `ties`: credit for equal rewards; None for the evaluations' own.

    Raises ConfigError for evaluations with different rules for ties, and DataError for two that share no item.
    """
    rule = ties or _rule(pairs)
    table: list[Row] = []
    shared: list[Shared] = []
    for first, second in pairs:
        places = _places(first, second)
        before = len(table)
        for ours, theirs in places:
            about, own, other = _matched(first, second, ours, theirs)
            shared.append(about)
            if own:
                table += _rows(about, own, other, rule)
        if len(table) == before:
            raise DataError(_nothing(first, second, shared[len(shared) - len(places) :]), where=second.name)
    return ModelComparison(rule, _adjusted(table), shared)


def _rule(pairs: Sequence[tuple[ModelEvaluation, ModelEvaluation]]) -> Ties:
    rules = sorted({model.ties for pair in pairs for model in pair if model.ties})
    if len(rules) > 1:
        raise ConfigError(
            "evaluated with different rules for equal rewards", where="--ties", value=" and ".join(rules),
            hint="say which one counts",
        )  # fmt: skip
    return rules[0] if rules else "lost"


def _places(first: ModelEvaluation, second: ModelEvaluation) -> list[tuple[Place, Place]]:
    """Places to compare: of one benchmark and language; and if there are none, of one language if each model has a single
    benchmark, which may have another name."""
    same = [(place, place) for place in first.items if place in second.items]
    if same or any(len({benchmark for benchmark, _ in model.items}) > 1 for model in (first, second)):
        return same
    others = {language: place for place in second.items for _, language in [place]}
    named = [(place, others[language]) for place in first.items for _, language in [place] if language in others]
    if named or not len(first.items) == len(second.items) == 1:
        return named
    (ours,), (theirs,) = first.items, second.items
    return [(ours, theirs)] if "" in (ours[1], theirs[1]) else []  # a file of rewards may not say its language


def _matched(
    first: ModelEvaluation, second: ModelEvaluation, ours: Place, theirs: Place
) -> tuple[Shared, list[dict], list[dict]]:
    """The items of both, in one order."""
    others = {item["id"]: item for item in second.items[theirs]}
    named = [item for item in first.items[ours] if item["id"] in others]
    own = [item for item in named if others[item["id"]]["text"] == item["text"]]
    count, language = len(named), ours[1] or theirs[1]
    about = Shared(
        first.name, second.name, ours[0], language, len(own), count - len(own), len(first.items[ours]) - count,
        len(others) - count,
    )  # fmt: skip
    return about, own, [others[item["id"]] for item in own]


def _rows(about: Shared, own: list[dict], other: list[dict], ties: Ties) -> list[Row]:
    ours, theirs = earned(own, ties), earned(other, ties)
    before, after = accuracies(own, ours), accuracies(own, theirs)
    differences, discordant = paired(own, theirs - ours), mcnemar(own, theirs - ours)
    sizes = {name: sum(item["section"] == name for item in own) for name in discordant} | {AVERAGE: len(own)}
    return [
        Row(
            about.first, about.second, about.benchmark, about.language, part, sizes[part], before[part], after[part],
            *differences[part][:3], differences[part].p, differences[part].p, better, worse, p, p,
        )
        for part, (better, worse, p) in discordant.items()
    ]  # fmt: skip


def _adjusted(table: list[Row]) -> list[Row]:
    """The rows with p-values adjusted for their number: each of the two tests over all rows."""
    permuted, exact = holm([row.p_alone for row in table]), holm([row.mcnemar_p_alone for row in table])
    return [replace(row, p=p, mcnemar_p=q) for row, p, q in zip(table, permuted, exact, strict=True)]


def _nothing(first: ModelEvaluation, second: ModelEvaluation, shared: list[Shared]) -> str:
    if not shared:
        places = (", ".join(f"{b} in {code or '?'}" for b, code in model.items) for model in (first, second))
        return f"nothing in common with {first.name}: {' against '.join(places)}"
    counts = "; ".join(
        f"{row.benchmark} in {row.language or '?'}: {row.other_texts} with other texts, {row.only_first} and "
        f"{row.only_second} in one alone"
        for row in shared
    )
    return f"no item in common with {first.name} ({counts})"
