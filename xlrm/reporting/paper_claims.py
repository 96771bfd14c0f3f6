"""What the tables of Hong et al. 2025 themselves say of its claims; computed from the published tables."""

from collections.abc import Callable

from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.reporting import paper_sentences
from xlrm.reporting.published.paper_tables import SECTIONS, figure_3, table_1, table_2, tables_3_to_7
from xlrm.reporting.results import language_name, paper_delta
from xlrm.reporting.wording import listed, signed

LARGEST = "Qwen2.5-7B"
"""The paper's largest model, of Tables 3 to 7 alone."""


def of(key: str) -> str:
    """A sentence for the claim of that key in paper_a_claims.csv."""
    return _OF[key]()


def _mean() -> str:
    small = [f"{model} {signed(mean)}" for model, mean in paper_sentences.means().items()]
    large = signed(paper_sentences.mean_difference(LARGEST), 2)
    return f"Mean differences, in points: {', '.join(small)} (Table 1), {LARGEST} {large} (Tables 4 to 7)."


def _every_language() -> str:
    sections = [name for name in SECTIONS.values() if name != AVERAGE]
    parts = {(name, model, code): delta for name in sections for (model, code), delta in _by_cell(name).items()}
    lost: dict[tuple[str, str], list[str]] = {}
    for (name, _, code), delta in parts.items():
        if delta < 0:
            lost.setdefault((name, code), []).append(signed(delta))
    behind = [f"{name} in {language_name(code)} {' and '.join(deltas)}" for (name, code), deltas in lost.items()]
    large = {code: english - target for code, (english, target) in _pairs(LARGEST, AVERAGE).items()}
    below = [f"{language_name(code)} {signed(delta)}" for code, delta in large.items() if delta < 0]
    return (
        f"Above in {_above(_deltas(AVERAGE))} averages and {_above(list(parts.values()))} sections of Table 1 (not in "
        f"{listed(behind)}); {LARGEST} in {_above(list(large.values()))} averages (not in {listed(below)})."
    )


def _bounds() -> str:
    llama, qwen = ([paper_delta(model, code, AVERAGE) or 0.0 for code in own] for model, own in table_1().items())
    return f"Smallest difference of Llama {signed(min(llama))}, largest of Qwen {signed(max(qwen))}."


def _bases() -> str:
    llama, qwen = table_1().values()
    ahead = [qwen[code]["target"][AVERAGE] - llama[code]["target"][AVERAGE] for code in llama]
    return f"In {_above(ahead)} languages, by {signed(min(ahead))} to {signed(max(ahead))} points."


def _reasoning() -> str:
    shares = [f"{share:.0f} % ({model})" for model, share in paper_sentences.reasoning_shares().items()]
    return (
        f"Above in {_above(_deltas('Reasoning'))} differences; Reasoning makes up {listed(shares)} of the sum over all "
        "sections. No test is printed."
    )


def _non_latin() -> str:
    shown = [
        f"{language_name(code)} {listed([signed(paper_delta(model, code, 'Reasoning') or 0.0) for model in table_1()])}"
        for code in ("ko", "zh")
    ]
    return f"{'; '.join(shown)} points: 27 is {signed(max(_deltas('Reasoning')))}, of one of the two models."


def _dominates() -> str:
    models = dict.fromkeys(cell.reward_model for cell in tables_3_to_7() if cell.trained_in)
    counts = []
    for model in models:
        rows: dict[str, dict[str, float]] = {}
        for cell in tables_3_to_7():
            if cell.reward_model == model:
                rows.setdefault(cell.language, {})[cell.trained_in] = cell.accuracy["Reasoning"]
        best = sum(own["en"] == max(own.values()) for own in rows.values())
        counts.append(f"{best} of {len(rows)} ({model})")
    return f"The English model has the highest Reasoning accuracy in {listed(counts)} languages."


def _increase() -> str:
    points = {statement.language: statement.points for statement in figure_3()}
    return f"A mean of {points['mean']} cannot exceed the largest increase, which section 4.2 says is {points['es']}."


def _classifiers() -> str:
    values = [value for row in table_2().values() if row["kind"] == "classifier" for value in _others(row["average"])]
    return f"{sum(value > 70 for value in values)} of {len(values)} averages exceed 70 %; the lowest is {min(values)}."


def _decrement() -> str:
    lost = {name: row["average"]["en"] - _mean_of(_others(row["average"])) for name, row in table_2().items()}
    ranked = sorted(lost, key=lost.__getitem__)
    return f"Lost from English to the mean of the others, in points: {', '.join(f'{n} {lost[n]:.1f}' for n in ranked)}."


def _self_taught() -> str:
    rows = {name: row["average"] for name, row in table_2().items()}
    codes = [code for code in rows["Self-Taught-Llama-70B"] if code != "en"]
    best = sum(max(rows, key=lambda name: rows[name][code]) == "Self-Taught-Llama-70B" for code in codes)
    return f"The best of the four models in {best} of {len(codes)} languages."


def _armorm() -> str:
    own = {
        cell.reward_model: cell.accuracy[AVERAGE] for cell in tables_3_to_7()
        if cell.language == "en" and cell.trained_in in ("", "en") and cell.reward_model != LARGEST
    }  # fmt: skip
    return f"Averages in English: {', '.join(f'{name} {value}' for name, value in own.items())}."


def _deltas(name: str) -> list[float]:
    return list(_by_cell(name).values())


def _by_cell(name: str) -> dict[tuple[str, str], float]:
    """Model and language of Table 1 -> English minus target of a section or the average."""
    return {(model, code): paper_delta(model, code, name) or 0.0 for model, own in table_1().items() for code in own}


def _pairs(model: str, name: str) -> dict[str, tuple[float, float]]:
    """Language -> accuracies of the English and of the language's own reward model, from Tables 4 to 7."""
    cells = {
        (cell.language, cell.trained_in): cell.accuracy[name] for cell in tables_3_to_7() if cell.reward_model == model
    }
    return {on: (cells[on, "en"], cells[on, on]) for on in dict.fromkeys(on for on, _ in cells) if on != "en"}


def _above(deltas: list[float]) -> str:
    return f"{sum(delta > 0 for delta in deltas)} of {len(deltas)}"


def _others(average: dict[str, float]) -> list[float]:
    return [value for code, value in average.items() if code != "en"]


def _mean_of(values: list[float]) -> float:
    return sum(values) / len(values)


_OF: dict[str, Callable[[], str]] = {
    "mean": _mean, "every_language": _every_language, "bounds": _bounds, "bases": _bases, "reasoning": _reasoning,
    "non_latin": _non_latin, "dominates": _dominates, "increase": _increase, "classifiers": _classifiers,
    "decrement": _decrement, "self_taught": _self_taught, "armorm": _armorm,
    "nearest": lambda: "Figure 1 shows distributions without numbers.",
    "farthest": lambda: "Figure 1 shows distributions without numbers.",
    "collapse": lambda: "Figure 1 shows distributions without numbers.",
    "correlation": lambda: "The two are set side by side; no correlation is computed.",
    "norms": lambda: "Figure 2 shows distributions without numbers; no distance is printed.",
    "base": lambda: "Figure 3 shows bars without numbers; no interval and no test is printed.",
    "largest": lambda: "Figure 3 shows bars without numbers.",
    "on_par": lambda: "Figure 3 shows bars without numbers; no interval and no test is printed.",
}  # fmt: skip
