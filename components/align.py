"""Component of the stages `align` and `rl`, which train policies."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("align"), install_kfp_package=False)
def align(steps: str, made: dsl.Output[dsl.Model], page: dsl.Output[dsl.Markdown]) -> None:
    """Aligns policies, each to a reward model's preferences, by DPO."""
    from components._stage import run

    run(steps, made, page)
