"""Judges the responses of policies against those of a reference to the same prompts."""

from pathlib import Path

from xlrm.evaluation import juries, length_control, win_rates
from xlrm.evaluation.results import REFERENCE, JudgedItems, JudgeResults
from xlrm.models import samples
from xlrm.scorers.judges import table
from xlrm.store.jsonl import write_jsonl


class Config(win_rates.Settings):
    """Besides its own fields those of generative judges, which the phrasebook's ignores."""

    language: str
    """Language of the responses."""
    labelers: tuple[str, ...]
    """What the candidate policies were aligned to, in the order in which they were sampled: reward models, the source's
    first, or `grpo-` and the name of one for a policy trained online."""
    reference: str = REFERENCE
    """Name of what the responses are compared with, for the results; `base` is the policy before alignment."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    policies = tuple(samples.file(place, "eval", config.language) for place in range(len(config.labelers)))
    return {"reference": policies[:1], "base": policies[:1], "candidates": policies}


def fingerprint(config: Config) -> str:
    return table.fingerprint(config.judge, config) + length_control.fingerprint(config.length_control)


def files(config: Config) -> str:
    """Digest of the rubric, of reference answers and of verdicts of people."""
    return table.files(config.judge, config, config.language)


def run(
    config: Config, *, reference: list[Path], candidates: list[Path], base: list[Path] | None = None, output: Path
) -> dict[str, float]:
    """Writes verdicts.jsonl, items.json and results.json. `base`: responses of the policy before alignment, if those are not
    the reference. A run that was stopped continues with the questions that the judge has not answered yet. Raises
    ConfigError without a judge, DataError for responses to different prompts, and the errors of `table.judge`."""
    judge = table.required(config.judge)
    control = length_control.load(config.length_control, config.language)
    systems = [(REFERENCE, base, 0)] if base else []
    systems += [(name, candidates, place) for place, name in enumerate(config.labelers)]
    pairs = win_rates.read_pairs(reference, systems, config.language, config)
    verdicts = table.judge(judge, config, [pair for of in pairs.values() for pair in of], config.language)
    judged = win_rates.by_system(pairs, verdicts.judgements)
    write_jsonl(output / "verdicts.jsonl", win_rates.records(judged))
    results = {name: win_rates.win_rate(of, control) for name, of in judged.items()}
    items, more = {name: of.items() for name, of in judged.items()}, juries.fields(verdicts, pairs)
    subsets = next(iter(judged.values())).subsets()
    JudgedItems.of(items, subsets).write(output)
    JudgeResults(
        language=config.language, judge=", ".join(table.split(judge)), reference=config.reference,
        results=results, differences=win_rates.differences(items, config.language, config.reference, subsets), **more,
    ).write(output)  # fmt: skip
    win_rates.say(config.language, config.reference, results)
    return win_rates.metrics(results, more["cost"])
