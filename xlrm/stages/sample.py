"""Samples responses of policies: several per prompt for alignment, and one greedy response per prompt for judging."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from xlrm.data import catalog, curation
from xlrm.data.corpus_schema import CORPUS_PROMPTS
from xlrm.models import sampling
from xlrm.models.decoding import Completion
from xlrm.store.fields import Sets
from xlrm.store.jsonl import write_jsonl


class Config(sampling.Settings):
    languages: tuple[str, ...]
    """Languages to sample in."""
    split: str = Field("train", pattern="^(train|eval|all)$")
    """Prompts to answer: train (for alignment), eval (for judging) or all (both)."""
    samples: int = Field(4, ge=1)
    """Responses per prompt for alignment (paper A: 4)."""
    eval_prompts: Annotated[str | None, Sets] = None
    """Dataset of prompts for judging that is published in each language, as NAME[=OWNER/NAME][@REVISION], and used as it is
    (paper A: alpacaeval, which people translated); null takes those of the corpus."""

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
    """Writes {index of the policy}/{split}/{language}.jsonl with id, prompt, responses and, for each response, whether the
    policy ended it itself (`finished`) rather than being cut at the limit. Responses are saved to the store during the
    run, so a killed run continues with the missing ones, on any machine."""
    count = cut = 0
    splits = ("train", "eval") if config.split == "all" else (config.split,)
    for place, path in enumerate(policies):
        with sampling.policy(path, config, output) as policy:
            for language in config.languages:
                prompts = curation.published_prompts(config.eval_prompts, language) if config.eval_prompts else []
                if "train" in splits or not config.eval_prompts:
                    prompts += CORPUS_PROMPTS.read(corpora / language)
                for split in splits:
                    rows = [row for row in prompts if row["split"] == split]
                    judged = split == "eval"
                    responses = policy.respond(
                        [row["prompt"] for row in rows], 1 if judged else config.samples, greedy=judged
                    )
                    records = [_record(row, completions) for row, completions in zip(rows, responses, strict=True)]
                    count += sum(map(len, responses))
                    cut += sum(not finished for record in records for finished in record["finished"])
                    write_jsonl(output / str(place) / split / f"{language}.jsonl", records)
    return {"responses": float(count), "cut": float(cut)}


def _record(row: dict, completions: list[Completion]) -> dict:
    texts, finished = [each.text for each in completions], [each.whole for each in completions]
    return {**row, "responses": texts, "finished": finished}
