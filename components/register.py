"""Component of the stage `register`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("register"), install_kfp_package=False)
def register(steps: str, made: dsl.Output[dsl.Artifact], page: dsl.Output[dsl.Markdown]):
    """Registers reward models, and makes those champions that are better than the champion."""
    from components._stage import run

    run(steps, made, page)
