"""The part on what explains transfer: accuracy, data sizes, pretraining, typology, length, words and the judge's bias."""

from collections.abc import Iterator

from xlrm.analysis import bag_of_words, quantities
from xlrm.analysis.source_ranking import RankCorrelations
from xlrm.reporting import reuse_explanations
from xlrm.reporting.documents import Cell, Grid
from xlrm.reporting.results import language_name
from xlrm.reporting.reuse_divergence import correlation, correlation_sentence
from xlrm.reporting.reuse_material import METHOD_NAMES, METHODS, Material, is_single
from xlrm.reporting.reuse_parts import Part
from xlrm.reporting.wording import PERCENT, listed, p_value, percent, points, signed


def part(material: Material) -> Part:
    grids = [
        grid
        for grid in (_taus(material), _quantities(material), _typology(material), _words(material), _bias(material))
        if grid
    ]
    return Part(
        "analyses", "What explains transfer", list(_sentences(material)), grids=grids, files=("taus", "typology", "words"),
        stages=("evaluate", "judge"), short="Analyses",
        notes=["Cells that share a source or a target are not independent. With n languages as sources, only a nearly "
               "perfect order is "
               "significant: of six, a Kendall's tau of 0.87 or more."] if grids else [],
    )  # fmt: skip


def _sentences(material: Material) -> Iterator[str]:
    if result := correlation(material):
        yield correlation_sentence(result)
    for method, own in reuse_explanations.typologies(material).items():
        after = listed(list(own.significant_after_bonferroni())) or "none"
        yield (
            f"With {METHOD_NAMES[method]}, of {len(own.features)} typological features that are known of all languages, p "
            "< 0.05 in "
            f"{listed(list(own.significant())) or 'none'}; after Bonferroni's correction in {after}."
        )
    if lengths := reuse_explanations.lengths(material):
        yield (
            f"Reward models decide as the length baseline on {percent(lengths[0])}{PERCENT} of the held-out rows; "
            "independent models of these "
            f"accuracies would on {percent(lengths[1])}{PERCENT} (means over {lengths[3]} cells; the paper: 72.6 and 56.6)."
        )
    if material.verdicts and not material.features:
        yield "Typological features were not tested: `reuse_report.typology` names no file of them."


def _taus(material: Material) -> Grid | None:
    """Kendall's tau of accuracy and win rate by target."""
    results = reuse_explanations.taus(material)
    if not results:
        return None
    rows = [
        [
            Cell(METHOD_NAMES[name]),
            *_by_target(result, material),
            Cell(signed(result.mean.value, 2), _range(result)),
            Cell("–" if others is None else signed(others, 2)),
        ]
        for name, (result, others) in results.items()
    ]
    deviation = next(iter(results.values()))[0].chance_deviation
    return Grid(
        "Order of the sources by accuracy and by win rate, Kendall's tau for each target",
        ("policies by", *map(language_name, material.languages), "mean", "mean without own"),
        rows,
        note=f"Interval: targets resampled. By chance, one tau of these sources has a standard deviation of {deviation:.2f}.",
    )


def _by_target(result: RankCorrelations, material: Material) -> list[Cell]:
    return [
        Cell(signed(result.by_target[code], 2)) if code in result.by_target else Cell("–")
        for code in material.languages
    ]


def _range(result: RankCorrelations) -> str:
    return f"[{signed(result.mean.low, 2)}, {signed(result.mean.high, 2)}]"


def _quantities(material: Material) -> Grid | None:
    """Correlation of the sources' mean win rates with amounts of data."""
    frequency = {
        code: place
        for code, place in quantities.from_order(quantities.MT5_FREQUENCY).items()
        if code in material.languages
    }
    organic = {each.language: each.metrics for each in material.trained_sft if each.kind == "organic"}
    sft = {code: own["demonstrations"] for code, own in organic.items() if "demonstrations" in own}
    named = {
        "rows of the reward model": {code: float(count) for code, count in material.facts.pairs.items()},
        "demonstrations of the SFT policy": sft,
        "pretraining of mT5 (rank only)": frequency if material.task == "summarization" else {},
    }
    rows = [
        [Cell(name), Cell(METHOD_NAMES[method]), Cell(str(result.n)), Cell(signed(result.tau, 2), f"({p_value(result.tau_p)})"),
         Cell(signed(result.rho, 2), f"({p_value(result.rho_p)})")]
        for name, quantity in named.items() for method, result in reuse_explanations.by_quantity(material, quantity).items()
    ]  # fmt: skip
    columns = ("quantity", "policies by", "sources", "Kendall's tau", "Spearman's rho")
    return Grid("Mean win rate of a source and amounts of its data", columns, rows, 2) if rows else None


def _typology(material: Material) -> Grid | None:
    rows = [
        [Cell(feature.feature), Cell(METHOD_NAMES[method]), Cell(str(feature.same)), Cell(str(feature.different)),
         *(Cell("–" if mean is None else percent(mean)) for mean in (feature.mean_same, feature.mean_different)),
         Cell(p_value(feature.p)), Cell(p_value(feature.p_bonferroni))]
        for method, result in reuse_explanations.typologies(material).items() for feature in result.features[:5]
        if feature.p is not None and feature.p_bonferroni is not None
    ]  # fmt: skip
    columns = (
        "feature",
        "policies by",
        "pairs alike",
        "pairs different",
        "win rate alike",
        "different",
        "p, one-sided",
        "Bonferroni",
    )
    return Grid("Typological features with the smallest p-values", columns, rows, 2) if rows else None


def _words(material: Material) -> Grid | None:
    """R2 of a bag of words by the language of the reward model: the target's own, or another."""
    rows = []
    own, others = (
        [each for t, by in material.words.items() for s, each in by.items() if is_single(s) and (s == t) is same]
        for same in (True, False)
    )
    for name, results in (("own language", own), ("another language", others)):
        if results:
            means = (
                sum(getattr(each, field) for each in results) / len(results)
                for field in ("in_sample", "chance", "held_out")
            )
            rows.append([Cell(name), Cell(str(len(results))), *(Cell(signed(mean, 2)) for mean in means)])
    if not rows:
        return None
    columns = ("reward model of", "cells", "R², fitted rows", "by chance", "R², held-out rows")
    explained = {
        (t, ""): {s: each.in_sample for s, each in by.items() if is_single(s)} for t, by in material.words.items()
    }
    both = any(t in by and len(by) > 1 for (t, _), by in explained.items())
    paired = bag_of_words.in_language(explained) if both else None
    note = (
        "Rewards of the SFT policy's responses from the counts of their words, means over cells. The paper's R² is that of "
        "the fitted "
        "rows: 0.65 in the own language, 0.63 in another, on the validation sets of its Table 1, each by itself (section 5.2)."
    )
    if paired:
        note += (
            f" The target's own has the larger one in {paired.higher} of {paired.pairs} pairs with another language's."
        )
    return Grid("Bag of words and rewards", columns, rows, note=note)


def _bias(material: Material) -> Grid | None:
    """Position bias of the judges by target."""
    rows = []
    for method in METHODS:
        for verdicts in material.judges(method):
            rates = [rate for own in verdicts.rates.values() for rate in own.values()]
            first = [rate.first for rate in rates if rate.first is not None]
            bias = [rate.position_bias for rate in rates if rate.position_bias is not None]
            same = [rate.consistent for rate in rates if rate.consistent is not None]
            if first or bias:
                means = (_percent(first), _percent(same), points(sum(bias) / len(bias)) if bias else "–")
                rows.append([Cell(verdicts.judge), Cell(METHOD_NAMES[method]), *map(Cell, means)])
    columns = (
        "judge",
        "policies by",
        f"first position, {PERCENT.strip()}",
        "same in both orders, %",
        "position bias, points",
    )
    note = "First position: share of verdicts for the response shown first; 50 without bias. Means over the cells."
    return Grid("Position bias of the judges", columns, rows, 2, note) if rows else None


def _percent(values: list[float]) -> str:
    return percent(sum(values) / len(values)) if values else "–"
