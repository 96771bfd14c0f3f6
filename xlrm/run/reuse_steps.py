"""Steps of the pipeline `reuse-rewards` (Wu et al. 2024): every language's reward model serves every language's policy."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from xlrm.run import judges, silver_steps
from xlrm.run.data_steps import data
from xlrm.run.sections import SFT, Experiment
from xlrm.run.silver_steps import TranslatedPolicy
from xlrm.run.step import Inputs, Step

RL = "rl"
"""What distinguishes the responses of policies that were trained by reinforcement learning, and their verdicts."""
BEST_OF_N = "best_of_n"


class Labeler(NamedTuple):
    """A reward model that labels a policy's responses."""

    name: str
    """Its language, several joined by + (bilingual), or `S>T` for one of T trained on pairs translated from S."""
    step: str
    """Label of the step that makes it."""


def reuse_rewards(experiment: Experiment) -> list[Step]:
    """Paper B: reward models and policies of every language, each policy optimised by every reward model."""
    languages = experiment.languages
    online = [step for target in languages for step in _online(experiment, target)]
    translated = list(silver_steps.policies(experiment))
    judged = [
        *_judged(experiment, online),
        *(step for each in translated for step in _translated_judged(experiment, each)),
    ]
    return [
        *data(experiment), *silver_steps.corpora(experiment), *silver_steps.demonstrations(experiment),
        Step("base"),
        *_tuned(experiment), *(policy.sft for policy in translated),
        *_models(experiment),
        *(_evaluation(experiment, code) for code in languages),
        *(step for code in languages for step in samples(experiment, code)),
        *(_best_of_n(experiment, code) for code in languages),
        *(step for policy in translated for step in _best_of_translated(experiment, policy)),
        *online,
        *(step for code in languages if online for step in _gains(experiment, code)),
        *(step for policy in translated for step in _translated_online(experiment, policy)),
        *judged,
        Step(
            "register", config={"prefix": experiment.prefix},
            inputs={"reward_models": _labels("reward", languages), "evaluations": _labels("evaluate", languages)},
        ),
        _report(experiment, online, judged),
    ]  # fmt: skip


def _labels(stage: str, languages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{stage}-{code}" for code in languages)


# Models


def _tuned(experiment: Experiment) -> list[Step]:
    """Supervised fine-tuning in each language, and in each pair of languages of a bilingual reward model."""
    codes = (*experiment.languages, *experiment.bilingual)
    return [Step("sft", (code,), {"language": code}, {"base": "base", "corpora": "validate"}) for code in codes]


def _models(experiment: Experiment) -> list[Step]:
    """Reward models, each from the fine-tuned model of its language (paper B, section 4.1), and silver ones."""
    codes = (*experiment.languages, *experiment.bilingual)
    own = [
        Step(
            "reward", (code,), {"language": code} | ({"mixture": "pool"} if code in experiment.bilingual else {}),
            {"base": f"sft-{code}", "corpora": "validate"},
        )
        for code in codes
    ]  # fmt: skip
    return [*own, *silver_steps.reward_models(experiment)]


def _evaluation(experiment: Experiment, language: str) -> Step:
    given = {"language": language, "languages": list(experiment.languages)}
    return Step("evaluate", (language,), given, {"model": f"reward-{language}", "corpora": "validate"})


def labelers(experiment: Experiment, target: str) -> list[Labeler]:
    """Reward models that a target's samples are scored by: those of all languages, bilingual ones, and silver ones of it."""
    codes = (*experiment.languages, *experiment.bilingual)
    silver = [Labeler(f"{source}>{target}", label) for source, label in silver_steps.models_of(experiment, target)]
    return [*(Labeler(code, f"reward-{code}") for code in codes), *silver]


# Best of n


def samples(experiment: Experiment, language: str, policy: str = "", of: tuple[str, ...] = ()) -> Iterator[Step]:
    """Steps that sample a fine-tuned policy, one for each shard of the prompts: response 0 is the policy's own, which every
    verdict compares with; the n after it are candidates."""
    given: dict[str, Any] = {"languages": [language], "split": "eval", "runs": experiment.best_of + 1}
    inputs: Inputs = {"corpora": "validate", "policies": (policy or f"sft-{language}",)}
    shards = int(experiment.setting("sample", "shards"))  # Kubeflow only has floats
    for number in range(1, shards + 1):
        part = ((), {}) if shards == 1 else ((f"{number}of{shards}",), {"shard": f"{number}/{shards}"})
        yield Step("sample", (SFT, language, *of, *part[0]), given | part[1], inputs)


def _sampled(experiment: Experiment, language: str, of: tuple[str, ...] = ()) -> tuple[str, ...]:
    return tuple(step.label for step in samples(experiment, language, of=of))


def _best_of_n(experiment: Experiment, target: str) -> Step:
    models = labelers(experiment, target)
    return Step(
        BEST_OF_N, (target,), {"language": target, "labelers": [model.name for model in models]},
        {"samples": _sampled(experiment, target), "reward_models": tuple(model.step for model in models)},
    )  # fmt: skip


# Reinforcement learning


def _online(experiment: Experiment, target: str) -> list[Step]:
    """A target's policies, one for each language's reward model; none without a section `rl`. A reward server makes the
    reward model's artifact unnecessary."""
    if RL not in experiment.stages:
        return []
    return [_trained(experiment, target, source, f"sft-{target}", (source,)) for source in experiment.languages]


def _trained(experiment: Experiment, target: str, source: str, policy: str, of: tuple[str, ...]) -> Step:
    """The training of a target's policy by the reward model of a source."""
    asked = experiment.setting(RL, "reward_url")
    inputs: Inputs = {
        "policy": policy, "corpora": "validate", **({} if asked else {"reward_model": f"reward-{source}"}),
    }  # fmt: skip
    return Step(RL, (target, *of), {"language": target, "labeler": source}, inputs)


def _answered(target: str, of: tuple[str, ...], policies: tuple[str, ...]) -> Step:
    """Responses of a target's trained policies."""
    given = {"languages": [target], "split": "eval", "runs": 1, "served": None, "given": None}
    return Step("sample", (RL, target, *of), given, {"policies": policies, "corpora": "validate"})


def _gains(experiment: Experiment, target: str) -> list[Step]:
    """Responses of a target's trained policies, and what they gained by every reward model, with their distance from the
    fine-tuned policy."""
    languages = experiment.languages
    policies = tuple(f"{RL}-{target}-{source}" for source in languages)
    answered = _answered(target, (), policies)
    inputs: Inputs = {
        "samples": _sampled(experiment, target), "answers": (answered.label,), "policy": f"sft-{target}",
        "policies": policies, "reward_models": _labels("reward", languages),
    }  # fmt: skip
    return [answered, Step("gains", (target,), {"language": target, "labelers": list(languages)}, inputs)]


# Verdicts


def _judged(experiment: Experiment, online: list[Step]) -> list[Step]:
    """Verdicts on every reward model's choices, and on every trained policy, against the fine-tuned policy's response."""
    if not experiment.judged:
        return []
    chosen = [
        _verdict(
            experiment, BEST_OF_N, code, [model.name for model in labelers(experiment, code)], f"{BEST_OF_N}-{code}"
        )
        for code in experiment.languages
    ]
    answered = [
        _verdict(experiment, RL, code, list(experiment.languages), f"sample-{RL}-{code}")
        for code in experiment.languages
        if online
    ]
    return [*chosen, *answered]


def _verdict(
    experiment: Experiment, of: str, target: str, systems: list[str], candidates: str, *more: str
) -> Step:  # fmt: skip
    policies = 1 + sum(policy.target == target for policy in silver_steps.policies(experiment))
    steps = policies * (1 + (RL in experiment.stages))
    given = {"language": target, "labelers": systems} | judges.settings(experiment, target, steps) | {"reference": SFT}
    inputs: Inputs = {"reference": _sampled(experiment, target), "candidates": (candidates,)}
    return Step("judge", (of, target, *more), given, inputs)


# Policies fine-tuned on translated demonstrations (section 5.3)


def _best_of_translated(experiment: Experiment, policy: TranslatedPolicy) -> list[Step]:
    """Samples of such a policy, and the choices among them of the other language's reward model."""
    drawn = list(samples(experiment, policy.target, policy.sft.label, policy.of))
    chosen = Step(
        BEST_OF_N, (policy.target, *policy.of), {"language": policy.target, "labelers": [policy.source]},
        {"samples": tuple(step.label for step in drawn), "reward_models": (f"reward-{policy.source}",)},
    )  # fmt: skip
    return [*drawn, chosen]


def _translated_online(experiment: Experiment, policy: TranslatedPolicy) -> list[Step]:
    """The training of such a policy by the other language's reward model, and its responses; none without a section `rl`."""
    if RL not in experiment.stages:
        return []
    trained = _trained(experiment, policy.target, policy.source, policy.sft.label, policy.of)
    return [trained, _answered(policy.target, policy.of, (trained.label,))]


def _translated_judged(experiment: Experiment, policy: TranslatedPolicy) -> list[Step]:
    """The verdicts on these choices, and on the trained policy, against the response of the policy that is fine-tuned on the
    target's own texts."""
    candidates = {BEST_OF_N: BEST_OF_N} | ({RL: f"sample-{RL}"} if RL in experiment.stages else {})
    return [
        _verdict(experiment, kind, policy.target, [policy.name], "-".join((of, policy.target, *policy.of)), *policy.of)
        for kind, of in candidates.items()
        if experiment.judged
    ]


# The report


def _report(experiment: Experiment, online: list[Step], judged: list[Step]) -> Step:
    languages = experiment.languages
    translated = [policy.sft.label for policy in silver_steps.policies(experiment)]
    verdicts = {
        f"verdicts_{data}{kind}": tuple(
            step.label for step in judged if step.of[0] == kind and (len(step.of) > 2) == bool(data)
        )
        for data in ("", "translated_")
        for kind in (BEST_OF_N, RL)
    }
    inputs: dict[str, str | tuple[str, ...]] = {
        "curated": "curate", "corpora": "validate", "evaluations": _labels("evaluate", languages),
        "samples": tuple(label for code in languages for label in _sampled(experiment, code)),
        "best_of_n": _labels(BEST_OF_N, languages), "sft": _labels("sft", languages), "registered": "register",
        **({"gains": _labels("gains", languages)} if online else {}),
        **({"sft_translated": tuple(translated)} if translated else {}),
        **{name: labels for name, labels in verdicts.items() if labels},
    }  # fmt: skip
    return Step(
        "reuse_report",
        config={"run": experiment.name, "languages": list(languages)},
        inputs=inputs,
        shows_refusals=True,
    )
