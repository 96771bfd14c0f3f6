"""`python -m components._step LABEL`: one step of a run, in a process of its own: what it leaves in memory and on the GPU is gone
with it, and the process that started it outlives whatever ends this one."""

import atexit
import contextlib
import gc
import re
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

from components import _run
from components._train_job import train_on_nodes
from components.notes import note_failure
from xlrm import progress
from xlrm.errors import ArtifactError, GateError, XlrmError
from xlrm.processes import signals
from xlrm.run.runner import run_stage
from xlrm.run.steps import Step

BROKEN = 1
"""Exit status of an error that nobody foresaw."""
WRONG = 2
"""Exit status of what is the user's to mend, and fails alike each time."""
PASSING = 75
"""Exit status of what may pass: a server that does not answer (EX_TEMPFAIL of sysexits.h)."""
# Importing torch, transformers and TRL makes objects that stay: looking for garbage among them was a tenth of the time.
gc.set_threshold(100_000, 50, 50)
# At its end an interpreter looks through all of them once more, for up to a second; the system frees what is frozen.
atexit.register(gc.freeze)


@contextlib.contextmanager
def errors_in_one_line(label: str, passing: int = WRONG) -> Iterator[None]:
    """Ends the process with one line, and notes it, for an error that is the user's to mend or the environment's, with status
    `passing` for what may pass; for any other with its traceback before that line."""
    try:
        yield
    except XlrmError as error:
        _end(label, str(error), passing if isinstance(error, ArtifactError) else WRONG)
    except Exception as error:  # noqa: BLE001 - shown as Python would, and said in a line as the others
        traceback.print_exc()
        _end(label, " ".join(traceback.format_exception_only(error)[-1].split()), BROKEN)


def _end(label: str, why: str, status: int) -> NoReturn:
    """`why` may itself begin with the stage, as `reward: ` or `reward[es]: `: it is named once."""
    why = re.sub(rf"^{re.escape(label.split('-')[0])}(\[[^]]*\])?: ", "", why)
    progress.say(f"error: {label}: {why}")
    note_failure(label, why)
    sys.exit(status)


def make(step: Step, run: _run.Run) -> str:
    """URI of the step's artifact, made now or found finished. Raises XlrmError."""
    inputs = _run.inputs(step)
    try:
        train_on_nodes(run.hardware, step, inputs, run.experiment.name)
        return run_stage(step.stage, step.config, inputs, experiment=run.experiment.name).uri
    except GateError as error:
        if error.kept:
            _run.note_refused(step.label, _run.Refused(uri=error.kept, reason=str(error)))
        raise


def main(label: str) -> None:
    with signals.ended_by_signals(), errors_in_one_line(label, PASSING):
        run = _run.read()
        _run.note_made(label, make(run.step(label), run))


if __name__ == "__main__":
    main(sys.argv[1])
