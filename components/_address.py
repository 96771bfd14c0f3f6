"""Where the artifacts of a task's steps are, as its Kubeflow artifact tells it.

In its metadata, and in the one small file that is at its URI. Not by the URI itself: Kubeflow's launcher fails a task whose
output is not in the folder of the run, and would download the whole of each input before a task begins.
"""

from pathlib import Path
from typing import Any


def tell(output: Any, made: dict[str, str]) -> None:
    """Makes `output`, which is a task's, tell where what each step made is: label -> URI, as its metadata, which Kubeflow shows
    in its pages."""
    output.metadata.update(made)
    write(output, "".join(f"{label}\t{uri}\n" for label, uri in made.items()))


def write(view: Any, text: str) -> None:
    """Makes `text` the content of a Kubeflow artifact."""
    Path(view.path).parent.mkdir(parents=True, exist_ok=True)
    Path(view.path).write_text(text, encoding="utf-8")
