"""The steps of each pipeline for an experiment. Only this module, `data_steps` and `reuse_steps` say what each stage reads."""

from dataclasses import replace
from typing import Any

from xlrm.errors import ConfigError
from xlrm.languages import defined
from xlrm.run import judges
from xlrm.run.data_steps import data
from xlrm.run.reuse_steps import reuse_rewards
from xlrm.run.sections import CROSS_LINGUAL, POLICY, REFERENCE, RETRAIN, REUSE, Experiment
from xlrm.run.step import Inputs, Step, Steps

__all__ = ["PIPELINES", "Inputs", "Step", "Steps", "steps"]


def steps(pipeline: str, experiment: Experiment) -> Steps:
    """Label -> step of a pipeline of PIPELINES. Raises ConfigError for another name."""
    if pipeline not in PIPELINES:
        raise ConfigError(
            "no such pipeline", where="pipeline", value=pipeline, hint=f"there are {', '.join(PIPELINES)}"
        )
    made = [_in_section(step, experiment) for step in PIPELINES[pipeline](experiment)]
    return {step.label: step for step in made}


def _in_section(step: Step, experiment: Experiment) -> Step:
    config = experiment.stages.get(step.section or step.stage, {}) | step.config
    more = defined(experiment.more_languages, _languages(step, experiment))
    return replace(step, config=config | ({"more_languages": more} if more else {}))


def _languages(step: Step, experiment: Experiment) -> set[str]:
    """Codes of the languages that the stage looks up."""
    if step.stage not in LOOK_UP:
        return set()
    if step.stage in ("validate", "report", "reuse_report") or experiment.pipeline == REUSE:
        return set(experiment.languages)
    named = [*step.config.get("language", "").split("+"), *step.config.get("targets", ())]
    return {*named, *([experiment.source] if step.stage in ("plan", "translate") else ())}


LOOK_UP = ("curate", "plan", "translate", "validate", "sft", "reward", "report", "reuse_report")
"""Stages whose config has the field `more_languages`."""


def _reward(language: str) -> Step:
    return Step("reward", (language,), {"language": language}, {"base": "base", "corpora": "validate"})


def _evaluation(experiment: Experiment, language: str) -> Step:
    given = {"language": language, "languages": list(experiment.languages)}
    return Step("evaluate", (language,), given, {"model": f"reward-{language}", "corpora": "validate"})


def _models(languages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"reward-{language}" for language in languages)


def _evaluations(languages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"evaluate-{language}" for language in languages)


def _policy(experiment: Experiment) -> list[Step]:
    """The `base` step of the model to align, if that is not the reward models' base."""
    given = experiment.stages.get(POLICY)
    tuned: Inputs = {"start": "base"} if given and given.get("tuning") is not None else {}
    return [Step("base", (POLICY,), experiment.policy, tuned, POLICY)] if given else []


def _alignment(experiment: Experiment) -> list[Step]:
    """Steps that align policies by rewards and judge their responses; none without prompts to align on."""
    if experiment.setting("curate", "prompts") is None:
        return []
    own = _policy(experiment)
    policy = own[0].label if own else "base"
    return [
        *own,
        *(step for language in experiment.aligned for step in _before(experiment, language, policy)),
        *(step for language in experiment.aligned for step in _reference(experiment, language)),
        *(step for language in experiment.aligned for step in _aligned(experiment, language, policy)),
    ]


def _before(experiment: Experiment, language: str, policy: str) -> list[Step]:
    """Steps that sample the policy before alignment, one for each shard of the prompts of a language."""
    given = {"languages": [language], "split": "all"}
    elsewhere = experiment.setting("sample", "served") or experiment.setting("sample", "given")
    inputs: Inputs = {"corpora": "validate"} | ({} if elsewhere else {"policies": (policy,)})
    shards = int(experiment.setting("sample", "shards"))  # Kubeflow only has floats
    if shards == 1:
        return [Step("sample", (POLICY, language), given, inputs)]
    return [
        Step("sample", (POLICY, language, f"{number}of{shards}"), given | {"shard": f"{number}/{shards}"}, inputs)
        for number in range(1, shards + 1)
    ]


def _reference(experiment: Experiment, language: str) -> list[Step]:
    """The step of the responses that a judge compares policies with, if there is a section for them."""
    if not (experiment.stages.get(REFERENCE) and _judged(experiment)):
        return []
    given = {"languages": [language], "split": "eval", "eval_prompts": experiment.setting("sample", "eval_prompts")}
    return [Step("sample", (REFERENCE, language), given, {"corpora": "validate"}, section=REFERENCE)]


def _judged(experiment: Experiment) -> bool:
    return experiment.setting("judge", "judge") is not None


def _aligned(experiment: Experiment, language: str, policy: str) -> list[Step]:
    """Steps that align a policy with the source's and one with the language's own reward model, by DPO and, with a section
    `rl`, online too, and compare their responses with those of the policy they were trained from."""
    labelers = list(dict.fromkeys((experiment.source, language)))
    given = {"language": language, "labelers": labelers}
    online = [_online(experiment, language, code, policy) for code in labelers] if "rl" in experiment.stages else []
    policies = (*(f"align-{language}-{code}" for code in labelers), *(step.label for step in online))
    systems = [*labelers, *(f"{experiment.setting('rl', 'method')}-{code}" for code in labelers if online)]
    before = tuple(step.label for step in _before(experiment, language, policy))
    ranked: Inputs = {"samples": before, "reward_models": _models(tuple(labelers))}
    answers = {"languages": [language], "split": "eval", "served": None, "given": None}
    compared = tuple(step.label for step in _reference(experiment, language))
    judged = Step(
        "judge", (language,), given | {"labelers": systems} | judges.settings(experiment, language),
        {"reference": compared or before, "candidates": (f"sample-{language}",)} | ({"base": before} if compared else {}),
    )  # fmt: skip
    return [
        Step("rank", (language,), given, ranked),
        *(
            Step(
                "align", (language, code), {"language": language, "labeler": code},
                {"policy": policy, "ranked": f"rank-{language}"},
            )
            for code in labelers
        ),
        *online,
        Step("sample", (language,), answers, {"policies": policies, "corpora": "validate"}),
        *([judged] if _judged(experiment) else []),
    ]  # fmt: skip


def _online(experiment: Experiment, language: str, labeler: str, policy: str) -> Step:
    """The step that trains a policy on its own responses. A reward server makes the reward model's artifact unnecessary."""
    model = {} if experiment.setting("rl", "reward_url") else {"reward_model": f"reward-{labeler}"}
    return Step(
        "rl", (language, labeler), {"language": language, "labeler": labeler},
        {"policy": policy, "corpora": "validate", **model},
    )  # fmt: skip


def _representations(experiment: Experiment) -> list[Step]:
    """The step that compares representations, if there are texts to compare them of."""
    if not experiment.represented:
        return []
    inputs: Inputs = {"base": "base", "reward_models": _models(experiment.languages), "corpora": "validate"}
    return [Step("represent", config={"languages": list(experiment.languages)}, inputs=inputs)]


def _registration(experiment: Experiment, languages: tuple[str, ...], **given: Any) -> Step:
    inputs: Inputs = {"reward_models": _models(languages), "evaluations": _evaluations(languages)}
    return Step("register", config={"prefix": experiment.prefix, **given}, inputs=inputs)


def cross_lingual_transfer(experiment: Experiment) -> list[Step]:
    """Paper A: a reward model and aligned policies for every language, compared in all languages."""
    languages, alignment = experiment.languages, _alignment(experiment)
    represented = _representations(experiment)
    evaluations = _evaluations(languages)
    verdicts = tuple(step.label for step in alignment if step.stage == "judge")
    policies = tuple(step.label for step in alignment if step.stage in ("align", "rl"))
    return [
        *data(experiment),
        Step("base"),
        *(_reward(language) for language in languages),
        *(_evaluation(experiment, language) for language in languages),
        Step("external", config={"languages": list(languages)}, inputs={"corpora": "validate"}),
        *alignment,
        *represented,
        _registration(experiment, languages),
        Step(
            "report", config={"run": experiment.name}, shows_refusals=True,
            inputs={
                "curated": "curate", "corpora": "validate", "evaluations": evaluations, "registered": "register",
                "external": "external",
                **({"representations": "represent"} if represented else {}), **({"verdicts": verdicts} if verdicts else {}),
                **({"policies": policies} if policies else {}),
            },
        ),
    ]  # fmt: skip


def retrain(experiment: Experiment) -> list[Step]:
    """The source language's reward model, which has to be better than the champion. In other languages it is evaluated
    but none is trained, so only the benchmark is translated."""
    source = experiment.source
    evaluations = _evaluations((source,))
    return [
        *data(experiment, ("benchmark",)), Step("base"), _reward(source), _evaluation(experiment, source),
        _registration(experiment, (source,), gate="enforce"),
        Step(
            "report", config={"run": experiment.name}, shows_refusals=True,
            inputs={"curated": "curate", "corpora": "validate", "evaluations": evaluations, "registered": "register"},
        ),
    ]  # fmt: skip


PIPELINES = {CROSS_LINGUAL: cross_lingual_transfer, RETRAIN: retrain, REUSE: reuse_rewards}
