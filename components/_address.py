"""Where the stage's artifact is, as the Kubeflow artifact of a task tells it.

In its metadata, and in the one small file that is at its URI. Not by the URI itself: Kubeflow's launcher fails a task whose
output is not in the folder of the run, and downloads the whole of each input before a task begins.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlrm.runner import Inputs

KEY = "artifact"
"""Of the metadata, which Kubeflow passes on to the next task and shows in its pages."""


def tell(output: Any, uri: str) -> None:
    """Makes `output`, which is a task's, tell the stage's artifact at `uri`."""
    output.metadata[KEY] = uri
    write(output, f"{uri}\n")


def told(inputs: Mapping[str, Any]) -> Inputs:
    """The URIs of a stage's inputs: Kubeflow artifacts, or URIs, or lists of either."""
    return {
        name: [uri(one) for one in given] if isinstance(given, list) else uri(given) for name, given in inputs.items()
    }


def uri(one: Any) -> str:
    return one if isinstance(one, str) else one.metadata[KEY]


def write(view: Any, text: str) -> None:
    """Makes `text` the content of a Kubeflow artifact."""
    Path(view.path).parent.mkdir(parents=True, exist_ok=True)
    Path(view.path).write_text(text, encoding="utf-8")
