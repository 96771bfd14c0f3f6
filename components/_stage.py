"""What every component does: run its stage, and tell Kubeflow Pipelines where the artifact is."""

import atexit
import contextlib
import gc
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components._address import tell, told, write
from components._fan_in import note, note_failure
from components._parameters import unpack
from xlrm import artifacts, progress, settings, storage
from xlrm.errors import GateError, XlrmError
from xlrm.runner import Artifact, run_stage

# Importing torch, transformers and TRL makes objects that stay: looking for garbage among them was a tenth of the time.
gc.set_threshold(100_000, 50, 50)
# At its end an interpreter looks through all of them once more, for up to a second; the system frees what is frozen.
atexit.register(gc.freeze)
# Where they are installed, transformers, accelerate and MLflow import these for what no stage uses: seconds of every task.
# A training in several processes, which needs DeepSpeed, has it in those.
_UNUSED = ("deepspeed", "scipy", "sklearn")
_NEEDED = {"translate": ("scipy",), "validate": ("scipy",)}  # by Great Expectations


@contextlib.contextmanager
def errors_in_one_line(name: str) -> Iterator[None]:
    """Ends the task with status 2 and one line for an error that is the user's to mend."""
    try:
        yield
    except XlrmError as error:
        print(f"{progress.PREFIX}error: {name}: {error}", flush=True)
        note_failure(name, str(error))
        sys.exit(2)


def run(
    name: str, experiment: dict[str, Any], inputs: Mapping[str, Any], output: Any, metrics: Any, summary: Any = None,
    **more: Any,
) -> Artifact:  # fmt: skip
    """Runs stage `name` with its section of the experiment and `more` on top, but for what is None there.

    `inputs`, `output`, `metrics` and `summary` are the component's KFP artifacts (of inputs also URIs, and lists): `output`
    tells the next task and the UI where the stage's artifact is; `metrics` gets the headline metrics, as far as a UI has
    use for them; `summary` shows both, and what they were made of, where the stage has no page of its own. Errors end the
    task as in `errors_in_one_line`.
    """
    with errors_in_one_line(name):
        return _run(name, experiment, inputs, output, metrics, summary, **more)


def run_gated(
    name: str, experiment: dict[str, Any], inputs: Mapping[str, Any], output: Any, metrics: Any, file: str, view: Any,
    **more: Any,
) -> str:  # fmt: skip
    """As `run`; and where the stage's gate refuses what it made, returns why, for the task `gate` to fail of, else nothing.

    Kubeflow keeps no output of a task that failed, and `view` is to show the stage's `file` above all then.
    """
    with errors_in_one_line(name):
        try:
            show(_run(name, experiment, inputs, output, metrics, **more), file, view)
        except GateError as error:
            tell(output, error.kept)
            write(view, (storage.read_bytes(storage.join(error.kept, file)) or b"").decode())
            return str(error)
    return ""


def _run(
    name: str, experiment: dict[str, Any], inputs: Mapping[str, Any], output: Any, metrics: Any, summary: Any = None,
    **more: Any,
) -> Artifact:  # fmt: skip
    for library in set(_UNUSED).difference(_NEEDED.get(name, ())):
        sys.modules.setdefault(library, None)
    more = {key: value for key, value in more.items() if value is not None}
    config = unpack(experiment.get("stages", {}).get(name, {}) | more)
    artifact = run_stage(name, config, told(inputs), experiment=experiment.get("name", "xlrm"))
    note(artifact)
    tell(output, artifact.uri)
    output.metadata.update({"digest": artifact.record.digest, "mlflow_run_id": artifact.record.mlflow_run_id or ""})
    for key, value in list(artifact.record.metrics.items())[:40]:
        metrics.log_metric(key, value)
    if summary:
        write(summary, markdown(artifact))
    return artifact


def markdown(artifact: Artifact) -> str:
    """An artifact's record for people."""
    record = artifact.record
    facts = {
        "artifact": f"`{artifact.uri}`", "made": f"{record.started:%Y-%m-%d %H:%M} UTC, in {record.seconds:,.0f} s",
        "memory": f"{record.peak_memory_mib:,.0f} MiB at the peak", "MLflow run": record.mlflow_run_id or "none",
        "git commit": record.git_commit or "unknown", "image": record.image or "none",
    }  # fmt: skip
    lines = [f"# {record.stage}", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items())]
    lines += ["", "## Metrics", "", "| | |", "|---|---:|"]
    lines += [f"| {key} | {value:,.4g} |" for key, value in record.metrics.items()]
    settings_text = json.dumps(record.config, indent=2, ensure_ascii=False)
    given = [f"- {name}: `{one.uri}`" for name, many in record.inputs.items() for one in many] or ["- nothing"]
    return "\n".join(
        [*lines, "", "## Made from", "", *given, "", "## Settings", "", "```json", settings_text, "```", ""]
    )


def read(artifact: Artifact, file: str) -> Any:
    """What a JSON file of an artifact holds."""
    folder = artifacts.fetch(artifact.uri, settings.home() / "cache")
    return json.loads((folder / file).read_text(encoding="utf-8"))


def show(artifact: Artifact, file: str, view: Any) -> None:
    """Copies one file of an artifact to where the Kubeflow UI shows HTML or Markdown from."""
    folder = artifacts.fetch(artifact.uri, settings.home() / "cache")
    Path(view.path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / file, view.path)
