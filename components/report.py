"""Component of the stages `judge`, `register`, `report`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("report"), install_kfp_package=False)
def report(steps: str, made: dsl.Output[dsl.Artifact], page: dsl.Output[dsl.HTML]) -> None:
    """Judges aligned policies, registers reward models, and writes the report of the run as one HTML page."""
    from components._stage import run

    run(steps, made, page)
