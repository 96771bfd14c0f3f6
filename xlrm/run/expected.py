"""The texts that an experiment will read, estimated from its settings alone: their number and assumed lengths. `xlrm
estimate` and `plan` count the real ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlrm.data import catalog
from xlrm.data.catalog import EVAL_PROMPTS, PARALLEL, PREFERENCES, PROMPTS, PUBLISHED_PARALLEL, Dataset
from xlrm.evaluation import benchmarks
from xlrm.languages import LANGUAGES
from xlrm.run.forecast import Published
from xlrm.run.sections import Experiment
from xlrm.run.workloads import Item, Texts
from xlrm.store import hub
from xlrm.store.jsonl import read_rows
from xlrm.translation import effort, translators
from xlrm.translation.effort import Estimate, Work

SIZES = {
    # Paper A, appendix A: of its 108,000 pairs these two have as many, and the next two 31,113 together. HelpSteer2's card
    # says 20,324 responses, two to a prompt.
    "wildguard": 8383, "offsetbias": 8504, "helpsteer2": 10_162, "safe-rlhf": 20_951,
    # The datasets' cards.
    "rewardbench": 2985, "rewardbench-2": 1865, "m-rewardbench": 2869, "alpacaeval": 805, "belebele": 488,
}  # fmt: skip
"""Dataset of the Hub -> rows in one language."""
PHRASEBOOK = Item(42, (48, 48))
"""Bytes of the phrasebook's English prompts and responses: means of 2,000 pairs."""
BEST_OF = {"rewardbench-2": 4}
"""Dataset -> responses to a prompt, if not two."""


def texts(experiment: Experiment) -> Texts:
    """Assumed lengths of the corpus that `curate` will make."""
    config = experiment.config("curate")
    judged = config.eval_prompt_set or config.prompts

    def items(table: Mapping[str, Dataset], entry: str | None, most: int | None) -> list[Item]:
        return [_item(experiment, entry)] * size(experiment, table, entry, most)

    def alone(table: Mapping[str, Dataset], entry: str | None, most: int | None) -> list[float]:
        return [item.prompt for item in items(table, entry, most)]

    pairs = [item for entry in config.preferences for item in items(PREFERENCES, entry, config.pairs)]
    return Texts(
        pairs[: max(1, round(config.train_share * len(pairs)))],
        items(benchmarks.TABLE, config.benchmark, config.benchmark_items),
        alone(PROMPTS, config.prompts, config.train_prompts),
        alone(EVAL_PROMPTS, judged, config.eval_prompts),
        alone(PARALLEL, config.parallel, config.parallel_texts),
    )


def published(experiment: Experiment) -> Published:
    """Assumed lengths of the benchmarks and parallel texts that are read in their published translations."""
    result, config = Published(), experiment.config("represent")
    for entry in experiment.config("evaluate").benchmarks:
        row = catalog.find(benchmarks.TABLE, entry)
        count = SIZES.get(row.name) if row else None
        if row is None or count is None:
            result.benchmarks[benchmarks.label(entry)] = f"the number of items of {entry} is unknown until it is read"
            continue
        item = _item(experiment, entry, BEST_OF.get(row.name, 2))
        result.benchmarks[benchmarks.label(entry)] = {
            code: [_translated(item, code)] * count for code in experiment.languages if code in row.languages
        }
    if config.parallel:
        count = size(experiment, PUBLISHED_PARALLEL, config.parallel, config.texts)
        passage = _item(experiment, config.parallel).prompt
        result.parallel = {code: [_translated(Item(passage, ()), code).prompt] * count for code in experiment.languages}
    return result


def translated(experiment: Experiment, of: Texts) -> dict[str, Estimate]:
    """Target language -> estimate of its translation, with an empty translation memory."""
    if not experiment.targets:
        return {}
    config, source = experiment.config("translate"), LANGUAGES[experiment.source]
    items = [*of.pairs, *of.benchmark]
    alone = [*of.train_prompts, *of.eval_prompts, *of.parallel]
    size = sum(item.prompt + sum(item.responses) for item in items) + sum(alone)
    count = sum(1 + len(item.responses) for item in items) + len(alone)
    segments = max(count, round(2 * size / config.longest_segment)) if config.segmented else count
    work = Work(count, segments, round(size))
    return {
        code: effort.estimate(work, source, LANGUAGES[code], translators.parameters(config, source, LANGUAGES[code]))
        for code in experiment.targets
    }


def size(experiment: Experiment, table: Mapping[str, Dataset], entry: str | None, most: int | None) -> int:
    """Rows of a dataset or file, `most` at most; `plan.rows` if their number is unknown until it is downloaded."""
    if entry is None:
        return 0
    known = most if most is not None else experiment.config("plan").rows
    if catalog.is_file(entry):
        whole = len(read_rows(Path(entry))) if Path(entry).is_file() else known
    elif (row := catalog.find(table, entry)) and row.size:
        whole = most or row.size
    else:
        whole = SIZES.get(hub.parse_entry(entry)[0], known)
    return whole if most is None else min(most, whole)


def assumptions(plan: Any) -> list[str]:
    """Sentences on what the counts and lengths assume."""
    return [
        f"texts other than the phrasebook's: a prompt or passage has {plan.prompt_tokens} English tokens, a response "
        f"{plan.response_tokens} (plan.prompt_tokens, plan.response_tokens), a segment half of translate.longest_segment",
        f"rows of a dataset: as its card states, or else as the settings allow, or else {plan.rows:,} (plan.rows); `xlrm "
        "estimate` counts them in the curated corpus",
    ]


def _item(experiment: Experiment, entry: str | None, responses: int = 2) -> Item:
    """Assumed lengths of a prompt and its responses, in bytes of the source language."""
    if entry == "phrasebook":
        return _translated(PHRASEBOOK, experiment.source)
    plan, per_token = experiment.config("plan"), effort.BYTES_PER_TOKEN["Latin"]
    english = Item(plan.prompt_tokens * per_token, (plan.response_tokens * per_token,) * responses)
    return _translated(english, experiment.source)


def _translated(english: Item, code: str) -> Item:
    ratio = effort.bytes_of(1, LANGUAGES["en"], LANGUAGES[code])
    return Item(english.prompt * ratio, tuple(length * ratio for length in english.responses))
