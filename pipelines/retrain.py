"""Retraining, as continuous integration starts it: a new reward model, which has to be better than the champion."""

from kfp import dsl

from components.base import base
from components.curate import curate
from components.evaluate import evaluate
from components.plan import plan
from components.register import register
from components.reward import reward
from components.translate import translate
from components.validate import validate
from pipelines.platform import TRAINING_GPUS, on_cpu, on_gpu


@dsl.pipeline(
    name="retrain",
    description="Train the source language's reward model anew, evaluate it in all languages, and let it replace the "
    "champion if it is better. The run fails if it is not.",
)
def retrain(
    experiment: dict,
    source: str = "en",
    targets: list = ["es", "it", "ko", "zh"],  # noqa: B006
) -> dsl.Artifact:
    """
    Args:
        experiment: The experiment, as `python -m pipelines submit` writes it from a file of configs/.
        source: Language of the preference data and of the reward model.
        targets: Languages the benchmark is translated into, to evaluate the reward model in.
    """
    curated = on_cpu(curate(experiment=experiment, language=source))
    corpus = curated.outputs["corpus"]
    parts = on_cpu(plan(experiment=experiment, targets=targets, corpus=corpus)).outputs["Output"]
    with dsl.ParallelFor(parts) as part:
        translated = on_gpu(translate(experiment=experiment, language=part.language, shard=part.shard, corpus=corpus))
    corpora = on_cpu(
        validate(experiment=experiment, source=corpus, translations=dsl.Collected(translated.outputs["translation"]))
    ).outputs["corpora"]
    start = on_gpu(base(experiment=experiment)).after(curated).outputs["model"]
    model = on_gpu(
        reward(experiment=experiment, language=source, base=start, corpora=corpora), TRAINING_GPUS, memory="256Gi"
    ).outputs["model"]
    evaluation = on_gpu(
        evaluate(experiment=experiment, language=source, source=source, targets=targets, model=model, corpora=corpora)
    ).outputs["evaluation"]
    registered = on_cpu(
        register(experiment=experiment, source_model=model, source_evaluation=evaluation, gate="enforce")
    )
    return registered.outputs["registered"]
