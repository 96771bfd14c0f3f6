"""Component of `xlrm.stages.reward`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("train"), install_kfp_package=False)
def reward(
    experiment: dict,
    language: str,
    base: dsl.Input[dsl.Model],
    corpora: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
):
    """Trains a reward model on the preference pairs of one language."""
    from components._stage import run

    run("reward", experiment, {"base": base.uri, "corpora": corpora.uri}, model, metrics, language=language)
