"""Component of the stages `sft` and `reward`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("reward"), install_kfp_package=False)
def reward(steps: str, made: dsl.Output[dsl.Model], page: dsl.Output[dsl.Markdown]) -> None:
    """Fine-tunes policies on demonstrations, and trains reward models, each on the preference pairs of a language."""
    from components._stage import run

    run(steps, made, page)
