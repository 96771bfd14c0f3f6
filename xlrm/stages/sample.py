"""Samples responses of policies: several per prompt for alignment, and one greedy response per prompt for judging."""

from pathlib import Path

from pydantic import Field

from xlrm.data.corpus_schema import CORPUS_PROMPTS
from xlrm.models import sampling
from xlrm.models.decoding import Completion
from xlrm.store.jsonl import write_jsonl


class Config(sampling.Settings):
    languages: tuple[str, ...]
    """Languages to sample in."""
    split: str = Field("train", pattern="^(train|eval|all)$")
    """Prompts to answer: train (for alignment), eval (for judging) or all (both)."""
    samples: int = Field(4, ge=1)
    """Responses per prompt for alignment (paper A: 4)."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": tuple(f"{language}/{CORPUS_PROMPTS.file}" for language in config.languages)}


def run(config: Config, *, policies: list[Path], corpora: Path, output: Path) -> dict[str, float]:
    """Writes {index of the policy}/{split}/{language}.jsonl with id, prompt, responses and, for each response, whether the
    policy ended it itself (`finished`) rather than being cut at the limit. Responses are saved to the store during the
    run, so a killed run continues with the missing ones, on any machine."""
    count = cut = 0
    splits = ("train", "eval") if config.split == "all" else (config.split,)
    for place, path in enumerate(policies):
        with sampling.policy(path, config, output) as policy:
            for language in config.languages:
                prompts = CORPUS_PROMPTS.read(corpora / language)
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
