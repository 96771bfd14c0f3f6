"""A Kubeflow Pipelines server, used through kfp's client: every request has a time limit and is retried if that can
help, and nothing is created twice."""

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
"""The API server's address in Kubeflow's manifests."""
TOKENS = ("KFP_API_TOKEN", "KFP_EXISTING_TOKEN")
TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"
"""Where a cluster puts a pod's token for Kubeflow Pipelines, unless KF_PIPELINES_SA_TOKEN_PATH names another file."""


class ServerError(XlrmError):
    """The server cannot be reached, or keeps failing."""


class _Passing(Exception):
    """A failure that may pass, or after which the server may have done what it was asked."""


class _Taken(_Passing):
    """The name is in use: by what an earlier try created, or by something that this account cannot see."""


class Server:
    """A client of one server. Its methods raise ConfigError if the server refuses a request and ServerError if the
    server fails."""

    def __init__(self, host: str | None = None, namespace: str | None = None):
        """`host`: base address of the API, in kfp's form; `namespace`: the profile, if the server has several."""
        self.host = _host(host)
        self._client = _client(self.host)
        healthz = self._ask("the server", self._client.healthzs.healthz_service_get_healthz, _preload_content=False)
        try:
            multi_user = json.loads(healthz.data).get("multi_user", False)
        except (ValueError, AttributeError):
            raise self._strange() from None
        if multi_user and not namespace:
            raise ConfigError("this server has several users; give the namespace of a profile", where="--namespace")
        self.namespace = namespace if multi_user else None

    def _strange(self) -> ConfigError:
        return ConfigError(
            "does not answer as Kubeflow Pipelines does; it may be a login page",
            where="--host", value=addresses.shown(self.host),
            hint=f"check the address and the token ({' or '.join(TOKENS)})",
        )  # fmt: skip

    def link(self, run_id: str) -> str:
        page = os.environ.get("KF_PIPELINES_UI_ENDPOINT") or self.host
        return f"{addresses.shown(page).rstrip('/')}/#/runs/details/{run_id}"

    def version(self, pipeline: str, description: str, name: str, package: Path, about: str) -> Any:
        """The pipeline's version of this name; uploaded with `about` as its description if there is none."""
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
        """Id of the experiment of this name; created if there is none."""
        return self._once(
            f"experiment {name}",
            lambda: self._first("experiments", "experiment", name, namespace=self.namespace),
            lambda: self._client.experiments.experiment_service_create_experiment(
                experiment=api.V2beta1Experiment(display_name=name, namespace=self.namespace),
                _request_timeout=REQUEST_SECONDS,
            ),
        ).experiment_id

    def start(self, run: api.V2beta1Run) -> Any:
        """Starts a run, whose name must be unique. A failed request may have started the run, so the server is
        searched for its name before the next try: one submission starts one run."""
        return self._once(
            f"run {run.display_name}",
            lambda: self._first("runs", "run", run.display_name, experiment_id=run.experiment_id),
            lambda: self._client.runs.run_service_create_run(run=run, _request_timeout=REQUEST_SECONDS),
        )

    def schedule(self, recurring: api.V2beta1RecurringRun) -> Any:
        """Schedules runs under a name that contains schedule and content; schedules of other names stay on."""
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
        """The runs of an experiment, newest first."""
        return self._all("runs", "run", experiment_id=experiment_id)

    def run(self, run_id: str) -> Any:
        run = self._ask("the run", self._client.runs.run_service_get_run, run_id=run_id)
        if run.run_id != run_id:  # after a login page (expired token), the client returns an empty run
            raise self._strange()
        return run

    def workflow(self, run_id: str) -> dict[str, Any]:
        """The run's Argo workflow, as far as it is known; empty if the server does not give it. Only version 1 of
        the API has workflows; it knows the runs of version 2 by the same ids."""
        run = self._read("/apis/v1beta1/runs/{run_id}", run_id=run_id)
        try:
            return json.loads(json.loads(run)["pipeline_runtime"]["workflow_manifest"])
        except (ValueError, KeyError, TypeError):
            return {}

    def log(self, run_id: str, pod: str) -> str:
        """Log of a pod of the run; empty if the server does not give it."""
        return self._read("/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log", run_id=run_id, pod=pod)

    def _read(self, path: str, **names: str) -> str:
        """Reads a path that kfp's client has no function for, without retries; nothing depends on it."""
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
        """The first item of this name, or None. `key`: the field that is unique among items of a kind."""
        predicate = {"operation": "EQUALS", "key": key, "stringValue": name}
        query = json.dumps({"predicates": [predicate]}, allow_nan=False)
        for character in "%+":  # the server URL-decodes the value a second time
            query = query.replace(character, f"\\u{ord(character):04x}")
        return next(self._all(service, kind, filter=query, **where), None)

    def _all(self, service: str, kind: str, **where: Any) -> Iterator[Any]:
        request = getattr(getattr(self._client, service), f"{service.removesuffix('s')}_service_list_{kind}s")
        token: str | None = ""
        while token is not None:
            answer = self._ask(
                f"the list of {kind.replace('_', ' ')}s", request,
                page_token=token, page_size=100, sort_by="created_at desc", **where,
            )  # fmt: skip
            yield from getattr(answer, f"{kind}s") or ()
            token = answer.next_page_token or None

    def _once(self, what: str, find: Callable[[], Any], make: Callable[[], Any]) -> Any:
        """The item that `find` finds, or else the one that `make` creates."""
        return _patiently(what, lambda: find() or _tried(what, make, taken_may_pass=True))

    def _ask(self, what: str, request: Callable[..., Any], **arguments: Any) -> Any:
        return _patiently(what, lambda: _tried(what, lambda: request(**arguments, _request_timeout=REQUEST_SECONDS)))


def _host(host: str | None) -> str:
    address = host or os.environ.get("KF_PIPELINES_ENDPOINT")
    if not address and "KUBERNETES_SERVICE_HOST" in os.environ:
        address = IN_CLUSTER
    if not address:
        raise ConfigError(
            "no Kubeflow Pipelines server is named", where="--host", hint="give it or set KF_PIPELINES_ENDPOINT"
        )
    if not address.startswith(("http://", "https://")):
        raise ConfigError("an address that begins with https:// or http:// is required", where="--host", value=address)
    return address.rstrip("/")


def _client(host: str) -> Any:
    """A client with the token from the environment, or from a file that is read again when it changes."""
    import kfp
    from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

    token = next(((name, os.environ[name].strip()) for name in TOKENS if os.environ.get(name, "").strip()), None)
    if token and not re.fullmatch(r"[!-~]+", token[1]):
        raise ConfigError("a token is a word of printable ASCII characters without spaces", where=token[0])
    file = os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or TOKEN_FILE
    if file != TOKEN_FILE and not Path(file).is_file():
        raise ConfigError("no such file", where="KF_PIPELINES_SA_TOKEN_PATH", value=file)
    credentials = ServiceAccountTokenVolumeCredentials(file) if not token and Path(file).is_file() else None
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # failures and retries are reported here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its warning that it supports only version 2
        # Without a namespace the client would at once ask the server for one, without time limit. All requests here
        # name theirs.
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
                raise kind(f"{error}, {len(PAUSES) + 1} times", where=what) from error
            progress.say(f"{what}: {error}; trying again in {pause} s")
            time.sleep(pause)
    raise AssertionError("unreachable")


def _tried(what: str, request: Callable[[], Any], taken_may_pass: bool = False) -> Any:
    try:
        return request()
    except api.ApiException as error:
        message = f"{error.status} {_reason(error)}"
        if error.status == 409 and taken_may_pass:
            raise _Taken(message) from error
        # Some errors in the input come with status 500, too.
        if error.status in (0, 408, 429) or (error.status >= 500 and "Invalid input error" not in message):
            raise _Passing(message) from error
        hint = f"is the token ({' or '.join(TOKENS)}) right, and not expired?" if error.status in (401, 403) else ""
        raise ConfigError(f"refused by the server: {message}", where=what, hint=hint) from error
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise _Passing(f"no answer: {type(reason).__name__}") from error
    except OSError as error:  # from reading the token file, for each request
        raise _Passing(f"cannot be asked: {error}") from error


def _reason(error: api.ApiException) -> str:
    """The server's message, whose field differs between the API and uploads; the text of a proxy's answer."""
    try:
        body = json.loads(error.body)
        message = body.get("message") or body.get("error_message") or body.get("error")
    except (TypeError, ValueError, AttributeError):
        message = error.body
    return " ".join(str(message or error.reason).split())[:500]
