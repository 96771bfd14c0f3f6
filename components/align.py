"""Component of `xlrm.stages.align`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("train"), install_kfp_package=False)
def align(
    experiment: dict,
    language: str,
    labeler: str,
    policy: dsl.Input[dsl.Model],
    ranked: dsl.Input[dsl.Dataset],
    aligned: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
):
    """Aligns the policy to one reward model's preferences by DPO."""
    from components._stage import run

    inputs = {"policy": policy.uri, "ranked": ranked.uri}
    run("align", experiment, inputs, aligned, metrics, language=language, labeler=labeler)
