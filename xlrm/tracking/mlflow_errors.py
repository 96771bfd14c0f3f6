"""Errors and log messages of MLflow's client, in one line and without passwords."""

import logging
import re

from xlrm.errors import ArtifactError
from xlrm.store import addresses

_ITS_LIBRARIES = ("alembic", "google", "json", "mlflow", "sqlalchemy", "sqlite3", "urllib3")
"""Libraries whose errors MLflow's client lets through, besides the OSErrors of requests: those of a database before its
first session, and those of an answer that is not MLflow's."""
_HINTS = {
    "failed with exception": "is MLFLOW_TRACKING_URI right, and does the server run?",
    "database is locked": "another process has locked it for 20 s; an MLflow server accepts more processes",
    "readonly database": "may this user write it, and was it removed or replaced while this ran?",
    "no such table": "was it removed or replaced while this ran?",
    "disk I/O error": "was it removed or replaced while this ran?",
    "not a database": "MLFLOW_TRACKING_URI must name a database that MLflow created, or a new file",
}


def is_one(error: Exception) -> bool:
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _ITS_LIBRARIES


def in_one_line(error: Exception) -> ArtifactError:
    text = str(error).partition("[SQL:")[0]  # without the statement and its values
    message = _shown(" ".join(text.split()))[:500] or type(error).__name__
    hint = next((hint for sign, hint in _HINTS.items() if sign in message), "")
    return ArtifactError(message, where=f"MLflow, {addresses.shown(addresses.tracking_uri())}", hint=hint)


def _shown(text: str) -> str:
    """`text` without passwords and without the queries of URLs: with a presigned URL, any reader could open the
    store."""
    return re.sub(r"\?[^\s'\"<>]*=[^\s'\"<>)]*", "", addresses.shown(text))


def fit_to_show(record: logging.LogRecord) -> bool:
    """Cleans a log message. False for the traceback of a database error, which is also raised and shown in one line."""
    record.msg, record.args = _shown(record.getMessage()), ()
    return record.name != "mlflow.store.db.utils"
