"""Component of the stage `validate`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("validate"), install_kfp_package=False)
def validate(steps: str, made: dsl.Output[dsl.Dataset], page: dsl.Output[dsl.HTML]) -> None:
    """Validates all languages with Great Expectations, and keeps the rows that are right in each."""
    from components._stage import run

    run(steps, made, page)
