"""Component of `xlrm.stages.plan`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def plan(
    experiment: dict,
    targets: list,
    corpus: dsl.Input[dsl.Dataset],
    estimate: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
) -> list:
    """Estimates the translation, and lists the parts it is done in: languages, each in shards."""
    from components._stage import read, run

    section = experiment.get("stages", {}).get("translate", {})
    planned = run(
        "plan", experiment, {"corpus": corpus}, estimate, metrics, summary, targets=targets, translate=section
    )
    return read(planned, "plan.json")["parts"]
