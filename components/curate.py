"""Component of the stages `curate`, `plan`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("curate"), install_kfp_package=False)
def curate(steps: str, made: dsl.Output[dsl.Dataset], page: dsl.Output[dsl.Markdown]) -> None:
    """Curates preference pairs, a benchmark, prompts and parallel texts, and plans their translation."""
    from components._stage import run

    run(steps, made, page)
