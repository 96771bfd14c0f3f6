"""Component of `xlrm.stages.register`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def register(
    experiment: dict,
    source_model: dsl.Input[dsl.Model],
    source_evaluation: dsl.Input[dsl.Artifact],
    registered: dsl.Output[dsl.Artifact],
    decision: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
    target_models: dsl.Input[list[dsl.Model]] = None,
    target_evaluations: dsl.Input[list[dsl.Artifact]] = None,
    gate: str = "",
) -> str:
    """Registers every reward model in MLflow, and makes those champions that are better than the champion.

    Args:
        gate: report or enforce, before the experiment's own.

    Returns:
        Why the run is to end in the task `gate`, where one that is enforced refuses a model; else nothing.
    """
    from components._fan_in import collected
    from components._stage import run_gated

    inputs = {
        "reward_models": collected([source_model, *(target_models or ())], "reward"),
        "evaluations": collected([source_evaluation, *(target_evaluations or ())], "evaluate"),
    }
    return run_gated("register", experiment, inputs, registered, metrics, "gate.md", decision, gate=gate or None)
