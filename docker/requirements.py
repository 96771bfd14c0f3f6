"""Prints what the extras named on the command line require, one requirement a line.

Dependencies go into a layer of their own, which a change of this project's code leaves as it is; pip alone installs them
only together with the project. Run in a folder with pyproject.toml: `python docker/requirements.py data pipeline`.
"""

import sys
import tomllib
from pathlib import Path


def requirements(project: dict, extras: list[str]) -> list[str]:
    """Those of the project itself, then of each extra, and of the extras that one names, as `sample` names `data`.

    Raises KeyError for an extra that pyproject.toml does not have.
    """
    found = list(project["dependencies"])
    todo = list(extras)
    while todo:
        for one in project["optional-dependencies"][todo.pop(0)]:
            if one.startswith(f"{project['name']}["):
                todo += one.partition("[")[2].rstrip("]").split(",")
            elif one not in found:
                found.append(one)
    return found


if __name__ == "__main__":
    pyproject = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    print("\n".join(requirements(pyproject["project"], sys.argv[1:])))
