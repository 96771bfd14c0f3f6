"""A training on several nodes that share no disk: real processes, a folder for each node; killed, replaced, left waiting."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from refusals import refused
from test_artifacts import FACTS
from test_training import ROOT, pairs
from test_training import TRAINING as RECIPE

from xlrm.errors import ArtifactError
from xlrm.processes import launch
from xlrm.run import runner
from xlrm.store import artifacts
from xlrm.store.jsonl import write_jsonl
from xlrm.training import references

RECIPE = {key: value for key, value in RECIPE.items() if key != "language"} | {"device_batch_size": 2}
PATIENCE_S = 900


class Lab:
    """A stage on nodes: each is the command in a process of its own, told apart by torchrun's variables, with its own
    XLRM_HOME. A store for each shape of the training, so that none finds another's artifact."""

    def __init__(self, folder: Path, stage: str, fields: dict, inputs: dict[str, Path], database: Path):
        self.folder, self.stage, self.fields, self.database = folder, stage, fields, database
        self.inputs = {name: f"file://{folder}/inputs/{name}/key" for name in inputs}
        for name, path in inputs.items():
            artifacts.publish(path, self.inputs[name], **FACTS)

    def start(self, shape: str, count: int, processes: int) -> list[subprocess.Popen]:
        port = str(launch._free_port())
        assigned = [f"{name}={value}" for name, value in {**self.fields, "processes": processes}.items()]
        given = [part for one in self.inputs.items() for part in ("--input", "=".join(one))]
        command = [sys.executable, "-m", "xlrm.cli", "stage", self.stage, *assigned, *given]
        nodes = []
        for rank in range(count):
            home = self.home(shape, rank)
            home.mkdir(parents=True, exist_ok=True)
            if not (home / "mlflow.db").exists():
                shutil.copyfile(self.database, home / "mlflow.db")
            own = {
                "PET_NNODES": str(count), "PET_NODE_RANK": str(rank), "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port,
                "XLRM_HOME": str(home), "XLRM_STORE": f"file://{self.folder}/{shape}/store", "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(ROOT), "TORCH_EXTENSIONS_DIR": str(home / "extensions"),
            }  # fmt: skip
            with self.log(shape, rank).open("w") as log:
                nodes.append(subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log))
        return nodes

    @contextmanager
    def running(self, shape: str, count: int, processes: int) -> Iterator[list[subprocess.Popen]]:
        """Ends with no process of the nodes left."""
        nodes = self.start(shape, count, processes)
        try:
            yield nodes
        finally:
            kill(processes_of(self.folder / shape))
            for node in nodes:
                node.wait()

    def train(self, shape: str, count: int, processes: int) -> bytes:
        """The weights at its end."""
        with self.running(shape, count, processes) as nodes:
            for rank, node in enumerate(nodes):
                assert node.wait(PATIENCE_S) == 0, self.said(shape, rank)[-3000:]
        fields = self.fields | {"processes": processes}
        uri = runner.address(self.stage, fields, self.inputs, f"file://{self.folder}/{shape}/store")
        return (artifacts.fetch(uri, self.folder / "cache") / "model.safetensors").read_bytes()

    def killed(self, shape: str, count: int, processes: int) -> list[str]:
        """What the nodes said; the last is killed, like its machine, once there is a checkpoint."""
        with self.running(shape, count, processes) as nodes:
            wait_for(lambda: self.reached(shape, count), "a checkpoint", nodes)
            kill(processes_of(self.home(shape, count - 1)))
            for rank, node in enumerate(nodes[:-1]):
                assert node.wait(PATIENCE_S) == 2, self.said(shape, rank)[-3000:]
        return [self.said(shape, rank) for rank in range(count)]

    def reached(self, shape: str, count: int) -> int:
        """Step of the newest checkpoint that is whole on all nodes, and on the store too; 0 without one."""
        each = [self.home(shape, rank).glob("work/*/*/checkpoints/checkpoint-*/whole.json") for rank in range(count)]
        sent = [list(folder.glob("checkpoint-*/kept.json")) for folder in self.unfinished(shape)]
        return (
            max(
                set.intersection(*({int(path.parent.name.split("-")[1]) for path in one} for one in [*each, *sent])),
                default=0,
            )
            if len(sent) == count
            else 0
        )

    def unfinished(self, shape: str) -> list[Path]:
        """Folders of the nodes' checkpoints on the store."""
        return list((self.folder / shape / "store" / "unfinished").glob("*/*/checkpoints/*"))

    def home(self, shape: str, rank: int) -> Path:
        return self.folder / shape / f"node{rank}"

    def log(self, shape: str, rank: int) -> Path:
        return self.folder / shape / f"node{rank}.log"

    def said(self, shape: str, rank: int) -> str:
        return self.log(shape, rank).read_text()


def processes_of(folder: Path) -> list[int]:
    """Those with the folder in their command or environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (path / "cmdline").read_bytes() + (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


def kill(processes: list[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def wait_for(condition, what: str, nodes: list[subprocess.Popen] = ()) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"it does not come: {what}"
        assert all(node.poll() is None for node in nodes), f"a node ended before {what}"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_training_on_two_nodes_ends_where_it_would_have_on_one(tiny_base, tmp_path, empty_database) -> None:
    """Two nodes of two processes: one is killed, and comes back without its disk, so it goes on from the store. The same bytes
    as four processes of one node, which nobody disturbed."""
    write_jsonl(tmp_path / "corpora" / "en" / "preferences.jsonl", pairs(60))  # no multiple of the batch
    fields = RECIPE | {"language": "en", "epochs": 4, "save_steps": 8}
    inputs = {"base": tiny_base, "corpora": tmp_path / "corpora"}
    lab = Lab(tmp_path, "reward", fields, inputs, empty_database)
    whole = lab.train("one", 1, 4)
    assert not (lab.home("one", 0) / "extensions").exists(), "compiled behind a lock that outlives a killed process"
    first, _ = lab.killed("two", 2, 2)
    assert "another process has ended" in first.splitlines()[-1] and first.splitlines()[-1].startswith("error: ")
    reached = lab.reached("two", 2)
    shutil.rmtree(lab.home("two", 1))
    assert lab.train("two", 2, 2) == whole
    assert f"continues from step {reached}" in lab.said("two", 0)
    assert f"the checkpoint of step {reached} from the store" in lab.said("two", 1), "and not on the node that had it"
    assert "taken from the store" not in lab.said("two", 0) and not lab.unfinished("two")


@pytest.mark.slow
def test_a_training_whose_machine_is_lost_goes_on_on_another(tiny_base, tmp_path, empty_database) -> None:
    """Killed by SIGKILL, home gone, MLflow's database with it; the curves in the new one are those of an undisturbed training."""
    write_jsonl(tmp_path / "corpora" / "en" / "preferences.jsonl", pairs(64))
    write_jsonl(tmp_path / "corpora" / "en" / "heldout.jsonl", pairs(80)[64:])
    fields = RECIPE | {"language": "en", "epochs": 6, "save_steps": 8, "heldout_scorings": 4, "keep": "best"}
    lab = Lab(tmp_path, "reward", fields, {"base": tiny_base, "corpora": tmp_path / "corpora"}, empty_database)
    whole = lab.train("whole", 1, 1)
    lab.killed("cut", 1, 1)
    reached = lab.reached("cut", 1)
    shutil.rmtree(lab.home("cut", 0))
    assert lab.train("cut", 1, 1) == whole
    assert 0 < reached < 48 and f"the checkpoint of step {reached} from the store" in lab.said("cut", 0)
    logged, expected = (in_mlflow(lab.home(shape, 0)) for shape in ("cut", "whole"))
    assert logged == expected and [step for step, _ in logged["train/loss"]] == [*range(1, 49)]
    assert [step for step, _ in logged["heldout/accuracy"]] == [12, 24, 36, 48]


def in_mlflow(home: Path) -> dict[str, list[tuple[int, float]]]:
    """Step and value of the points of the newest run, by name."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    (run,) = client.search_runs([one.experiment_id for one in client.search_experiments()], max_results=1)
    names = [name for name in run.data.metrics if name.startswith(("train/", "heldout/"))]
    found = {name: client.get_metric_history(run.info.run_id, name) for name in names}
    return {name: sorted((point.step, point.value) for point in points) for name, points in found.items()}


@pytest.mark.slow
def test_an_alignment_on_two_nodes_ends_where_it_would_have_on_one(tiny_base, tmp_path, empty_database) -> None:
    """Two nodes of one process, one of them killed, against two processes of one node. The first process keeps the
    reference's log-probabilities for all."""
    write_jsonl(tmp_path / "ranked" / "en.jsonl", pairs(64))
    fields = RECIPE | {"language": "en", "labeler": "en", "epochs": 3, "save_steps": 8}
    lab = Lab(tmp_path, "align", fields, {"policy": tiny_base, "ranked": tmp_path / "ranked"}, empty_database)
    whole = lab.train("one", 1, 2)
    lab.killed("two", 2, 1)
    kept = [len(list(lab.home("two", rank).glob(f"cache/{references.KIND}/*.sqlite"))) for rank in (0, 1)]
    assert kept == [1, 0]
    reached = lab.reached("two", 2)
    assert lab.train("two", 2, 1) == whole
    assert f"continues from step {reached}" in lab.said("two", 0)


WAITS = """
import os, time
from torch import distributed
from transformers import TrainingArguments
from xlrm.processes import launch
from xlrm.training import trainers
launch.PATIENCE_S = 10

def come_late(what):
    if os.environ["RANK"] == "1" and what == "WHAT":
        time.sleep(600)

def work(folder):
    config = trainers.RewardTraining(language="en", learning_rate=1e-3, batch_size=8, processes=2)
    come_late("joining")
    trainers.training_arguments(TrainingArguments, config, folder)
    come_late("agreeing on a checkpoint")
    with launch.together("agreeing on a checkpoint"):
        distributed.barrier()
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["joining", "agreeing on a checkpoint"])
def test_a_process_that_waits_too_long_says_who_it_is_and_what_for(tmp_path, monkeypatch, what) -> None:
    (tmp_path / "waits.py").write_text(WAITS.replace("WHAT", what))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    begun = time.monotonic()
    with refused(ArtifactError, "training in 2 processes") as raised:
        launch.launch("waits:work", tmp_path, 2, "float32")
    assert f"process 0 of 2, on node 0: {what}: " in raised.value.message, "the line of the process that waited"
    assert time.monotonic() - begun < 300, "nobody waited for the other one's end"
