"""Component of `xlrm.stages.register`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def register(
    experiment: dict,
    source_model: dsl.Input[dsl.Model],
    source_evaluation: dsl.Input[dsl.Artifact],
    registered: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    target_models: dsl.Input[list[dsl.Model]] = None,
    target_evaluations: dsl.Input[list[dsl.Artifact]] = None,
    gate: str = "",
):
    """Registers every reward model in MLflow, with its accuracies; `gate` goes before the experiment's own."""
    from components._stage import run

    models = [source_model.uri, *(one.uri for one in target_models or ())]
    evaluations = [source_evaluation.uri, *(one.uri for one in target_evaluations or ())]
    inputs = {"reward_models": models, "evaluations": evaluations}
    run("register", experiment, inputs, registered, metrics, gate=gate or None)
