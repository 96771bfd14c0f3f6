"""Corrects the MLflow database of a home that was moved, renamed or copied. MLflow stores every address of a local file
as an absolute path (mlflow/utils/uri.py, resolve_uri_if_local), so the old ones lead to where the files were."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from xlrm.errors import ArtifactError

ARTIFACTS = "mlartifacts"
_COLUMNS = (
    ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"),
    ("model_versions", "source"), ("model_versions", "storage_location"), ("tags", "value"),
    ("model_version_tags", "value"), ("logged_model_tags", "tag_value"),
)  # fmt: skip
"""(table, column) of MLflow's database with addresses of files."""


def follow(database: Path, home: Path) -> None:
    """Changes addresses in `database` below a former home to addresses below `home`; those of a former home whose
    models are not here stay unchanged. Raises ArtifactError for a database that cannot be written."""
    try:
        with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
            for before in _homes(connection):
                if before != home.as_uri() and _is_here(connection, before, home):
                    for table, column in _COLUMNS:
                        _replace(connection, table, column, before, home.as_uri())
    except sqlite3.Error as error:
        raise ArtifactError(
            f"the addresses in it cannot be changed to its current place: {error}", where=database
        ) from error


def _homes(connection: sqlite3.Connection) -> list[str]:
    """URIs of the homes in which the database's experiments were made; none for a database without tables."""
    if not connection.execute("select 1 from sqlite_master where name = 'experiments'").fetchone():
        return []
    rows = connection.execute(
        "select distinct artifact_location from experiments where artifact_location like ?", (f"file://%/{ARTIFACTS}",)
    )
    return [location.removesuffix(f"/{ARTIFACTS}") for (location,) in rows]


def _is_here(connection: sqlite3.Connection, before: str, home: Path) -> bool:
    """Whether the home at `before` is now this one: a model of it is here, or it had none and does not exist any
    more."""
    there = Path(unquote(before.removeprefix("file://")))
    if there.exists() and home.exists() and there.samefile(home):
        return False
    rows = connection.execute(
        "select artifact_location from logged_models where artifact_location like ?", (f"{before}/%",)
    ).fetchall()
    here = [Path(unquote(location.replace(before, home.as_uri(), 1).removeprefix("file://"))) for (location,) in rows]
    return any(path.is_dir() for path in here) if here else not there.exists()


def _replace(connection: sqlite3.Connection, table: str, column: str, before: str, now: str) -> None:
    connection.execute(
        f"update {table} set {column} = ? || substr({column}, ?) where substr({column}, 1, ?) = ?",
        (now, len(before) + 1, len(before) + 1, f"{before}/"),
    )
