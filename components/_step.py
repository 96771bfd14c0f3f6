"""`python -m components._step LABEL`: one step of a run in its own process, so that its memory and GPU memory are
freed when it ends and the process that started it survives if it is killed."""

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
"""Exit status of an unexpected error."""
WRONG = 2
"""Exit status of an error that the user has to fix and that would occur again."""
PASSING = 75
"""Exit status of a failure that may pass, such as a server that does not answer (EX_TEMPFAIL of sysexits.h)."""
# Importing torch, transformers and TRL creates objects that stay; garbage collection among them took a tenth of the
# time.
gc.set_threshold(100_000, 50, 50)
# At exit the interpreter would search all of them again, for up to a second; the system frees frozen objects.
atexit.register(gc.freeze)


@contextlib.contextmanager
def errors_in_one_line(label: str, passing: int = WRONG) -> Iterator[None]:
    """On an error, prints and notes one line and ends the process: with status `passing` if the error may pass,
    WRONG if the user has to fix it, and BROKEN, after a traceback, for any other."""
    try:
        yield
    except XlrmError as error:
        _end(label, str(error), passing if isinstance(error, ArtifactError) else WRONG)
    except Exception as error:  # noqa: BLE001 - shown as Python would show it, then in one line
        traceback.print_exc()
        _end(label, " ".join(traceback.format_exception_only(error)[-1].split()), BROKEN)


def _end(label: str, why: str, status: int) -> NoReturn:
    """Ends the process. If `why` begins with the stage, as in `reward: ` or `reward[es]: `, that is removed: the
    label names it."""
    why = re.sub(rf"^{re.escape(label.split('-')[0])}(\[[^]]*\])?: ", "", why)
    progress.say(f"error: {label}: {why}")
    note_failure(label, why)
    sys.exit(status)


def make(step: Step, run: _run.Run) -> str:
    """URI of the step's artifact, made now or found finished. Raises XlrmError."""
    inputs = _run.inputs(step)
    try:
        with progress.of_step(step.label):
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
