"""Samples responses of policies: several per prompt for alignment, and one or more per prompt for judging."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from xlrm.data import catalog, curation
from xlrm.data.corpus_schema import CORPUS_PROMPTS
from xlrm.models import samples, sampling
from xlrm.models.decoding import Completion
from xlrm.models.samples import Counts, SampleCounts
from xlrm.store import shards
from xlrm.store.fields import NotCounted, Sets
from xlrm.store.jsonl import write_jsonl
from xlrm.store.shards import Shard
from xlrm.validation import response_languages


class Config(sampling.Settings):
    languages: tuple[str, ...]
    """Languages to sample in."""
    split: str = Field("train", pattern="^(train|eval|all)$")
    """Prompts to answer: train (for alignment), eval (for judging) or all (both)."""
    samples: int = Field(4, ge=1)
    """Responses per prompt for alignment (paper A: 4)."""
    runs: int = Field(1, ge=1)
    """Responses per prompt for judging, each with a seed of its own (paper A: 5)."""
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
    return {"corpora": tuple(f"{language}/{CORPUS_PROMPTS.file}" for language in config.languages)}


def files(config: Config) -> str:
    """Digest of the local files of the prompts for judging."""
    return catalog.fingerprint([config.eval_prompts])


def run(config: Config, *, policies: list[Path], corpora: Path, output: Path) -> dict[str, float]:
    """Writes the rows and the counts that `xlrm.models.samples` describes. Responses are saved to the store during the
    run, so a killed run continues with the missing ones, on any machine."""
    counts: list[dict[str, dict[str, Counts]]] = []
    splits = ("train", "eval") if config.split == "all" else (config.split,)
    for place, path in enumerate(policies):
        counts.append({split: {} for split in splits})
        with sampling.policy(path, config, output) as policy:
            for language in config.languages:
                prompts = _prompts(config, corpora, language, splits)
                for split in splits:
                    rows = [row for row in prompts if row["split"] == split]
                    judged = split == "eval"
                    responses = policy.respond(
                        [row["prompt"] for row in rows], config.runs if judged else config.samples, judged
                    )
                    records = _records(rows, responses, language)
                    counts[place][split][language] = Counts.of(records, language)
                    write_jsonl(output / samples.file(place, split, language), records)
    SampleCounts(shard=shards.numbers(config.shard), policies=counts).write(output)
    return samples.metrics(counts)


def _prompts(config: Config, corpora: Path, language: str, splits: tuple[str, ...]) -> list[dict]:
    """Rows of this shard with id, prompt and split."""
    prompts = curation.published_prompts(config.eval_prompts, language) if config.eval_prompts else []
    if "train" in splits or not config.eval_prompts:
        prompts += CORPUS_PROMPTS.read(corpora / language)
    return [
        row
        for split in splits
        for row in shards.rows_of([row for row in prompts if row["split"] == split], config.shard)
    ]


def _records(rows: list[dict], responses: list[list[Completion]], language: str) -> list[dict]:
    texts = [[each.text for each in completions] for completions in responses]
    identified = iter(response_languages.identify([text for several in texts for text in several], language))
    return [
        {**row, "responses": several, "finished": [each.whole for each in completions],
         "languages": [next(identified) for _ in several]}
        for row, several, completions in zip(rows, texts, responses, strict=True)
    ]  # fmt: skip
