"""Retraining, as continuous integration starts it: a new reward model, which has to be better than the champion."""

from functools import partial

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.evaluate import evaluate
from components.report import report
from pipelines import frame
from pipelines.cross_lingual_transfer import reward_models
from pipelines.placement import Placement
from pipelines.platform import placed


def build(placement: Placement) -> BaseComponent:
    """The pipeline, with its tasks on the hardware of the placement."""
    place = partial(placed, placement=placement)

    @dsl.pipeline(name="retrain")
    def retrain(
        experiment: str = "",
        experiment_name: str = "",
        overrides: dict = {},  # noqa: B006
        preset: str = "paper_a_qwen",
        target_languages: list = [],  # noqa: B006
    ) -> None:
        """Train the source language's reward model anew, and let it replace the champion if it is better, else fail.

        Args:
            experiment: A whole experiment in YAML on one line, with the fields of a file in configs/; if empty, the preset.
            experiment_name: Name of the MLflow experiment; if empty, the preset's.
            overrides: Any setting of any stage, such as {"curate.preferences": ["helpsteer2"], "reward.learning_rate": 2e-5}.
            preset: An experiment of configs/, such as paper_a_llama, paper_a_qwen, demo, demo_short.
            target_languages: Languages beside the source to evaluate in, such as ["es", "ko"]; if empty, the preset's.
        """
        with frame.experiment(
            place, placement, "retrain", preset=preset, experiment=experiment, name=experiment_name,
            targets=target_languages, base_model="", preferences=[], pairs=0, overrides=overrides,
        ) as left:  # fmt: skip
            _, trained = reward_models(place, left)
            with dsl.ParallelFor(left["evaluate"], name="evaluations") as steps:
                evaluated = place(evaluate(steps=steps)).after(trained)
            place(report(steps="register,report")).after(evaluated)

    return retrain
