"""How the extras of pyproject.toml get installed: from a clone or from the wheel of a release, never by a bare name. The
package index does not have this project, and its `xlrm` is somebody else's."""

import json
import os
import shlex
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

DISTRIBUTION = "xlrm-pipeline"
"""Name of the distribution; the package to import and the command are called `xlrm`."""


def command(extra: str) -> str:
    """Shell command that adds an extra to this Python. It names the clone or wheel that the project was installed from;
    where that is unknown or gone, the clone that the shell is in."""
    source = _source()
    if source is None:
        return f"pip install '.[{extra}]' in a clone"
    options = ["--editable"] if source.editable else []
    words = [_shown(Path(sys.executable)), "-m", "pip", "install", *options, source.requirement(extra)]
    return shlex.join(words)


class _Source:
    """What a pip that installed the project recorded of where from (PEP 610)."""

    def __init__(self, record: dict) -> None:
        self.url: str = record["url"]
        self.editable: bool = record.get("dir_info", {}).get("editable", False)

    @property
    def path(self) -> Path | None:
        """None for a source on another machine."""
        parts = urlparse(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    def requirement(self, extra: str) -> str:
        if self.path is None:
            return f"{DISTRIBUTION}[{extra}] @ {self.url}"
        shown = _shown(self.path)
        return f"{shown if shown.startswith(('/', '.')) else f'./{shown}'}[{extra}]"


def _source() -> _Source | None:
    try:
        record = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    source = _Source(json.loads(record)) if record else None
    return None if source is None or (source.path and not source.path.exists()) else source


def _shown(path: Path) -> str:
    """The path as a shell in this folder may write it, relative where that is below the folder."""
    here = Path.cwd()
    return os.path.relpath(path, here) if path.is_relative_to(here) else str(path)
