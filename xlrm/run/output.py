"""What a command writes where: its result to standard output, everything else to standard error."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

import typer
from rich.console import Console

from xlrm import progress
from xlrm.errors import GateError, XlrmError
from xlrm.run import pages
from xlrm.store import objects

WIDTH = 240
"""Columns of a table in a file or a pipe, where nothing is to be cut off."""
QUIET = {"MLFLOW_LOGGING_LEVEL": "WARNING", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
"""Environment of a command in a terminal: warnings of libraries are for a log, and any other standard error gets them."""

_PLAIN = {"soft_wrap": True, "highlight": False, "markup": False, "emoji": False}
errors = Console(stderr=True, **_PLAIN)


def console() -> Console:
    """For tables of results."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def terminal() -> Console:
    """On what is standard error now, wherever that goes later."""
    return Console(file=sys.stderr, **_PLAIN)


def print_result(*lines: object) -> None:
    """One on each line of standard output. Not left to the end of the process: who reads them may be gone by then, which a
    command passes over in silence only while it runs."""
    for line in lines:
        print(line, flush=True)


def quiet_libraries() -> None:
    """Before they are imported: without warnings in a terminal, and without bars in a file."""
    for name, value in (progress.NO_BARS if progress.bars_hidden() else QUIET).items():
        os.environ.setdefault(name, value)
    if not progress.bars_hidden():
        logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno >= logging.ERROR)


@contextlib.contextmanager
def nothing_but_results() -> Iterator[None]:
    """In it, standard output is standard error, for libraries and child processes too: what comes after it is the result."""
    sys.stdout.flush()
    result_file = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(result_file, 1)
        os.close(result_file)


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Around the work of a command. An XlrmError ends it with status 2 and one line; a gate's refusal says two more: where
    the page is, and what there is to do."""
    try:
        with nothing_but_results():
            yield
    except XlrmError as error:
        for line in told(error):
            errors.print(line, style="bold red" if line.startswith("error") else None)
        raise typer.Exit(2) from error


def told(error: XlrmError) -> Iterator[str]:
    if not (isinstance(error, GateError) and error.kept):
        yield f"error: {error}"
        return
    yield f"error: {str(error).removesuffix(f'; see {error.kept}')}"
    yield f"page: {local(pages.refused(error) or error.kept)}"
    if remedy := pages.remedy(error):
        yield f"next: {remedy}"


def local(uri: str) -> str:
    """The path of a URI on this machine's disk, any other as it is."""
    return str(objects.local_path(uri) or uri)
