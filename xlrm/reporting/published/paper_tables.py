"""Numbers as the papers print them. Each table is a CSV file in this folder with its source in the first line."""

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
    """Language of the benchmark."""
    reward_model: str
    trained_in: str
    """Language of the reward model's training data; empty for a model from elsewhere."""
    accuracy: dict[str, float]
    """Section or average -> %."""


@dataclass(frozen=True)
class Said:
    """A statement in the text of Hong et al. 2025 on its Figure 3, which shows no numbers."""

    language: str
    """Code of a language, or `mean` for the mean of the four."""
    points: float | None
    """Points of the win rate; None if the text gives no number."""
    where: str
    sentence: str


@dataclass(frozen=True)
class Claim:
    """A claim of Hong et al. 2025, in its words."""

    key: str
    where: str
    """Section, and the table or figure that it rests on."""
    sentence: str


@cache
def table_1() -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Hong et al. 2025: base model -> language -> "target" or "english" reward model -> section -> accuracy in %."""
    table: dict = {}
    for row in csv_rows("paper_a_table_1.csv"):
        table.setdefault(row["model"], {}).setdefault(row["language"], {})[row["reward_model"]] = _accuracy(row)
    return table


@cache
def table_2() -> dict[str, dict]:
    """Hong et al. 2025: reward model from elsewhere -> kind (classifier or generative), and average (language -> %)."""
    return {
        row.pop("model"): {"kind": row.pop("kind"), "average": {code: float(value) for code, value in row.items()}}
        for row in csv_rows("paper_a_table_2.csv")
    }


@cache
def tables_3_to_7() -> tuple[Cell, ...]:
    return tuple(
        Cell(int(row["table"]), row["language"], row["reward_model"], row["trained_in"], _accuracy(row))
        for row in csv_rows("paper_a_tables_3_to_7.csv")
    )


@cache
def figure_3() -> tuple[Said, ...]:
    return tuple(
        Said(row["language"], float(row["points"]) if row["points"] else None, row["where"], row["sentence"])
        for row in csv_rows("paper_a_figure_3.csv")
    )


@cache
def claims() -> tuple[Claim, ...]:
    return tuple(Claim(**row) for row in csv_rows("paper_a_claims.csv"))


def csv_rows(name: str) -> list[dict[str, str]]:
    """Rows of a CSV file in this folder, without its lines of comment."""
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def _accuracy(row: dict[str, str]) -> dict[str, float]:
    return {name: float(row[column]) for column, name in SECTIONS.items()}
