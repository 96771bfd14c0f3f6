"""What `xlrm doctor --cluster` looks at: whether a cluster has what the pipelines ask for, before a run spends money."""

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from urllib.parse import urlsplit

import requests
from google.protobuf.json_format import MessageToDict
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.utils.quantity import parse_quantity
from urllib3.exceptions import HTTPError

from pipelines import platform
from xlrm.doctor import Check

SECONDS = 10
"""Patience with one answer: a whole number, the client takes no other."""
ACCOUNT = "default-editor"
"""The service account of pipelines' pods, as Kubeflow profiles have it."""
KUBEFLOW = "kubeflow"
"""The namespace of Kubeflow Pipelines' own services."""
RIGHTS = (
    *((verb, "trainer.kubeflow.org", "trainjobs", "") for verb in ("create", "get", "delete")),
    *((verb, "", "pods", "") for verb in ("get", "list")),
    ("get", "", "pods", "log"),
)
"""(verb, API group, resource, subresource) that a training on several nodes needs."""
OPTIONAL = ("xlrm-hub", "xlrm-endpoint")
"""Secrets that only gated models and judges served elsewhere need."""
GPU = "nvidia.com/gpu"


class Missing(Exception):
    """Something is not there, or not as it must be; the text says what."""


def checks(namespace: str, context: str | None = None) -> Iterator[Check]:
    """`context`: of the kubeconfig, its current one without; in a pod, the pod's own account. Each waits SECONDS at most."""
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
    yield from _services(core, namespace)
    login = _login(core, namespace)
    for image in sorted({ask.image for ask in asks()}):
        remedy = "push it (make images), or make the pull secret xlrm-registry: docs/cluster.md"
        yield _ask(f"image {image.rsplit('/', 1)[-1]}", remedy, partial(_image, image, login))


def _in_namespace(api: client.ApiClient, core: client.CoreV1Api, namespace: str) -> Iterator[Check]:
    apply, profile = "kubectl apply -k k8s/overlays/...", "make a Kubeflow profile of this name: docs/cluster.md"
    yield _ask("config map", apply, lambda: ", ".join(f"{k}={v}" for k, v in _addresses(core, namespace).items()))
    for name, keys in platform.SECRETS.items():
        remedy = "docs/cluster.md, Secrets"
        yield _ask(f"secret {name}", remedy, partial(_secret, core, namespace, name, keys), name not in OPTIONAL)
    yield _ask("service account", profile, partial(_account, core, namespace))
    yield _ask("rights", apply, partial(_rights, api, namespace))
    yield _ask("quota of GPUs", "raise the ResourceQuota, or wait for runs to end", partial(_quota, core, namespace))
    yield _ask("Kubeflow Trainer", "install it, for stages on several nodes", partial(_trainer, api), required=False)


def _services(core: client.CoreV1Api, namespace: str) -> Iterator[Check]:
    addresses = partial(_addresses, core, namespace)
    yield _ask(
        "store", "is AWS_ENDPOINT_URL right, and does its pod run?",
        lambda: _answers(core, namespace, addresses()["AWS_ENDPOINT_URL"], ""),
    )  # fmt: skip
    yield _ask(
        "MLflow", "is MLFLOW_TRACKING_URI right, and does its pod run?",
        lambda: _answers(core, namespace, addresses()["MLFLOW_TRACKING_URI"], "health"),
    )  # fmt: skip
    pipelines = os.environ.get("KF_PIPELINES_ENDPOINT", f"http://ml-pipeline.{KUBEFLOW}:8888")
    yield _ask(
        "Kubeflow Pipelines", "install it, or set KF_PIPELINES_ENDPOINT to its address",
        lambda: _answers(core, namespace, pipelines, "apis/v2beta1/healthz"),
    )  # fmt: skip


def _ask(what: str, remedy: str, find: Callable[[], str], required: bool = True) -> Check:
    try:
        return Check(what, True, find(), "", required)
    except (Missing, ApiException, HTTPError, requests.RequestException) as error:
        return Check(what, False, _why(error), remedy, required)


def _why(error: Exception) -> str:
    """One line, of an error that mostly has many."""
    if isinstance(error, ApiException) and error.status:
        try:
            said = json.loads(error.body)["message"]
        except (TypeError, ValueError, KeyError):
            said = error.reason
        return f"{error.status}: {said}"
    if "timed out" in str(error) or isinstance(error, TimeoutError):
        return f"no answer in {SECONDS} seconds"
    return re.sub(r".*Caused by \w+\(.*?: (.*?)'?\)+$", r"\1", " ".join(str(error).split()))


def _connect(context: str | None) -> client.ApiClient:
    """Raises ConfigException."""
    settings = client.Configuration()
    if "KUBERNETES_SERVICE_HOST" in os.environ and not context and not os.environ.get("KUBECONFIG"):
        config.load_incluster_config(settings)
    else:
        config.load_kube_config(os.environ.get("KUBECONFIG"), context, settings)
    settings.retries = False  # a cluster that is down is said to be at once
    settings.safe_chars_for_path_param = "/:"  # a service and a path behind it are asked for as they are
    return client.ApiClient(settings)


def _addresses(core: client.CoreV1Api, namespace: str) -> dict[str, str]:
    found = core.read_namespaced_config_map(platform.ADDRESSES, namespace, _request_timeout=SECONDS).data or {}
    keys = ("XLRM_STORE", "AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI")
    if missing := [key for key in keys if not found.get(key)]:
        raise Missing(f"{platform.ADDRESSES} has no {', '.join(missing)}")
    return {key: found[key] for key in keys}


def _secret(core: client.CoreV1Api, namespace: str, name: str, keys: tuple[str, ...]) -> str:
    """Looks whether the keys have values, and never says them."""
    found = core.read_namespaced_secret(name, namespace, _request_timeout=SECONDS).data or {}
    if missing := [key for key in keys if not found.get(key)]:
        raise Missing(f"no value for {', '.join(missing)}")
    return ", ".join(keys)


def _account(core: client.CoreV1Api, namespace: str) -> str:
    return core.read_namespaced_service_account(ACCOUNT, namespace, _request_timeout=SECONDS).metadata.name


def _rights(api: client.ApiClient, namespace: str) -> str:
    """Of the pipelines' account; where one may not ask about others, of oneself."""
    review = client.AuthorizationV1Api(api)
    whose, denied = ACCOUNT, []
    for verb, group, resource, subresource in RIGHTS:
        right = {"namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource}
        if whose == ACCOUNT:
            try:
                groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
                user = f"system:serviceaccount:{namespace}:{ACCOUNT}"
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
    if "TrainJob" not in {one.kind for one in kinds.resources}:
        raise Missing("trainer.kubeflow.org/v1alpha1 without TrainJob")
    return "trainer.kubeflow.org/v1alpha1"


def _quota(core: client.CoreV1Api, namespace: str) -> str:
    most = max(ask.gpus for ask in asks())
    key = f"requests.{GPU}"
    for one in core.list_namespaced_resource_quota(namespace, _request_timeout=SECONDS).items:
        hard, used = (one.status.hard or {}).get(key), (one.status.used or {}).get(key, "0")
        if hard is not None and int(hard) - int(used) < most:
            raise Missing(f"{one.metadata.name}: {used} of {hard} used, a stage takes {most}")
    return f"room for {most}"


# What stages ask of a node


@dataclass(frozen=True, order=True)
class Ask:
    """Of one stage or more: cores, bytes of memory, GPUs, and the labels of the node as (name, value)."""

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
    """What the tasks of the pipeline ask for, of its package."""
    from pipelines.cross_lingual_transfer import cross_lingual_transfer as pipeline

    stages = MessageToDict(pipeline.pipeline_spec)["deploymentSpec"]["executors"]
    on = MessageToDict(pipeline.platform_spec)["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    found = set()
    for name, stage in stages.items():
        if "container" not in stage:
            continue
        wanted = stage["container"].get("resources", {})
        labels = on.get(name, {}).get("nodeSelector", {}).get("labels", {})
        found.add(
            Ask(
                int(wanted.get("accelerator", {}).get("resourceCount", 0)),
                float(parse_quantity(wanted.get("resourceMemoryRequest", "0"))),
                float(parse_quantity(wanted.get("resourceCpuRequest", "0"))),
                tuple(sorted(labels.items())),
                stage["container"]["image"],
            )
        )
    return tuple(sorted(found))


def _nodes(core: client.CoreV1Api) -> Iterator[Check]:
    """Whether an empty node of the cluster could take each stage. Nodes that an autoscaler would start are not seen."""
    try:
        nodes = [node for node in core.list_node(_request_timeout=SECONDS).items if _ready(node)]
    except (ApiException, HTTPError) as error:
        yield Check("nodes", False, _why(error), "ask somebody who may list nodes, or go on at your own risk", False)
        return
    products = {(node.metadata.labels or {}).get(f"{GPU}.product") for node in nodes} - {None}
    yield Check(
        "GPUs", platform.GPU_PRODUCT in products,
        f"{', '.join(sorted(products)) or 'no node is labelled'}; stages ask for {platform.GPU_PRODUCT}",
        "install NVIDIA's GPU operator (its feature discovery labels nodes), or change GPU_PRODUCT in pipelines/platform.py",
    )  # fmt: skip
    for said, fitting in {str(ask): [n for n in nodes if _fits(n, ask)] for ask in asks()}.items():
        found = f"{len(fitting)} of {len(nodes)} ready nodes are large enough"
        yield Check(
            f"a node with {said}", bool(fitting), found, "add a node, or lower what pipelines/platform.py asks for"
        )


def _ready(node: client.V1Node) -> bool:
    return not node.spec.unschedulable and any(
        one.type == "Ready" and one.status == "True" for one in node.status.conditions or []
    )


def _fits(node: client.V1Node, ask: Ask) -> bool:
    has, labels = node.status.allocatable, node.metadata.labels or {}
    return (
        all(labels.get(key) == value for key, value in ask.labels)
        and int(has.get(GPU, 0)) >= ask.gpus
        and parse_quantity(has["memory"]) >= ask.memory
        and parse_quantity(has["cpu"]) >= ask.cores
    )


# What stages talk to


def _answers(core: client.CoreV1Api, namespace: str, address: str, path: str) -> str:
    """That something answers at an address: a service of the cluster through the Kubernetes API, others from here.

    An answer that asks for keys is one, too: which keys are right only a pod of the cluster can tell.
    """
    parts = urlsplit(address)
    host, _, rest = (parts.hostname or "").partition(".")
    inside = not rest or re.fullmatch(r"[^.]+(\.svc(\.cluster\.local)?)?", rest)
    if inside and parts.hostname != "localhost":
        space, port = rest.split(".")[0] or namespace, parts.port or 80
        try:
            core.connect_get_namespaced_service_proxy_with_path(
                f"{host}:{port}", space, path, _request_timeout=SECONDS, _preload_content=False
            )
        except ApiException as error:
            if not _of_service(error):
                raise
        return f"{address} answers, through the Kubernetes API"
    answer = requests.get(f"{address.rstrip('/')}/{path}", timeout=SECONDS, allow_redirects=False)
    if answer.status_code >= 500:
        raise Missing(f"{address}: {answer.status_code} {answer.reason}")
    return f"{address} answers, from here"


def _of_service(error: ApiException) -> bool:
    """Whether the service refused, which is an answer, and not Kubernetes, whose refusals are objects of kind Status."""
    return error.status < 500 and '"kind":"Status"' not in (error.body or b"").replace(b" ", b"").decode(
        errors="replace"
    )


# Images


def _login(core: client.CoreV1Api, namespace: str) -> dict[str, tuple[str, str]]:
    """Registry -> (user, password) of the pull secret; empty where there is none, or one may not read it."""
    try:
        secret = core.read_namespaced_secret("xlrm-registry", namespace, _request_timeout=SECONDS).data or {}
    except (ApiException, HTTPError):
        return {}
    auths = json.loads(base64.b64decode(secret.get(".dockerconfigjson", "") or "e30=")).get("auths", {})
    found = {}
    for where, auth in auths.items():
        both = base64.b64decode(auth.get("auth", "")).decode() or f"{auth.get('username')}:{auth.get('password')}"
        user, _, password = both.partition(":")
        found[urlsplit(where).netloc or where] = (user, password)
    return found


def _image(image: str, login: dict[str, tuple[str, str]]) -> str:
    """Asks the registry for the image's manifest, as a node would, and fetches no layer."""
    where, _, rest = image.partition("/")
    name, _, tag = rest.rpartition(":")
    scheme = "http" if where.split(":")[0] in ("localhost", "127.0.0.1") else "https"  # as container engines have it
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
    """Of the place that a registry names (`realm`)."""
    wanted = {key: value for key, value in asked.items() if key in ("service", "scope")}
    answer = requests.get(asked["realm"], params=wanted, auth=login, timeout=SECONDS)
    if answer.status_code != 200:
        raise Missing(f"{asked['realm']} says {answer.status_code} {answer.reason}")
    return answer.json().get("token") or answer.json()["access_token"]
