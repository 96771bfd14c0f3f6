"""What a result depends on besides its config and inputs: the code, the libraries, the commit, the image."""

import ast
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).parent
# Modules that carry results around without changing them: they do not count as code of a stage.
_CARRIERS = {
    "xlrm.artifacts",
    "xlrm.buckets",
    "xlrm.curves",
    "xlrm.errors",
    "xlrm.files",
    "xlrm.kept_checkpoints",
    "xlrm.locks",
    "xlrm.progress",
    "xlrm.storage",
    "xlrm.unfinished",
}


def code_version(module: str) -> str:
    """Digest of the source of `module` and of every xlrm module it imports, directly or not, and of the data files
    beside them. A changed stage is run again; stages that do not use the changed code are not."""
    digest = hashlib.sha256()
    for path in _sources(module):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def versions(module: str, libraries: Mapping[str, str] | None = None) -> dict[str, str]:
    """Versions of the libraries that `module` and the xlrm modules it imports name; of another machine, with its
    `installed()` as `libraries`."""
    names = {name.split(".")[0] for path in _modules(module).values() for name in _imports(path)}
    look_up = _version if libraries is None else lambda name: libraries.get(_normalised(name))
    wanted = ["python", *sorted(names - set(sys.stdlib_module_names) - {"xlrm"})]
    return {name: version for name in wanted if (version := look_up(name))}


def installed() -> dict[str, str]:
    """Versions of Python and of every library here, by normalised name."""
    found = {_normalised(one.metadata["Name"]): one.version for one in reversed([*metadata.distributions()])}
    return found | {"python": _version("python")}


def _version(name: str) -> str | None:
    """None of what is imported under another name than it is installed by."""
    try:
        return ".".join(map(str, sys.version_info[:3])) if name == "python" else metadata.version(name)
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


def _sources(module: str) -> list[Path]:
    modules = _modules(module)
    data = {
        file
        for path in modules.values()
        for file in path.parent.glob("*")
        if path.parent != PACKAGE and file.suffix in (".yaml", ".csv", ".j2", ".html")
    }
    return sorted({*modules.values(), *data})


@cache
def _modules(module: str) -> dict[str, Path]:
    """xlrm modules reachable from `module` by imports, with their files."""
    found: dict[str, Path] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        path = _path(name)
        if path is None or name in found or name in _CARRIERS:
            continue
        found[name] = path
        todo += _imports(path)
    return found


def _path(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] != "xlrm":
        return None
    base = PACKAGE.joinpath(*parts[1:])
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def _imports(path: Path) -> tuple[str, ...]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)
