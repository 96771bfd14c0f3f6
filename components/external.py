"""Component of `xlrm.stages.external`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("sample"), install_kfp_package=False)
def external(
    experiment: dict,
    source: str,
    targets: list,
    corpora: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
):
    """Evaluates reward models from elsewhere on the benchmark of every language."""
    from components._stage import run

    run("external", experiment, {"corpora": corpora}, evaluation, metrics, summary, languages=[source, *targets])
