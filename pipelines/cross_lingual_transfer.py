"""Paper A: do reward models trained in one language serve others, in evaluation and in alignment?"""

from kfp import dsl

from components.align import align
from components.base import base
from components.curate import curate
from components.evaluate import evaluate
from components.external import external
from components.judge import judge
from components.plan import plan
from components.rank import rank
from components.register import register
from components.report import report
from components.represent import represent
from components.reward import reward
from components.sample import sample
from components.translate import translate
from components.validate import validate
from pipelines.platform import TRAINING_GPUS, on_cpu, on_gpu


@dsl.pipeline(
    name="cross-lingual-transfer",
    description="Train reward models in one language and in others, compare them in all, and align policies with them.",
)
def cross_lingual_transfer(
    experiment: dict,
    source: str = "en",
    targets: list = ["es", "it", "ko", "zh"],  # noqa: B006
) -> dsl.Artifact:
    """
    Args:
        experiment: The experiment, as `python -m pipelines run` and `submit` write it from a file of configs/.
        source: Language of the preference data.
        targets: Languages it is translated into; each gets a reward model and aligned policies.
    """
    curated = on_cpu(curate(experiment=experiment, language=source))
    corpus = curated.outputs["corpus"]
    parts = on_cpu(plan(experiment=experiment, targets=targets, corpus=corpus)).outputs["Output"]
    with dsl.ParallelFor(parts) as part:
        translated = on_gpu(translate(experiment=experiment, language=part.language, shard=part.shard, corpus=corpus))
    validated = on_cpu(
        validate(experiment=experiment, source=corpus, translations=dsl.Collected(translated.outputs["translation"]))
    )
    corpora = validated.outputs["corpora"]
    elsewhere = on_gpu(external(experiment=experiment, source=source, targets=targets, corpora=corpora))
    model = on_gpu(base(experiment=experiment)).after(curated).outputs["model"]  # no data, no model

    source_model = on_gpu(
        reward(experiment=experiment, language=source, base=model, corpora=corpora), TRAINING_GPUS, memory="256Gi"
    ).outputs["model"]
    source_evaluation = on_gpu(
        evaluate(
            experiment=experiment, language=source, source=source, targets=targets, model=source_model, corpora=corpora
        )
    ).outputs["evaluation"]
    samples = on_gpu(
        sample(experiment=experiment, languages=targets, split="all", corpora=corpora, policy=model)
    ).outputs["samples"]

    with dsl.ParallelFor(targets) as target:
        target_model = on_gpu(
            reward(experiment=experiment, language=target, base=model, corpora=corpora), TRAINING_GPUS, memory="256Gi"
        )
        target_evaluation = on_gpu(
            evaluate(
                experiment=experiment, language=target, source=source, targets=targets,
                model=target_model.outputs["model"], corpora=corpora,
            )
        )  # fmt: skip
        ranked = on_gpu(
            rank(
                experiment=experiment, source=source, language=target, samples=samples,
                source_model=source_model, target_model=target_model.outputs["model"],
            )
        ).outputs["ranked"]  # fmt: skip
        by_source = on_gpu(
            align(experiment=experiment, language=target, labeler=source, policy=model, ranked=ranked)
        ).outputs["aligned"]
        by_target = on_gpu(
            align(experiment=experiment, language=target, labeler=target, policy=model, ranked=ranked)
        ).outputs["aligned"]
        candidates = on_gpu(
            sample(
                experiment=experiment, language=target, split="eval", corpora=corpora,
                policy=by_source, second_policy=by_target,
            )
        ).outputs["samples"]  # fmt: skip
        judged = on_cpu(
            judge(experiment=experiment, source=source, language=target, reference=samples, candidates=candidates)
        )

    represented = on_gpu(
        represent(
            experiment=experiment, source=source, targets=targets, base=model, source_model=source_model,
            target_models=dsl.Collected(target_model.outputs["model"]), corpora=corpora,
        )
    )  # fmt: skip
    registered = on_cpu(
        register(
            experiment=experiment, source_model=source_model, source_evaluation=source_evaluation,
            target_models=dsl.Collected(target_model.outputs["model"]),
            target_evaluations=dsl.Collected(target_evaluation.outputs["evaluation"]),
        )
    )  # fmt: skip
    page = on_cpu(
        report(
            experiment=experiment, corpora=corpora, source_evaluation=source_evaluation,
            target_evaluations=dsl.Collected(target_evaluation.outputs["evaluation"]),
            representations=represented.outputs["representations"],
            verdicts=dsl.Collected(judged.outputs["verdicts"]), registered=registered.outputs["registered"],
            external=elsewhere.outputs["evaluation"],
        )
    )  # fmt: skip
    return page.outputs["page"]
