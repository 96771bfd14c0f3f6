"""Addresses of local state, store and MLflow, from environment variables or their defaults."""

import os
import re
from pathlib import Path


def home() -> Path:
    """Local state (work in progress, cache, default store and tracking database): XLRM_HOME, or .xlrm in this folder."""
    return Path(os.environ.get("XLRM_HOME", ".xlrm")).absolute()


def store() -> str:
    """Where artifacts live: XLRM_STORE, `s3://bucket/prefix` or `file:///folder`."""
    return os.environ.get("XLRM_STORE") or f"file://{home() / 'store'}"


def tracking_uri() -> str:
    """The MLflow server or database: MLFLOW_TRACKING_URI."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def database() -> Path | None:
    """The SQLite file of `tracking_uri`, None for a server or another database."""
    uri = tracking_uri()
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def shown(uri: str) -> str:
    """`uri` without user name and password, for messages."""
    return re.sub(r"//[^/\s]*@", "//", uri)  # a password may itself have an @
