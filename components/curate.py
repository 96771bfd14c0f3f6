"""Component of `xlrm.stages.curate`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def curate(
    experiment: dict,
    language: str,
    corpus: dsl.Output[dsl.Dataset],
    account: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
):
    """Curates preference pairs, a benchmark, prompts and parallel texts in the source language."""
    from components._stage import run, show

    show(run("curate", experiment, {}, corpus, metrics, language=language), "curation.md", account)
