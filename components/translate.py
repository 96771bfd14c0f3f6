"""Component of `xlrm.stages.translate`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("sample"), install_kfp_package=False)
def translate(
    experiment: dict,
    language: str,
    shard: str,
    corpus: dsl.Input[dsl.Dataset],
    translation: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
):
    """Translates the corpus, or a shard of it, into one language."""
    from components._stage import run

    run("translate", experiment, {"corpus": corpus}, translation, metrics, summary, language=language, shard=shard)
