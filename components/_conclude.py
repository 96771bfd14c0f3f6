"""The last task of a pipeline, whatever became of the others: says how it ended."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def conclude(pipeline: str, status: dsl.PipelineTaskFinalStatus, summary: dsl.Output[dsl.Markdown]):
    """Reports the end of a run in its log, in the UI and, where there is an address for that, to people."""
    from components._notice import report

    report(pipeline, status, summary)
