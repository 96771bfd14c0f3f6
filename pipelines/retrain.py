"""Retraining, as continuous integration starts it: a new reward model, which has to be better than the champion."""

from kfp import dsl

from components._conclude import conclude
from components._configure import configure
from components._gate import gate
from components.base import base
from components.evaluate import evaluate
from components.register import register
from components.reward import reward
from pipelines.cross_lingual_transfer import data
from pipelines.platform import placed, trained
from pipelines.presets import PRESETS


@dsl.pipeline(name="retraining")
def retraining(experiment: dict, source: str, targets: list):
    """The source language's reward model, of an experiment that is settled."""
    curated, corpora = data(experiment, source, targets)
    start = placed(base(experiment=experiment)).after(curated).outputs["model"]  # no data, no model
    model = trained(reward, experiment=experiment, language=source, base=start, corpora=corpora).outputs["model"]
    evaluation = placed(
        evaluate(experiment=experiment, language=source, source=source, targets=targets, model=model, corpora=corpora)
    ).outputs["evaluation"]
    registered = placed(
        register(experiment=experiment, source_model=model, source_evaluation=evaluation, gate="enforce")
    )
    placed(gate(refused=registered.outputs["Output"]))


@dsl.pipeline(name="retrain")
def retrain(
    experiment: dict = {},  # noqa: B006
    name: str = "",
    overrides: dict = {},  # noqa: B006
    preset: str = "paper_a_qwen",
    targets: list = [],  # noqa: B006
):
    """Train the source language's reward model anew, and let it replace the champion if it is better, else fail.

    Args:
        experiment: A whole experiment instead of a preset, as `python -m pipelines submit` writes it from a file.
        name: Name of the MLflow experiment. The preset's, when empty.
        overrides: Any setting of any stage, such as {"curate.preferences": ["helpsteer2"], "reward.learning_rate": 2e-5}.
        preset: An experiment of configs/, such as paper_a_llama, paper_a_qwen, demo, demo_short.
        targets: Languages beside the source to evaluate the reward model in, such as ["es", "ko"].
    """
    with dsl.ExitHandler(placed(conclude(pipeline="retrain"))):
        settled = placed(
            configure(
                presets=PRESETS, preset=preset, experiment=experiment, name=name, targets=targets,
                base_model="", preferences=[], pairs=0, overrides=overrides,
            )
        )  # fmt: skip
        retraining(**{name: settled.outputs[name] for name in ("experiment", "source", "targets")})
