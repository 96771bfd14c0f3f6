"""What every component does: run its stage, and tell Kubeflow Pipelines where the artifact is."""

import gc
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from components._parameters import unpack
from xlrm import artifacts, settings
from xlrm.errors import XlrmError
from xlrm.runner import Artifact, Inputs, run_stage

# Importing torch, transformers and TRL makes objects that stay: looking for garbage among them was a tenth of the time.
gc.set_threshold(100_000, 50, 50)
# Where scikit-learn is installed, transformers imports it for a way to decode that no stage uses: a second of every task.
sys.modules.setdefault("sklearn", None)
# Where DeepSpeed is installed, accelerate imports it for every training: seconds. The processes that need it are others.
sys.modules.setdefault("deepspeed", None)


def run(name: str, experiment: dict[str, Any], inputs: Inputs, output: Any, metrics: Any, **more: Any) -> Artifact:
    """Runs stage `name` with its section of the experiment and `more` on top.

    `output` and `metrics` are the component's KFP artifacts: the first gets the URI of the stage's artifact, so that
    lineage points at the real thing; the second the headline metrics, as far as a UI has use for them. Ends the task
    with status 2 and one line for an error that is the user's to mend.
    """
    config = unpack(experiment.get("stages", {}).get(name, {}) | more)
    try:
        artifact = run_stage(name, config, inputs, experiment=experiment.get("name", "xlrm"))
    except XlrmError as error:
        print(f"xlrm │ error: {name}: {error}", flush=True)
        sys.exit(2)
    output.uri = artifact.uri
    output.metadata.update({"digest": artifact.record.digest, "mlflow_run_id": artifact.record.mlflow_run_id or ""})
    for key, value in list(artifact.record.metrics.items())[:40]:
        metrics.log_metric(key, value)
    return artifact


def read(artifact: Artifact, file: str) -> Any:
    """What a JSON file of an artifact holds."""
    folder = artifacts.fetch(artifact.uri, settings.home() / "cache")
    return json.loads((folder / file).read_text(encoding="utf-8"))


def show(artifact: Artifact, file: str, view: Any) -> None:
    """Copies one file of an artifact to where the Kubeflow UI shows HTML or Markdown from."""
    folder = artifacts.fetch(artifact.uri, settings.home() / "cache")
    Path(view.path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / file, view.path)
