"""Component of `xlrm.stages.judge`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def judge(
    experiment: dict,
    source: str,
    language: str,
    reference: dsl.Input[dsl.Dataset],
    candidates: dsl.Input[dsl.Dataset],
    verdicts: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
):
    """Judges the aligned policies against the one they came from."""
    from components._stage import run

    inputs = {"reference": reference, "candidates": candidates}
    run("judge", experiment, inputs, verdicts, metrics, summary, language=language, labelers=[source, language])
