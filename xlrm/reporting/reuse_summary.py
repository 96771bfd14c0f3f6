"""The first lines of the page on reused reward models: sentences, tiles, and the metrics of the run."""

from collections.abc import Iterator
from dataclasses import dataclass

from xlrm.analysis import source_ranking
from xlrm.reporting import reuse_statements
from xlrm.reporting.reuse_alignment import best_sources, comparison
from xlrm.reporting.reuse_material import METHOD_NAMES, METHODS, Material, values_of
from xlrm.reporting.wording import PERCENT, counts, names, percent, points, points_range

TINY = "Tiny models: the numbers show the method, not the paper's results."


@dataclass(frozen=True)
class Tile:
    """A number in large type."""

    number: str
    text: str
    interval: str = ""
    tone: str = ""


def title(material: Material) -> str:
    return "Reward models in other languages than their own" if len(material.languages) > 1 else "Reward model"


def about(material: Material) -> list[str]:
    """What the run consists of, in parts of a line."""
    facts = material.facts
    parts = [names(list(material.languages))]
    if facts.bases:
        parts.append(f"from {' and '.join(facts.bases)}")
    if facts.pairs:
        parts.append(f"reward models on {counts(facts.pairs, 'rows')}")
    if material.best_of_n:
        parts.append(f"best of {material.best_of_n[0].n}")
    if judges := list(dict.fromkeys(verdicts.judge for verdicts in material.verdicts if verdicts.judge)):
        parts.append(f"judged by {' and '.join(judges)}")
    return [*parts, *([f"{facts.finished:%Y-%m-%d}"] if facts.finished else [])]


def sentences(material: Material) -> list[str]:
    """The answer in a minute: own or another language's reward model, the best sources, the paper's statements."""
    lines = [comparison(material, method) for method in METHODS]
    for method in METHODS:
        verdicts = material.of(method)
        if verdicts and len(verdicts.cells) > 1:
            lines.append(best_sources(values_of(verdicts.cells), METHOD_NAMES[method]))
    lines.append(reuse_statements.summary(reuse_statements.test(material)))
    return [line for line in lines if line]


def tiles(material: Material) -> Iterator[Tile]:
    for method in METHODS:
        if compared := material.compared.get(method):
            difference = compared.difference
            tone = "source" if difference.low > 0 else "target" if difference.high < 0 else ""
            yield Tile(
                points(difference.value),
                f"points: another language's reward model minus the own, {METHOD_NAMES[method]}",
                f"[{points_range(difference)}]", tone,
            )  # fmt: skip
            yield Tile(
                f"{percent(compared.other.value)}{PERCENT}",
                f"win rate of {METHOD_NAMES[method]} by another language's reward model against the SFT policy",
                f"[{percent(compared.other.low)}, {percent(compared.other.high)}]",
            )  # fmt: skip


def metrics(material: Material) -> dict[str, float]:
    """Mean win rates `METHOD/own`, `METHOD/cross` and their `METHOD/difference`; `best_source/METHOD/SOURCE`, the number of
    targets for which it is the best; and the number of statements by verdict."""
    values: dict[str, float] = {}
    for method in METHODS:
        if compared := material.compared.get(method):
            values |= {f"{method}/own": compared.own.value, f"{method}/cross": compared.other.value}
            values[f"{method}/difference"] = compared.difference.value
        if (verdicts := material.of(method)) and len(verdicts.cells) > 1:
            times = source_ranking.times_best(values_of(verdicts.cells))
            values |= {f"best_source/{method}/{source}": float(count) for source, count in times.items()}
    for statement in reuse_statements.test(material):
        name = f"statements/{statement.outcome.verdict.replace(' ', '_')}"
        values[name] = values.get(name, 0.0) + 1.0
    return values


def missing(material: Material) -> list[str]:
    """A sentence for each input that the run lacks."""
    given = {
        "evaluations": bool(material.evaluations), "best_of_n": bool(material.best_of_n), "gains": bool(material.gains),
        "verdicts_best_of_n": material.of("best_of_n") is not None, "verdicts_rl": material.of("rl") is not None,
        "sft": bool(material.trained_sft), "registered": material.registered is not None,
    }  # fmt: skip
    return [_MISSING[name] for name, there in given.items() if not there]


_MISSING = {
    "evaluations": "Accuracies of the reward models: give the artifacts of `evaluate` as `evaluations`.",
    "best_of_n": "Best of k and its reward increases: give the artifacts of `best_of_n` as `best_of_n`.",
    "gains": "Reward increases and KL divergences of RL: give the artifacts of `gains` as `gains`.",
    "verdicts_best_of_n": "Win rates of best-of-n: give the artifacts of `judge` on its choices as `verdicts_best_of_n`; a "
                          "judge is set by "
    "`judge.judge`.",
    "verdicts_rl": "Win rates of RL: give the artifacts of `judge` on its policies as `verdicts_rl`; a judge is set by "
                   "`judge.judge`.",
    "sft": "Measures of the SFT policies: give the artifacts of `sft` as `sft`.",
    "registered": "Registered reward models: give the artifact of `register` as `registered`.",
}  # fmt: skip


def registered_rows(material: Material) -> list[tuple[str, str, str]]:
    """Name, version and aliases of each registered reward model."""
    if not material.registered:
        return []
    aliases = material.registered.aliases
    return [(name, version, ", ".join(aliases.get(name, []))) for name, version in material.registered.versions.items()]
