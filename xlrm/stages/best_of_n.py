"""Best-of-n: each reward model chooses one of n sampled responses to each prompt, and all of them say what was gained."""

from collections import Counter
from pathlib import Path
from statistics import fmean

from pydantic import Field

from xlrm.evaluation import best_of_n
from xlrm.evaluation.best_of_n_results import BestOfNResults
from xlrm.models import samples as sampled
from xlrm.models.samples import Counts, SampleCounts
from xlrm.scorers import labelers
from xlrm.scorers.interface import Scoring
from xlrm.store.jsonl import write_jsonl


class Config(Scoring):
    language: str
    """Language of the responses."""
    labelers: tuple[str, ...]
    """Names of the reward models, in their input order: the languages they were trained in."""
    n: int = Field(64, ge=1)
    """Responses to a prompt that a reward model chooses from (paper B, section 4: 64); `sample` draws one more, number 0, which
    stands for the policy itself."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"samples": (sampled.file(0, "eval", config.language),)}


def run(config: Config, *, samples: list[Path], reward_models: list[Path], output: Path) -> dict[str, float]:
    """Writes the choices of labeler number PLACE in the format of `xlrm.models.samples`, as its policy number PLACE,
    rewards.jsonl with the rewards of every response by every reward model, and results.json. Raises DataError for fewer than
    n + 1 responses to a prompt."""
    read = sampled.read(samples, 0, "eval", config.language)
    rows = [best_of_n.candidates(row, config.n) for row in read]
    answered = [(row["prompt"], row["responses"]) for row in rows]
    rewards: dict[str, list[list[float]]] = {}
    counts = {}
    for place, (labeler, given, _) in enumerate(
        labelers.label(answered, config.labelers, reward_models, config, output, "best_of_n")
    ):
        chosen = [best_of_n.choice(row, own) for row, own in zip(rows, given, strict=True)]
        write_jsonl(output / sampled.file(place, "eval", config.language), chosen)
        rewards[labeler], counts[labeler] = given, Counts.of(chosen, config.language)
    subsets = [row.get("subset") or "" for row in rows]
    write_jsonl(output / "rewards.jsonl", best_of_n.reward_rows(rows, rewards))
    SampleCounts(policies=[{"eval": {config.language: each}} for each in counts.values()]).write(output)
    sizes = best_of_n.sizes(config.n)
    results = BestOfNResults(
        language=config.language, n=config.n, prompts=len(rows), subsets=dict(Counter(filter(None, subsets))),
        labelers=config.labelers, sizes=sizes, kl_bound={k: best_of_n.kl_bound(k) for k in sizes},
        increases=best_of_n.increases(rewards, subsets, sizes),
        characters={labeler: each.mean_characters for labeler, each in counts.items()},
        reference_characters=fmean(len(row["responses"][0]) for row in rows),
    )  # fmt: skip
    results.write(output)
    return results.metrics
