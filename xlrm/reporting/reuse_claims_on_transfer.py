"""Claims of Wu et al. 2024 on which reward models align which languages (sections 5.1, 5.2 and 5.4, appendix F)."""

from itertools import combinations

from xlrm.analysis import source_ranking
from xlrm.analysis.source_ranking import Matrix
from xlrm.reporting.published import paper_b
from xlrm.reporting.results import language_name
from xlrm.reporting.reuse_evidence import Evidence, Finding, WinRates
from xlrm.reporting.wording import PERCENT, listed, signed

EVEN = 50.0
"""Win rate in % of a policy that is as good as the SFT policy."""
MOST = 0.8
"""Share of cells from which on a statement on cells `generally` holds."""
OFTEN = 1 / 3
"""Share of pairs from which on something happens `often`."""


def translate_train(evidence: Evidence) -> Finding:
    """Holds if the whole interval of the difference is above 0, in part if the difference is."""
    silver = _others(evidence, "translate-train")
    both = source_ranking.contrast(evidence.first("best_of_n").rates, silver.rates)
    gaining = max(both.by_source, key=lambda source: both.by_source[source].difference)
    losing = [
        f"{language_name(target)} ({signed(part.difference, 2)})"
        for target, part in both.by_target.items()
        if part.difference < 0
    ]
    rest, difference, part = both.without(gaining), both.difference, both.by_source[gaining]
    share = part.difference * part.pairs / (difference.value * both.pairs) if difference.value > 0 else 0.0
    text = (
        f"Transfer {both.first:.2f}, translate-train {both.second:.2f}: {signed(difference.value, 2)} points, 95{PERCENT} "
        f"interval over target languages {signed(difference.low, 2)} to {signed(difference.high, 2)}. Transfer is higher in "
        f"{both.above} of {both.pairs} pairs. With {language_name(gaining)} as source {signed(part.difference, 2)}, "
        f"{100 * share:.0f}{PERCENT} of the whole advantage; over the other {rest.pairs} pairs "
        f"{signed(rest.difference, 2)} (higher in {rest.above})."
    )
    if losing:
        text += f" Transfer is lower for the targets {listed(losing)}."
    if difference.value <= 0:
        return Finding("not supported", text)
    return Finding("holds" if difference.low > 0 else "holds in part", text)


def english(evidence: Evidence) -> Finding:
    """Holds if English is most often the best source in every setting by every judge, in part if it is over all of them
    by the first judge."""
    counts = [(each, source_ranking.times_best(each.rates)) for each in evidence.judged()]
    shown = [f"{setting} {_best_by_judge(rates)}" for setting, rates in evidence.settings.items()]
    total: dict[str, int] = {}
    for each, own in counts:
        if each.judge == evidence.judges[0]:
            for source, times in own.items():
                total[source] = total.get(source, 0) + times
    others = dict.fromkeys(
        each.setting for each, own in counts if each.judge in evidence.judges and own.get("en", 0) < max(own.values())
    )
    everywhere = all(own.get("en", 0) == max(own.values()) for _, own in counts)
    overall = total.get("en", 0) == max(total.values())
    return Finding(
        "holds" if everywhere else "holds in part" if overall else "not supported",
        f"Number of target languages with English as the best source: {'; '.join(shown)}."
        f"{f' Not supported for {listed(list(others))}.' if others else ''}",
    )


def _best_by_judge(rates: list[WinRates]) -> str:
    """`6 of 6 (PaLM-2-L), 0 of 2 (humans; Spanish 2)`, with the language that is the best more often than English."""
    shown = []
    for each in rates:
        counts = source_ranking.times_best(each.rates)
        top = max(counts, key=counts.__getitem__)
        more = f"; {language_name(top)} {counts[top]}" if counts[top] > counts.get("en", 0) else ""
        shown.append(f"{counts.get('en', 0)} of {len(source_ranking.targets(each.rates))} ({each.judge}{more})")
    return ", ".join(shown)


def figure_6() -> Finding:
    """Holds if every rank that differs is one of a tie."""
    cells, different, untied = 0, [], 0
    for number in (6, 7, 8, 9):
        matrix, printed = paper_b.matrix(number), paper_b.figure_6(number)
        for source, own in source_ranking.ranks(matrix).items():
            cells += len(own)
            for target, rank in own.items():
                if rank != printed[source][target]:
                    column = source_ranking.column(matrix, target)
                    tied = [other for other in column if column[other] == column[source]]
                    untied += len(tied) == 1
                    different.append(
                        f"{listed([language_name(code) for code in tied])} tie at {column[source]} on the target "
                        f"{language_name(target)} in Table {number}"
                    )
    text = f"{cells - len(different)} of {cells} printed ranks follow from the tables; {'; '.join(different)}."
    return Finding("not supported" if untied else "holds", text)


def other_language(evidence: Evidence) -> Finding:
    """Holds if a third of the cross-lingual pairs are above the target's own reward model by every judge over all
    settings, in part if any are."""
    counts = {each: source_ranking.against_own(each.rates) for each in evidence.judged()}
    shown, shares = [], {}
    for setting, rates in evidence.settings.items():
        own = [
            f"{counts_of.above} of {counts_of.pairs} ({each.judge})" for each in rates if (counts_of := counts[each])
        ]
        shown.append(f"{setting} {', '.join(own)}")
    for judge in dict.fromkeys(each.judge for each in counts):
        parts = [own for each, own in counts.items() if each.judge == judge]
        shares[judge] = sum(part.above for part in parts) / sum(part.pairs for part in parts)
    equal = [
        f"{means.crossed:.1f} and {means.own:.1f} ({each.setting})"
        for each in evidence.judged(judge=evidence.judges[0])
        if (means := source_ranking.diagonal(each.rates)).crossed is not None and means.own is not None
    ]
    often = min(shares.values())
    return Finding(
        "holds" if often >= OFTEN else "holds in part" if max(shares.values()) > 0 else "not supported",
        f"Pairs in which another language's reward model is better than the target's own: {'; '.join(shown)}. Means by "
        f"other languages' and by own reward models: {', '.join(equal)}.",
    )


def improves(evidence: Evidence) -> Finding:
    """Holds if four fifths of the cells are above 50 % by every judge over all settings, in part if half are."""
    shares = []
    for judge in evidence.judges:
        values = [value for each in evidence.judged(judge=judge) for value in _values(each.rates)]
        shares.append(sum(value > EVEN for value in values) / len(values))
    shown = [
        f"{setting} {', '.join(f'{_above(each.rates)} ({each.judge})' for each in rates if each.judge in evidence.judges)}"
        for setting, rates in evidence.settings.items()
    ]
    lowest = min(
        ((value, source, target, each) for each in evidence.judged(humans=False)
         for (source, target), value in source_ranking.cells(each.rates).items()), key=lambda cell: cell[0]
    )  # fmt: skip
    return Finding(
        "holds" if min(shares) >= MOST else "holds in part" if min(shares) > 0.5 else "not supported",
        f"Cells above 50{PERCENT}: {'; '.join(shown)}. The lowest is {lowest[0]:.1f} ({language_name(lowest[1])} reward model, "
        f"{language_name(lowest[2])} policy; {lowest[3].setting}, {lowest[3].judge}).",
    )


def stable(evidence: Evidence) -> Finding:
    """Holds if Kendall's tau of the sources' order for two targets is 0.5 or more on average in every setting by the first
    judge, in part if it is in best-of-n."""
    shown, taus = [], {}
    for each in evidence.judged(judge=evidence.judges[0]):
        taus[each.setting] = (each.method, tau := _stability(each.rates))
        shown.append(f"{signed(tau, 2)} ({each.setting})")
    best_of_n = [tau for method, tau in taus.values() if method == "best_of_n"]
    in_part = min(best_of_n) >= 0.5
    low = [setting for setting, (_, tau) in taus.items() if tau < 0.5]
    return Finding(
        "holds" if min(tau for _, tau in taus.values()) >= 0.5 else "holds in part" if in_part else "not supported",
        f"Mean Kendall's tau of the order of sources for two target languages: {', '.join(shown)}."
        f"{f' Not supported for {listed(low)}.' if low else ''}",
    )


def _stability(matrix: Matrix) -> float:
    """Mean over each two targets of Kendall's tau of their sources' order."""
    pairs = list(combinations(source_ranking.targets(matrix), 2))
    sides: tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]] = ({}, {})
    for side, place in zip(sides, (0, 1), strict=True):
        for source, row in matrix.items():
            side[source] = {" ".join(pair): row[pair[place]] for pair in pairs if pair[place] in row}
    return source_ranking.rank_correlations(*sides).mean.value


def bilingual(evidence: Evidence) -> Finding:
    """Holds if the bilingual reward model differs by less than a point from the better of its two on average and by no
    more than one in any language, in part if on average."""
    both = _others(evidence, "bilingual")
    name = next(source for source in both.rates if "+" in source)
    means = source_ranking.mean_by_source(both.rates)
    better = max(name.split("+"), key=means.__getitem__)
    apart = [both.rates[name][target] - both.rates[better][target] for target in both.rates[name]]
    mean = sum(apart) / len(apart)
    equal = abs(mean) < 1
    return Finding(
        "holds" if equal and max(map(abs, apart)) <= 1 + 1e-9 else "holds in part" if equal else "not supported",
        f"{language_name(name)} minus {language_name(better)}: {signed(mean, 2)} points on average, from {signed(min(apart))} to "
        f"{signed(max(apart))}; higher in {sum(value > 0 for value in apart)} of {len(apart)} languages.",
    )


def russian(evidence: Evidence) -> Finding:
    """Holds if Russian is among the last two sources in every setting of the first task, in part if in half of them."""
    places = {}
    for each in evidence.judged(humans=False):
        means = list(source_ranking.mean_by_source(each.rates, own=False))
        if each.task == evidence.task:
            places[each] = (means.index("ru") + 1, len(means))
    last = sum(place >= sources - 1 for place, sources in places.values())
    shown = [f"{place} of {n} ({each.setting}, {each.judge})" for each, (place, n) in places.items()]
    return Finding(
        "holds" if last == len(places) else "holds in part" if 2 * last >= len(places) else "not supported",
        f"Place of Russian among the sources by the mean over other languages' policies: {', '.join(shown)}.",
    )


def _others(evidence: Evidence, reward_models: str) -> WinRates:
    return next(each for each in evidence.win_rates if each.reward_models == reward_models)


def _above(rates: Matrix) -> str:
    values = _values(rates)
    return f"{sum(value > EVEN for value in values)} of {len(values)}"


def _values(rates: Matrix) -> list[float]:
    return list(source_ranking.cells(rates).values())
