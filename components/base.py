"""Component of `xlrm.stages.base`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("train"), install_kfp_package=False)
def base(
    experiment: dict,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
):
    """Fetches the base model, or pretrains the tiny one."""
    from components._stage import run

    run("base", experiment, {}, model, metrics, summary)
