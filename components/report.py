"""Component of `xlrm.stages.report`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def report(
    experiment: dict,
    corpora: dsl.Input[dsl.Dataset],
    source_evaluation: dsl.Input[dsl.Artifact],
    target_evaluations: dsl.Input[list[dsl.Artifact]],
    representations: dsl.Input[dsl.Artifact],
    verdicts: dsl.Input[list[dsl.Artifact]],
    registered: dsl.Input[dsl.Artifact],
    external: dsl.Input[dsl.Artifact],
    page: dsl.Output[dsl.Artifact],
    html: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
):
    """Writes the report of the whole run as one HTML page, which the Kubeflow UI shows."""
    from components._fan_in import collected
    from components._stage import run, show

    evaluations = collected([source_evaluation, *target_evaluations], "evaluate")
    inputs = {
        "corpora": corpora,
        "evaluations": evaluations,
        "representations": representations,
        "verdicts": collected(verdicts, "judge"),
        "registered": registered,
        "external": external,
    }
    show(run("report", experiment, inputs, page, metrics), "report.html", html)
