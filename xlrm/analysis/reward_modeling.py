"""Accuracy of a reward model on the held-out rows of a language, beside its majority and length baselines (paper B, section
6.1, tables 18 and 19)."""

from collections.abc import Iterable, Mapping, Sequence

from xlrm.analysis import baselines
from xlrm.analysis.baselines import PairRule, ThresholdRule
from xlrm.data.conversations import Turns, plain
from xlrm.data.corpus_schema import is_judgment
from xlrm.evaluation.benchmarks import AVERAGE, HELDOUT, SUBSET
from xlrm.evaluation.credit import Rewards, Ties, credit, is_single, responses
from xlrm.evaluation.estimates import Estimate
from xlrm.evaluation.heldout_results import LengthBaseline, RewardModeling
from xlrm.evaluation.statistics import accuracies, intervals


def measure(
    rows: Sequence[dict], rewards: Sequence[Rewards], training: Iterable[dict], ties: Ties = "lost"
) -> RewardModeling:
    """`rows` (n): held-out items as of `xlrm.evaluation.reward_results.heldout`, with `rewards` (n); `training`: rows of
    `preferences.jsonl` of the same language, whose kind, pairs or single judgments, counts if it is that of `rows`."""
    earned = credit(rows, rewards, ties)
    whole = [{**row, "section": AVERAGE, "subset": AVERAGE} for row in rows]
    parts = [{**row, "section": row["subset"]} for row in rows]
    values, bounds = accuracies(parts, earned), intervals(parts, earned)
    by_part = {name: Estimate(value, *bounds[name]) for name, value in values.items()}
    accuracy = Estimate(accuracies(whole, earned)[AVERAGE], *intervals(whole, earned)[AVERAGE])
    single = is_single(*responses(rows[0]))
    alike = [row for row in training if is_judgment(row) == single]
    return RewardModeling(
        kind="judgments" if single else "pairs",
        rows=len(rows),
        accuracy=accuracy,
        macro=by_part[AVERAGE],
        subsets={name.removeprefix(SUBSET): each for name, each in by_part.items() if name.startswith(SUBSET)},
        majority=_majority(rows, alike) if single and alike else None,
        length=(_of_judgments if single else _of_pairs)(rows, rewards, alike, accuracy.value) if alike else None,
    )


def metrics(measured: Mapping[str, RewardModeling]) -> dict[str, float]:
    """Flat metrics of an evaluation: heldout/majority/LANGUAGE and heldout/length/LANGUAGE, where they are known."""
    levels = {f"majority/{on}": of.majority for on, of in measured.items()}
    levels |= {f"length/{on}": of.length.accuracy if of.length else None for on, of in measured.items()}
    return {f"{HELDOUT}/{name}": level for name, level in levels.items() if level is not None}


def is_good(row: Mapping) -> bool:
    """Whether a single judgment calls its response good: a label above a half."""
    return float(row["label"]) > 0.5


def _majority(rows: Sequence[dict], training: Sequence[dict]) -> float:
    label = baselines.majority([is_good(row) for row in training])
    return baselines.majority_accuracy(label, [is_good(row) for row in rows])


def _of_judgments(
    rows: Sequence[dict], rewards: Sequence[Rewards], training: Sequence[dict], accuracy: float
) -> LengthBaseline:
    rule = baselines.fit_judgments(
        [_characters(row["response"]) for row in training], [is_good(row) for row in training]
    )
    by_length = rule.decisions([_characters(*chosen, *rejected) for chosen, rejected in map(responses, rows)])
    by_reward = [_decision([*chosen, *rejected][0], 0.0) for chosen, rejected in rewards]
    right = [d if is_good(row) else 1 - d for d, row in zip(by_length, rows, strict=True)]
    return _baseline(rule, rule.threshold, by_length, by_reward, right, accuracy)


def _of_pairs(
    rows: Sequence[dict], rewards: Sequence[Rewards], training: Sequence[dict], accuracy: float
) -> LengthBaseline:
    rule = baselines.fit_pairs([(_characters(row["chosen"]), _characters(row["rejected"])) for row in training])
    right = rule.decisions(
        [(_characters(*chosen), _characters(*rejected)) for chosen, rejected in map(responses, rows)]
    )
    by_reward = [_decision(chosen[0], rejected[0]) for chosen, rejected in rewards]
    return _baseline(rule, None, right, by_reward, right, accuracy)


def _baseline(
    rule: PairRule | ThresholdRule, threshold: int | None, by_length: list[float], by_reward: list[float],
    right: list[float], accuracy: float,
) -> LengthBaseline:  # fmt: skip
    own = sum(right) / len(right)
    return LengthBaseline(
        direction=rule.direction, threshold=threshold, training_rows=rule.training_rows,
        training_accuracy=rule.training_accuracy, accuracy=own,
        agreement=baselines.observed_agreement(by_length, by_reward),
        expected_agreement=baselines.expected_agreement(accuracy, own),
    )  # fmt: skip


def _decision(first: float, second: float) -> float:
    return 0.5 if first == second else float(first > second)


def _characters(turns: Turns) -> int:
    return len(plain(turns))
