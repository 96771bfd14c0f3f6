"""Creates MLflow's client, and turns its errors into ArtifactError."""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm import progress
from xlrm.processes import locks
from xlrm.store import addresses
from xlrm.tracking import direct_store, mlflow_errors, moved_home

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCKED_SECONDS = 20
"""Seconds to wait for a database that another process has locked; MLflow waits as long in its sessions
(mlflow/store/db/utils.py)."""


def client() -> "MlflowClient":
    os.environ.setdefault("MLFLOW_ENABLE_TELEMETRY", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in (direct_store.DIRECT_DOWNLOAD, direct_store.DIRECT_UPLOAD):
        os.environ[name] = os.environ.get(name) or "false"
    if progress.bars_hidden():
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    uri = addresses.tracking_uri()
    if database := addresses.database():
        _check_database(database)
        if database.parent == addresses.home() and database.exists():
            moved_home.follow(database, addresses.home())
    return _client_of(uri)


def _client_of(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    for handler in logging.getLogger("mlflow").handlers:
        handler.addFilter(mlflow_errors.fit_to_show)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _check_database(path: Path) -> None:
    """Creates the database if there is none, and raises sqlite3.Error if it cannot be read; MLflow would try ten times,
    for a minute and a half (create_sqlalchemy_engine_with_retry in mlflow/store/db/utils.py).

    A new database gets its name when all its tables exist, because MLflow cannot continue with those that a killed
    process left.
    """
    if not path.exists():
        with locks.alone(path.with_suffix(".lock"), "MLflow's database"):
            part = path.with_name(f"{path.name}.part")
            for left in path.parent.glob(f"{part.name}*"):  # with SQLite's journal
                left.unlink()
            if not path.exists():
                _client_of(f"sqlite:///{part}").search_registered_models(max_results=1)
                part.rename(path)
    with contextlib.closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=LOCKED_SECONDS)
    ) as database:
        database.execute("pragma schema_version")


@contextlib.contextmanager
def connected() -> Iterator[Any]:
    """MLflow's client. Raises ArtifactError, in one line, if MLflow refuses something or does not answer."""
    try:
        yield client()
    except Exception as error:
        if not mlflow_errors.is_one(error):
            raise
        raise mlflow_errors.in_one_line(error) from None  # its cause may name the server with its password


@contextlib.contextmanager
def patiently() -> Iterator[None]:
    """Lengthens MLflow's timeout to an hour, for files: a server sends nothing while it passes gigabytes to or from its
    store. After MLflow's usual two minutes, its client would send everything again, and finally give up."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.get(name)
    os.environ[name] = before or "3600"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def nothing_yet() -> bool:
    """Whether there is no database yet. Even reading through MLflow would create it, with its folder."""
    database = addresses.database()
    return database is not None and not database.exists()
