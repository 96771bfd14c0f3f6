"""Component of `xlrm.stages.evaluate`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("train"), install_kfp_package=False)
def evaluate(
    experiment: dict,
    language: str,
    source: str,
    targets: list,
    model: dsl.Input[dsl.Model],
    corpora: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
):
    """Evaluates one reward model on the benchmark of every language."""
    from components._stage import run

    inputs = {"model": model, "corpora": corpora}
    run("evaluate", experiment, inputs, evaluation, metrics, summary, language=language, languages=[source, *targets])
