"""Component of the stage `base`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("base"), install_kfp_package=False)
def base(steps: str, made: dsl.Output[dsl.Model], page: dsl.Output[dsl.Markdown]) -> None:
    """Fetches the base model, or pretrains the tiny one."""
    from components._stage import run

    run(steps, made, page)
