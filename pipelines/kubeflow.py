"""A Kubeflow Pipelines server, through kfp's client: every request has a time limit and is tried again where that can help,
and nothing is made twice."""

import json
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kfp_server_api as api
import urllib3

from xlrm import progress
from xlrm.errors import ConfigError, XlrmError
from xlrm.store import addresses

REQUEST_SECONDS = 60
"""Time limit of one request."""
PAUSES = (1, 2, 4, 8, 16)
"""Seconds between the tries of a request that failed for a reason that may pass."""
IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
"""The API server, as Kubeflow's manifests install it."""
TOKENS = ("KFP_API_TOKEN", "KFP_EXISTING_TOKEN")
TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"
"""Where a cluster puts a pod's token for Kubeflow Pipelines, unless KF_PIPELINES_SA_TOKEN_PATH names another file."""


class ServerError(XlrmError):
    """The server cannot be reached, or kept failing."""


class _Passing(Exception):
    """A failure that may pass, or after which the server may have done what it was asked."""


class _Taken(_Passing):
    """A name that something has: what was made by the try before this one, or what cannot be seen."""


class Server:
    """Raises ConfigError for what the server refuses and ServerError for what it fails to do."""

    def __init__(self, host: str | None = None, namespace: str | None = None):
        """`host`: base address of the API, as kfp takes it; `namespace`: the profile, where the server has several."""
        self.host = _host(host)
        self._client = _client(self.host)
        healthz = self._ask("the server", self._client.healthzs.healthz_service_get_healthz, _preload_content=False)
        try:
            multi_user = json.loads(healthz.data).get("multi_user", False)
        except (ValueError, AttributeError):
            raise self._strange() from None
        if multi_user and not namespace:
            raise ConfigError("--namespace: this server has several users; name the profile's namespace")
        self.namespace = namespace if multi_user else None

    def _strange(self) -> ConfigError:
        return ConfigError(
            f"--host {addresses.shown(self.host)} does not answer as Kubeflow Pipelines does; a page to log in at, "
            f"perhaps: check the address and the token ({' or '.join(TOKENS)})"
        )

    def link(self, run_id: str) -> str:
        page = os.environ.get("KF_PIPELINES_UI_ENDPOINT") or self.host
        return f"{addresses.shown(page).rstrip('/')}/#/runs/details/{run_id}"

    def version(self, pipeline: str, description: str, name: str, package: Path, about: str) -> Any:
        """The pipeline's version of that name: found, or uploaded with `about` as its description."""
        made = self._once(
            f"pipeline {pipeline}",
            lambda: self._first("pipelines", "pipeline", pipeline, "name", namespace=self.namespace),
            lambda: self._client.pipelines.pipeline_service_create_pipeline(
                pipeline=api.V2beta1Pipeline(
                    display_name=pipeline, name=pipeline, description=description, namespace=self.namespace
                ),
                _request_timeout=REQUEST_SECONDS,
            ),
        )
        return self._once(
            f"version {name} of pipeline {pipeline}",
            lambda: self._first("pipelines", "pipeline_version", name, "name", pipeline_id=made.pipeline_id),
            lambda: self._client.pipeline_uploads.upload_pipeline_version(
                str(package), name=name, pipelineid=made.pipeline_id, description=about,
                _request_timeout=REQUEST_SECONDS,
            ),
        )  # fmt: skip

    def experiment(self, name: str) -> str:
        """The id of the experiment of that name, made where there is none."""
        return self._once(
            f"experiment {name}",
            lambda: self._first("experiments", "experiment", name, namespace=self.namespace),
            lambda: self._client.experiments.experiment_service_create_experiment(
                experiment=api.V2beta1Experiment(display_name=name, namespace=self.namespace),
                _request_timeout=REQUEST_SECONDS,
            ),
        ).experiment_id

    def start(self, run: api.V2beta1Run) -> Any:
        """Starts a run whose name nothing else has. A request that failed may have started it: it is looked for before the
        next try, so that one submission makes one run."""
        return self._once(
            f"run {run.display_name}",
            lambda: self._first("runs", "run", run.display_name, experiment_id=run.experiment_id),
            lambda: self._client.runs.run_service_create_run(run=run, _request_timeout=REQUEST_SECONDS),
        )

    def schedule(self, recurring: api.V2beta1RecurringRun) -> Any:
        """Schedules runs, under a name that says when and of what; those of another name go on."""
        return self._once(
            f"recurring run {recurring.display_name}",
            lambda: self._first(
                "recurring_runs", "recurring_run", recurring.display_name, experiment_id=recurring.experiment_id
            ),
            lambda: self._client.recurring_runs.recurring_run_service_create_recurring_run(
                recurring_run=recurring, _request_timeout=REQUEST_SECONDS
            ),
        )

    def scheduled(self, experiment_id: str) -> Iterator[Any]:
        return self._all("recurring_runs", "recurring_run", experiment_id=experiment_id)

    def enable(self, recurring_run_id: str) -> None:
        request = self._client.recurring_runs.recurring_run_service_enable_recurring_run
        self._ask("the recurring run", request, recurring_run_id=recurring_run_id)

    def disable(self, recurring_run_id: str) -> None:
        request = self._client.recurring_runs.recurring_run_service_disable_recurring_run
        self._ask("the recurring run", request, recurring_run_id=recurring_run_id)

    def runs(self, experiment_id: str) -> Iterator[Any]:
        """Newest first."""
        return self._all("runs", "run", experiment_id=experiment_id)

    def run(self, run_id: str) -> Any:
        found = self._ask("the run", self._client.runs.run_service_get_run, run_id=run_id)
        if found.run_id != run_id:  # the client makes an empty run of a page to log in at, which an expired token gets
            raise self._strange()
        return found

    def workflow(self, run_id: str) -> dict[str, Any]:
        """The run's Argo workflow, as far as it is known; empty where the server does not give it. Only version 1 of the API
        does, which knows the runs of version 2 by the same ids."""
        run = self._read("/apis/v1beta1/runs/{run_id}", run_id=run_id)
        try:
            return json.loads(json.loads(run)["pipeline_runtime"]["workflow_manifest"])
        except (ValueError, KeyError, TypeError):
            return {}

    def log(self, run_id: str, pod: str) -> str:
        """Of a pod of the run; empty where the server does not give it."""
        return self._read("/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log", run_id=run_id, pod=pod)

    def _read(self, path: str, **names: str) -> str:
        """What kfp's client has no name for, and nothing depends on: asked for once."""
        try:
            answer = self._client.runs.api_client.call_api(
                path, "GET", names, auth_settings=["Bearer"], _return_http_data_only=True, _preload_content=False,
                _request_timeout=REQUEST_SECONDS,
            )  # fmt: skip
            return answer.data.decode(errors="replace")
        except (api.ApiException, urllib3.exceptions.HTTPError, OSError):
            return ""

    def terminate(self, run_id: str) -> None:
        self._ask("the run", self._client.runs.run_service_terminate_run, run_id=run_id)

    def _first(self, service: str, kind: str, name: str, key: str = "display_name", **where: Any) -> Any:
        """The one of that name, or None. `key`: the field that no two of a kind may have alike."""
        predicate = {"operation": "EQUALS", "key": key, "stringValue": name}
        said = json.dumps({"predicates": [predicate]})
        for one in "%+":  # the server decodes what it got from the URL once more
            said = said.replace(one, f"\\u{ord(one):04x}")
        return next(self._all(service, kind, filter=said, **where), None)

    def _all(self, service: str, kind: str, **where: Any) -> Iterator[Any]:
        request = getattr(getattr(self._client, service), f"{service.removesuffix('s')}_service_list_{kind}s")
        token = ""
        while token is not None:
            answer = self._ask(
                f"the list of {kind.replace('_', ' ')}s", request,
                page_token=token, page_size=100, sort_by="created_at desc", **where,
            )  # fmt: skip
            yield from getattr(answer, f"{kind}s") or ()
            token = answer.next_page_token or None

    def _once(self, what: str, find: Callable[[], Any], make: Callable[[], Any]) -> Any:
        """What `find` finds, or else what `make` makes."""
        return _patiently(what, lambda: find() or _tried(what, make, taken_may_pass=True))

    def _ask(self, what: str, request: Callable[..., Any], **arguments: Any) -> Any:
        return _patiently(what, lambda: _tried(what, lambda: request(**arguments, _request_timeout=REQUEST_SECONDS)))


def _host(host: str | None) -> str:
    found = host or os.environ.get("KF_PIPELINES_ENDPOINT")
    if not found and "KUBERNETES_SERVICE_HOST" in os.environ:
        found = IN_CLUSTER
    if not found:
        raise ConfigError("no Kubeflow Pipelines server: give --host or set KF_PIPELINES_ENDPOINT")
    if not found.startswith(("http://", "https://")):
        raise ConfigError(f"--host {found!r}: an address that begins with https:// or http://")
    return found.rstrip("/")


def _client(host: str) -> Any:
    """With the token of the environment, or of a file that is read again when it changes."""
    import kfp
    from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

    token = next(((name, os.environ[name].strip()) for name in TOKENS if os.environ.get(name, "").strip()), None)
    if token and not re.fullmatch(r"[!-~]+", token[1]):
        raise ConfigError(f"{token[0]}: a token is one word of ASCII, and this value is none")
    file = os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or TOKEN_FILE
    if file != TOKEN_FILE and not Path(file).is_file():
        raise ConfigError(f"KF_PIPELINES_SA_TOKEN_PATH={file!r}: there is no such file")
    credentials = ServiceAccountTokenVolumeCredentials(file) if not token and Path(file).is_file() else None
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # what fails and is tried again is said here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it only works with version 2
        # Without a namespace it would ask the server for one at once, with no time limit. All requests here name their own.
        return kfp.Client(
            host=host, existing_token=token and token[1], credentials=credentials, namespace="-",
            ssl_ca_cert=os.environ.get("KF_PIPELINES_SSL_CA_CERTS"),
        )  # fmt: skip


def _patiently(what: str, action: Callable[[], Any]) -> Any:
    for pause in (*PAUSES, None):
        try:
            return action()
        except _Passing as error:
            if pause is None:
                kind = ConfigError if isinstance(error, _Taken) else ServerError
                raise kind(f"{what}: {error}, {len(PAUSES) + 1} times") from error
            progress.say(f"{what}: {error}; again in {pause} s")
            time.sleep(pause)
    raise AssertionError("unreachable")


def _tried(what: str, request: Callable[[], Any], taken_may_pass: bool = False) -> Any:
    try:
        return request()
    except api.ApiException as error:
        said = f"{error.status} {_said(error)}"
        if error.status == 409 and taken_may_pass:
            raise _Taken(said) from error
        # The server has said with status 500, too, that the fault is in what it was given.
        if error.status in (0, 408, 429) or (error.status >= 500 and "Invalid input error" not in said):
            raise _Passing(said) from error
        hint = f"; is the token ({' or '.join(TOKENS)}) right, and not expired?" if error.status in (401, 403) else ""
        raise ConfigError(f"the server refuses {what}: {said}{hint}") from error
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise _Passing(f"no answer: {type(reason).__name__}") from error
    except OSError as error:  # of the file with the token, which is read for each request
        raise _Passing(f"cannot be asked: {error}") from error


def _said(error: api.ApiException) -> str:
    """The server's message: its API and its uploads call it by different names, and a proxy answers in text."""
    try:
        body = json.loads(error.body)
        said = body.get("message") or body.get("error_message") or body.get("error")
    except (TypeError, ValueError, AttributeError):
        said = error.body
    return " ".join(str(said or error.reason).split())[:500]
