"""Paper B: does a reward model of one language optimise the policies of others, by best-of-n and by reinforcement learning?

Each component has one loop over the labels of its steps, which `configure` shares out to as many pods as the placement has:
36 trainings of six languages are one loop over two texts of 18 labels. Loops in loops, over sources and targets, would have a
driver, an executor and their copies for each pair, and a server shows no run whose status exceeds 1 MB
(docs/kubeflow.md).
"""

from functools import partial
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.report import report
from pipelines import frame
from pipelines.cross_lingual_transfer import policies, reward_models
from pipelines.frame import Place
from pipelines.placement import Placement
from pipelines.platform import placed


def _reuse(place: Place, left: dict[str, Any]) -> None:
    """The tasks after the reward models: the component `reward` fine-tunes a language's policy, and then trains the reward
    model that starts from it; `evaluate` also lets every reward model choose the best of n samples; `align` trains policies
    by reinforcement learning, whose responses `answer` samples and scores."""
    _, trained = reward_models(place, left)
    answered = policies(place, left, trained)
    place(report(steps="judge,register,reuse_report")).after(answered)


def build(placement: Placement) -> BaseComponent:
    """The pipeline, with its tasks on the hardware of the placement."""
    place = partial(placed, placement=placement)

    @dsl.pipeline(name="reuse-rewards")
    def reuse_rewards(
        base_model: str = "",
        experiment: str = "",
        experiment_name: str = "",
        overrides: dict = {},  # noqa: B006
        preset: str = "paper_b_summarization",
        target_languages: list = [],  # noqa: B006
    ) -> None:
        """Fine-tune a policy and train a reward model in every language, and optimise every policy by every reward model.

        Args:
            base_model: Base model on the Hub, OWNER/NAME; if empty, the preset's.
            experiment: A whole experiment in YAML on one line, with the fields of a file in configs/; if empty, the preset.
            experiment_name: Name of the MLflow experiment; if empty, the preset's.
            overrides: Any setting of any stage, such as {"best_of_n.n": 16, "rl.beta": 0.05}.
            preset: An experiment of configs/ for this pipeline: paper_b_summarization, paper_b_dialog, demo_reuse.
            target_languages: Languages beside the source, such as ["es", "ru"]; if empty, the preset's.
        """
        with frame.experiment(
            place, placement, "reuse-rewards", preset=preset, experiment=experiment, name=experiment_name,
            targets=target_languages, base_model=base_model, preferences=[], pairs=0, overrides=overrides,
        ) as left:  # fmt: skip
            _reuse(place, left)

    return reuse_rewards
