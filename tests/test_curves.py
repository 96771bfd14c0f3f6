"""What a training says of itself, in a file and in MLflow, whatever becomes of MLflow meanwhile."""

import math
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from xlrm.errors import ArtifactError
from xlrm.store.unfinished import Sender
from xlrm.tracking import mlflow_runs
from xlrm.training import curves

HISTORY = [
    {"loss": "0.5", "grad_norm": 1.5, "learning_rate": 1e-5, "accuracy": 0.75, "margin": 0.2, "epoch": 0.1, "step": 1},
    {"rewards/accuracies": 0.5, "rewards/margins": -0.1, "loss": math.nan, "step": 2},
    {"eval_loss": 0.7, "eval_accuracy": 0.6, "eval_runtime": 3.0, "step": 2},
    {"train_runtime": 9.0, "step": 2},
]


def test_points_have_our_names_and_finite_numbers(tmp_path: Path) -> None:
    assert curves.points(HISTORY) == [
        {"step": 1, "loss": 0.5, "gradient_norm": 1.5, "learning_rate": 1e-5, "accuracy": 0.75, "margin": 0.2},
        {"step": 2, "accuracy": 0.5, "margin": -0.1},
        {"step": 2, "heldout_loss": 0.7, "heldout_accuracy": 0.6},
    ]
    curves.write(HISTORY, tmp_path / curves.FILE)
    assert (tmp_path / curves.FILE).read_text().count("\n") == 3


def test_every_point_reaches_mlflow_once_with_its_step() -> None:
    with mlflow_runs.run("test", "training", {}, {}) as run:
        callback = curves.to_mlflow(run.id)
        for length in (1, 3, 4):  # the second comes too soon after the first for a call of its own
            callback.on_log(None, SimpleNamespace(log_history=HISTORY[:length]), None)
        callback.on_train_end(None, SimpleNamespace(log_history=HISTORY), None)
    assert history(run, "train/accuracy") == [(1, 0.75), (2, 0.5)]
    assert history(run, "heldout/loss") == [(2, 0.7)] and history(run, "train/loss") == [(1, 0.5)]


def test_a_training_that_goes_on_sends_no_step_twice() -> None:
    """Killed at step 3 and gone on from a checkpoint of step 1, in the run that Kubeflow gave it: what it computes again has
    other values in the last digits."""
    again = [
        HISTORY[0],
        *({**entry, "rewards/accuracies": 0.5000001, "eval_loss": 0.7000001} for entry in HISTORY[1:3]),
    ]
    again.append({"loss": 0.25, "step": 3})
    with mlflow_runs.run("test", "training", {}, {}) as run:
        for log in (HISTORY, again):
            curves.to_mlflow(run.id).on_train_end(None, SimpleNamespace(log_history=log), None)
    assert history(run, "train/accuracy") == [(1, 0.75), (2, 0.5)] and history(run, "heldout/loss") == [(2, 0.7)]
    assert history(run, "train/loss") == [(1, 0.5), (3, 0.25)]


def test_a_call_whose_answer_is_lost_sends_no_step_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    with mlflow_runs.run("test", "training", {}, {}) as run:
        callback, real = curves.to_mlflow(run.id), mlflow_runs.Run.log_points

        def lost(*given) -> None:
            real(*given)
            raise ArtifactError("MLflow: no answer")

        with monkeypatch.context() as away:
            away.setattr(mlflow_runs.Run, "log_points", lost)
            callback.on_log(None, SimpleNamespace(log_history=HISTORY[:1]), None)
            callback.sender.wait()
        callback.on_train_end(None, SimpleNamespace(log_history=HISTORY), None)
    assert history(run, "train/accuracy") == [(1, 0.75), (2, 0.5)] and history(run, "train/loss") == [(1, 0.5)]


def test_an_mlflow_that_is_away_for_a_while_ends_no_training(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    with mlflow_runs.run("test", "training", {}, {}) as run:
        callback = curves.to_mlflow(run.id)
        with monkeypatch.context() as away:
            away.setattr(
                mlflow_runs.Run, "log_points", lambda *given: (_ for _ in ()).throw(ArtifactError("MLflow: away"))
            )
            callback.on_log(None, SimpleNamespace(log_history=HISTORY[:1]), None)
            callback.sender.wait()
        callback.on_train_end(None, SimpleNamespace(log_history=HISTORY), None)
    said = "".join(capfd.readouterr())
    assert said.count("not sent") == 1 and "MLflow: away" in said and "lacks" not in said
    assert history(run, "train/accuracy") == [(1, 0.75), (2, 0.5)]


def test_a_sender_lets_nothing_overtake() -> None:
    sent: list[int] = []
    sender = Sender()
    for number in range(20):
        sender.start("number", lambda number=number: sent.append(number))
    sender.wait()
    assert sent == [*range(20)] and sender.idle


def history(run: mlflow_runs.Run, name: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    found = MlflowClient(f"sqlite:///{os.environ['XLRM_HOME']}/mlflow.db").get_metric_history(run.id, name)
    return sorted((point.step, point.value) for point in found)
