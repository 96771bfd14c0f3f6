"""What policies trained online gained by every reward model, after the training and in its course, and their KL divergence from
the policy before it."""

from collections import Counter
from pathlib import Path
from statistics import fmean

from xlrm.evaluation import observed, policy_gains
from xlrm.evaluation.policy_gains import PolicyGains
from xlrm.models import divergence
from xlrm.models import samples as sampled
from xlrm.models.samples import SampleCounts
from xlrm.scorers import labelers
from xlrm.scorers.interface import Scoring
from xlrm.store.jsonl import write_jsonl
from xlrm.training import curves


class Config(Scoring):
    language: str
    """Language of the responses."""
    labelers: tuple[str, ...]
    """Names of the reward models, in their input order, in which the policies that they trained are too: the languages they were
    trained in."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    places = range(len(config.labelers))
    own = tuple(sampled.file(place, "eval", config.language) for place in places)
    return {"samples": own[:1], "answers": (*own, SampleCounts.FILE)}


def run(
    config: Config, *, samples: list[Path], answers: list[Path], reward_models: list[Path], policy: Path,
    policies: list[Path], output: Path,
) -> dict[str, float]:  # fmt: skip
    """Writes results.json, rewards.jsonl with the rewards and divergences of every response, and observed_rewards.jsonl with
    the rewards of those that the trainings kept. `samples`: those of `policy`, before the training, whose response number 0
    counts; `answers`: those of `policies`. Raises DataError for responses to different prompts, and ArtifactError for a
    reward model among the policies, or a policy among the reward models."""
    labelers.check(config.labelers, policies, "gains", "policies")
    reference = sampled.read(samples, 0, "eval", config.language)
    answered = {
        name: sampled.read(answers, place, "eval", config.language) for place, name in enumerate(config.labelers)
    }
    rows = policy_gains.together(reference, answered)
    answered = {name: [others[name] for _, others in rows] for name in config.labelers}
    trained = dict(zip(config.labelers, policies, strict=True))
    temperature = SampleCounts.read(answers[0]).temperature("eval")
    divergences = divergence.of_policies(policy, trained, answered, temperature or 1.0)
    kept = {name: responses for name, folder in trained.items() if (responses := observed.read(folder))}
    rewarded, scored = policy_gains.rewards(rows, kept, config.labelers, reward_models, config, output)
    if scored:
        observed.write_scored(output, scored)
    write_jsonl(output / "rewards.jsonl", policy_gains.reward_rows(rows, rewarded, divergences))
    subsets = [row.get("subset") or "" for row in reference]
    over_steps = {name: observed.curve(responses) for name, responses in scored.items()}
    curves.to_run(observed.points(over_steps))
    results = PolicyGains(
        language=config.language, prompts=len(rows), subsets=dict(Counter(filter(None, subsets))),
        labelers=config.labelers, increases=policy_gains.increases(rewarded, config.labelers, subsets),
        temperature=temperature,
        kl={name: policy_gains.mean_divergence(of, subsets) for name, of in divergences.items()},
        characters={name: fmean(len(text) for row in of for text in row["responses"]) for name, of in answered.items()},
        reference_characters=fmean(len(row["responses"][0]) for row in reference),
        curves=over_steps,
    )  # fmt: skip
    results.write(output)
    return results.metrics
