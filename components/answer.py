"""Component of the stages `sample`, for policies that were aligned, `gains`, and `judge`, for a judge that needs GPUs."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("answer"), install_kfp_package=False)
def answer(steps: str, made: dsl.Output[dsl.Dataset], page: dsl.Output[dsl.Markdown]) -> None:
    """Samples the aligned policies' responses to the prompts of the judgment, scores them, and judges them if that needs GPUs."""
    from components._stage import run

    run(steps, made, page)
