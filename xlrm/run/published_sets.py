"""Checks of datasets that are used as they are published: further benchmarks, parallel texts and prompts for judging."""

from collections import Counter
from collections.abc import Collection, Iterator

from xlrm.data import catalog
from xlrm.data.catalog import EVAL_PROMPTS, PUBLISHED_PARALLEL
from xlrm.errors import ConfigError
from xlrm.evaluation import benchmarks
from xlrm.evaluation.reward_table import CORPUS
from xlrm.run.sections import Experiment


def further_benchmarks(asked: Experiment, stages: Collection[str]) -> Iterator[ConfigError]:
    """Benchmarks that are unknown, have the same name or are in no language of the experiment, and benchmarks that the
    gate needs but `evaluate` does not use."""
    config = asked.config("evaluate")
    for entry in config.benchmarks:
        try:
            catalog.check(benchmarks.TABLE, entry)
            row = catalog.find(benchmarks.TABLE, entry)
        except ConfigError as error:
            yield error.within("evaluate.benchmarks: ")
            continue
        if row and not set(row.languages) & set(asked.languages):
            yield ConfigError(
                f"a benchmark in a language of this experiment ({', '.join(asked.languages)}) is required",
                where="evaluate.benchmarks", value=entry, hint=f"it is in {', '.join(row.languages)}",
            )  # fmt: skip
    curated = asked.config("curate")
    held = curated.train_share < 1 and curated.benchmark != benchmarks.HELDOUT and curated.heldout_pairs != 0
    labels = [CORPUS, *([benchmarks.HELDOUT] if held else []), *map(benchmarks.label, config.benchmarks)]
    for label, count in Counter(labels).items():
        if count > 1:
            yield ConfigError(
                f"{count} benchmarks have this name; each needs its own, and the corpus's are {CORPUS} and {benchmarks.HELDOUT}",
                where="evaluate.benchmarks", value=label,
            )  # fmt: skip
    for label in asked.config("register").benchmarks:
        if label not in labels:
            yield ConfigError(
                "a benchmark of evaluate.benchmarks is required",
                where="register.benchmarks", value=label, hint=f"there are {', '.join(labels)}",
            )  # fmt: skip


def parallel_texts(asked: Experiment, stages: Collection[str]) -> Iterator[ConfigError]:
    """Languages in which the parallel texts are not published."""
    if "represent" not in stages:
        return
    entry = asked.config("represent").parallel
    row = catalog.find(PUBLISHED_PARALLEL, entry) if entry else None
    for code in asked.languages:
        if row and code not in row.languages:
            yield ConfigError(
                f"a dataset in {code!r} is required",
                where="represent.parallel", value=entry, hint=f"it is in {', '.join(row.languages)}",
            )  # fmt: skip


def prompts(asked: Experiment, stages: Collection[str]) -> Iterator[ConfigError]:
    """Languages in which the prompts for judging are not published."""
    entry = asked.config("sample").eval_prompts if "sample" in stages else None
    row = catalog.find(EVAL_PROMPTS, entry) if entry else None
    for code in asked.aligned if row else ():
        if row and code not in row.languages:
            yield ConfigError(
                f"a dataset in {code!r} is required",
                where="sample.eval_prompts", value=entry,
                hint=f"it is in {', '.join(row.languages)}; curate.eval_prompt_set names prompts to translate",
            )  # fmt: skip
