"""Component of `xlrm.stages.represent`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("train"), install_kfp_package=False)
def represent(
    experiment: dict,
    source: str,
    targets: list,
    base: dsl.Input[dsl.Model],
    source_model: dsl.Input[dsl.Model],
    target_models: dsl.Input[list[dsl.Model]],
    corpora: dsl.Input[dsl.Dataset],
    representations: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
):
    """Compares the representations of the base model and of every reward model across languages."""
    from components._fan_in import collected
    from components._stage import run

    models = collected([source_model, *target_models], "reward")
    inputs = {"base": base, "reward_models": models, "corpora": corpora}
    run("represent", experiment, inputs, representations, metrics, summary, languages=[source, *targets])
