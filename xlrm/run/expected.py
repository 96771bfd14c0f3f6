"""The texts that an experiment will read, estimated from its settings alone: their number and assumed lengths. `xlrm
estimate` and `plan` count the real ones."""

from collections.abc import Collection
from typing import Any

from xlrm.data import catalog
from xlrm.data.corpus_schema import Name
from xlrm.evaluation import benchmarks
from xlrm.languages import LANGUAGES
from xlrm.run.forecast import Published
from xlrm.run.sections import Experiment
from xlrm.run.workloads import Item, Texts
from xlrm.store import hub
from xlrm.translation import effort, translators
from xlrm.translation.effort import Estimate, Work

SIZES = {
    # Paper A, appendix A: of its 108,000 pairs these two have as many, and the next two 31,113 together. HelpSteer2's card
    # says 20,324 responses, two to a prompt.
    "wildguard": 8383, "offsetbias": 8504, "helpsteer2": 10_162, "safe-rlhf": 20_951,
    # The datasets' cards.
    "rewardbench": 2985, "rewardbench-2": 1865, "m-rewardbench": 2869, "alpacaeval": 805, "belebele": 488,
}  # fmt: skip
"""Dataset -> rows in one language. Other datasets and files are assumed to have as many rows as the settings allow."""
PHRASEBOOK = Item(42, (48, 48))
"""Bytes of the phrasebook's English prompts and responses: means of 2,000 pairs."""
BEST_OF = {"rewardbench-2": 4}
"""Dataset -> responses to a prompt, if not two."""


def texts(experiment: Experiment) -> Texts:
    """Assumed lengths of the corpus that `curate` will make."""
    config = experiment.config("curate")
    pairs = [item for entry in config.preferences for item in [_item(experiment, entry)] * size(entry, config.pairs)]
    judged = config.eval_prompt_set or config.prompts
    return Texts(
        pairs[: max(1, round(config.train_share * len(pairs)))],
        [_item(experiment, config.benchmark)] * size(config.benchmark, config.benchmark_items),
        [_item(experiment, config.prompts).prompt] * config.train_prompts if config.prompts else [],
        [_item(experiment, judged).prompt] * size(judged, config.eval_prompts) if config.prompts else [],
        [_item(experiment, config.parallel).prompt] * config.parallel_texts if config.parallel else [],
    )


def published(experiment: Experiment) -> Published:
    """Assumed lengths of the benchmarks and parallel texts that are read in their published translations."""
    result = Published()
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
    if experiment.represented and (config := experiment.config("represent")).parallel:
        count = size(config.parallel, config.texts or 1000)
        passage = _item(experiment, config.parallel).prompt
        result.parallel = {code: [_translated(Item(passage, ()), code).prompt] * count for code in experiment.languages}
    return result


def translated(experiment: Experiment, of: Texts) -> dict[str, Estimate]:
    """Target language -> estimate of its translation, with an empty translation memory."""
    source, estimates = LANGUAGES[experiment.source], {}
    for code, names in experiment.translated.items():
        config, target = experiment.config("translate", language=code), LANGUAGES[code]
        work = _work(of, names, config)
        estimates[code] = effort.estimate(work, source, target, translators.parameters(config, source, target))
    return estimates


def _work(of: Texts, names: Collection[Name], config: translators.Settings) -> Work:
    """Work of translating these tables."""
    items = [*(of.pairs if "preferences" in names else ()), *(of.benchmark if "benchmark" in names else ())]
    alone = [*of.train_prompts, *of.eval_prompts] if "prompts" in names else []
    alone += of.parallel if "parallel" in names else ()
    size = sum(item.prompt + sum(item.responses) for item in items) + sum(alone)
    count = sum(1 + len(item.responses) for item in items) + len(alone)
    segments = max(count, round(2 * size / config.longest_segment)) if config.segmented else count
    return Work(count, segments, round(size))


def size(entry: str | None, most: int) -> int:
    """Rows of a dataset, `most` at most."""
    if entry is None or catalog.is_file(entry):
        return most
    return min(most, SIZES.get(hub.parse_entry(entry)[0], most))


def assumptions(plan: Any) -> list[str]:
    """Sentences on what the counts and lengths assume."""
    return [
        f"texts other than the phrasebook's: a prompt or passage has {plan.prompt_tokens} English tokens, a response "
        f"{plan.response_tokens} (plan.prompt_tokens, plan.response_tokens), a segment half of translate.longest_segment",
        "rows of a dataset: as its card states, or as the settings allow; `xlrm estimate` counts them in the curated corpus",
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
