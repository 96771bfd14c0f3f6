"""The texts that an experiment will read, estimated from its settings alone: their number and assumed lengths. `xlrm
estimate` and `plan` count the real ones."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xlrm.data import catalog
from xlrm.data.catalog import DEMONSTRATIONS, EVAL_PROMPTS, PARALLEL, PREFERENCES, PROMPTS, PUBLISHED_PARALLEL, Dataset
from xlrm.data.corpus_schema import Name
from xlrm.data.demonstrations import AS_PROMPTS
from xlrm.errors import XlrmError
from xlrm.evaluation import benchmarks, corpus_sources
from xlrm.languages import LANGUAGES
from xlrm.run.forecast import Published
from xlrm.run.sections import Experiment
from xlrm.run.workloads import Item, Texts
from xlrm.store import hub
from xlrm.store.row_files import RowFile
from xlrm.translation import effort, translators
from xlrm.translation.effort import Estimate, Work

SIZES = {
    # Paper A, appendix A: of its 108,000 pairs these two have as many, and the next two 31,113 together. HelpSteer2's card
    # says 20,324 responses, two to a prompt.
    "wildguard": 8383, "offsetbias": 8504, "helpsteer2": 10_162, "safe-rlhf": 20_951,
    # Paper B, Tables 1 to 4, in English: training and validation, and training alone of the reward models' data.
    "seahorse": 14_031, "oasst1": 22_076, "oasst1-preferred": 9370, "xsum": 23_848, "xlsum": 316_212, "wikilingua": 111_041,
    "mlsum": 268_262,
    # The datasets' cards.
    "rewardbench": 2985, "rewardbench-2": 1865, "m-rewardbench": 2869, "alpacaeval": 805, "belebele": 488,
    "xquad": 1190,
}  # fmt: skip
"""Dataset of the Hub -> rows in one language."""
PHRASEBOOK = Item(42, (48, 48))
"""Bytes of the phrasebook's English prompts and responses: means of 2,000 pairs."""
BEST_OF = {"rewardbench-2": 4}
"""Dataset -> responses to a prompt, if not two."""


def texts(experiment: Experiment) -> Texts:
    """Assumed lengths of the corpus that `curate` will make."""
    config = experiment.config("curate")
    published = experiment.setting("sample", "eval_prompts") if config.prompts else None
    judged = published or config.eval_prompt_set or config.prompts
    shown = [item for entry in config.demonstrations for item in _demonstrations(experiment, entry)]
    share = config.demonstrations_train_share
    tuned = shown[: round(share * len(shown))]

    def items(table: Mapping[str, Dataset], entry: str | None, most: int | None) -> list[Item]:
        return [_item(experiment, entry)] * size(experiment, table, entry, most)

    def alone(table: Mapping[str, Dataset], entry: str | None, most: int | None) -> list[float]:
        return [item.prompt for item in items(table, entry, most)]

    pairs = [item for entry in config.preferences for item in items(PREFERENCES, entry, config.pairs)]
    train = max(1, round(config.train_share * len(pairs)))
    held = 0 if config.benchmark == benchmarks.HELDOUT else config.heldout_pairs
    aligned = alone(PROMPTS, config.prompts, corpus_sources.prompts_curated(config))
    asked = alone(EVAL_PROMPTS, judged, None if published else config.eval_prompts)
    if config.prompts == AS_PROMPTS:
        aligned = [item.prompt for item in tuned[: corpus_sources.prompts_curated(config)]]
        asked = [item.prompt for item in shown[len(tuned) :][: config.eval_prompts]]
    return Texts(
        pairs[:train],
        items(benchmarks.TABLE, config.benchmark, config.benchmark_items),
        aligned,
        asked,
        alone(PARALLEL, config.parallel, config.parallel_texts),
        pairs[train:][:held],
        tuned,
    )


def _demonstrations(experiment: Experiment, entry: str) -> list[Item]:
    most = experiment.config("curate").demonstrations_rows
    return [_item(experiment, entry, 1)] * size(experiment, DEMONSTRATIONS, entry, most)


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
        count = size(experiment, PUBLISHED_PARALLEL, config.parallel, config.texts)
        passage = _item(experiment, config.parallel).prompt
        result.parallel = {code: [_translated(Item(passage, ()), code).prompt] * count for code in experiment.languages}
    return result


def translated(experiment: Experiment, of: Texts) -> dict[str, Estimate]:
    """Target language -> estimate of its translation, with an empty translation memory."""
    source, estimates = LANGUAGES[experiment.source], {}
    if experiment.judged_as_published:
        of = replace(of, eval_prompts=[])
    for code, names in experiment.translated.items():
        config, target = experiment.config("translate", language=code), LANGUAGES[code]
        work = _work(of, names, config)
        estimates[code] = effort.estimate(work, source, target, translators.parameters(config, source, target))
    return estimates


def _work(of: Texts, names: Collection[Name], config: translators.Settings) -> Work:
    """Work of translating these tables."""
    tables = {"preferences": of.pairs, "heldout": of.heldout, "benchmark": of.benchmark}
    items = [item for name, rows in tables.items() if name in names for item in rows]
    alone = [*of.train_prompts, *of.eval_prompts] if "prompts" in names else []
    alone += of.parallel if "parallel" in names else ()
    size = sum(item.prompt + sum(item.responses) for item in items) + sum(alone)
    count = sum(1 + len(item.responses) for item in items) + len(alone)
    segments = max(count, round(2 * size / config.longest_segment)) if config.segmented else count
    return Work(count, segments, round(size))


def size(experiment: Experiment, table: Mapping[str, Dataset], entry: str | None, most: int | None) -> int:
    """Rows of a dataset or file, `most` at most; `plan.rows` if their number is unknown until it is downloaded."""
    if entry is None:
        return 0
    known = most if most is not None else experiment.config("plan").rows
    if catalog.is_file(entry):
        whole = _rows_of_file(entry) or known
    elif (row := catalog.find(table, entry)) and row.size:
        whole = most or row.size
    else:
        whole = SIZES.get(hub.parse_entry(entry)[0], known)
    return whole if most is None else min(most, whole)


def _rows_of_file(entry: str) -> int:
    """Rows of a file of this machine; 0 for one that is elsewhere or cannot be read."""
    if not Path(entry).is_file():
        return 0
    try:
        return sum(1 for _ in RowFile(entry).records())
    except XlrmError:
        return 0


def assumptions(plan: Any) -> list[str]:
    """Sentences on what the counts and lengths assume."""
    return [
        f"texts of which no length is known: a prompt or passage has {plan.prompt_tokens} English tokens, a response "
        f"{plan.response_tokens} (plan.prompt_tokens, plan.response_tokens), a segment half of translate.longest_segment",
        f"rows of a dataset: as its card states, or else as the settings allow, or else {plan.rows:,} (plan.rows); `xlrm "
        "estimate` counts them in the curated corpus",
    ]


def _item(experiment: Experiment, entry: str | None, responses: int = 2) -> Item:
    """Assumed lengths of a prompt and its responses, in bytes of the source language."""
    if entry in catalog.PHRASEBOOK:
        return _translated(PHRASEBOOK, experiment.source)
    plan, per_token = experiment.config("plan"), effort.BYTES_PER_TOKEN["Latin"]
    english = Item(plan.prompt_tokens * per_token, (plan.response_tokens * per_token,) * responses)
    return _translated(english, experiment.source)


def _translated(english: Item, code: str) -> Item:
    ratio = effort.bytes_of(1, LANGUAGES["en"], LANGUAGES[code])
    return Item(english.prompt * ratio, tuple(length * ratio for length in english.responses))
