"""The last task of a pipeline, after success and failure: reports how the run ended, and shows decision and report."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("conclude"), install_kfp_package=False)
def conclude(
    pipeline: str, status: dsl.PipelineTaskFinalStatus, summary: dsl.Output[dsl.Markdown],
    decision: dsl.Output[dsl.Markdown], report: dsl.Output[dsl.HTML],
) -> None:  # fmt: skip
    """Reports the end of a run in its log, in the UI and, if XLRM_NOTIFY_URL is set, in a chat; shows the decision on
    its reward models, and its report."""
    from components._notice import report as tell
    from components._results import show

    tell(pipeline, status, summary)
    show("register", decision)
    show("report", report, "validate")
