"""What the tasks of a run leave in the store for the task after them: all that a loop made."""

import os
from typing import Any

from components._address import uri
from components._notes import note_failure as note_failure
from xlrm import progress, settings, storage
from xlrm.runner import Artifact


def note(artifact: Artifact) -> None:
    """Keeps in the store that this run made or found the artifact: runs/RUN/STAGE/KEY, which holds its URI."""
    if run := os.environ.get("KFP_RUN_ID"):
        where = storage.join(settings.store(), "runs", run, artifact.record.stage, artifact.record.key)
        storage.write_new(where, artifact.uri.encode())


def collected(given: list[Any], stage: str) -> list[str]:
    """URIs of the KFP artifacts `given`, and of what else this run's tasks of `stage` noted.

    `dsl.Collected` came late to the open-source backend, and its fan-in of loops has lost artifacts there
    (kubeflow/pipelines#8830, #10035, #10050): what it leaves out is said, and found in the store.
    """
    uris = list(dict.fromkeys(uri(one) for one in given))
    if run := os.environ.get("KFP_RUN_ID"):
        noted = storage.list_uris(storage.join(settings.store(), "runs", run, stage))
        left_out = sorted({_read(where) for where in noted}.difference(uris))
        if left_out:
            progress.say(f"{stage}: {len(left_out)} artifact(s) that Kubeflow did not pass on, taken from the store")
        uris += left_out
    return uris


def _read(where: str) -> str:
    return (storage.read_bytes(where) or b"").decode()
