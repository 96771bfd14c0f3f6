"""The part on the recommender of source languages: which reward model to reuse for a target, and what each rule costs."""

from collections.abc import Iterator, Mapping, Sequence

from xlrm.analysis import recommender
from xlrm.analysis.recommender import Choices
from xlrm.analysis.source_ranking import Matrix
from xlrm.analysis.typology import Value
from xlrm.reporting import reuse_published
from xlrm.reporting.documents import Cell, Grid
from xlrm.reporting.published import paper_b
from xlrm.reporting.reuse_material import METHOD_NAMES, METHODS, Material, baselines, values_of
from xlrm.reporting.reuse_parts import Part
from xlrm.reporting.wording import p_value, signed

SHOWN = ("best", "other targets", "ridge", "english", "accuracy", "own")
"""Rules whose choices are shown for each target, if the run has what they need."""
REGRET = 0.05
"""Points below which a regret is shown as none."""


def part(material: Material) -> Part:
    results, paper = of_run(material), of_paper(material)
    if not results:
        return Part("recommender", "Which reward model to reuse for a target")
    choices = [_choices(method, own) for method, own in results.items()]
    return Part(
        "recommender", "Which reward model to reuse for a target", list(_sentences(results)),
        grids=[_regrets(results, paper), *choices], files=("recommender",), stages=("judge", "evaluate"), short="Recommender",
        notes=["Each target's choice uses nothing of its own column. Regret: points of win rate below the best source, the "
               "mean over targets; in brackets the targets "
               "with the best source; equal scores are drawn. The best of several noisy numbers is too high, so every "
               "regret is too large, and differences between "
               "rules are not. Paper: the same rules on its tables (docs/recommender.md)."],
    )  # fmt: skip


def of_run(material: Material) -> dict[str, list[Choices]]:
    """Method -> the rules' choices on the run's win rates in %, for at least two sources and targets."""
    length = baselines(material).get("length")
    accuracy = values_of(material.accuracies) or None
    signals = recommender.signals(accuracy, length, _similarity(material), material.agreement or None)
    results = {}
    for method in METHODS:
        verdicts = material.of(method)
        rates = values_of(verdicts.cells) if verdicts else {}
        if len(rates) > 1 and all(len(own) > 1 for own in rates.values()):
            percents = {source: {target: 100 * rate for target, rate in own.items()} for source, own in rates.items()}
            results[METHOD_NAMES[method]] = recommender.evaluate(percents, signals)
    return results


def of_paper(material: Material) -> dict[str, list[Choices]]:
    """`Table 6` -> the rules' choices on the paper's win rates of the run's task, in the run's languages."""
    results = {}
    accuracy = reuse_published.table(material, "reward_modeling")
    for method in METHODS:
        table = reuse_published.table(material, method)
        rates = reuse_published.cells(table, material, scale=1) if table else {}
        if table and accuracy and len(rates) > 1:
            signals = recommender.signals(
                reuse_published.cells(accuracy, material, scale=1),
                paper_b.length(18 if accuracy.number == 18 else 19), _similarity(material),
            )  # fmt: skip
            results[f"Table {table.number}"] = recommender.evaluate(rates, signals)
    return results


def _similarity(material: Material) -> Matrix | None:
    values = [Value(row["lang"], row["feature_id"], row["value"]) for row in material.features]
    return recommender.similarity(values) if values else None


def _sentences(results: Mapping[str, Sequence[Choices]]) -> Iterator[str]:
    for method, own in results.items():
        rules = {choices.rule: choices for choices in own}
        if "en" in {source for sources in rules["english"].chosen.values() for source in sources}:
            result = recommender.compare(own, recommender.OTHERS, recommender.ENGLISH)
            yield (
                f"With {method}, the source that is best for the other targets loses "
                f"{rules[recommender.OTHERS].regret:.1f} points to the best one, English "
                f"{rules[recommender.ENGLISH].regret:.1f}: a difference of {signed(result.value)} ({p_value(result.p)}; so "
                f"few targets can give {result.smallest_p:.2f} at "
                "the least)."
            )


def _regrets(results: Mapping[str, Sequence[Choices]], paper: Mapping[str, Sequence[Choices]]) -> Grid:
    tables = [{choices.rule: choices for choices in own} for own in (*results.values(), *paper.values())]
    rules = dict.fromkeys(name for table in tables for name in table)
    mean = {name: sum(t[name].regret for t in tables[: len(results)] if name in t) for name in rules}
    rows = [
        [Cell(name), *(_regret(table.get(name)) for table in tables)]
        for name in sorted(rules, key=lambda name: (name not in tables[0], mean[name]))
    ]
    columns = ("rule", *(f"{method}, this run" for method in results), *(f"paper, {name}" for name in paper))
    return Grid("Regret of each rule, points (targets with the best source)", columns, rows)


def _regret(choices: Choices | None) -> Cell:
    return Cell(f"{choices.regret:.2f}", f"({choices.hits:.2g})") if choices else Cell("–")


def _choices(method: str, own: Sequence[Choices]) -> Grid:
    by_rule = {choices.rule: choices for choices in own}
    targets = list(by_rule["best"].chosen)
    rows = [[Cell(name), *(_choice(by_rule[name], target) for target in targets)] for name in SHOWN if name in by_rule]
    title = f"Choices of the rules, {method}: source for each target, and points below the best"
    return Grid(title, ("rule", *targets), rows)


def _choice(choices: Choices, target: str) -> Cell:
    regret = choices.regrets[target]
    return Cell(_sources(choices.chosen[target]), f"−{regret:.1f}" if regret >= REGRET else "")


def _sources(sources: Sequence[str]) -> str:
    return "any" if len(sources) > 2 else " or ".join(sources)


def rows(material: Material) -> Iterator[tuple]:
    """Rule, what it was evaluated on, target, sources and regret, for a CSV file."""
    for of, results in (("run", of_run(material)), ("paper", of_paper(material))):
        for where, own in results.items():
            for choices in own:
                for target, sources in choices.chosen.items():
                    yield of, where, choices.rule, target, " ".join(sources), choices.regrets[target]
