"""Claims of Wu et al. 2024 on judges: models against one another and against people (sections 5.1 and 5.2, appendices C and
D)."""

from xlrm.analysis import source_ranking
from xlrm.analysis.source_ranking import OrderAgreement, order_agreement
from xlrm.reporting.published import paper_b
from xlrm.reporting.results import language_name
from xlrm.reporting.reuse_claims_on_transfer import EVEN, MOST
from xlrm.reporting.reuse_evidence import HUMANS, METHOD_NAMES, Evidence, Finding, WinRates
from xlrm.reporting.wording import PERCENT, listed, signed

AGREEING = 0.75
"""Share of pairs of sources from which on two judges agree on their order; chance is 0.5."""
HUMAN_AGREEMENT = {"summarization": (63.0, 67.0), "dialog": (63.0, 66.0)}
"""Agreement of people in % that section 5.1 quotes: Seahorse in English and Spanish; Bai et al. 2022a, Dubois et al. 2024."""


def judges(evidence: Evidence) -> Finding:
    """Holds if two models agree on the order of 3 in 4 pairs of sources, pairs tied by one of them counted half; in part if
    on more than half. The RL policies of dialog, which the paper's statement leaves out, do not count."""
    shares, shown = [], []
    for setting, rates in evidence.settings.items():
        models = [each for each in rates if each.judge in evidence.judges[:2]]
        if len(models) == 2 and (both := order_agreement(models[0].rates, models[1].rates)).pairs:
            shown.append(f"{setting} {_order(both)}")
            if setting != "dialog RL":
                shares.append((both.same + both.half / 2) / both.pairs)
    low = min(shares)
    return Finding(
        "holds" if low >= AGREEING else "holds in part" if low > 0.5 else "not supported",
        f"Pairs of sources, over all target languages, that {listed(evidence.judges[:2])} put in the same order: "
        f"{'; '.join(shown)}. Chance is 50{PERCENT}.",
    )


def _order(both: OrderAgreement) -> str:
    """`69 of 90 (76.7 %; 77.8 % if those tied by one judge alone, 2, count half)`."""
    half = 100 * (both.same + both.half / 2) / max(both.pairs, 1)
    ties = f"; {half:.1f}{PERCENT} if those tied by one judge alone, {both.half}, count half" if both.half else ""
    return f"{both.same} of {both.pairs} ({100 * both.share:.1f}{PERCENT}{ties})"


def humans(evidence: Evidence) -> Finding:
    """Holds if all cells are above 50 % and people put 3 in 4 pairs of sources in the order of each model, in part if all
    cells are above 50 %."""
    people = evidence.judged(judge=HUMANS)
    values = [value for each in people for value in source_ranking.cells(each.rates).values()]
    shown, shares = [], []
    for each in people:
        orders = []
        for model in evidence.settings[each.setting]:
            if model.judge != HUMANS and (both := order_agreement(each.rates, model.rates)).pairs:
                orders.append(f"{both.same} of {both.pairs} with {model.judge}")
                shares.append(both.share)
        shown.append(f"{each.setting} {', '.join(orders)}")
    level, order = min(values) > EVEN, min(shares) >= AGREEING
    remark = "" if order else " The order is supported weakly or not: chance is half."
    return Finding(
        "holds" if level and order else "holds in part" if level else "not supported",
        f"The level: {sum(value > EVEN for value in values)} of {len(values)} cells are above 50{PERCENT} (from "
        f"{min(values):.1f} to {max(values):.1f}). Pairs of sources in the same order: {'; '.join(shown)}.{remark}",
    )


def second_judge(evidence: Evidence) -> Finding:
    """Holds if by the second judge four fifths of the cross-lingual pairs of the first task are above 50 % and some above
    the target's own reward model, in part if the former."""
    rates = [each for each in evidence.judged(judge=evidence.judges[1]) if each.task == evidence.task]
    parts, level, some = [], True, False
    for each in rates:
        crossed = [value for (source, target), value in source_ranking.cells(each.rates).items() if source != target]
        above, own = sum(value > EVEN for value in crossed), source_ranking.against_own(each.rates)
        parts.append(
            f"{each.setting} {above} of {len(crossed)} above 50{PERCENT}, {own.above} of {own.pairs} above the own reward model"
        )
        level, some = level and above >= MOST * len(crossed), some or own.above > 0
    text = f"Cross-lingual pairs by {evidence.judges[1]}: {'; '.join(parts)}."
    return Finding(
        "holds" if level and some else "holds in part" if level else "not supported", f"{text}{_methods(evidence)}"
    )


def _methods(evidence: Evidence) -> str:
    """Which method is better, by judge and by target language."""
    means: dict[str, dict[str, WinRates]] = {}
    for each in evidence.judged():
        if each.task == evidence.task:
            means.setdefault(each.judge, {})[each.method] = each
    shown = [
        f"{judge} {', '.join(f'{_mean(own[method]):.1f} ({METHOD_NAMES[method]})' for method in own)}"
        for judge, own in means.items()
    ]
    first = next(iter(means.values()))
    apart = _by_target(first["rl"], first["best_of_n"])
    high, low = max(apart, key=apart.__getitem__), min(apart, key=apart.__getitem__)
    return (
        f" Which method is better depends on the judge, means of all cells: {'; '.join(shown)}. RL minus best-of-n by "
        f"{next(iter(means))}: from {signed(apart[high])} ({language_name(high)}) to {signed(apart[low])} ({language_name(low)})."
    )


def _mean(rates: WinRates) -> float:
    values = list(source_ranking.cells(rates.rates).values())
    return sum(values) / len(values)


def _by_target(first: WinRates, second: WinRates) -> dict[str, float]:
    """Target -> mean over its sources of the first minus the second."""
    apart = {}
    for target in source_ranking.targets(first.rates):
        ours, theirs = (source_ranking.column(each.rates, target) for each in (first, second))
        if both := [ours[source] - theirs[source] for source in ours if source in theirs]:
            apart[target] = sum(both) / len(both)
    return apart


def up_to(evidence: Evidence) -> Finding:
    """Holds if a cross-lingual pair is above 70 % by people."""
    crossed = {
        (each, source, target): value
        for each in evidence.judged(judge=HUMANS)
        for (source, target), value in source_ranking.cells(each.rates).items()
        if source != target
    }
    each, source, target = max(crossed, key=crossed.__getitem__)
    values = list(crossed.values())
    return Finding(
        "holds" if max(values) > 70 else "not supported",
        f"{sum(value > 70 for value in values)} of {len(values)} cross-lingual pairs: {max(values):.1f} ({language_name(source)} "
        f"reward model, {language_name(target)} policy; {each.setting}). Their mean is {sum(values) / len(values):.1f}.",
    )


def judge_accuracy() -> Finding:
    """Holds if the judge is at least as accurate in every language as people agree, in part if in any."""
    shown, reaching = [], []
    for task, rows in paper_b.judge_accuracy().items():
        accuracies = [row.percent for row in rows.values()]
        quoted = listed([f"{agreement:.0f}" for agreement in HUMAN_AGREEMENT[task]])
        shown.append(f"{task} {min(accuracies)} to {max(accuracies)} in {len(rows)} languages (people: {quoted})")
        reaching += [accuracy >= max(HUMAN_AGREEMENT[task]) for accuracy in accuracies]
    return Finding(
        "holds" if all(reaching) else "holds in part" if any(reaching) else "not supported",
        f"Accuracy of the judge and agreement of people as section 5.1 quotes it, in{PERCENT}: {'; '.join(shown)}."
        f"{' The judge is the more accurate one everywhere.' if all(reaching) else ''}",
    )
