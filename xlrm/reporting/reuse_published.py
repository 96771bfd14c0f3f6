"""The published matrices of Wu et al. 2024 that stand beside a run's."""

from typing import Literal

from xlrm.reporting.published import paper_b
from xlrm.reporting.reuse_material import Material

Shown = Literal["best_of_n", "rl", "reward_modeling"]
JUDGES = ("PaLM-2-L", "GPT-4")
"""The paper's judges, in the order of a run's."""


def table(material: Material, shown: Shown, judge: int = 0, reward_models: str = "transferred") -> paper_b.Table | None:
    """The table of the run's task, or of summarization for a run of another task; None if the paper has none."""
    measure = "accuracy" if shown == "reward_modeling" else JUDGES[min(judge, len(JUDGES) - 1)]
    return next(
        (
            each
            for each in paper_b.MATRICES
            if (each.task, each.method, each.measure, each.reward_models)
            == (material.task or "summarization", shown, measure, reward_models)
        ),
        None,
    )


def counterparts(material: Material) -> list[paper_b.Table]:
    """All tables of the run's task, or of summarization for a run of another task."""
    return [each for each in paper_b.MATRICES if each.task == (material.task or "summarization")]


def cells(table: paper_b.Table, material: Material, scale: float = 100) -> dict[str, dict[str, float]]:
    """The table's numbers divided by `scale`, by default as shares, for languages of the run (a bilingual source, if both
    are)."""
    return {
        source: {target: value / scale for target, value in row.items() if target in material.languages}
        for source, row in paper_b.matrix(table.number).items()
        if all(code in material.languages for code in source.split("+")) and set(row) & set(material.languages)
    }


def title(table: paper_b.Table, material: Material) -> str:
    """`paper, Table 6, judged by PaLM-2-L`, with what differs from the run."""
    judged = "" if table.measure == "accuracy" else f", judged by {table.measure}"
    return f"paper, Table {table.number}{judged}; {differs(material, table)}"


def differs(material: Material, table: paper_b.Table) -> str:
    if material.task is None:
        return f"other task ({table.task}) and models"
    return "other models"
