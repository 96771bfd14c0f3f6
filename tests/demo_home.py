"""What `make demo` leaves, with everything made small: `python tests/demo_home.py FOLDER` writes FOLDER/.xlrm, and the folder
of the English model as FOLDER/my-model.

Models are of the demo's names and forms, and too small to be right; the champion is one by hand."""

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SMALL = (
    "targets=[ko]",
    'base.pretraining={"languages": ["en", "ko"], "documents": 200, "layers": 2, "width": 64, "vocabulary": 1024}',
    "curate.pairs=160", "curate.benchmark_items=28", "curate.prompts=null", "curate.parallel_texts=12", "register.resamples=200",
)  # fmt: skip


def make(folder: Path) -> None:
    """Runs the demo's steps one after the other, without Kubeflow's runner, which starts a process for each."""
    os.environ["XLRM_HOME"] = str(folder / ".xlrm")
    from xlrm.registry import champion
    from xlrm.run import experiment
    from xlrm.run.runner import run_stage
    from xlrm.run.steps import steps
    from xlrm.store import addresses, objects
    from xlrm.tracking import mlflow_registry

    demo = experiment.load(ROOT / "configs" / "demo.yaml", SMALL)
    made: dict[str, str] = {}
    for label, step in steps("cross-lingual-transfer", demo).items():
        inputs = {
            name: made[of] if isinstance(of, str) else [made[one] for one in of] for name, of in step.inputs.items()
        }
        made[label] = run_stage(step.stage, step.config, inputs, experiment=demo.name).uri
        objects.write(f"{addresses.store()}/runs/{demo.name}-1/made/{label}", made[label].encode())
    run = json.dumps({"pipeline": "cross-lingual-transfer", "experiment": demo.model_dump(mode="json")})
    objects.write(f"{addresses.store()}/runs/{demo.name}-1/run.json", run.encode())
    for language in demo.languages:
        champion.promote(f"models:/xlrm-demo-{language}/1")
    mlflow_registry.download("models:/xlrm-demo-en@champion", folder / ".part").rename(folder / "my-model")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
