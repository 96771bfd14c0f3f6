"""Compares three uses of one reward model on the phrasebook, with as many responses of the same policy for each: DPO on the
best and the worst of `--samples` responses to a prompt, GRPO (or RLOO) on as many of its own, and best-of-n without training.

    python -m benchmarks.policy_methods POLICY REWARD_MODEL [--language es] [--method grpo] [--json FILE]

Shows the curves of reward and KL divergence, and then, for responses to prompts that nothing was trained on: mean reward, mean
grade (0 to 3) and share of right answers (3) by the phrasebook's gold judge, and the KL divergence from the policy, in nats per
response. That of best-of-n is at most log n - (n - 1)/n (Beirami et al. 2024).
"""

import argparse
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import record
from benchmarks.reward_training import log_of
from xlrm.data import catalog
from xlrm.data.phrasebook import judge
from xlrm.models import chat_templates, loading, sampling
from xlrm.scorers import engines
from xlrm.scorers.interface import Scorer, Scoring
from xlrm.training import online_rl
from xlrm.training.dpo import train_dpo
from xlrm.training.recipes import DpoTraining, OnlineTraining

TRAINING: dict[str, Any] = {
    "max_length": 256, "gradient_checkpointing": False, "log_steps": 1, "device_batch_size": 32, "processes": 1,
}  # fmt: skip


@dataclass
class Arena:
    """Policy, reward model and prompts of a comparison."""

    policy: Path
    scorer: Scorer
    language: str
    learned: list[str]
    """Prompts to train on."""
    asked: list[str]
    """Prompts to judge on."""
    tokens: int
    """Limit on the tokens of a response."""
    work: Path

    def respond(self, policy: Path, prompts: list[str], count: int, name: str) -> list[list[str]]:
        """Responses of a policy at temperature 1, as the stage `sample` draws them."""
        settings = sampling.Settings(max_new_tokens=self.tokens, batch_size=256, context=TRAINING["max_length"])
        (self.work / name).mkdir(parents=True, exist_ok=True)
        with sampling.policy(policy, settings, self.work / name / "output") as asked:
            return [[each.text for each in row] for row in asked.respond(prompts, count, judged=False)]

    def rewards(self, prompts: list[str], responses: list[list[str]]) -> list[list[float]]:
        chats = [
            chat_templates.conversation(p, text) for p, row in zip(prompts, responses, strict=True) for text in row
        ]
        scores = iter(self.scorer.score(chats))
        return [[next(scores) for _ in row] for row in responses]

    def grades(self, responses: list[list[str]]) -> list[list[int]]:
        return [
            [judge.grade(prompt, text, self.language) for text in row]
            for prompt, row in zip(self.asked, responses, strict=True)
        ]


def dpo(arena: Arena, samples: int, rate: float) -> Path:
    """Policy trained on the best and the worst of `samples` responses to each prompt."""
    drawn = arena.respond(arena.policy, arena.learned, samples, "drawn")
    pairs = []
    for prompt, row, scores in zip(arena.learned, drawn, arena.rewards(arena.learned, drawn), strict=True):
        best, worst = row[scores.index(max(scores))], row[scores.index(min(scores))]
        if best != worst:
            pairs.append({"prompt": prompt, "chosen": best, "rejected": worst})
    config = DpoTraining(language=arena.language, learning_rate=rate, batch_size=8, **TRAINING)
    output = arena.work / "dpo" / "output"
    output.mkdir(parents=True)
    train_dpo(arena.policy, [{"id": str(i), **pair} for i, pair in enumerate(pairs)], config, output)
    return output


def learned_online(arena: Arena, reward_model: Path, method: str, samples: int, rate: float, beta: float) -> Path:
    """Policy trained on `samples` of its own responses to each prompt."""
    group = min(8, samples)
    given = {
        "language": arena.language, "method": method, "learning_rate": rate, "beta": beta, "group": group,
        "batch_size": 8 * group, "epochs": samples / group, "max_new_tokens": arena.tokens, "generation_batch": 256,
    }  # fmt: skip
    config = OnlineTraining.model_validate(TRAINING | given)
    output = arena.work / method / "output"
    output.mkdir(parents=True)
    online_rl.train_online(arena.policy, reward_model, arena.learned, config, output)
    return output


def divergence(arena: Arena, policy: Path, responses: list[list[str]]) -> float:
    """Mean of log(policy / original policy) over the policy's responses (estimator k1), in nats per response."""
    import torch

    tokenizer = loading.load_tokenizer(policy)
    models = [loading.load_causal_lm(folder).eval() for folder in (policy, arena.policy)]
    asked = chat_templates.as_trained(tokenizer, arena.asked)
    total = count = 0.0
    for prompt, read, row in zip(arena.asked, asked, responses, strict=True):
        for text in row:
            (ids,) = chat_templates.encode(tokenizer, [chat_templates.conversation(prompt, text)], 10_000)
            sums = []
            for model in models:
                with torch.inference_mode():
                    logs = model(input_ids=torch.tensor([ids])).logits[0, len(read) - 1 : -1].log_softmax(-1)
                sums.append(logs.gather(1, torch.tensor(ids[len(read) :])[:, None]).sum().item())
            total, count = total + sums[0] - sums[1], count + 1
    return total / count


def measure(arena: Arena, reward_model: Path, method: str, samples: int, rates: dict[str, float], beta: float) -> dict:
    """Figures by name of the use: reward, grade, right, divergence and seconds; and the curves of the online training."""
    original = arena.respond(arena.policy, arena.asked, samples, "judged")
    rewards, grades = arena.rewards(arena.asked, original), arena.grades(original)
    best = [scores.index(max(scores)) for scores in rewards]
    figures = {"policy": figures_of(rewards, grades, 0.0, 0.0)}
    chosen = [[scores[place]] for scores, place in zip(rewards, best, strict=True)]
    graded = [[row[place]] for row, place in zip(grades, best, strict=True)]
    bound = math.log(samples) - (samples - 1) / samples
    figures[f"best of {samples}"] = figures_of(chosen, graded, bound, 0.0)
    trained = {
        "dpo": lambda: dpo(arena, samples, rates["dpo"]),
        method: lambda: learned_online(arena, reward_model, method, samples, rates["online"], beta),
    }
    curves: list[dict] = []
    for name, train in trained.items():
        begun = time.monotonic()
        policy = train()
        seconds = time.monotonic() - begun
        curves = log_of(policy)
        responses = arena.respond(policy, arena.asked, min(4, samples), f"judged-{name}")
        away = divergence(arena, policy, [row[:1] for row in responses])
        figures[name] = figures_of(arena.rewards(arena.asked, responses), arena.grades(responses), away, seconds)
    gains(figures)
    return {"uses": figures, "curves": curves}


def figures_of(rewards: list[list[float]], grades: list[list[int]], away: float, seconds: float) -> dict[str, Any]:
    """`shares`: share of right responses to each prompt."""
    flat, marks = [each for row in rewards for each in row], [each for row in grades for each in row]
    shares = [sum(mark == 3 for mark in row) / len(row) for row in grades]
    return {
        "reward": fmean(flat), "grade": fmean(marks), "right": fmean(shares), "shares": shares, "divergence": away,
        "seconds": seconds,
    }  # fmt: skip


def gains(uses: dict[str, dict[str, Any]]) -> None:
    """Adds to each use the mean difference of its shares of right responses from the policy's to the same prompts, and half of
    the difference's 95 % interval."""
    for figures in uses.values():
        pairs = zip(figures["shares"], uses["policy"]["shares"], strict=True)
        differences = [after - before for after, before in pairs]
        figures["gain"] = fmean(differences)
        figures["gain_within"] = 1.96 * stdev(differences) / math.sqrt(len(differences))


def show(measured: dict, console: Console) -> None:
    curves = measured["curves"]
    table = Table(title="The online training", box=None)
    for name in ("step", "reward", "spread", "KL per token", "entropy", "tokens"):
        table.add_column(name, justify="right")
    every = max(1, len(curves) // 12)
    for point in [*curves[::every], curves[-1]]:
        keys = ("step", "reward", "reward_spread", "kl", "entropy", "response_tokens")
        table.add_row(*(f"{point.get(key, math.nan):.4g}" for key in keys))
    console.print(table)
    table = Table(title="Responses to prompts that nothing was trained on", box=None)
    for name in ("", "reward", "grade", "right", "right - policy's", "KL, nats", "seconds"):
        table.add_column(name, justify="left" if not name else "right")
    for name, row in measured["uses"].items():
        gain = f"{row['gain']:+.3f} ± {row['gain_within']:.3f}"
        away = f"{'≤ ' if name.startswith('best') else ''}{row['divergence']:.2f}"
        cells = (
            f"{row['reward']:.3f}",
            f"{row['grade']:.3f}",
            f"{row['right']:.3f}",
            gain,
            away,
            f"{row['seconds']:.0f}",
        )
        table.add_row(name, *cells)
    console.print(table)


def parser() -> argparse.ArgumentParser:
    asked = record.parser(__doc__)
    asked.add_argument("policy", type=Path, help="folder of the policy")
    asked.add_argument("reward_model", type=Path, help="folder of the reward model")
    asked.add_argument("--language", default="en")
    asked.add_argument("--method", choices=("grpo", "rloo"), default="grpo")
    asked.add_argument("--prompts", type=int, default=240, help="prompts to train on")
    asked.add_argument("--judged", type=int, default=200, help="prompts to judge on")
    asked.add_argument("--samples", type=int, default=16, help="responses to a prompt for each use")
    asked.add_argument("--tokens", type=int, default=32, help="tokens of a response")
    asked.add_argument("--dpo-rate", type=float, default=3e-4)
    asked.add_argument("--online-rate", type=float, default=3e-4)
    asked.add_argument("--beta", type=float, default=0.04)
    return asked


def compare(options: argparse.Namespace, work: Path) -> dict:
    learned, asked = (
        [row["prompt"] for row in catalog.load(table, "phrasebook", options.language, count, 42, ("prompt",)).rows]
        for table, count in ((catalog.PROMPTS, options.prompts), (catalog.EVAL_PROMPTS, options.judged))
    )
    scorer = engines.load(options.reward_model, Scoring(max_length=TRAINING["max_length"]))
    arena = Arena(options.policy, scorer, options.language, learned, asked, options.tokens, work)
    rates = {"dpo": options.dpo_rate, "online": options.online_rate}
    return measure(arena, options.reward_model, options.method, options.samples, rates, options.beta)


def main() -> None:
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = compare(options, Path(folder))
    show(measured, Console())
    record.write(__spec__.name, options, measured)


if __name__ == "__main__":
    main()
