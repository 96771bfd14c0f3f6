"""Component of `xlrm.stages.register`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def register(
    experiment: dict,
    source_model: dsl.Input[dsl.Model],
    source_evaluation: dsl.Input[dsl.Artifact],
    target_models: dsl.Input[list[dsl.Model]],
    target_evaluations: dsl.Input[list[dsl.Artifact]],
    registered: dsl.Output[dsl.Artifact],
    decision: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
):
    """Registers every reward model in MLflow, and makes those champions that are better than the champion."""
    from components._stage import run, show

    models = [source_model.uri, *(one.uri for one in target_models)]
    evaluations = [source_evaluation.uri, *(one.uri for one in target_evaluations)]
    inputs = {"reward_models": models, "evaluations": evaluations}
    show(run("register", experiment, inputs, registered, metrics), "gate.md", decision)
