"""Component of the stage `translate`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("translate"), install_kfp_package=False)
def translate(steps: str, made: dsl.Output[dsl.Dataset], page: dsl.Output[dsl.Markdown]) -> None:
    """Translates the corpus, or shards of it, into languages."""
    from components._stage import run

    run(steps, made, page)
