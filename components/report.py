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
    from components._stage import run, show

    evaluations = [source_evaluation.uri, *(one.uri for one in target_evaluations)]
    inputs = {
        "corpora": corpora.uri,
        "evaluations": evaluations,
        "representations": representations.uri,
        "verdicts": [one.uri for one in verdicts],
        "registered": registered.uri,
        "external": external.uri,
    }
    show(run("report", experiment, inputs, page, metrics), "report.html", html)
