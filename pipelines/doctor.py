"""The checks of `python -m pipelines doctor` for a cluster: whether it has what the pipelines need, before a run
costs money."""

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml
from google.protobuf.json_format import MessageToDict
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.utils.quantity import parse_quantity
from urllib3.exceptions import HTTPError

from components import image
from components.hardware import TRAININGS
from pipelines import placement, platform
from pipelines.kubeflow import IN_CLUSTER
from xlrm.run.doctor import Check

SECONDS = 10
"""Time limit of one request in seconds; the client takes whole numbers only."""
ACCOUNTS = {"kubeflow": "pipeline-runner"}
"""Namespace -> service account of the pipelines' pods; this is Kubeflow Pipelines' own namespace, for servers
without profiles."""
PROFILES_ACCOUNT = "default-editor"
RIGHTS = (
    *((verb, "trainer.kubeflow.org", "trainjobs", "") for verb in ("create", "get", "delete")),
    *((verb, "", "pods", "") for verb in ("get", "list")),
    ("get", "", "pods", "log"),
)
"""(verb, API group, resource, subresource) that a training on several nodes needs."""
REQUIRED = ("xlrm-store",)
"""Secrets that every run needs; the others are for gated models, judges served elsewhere and notices."""
AMAZON = "https://s3.amazonaws.com"
"""The store if AWS_ENDPOINT_URL names none."""
GPU = "nvidia.com/gpu"


class Missing(Exception):
    """Something is missing or not as it must be; the text says what."""


def checks(namespace: str, context: str | None = None) -> Iterator[Check]:
    """Yields the checks of a cluster; each request takes SECONDS at most. `context` names one of the kubeconfig;
    without it, its current one is used, or in a pod the pod's own account."""
    try:
        api = _connect(context)
        version = client.VersionApi(api).get_code(_request_timeout=SECONDS).git_version
    except (ConfigException, ApiException, HTTPError) as error:
        yield Check("Kubernetes", False, _why(error), "log in, set KUBECONFIG to a cluster's, or name one by --context")
        return
    yield Check("Kubernetes", True, f"{version}, {api.configuration.host}", "")
    core = client.CoreV1Api(api)
    yield from _in_namespace(api, core, namespace)
    yield from _nodes(core)
    yield from _services(api, namespace)
    login = _login(core, namespace)
    for name in sorted({ask.image for ask in asks()}):
        remedy = "push it (make images), or make the pull secret xlrm-registry: docs/cluster.md"
        yield _ask(f"image {name.rsplit('/', 1)[-1]}", remedy, partial(_image, name, login))


def _in_namespace(api: client.ApiClient, core: client.CoreV1Api, namespace: str) -> Iterator[Check]:
    apply, profile = "kubectl apply -k k8s/overlays/...", "make a Kubeflow profile of this name: docs/cluster.md"
    yield _ask("config map", apply, lambda: ", ".join(f"{k}={v}" for k, v in _addresses(core, namespace).items()))
    for name, keys in platform.SECRETS.items():
        remedy = "docs/cluster.md, Secrets"
        yield _ask(f"secret {name}", remedy, partial(_secret, core, namespace, name, keys), name in REQUIRED)
    yield _ask("service account", profile, partial(_account, core, namespace))
    yield _ask("rights", apply, partial(_rights, api, namespace))
    yield _ask("quota", "raise the ResourceQuota, or wait for runs to end", partial(_quota, core, namespace))
    yield _ask(
        "Kubeflow Trainer",
        "install it, for stages on several nodes",
        partial(_trainer, api),
        placement.current().nodes > 1,
    )


def _services(api: client.ApiClient, namespace: str) -> Iterator[Check]:
    addresses = partial(_addresses, client.CoreV1Api(api), namespace)
    yield _ask(
        "store", "is AWS_ENDPOINT_URL right, and does its pod run?",
        lambda: _answers(api, namespace, addresses().get("AWS_ENDPOINT_URL", AMAZON), ""),
    )  # fmt: skip
    yield _ask(
        "MLflow", "is MLFLOW_TRACKING_URI right, and does its pod run?",
        lambda: _answers(api, namespace, addresses()["MLFLOW_TRACKING_URI"], "health"),
    )  # fmt: skip
    pipelines = os.environ.get("KF_PIPELINES_ENDPOINT", IN_CLUSTER)
    yield _ask(
        "Kubeflow Pipelines", "install it, or set KF_PIPELINES_ENDPOINT to its address",
        lambda: _answers(api, namespace, pipelines, "apis/v2beta1/healthz"),
    )  # fmt: skip


def _ask(what: str, remedy: str, find: Callable[[], str], required: bool = True) -> Check:
    try:
        return Check(what, True, find(), "", required)
    except (Missing, ApiException, HTTPError, requests.RequestException) as error:
        return Check(what, False, _why(error), remedy, required)


def _why(error: Exception) -> str:
    """The error in one line."""
    if isinstance(error, ApiException) and error.status:
        try:
            message = json.loads(error.body)["message"]
        except (TypeError, ValueError, KeyError):
            message = error.reason
        return f"{error.status}: {message}"
    if "timed out" in str(error) or isinstance(error, TimeoutError):
        return f"no answer in {SECONDS} seconds"
    return re.sub(r".*Caused by \w+\(.*?: (.*?)'?\)+$", r"\1", " ".join(str(error).split()))


def _connect(context: str | None) -> client.ApiClient:
    """A client of the cluster. Raises ConfigException."""
    settings = client.Configuration()
    if "KUBERNETES_SERVICE_HOST" in os.environ and not context and not os.environ.get("KUBECONFIG"):
        config.load_incluster_config(settings)
    else:
        file = os.environ.get("KUBECONFIG")
        try:
            config.load_kube_config(file, context, settings)
        except (yaml.YAMLError, OSError, TypeError) as error:
            raise ConfigException(f"{file or '~/.kube/config'} is not a kubeconfig: {error}") from error
    settings.retries = False  # report at once that a cluster is down
    return client.ApiClient(settings)


def _addresses(core: client.CoreV1Api, namespace: str) -> dict[str, str]:
    values = core.read_namespaced_config_map(platform.ADDRESSES, namespace, _request_timeout=SECONDS).data or {}
    if missing := [key for key in ("XLRM_STORE", "MLFLOW_TRACKING_URI") if not values.get(key)]:
        raise Missing(f"{platform.ADDRESSES} has no {', '.join(missing)}")
    return {key: value for key, value in values.items() if value}


def _secret(core: client.CoreV1Api, namespace: str, name: str, keys: tuple[str, ...]) -> str:
    """Checks that the secret's keys have values, without showing them."""
    values = core.read_namespaced_secret(name, namespace, _request_timeout=SECONDS).data or {}
    if missing := [key for key in keys if not values.get(key)]:
        raise Missing(f"no value for {', '.join(missing)}")
    return ", ".join(keys)


def _account(core: client.CoreV1Api, namespace: str) -> str:
    name = ACCOUNTS.get(namespace, PROFILES_ACCOUNT)
    return core.read_namespaced_service_account(name, namespace, _request_timeout=SECONDS).metadata.name


def _rights(api: client.ApiClient, namespace: str) -> str:
    """Checks the rights of the pipelines' account; if asking about other accounts is forbidden, the user's own
    rights."""
    review, account = client.AuthorizationV1Api(api), ACCOUNTS.get(namespace, PROFILES_ACCOUNT)
    whose, denied = account, []
    for verb, group, resource, subresource in RIGHTS:
        right = {"namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource}
        if whose == account:
            try:
                groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
                user = f"system:serviceaccount:{namespace}:{account}"
                spec = {"user": user, "groups": groups, "resourceAttributes": right}
                answer = review.create_namespaced_local_subject_access_review(
                    namespace, {"metadata": {"namespace": namespace}, "spec": spec}, _request_timeout=SECONDS
                )
            except ApiException as error:
                if error.status != 403:
                    raise
                whose = "you"
        if whose == "you":
            answer = review.create_self_subject_access_review(
                {"spec": {"resourceAttributes": right}}, _request_timeout=SECONDS
            )
        if not answer.status.allowed:
            denied.append(f"{verb} {resource}{'/' * bool(subresource)}{subresource}")
    if denied:
        raise Missing(f"{whose} may not {', '.join(denied)}")
    return f"{whose} may run TrainJobs and read their logs"


def _trainer(api: client.ApiClient) -> str:
    kinds = client.CustomObjectsApi(api).get_api_resources("trainer.kubeflow.org", "v1alpha1", _request_timeout=SECONDS)
    if "TrainJob" not in {resource.kind for resource in kinds.resources}:
        raise Missing("trainer.kubeflow.org/v1alpha1 without TrainJob")
    return "trainer.kubeflow.org/v1alpha1"


def _quota(core: client.CoreV1Api, namespace: str) -> str:
    """Checks that the quotas have room for the largest stage: a pod that exceeds a quota would wait for ever."""
    gpus, memory, cores = (max(getattr(ask, what) for ask in asks()) for what in ("gpus", "memory", "cores"))
    most = {f"requests.{GPU}": gpus, "requests.cpu": cores, "requests.memory": memory, "limits.memory": memory}
    for quota in core.list_namespaced_resource_quota(namespace, _request_timeout=SECONDS).items:
        for key in most.keys() & (quota.status.hard or {}).keys():
            hard, used = quota.status.hard[key], (quota.status.used or {}).get(key, "0")
            if parse_quantity(hard) - parse_quantity(used) < most[key]:
                takes = f"{most[key] / 2**30:g}Gi" if key.endswith("memory") else f"{most[key]:g}"
                raise Missing(f"{quota.metadata.name}: {key}: {used} of {hard} used, a stage takes {takes}")
    return f"room for {gpus} GPUs, {cores:g} cores, {memory / 2**30:g} GiB"


# Resources that stages need


@dataclass(frozen=True, order=True)
class Ask:
    """Resources of one or more stages: cores, bytes of memory, GPUs, and the labels of the node as (name, value)."""

    gpus: int
    memory: float
    cores: float
    labels: tuple[tuple[str, str], ...]
    image: str

    def __str__(self) -> str:
        gpus = f"{self.gpus} GPUs of {dict(self.labels).get(f'{GPU}.product', 'any kind')}, " if self.gpus else ""
        return f"{gpus}{self.cores:g} cores, {self.memory / 2**30:g} GiB"


@cache
def asks() -> tuple[Ask, ...]:
    """Resources of the pipeline's tasks, read from its package, and of the nodes of a training on several nodes."""
    from pipelines.cross_lingual_transfer import build

    on = placement.current()
    pipeline = build(on)
    stages = MessageToDict(pipeline.pipeline_spec)["deploymentSpec"]["executors"]
    settings = MessageToDict(pipeline.platform_spec)["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    asked = {
        _asked(stage["container"], settings.get(name, {})) for name, stage in stages.items() if "container" in stage
    }
    for name in TRAININGS if on.nodes > 1 else ():
        needs, labels = on.tasks[name], {f"{GPU}.product": on.gpu_product} if on.gpu_product else {}
        memory, cores = (float(parse_quantity(quantity)) for quantity in (needs.memory, needs.cores))
        asked.add(Ask(needs.gpus or 0, memory, cores, tuple(labels.items()), image(name)))
    return tuple(sorted(asked))


def _asked(container: dict[str, Any], settings: dict[str, Any]) -> Ask:
    wanted, labels = container.get("resources", {}), settings.get("nodeSelector", {}).get("labels", {})
    return Ask(
        int(wanted.get("accelerator", {}).get("resourceCount", 0)),
        float(parse_quantity(wanted.get("resourceMemoryRequest", "0"))),
        float(parse_quantity(wanted.get("resourceCpuRequest", "0"))),
        tuple(sorted(labels.items())),
        container["image"],
    )


def _nodes(core: client.CoreV1Api) -> Iterator[Check]:
    """Checks whether an empty node of the cluster could run each stage. Nodes that an autoscaler would start are not
    seen."""
    try:
        nodes = [node for node in core.list_node(_request_timeout=SECONDS).items if _ready(node)]
    except (ApiException, HTTPError) as error:
        yield Check("nodes", False, _why(error), "ask a user who may list nodes, or continue without this check", False)
        return
    products = {node.metadata.labels.get(f"{GPU}.product", "") for node in nodes if node.metadata.labels} - {""}
    if product := placement.current().gpu_product:
        yield Check(
            "GPUs", product in products,
            f"{', '.join(sorted(products)) or 'no node is labelled'}; stages ask for {product}",
            "install NVIDIA's GPU operator (its feature discovery labels nodes), or set XLRM_PLACEMENT: docs/kubeflow.md",
        )  # fmt: skip
    for needs, fitting in {str(ask): [n for n in nodes if _fits(n, ask)] for ask in asks()}.items():
        message = f"{len(fitting)} of {len(nodes)} ready nodes are large enough, and free of taints that keep it away"
        yield Check(
            f"a node with {needs}",
            bool(fitting),
            message,
            "add a node, or another XLRM_PLACEMENT: docs/kubeflow.md",
        )


def _ready(node: client.V1Node) -> bool:
    return not node.spec.unschedulable and any(
        condition.type == "Ready" and condition.status == "True" for condition in node.status.conditions or []
    )


def _fits(node: client.V1Node, ask: Ask) -> bool:
    has, labels = node.status.allocatable, node.metadata.labels or {}
    refused = [(taint.key, taint.effect) for taint in node.spec.taints or [] if taint.effect != "PreferNoSchedule"]
    return (
        all(labels.get(key) == value for key, value in ask.labels)
        and all(ask.gpus and taint == (GPU, "NoSchedule") for taint in refused)  # platform.py tolerates this taint
        and int(has.get(GPU, 0)) >= ask.gpus
        and parse_quantity(has["memory"]) >= ask.memory
        and parse_quantity(has["cpu"]) >= ask.cores
    )


# Services that stages use


def _answers(api: client.ApiClient, namespace: str, address: str, path: str) -> str:
    """Checks that something answers at an address. For a service of the cluster that means ready pods; other addresses
    are requested from this machine.

    A service is not requested through the Kubernetes API, because network policies block such requests; its pods'
    probes request it anyway. An answer that demands credentials is fine: only a pod of the cluster can tell whether its
    keys are right.
    """
    parts = urlsplit(address)
    service, _, rest = (parts.hostname or "").partition(".")
    if service != "localhost" and re.fullmatch(r"([^.]+(\.svc(\.cluster\.local)?)?)?", rest):
        ready = _ready_pods(api, rest.split(".")[0] or namespace, service)
        if ready:
            return f"{address}: {ready} ready pod{'s' * (ready > 1)}"
        if ready == 0 or "." in rest or not rest:
            raise Missing(f"{address}: no pod of this service is ready")
    answer = requests.get(f"{address.rstrip('/')}/{path}", timeout=SECONDS, allow_redirects=False)
    if answer.status_code >= 500:
        raise Missing(f"{address}: {answer.status_code} {answer.reason}")
    return f"{address} answers, from here"


def _ready_pods(api: client.ApiClient, namespace: str, service: str) -> int | None:
    """Number of ready pods of a service; None if there is no such service: `minio.lan` may be one, or a host."""
    answer = client.DiscoveryV1Api(api).list_namespaced_endpoint_slice(
        namespace,
        label_selector=f"kubernetes.io/service-name={service}",
        _request_timeout=SECONDS,
        _preload_content=False,
    )
    slices = json.loads(answer.data)["items"]  # the client's class rejects the null of a service without pods
    pods = [pod for part in slices for pod in part.get("endpoints") or []]
    return sum(pod.get("conditions", {}).get("ready") is not False for pod in pods) if slices else None


# Images

HUB = "registry-1.docker.io"
"""Registry that serves images of docker.io; its logins are listed under index.docker.io."""


def _login(core: client.CoreV1Api, namespace: str) -> dict[str, tuple[str, str]]:
    """Registry -> (user, password) of the pull secret; empty if it does not exist, is invalid or may not be read."""
    try:
        secret = core.read_namespaced_secret("xlrm-registry", namespace, _request_timeout=SECONDS).data or {}
        auths = json.loads(base64.b64decode(secret.get(".dockerconfigjson", "") or "e30=")).get("auths", {})
    except (ApiException, HTTPError, ValueError):
        return {}
    logins = {}
    for where, auth in auths.items():
        both = base64.b64decode(auth.get("auth", "")).decode() or f"{auth.get('username')}:{auth.get('password')}"
        user, _, password = both.partition(":")
        host = urlsplit(where).netloc or where.partition("/")[0]
        logins[HUB if host == "index.docker.io" else host] = (user, password)
    return logins


def _image(image: str, login: dict[str, tuple[str, str]]) -> str:
    """Requests the image's manifest from its registry, as a node would, without downloading a layer."""
    where, _, rest = image.partition("/")
    where = HUB if where == "docker.io" else where
    name, _, tag = rest.rpartition(":")
    scheme = "http" if where.split(":")[0] in ("localhost", "127.0.0.1") else "https"  # the rule of container engines
    url = f"{scheme}://{where}/v2/{name}/manifests/{tag}"
    kinds = (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
    accept = {"Accept": ", ".join(f"application/vnd.{kind}+json" for kind in kinds)}
    answer = requests.head(url, headers=accept, timeout=SECONDS)
    asked = answer.headers.get("WWW-Authenticate", "")
    if answer.status_code == 401 and asked.startswith("Bearer "):
        bearer = _token(dict(re.findall(r'(\w+)="([^"]*)"', asked)), login.get(where))
        answer = requests.head(url, headers=accept | {"Authorization": f"Bearer {bearer}"}, timeout=SECONDS)
    elif answer.status_code == 401:
        answer = requests.head(url, headers=accept, auth=login.get(where), timeout=SECONDS)
    if answer.status_code != 200:
        raise Missing(
            f"{image}: {where} says {answer.status_code} {answer.reason}{'' if where in login else ', without login'}"
        )
    return f"{where} has it, {answer.headers.get('Docker-Content-Digest', '')[:19]}"


def _token(asked: dict[str, str], login: tuple[str, str] | None) -> str:
    """A token from the address that a registry names as its `realm`."""
    wanted = {key: value for key, value in asked.items() if key in ("service", "scope")}
    answer = requests.get(asked["realm"], params=wanted, auth=login, timeout=SECONDS)
    if answer.status_code != 200:
        raise Missing(f"{asked['realm']} says {answer.status_code} {answer.reason}")
    return answer.json().get("token") or answer.json()["access_token"]
