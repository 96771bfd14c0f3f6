"""A Kubeflow Pipelines API server (v2beta1) on loopback, for tests: paths, JSON and errors as the real one has them.

Shapes are those of the generated client's models (kfp_server_api) and of the server's source: protobuf JSON with proto
names that leaves out what is empty, gRPC errors as `{"error", "code", "message", "details"}`, and uploads, which go past
gRPC, with `{"error_message", "error_details"}`. `faults` are what goes wrong, in order.

A run's tasks are the nodes of its Argo workflow: without messages, and from when Argo compresses them as they were then.
"""

import email
import email.policy
import json
import re
import socket
import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, unquote_plus, urlsplit

import argo_workflow
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

Json = dict[str, Any]


@dataclass
class Fault:
    method: str
    path: str
    """Regular expression, of the path without /apis/v2beta1."""
    status: int = 0
    """Answered; 0: the connection is reset, without an answer."""
    message: str = "something broke"
    done: bool = False
    """True where the server does what it was asked before it fails to say so."""
    seconds: float = 0
    """It takes this long to answer as it should."""


@dataclass
class Kubeflow:
    """What the server holds, and what it was asked."""

    multi_user: bool = False
    token: str = ""
    page: str = ""
    """What it answers instead of everything: a page to log in at."""
    faults: list[Fault] = field(default_factory=list)
    states: list[str] = field(default_factory=lambda: ["PENDING", "RUNNING", "SUCCEEDED"])
    """States of a run, one for each request; the last stays."""
    failing: dict[str, str] = field(default_factory=dict)
    """Task -> the state it ends in, in a run that ends. Nobody says why."""
    error: str = ""
    """Error message of a run that failed."""
    lag: int = 0
    """Looks at a run that has ended at which its tasks still are as they were while it ran."""
    frozen: bool = False
    """True for a workflow above 1 MB: the details of its tasks stay as they were in the middle, whatever becomes of it."""
    omitted: tuple[str, ...] = ()
    """Tasks that are never begun in a run that ends."""
    messages: dict[str, str] = field(default_factory=dict)
    """Task -> what Argo says of its pod that failed."""
    logs: dict[str, str] = field(default_factory=dict)
    """Logs of drivers that failed, by task, as long as their pods are there."""
    experiments: dict[str, Json] = field(default_factory=dict)
    pipelines: dict[str, Json] = field(default_factory=dict)
    versions: dict[str, Json] = field(default_factory=dict)
    runs: dict[str, Json] = field(default_factory=dict)
    recurring_runs: dict[str, Json] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    """Commits of the Hub, which is on the same server: set -> the commit of its main branch."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    uploaded: list[str] = field(default_factory=list)
    address: str = ""

    def made(self, path: str) -> int:
        """How many times it was asked to make one."""
        return sum(method == "POST" and re.fullmatch(path, where) is not None for method, where in self.asked)


class Refused(Exception):
    def __init__(self, status: int, code: int, message: str):
        super().__init__(message)
        self.status, self.code = status, code


NEVER = "1970-01-01T00:00:00Z"
NOT_YET = "0001-01-01T00:00:00Z"
"""Go's zero time for tasks; for runs it is that of Unix."""
TASKS = (
    "root-driver",
    "root",
    "exit-handler-1",
    "configure",
    "curate-driver",
    "curate",
    "for-loop-1",
    "translate",
    "reward-driver",
    "reward",
    "evaluate",
    "report",
)
ROUTES: list[tuple[str, str, str]] = [
    ("GET", "/healthz", "healthz"),
    ("GET", "/pipelines", "list_pipelines"),
    ("POST", "/pipelines", "create_pipeline"),
    ("POST", "/pipelines/upload_version", "upload_version"),
    ("GET", "/pipelines/([^/]+)/versions", "list_versions"),
    ("GET", "/experiments", "list_experiments"),
    ("POST", "/experiments", "create_experiment"),
    ("GET", "/runs", "list_runs"),
    ("POST", "/runs", "create_run"),
    ("GET", "/runs/([^/:]+)", "get_run"),
    ("GET", "/apis/v1beta1/runs/([^/:]+)", "get_run_v1"),
    ("GET", "/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", "get_log"),
    ("POST", "/runs/([^/:]+):terminate", "terminate_run"),
    ("GET", "/recurringruns", "list_recurring_runs"),
    ("POST", "/recurringruns", "create_recurring_run"),
    ("POST", "/recurringruns/([^/:]+):enable", "enable_recurring_run"),
    ("POST", "/recurringruns/([^/:]+):disable", "disable_recurring_run"),
]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def kubeflow(self) -> Kubeflow:
        return self.server.kubeflow

    def do_GET(self) -> None:
        self.handle_one()

    def do_POST(self) -> None:
        self.handle_one()

    def handle_one(self) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(url.path).removeprefix("/apis/v2beta1")
        if self.kubeflow.page:
            return self.send(200, self.kubeflow.page.encode(), "text/html; charset=utf-8")
        if found := re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)(/revision/main)?", path):
            return self.hub(found[1])
        self.kubeflow.asked.append((self.command, path))
        fault = next((f for f in self.kubeflow.faults if f.method == self.command and re.fullmatch(f.path, path)), None)
        try:
            answer = self.answer(path) if not fault or fault.done or fault.seconds else {}
            if fault:
                self.kubeflow.faults.remove(fault)
                time.sleep(fault.seconds)
                if not fault.seconds:
                    return self.refuse(path, Refused(fault.status, 13, fault.message)) if fault.status else self.reset()
            if isinstance(answer, str):
                return self.send(200, answer.encode(), "text/plain")
            self.send(200, json.dumps(answer).encode())
        except Refused as refused:
            self.refuse(path, refused)
        except BrokenPipeError:  # of one who did not wait
            pass

    def hub(self, name: str) -> None:
        if name not in self.kubeflow.commits:
            return self.send(404, b'{"error": "Repository not found"}')
        self.send(200, json.dumps({"id": name, "sha": self.kubeflow.commits[name], "tags": []}).encode())

    def answer(self, path: str) -> Json | str:
        if self.kubeflow.token and self.headers.get("Authorization") != f"Bearer {self.kubeflow.token}":
            raise Refused(401, 16, "Unauthenticated: Failed to authorize with API: Request header error: no identity")
        for method, pattern, name in ROUTES:
            if method == self.command and (found := re.fullmatch(pattern, path)):
                return getattr(self, name)(*found.groups())
        raise Refused(404, 5, "Not Found")

    def refuse(self, path: str, refused: Refused) -> None:
        said = str(refused)
        body: Json = {"error": said, "code": refused.code, "message": said, "details": []}
        if path.endswith("upload_version"):
            body = {"error_message": said, "error_details": said}
        self.send(refused.status, json.dumps(body).encode())

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass

    # What is asked

    def healthz(self) -> Json:
        return {"multi_user": True} if self.kubeflow.multi_user else {}

    def listed(self, key: str, held: dict[str, Json], **where: str) -> Json:
        """Newest first, by the filter's predicates, in pages of two."""
        if "namespace" in self.query and not self.kubeflow.multi_user and key != "pipelines":
            raise Refused(400, 3, f"Invalid input error: In single-user mode, {key} cannot be filtered by namespace")
        found = [one for one in held.values() if all(one.get(k) == v for k, v in where.items())]
        for predicate in json.loads(unquote_plus(self.query.get("filter", "{}"))).get("predicates", []):
            assert predicate["operation"] == "EQUALS", predicate
            found = [one for one in found if one.get(predicate["key"]) == predicate["stringValue"]]
        begin = int(self.query.get("page_token") or 0)
        page = found[::-1][begin : begin + 2]
        more = {"next_page_token": str(begin + 2)} if begin + 2 < len(found) else {}
        return {key: page, "total_size": len(found), **more} if page else {}

    def created(self, held: dict[str, Json], identifier: str, one: Json, unique: bool = True) -> Json:
        name = "name" if "name" in one else "display_name"
        if unique and any(other.get(name) == one[name] for other in held.values()):
            raise Refused(409, 6, f"Already exist error: {one['display_name']}")
        new = one | {identifier: str(uuid.uuid4()), "created_at": "2026-11-22T05:00:00Z"}
        return held.setdefault(new[identifier], new)

    def in_namespace(self, namespace: str | None) -> None:
        if self.kubeflow.multi_user and not namespace:
            raise Refused(400, 3, "Invalid input error: Namespace is empty")

    def list_pipelines(self) -> Json:
        return self.listed("pipelines", self.kubeflow.pipelines)

    def create_pipeline(self) -> Json:
        given = json.loads(self.body)
        self.in_namespace(given.get("namespace"))
        return self.created(self.kubeflow.pipelines, "pipeline_id", given)

    def list_versions(self, pipeline_id: str) -> Json:
        return self.listed("pipeline_versions", self.kubeflow.versions, pipeline_id=pipeline_id)

    def upload_version(self) -> Json:
        header = f"Content-Type: {self.headers['Content-Type']}\n\n".encode()
        (part,) = email.message_from_bytes(header + self.body, policy=email.policy.HTTP).iter_parts()
        if part.get_param("name", header="content-disposition") != "uploadfile":
            raise Refused(400, 3, "Failed to create a pipeline version")
        text = part.get_payload(decode=True).decode()
        spec = next(yaml.load_all(text, Loader=yaml.CSafeLoader))
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        if self.query["pipelineid"] not in self.kubeflow.pipelines or spec["schemaVersion"] != "2.1.0":
            raise Refused(400, 3, "Failed to create a pipeline version")
        self.kubeflow.uploaded.append(text)
        given = {
            "display_name": self.query["name"], "name": self.query["name"], "pipeline_id": self.query["pipelineid"],
            "description": self.query["description"], "pipeline_spec": spec,
        }  # fmt: skip
        return self.created(self.kubeflow.versions, "pipeline_version_id", given)

    def list_experiments(self) -> Json:
        self.in_namespace(self.query.get("namespace"))
        return self.listed("experiments", self.kubeflow.experiments)

    def create_experiment(self) -> Json:
        return self.created(self.kubeflow.experiments, "experiment_id", json.loads(self.body))

    def runnable(self) -> Json:
        """What is to be run, after what only creating a run checks: the version, and the parameters' names."""
        given = json.loads(self.body)
        version = self.kubeflow.versions.get(given["pipeline_version_reference"]["pipeline_version_id"])
        if not version:
            raise Refused(404, 5, "ResourceNotFoundError: PipelineVersion not found")
        declared = version["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
        for name in given["runtime_config"]["parameters"]:
            if name not in declared:
                raise Refused(400, 3, f"Failed to create a run: parameter {name} is not defined")
        return given

    def list_runs(self) -> Json:
        """Without the tasks, as not all servers give them here."""
        answer = self.listed("runs", self.kubeflow.runs, experiment_id=self.query["experiment_id"])
        hidden = ("run_details", "left")
        return answer | {"runs": [{k: v for k, v in run.items() if k not in hidden} for run in answer.get("runs", [])]}

    def create_run(self) -> Json:
        run = self.created(self.kubeflow.runs, "run_id", self.runnable() | {"state": "PENDING"}, unique=False)
        run["left"] = list(self.kubeflow.states)
        return run

    def get_run(self, run_id: str) -> Json:
        run = self.kubeflow.runs.get(run_id)
        if not run:
            raise Refused(404, 5, f"Failed to get a run: ResourceNotFoundError: Run {run_id} not found.")
        run["state"] = run["left"].pop(0) if len(run["left"]) > 1 else run["left"][0]
        history = run.setdefault("state_history", [])
        if run["state"] not in [one["state"] for one in history]:
            history.append({"update_time": "2026-11-22T05:30:00Z", "state": run["state"]})
        run["finished_at"] = NEVER
        if run["state"] != "PENDING":
            state = run["state"]
            if self.kubeflow.lag and state != "RUNNING":
                state, self.kubeflow.lag = "RUNNING", self.kubeflow.lag - 1
            state = "RUNNING" if self.kubeflow.frozen else state
            run["run_details"] = {"task_details": [self.task(run, state, n) for n in range(len(TASKS))][::-1]}
        if run["state"] == "ERROR":  # Argo's phase, for which the API has no word
            run |= {"state": "RUNTIME_STATE_UNSPECIFIED", "finished_at": "2026-11-22T06:00:00Z"}
        if run["state"] == "FAILED" and self.kubeflow.error:
            run["error"] = {"code": 2, "message": self.kubeflow.error}
        return run

    def task(self, run: Json, state: str, number: int) -> Json:
        """All of them are called created when the run was. Of states those that were are told, too, and what was never begun
        has a history of no state: {"update_time"} alone."""
        name = TASKS[number]
        begun = f"2026-11-22T05:{number:02}:01Z"
        at = {"create_time": "2026-11-22T05:00:00Z", "start_time": begun, "end_time": NOT_YET}
        found = {"run_id": run["run_id"], "task_id": str(number), "display_name": name, **at}
        if number + 1 < len(TASKS):
            found["child_tasks"] = [{"pod_name": f"{argo_workflow.NAME}-{number + 1}"}]
        if state == "RUNNING" and name in ("reward", "evaluate", "report"):
            return self.told(found, "RUNNING" if name == "reward" else "PENDING")
        if name in self.kubeflow.omitted:
            return self.told(found | {"end_time": begun}, "")
        found |= {"end_time": f"2026-11-22T05:{number + 6:02}:01Z"}
        if name in self.kubeflow.failing and state in ("FAILED", "SUCCEEDED", "ERROR"):
            return self.told(found, self.kubeflow.failing[name])
        return self.told(found, "SUCCEEDED")

    def told(self, task: Json, state: str) -> Json:
        said = {"state": state} if state else {}
        return task | said | {"state_history": [{"update_time": task["start_time"], **said}]}

    def get_run_v1(self, run_id: str) -> Json:
        """The whole workflow, as a text within the answer."""
        manifest = json.dumps(argo_workflow.workflow(self.failed(), self.kubeflow.messages, self.kubeflow.frozen))
        return {"run": {"id": run_id}, "pipeline_runtime": {"workflow_manifest": manifest}}

    def get_log(self, run_id: str, pod: str) -> str:
        """Says 200 before it looks, as the server does."""
        for name, text in self.kubeflow.logs.items():
            if pod == argo_workflow.driver_pod(name):
                return text
        return json.dumps({"error_message": "Failed to read logs", "error_details": "Failed to read logs: not found"})

    def failed(self) -> list[str]:
        return [name for name, state in self.kubeflow.failing.items() if state == "FAILED" and name in TASKS]

    def terminate_run(self, run_id: str) -> Json:
        """Argo has no phase for it: what was cancelled ends as failed."""
        run = self.kubeflow.runs[run_id]
        if run["state"] not in ("PAUSED", "PENDING", "RUNNING", "RUNTIME_STATE_UNSPECIFIED"):
            raise Refused(400, 3, f"Failed to terminate run {run_id}: Invalid input error: Row not found")
        run |= {"state": "CANCELING", "left": ["CANCELING", "FAILED"]}
        return {}

    def list_recurring_runs(self) -> Json:
        held = self.kubeflow.recurring_runs
        return self.listed("recurringRuns", held, experiment_id=self.query["experiment_id"])

    def create_recurring_run(self) -> Json:
        given = self.runnable()
        if len(given["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise Refused(400, 3, "Invalid input error: Schedule cron is not supported")
        return self.created(self.kubeflow.recurring_runs, "recurring_run_id", given, unique=False)

    def enable_recurring_run(self, recurring_run_id: str) -> Json:
        self.kubeflow.recurring_runs[recurring_run_id]["mode"] = "ENABLE"
        return {}

    def disable_recurring_run(self, recurring_run_id: str) -> Json:
        self.kubeflow.recurring_runs[recurring_run_id]["mode"] = "DISABLE"
        return {}


@contextmanager
def serve() -> Iterator[Kubeflow]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.kubeflow = Kubeflow(address=f"http://127.0.0.1:{server.server_port}")
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.kubeflow
    server.shutdown()
    server.server_close()
