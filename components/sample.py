"""Component of the stages `external`, `sample`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("sample"), install_kfp_package=False)
def sample(steps: str, made: dsl.Output[dsl.Dataset], page: dsl.Output[dsl.Markdown]) -> None:
    """Samples responses of policies, and evaluates reward models from elsewhere."""
    from components._stage import run

    run(steps, made, page)
