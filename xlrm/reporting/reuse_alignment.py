"""Parts on aligned policies: win rates by source and target, ranks of the sources, and what several judges say."""

from collections.abc import Iterator, Mapping

from xlrm.analysis import judge_agreement, source_ranking
from xlrm.evaluation.results import Estimate
from xlrm.reporting import reuse_published
from xlrm.reporting.documents import Cell, Grid
from xlrm.reporting.results import CHANCE, language_name
from xlrm.reporting.reuse_material import METHOD_NAMES, METHODS, Material, Method, Verdicts, values_of
from xlrm.reporting.reuse_parts import Part, labeler_name, matrix, rate, sources, targets
from xlrm.reporting.wording import PERCENT, listed, names, percent, points, points_range


def parts(material: Material) -> Iterator[Part]:
    for method in METHODS:
        if (verdicts := material.of(method)) and verdicts.cells:
            yield _win_rates(material, method, verdicts)
    yield _ranks(material)
    yield _judges(material)


def _win_rates(material: Material, method: Method, verdicts: Verdicts) -> Part:
    heading = (
        METHOD_NAMES[method]
        if method == "rl"
        else f"best of {material.best_of_n[0].n}"
        if material.best_of_n
        else "best-of-n"
    )
    shown = [
        matrix(f"This run, {heading}, judged by {verdicts.judge or 'the judge'}", verdicts.cells, material.languages)
    ]
    if table := reuse_published.table(material, method):
        title = reuse_published.title(table, material)
        shown.append(matrix(_capital(title), reuse_published.cells(table, material), material.languages))
    return Part(
        method,
        f"Win rate of {heading} against the target language's SFT policy",
        [sentence for sentence in (comparison(material, method), better_than_own(verdicts)) if sentence],
        shown,
        grids=[_by_target(material, method)] if method in material.compared else [],
        notes=[_lost(verdicts)],
        files=("win_rates", "paper"),
        stages=("judge",),
        short=_capital(heading),
    )


def comparison(material: Material, method: Method) -> str:
    """Whether other languages' reward models align as well as the own one, by the interval of the difference."""
    compared = material.compared.get(method)
    if not compared:
        return ""
    difference = compared.difference
    reading = (
        "better than" if difference.low > 0 else "worse than" if difference.high < 0 else "not shown to differ from"
    )
    return (
        f"With {METHOD_NAMES[method]}, a reward model of another language wins {rate(compared.other)} against the SFT "
        "policy, that of the "
        f"target's own language {rate(compared.own)}: {reading} the own ({points(difference.value)} points "
        f"[{points_range(difference)}], "
        f"mean over {len(compared.own_by_target)} target languages and {compared.pairs} pairs)."
    )


def better_than_own(verdicts: Verdicts) -> str:
    """How many cross-lingual pairs lie above the own reward model, and above the SFT policy."""
    cells = verdicts.cells
    crossed = [estimate for source, own in cells.items() for target, estimate in own.items() if source != target]
    if not crossed:
        return ""
    against = source_ranking.against_own(values_of(cells))
    above = sum(estimate.low > CHANCE for estimate in crossed)
    below = sum(estimate.high < CHANCE for estimate in crossed)
    return (
        f"Of {len(crossed)} pairs of two languages, {above} win against the SFT policy, {below} lose, and "
        f"{len(crossed) - above - below} are not "
        f"shown to differ (95 % intervals); {against.above} lie above the target's own reward model, {against.below} below."
    )


def _by_target(material: Material, method: Method) -> Grid:
    compared = material.compared[method]
    rows = [
        [Cell(language_name(target)), *(_cell(by[target]) for by in (compared.own_by_target, compared.other_by_target)),
         Cell(points(compared.difference_by_target[target].value), f"[{points_range(compared.difference_by_target[target])}]",
              _tone(compared.difference_by_target[target]))]
        for target in compared.own_by_target
    ]  # fmt: skip
    if len(rows) > 1:
        difference = compared.difference
        total = (compared.own, compared.other)
        rows.append(
            [
                Cell("mean"),
                *map(_cell, total),
                Cell(points(difference.value), f"[{points_range(difference)}]", _tone(difference)),
            ]
        )
    return Grid(
        f"Own and other languages' reward models, {METHOD_NAMES[method]}",
        ("target", "own", "others (mean)", "difference, points"),
        rows,
        note="Intervals: prompts resampled within data sets, the same ones for all reward models of a target.",
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _cell(estimate: Estimate) -> Cell:
    return Cell(percent(estimate.value), f"[{percent(estimate.low)}, {percent(estimate.high)}]")


def _tone(estimate: Estimate) -> str:
    return "source" if estimate.low > 0 else "target" if estimate.high < 0 else "unsure"


def _lost(verdicts: Verdicts) -> str:
    rates = [each for own in verdicts.rates.values() for each in own.values()]
    asked, lost = sum(each.verdicts or 0 for each in rates), sum(each.unreadable or 0 for each in rates)
    items = {target: each.items for own in verdicts.rates.values() for target, each in own.items()}
    prompts = listed([f"{count:,} in {language_name(target)}" for target, count in items.items()])
    read = f" {lost:,} of {asked:,} verdicts are unreadable." if asked else ""
    return (
        f"A draw is half a win; prompts with a verdict: {prompts}. A data set counts as much as another, whatever its "
        f"size.{read}"
    )


def _ranks(material: Material) -> Part:
    """Figure 6: ranks of the sources for each target, by method."""
    shown, sentences = [], []
    for method in METHODS:
        verdicts = material.of(method)
        if verdicts and len(verdicts.cells) > 1:
            values = values_of(verdicts.cells)
            sentences.append(best_sources(values, f"{METHOD_NAMES[method]}, this run"))
            shown.append(_rank_grid(material, values, f"{_capital(METHOD_NAMES[method])}, this run"))
            if table := reuse_published.table(material, method):
                paper = reuse_published.cells(table, material)
                if len(paper) > 1:
                    sentences.append(best_sources(paper, f"{METHOD_NAMES[method]}, the paper's Table {table.number}"))
                    title = f"{_capital(METHOD_NAMES[method])}, {reuse_published.title(table, material)}"
                    shown.append(_rank_grid(material, paper, title))
    return Part(
        "ranks", "Ranks of the source languages (Figure "
                 "6)", sentences, grids=shown, files=("ranks",), stages=("judge",), short="Ranks", beside=True,
        notes=["Rank 1: the reward model with the highest win rate for that target. Win rates differ by less than their "
               "intervals in many places, "
               "so the ranks are of these numbers alone."] if shown else [],
    )  # fmt: skip


def best_sources(values: Mapping[str, Mapping[str, float]], of: str) -> str:
    """`English is the best source for 4 of 6 targets, Turkish for 2 (best-of-n, this run).`"""
    times = {source: count for source, count in source_ranking.times_best(values).items() if count}
    total = len(source_ranking.targets(values))
    tied = [names([target]) for target, best in source_ranking.best(values).items() if len(best) > 1]
    counts = [f"{labeler_name(source)} for {count}" for source, count in times.items()]
    return f"Best source ({of}), of {total} targets: {listed(counts)}{f'; tied in {listed(tied)}' if tied else ''}."


def _rank_grid(material: Material, values: Mapping[str, Mapping[str, float]], title: str) -> Grid:
    ranked, means = source_ranking.ranks(values), source_ranking.mean_by_source(values)
    columns = targets(values, material.languages)
    rows = [
        [Cell(labeler_name(source)), *(_rank(ranked[source], source, target) for target in columns), Cell(percent(means[source]))]
        for source in sources(values, material.languages)
    ]  # fmt: skip
    return Grid(f"Ranks, {title}", ("reward model of", *columns, "mean win rate, %"), rows)


def _rank(row: Mapping[str, int], source: str, target: str) -> Cell:
    return Cell(str(row[target]), tone="own" if source == target else "") if target in row else Cell("–")


def _judges(material: Material) -> Part:
    """Figure 9: the same policies by the second judge, and how far the two agree on the order of sources."""
    shown, sentences = [], []
    for method in METHODS:
        first, others = material.of(method), material.judges(method)[1:]
        for place, verdicts in enumerate(others, 1):
            shown.append(
                matrix(
                    f"{_capital(METHOD_NAMES[method])}, judged by {verdicts.judge}",
                    verdicts.cells,
                    material.languages,
                )
            )
            if first and len(first.cells) > 1:
                agreement = judge_agreement.by_ranking([(values_of(first.cells), values_of(verdicts.cells))])
                sentences.append(
                    f"With {METHOD_NAMES[method]}, {first.judge} and {verdicts.judge} order {agreement.same} of "
                    f"{agreement.pairs} pairs of sources alike"
                    f" ({percent(agreement.share)}{PERCENT}; {agreement.half} tied in one alone)."
                )
                sentences += _by_instance(material, method, first, verdicts) if place == 1 else []
            if place == 1 and (table := reuse_published.table(material, method, judge=1)):
                title = reuse_published.title(table, material)
                shown.append(matrix(_capital(title), reuse_published.cells(table, material), material.languages))
    return Part(
        "judges",
        "Further judges (Figure 9)",
        sentences,
        shown,
        files=("win_rates", "paper"),
        stages=("judge",),
        short="Judges",
    )


def _by_instance(material: Material, method: Method, first: Verdicts, second: Verdicts) -> list[str]:
    """How often the two judges prefer the same response."""
    ours: dict[str, float | None] = {}
    theirs: dict[str, float | None] = {}
    for target, items in material.items.get(method, {}).items():
        for judge, verdicts in zip((ours, theirs), items, strict=False):
            judge |= {
                f"{target} {system} {name}": win for system, own in verdicts.shares.items() for name, win in own.items()
            }
    try:
        agreement = judge_agreement.by_instance(ours, theirs)
    except ValueError:  # no response that both judged
        return []
    share = agreement.share_of_decided
    decided = f"; {percent(share)}{PERCENT} of the {agreement.decided:,} without a draw" if share is not None else ""
    return [
        f"{first.judge} and {second.judge} give the same verdict on {rate(agreement.share)} of {agreement.items:,} "
        "responses with "
        f"{METHOD_NAMES[method]}{decided}."
    ]
