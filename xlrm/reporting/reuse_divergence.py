"""Parts on how far policies move from the SFT policy: win rate against KL divergence, best of k, and the course of RL."""

from collections.abc import Iterator, Sequence

from xlrm.analysis import policy_divergence
from xlrm.analysis.policy_divergence import Divergence
from xlrm.evaluation import best_of_n
from xlrm.evaluation.best_of_n_results import BestOfNResults
from xlrm.evaluation.policy_gains import PolicyGains
from xlrm.evaluation.results import Estimate
from xlrm.reporting import plots
from xlrm.reporting.documents import Cell, Grid
from xlrm.reporting.plots import Line, Spot
from xlrm.reporting.results import CHANCE, language_name
from xlrm.reporting.reuse_material import Estimates, Material, is_single, values_of
from xlrm.reporting.reuse_parts import Figure, Part, labeler_name, matrix
from xlrm.reporting.wording import p_value, signed

LEGEND = "Blue: the target's own reward model. Grey: those of other languages."


def parts(material: Material) -> Iterator[Part]:
    yield _against_win_rate(material)
    yield _best_of_k(material)
    yield _over_steps(material)


def divergences(material: Material) -> Estimates:
    """Source -> target -> KL divergence of the RL policy from the SFT policy, in nats per response."""
    cells: Estimates = {}
    for gains in material.gains:
        for labeler, kl in gains.kl.items():
            if is_single(labeler):
                cells.setdefault(labeler, {})[gains.language] = kl
    return cells


def correlation(material: Material) -> Divergence | None:
    """Correlation of the RL policies' divergence with their win rate; None for fewer than three cells."""
    verdicts, cells = material.of("rl"), divergences(material)
    try:
        return policy_divergence.correlate(values_of(cells), values_of(verdicts.cells)) if verdicts else None
    except ValueError:
        return None


def correlation_sentence(result: Divergence) -> str:
    return (
        f"Over {result.cells} cells of RL, KL divergence and win rate correlate with r = {signed(result.pearson, 2)}, rho "
        f"= {signed(result.spearman, 2)} "
        f"({p_value(result.p_languages)} by permuting languages; {p_value(result.pearson_p)} if cells were independent, "
        "which they are not)."
    )


def _against_win_rate(material: Material) -> Part:
    """Figure 8, Table 20."""
    cells = divergences(material)
    spots, bound = [], None
    if verdicts := material.of("rl"):
        spots += [
            Spot(cells[source][target].value, 100 * rate.value, _role(source, target), 100 * rate.low, 100 * rate.high)
            for source, own in verdicts.cells.items()
            for target, rate in own.items()
            if target in cells.get(source, {})
        ]
    if (best := material.of("best_of_n")) and material.best_of_n:
        bound = best_of_n.kl_bound(material.best_of_n[0].n)
        spots += [
            Spot(bound, 100 * rate.value, _role(source, target), marker="s")
            for source, own in best.cells.items() for target, rate in own.items()
        ]  # fmt: skip
    if not spots:
        return Part("divergence", "Win rate against KL divergence (Figure 8)")
    figure = plots.cloud(
        "divergence", spots, 100 * CHANCE, "KL divergence from the SFT policy, nats per response", "win rate, %", bound
    )
    caption = (
        "Filled: RL. Squares: best-of-n, at the upper bound of its divergence (dashed line)."
        if bound
        else "Filled: RL."
    )
    result = correlation(material)
    title = "KL divergence of the RL policies, nats per response"
    return Part(
        "divergence", "Win rate against KL divergence (Figure 8, Table 20)", [correlation_sentence(result)] if result else [],
        [matrix(title, cells, material.languages, unit="size", middle=0.0)] if cells else [], [Figure(caption, figure, LEGEND)],
        notes=list(_notes(material, bound)), files=("divergence", "win_rates"), stages=("gains", "judge"), short="KL divergence",
    )  # fmt: skip


def _notes(material: Material, bound: float | None) -> Iterator[str]:
    if bound is not None:
        n = material.best_of_n[0].n
        yield f"Bound of best of {n}: log n − (n − 1)/n = {bound:.2f} nats (Stiennon et al. 2020, Beirami et al. 2024)."
    if material.gains and not all(gains.temperature for gains in material.gains):
        yield (
            "Some responses were not drawn but greedy, or their temperature is unknown: the numbers are then divergences along "
            "them rather than estimates of the KL divergence."
        )


def _best_of_k(material: Material) -> Part:
    """Increase of the target language's reward by the best of k, for every k."""
    figures = [figure for best in material.best_of_n if (figure := _best_of_k_figure(best))]
    return Part(
        "best-of-k", "Best of k: the target language's reward by k", [], figures=figures,
        grids=[_best_of_k_grid(best) for best in material.best_of_n] if figures else [],
        notes=[f"{LEGEND} Expectation of the best of k of the n samples (unbiased estimator). Places on the x axis are the "
               "upper bounds of the KL divergence from the SFT "
               "policy, log k − (k − 1)/k nats."] if figures else [],
        files=("best_of_k",), stages=("best_of_n",), short="Best of k",
    )  # fmt: skip


def _best_of_k_figure(best: BestOfNResults) -> Figure | None:
    series = [
        Line(_places(best, of[best.language]), _role(labeler, best.language))
        for labeler, of in best.increases.items()
        if best.language in of
    ]
    if not series:
        return None
    series.sort(key=lambda line: line.role == "source")  # the own one is drawn last
    name = language_name(best.language)
    ticks = {best.kl_bound[k]: str(k) for k in best.sizes if k > 2 or k == 1}
    svg = plots.lines(f"best-{best.language}", series, None, f"{name}: reward increase by k", "k", ticks)
    return Figure(name, svg)


def _places(best: BestOfNResults, increases: Sequence[Estimate]) -> list[tuple[float, float]]:
    return [(best.kl_bound[k], estimate.value) for k, estimate in zip(best.sizes, increases, strict=True)]


def _role(source: str, target: str) -> str:
    return "source" if source == target else "base"


def _best_of_k_grid(best: BestOfNResults) -> Grid:
    rows = [
        [Cell(labeler_name(labeler)), *(Cell(signed(e.value, 2), f"[{signed(e.low, 2)}, "
                                                                 f"{signed(e.high, 2)}]") for e in of[best.language])]
        for labeler, of in best.increases.items() if best.language in of
    ]  # fmt: skip
    columns = ("chosen by", *(f"k = {k} ({best.kl_bound[k]:.2f} nats)" for k in best.sizes))
    return Grid(f"{language_name(best.language)}: increase of the own reward", columns, rows)


def _over_steps(material: Material) -> Part:
    """Figures 3(b) and 10(b): rewards in the course of RL."""
    own = [figure for gains in material.gains if (figure := _steps_figure(gains, own=True))]
    others = [figure for gains in material.gains if (figure := _steps_figure(gains, own=False))]
    return Part(
        "steps", "Rewards in the course of RL (Figures 3b and 10b)", [], figures=own + others,
        notes=["Increase over the SFT policy. First panels: the target language's reward model, one line for each policy. "
               "Further panels: other languages' reward models on the "
               f"policy by the target's own. {LEGEND}"] if own or others else [],
        files=("steps",), stages=("gains",), short="RL steps",
    )  # fmt: skip


def _steps_figure(gains: PolicyGains, own: bool) -> Figure | None:
    series = []
    for labeler, points in gains.curves.items():
        evaluators = dict.fromkeys(name for point in points for name in point.increases)
        chosen = (
            [gains.language]
            if own
            else [name for name in evaluators if name != gains.language and labeler == gains.language]
        )
        for evaluator in chosen:
            values = [
                (float(point.step), point.increases[evaluator]) for point in points if evaluator in point.increases
            ]
            if values:
                series.append(Line(values, "source" if own and labeler == gains.language else "base"))
    if not series:
        return None
    series.sort(key=lambda line: line.role == "source")
    name = language_name(gains.language)
    caption = name if own else f"{name}, other models"
    svg = plots.lines(
        f"steps-{gains.language}-{'own' if own else 'others'}", series, None, f"{caption}: reward increase by step"
    )
    return Figure(caption, svg)
