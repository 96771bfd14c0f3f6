"""Component of `xlrm.stages.rank`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("train"), install_kfp_package=False)
def rank(
    experiment: dict,
    source: str,
    language: str,
    samples: dsl.Input[dsl.Dataset],
    source_model: dsl.Input[dsl.Model],
    target_model: dsl.Input[dsl.Model],
    ranked: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
):
    """Pairs the best and the worst response to each prompt, by the source and by the target reward model."""
    from components._stage import run

    inputs = {"samples": samples, "reward_models": [source_model, target_model]}
    run("rank", experiment, inputs, ranked, metrics, summary, language=language, labelers=[source, language])
