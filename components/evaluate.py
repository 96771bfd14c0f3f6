"""Component of the stages `evaluate`, `rank`, `represent`, `best_of_n`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("evaluate"), install_kfp_package=False)
def evaluate(steps: str, made: dsl.Output[dsl.Artifact], page: dsl.Output[dsl.Markdown]) -> None:
    """Evaluates reward models, ranks and chooses sampled responses by them, compares their representations."""
    from components._stage import run

    run(steps, made, page)
