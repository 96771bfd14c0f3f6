"""Checks whether MLflow's artifact store answers here, for files that go to it or come from it past MLflow's server."""

import contextlib
import os
from typing import Any
from urllib.parse import urlsplit

from xlrm.errors import ArtifactError
from xlrm.store import addresses

DIRECT_DOWNLOAD, DIRECT_UPLOAD = "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"
"""Variables of MLflow's client. If unset, it uses what a server of 3.17 advertises: presigned addresses of the store,
which cannot be reached from outside the server's network (mlflow/store/artifact/mlflow_artifacts_repo.py)."""
ANSWER_SECONDS = 10
"""Seconds that such an address may take to answer. MLflow's client would try a download for minutes and an upload for
ever."""


def check_upload(location: str) -> None:
    """Raises ArtifactError if large files go to MLflow's store directly and its address does not answer."""
    from requests import HTTPError

    if store := _direct_store(location, DIRECT_UPLOAD):
        with contextlib.suppress(HTTPError):  # a server without such addresses, which MLflow's client handles
            begun = store.create_multipart_upload("probe")
            with contextlib.suppress(HTTPError):  # a leftover upload says nothing about the address
                store.abort_multipart_upload("probe", begun.upload_id)
            _check_answer(begun.credentials[0].url, DIRECT_UPLOAD)  # an aborted upload's address answers too


def check_download(uri: str, file: str) -> None:
    """Raises ArtifactError if files come from MLflow's store directly and its address does not answer."""
    from requests import HTTPError

    if store := _direct_store(uri, DIRECT_DOWNLOAD):
        name = file or next((entry.path for entry in store.list_artifacts() if not entry.is_dir), "MLmodel")
        with contextlib.suppress(HTTPError):
            _check_answer(store._get_presigned_download_url(name).url, DIRECT_DOWNLOAD)


def _direct_store(uri: str, variable: str) -> Any:
    """MLflow's artifact repository at `uri`, if its server has one and the variable says that files bypass the server;
    else None."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    if os.environ[variable].lower() not in ("true", "1"):
        return None
    artifacts()  # sets the address of MLflow's server
    store = get_artifact_repository(uri)
    store = getattr(store, "repo", store)  # of models:/
    return store if isinstance(store, MlflowArtifactsRepository) else None


def _check_answer(url: str, variable: str) -> None:
    """Raises ArtifactError without an answer. Any answer is enough, even a refusal."""
    import requests
    from mlflow.environment_variables import MLFLOW_S3_IGNORE_TLS

    options = {"timeout": ANSWER_SECONDS, "stream": True, "allow_redirects": False}
    try:
        requests.get(url, headers={"Range": "bytes=0-0"}, verify=not MLFLOW_S3_IGNORE_TLS.get(), **options).close()
    except requests.RequestException as error:
        where = urlsplit(url)
        host = f"{where.hostname}:{where.port}" if where.port else where.hostname
        raise ArtifactError(
            f"{host}, the address of its store, does not answer here within {ANSWER_SECONDS} s ({type(error).__name__})",
            where=f"MLflow, {addresses.shown(addresses.tracking_uri())}",
            hint=f"{variable}=false sends files through MLflow",
        ) from None


def artifacts() -> Any:
    import mlflow

    mlflow.set_tracking_uri(addresses.tracking_uri())
    mlflow.set_registry_uri(addresses.tracking_uri())
    return mlflow.artifacts
