"""Where a run ends whose model is not good enough."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def gate(refused: str):
    """Fails if a gate that is enforced refused a model: its page is on the task before, which Kubeflow shows as that succeeds.

    Args:
        refused: Why; empty where it did not.
    """
    from components._stage import errors_in_one_line
    from xlrm.errors import GateError

    with errors_in_one_line("gate"):
        if refused:
            raise GateError(refused)
