"""Paper A: do reward models trained in one language serve others, in evaluation and in alignment?"""

from typing import Any

from kfp import dsl

from components._conclude import conclude
from components._configure import configure
from components._gate import gate
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
from pipelines.platform import placed, trained
from pipelines.presets import PRESETS


def data(experiment: dict, source: str, targets: list) -> tuple[dsl.PipelineTask, dsl.Dataset]:
    """The task that curates, and the corpora of all languages."""
    curated = placed(curate(experiment=experiment, language=source))
    corpus = curated.outputs["corpus"]
    parts = placed(plan(experiment=experiment, targets=targets, corpus=corpus)).outputs["Output"]
    with dsl.ParallelFor(parts) as part:
        translated = placed(translate(experiment=experiment, language=part.language, shard=part.shard, corpus=corpus))
    validated = placed(
        validate(experiment=experiment, source=corpus, translations=dsl.Collected(translated.outputs["translation"]))
    )
    return curated, validated.outputs["corpora"]


def _aligned(
    experiment: dict,
    source: str,
    target: str,
    base: Any,
    source_model: Any,
    target_model: Any,
    samples: Any,
    corpora: Any,
) -> dsl.PipelineTask:
    """The judge's task: policies aligned by either reward model, against the one they came from."""
    ranked = placed(
        rank(
            experiment=experiment, source=source, language=target, samples=samples,
            source_model=source_model, target_model=target_model,
        )
    ).outputs["ranked"]  # fmt: skip
    by_source = trained(
        align,
        experiment=experiment,
        language=target,
        labeler=source,
        policy=base,
        ranked=ranked,
    ).outputs["aligned"]
    by_target = trained(
        align,
        experiment=experiment,
        language=target,
        labeler=target,
        policy=base,
        ranked=ranked,
    ).outputs["aligned"]
    candidates = placed(
        sample(
            experiment=experiment, language=target, split="eval", corpora=corpora,
            policy=by_source, second_policy=by_target,
        )
    ).outputs["samples"]  # fmt: skip
    return placed(
        judge(experiment=experiment, source=source, language=target, reference=samples, candidates=candidates)
    )


@dsl.pipeline(name="transfer")
def transfer(experiment: dict, source: str, targets: list):
    """Everything from the data to the report, of an experiment that is settled.

    A pipeline of its own, because in a loop of KFP's local runner each output of a task beside the loop passes for the
    loop's item, and inputs of the pipeline do not.
    """
    curated, corpora = data(experiment, source, targets)
    elsewhere = placed(external(experiment=experiment, source=source, targets=targets, corpora=corpora))
    model = placed(base(experiment=experiment)).after(curated).outputs["model"]  # no data, no model

    source_model = trained(reward, experiment=experiment, language=source, base=model, corpora=corpora).outputs["model"]
    source_evaluation = placed(
        evaluate(
            experiment=experiment, language=source, source=source, targets=targets, model=source_model, corpora=corpora
        )
    ).outputs["evaluation"]
    samples = placed(
        sample(experiment=experiment, languages=targets, split="all", corpora=corpora, policy=model)
    ).outputs["samples"]

    with dsl.ParallelFor(targets) as target:
        target_model = trained(reward, experiment=experiment, language=target, base=model, corpora=corpora)
        target_evaluation = placed(
            evaluate(
                experiment=experiment, language=target, source=source, targets=targets,
                model=target_model.outputs["model"], corpora=corpora,
            )
        )  # fmt: skip
        judged = _aligned(
            experiment, source, target, model, source_model, target_model.outputs["model"], samples, corpora
        )

    represented = placed(
        represent(
            experiment=experiment, source=source, targets=targets, base=model, source_model=source_model,
            target_models=dsl.Collected(target_model.outputs["model"]), corpora=corpora,
        )
    )  # fmt: skip
    registered = placed(
        register(
            experiment=experiment, source_model=source_model, source_evaluation=source_evaluation,
            target_models=dsl.Collected(target_model.outputs["model"]),
            target_evaluations=dsl.Collected(target_evaluation.outputs["evaluation"]),
        )
    )  # fmt: skip
    passed = placed(gate(refused=registered.outputs["Output"]))
    placed(
        report(
            experiment=experiment, corpora=corpora, source_evaluation=source_evaluation,
            target_evaluations=dsl.Collected(target_evaluation.outputs["evaluation"]),
            representations=represented.outputs["representations"],
            verdicts=dsl.Collected(judged.outputs["verdicts"]), registered=registered.outputs["registered"],
            external=elsewhere.outputs["evaluation"],
        )
    ).after(passed)  # fmt: skip


@dsl.pipeline(name="cross-lingual-transfer")
def cross_lingual_transfer(
    base_model: str = "",
    experiment: dict = {},  # noqa: B006
    name: str = "",
    overrides: dict = {},  # noqa: B006
    pairs: int = 0,
    preferences: list = [],  # noqa: B006
    preset: str = "paper_a_qwen",
    targets: list = [],  # noqa: B006
):
    """Train reward models in one language and in others, compare them in all, and align policies with them.

    Args:
        base_model: Base model on the Hub, OWNER/NAME. The preset's, when empty.
        experiment: A whole experiment instead of a preset, as `python -m pipelines submit` writes it from a file.
        name: Name of the MLflow experiment. The preset's, when empty.
        overrides: Any setting of any stage, such as {"reward.learning_rate": 2e-5, "align.beta": 0.05}.
        pairs: Preference pairs from each source, at most. The preset's, when 0.
        preferences: Preference sets by name, or as hub:OWNER/NAME. The preset's, when empty.
        preset: An experiment of configs/, such as paper_a_llama, paper_a_qwen, demo, demo_short.
        targets: Languages beside the source, such as ["es", "ko"]; each gets a reward model and aligned policies.
    """
    with dsl.ExitHandler(placed(conclude(pipeline="cross-lingual-transfer"))):
        settled = placed(
            configure(
                presets=PRESETS, preset=preset, experiment=experiment, name=name, targets=targets,
                base_model=base_model, preferences=preferences, pairs=pairs, overrides=overrides,
            )
        )  # fmt: skip
        transfer(**{name: settled.outputs[name] for name in ("experiment", "source", "targets")})
