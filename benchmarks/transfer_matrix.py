"""The matrix of transfer between languages that `benchmarks.real_language` measures: cells, differences and tables.

Intervals are 95 %, by resampling the documents that the held-out pairs are about, with all pairs and seeds of a document
together.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xlrm import markdown_table

RESAMPLES = 2000
Interval = tuple[float, float, float]
"""Mean, and the ends of its interval."""


@dataclass
class Trained:
    """A reward model's credits on the held-out pairs, and what it took."""

    model: str
    source: str
    seed: int
    credits: dict[str, dict[str, float]]
    """Language -> id of a pair -> 1 if chosen has the higher reward, else 0."""
    seconds: float
    """Duration of the training."""
    evaluation_seconds: float
    peak_memory_mib: float
    """Peak of this process until the training's end."""
    pairs: int
    """Trained on."""
    train_accuracy: float
    others: dict[str, dict[str, tuple[float, float, float]]] = field(default_factory=dict)
    """Further benchmark, language -> section -> accuracy and its interval."""


@dataclass
class HeldOut:
    """What the held-out pairs are about, by id."""

    about: dict[str, str]
    """Id -> text that the pair's prompt asks a question about."""
    alike: dict[str, set[str]]
    """Language -> ids of pairs of which a response is the same text as in the first language, such as a name or a number."""


def clustered(values: np.ndarray, clusters: Sequence[str], seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high) of the values (n), with a 95 % bootstrap interval that resamples clusters."""
    places = np.unique(np.asarray(clusters), return_inverse=True)[1]
    sums, counts = np.bincount(places, values), np.bincount(places)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def mean_credit(of: Sequence[Trained], target: str) -> dict[str, float]:
    """Id -> credit on the pairs of a language on which all seeds were evaluated, mean over the seeds."""
    credits = [each.credits[target] for each in of]
    return {
        item: float(np.mean([of[item] for of in credits])) for item in credits[0] if all(item in of for of in credits)
    }


def difference(
    one: Mapping[str, float], other: Mapping[str, float], about: Mapping[str, str]
) -> tuple[float, float, float]:
    """Mean difference of credits on the pairs that both have, with its interval."""
    both = [item for item in one if item in other]
    return clustered(np.array([one[item] - other[item] for item in both]), [about[item] for item in both])


def summary(done: Sequence[Trained], languages: Sequence[str], held: HeldOut) -> dict[str, Any]:
    """Cells of the matrix of each model, and differences between sources and between models."""
    about = held.about
    groups: dict[tuple[str, str], list[Trained]] = {}
    for each in done:
        groups.setdefault((each.model, each.source), []).append(each)
    credit = {
        (*key, target): mean_credit(of, target)
        for key, of in groups.items()
        for target in languages
        if target in of[0].credits
    }
    matrix = [
        {
            "model": model, "source": source, "target": target, "items": len(of),
            "accuracy": _cell(of, about),
            "other_texts": _cell({item: value for item, value in of.items() if item not in held.alike.get(target, ())}, about),
            "seeds": {
                each.seed: float(np.mean(list(each.credits[target].values()))) for each in groups[model, source]
            },
        }
        for (model, source, target), of in credit.items()
    ]  # fmt: skip
    first = languages[0]
    gaps = [
        {"model": model, "source": first, "target": target,
         "minus_own": difference(credit[model, first, target], credit[model, target, target], about)}
        for model, source, target in credit
        if source == first != target and (model, target, target) in credit
    ]  # fmt: skip
    models = list(dict.fromkeys(model for model, _ in groups))
    between = [
        {"source": source, "target": target, "model": models[0], "other": model,
         "difference": difference(credit[models[0], source, target], of, about)}
        for (model, source, target), of in credit.items()
        if model != models[0] and (models[0], source, target) in credit
    ]  # fmt: skip
    runs = [{name: value for name, value in vars(each).items() if name != "credits"} for each in done]
    return {"matrix": matrix, "against_own": gaps, "between_models": between, "runs": runs}


def _cell(credit: Mapping[str, float], about: Mapping[str, str]) -> Interval | None:
    """Accuracy and its interval; None without pairs."""
    return clustered(np.array(list(credit.values())), [about[item] for item in credit]) if credit else None


def share(estimate: Sequence[float], sign: str = "") -> str:
    mean, low, high = (f"{100 * value:{sign}.1f}" for value in estimate)
    return f"{mean} ({low} to {high})"


def tables(figures: Mapping[str, Any], languages: Sequence[str]) -> str:
    """The figures as tables in Markdown."""
    others = [
        (run["model"], run["source"], run["seed"], name, part, share(of))
        for run in figures["runs"] for name, parts in run["others"].items() for part, of in parts.items()
    ]  # fmt: skip
    own = [(of["model"], of["target"], share(of["minus_own"], "+")) for of in figures["against_own"]]
    between = [
        (of["model"], of["other"], of["source"], of["target"], share(of["difference"], "+"))
        for of in figures["between_models"]
    ]
    costs = [
        (run["model"], run["source"], run["seed"], run["pairs"], round(run["seconds"]), round(run["evaluation_seconds"]),
         f"{run['peak_memory_mib'] / 1024:.1f}", f"{run['train_accuracy']:.2f}")
        for run in figures["runs"]
    ]  # fmt: skip
    lines = _matrices(figures, languages)
    lines += _table(
        "The first language's model minus the target's own, percentage points", ("model", "target", "difference"), own
    )
    differences = ("model", "minus", "trained on", "evaluated on", "difference")
    lines += _table("Differences between base models, percentage points", differences, between)
    lines += _of_representations(figures.get("representations", {}), len(languages))
    run = ("model", "trained on", "seed")
    lines += _table("Further benchmarks", (*run, "benchmark", "section", "accuracy"), others)
    measured = ("pairs", "training, s", "evaluation, s", "peak memory, GiB", "training accuracy at the end")
    lines += _table("Time and memory", (*run, *measured), costs)
    return "\n".join(lines)


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table with a heading; none without rows."""
    lines = [markdown_table.row(row) for row in rows]
    return [f"## {title}", "", *markdown_table.head(head), *lines, ""] if lines else []


def _matrices(figures: Mapping[str, Any], languages: Sequence[str]) -> list[str]:
    cells = {(of["model"], of["source"], of["target"]): of for of in figures["matrix"]}
    lines: list[str] = []
    for title, name in (("{}", "accuracy"), ("{}, pairs whose responses are other texts than in {}", "other_texts")):
        for model in dict.fromkeys(model for model, _, _ in cells):
            rows = []
            for source in dict.fromkeys(source for of, source, _ in cells if of == model):
                row = [cells[model, source, target] for target in languages]
                rows.append((source, len(row[0]["seeds"]), *(share(of[name]) if of[name] else "" for of in row)))
            lines += _table(title.format(model, languages[0]), ("trained on", "seeds", *languages), rows)
    seeds = [
        (run["model"], run["source"], run["seed"],
         *(f"{100 * cells[run['model'], run['source'], target]['seeds'][run['seed']]:.1f}" for target in languages))
        for run in figures["runs"]
    ]  # fmt: skip
    return lines + _table("Single seeds, accuracy in %", ("model", "trained on", "seed", *languages), seeds)


def _of_representations(figures: Mapping[str, Any], count: int) -> list[str]:
    """`count`: number of languages."""
    states = [
        (model, name, "{:.3f} ({:.3f} to {:.3f})".format(*of["f"]), *(f"{value:.3f}" for value in of["spectrum"]),
         f"{of['cosine']:.3f}")
        for model, both in figures.items() for name, of in both["similarity"].items()
    ]  # fmt: skip
    places = [f"{place}." for place in range(1, count + 1)]
    norms = [
        (model, language, of["tokens"], f"{of['mean']:.3f}", f"{of['deviation']:.3f}",
         *(f"{of[name]:.2f}" if of.get(name) is not None else "" for name in ("shift", "relative", "ks")))
        for model, both in figures.items() for language, of in both["norms"].items()
    ]  # fmt: skip
    shares = ("model", "states of", "f", *places, "mean cosine")
    measures = ("model", "language", "tokens", "mean", "deviation", "shift", "Wasserstein / deviation", "KS")
    return _table("f, and singular values as shares of their sum", shares, states) + _table(
        "Norms of token embeddings", measures, norms
    )
