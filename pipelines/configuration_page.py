"""The text of docs/configuration.md: `python -m pipelines reference` writes it."""

from pipelines.placement import Needs, Placement
from xlrm.run import reference

_HEAD = """# Configuration

<!-- Written by `make docs` from the classes; a test compares them. -->

An experiment is one YAML file ([configs/](../configs)): a few fields of its own, and a section for each stage with what
differs from the defaults below. On a command line a field is `stage.field=value`, and in `xlrm stage NAME field=value` the
field alone; `xlrm stage NAME --help` shows this page's section of the stage. Every field that can change a result counts for the
key of its artifact, so another value makes another artifact; those that do not are marked. Values are written in YAML; `null`
leaves a field without a value. The hardware of the tasks is not part of the experiment but of a [placement](#placement)
([how to choose one](kubeflow.md#placements)).
"""


def text() -> str:
    placement = reference.section("Placement", Placement)
    tasks = reference.section("Placement: `tasks.COMPONENT`", Needs)
    return "\n".join([_HEAD, reference.markdown(), placement, tasks])
