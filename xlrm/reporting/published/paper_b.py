"""The tables of Wu et al. 2024, "Reuse Your Rewards" (arXiv:2404.12318). CSV files with their source in the first line."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from xlrm.reporting.published.paper_tables import Claim, csv_rows

Row = dict[str, float]
"""Code of the target language -> number."""
Matrix = dict[str, Row]
"""Code of the source language (`de+en` for both) -> code of the target language -> number."""

LANGUAGES = ("de", "en", "es", "ru", "tr", "vi")


@dataclass(frozen=True)
class Table:
    """What a table of (source, target) is of."""

    number: int
    task: Literal["summarization", "dialog"]
    method: Literal["best_of_n", "rl", "reward_modeling"]
    """How the policy was aligned; `reward_modeling` for accuracy on the reward models' validation data."""
    measure: Literal["PaLM-2-L", "GPT-4", "humans", "accuracy", "KL"]
    """Judge of a win rate in % against the target language's SFT model; accuracy in %, KL in nats."""
    reward_models: Literal["transferred", "translate-train", "bilingual"] = "transferred"


MATRICES = (
    Table(6, "summarization", "best_of_n", "PaLM-2-L"),
    Table(7, "dialog", "best_of_n", "PaLM-2-L"),
    Table(8, "summarization", "rl", "PaLM-2-L"),
    Table(9, "dialog", "rl", "PaLM-2-L"),
    Table(10, "summarization", "best_of_n", "GPT-4"),
    Table(11, "dialog", "best_of_n", "GPT-4"),
    Table(12, "summarization", "rl", "GPT-4"),
    Table(13, "dialog", "rl", "GPT-4"),
    Table(14, "summarization", "best_of_n", "humans"),
    Table(15, "summarization", "rl", "humans"),
    Table(16, "dialog", "best_of_n", "humans"),
    Table(17, "summarization", "best_of_n", "PaLM-2-L", "translate-train"),
    Table(18, "summarization", "reward_modeling", "accuracy"),
    Table(19, "dialog", "reward_modeling", "accuracy"),
    Table(20, "summarization", "rl", "KL"),
    Table(25, "summarization", "best_of_n", "PaLM-2-L", "bilingual"),
)
BASELINES = ("majority", "length")
"""Rows of Tables 18 and 19 that are no reward model."""


@dataclass(frozen=True)
class Count:
    """Numbers of instances of a data set."""

    train: int
    validation: int


@dataclass(frozen=True)
class JudgeAccuracy:
    """Accuracy of the PaLM-2-L judge on the reward models' validation data (Table 5)."""

    percent: float
    comparisons: int


def matrix(table: int) -> Matrix:
    """Tables 6 to 20 and 25 without the rows of the baselines. Table 17 has no cell with equal languages.

    :raises KeyError: a table that is no matrix of (source, target)
    """
    if table not in {each.number for each in MATRICES}:
        raise KeyError(table)
    return {name: dict(row) for name, row in _rows_of(table).items() if name not in BASELINES}


def majority() -> Row:
    """Accuracy in % of the more frequent label, for summarization (Table 18); dialog has none."""
    return dict(_rows_of(18)["majority"])


def length(table: Literal[18, 19]) -> Row:
    """Accuracy in % of the length baseline (section 6.1)."""
    return dict(_rows_of(table)["length"])


def sft_rouge() -> dict[str, Row]:
    """ROUGE-L of SFT models by training data (Table 21): rows `organic`, `translated lg>en` (the policy's language is
    English, the data are from the language of the column), `translated en>lg` (from English, the policy's language is the
    column's), `back-translated en>lg>en` and `back-translated lg>en>lg` (there and back)."""
    return {name: dict(row) for name, row in _rows_of(21).items()}


def translated_sft(table: Literal[22, 23, 24]) -> dict[str, Row]:
    """Win rates in % by SFT data, judged by PaLM-2-L: best-of-n (22), that on WikiLingua only (23), RL (24).

    Rows as in `sft_rouge`, except that `organic lg>en` and `organic en>lg` are the policy of organic data in English and
    in the column's language; the reward model's language is the other one in every row."""
    return {name: dict(row) for name, row in _rows_of(table).items()}


def counts_sft() -> dict[str, dict[str, Count]]:
    """Language -> data set -> instances of summarization for SFT and reward optimization (Table 1)."""
    return _counts(1)


def counts_rewards() -> dict[str, Count]:
    """Language -> judgments of summaries for reward models (Table 2)."""
    return {language: counts["Seahorse"] for language, counts in _counts(2).items()}


def counts_dialog_sft() -> dict[str, Count]:
    """Language -> instances of dialog for SFT and reward optimization (Table 3)."""
    return {language: counts["OpenAssistant"] for language, counts in _counts(3).items()}


def counts_dialog_rewards() -> dict[str, Count]:
    """Language -> pairs of dialog for reward models (Table 4)."""
    return {language: counts["OpenAssistant"] for language, counts in _counts(4).items()}


def judge_accuracy() -> dict[str, dict[str, JudgeAccuracy]]:
    """Task -> language -> accuracy of the judge (Table 5)."""
    rows = _rows_of(5)
    return {
        task: {
            language: JudgeAccuracy(percent, int(rows[f"{task} comparisons"][language]))
            for language, percent in rows[f"{task} accuracy"].items()
        }
        for task in ("summarization", "dialog")
    }


def figure_6(table: Literal[6, 7, 8, 9]) -> dict[str, dict[str, int]]:
    """Source -> target -> rank of the source (1 the best) that Figure 6 prints for a table of PaLM-2-L's win rates."""
    return {
        row["source"]: {code: int(row[code]) for code in LANGUAGES if row[code]}
        for row in csv_rows("paper_b_figure_6.csv")
        if int(row["table"]) == table
    }


@dataclass(frozen=True)
class Underivable:
    """A statement that does not follow from the tables, nor contradicts them."""

    where: str
    sentence: str
    lacks: str
    """What the paper does not print."""


@cache
def claims() -> tuple[Claim, ...]:
    """Statements that the tables confirm or contradict."""
    return tuple(Claim(**row) for row in csv_rows("paper_b_claims.csv"))


@cache
def without_numbers() -> tuple[Underivable, ...]:
    return tuple(Underivable(**row) for row in csv_rows("paper_b_without_numbers.csv"))


@cache
def _rows_of(table: int) -> dict[str, Row]:
    return {
        row["row"]: {code: float(row[code]) for code in LANGUAGES if row[code]}
        for row in csv_rows("paper_b_tables_5_to_25.csv")
        if int(row["table"]) == table
    }


@cache
def _counts(table: int) -> dict[str, dict[str, Count]]:
    counts: dict[str, dict[str, Count]] = {}
    for row in csv_rows("paper_b_tables_1_to_4.csv"):
        if int(row["table"]) == table:
            counts.setdefault(row["language"], {})[row["dataset"]] = Count(int(row["train"]), int(row["validation"]))
    return counts
