"""Claims of Wu et al. 2024 on what explains transfer: accuracy of the reward models, languages, data and divergence
(section 6)."""

from collections.abc import Mapping, Sequence

from xlrm.analysis import policy_divergence, quantities, source_ranking, typology
from xlrm.analysis.baselines import expected_agreement as independent
from xlrm.reporting.published import paper_b
from xlrm.reporting.results import language_name
from xlrm.reporting.reuse_evidence import METHODS, Evidence, Finding, WinRates
from xlrm.reporting.wording import PERCENT, listed, signed

CHANCE = 50.0
"""Accuracy in % of a random choice of one of two responses."""
LOW = 0.3
"""Kendall's tau below which two orders agree little."""
MATCHING = 0.6
"""Kendall's tau from which on two orders are alike."""
CLEAR = 0.5
"""Correlation from which on it is a clear one."""
NAMED = ("1A", "3A", "37A", "54A")
"""Features of WALS that footnote 8 names."""
STATED_AGREEMENT = 56.6
"""Expected agreement in % of a reward model with the length baseline (footnote 7)."""


def accuracy(evidence: Evidence) -> Finding:
    """Holds if the mean over targets of Kendall's tau of the sources' accuracies and win rates is at most 0.3 with each
    method by the first judge."""
    shown, taus = [], []
    for rates in (evidence.first(method) for method in METHODS):
        accuracies = _accuracies(evidence, rates)
        both = source_ranking.rank_correlations(accuracies, rates.rates)
        without = source_ranking.rank_correlations(accuracies, rates.rates, own=False)
        taus.append(both.mean.value)
        shown.append(
            f"{signed(both.mean.value, 2)} ({rates.setting}; without the target's own reward model "
            f"{signed(without.mean.value, 2)})"
        )
    text = (
        f"Mean Kendall's tau over {len(both.by_target)} targets: {listed(shown)}. Of {both.sources} sources, a single tau has a "
        f"standard deviation of {both.chance_deviation:.2f} under chance."
    )
    return Finding(
        "holds" if max(map(abs, taus)) <= LOW else "holds in part" if min(map(abs, taus)) <= LOW else "not supported",
        f"{text}{_others(evidence)}",
    )


def _others(evidence: Evidence) -> str:
    """Taus of the other tasks and judges, which the paper's statement leaves out."""
    first = [evidence.first(method) for method in METHODS]
    shown = [
        f"{signed(source_ranking.rank_correlations(_accuracies(evidence, each), each.rates).mean.value, 2)} ({each.setting}, "
        f"{each.judge})"
        for each in evidence.judged(humans=False)
        if each not in first
    ]
    return f" Not quoted: {', '.join(shown)}."


def baselines(evidence: Evidence) -> Finding:
    """Holds if more than half of the cross-lingual pairs are above the majority baseline, or chance where there is none, in
    every task; in part if in any."""
    shown, above = [], []
    for each in evidence.reward_modeling:
        cells = source_ranking.cells(each.accuracies)
        crossed = {pair: value for pair, value in cells.items() if pair[0] != pair[1]}
        level = sum(
            value > each.majority.get(target, CHANCE) + source_ranking.SAME for (_, target), value in crossed.items()
        )
        above.append(level > len(crossed) / 2)
        shorter, shorter_crossed = (
            sum(value < each.length.get(target, 0.0) for (_, target), value in some.items())
            for some in (cells, crossed)
        )
        shown.append(
            f"{f'{each.task}: ' if each.task else ''}{level} of {len(crossed)} cross-lingual pairs are above "
            f"{'the majority baseline' if each.majority else 'chance'}; {shorter} of all {len(cells)} cells are below the length "
            f"baseline ({shorter_crossed} of the cross-lingual ones)"
        )
    text = ". ".join(part[0].upper() + part[1:] for part in shown)
    return Finding("holds" if all(above) else "holds in part" if any(above) else "not supported", f"{text}.")


def expected_agreement() -> Finding:
    """Holds if the mean over the cells of one of the tables is the stated one."""
    means = {each.number: _independent(each.number) for each in paper_b.MATRICES if each.measure == "accuracy"}
    exact = [number for number, cells in means.items() if round(cells[0], 1) == STATED_AGREEMENT]
    shown = []
    for number, (every, crossed) in means.items():
        count = len(source_ranking.cells(paper_b.matrix(number)))
        shown.append(f"Table {number} {every:.1f} over all {count} cells, {crossed:.1f} over the cross-lingual ones")
    return Finding(
        "holds" if exact else "not supported",
        f"Mean of p q + (1 − p)(1 − q), p the reward model's and q the length baseline's accuracy, in{PERCENT}: "
        f"{'; '.join(shown)}. The paper does not say which: it is all cells of {listed([f'Table {each}' for each in exact])}.",
    )


def _independent(table: int) -> tuple[float, float]:
    """Mean expected agreement in % with the length baseline over all cells, and over the cross-lingual ones."""
    length = paper_b.length(table)  # type: ignore[arg-type]
    cells = {
        pair: 100 * independent(value / 100, length[pair[1]] / 100)
        for pair, value in source_ranking.cells(paper_b.matrix(table)).items()
    }
    crossed = [value for (source, target), value in cells.items() if source != target]
    return sum(cells.values()) / len(cells), sum(crossed) / len(crossed)


def divergence(evidence: Evidence) -> Finding:
    """Holds if |Pearson's r| is below 0.5 by every judge, in part if by one."""
    rates = [each for each in evidence.judged("rl", humans=False) if each.task == evidence.task]
    both = {each.judge: policy_divergence.correlate(evidence.kl, each.rates) for each in rates}
    shown = [
        f"{judge} r = {signed(own.pearson, 2)}, rho = {signed(own.spearman, 2)} (p by permuting languages {own.p_languages:.2g}; "
        f"of r over cells, which are not independent, {own.pearson_p:.2g})"
        for judge, own in both.items()
    ]
    clear = [judge for judge, own in both.items() if abs(own.pearson) >= CLEAR]
    remark = (
        f" Not supported by {listed(clear)}, by whom win rates {_course(both, clear)} with divergence." if clear else ""
    )
    return Finding(
        "holds" if not clear else "holds in part" if len(clear) < len(both) else "not supported",
        f"Correlation over {next(iter(both.values())).cells} cells: {'; '.join(shown)}.{remark}",
    )


def _course(both: Mapping[str, policy_divergence.Divergence], judges: Sequence[str]) -> str:
    rising = [both[judge].pearson > 0 for judge in judges]
    return "rise" if all(rising) else "rise or fall" if any(rising) else "fall"


def quantity(evidence: Evidence) -> Finding:
    """Holds if no quantity orders the sources as the win rates by the first judge do (tau 0.6), in part if one does."""
    rates = [evidence.first(method) for method in METHODS]
    shown, matching = [], []
    for name, numbers in evidence.quantities.items():
        own = {each.setting: quantities.by_quantity(each.rates, numbers, own=False) for each in rates}
        parts = [f"{signed(both.tau, 2)} (p {both.tau_p:.2g}, {setting})" for setting, both in own.items()]
        shown.append(f"{name} {', '.join(parts)}")
        matching += [
            f"{name} in {setting} (rho {signed(both.rho, 2)}; by transfer {_order(each)}; by {name} {_named(numbers)})"
            for (setting, both), each in zip(own.items(), rates, strict=True)
            if both.tau >= MATCHING
        ]
    text = f"Kendall's tau of the sources' quantity and their mean over other languages: {'; '.join(shown)}."
    if matching:
        text += f" Not supported for {'; '.join(matching)}."
    return Finding(
        "holds" if not matching else "holds in part" if len(matching) < len(shown) * len(rates) else "not supported",
        text,
    )


def _order(rates: WinRates) -> str:
    return ", ".join(language_name(code) for code in source_ranking.mean_by_source(rates.rates, own=False))


def _named(numbers: Mapping[str, float]) -> str:
    return ", ".join(language_name(code) for code in quantities.order(numbers))


def wals(evidence: Evidence) -> Finding | None:
    """Holds if no feature is significant after Bonferroni's correction by any judge, in part if by the first. None if no
    feature is known of all languages."""
    judged = (each for method in METHODS for each in evidence.judged(method, humans=False))
    rates = [each for each in judged if each.task == evidence.task]
    tests = [(each, typology.measure(each.rates, evidence.features)) for each in rates]
    corrected = {each.judge for each, result in tests if result.significant_after_bonferroni()}
    shown = [f"{each.setting} by {each.judge} {_significant(result)}" for each, result in tests]
    first = tests[0][1]
    if not first.features:
        return None
    features = {feature for _, result in tests for feature in result.significant_after_bonferroni()}
    remark = f" Not supported by {listed(sorted(corrected))}.{_single(evidence, features)}" if corrected else ""
    return Finding(
        "holds" if not corrected else "not supported" if evidence.judges[0] in corrected else "holds in part",
        f"{len(first.features)} features, of which {first.tested} vary. p of the significant ones without correction: "
        f"{'; '.join(shown)}.{_of_named(evidence, tests)}{remark}",
    )


def _significant(result: typology.Typology) -> str:
    after = result.significant_after_bonferroni()
    shown = [
        f"{each.feature} {each.p:.2g}{' (significant after the correction)' if each.feature in after else ''}"
        for each in result.features
        if each.p is not None and each.feature in result.significant()
    ]
    return ", ".join(shown) or "none"


def _single(evidence: Evidence, features: set[str]) -> str:
    """Which of the features only set one language apart from all others, and so cannot be told from that language."""
    languages, remarks = set(evidence.judged(humans=False)[0].rates), []
    for feature in sorted(features):
        values = {
            each.language: each.value
            for each in evidence.features
            if each.feature == feature and each.language in languages
        }
        alone = [code for code, value in values.items() if list(values.values()).count(value) == 1]
        if len(set(values.values())) == 2 and len(alone) == 1:
            remarks.append(
                f" {feature} is alike in all languages but {language_name(alone[0])}: it may be that language alone."
            )
    return "".join(remarks)


def _of_named(evidence: Evidence, tests: Sequence[tuple[WinRates, typology.Typology]]) -> str:
    """Which of the features that the paper names are significant with RL by its first judge, and the others' p."""
    own = next(result for each, result in tests if each is evidence.first("rl"))
    missing = [
        f"{each.feature} has {each.p:.2g}" for each in own.features
        if each.feature in NAMED and each.p is not None and each.feature not in own.significant()
    ]  # fmt: skip
    reproduced = [feature for feature in NAMED if feature in own.significant()]
    rest = f"; {listed(missing)}" if missing else ""
    return f" Of the four features that the paper names, {len(reproduced)} are significant with RL by {evidence.judges[0]}{rest}."


def turkish_and_vietnamese(evidence: Evidence) -> Finding:
    """Holds if the Turkish reward model is the most accurate in its own language but not the best source, and English gains
    most from the Vietnamese one in RL; in part if one of the two."""
    rates = evidence.first("rl")
    diagonal = {source: row[source] for source, row in _accuracies(evidence, rates).items()}
    in_english = source_ranking.column(rates.rates, "en")
    ordered = sorted(in_english.values())
    accurate, helpful = max(diagonal, key=diagonal.__getitem__), max(in_english, key=in_english.__getitem__)
    first = [evidence.first(method) for method in METHODS]
    best = sum(source_ranking.times_best(each.rates)["tr"] for each in first)
    turkish = accurate == "tr" and best == 0
    return Finding(
        "holds" if turkish and helpful == "vi" else "holds in part" if turkish or helpful == "vi" else "not supported",
        f"The most accurate in its own language is {language_name(accurate)} ({diagonal[accurate]:.1f}{PERCENT}); Turkish is the "
        f"best source for {best} target languages ({listed([each.setting for each in first])}). In English RL, "
        f"{language_name(helpful)} is the best source ({ordered[-1]:.1f}; the next {ordered[-2]:.1f}, the English one "
        f"{in_english['en']:.1f}).",
    )


def _accuracies(evidence: Evidence, rates: WinRates) -> source_ranking.Matrix:
    """Accuracies of the reward models of the same task."""
    return next(each.accuracies for each in evidence.reward_modeling if each.task == rates.task)
