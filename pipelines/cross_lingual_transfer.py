"""Paper A: do reward models trained in one language serve others, in evaluation and in alignment?"""

from functools import partial
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.align import align
from components.answer import answer
from components.base import base
from components.curate import curate
from components.evaluate import evaluate
from components.report import report
from components.reward import reward
from components.sample import sample
from components.translate import translate
from components.validate import validate
from pipelines import frame
from pipelines.frame import Place
from pipelines.placement import Placement
from pipelines.platform import placed


def reward_models(place: Place, left: dict[str, Any]) -> tuple[dsl.PipelineTask, dsl.PipelineTask]:
    """The tasks from the sources to the reward models; returns those of the base model and of the reward models. `left`:
    component -> its unfinished steps, a text for each pod. An empty loop ends at once, so that finished steps start no pod
    and request no GPU."""
    curated = place(curate(steps="curate,plan"))
    with dsl.ParallelFor(left["translate"], name="translations") as steps:
        translated = place(translate(steps=steps)).after(curated)
    validated = place(validate(steps="validate")).after(translated)
    start = place(base(steps="base")).after(validated)  # needs no data and no model
    with dsl.ParallelFor(left["reward"], name="reward-models") as steps:
        trained = place(reward(steps=steps)).after(start)
    return start, trained


def policies(
    place: Place, left: dict[str, Any], start: dsl.PipelineTask, *trained: dsl.PipelineTask
) -> dsl.PipelineTask:
    """The tasks from the samples to the responses of trained policies, the last of which it returns. `start`: the task before
    the samples, `trained`: those before the evaluations beside them."""
    with dsl.ParallelFor(left["sample"], name="samples") as steps:
        sampled = place(sample(steps=steps)).after(start)
    with dsl.ParallelFor(left["evaluate"], name="evaluations") as steps:
        evaluated = place(evaluate(steps=steps)).after(*trained, sampled)
    with dsl.ParallelFor(left["align"], name="policies") as steps:
        aligned = place(align(steps=steps)).after(evaluated)
    with dsl.ParallelFor(left["answer"], name="answers") as steps:
        answered = place(answer(steps=steps)).after(aligned)
    return answered


def _transfer(place: Place, left: dict[str, Any]) -> None:
    start, trained = reward_models(place, left)
    answered = policies(place, left, start, trained)
    place(report(steps="judge,register,report")).after(answered)


def build(placement: Placement) -> BaseComponent:
    """The pipeline, with its tasks on the hardware of the placement."""
    place = partial(placed, placement=placement)

    @dsl.pipeline(name="cross-lingual-transfer")
    def cross_lingual_transfer(
        base_model: str = "",
        experiment: str = "",
        experiment_name: str = "",
        overrides: dict = {},  # noqa: B006
        pairs_per_source: int = 0,
        preference_sets: list = [],  # noqa: B006
        preset: str = "paper_a_qwen",
        target_languages: list = [],  # noqa: B006
    ) -> None:
        """Train reward models in one language and in others, compare them in all, and align policies with them.

        Args:
            base_model: Base model on the Hub, OWNER/NAME; if empty, the preset's.
            experiment: A whole experiment in YAML on one line, with the fields of a file in configs/; if empty, the preset.
            experiment_name: Name of the MLflow experiment; if empty, the preset's.
            overrides: Any setting of any stage, such as {"reward.learning_rate": 2e-5, "align.beta": 0.05}.
            pairs_per_source: Maximum preference pairs from each source; if 0, the preset's.
            preference_sets: Preference sets by name, or as hub:OWNER/NAME; if empty, the preset's.
            preset: An experiment of configs/, such as paper_a_llama, paper_a_qwen, demo, demo_short.
            target_languages: Languages beside the source, such as ["es", "ko"]; if empty, the preset's. None: override targets.
        """
        with frame.experiment(
            place, placement, "cross-lingual-transfer", preset=preset, experiment=experiment, name=experiment_name,
            targets=target_languages, base_model=base_model, preferences=preference_sets, pairs=pairs_per_source,
            overrides=overrides,
        ) as left:  # fmt: skip
            _transfer(place, left)

    return cross_lingual_transfer
