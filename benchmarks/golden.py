"""Compares the rewards and the RewardBench 2 table of a published reward model with the published numbers.

    python -m benchmarks.golden [--model FOLDER | OWNER/NAME[@REVISION]] [--precision float32] [--rewards-only]
                                [--benchmark rewardbench-2=FOLDER] [--json FILE]

The model is Skywork/Skywork-Reward-V2-Qwen3-0.6B, from the Hub (1.2 GB) or a folder with its files: the conversation of
its model card, and RewardBench 2 (1,865 items, from the Hub or a folder with a copy) by subset. Rewards and credit come
from the code that `xlrm evaluate` and the server run. Exits with 1 if a number differs by more than its tolerance.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks import record

if TYPE_CHECKING:
    from xlrm.scorers.interface import Scorer

MAX_LENGTH = 16_384
"""Tokens of a conversation, as on the model card: no item of RewardBench 2 is cut."""
TOLERANCES = {"reward": 0.1, "subset": 1.5, "mean": 0.5}
"""Rewards in bfloat16 have 8 bits and depend on the kernels: transformers and SGLang differ by 0.125 at 23 on the card of
the 8B model. 1.5 points are two items of the smallest subsets (102 items of Ties, 160 of Precise IF)."""


@dataclass(frozen=True)
class Golden:
    """The published numbers of a reward model."""

    model: str
    prompt: str
    rewards: dict[str, float]
    """Response -> reward of the model card, in bfloat16."""
    subsets: dict[str, float]
    """Subset of RewardBench 2 -> score in percent."""
    mean: float
    """Mean of the subsets in percent, as published."""


_BEGINNING = (
    "1. Jane starts with 12 apples and gives 4 to Mark. 12 - 4 = 8. Jane now has 8 apples.\n"
    "2. Jane buys 1 more apple. 8 + 1 = 9. Jane now has 9 apples.\n"
)
SKYWORK = Golden(
    "Skywork/Skywork-Reward-V2-Qwen3-0.6B",
    "Jane has 12 apples. She gives 4 apples to her friend Mark, then buys 1 more apple, and finally splits all her apples "
    "equally among herself and her 2 siblings. How many apples does each person get?",
    {
        _BEGINNING
        + "3. Jane splits the 9 apples equally among herself and her 2 siblings (3 people in total). 9 ÷ 3 = 3 "
        "apples each. Each person gets 3 apples.": 7.8750,
        _BEGINNING
        + "3. Jane splits the 9 apples equally among her 2 siblings (2 people in total). 9 ÷ 2 = 4.5 apples each. "
        "Each person gets 4 apples.": 0.9453,
    },
    {"Factuality": 58.2, "Precise IF": 40.0, "Math": 71.6, "Safety": 84.4, "Focus": 79.4, "Ties": 34.0},
    61.3,
)


@dataclass(frozen=True)
class Comparison:
    name: str
    kind: str
    """Key of TOLERANCES."""
    published: float
    measured: float

    @property
    def missed(self) -> bool:
        return not abs(self.measured - self.published) <= TOLERANCES[self.kind]


def compare(golden: Golden, options: argparse.Namespace) -> list[Comparison]:
    """Raises ConfigError, ArtifactError or DataError for a model or benchmark that is unavailable."""
    from xlrm.models import chat_templates, reward_models
    from xlrm.scorers import classifiers
    from xlrm.scorers.interface import Scoring

    row = reward_models.find(options.model or golden.model)
    precision = options.precision or row.precision
    scoring = Scoring(max_length=MAX_LENGTH, batch_tokens=options.batch_tokens, precision=precision, processes=1)
    scorer = classifiers.load(row, scoring)
    rewards = scorer.score([chat_templates.conversation(golden.prompt, response) for response in golden.rewards])
    made = [
        Comparison(f"reward of response {number}", "reward", published, measured)
        for number, (published, measured) in enumerate(zip(golden.rewards.values(), rewards, strict=True), 1)
    ]
    if options.rewards_only:
        return made
    scores = subsets(scorer, options.benchmark)
    made += [
        Comparison(f"RewardBench 2, {name}", "subset", golden.subsets[name], scores[name]) for name in golden.subsets
    ]
    return [*made, Comparison("RewardBench 2, mean", "mean", golden.mean, fmean(scores.values()))]


def subsets(scorer: "Scorer", entry: str) -> dict[str, float]:
    """Score in percent of each subset of a benchmark."""
    from xlrm.evaluation import benchmarks, credit
    from xlrm.evaluation.reward_table import score_items

    rows = benchmarks.load(entry, "en", None, 0).rows
    earned: dict[str, list[float]] = {}
    for row, value in zip(rows, credit.credit(rows, score_items(rows, scorer)), strict=True):
        earned.setdefault(row["subset"], []).append(value)
    return {subset: 100 * fmean(values) for subset, values in earned.items()}


def parser() -> argparse.ArgumentParser:
    options = record.parser(__doc__)
    options.add_argument("--model", help="a folder, or OWNER/NAME[@REVISION] of the Hub")
    options.add_argument("--benchmark", default="rewardbench-2", help="an entry of evaluate.benchmarks")
    options.add_argument("--rewards-only", action="store_true", help="without the benchmark")
    options.add_argument("--precision", choices=["bfloat16", "float32"], default="bfloat16")
    options.add_argument("--batch-tokens", type=int, default=16_384, help="in a forward pass, at most")
    return options


def main(options: argparse.Namespace, golden: Golden = SKYWORK) -> int:
    from xlrm.errors import XlrmError

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        made = compare(golden, options)
    except XlrmError as error:
        print(f"golden: {error}", file=sys.stderr)
        return 2
    table = Table("", "published", "measured", "difference", "allowed")
    for one in made:
        numbers = f"{one.published:.4f}", f"{one.measured:.4f}", f"{one.measured - one.published:+.4f}"
        table.add_row(one.name, *numbers, f"{TOLERANCES[one.kind]}", style="red" if one.missed else None)
    console = Console(width=120)
    console.print(f"{options.model or golden.model}, {options.precision}; published for {golden.model}")
    console.print(table)
    missed = [f"{one.name}: {one.measured:.4f}, published {one.published}" for one in made if one.missed]
    figures = {one.name: {"published": one.published, "measured": one.measured} for one in made}
    record.write(__spec__.name, options, figures, missed)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(parser().parse_args()))
