"""What a run says of the statements of Wu et al. 2024 on what explains transfer: accuracy, divergence, data, typology, length."""

from collections.abc import Mapping
from functools import lru_cache

from xlrm.analysis import quantities, source_ranking, typology
from xlrm.analysis.source_ranking import RankCorrelations
from xlrm.evaluation.estimates import Estimate
from xlrm.reporting import reuse_divergence, reuse_sft
from xlrm.reporting.outcomes import Outcome, Verdict, missing
from xlrm.reporting.reuse_material import METHOD_NAMES, METHODS, Estimates, Material, Method, baselines, values_of
from xlrm.reporting.reuse_outcomes import LOW_TAU, tau_text
from xlrm.reporting.wording import PERCENT, listed, names, p_value, percent, points, signed

LOW_R = 0.3
"""Size of a correlation below which it is said to be none."""
LEVEL = 0.05
HALF = 0.5


def accuracy_and_alignment(material: Material) -> Outcome:
    """Kendall's tau of accuracy and win rate is low."""
    results = taus(material)
    if not results:
        return missing("no accuracies of at least two reward models, or no verdicts on their policies")
    texts = [
        f"{METHOD_NAMES[name]} {tau_text(result.mean)}{_without_own(other)}"
        for name, (result, other) in results.items()
    ]
    means = [result.mean for result, _ in results.values()]
    low, high = all(mean.high < LOW_TAU for mean in means), any(mean.low >= LOW_TAU for mean in means)
    verdict: Verdict = "yes" if low else "no" if high else "not decided"
    deviation = next(iter(results.values()))[0].chance_deviation
    text = f"Kendall's tau: {'; '.join(texts)}; one tau by chance has a standard deviation of {deviation:.2f}."
    return Outcome(verdict, text, "analyses")


def _without_own(mean: float | None) -> str:
    return "" if mean is None else f", without the own language {signed(mean, 2)}"


def taus(material: Material) -> dict[Method, tuple[RankCorrelations, float | None]]:
    """Method -> Kendall's tau of accuracy and win rate, and its mean without the target's own reward model."""
    results = {}
    for method in METHODS:
        verdicts = material.of(method)
        if verdicts and len(verdicts.cells) > 1 and (result := _correlations(material.accuracies, verdicts.cells)):
            others = _correlations(material.accuracies, verdicts.cells, own=False)
            results[method] = (result, others.mean.value if others else None)
    return results


def _correlations(accuracies: Estimates, win_rates: Estimates, own: bool = True) -> RankCorrelations | None:
    """None if no target has two sources that are not tied."""
    try:
        return source_ranking.rank_correlations(values_of(accuracies), values_of(win_rates), own)
    except ValueError:
        return None


def divergence(material: Material) -> Outcome:
    result = reuse_divergence.correlation(material)
    if not result:
        return missing("no KL divergences and win rates of at least three RL policies")
    verdict: Verdict = "no" if result.p_languages < LEVEL else "yes" if abs(result.pearson) < LOW_R else "not decided"
    return Outcome(verdict, reuse_divergence.correlation_sentence(result), "divergence")


def data_sizes(material: Material) -> Outcome:
    results = by_quantity(material, {code: float(count) for code, count in material.facts.pairs.items()})
    if not results:
        return missing("fewer than three reward models, or all were trained on the same number of rows")
    verdict: Verdict = (
        "no" if any(each.tau > 0 and each.tau_p < LEVEL for each in results.values())
        else "yes" if all(abs(each.tau) < LOW_R for each in results.values()) else "not decided"
    )  # fmt: skip
    texts = [
        f"{METHOD_NAMES[name]} tau {signed(each.tau, 2)} ({p_value(each.tau_p)}, n = {each.n})"
        for name, each in results.items()
    ]
    return Outcome(
        verdict, f"Rows of the reward models and mean win rate of the source: {'; '.join(texts)}.", "analyses"
    )


def by_quantity(material: Material, quantity: Mapping[str, float]) -> dict[str, quantities.RankCorrelation]:
    """Method -> correlation of a quantity of the sources with their mean win rate."""
    results = {}
    for method in METHODS:
        if verdicts := material.of(method):
            try:
                results[method] = quantities.by_quantity(values_of(verdicts.cells), quantity)
            except ValueError:
                continue
    return {name: result for name, result in results.items() if result.tau == result.tau}


def typological(material: Material) -> Outcome:
    results = typologies(material)
    if not results:
        return missing("no file of typological features (reuse_report.typology), or no verdicts")
    after = {name: result.significant_after_bonferroni() for name, result in results.items()}
    texts = [
        f"{METHOD_NAMES[name]}: of {len(result.features)} features p < 0.05 in "
        f"{listed(list(result.significant())) or 'none'}, after the "
        f"correction in {listed(list(after[name])) or 'none'}"
        for name, result in results.items()
    ]
    return Outcome("no" if any(after.values()) else "yes", f"{'; '.join(texts)}.", "analyses")


@lru_cache(maxsize=1)
def typologies(material: Material) -> dict[str, typology.Typology]:
    values = [typology.Value(row["lang"], row["feature_id"], row["value"]) for row in material.features]
    results = {
        method: typology.measure(values_of(verdicts.cells), values)
        for method in METHODS
        if (verdicts := material.of(method)) and len(verdicts.cells) > 2
    }
    return {method: result for method, result in results.items() if result.tested}


def above_majority(material: Material) -> Outcome:
    levels = baselines(material)
    name = "majority" if "majority" in levels else "chance"
    crossed = [
        (estimate, levels[name][target])
        for source, own in material.accuracies.items()
        for target, estimate in own.items()
        if source != target and target in levels.get(name, {})
    ]
    if not crossed:
        return missing("no accuracies of reward models in another language")
    higher, lower = (sum(e.low > level for e, level in crossed), sum(e.high < level for e, level in crossed))
    verdict: Verdict = "yes" if higher > len(crossed) / 2 else "no" if lower > len(crossed) / 2 else "not decided"
    return Outcome(
        verdict,
        f"{higher} of {len(crossed)} cells above the {name} baseline by the whole interval, {lower} below.",
        "accuracy",
    )


def length_agreement(material: Material) -> Outcome:
    """Reward models agree with the length baseline more often than independent models of their accuracies would."""
    result = lengths(material)
    if not result:
        return missing("no evaluation on held-out rows beside a length baseline")
    observed, expected, higher, total = result
    text = f"Agreement with the length baseline {percent(observed)}{PERCENT}, expected by chance {percent(expected)}{PERCENT}"
    verdict: Verdict = "yes" if higher == total else "no" if not higher else "not decided"
    return Outcome(verdict, f"{text}, means over {total} cells; above it in {higher} (no interval).", "analyses")


def lengths(material: Material) -> tuple[float, float, int, int] | None:
    """Mean observed and expected agreement with the length baseline, cells with more than expected, and all cells."""
    baselines_of = [result.length for _, _, result in material.modeling if result.length]
    if not baselines_of:
        return None
    total = len(baselines_of)
    return (
        sum(each.agreement for each in baselines_of) / total,
        sum(each.expected_agreement for each in baselines_of) / total,
        sum(each.agreement > each.expected_agreement for each in baselines_of),
        total,
    )


def in_language(material: Material) -> Outcome:
    """Turkish is the most accurate in its own language; English gains most from Vietnamese in RL."""
    own = {code: row[code] for code, row in material.accuracies.items() if code in row}
    verdicts = material.of("rl")
    column = {source: row["en"] for source, row in verdicts.cells.items() if "en" in row} if verdicts else {}
    if "tr" not in own or "vi" not in column or len(own) < 2:
        return missing("no Turkish reward model, or no English policy by the Vietnamese one")
    best, driver = max(own, key=lambda code: own[code].value), max(column, key=lambda code: column[code].value)
    first = [own["tr"].low > other.high for code, other in own.items() if code != "tr"]
    second = [column["vi"].low > other.high for code, other in column.items() if code != "vi"]
    against = any(other.low > own["tr"].high for other in own.values()) or any(
        other.low > column["vi"].high for other in column.values()
    )
    verdict: Verdict = "no" if against else "yes" if all(first + second) else "not decided"
    return Outcome(
        verdict,
        f"Most accurate in its own language: {names([best])}; most of English RL: {names([driver])}.",
        "accuracy",
    )


def back_translation(material: Material) -> Outcome:
    """Texts translated there and back close most of the gap in ROUGE-L that translated texts leave."""
    closed = reuse_sft.gaps(material.trained_sft)
    if not closed:
        return missing("no SFT policies on back-translated demonstrations beside translated and own ones")
    shares = [f"{names([language])} {percent(share)}{PERCENT}" for (language, _), share in closed.items()]
    most = sum(share > HALF for share in closed.values())
    verdict: Verdict = "yes" if most == len(closed) else "no" if not most else "not decided"
    return Outcome(verdict, f"Share of the gap that is closed: {listed(shares)} (no interval).", "sft")


def translated_sft(material: Material) -> Outcome:
    """Best-of-n of policies fine-tuned on translations is worse than that of the language's own texts, by the same reward model,
    and RL is not, where the run has it."""
    both = {method: pairs for method in METHODS if (pairs := _translated_and_own(material, method))}
    if "best_of_n" not in both:
        return missing("no SFT policies on translated demonstrations")
    below = {method: sum(t.high < own.low for t, own in pairs) for method, pairs in both.items()}
    above = {method: sum(t.low > own.high for t, own in pairs) for method, pairs in both.items()}
    half = {method: len(pairs) / 2 for method, pairs in both.items()}
    falls = "rl" in both and below["rl"] > half["rl"]
    verdict: Verdict = "not decided"
    if falls or above["best_of_n"] > half["best_of_n"]:
        verdict = "no"
    elif below["best_of_n"] > half["best_of_n"]:
        verdict = "yes"
    texts = [
        f"{METHOD_NAMES[method]} mean {points(sum(t.value - own.value for t, own in pairs) / len(pairs))} points, below beyond "
        f"both intervals in {below[method]} of {len(pairs)}, above in {above[method]}"
        for method, pairs in both.items()
    ]
    return Outcome(verdict, f"Translated minus own texts: {'; '.join(texts)}.", "sft")


def _translated_and_own(material: Material, method: Method) -> list[tuple[Estimate, Estimate]]:
    """Win rates of policies on translated and on own texts, by the same reward model."""
    verdicts = material.of(method)
    cells = verdicts.cells if verdicts else {}
    return [
        (each.rate.estimate, cells[each.source][each.language])
        for each in material.translated
        if each.method == method and each.kind == "translated" and each.language in cells.get(each.source, {})
    ]
