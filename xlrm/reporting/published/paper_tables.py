"""Numbers as papers print them, each table a CSV file beside this one with its source in the first line."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SECTIONS = {
    "chat": "Chat",
    "chat_hard": "Chat Hard",
    "safety": "Safety",
    "reasoning": "Reasoning",
    "average": "average",
}
"""Column -> section of RewardBench, as results name it."""


@dataclass(frozen=True)
class Cell:
    """A row of Tables 3 to 7 of Hong et al. 2025: one reward model on RewardBench in one language."""

    table: int
    language: str
    """Of the benchmark."""
    reward_model: str
    trained_in: str
    """Language of the reward model's training data; empty for one off the shelf."""
    accuracy: dict[str, float]
    """Section or average -> %."""


@dataclass(frozen=True)
class Said:
    """What the text of Hong et al. 2025 says of its Figure 3, which has no numbers in it."""

    language: str
    """`mean` for the mean of the four."""
    points: float | None
    """Of the win rate; None where the text gives no number."""
    where: str
    sentence: str


@cache
def table_1() -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Hong et al. 2025: base model -> language -> "target" or "english" reward model -> section -> accuracy in %."""
    found: dict = {}
    for row in _rows("paper_a_table_1.csv"):
        found.setdefault(row["model"], {}).setdefault(row["language"], {})[row["reward_model"]] = _accuracy(row)
    return found


@cache
def table_2() -> dict[str, dict]:
    """Hong et al. 2025: reward model off the shelf -> kind (classifier or generative), and average (language -> %)."""
    return {
        row.pop("model"): {"kind": row.pop("kind"), "average": {code: float(value) for code, value in row.items()}}
        for row in _rows("paper_a_table_2.csv")
    }


@cache
def tables_3_to_7() -> tuple[Cell, ...]:
    return tuple(
        Cell(int(row["table"]), row["language"], row["reward_model"], row["trained_in"], _accuracy(row))
        for row in _rows("paper_a_tables_3_to_7.csv")
    )


@cache
def figure_3() -> tuple[Said, ...]:
    return tuple(
        Said(row["language"], float(row["points"]) if row["points"] else None, row["where"], row["sentence"])
        for row in _rows("paper_a_figure_3.csv")
    )


def _accuracy(row: dict[str, str]) -> dict[str, float]:
    return {name: float(row[column]) for column, name in SECTIONS.items()}


def _rows(name: str) -> list[dict[str, str]]:
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))
