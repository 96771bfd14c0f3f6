"""What the tables of Hong et al. 2025 say, in words; computed from the published tables."""

import re

from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.reporting.published.paper_tables import SECTIONS, table_1, tables_3_to_7
from xlrm.reporting.results import paper_delta
from xlrm.reporting.wording import listed, names, signed


def means() -> dict[str, float]:
    """Model -> mean of Table 1's average differences over its languages, in points."""
    means = {}
    for model, languages in table_1().items():
        deltas = [paper_delta(model, language, AVERAGE) or 0.0 for language in languages]
        means[model] = sum(deltas) / len(deltas)
    return means


def reasoning() -> str:
    """How much of Table 1's differences comes from Reasoning, half of which is code."""
    shares = [f"{share:.0f} % ({model})" for model, share in reasoning_shares().items()]
    return (
        f"Reasoning makes up {listed(shares)} of these differences. By RewardBench's weights half of Reasoning is code, "
        "which the paper's translator was given like any other text (translate.code: translate); by default it is kept "
        "in English (translate.code: keep), in training pairs too."
    )


def reasoning_shares() -> dict[str, float]:
    """Model -> share in % of the sum of Table 1's differences, over all sections and languages, that is of Reasoning."""
    sections = [name for name in SECTIONS.values() if name != AVERAGE]
    shares = {}
    for model, languages in table_1().items():
        points = {name: sum(paper_delta(model, code, name) or 0.0 for code in languages) for name in sections}
        shares[model] = 100 * points["Reasoning"] / sum(points.values())
    return shares


def sizes() -> str:
    """The mean difference at each size of model, and which reward model is best where at the largest."""
    models = list(dict.fromkeys(cell.reward_model for cell in tables_3_to_7() if cell.trained_in))
    shown = ", ".join(f"{model} {signed(mean_difference(model), 2)}" for model in models)
    largest = max(models, key=_billions)
    best = {code: max(own, key=own.__getitem__) for code, own in _averages(largest).items() if code != "en"}
    winner = max(dict.fromkeys(best.values()), key=list(best.values()).count)
    where = [code for code, own in best.items() if own == winner]
    return (
        "Mean over the other languages of the English reward model's average minus that of the language's own, in points: "
        f"{shown}. Of the {largest} models the {names([winner])} one is the best in {names(where)}."
    )


def mean_difference(model: str) -> float:
    """Mean over the languages of Tables 4 to 7: average of the English reward model minus that of the language's own."""
    deltas = [own["en"] - own[code] for code, own in _averages(model).items() if code != "en"]
    return sum(deltas) / len(deltas)


def _averages(model: str) -> dict[str, dict[str, float]]:
    """Language of the test -> language of the reward model -> average in %."""
    table: dict[str, dict[str, float]] = {}
    for cell in tables_3_to_7():
        if cell.reward_model == model:
            table.setdefault(cell.language, {})[cell.trained_in] = cell.accuracy[AVERAGE]
    return table


def _billions(model: str) -> float:
    size = re.search(r"(\d+(?:\.\d+)?)B", model)
    return float(size[1]) if size else 0.0
