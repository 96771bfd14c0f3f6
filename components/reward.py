"""Component of the stage `reward`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("reward"), install_kfp_package=False)
def reward(steps: str, made: dsl.Output[dsl.Model], page: dsl.Output[dsl.Markdown]) -> None:
    """Trains reward models, each on the preference pairs of a language."""
    from components._stage import run

    run(steps, made, page)
