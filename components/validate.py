"""Component of `xlrm.stages.validate`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def validate(
    experiment: dict,
    source: dsl.Input[dsl.Dataset],
    translations: dsl.Input[list[dsl.Dataset]],
    corpora: dsl.Output[dsl.Dataset],
    html: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
):
    """Validates all languages with Great Expectations, keeps the rows that are right in each, and shows what was found."""
    from components._fan_in import collected
    from components._stage import run, show

    inputs = {"source": source, "translations": collected(translations, "translate")}
    show(run("validate", experiment, inputs, corpora, metrics), "data_docs.html", html)
