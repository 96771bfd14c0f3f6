"""Lines of progress, from wherever a stage runs to whoever watches."""

import os

PREFIX = "xlrm │ "


def say(text: str) -> None:
    """One line on standard output, flushed, so that a log follower sees it at once."""
    print(f"{PREFIX}{text}", flush=True)


def bars_hidden() -> bool:
    """True where a progress bar would only fill a log file."""
    return not os.isatty(2)
