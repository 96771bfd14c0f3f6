"""Output of a command: its result on standard output, everything else on standard error."""

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from xlrm import progress
from xlrm.errors import GateError, XlrmError
from xlrm.run import pages
from xlrm.store import objects

WIDTH = 240
"""Columns of a table in a file or a pipe, so many that nothing is cut off."""
QUIET = {"MLFLOW_LOGGING_LEVEL": "WARNING", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
"""Environment of a command in a terminal: it hides the warnings of libraries, which are meant for a log file."""

_PLAIN: dict[str, Any] = {"soft_wrap": True, "highlight": False, "markup": False, "emoji": False}
errors = Console(stderr=True, **_PLAIN)


def console() -> Console:
    """Console for tables of results."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def empty_table(texts: Sequence[str], figures: Sequence[str] = (), title: str | None = None) -> Table:
    """Table without rows: columns of text, then columns of figures. In a narrow terminal texts fold, and nothing is cut off."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for name in texts:
        table.add_column(name, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def terminal() -> Console:
    """Console on the current standard error, also if `sys.stderr` is replaced later."""
    return Console(file=sys.stderr, **_PLAIN)


def print_result(*lines: object) -> None:
    """Prints each argument on a line of standard output and flushes it. Flushing only at the end of the process is too
    late: a reader that has gone then causes an error, which a command ignores only while it runs."""
    for line in lines:
        print(line, flush=True)


def print_file(path: Path) -> None:
    """Copies a file to standard output."""
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.flush()


def quiet_libraries() -> None:
    """Hides the warnings of libraries in a terminal, and their progress bars elsewhere. Call it before they are
    imported."""
    for name, value in (progress.NO_BARS if progress.bars_hidden() else QUIET).items():
        os.environ.setdefault(name, value)
    if not progress.bars_hidden():
        logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno >= logging.ERROR)


@contextlib.contextmanager
def nothing_but_results() -> Iterator[None]:
    """Sends standard output to standard error, for libraries and child processes too, so that only what is printed
    afterwards is the result."""
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
    """Wraps the work of a command. An XlrmError, or an error of the operating system such as a full disk, ends it with
    status 2 and one line; after a gate's refusal, further
    lines say where the page is and what to do next."""
    _open_streams()
    try:
        with nothing_but_results():
            yield
    except XlrmError as error:
        for line in lines_of(error):
            errors.print(line, style="bold red" if line.startswith("error") else None)
        raise typer.Exit(2) from error
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader of standard output has gone
            raise
        errors.print(f"error: {_of_the_system(error)}", style="bold red")
        raise typer.Exit(2) from error


def _of_the_system(error: OSError) -> str:
    """One line of an error of the operating system, or of a library that derives its errors from them."""
    text = error.strerror or " ".join(str(error).split())[:300] or type(error).__name__
    place = error.filename if isinstance(error.filename, str) else ""
    return f"{place}: {text}" if place else text


def _open_streams() -> None:
    """Opens standard input, output and error where whoever started the command has closed them (`>&-`), on the null
    device. Otherwise a file or socket gets their number, and what a library or child process prints goes there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is that of the stream
            os.set_inheritable(null, True)
            setattr(sys, name, os.fdopen(null, mode, encoding="utf-8"))


def lines_of(error: XlrmError) -> Iterator[str]:
    if not (isinstance(error, GateError) and error.kept):
        yield f"error: {error}"
        return
    yield f"error: {error.reason}"
    yield f"page: {local(pages.refused(error) or error.kept)}"
    if remedy := pages.remedy(error):
        yield f"next: {remedy}"


def local(uri: str) -> str:
    """The local path of a file:// URI; any other URI unchanged."""
    return str(objects.local_path(uri) or uri)
