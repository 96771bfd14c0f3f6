"""Samples responses of policies: several per prompt for alignment, and one or more per prompt for judging."""

import itertools
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from xlrm.data import catalog, curation, given_responses
from xlrm.models import samples
from xlrm.models.samples import Counts, SampleCounts
from xlrm.store import shards
from xlrm.store.fields import NotCounted, Sets
from xlrm.store.jsonl import write_jsonl
from xlrm.store.shards import Shard
from xlrm.validation import responses


class Config(responses.Settings):
    languages: tuple[str, ...]
    """Languages to sample in."""
    split: str = Field("train", pattern="^(train|eval|all)$")
    """Prompts to answer: train (for alignment), eval (for judging) or all (both)."""
    samples: int = Field(4, ge=1)
    """Responses per prompt for alignment (paper A: 4)."""
    runs: int = Field(1, ge=1)
    """Responses per prompt for judging, each with a seed of its own; more than one needs judged_temperature."""
    eval_prompts: Annotated[str | None, Sets] = None
    """Dataset of prompts for judging that is published in each language, as NAME[=OWNER/NAME][@REVISION], and used as it is
    (paper A: alpacaeval, which people translated); null takes those of the corpus."""
    shards: Annotated[int, NotCounted] = Field(1, ge=1, le=1000)
    """Steps that share the prompts of a language, so that they can run side by side; for the policy before alignment."""
    shard: Shard = "1/1"
    """Part of the prompts to answer, as NUMBER/OF: 2/4 is the second of four. Pipelines fill it in."""

    @field_validator("eval_prompts")
    @classmethod
    def _a_dataset(cls, entry: str | None) -> str | None:
        if entry is not None and not catalog.is_multilingual(catalog.EVAL_PROMPTS, entry):
            raise ValueError(
                "a dataset of prompts in several languages is required; name others in curate.eval_prompt_set"
            )
        return entry


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": tuple(f"{language}/prompts.jsonl" for language in config.languages)}


def files(config: Config) -> str:
    """Digest of the local files of the prompts for judging, and of given responses."""
    given = [given_responses.file_of(config.given, language) for language in config.languages if config.given]
    return catalog.fingerprint([config.eval_prompts, *given])


def run(config: Config, *, corpora: Path, policies: list[Path] | None = None, output: Path) -> dict[str, float]:
    """Writes the rows and the counts that `xlrm.models.samples` describes. Responses are saved to the store during the
    run, so a killed run continues with the missing ones, on any machine. `policies`: none if responses are given or those
    of a model at an endpoint."""
    counts: list[dict[str, dict[str, Counts]]] = []
    splits = ("train", "eval") if config.split == "all" else (config.split,)
    for place, path in enumerate(policies or [None]):
        counts.append({split: {} for split in splits})
        with responses.writer(config, path, output) as writer:
            for language, split in itertools.product(config.languages, splits):
                rows = shards.rows_of(curation.prompts(corpora / language, split, config.eval_prompts), config.shard)
                written = writer.respond(rows, language, config.runs if split == "eval" else config.samples, split)
                write_jsonl(output / samples.file(place, split, language), written)
                counts[place][split][language] = Counts.of(written, language)
            decoding = {split: writer.decoding(split) for split in splits}
    SampleCounts(shard=shards.numbers(config.shard), decoding=decoding, policies=counts).write(output)
    return samples.metrics(counts) | ({} if writer.usd is None else {"usd": writer.usd})
