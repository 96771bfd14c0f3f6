"""What a run says of the statements of Wu et al. 2024 on aligned policies.

A verdict follows from 95 % intervals. `yes`: the numbers support the statement; `no`: they contradict it; `not decided`: neither;
`not measured`: the run lacks what the statement is about.
"""

from collections.abc import Mapping, Sequence

from xlrm.analysis import judge_agreement, source_ranking
from xlrm.evaluation.results import Estimate
from xlrm.reporting import reuse_published
from xlrm.reporting.outcomes import Outcome, Verdict, above, missing
from xlrm.reporting.results import CHANCE, language_name
from xlrm.reporting.reuse_material import METHOD_NAMES, METHODS, Estimates, Material, Verdicts, values_of
from xlrm.reporting.reuse_parts import rate
from xlrm.reporting.wording import PERCENT, percent, points, points_range, signed

LOW_TAU = 0.5
"""Kendall's tau below which two orders are said to agree little."""


def translate_train(material: Material) -> Outcome:
    """Transfer against reward models trained on translations of the source's data into the target language."""
    verdicts = material.of("best_of_n")
    translated: Estimates = {}
    for labeler, own in (verdicts.further(">") if verdicts else {}).items():
        source, _, target = labeler.partition(">")
        if target in own:
            translated.setdefault(source, {})[target] = own[target]
    if not verdicts or not translated:
        return missing("no reward models trained on translated data (labels such as en>de)")
    try:
        result = source_ranking.contrast(values_of(verdicts.cells), values_of(translated))
    except ValueError:
        return missing("no pair of languages with both kinds of reward model")
    return Outcome(
        above(result.difference),
        f"{percent(result.first)} against {percent(result.second)}{PERCENT}: {_points(result.difference)}; above in "
        f"{result.above} of {result.pairs} pairs.",
        "translate-train",
    )


def english_best(material: Material) -> Outcome:
    """Targets in which English is the best source, beyond the intervals."""
    if "en" not in material.languages or not any(material.of(method) for method in METHODS):
        return missing("no English reward model, or no verdicts")
    texts, alone, behind, total = [], 0, 0, 0
    for method in METHODS:
        verdicts = material.of(method)
        if verdicts and len(verdicts.cells) > 1:
            best = source_ranking.best(values_of(verdicts.cells))
            texts.append(
                f"{METHOD_NAMES[method]}: the highest in {sum('en' in own for own in best.values())} of {len(best)} targets"
            )
            leading = leaders(verdicts.cells)
            alone += sum(own == ["en"] for own in leading.values())
            behind += sum("en" not in own for own in leading.values())
            total += len(leading)
    if not total:
        return missing("fewer than two source languages")
    verdict: Verdict = "yes" if alone > total / 2 else "no" if behind > total / 2 else "not decided"
    return Outcome(
        verdict,
        f"{'; '.join(texts)}; beyond the intervals it is the only best in {alone} of {total}, and not among the best in "
        f"{behind}.",
        "ranks",
    )


def leaders(cells: Estimates) -> dict[str, list[str]]:
    """Target -> sources whose interval is not wholly below another's."""
    columns: dict[str, dict[str, Estimate]] = {}
    for source, own in cells.items():
        for target, estimate in own.items():
            columns.setdefault(target, {})[source] = estimate
    return {
        target: [
            source for source, estimate in own.items() if estimate.high >= max(other.low for other in own.values())
        ]
        for target, own in columns.items()
        if len(own) > 1
    }


def figure_6(material: Material) -> Outcome:
    """Agreement of the order of sources with the paper's."""
    texts, verdicts = [], []
    for method in METHODS:
        own, table = material.of(method), reuse_published.table(material, method)
        paper = reuse_published.cells(table, material) if table else {}
        if own and len(own.cells) > 2 and len(paper) > 2 and table:
            try:
                result = source_ranking.rank_correlations(values_of(own.cells), paper)
            except ValueError:
                continue
            verdicts.append(above(result.mean))
            texts.append(
                f"{METHOD_NAMES[method]}: tau {tau_text(result.mean)} with Table {table.number}, mean over "
                f"{len(result.by_target)} targets"
            )
    if not texts:
        return missing("fewer than three source languages in common with the paper")
    verdict: Verdict = "yes" if set(verdicts) == {"yes"} else "no" if "no" in verdicts else "not decided"
    return Outcome(verdict, f"Order of the sources here: {'; '.join(texts)}.", "ranks")


def judges_agree(material: Material) -> Outcome:
    pairs = [
        (values_of(own[0].cells), values_of(own[1].cells))
        for method in METHODS
        if len(own := material.judges(method)) > 1
    ]
    agreement = judge_agreement.by_ranking(pairs) if pairs else None
    if not agreement or not agreement.pairs:
        return missing("one judge alone, or one source language")
    low, high = wilson(agreement.same, agreement.pairs)
    verdict = above(Estimate(agreement.share, low, high), 0.5)
    return Outcome(
        verdict, f"{agreement.same} of {agreement.pairs} pairs of sources in the same order "
                 f"({percent(agreement.share)}{PERCENT} [{percent(low)}, {percent(high)}], "
        "if pairs were independent).", "judges",
    )  # fmt: skip


def wilson(count: int, total: int) -> tuple[float, float]:
    """95 % score interval of a share (Wilson 1927)."""
    z = 1.959964
    middle, share = count + z * z / 2, count / total
    half = z * (total * share * (1 - share) + z * z / 4) ** 0.5
    return (middle - half) / (total + z * z), (middle + half) / (total + z * z)


def of_people(material: Material) -> list[Verdicts]:
    """The verdicts that people gave."""
    return [
        verdicts for verdicts in material.verdicts if "human" in verdicts.judge or verdicts.judge.startswith("sheet")
    ]


NO_PEOPLE = "no verdicts of people; `xlrm sheet` writes the pairs to judge"


def humans(material: Material) -> Outcome:
    human = of_people(material)
    cells = [estimate for verdicts in human for own in verdicts.cells.values() for estimate in own.values()]
    if not cells:
        return missing(NO_PEOPLE)
    higher, lower = sum(estimate.low > 0.5 for estimate in cells), sum(estimate.high < 0.5 for estimate in cells)
    verdict: Verdict = "no" if lower > len(cells) / 2 else "yes" if higher > len(cells) / 2 else "not decided"
    return Outcome(
        verdict, f"{higher} of {len(cells)} cells above 50{PERCENT} by the whole interval, {lower} below.", "judges"
    )


def other_language_better(material: Material) -> Outcome:
    """Whether a reward model of another language is better than the own one in some pair, beyond the intervals."""
    texts, better, worse, total = [], 0, 0, 0
    for method in METHODS:
        verdicts = material.of(method)
        if not verdicts:
            continue
        cells = verdicts.cells
        pairs = [
            (e, cells[t][t]) for s, own in cells.items() for t, e in own.items() if s != t and t in cells.get(t, {})
        ]
        better += sum(other.low > own.high for other, own in pairs)
        worse += sum(other.high < own.low for other, own in pairs)
        total += len(pairs)
        if pairs:
            mean = f", mean {_points(compared.difference)}" if (compared := material.compared.get(method)) else ""
            texts.append(
                f"{METHOD_NAMES[method]}: {sum(other.value > own.value for other, own in pairs)} of {len(pairs)} pairs{mean}"
            )
    if not total:
        return missing("no target with its own and another language's reward model")
    verdict: Verdict = "yes" if better else "no" if worse == total else "not decided"
    return Outcome(
        verdict,
        f"Above the target's own: {'; '.join(texts)}; beyond both intervals {better}, below beyond them {worse}.",
        "best_of_n",
    )


def second_judge(material: Material) -> Outcome:
    """By the second judge too, policies by another language's reward model win against the SFT policy."""
    second = [own[1] for method in METHODS if len(own := material.judges(method)) > 1]
    return _improvement(second, crossed=True) if second else missing("one judge alone")


def improves(material: Material) -> Outcome:
    """Policies win against the SFT policy, by their own and by other languages' reward models."""
    first = [verdicts for method in METHODS if (verdicts := material.of(method))]
    return _improvement(first, crossed=False) if first else missing("no verdicts")


def _improvement(given: Sequence[Verdicts], crossed: bool) -> Outcome:
    texts, higher, lower, total = [], 0, 0, 0
    for verdicts in given:
        cells = [
            e for source, own in verdicts.cells.items() for target, e in own.items() if source != target or not crossed
        ]
        above_half, below_half = sum(e.low > CHANCE for e in cells), sum(e.high < CHANCE for e in cells)
        texts.append(
            f"{METHOD_NAMES[verdicts.method]}: {above_half} of {len(cells)} cells by the whole interval, {below_half} below"
        )
        higher, lower, total = higher + above_half, lower + below_half, total + len(cells)
    verdict: Verdict = "yes" if higher > total / 2 else "no" if lower > total / 2 else "not decided"
    kind = "Pairs of two languages above" if crossed else "Above"
    return Outcome(verdict, f"{kind} 50{PERCENT}, judged by {given[0].judge}: {'; '.join(texts)}.", given[0].method)


def bilingual(material: Material) -> Outcome:
    """A bilingual reward model is as good as the English one."""
    verdicts = material.of("best_of_n") or material.of("rl")
    both = verdicts.further("+") if verdicts else {}
    if not verdicts or not both or "en" not in verdicts.cells:
        return missing("no bilingual reward model (labels such as de+en)")
    labeler, own = next(iter(both.items()))
    english = verdicts.cells["en"]
    common = [target for target in own if target in english]
    differences = [own[target].value - english[target].value for target in common]
    beyond = [
        target for target in common if own[target].low > english[target].high or own[target].high < english[target].low
    ]
    return Outcome(
        "not decided" if not common else "no" if len(beyond) > len(common) / 2 else "yes" if not beyond else "not decided",
        f"{language_name(labeler)} minus English: mean {points(sum(differences) / len(differences))} points, "
        f"{points(min(differences))} to {points(max(differences))}; "
        f"beyond both intervals in {len(beyond)} of {len(common)} targets.", "bilingual",
    )  # fmt: skip


def stable(material: Material) -> Outcome:
    """The order of the sources is alike for all targets: mean Kendall's tau of two targets."""
    texts, values = [], []
    for method in METHODS:
        if verdicts := material.of(method):
            taus = between_targets(values_of(verdicts.cells))
            if taus:
                values.append(sum(taus) / len(taus))
                texts.append(f"{METHOD_NAMES[method]} {signed(values[-1], 2)} over {len(taus)} pairs of targets")
    if not texts:
        return missing("fewer than two targets with three sources")
    verdict: Verdict = "yes" if min(values) >= LOW_TAU else "no" if max(values) <= 0 else "not decided"
    return Outcome(
        verdict,
        f"Kendall's tau of the order of sources for two targets, mean: {'; '.join(texts)} (no interval).",
        "ranks",
    )


def between_targets(cells: Mapping[str, Mapping[str, float]]) -> list[float]:
    """Kendall's tau-b of the order of the sources for each two targets that have three common sources."""
    from itertools import combinations

    from scipy import stats

    taus = []
    for first, second in combinations(source_ranking.targets(cells), 2):
        own, other = source_ranking.column(cells, first), source_ranking.column(cells, second)
        common = [source for source in own if source in other]
        if len(common) > 2:
            tau = float(stats.kendalltau([own[s] for s in common], [other[s] for s in common]).statistic)
            taus += [tau] if tau == tau else []
    return taus


def up_to(material: Material) -> Outcome:
    """People prefer some policy by another language's reward model in more than 70 % of the instances."""
    cells = [
        (estimate, verdicts, source, target) for verdicts in of_people(material)
        for source, own in verdicts.cells.items() for target, estimate in own.items() if source != target
    ]  # fmt: skip
    if not cells:
        return missing(NO_PEOPLE)
    best, verdicts, source, target = max(cells, key=lambda cell: cell[0].value)
    exceeding = any(estimate.low > 0.7 for estimate, *_ in cells)
    verdict: Verdict = (
        "yes" if exceeding else "no" if all(estimate.high < 0.7 for estimate, *_ in cells) else "not decided"
    )
    pair = f"{language_name(source)} → {language_name(target)}, {METHOD_NAMES[verdicts.method]}"
    text = f"Highest of {len(cells)} cells: {rate(best)} ({pair}); judged by {verdicts.judge or 'the judge'}."
    return Outcome(verdict, text, verdicts.method)


def russian(material: Material) -> Outcome:
    """Russian is the worst source."""
    texts, last, first, total = [], 0, 0, 0
    for method in METHODS:
        verdicts = material.of(method)
        if verdicts and "ru" in verdicts.cells and len(verdicts.cells) > 2:
            means = list(source_ranking.mean_by_source(values_of(verdicts.cells), own=False))
            texts.append(f"{METHOD_NAMES[method]} {means.index('ru') + 1} of {len(means)}")
            total, last, first = total + 1, last + (means[-1] == "ru"), first + (means[0] == "ru")
    if not texts:
        return missing("no Russian reward model, or fewer than three sources")
    verdict: Verdict = "no" if first else "not decided"
    return Outcome(
        verdict, f"Place of Russian by the mean win rate in other languages: {'; '.join(texts)} (no interval).", "ranks"
    )


def _points(estimate: Estimate) -> str:
    return f"{points(estimate.value)} points [{points_range(estimate)}]"


def tau_text(mean: Estimate) -> str:
    return f"{signed(mean.value, 2)} [{signed(mean.low, 2)}, {signed(mean.high, 2)}]"
