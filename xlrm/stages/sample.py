"""Samples responses: several to each prompt to align on, and one greedy response to each prompt to judge by."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from xlrm.rows import read_rows, write_jsonl


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    languages: tuple[str, ...]
    """Languages to sample in."""
    split: str = Field("train", pattern="^(train|eval|all)$")
    """Which prompts: those to align on, those to judge by, or both."""
    samples: int = Field(4, ge=1)
    """Responses to each prompt to align on (paper A: 4)."""
    temperature: float = Field(1.0, ge=0)
    """Of these responses; those to judge by are greedy."""
    max_new_tokens: int = Field(2048, ge=1)
    """Tokens of a response, at most."""
    batch_size: int = Field(64, ge=1)
    """Prompts in a batch."""
    seed: int = 42


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": tuple(f"{language}/prompts.jsonl" for language in config.languages)}


def run(config: Config, *, policies: list[Path], corpora: Path, output: Path) -> dict[str, float]:
    """Writes {place of the policy}/{split}/{language}.jsonl with id, prompt and responses."""
    from xlrm import models
    from xlrm.sampling import sample

    count = 0
    splits = ("train", "eval") if config.split == "all" else (config.split,)
    for place, path in enumerate(policies):
        policy, tokenizer = models.load_causal_lm(path).eval().to(models.device()), models.load_tokenizer(path)
        for language in config.languages:
            prompts = read_rows(corpora / language / "prompts.jsonl", ("prompt", "split"))
            for split in splits:
                rows = [row for row in prompts if row["split"] == split]
                train = split == "train"
                responses = sample(
                    policy, tokenizer, [row["prompt"] for row in rows], config.samples if train else 1,
                    config.temperature if train else 0, config.max_new_tokens, config.batch_size, config.seed,
                )  # fmt: skip
                count += sum(map(len, responses))
                found = [{**row, "responses": texts} for row, texts in zip(rows, responses, strict=True)]
                write_jsonl(output / str(place) / split / f"{language}.jsonl", found)
    return {"responses": float(count)}
