"""Telling Kubeflow where the artifacts of a task's steps are.

The addresses are in the metadata of the task's Kubeflow artifact and in the one small file at its URI. They are not the
URI itself: Kubeflow's launcher fails a task whose output is outside the run's folder, and would download every input
completely before a task begins.
"""

from pathlib import Path
from typing import Any


def tell(output: Any, made: dict[str, str]) -> None:
    """Writes label -> URI of what each step made into `output`, the task's Kubeflow artifact: as its metadata, which
    Kubeflow's pages show, and as its content."""
    output.metadata.update(made)
    write(output, "".join(f"{label}\t{uri}\n" for label, uri in made.items()))


def write(view: Any, text: str) -> None:
    """Writes `text` as the content of a Kubeflow artifact."""
    Path(view.path).parent.mkdir(parents=True, exist_ok=True)
    Path(view.path).write_text(text, encoding="utf-8")
