"""What a result depends on besides config and inputs: code, libraries, commit, image."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from xlrm.store.code_digests import Code

_PYTHON = ".".join(map(str, sys.version_info[:3]))
PACKAGE = Path(__file__).parents[__name__.count(".") - 1]
"""The folder of xlrm, computed from this module's depth in it."""
CARRIERS = (
    "xlrm",  # for its version, and the end of vLLM's processes
    "xlrm.store.artifacts",
    "xlrm.store.buckets",
    "xlrm.store.code_digests",
    "xlrm.training.curves",
    "xlrm.errors",
    "xlrm.installation",
    "xlrm.store.fields",
    "xlrm.store.files",
    "xlrm.training.kept_checkpoints",
    "xlrm.processes.locks",
    "xlrm.progress",
    "xlrm.store.provenance",
    "xlrm.store.objects",
    "xlrm.store.unfinished",
)
"""Modules that carry results or say where they come from, without changing them; they do not count as code of a
stage. A name without a module is an error."""


def code_version(module: str) -> str:
    """Digest of the code of `module`, of every xlrm module it imports directly or indirectly, and of the data files
    these read. A changed digest runs the stage again; an edited sentence or a moved file does not change it
    (`xlrm.store.code_digests`).

    Raises ModuleNotFoundError for a module that does not exist.
    """
    return _code().version(module)


def versions(module: str, libraries: Mapping[str, str] | None = None) -> dict[str, str]:
    """Versions of the libraries that `module` and the xlrm modules it imports name. `libraries`: `installed()` of
    another machine, to be used instead of this one's."""
    look_up = _version if libraries is None else lambda name: libraries.get(_normalised(name))
    wanted = ["python", *sorted(_code().libraries(module) - set(sys.stdlib_module_names))]
    return {name: version for name in wanted if (version := look_up(name))}


def files(module: str) -> list[Path]:
    """The files that `code_version` covers."""
    return _code().files(module)


@cache
def _code() -> Code:
    return Code(PACKAGE, CARRIERS)


def installed() -> dict[str, str]:
    """Versions of Python and of every library here, by normalised name."""
    libraries = {_normalised(item.metadata["Name"]): item.version for item in reversed([*metadata.distributions()])}
    return libraries | {"python": _PYTHON}


def _version(name: str) -> str | None:
    """Version of a library; None for a module whose distribution has another name."""
    try:
        return _PYTHON if name == "python" else metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def git_commit() -> str | None:
    """The commit of the checkout this package runs from, or the one its image was built from."""
    if commit := os.environ.get("XLRM_GIT_COMMIT"):
        return commit
    command = ["git", "-C", str(PACKAGE), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
