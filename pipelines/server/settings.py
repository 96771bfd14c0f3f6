"""Settings of a task's pod: image, resources, Kubernetes settings (backend/src/v2/driver/driver.go and k8s.go)."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipelines.server.package import DUMMY_IMAGES, Document, component_name, inputs
from pipelines.server.pod import environment, object_name
from pipelines.server.scopes import Scope

QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
"""k8s.io/apimachinery, resource.ParseQuantity."""
PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}")
POLICIES = ("Always", "Never", "IfNotPresent")
OWN_VOLUMES = ("kfp-launcher", "gcs-scratch", "s3-scratch", "minio-scratch", "dot-local-scratch", "dot-cache-scratch",
               "dot-config-scratch", "var-run-argo", "tmp-dir-argo")  # fmt: skip
OWN_PATHS = ("/kfp-launcher", "/gcs", "/s3", "/minio", "/.local", "/.cache", "/.config", "/var/run/argo")
"""Mount paths of the executor's template (argocompiler/container.go, addContainerExecutorTemplate) and of Argo."""
OWN_VARIABLES = ("KFP_POD_NAME", "KFP_POD_UID", "KFP_RETRY_INDEX")
"""Variables that the launcher reads (argocompiler/common.go, commonEnvs and retryIndexEnv)."""
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
"""Format of a label's value in Kubernetes."""
MOUNTS = ("emptyDirMounts", "secretAsVolume", "configMapAsVolume", "pvcMount", "genericEphemeralVolume")


def setting_findings(scope: Scope) -> Iterator[str]:
    for key, task in scope.tasks.items():
        name = component_name(task)
        if container := scope.package.executor(name).get("container"):
            yield from _container(scope, key, container)
            yield from _placeholders(scope, key, task, container)
            yield from _resources(scope, key, container.get("resources", {}))
            yield from _variables(scope, key, [*container.get("env", ()), *environment(scope.package.settings(name))])
        settings = scope.package.settings(name)
        yield from _values(scope, key, settings)
        yield from _volumes(scope, key, settings)
        yield from _security(scope, key, settings)
        yield from _labels(scope, key, settings)
        yield from _waiting(scope, key, settings)


def _container(scope: Scope, key: str, container: Document) -> Iterator[str]:
    """argocompiler/container.go, addContainerExecutorTemplate: the template's own image never exists.
    v2/component/launcher_v2.go."""
    if not container.get("image"):
        yield f"{scope.place(key)}: a container without an image"
    if container.get("image") not in DUMMY_IMAGES and not container.get("command") and not container.get("args"):
        yield f"{scope.place(key)}: neither command nor arguments, without which the launcher does not start"


def _placeholders(scope: Scope, key: str, task: Document, container: Document) -> Iterator[str]:
    """driver/util.go, resolveContainerArgs; resolve.go, resolvePodSpecInputRuntimeParameter: a missing value is an
    error."""
    parts = {part: container.get(part) for part in ("command", "args", "image", "resources")}
    for part, value in parts.items():
        texts = [
            text for text in _texts(value) if "$.outputs" not in text and not text.lstrip().startswith('{"IfPresent":')
        ]
        for name in dict.fromkeys(name for text in texts for name in PLACEHOLDER.findall(text)):
            if name not in inputs(task, "parameters"):
                yield f"{scope.place(key, name)}: {part} of the container names it, and the task does not take it"


def _variables(scope: Scope, key: str, variables: list[Document]) -> Iterator[str]:
    """The pod has one list of variables, beginning with the container's own; of two with one name the later one
    counts."""
    for name, times in Counter(variable.get("name", "") for variable in variables).items():
        if times > 1:
            yield f"{scope.place(key)}: variable {name} is set {times} times"
        if not name:
            yield f"{scope.place(key)}: a variable without a name"
        if name in OWN_VARIABLES:
            yield f"{scope.place(key)}: variable {name} is the launcher's"


def _labels(scope: Scope, key: str, settings: Document) -> Iterator[str]:
    held = {**settings.get("podMetadata", {}).get("labels", {}), **settings.get("nodeSelector", {}).get("labels", {})}
    for name, value in held.items():
        if not LABEL.fullmatch(value):
            yield f"{scope.place(key)}: label {name}: {value!r} is not a valid label value"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _texts(entry)


def _resources(scope: Scope, key: str, asked: Document) -> Iterator[str]:
    """driver.go, getPodResource."""
    held = {name: amount for name, amount in asked.items() if name.startswith("resource")}
    held["accelerator"] = asked.get("accelerator", {}).get("resourceCount")
    for name, amount in held.items():
        if amount and not PLACEHOLDER.search(amount) and not QUANTITY.fullmatch(amount):
            yield f"{scope.place(key)}: {name} {amount!r} is not a quantity"
    for kind in ("Cpu", "Memory"):
        request, limit = (asked.get(f"{kind.lower()}{side}", 0.0) for side in ("Request", "Limit"))
        if limit and request > limit:
            yield f"{scope.place(key)}: asks for more {kind.lower()} than its limit ({request} > {limit})"


def _values(scope: Scope, key: str, settings: Document) -> Iterator[str]:
    """k8s.go, extendPodSpecPatch: names are resolved in the enclosing DAG, as the task's inputs are."""
    policy = settings.get("imagePullPolicy")
    if policy and policy not in POLICIES:
        yield f"{scope.place(key)}: imagePullPolicy {policy!r}, not {', '.join(POLICIES)}"
    for name, source in _sources(settings):
        if "componentInputParameter" in source and source["componentInputParameter"] not in scope.given | scope.null:
            yield f"{scope.place(key)}: {name}: parent DAG does not have input parameter {source['componentInputParameter']}"
        if "taskOutputParameter" in source and source["taskOutputParameter"].get("producerTask", "") not in scope.tasks:
            yield f"{scope.place(key)}: {name}: unknown producer task {source['taskOutputParameter']['producerTask']}"
        if name.endswith("NameParameter") and source.get("runtimeValue", {}).get("constant", "x") == "":
            yield f"{scope.place(key)}: {name} is empty"
    for kind in ("secret", "configMap"):
        for entry in [*settings.get(f"{kind}AsEnv", ()), *settings.get(f"{kind}AsVolume", ())]:
            if not entry.get(f"{kind}Name") and f"{kind}NameParameter" not in entry:
                yield f"{scope.place(key)}: a {kind} without a name"


def _sources(settings: Any) -> Iterator[tuple[str, Document]]:
    """(field, source) of all settings that are resolved in a run."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            if (
                isinstance(value, dict)
                and {"runtimeValue", "componentInputParameter", "taskOutputParameter"} & value.keys()
            ):
                yield name, value
            yield from _sources(value)
    elif isinstance(settings, list):
        for entry in settings:
            yield from _sources(entry)


def _volumes(scope: Scope, key: str, settings: Document) -> Iterator[str]:
    """Mount paths and volume names are unique in a pod; sizes are parsed with MustParse, which crashes the driver on
    an error."""
    mounts = [mount for kind in MOUNTS for mount in settings.get(kind, ())]
    if not all(mount.get("mountPath") for mount in mounts):
        yield f"{scope.place(key)}: a volume without a mount path"
    for path, times in Counter(mount.get("mountPath", "") for mount in mounts).items():
        if times > 1 or path.rstrip("/") in OWN_PATHS:
            yield f"{scope.place(key)}: mount path {path} is taken"
    named = Counter(mount["volumeName"] for mount in mounts if "volumeName" in mount)
    for name, times in named.items():
        if times > 1 or name in OWN_VOLUMES:
            yield f"{scope.place(key)}: volume name {name} is taken"
    for mount in mounts:
        size = mount.get("sizeLimit") or mount.get("size")
        if size and not QUANTITY.fullmatch(size):
            yield f"{scope.place(key)}: volume {mount.get('volumeName')}: size {size!r} is not a quantity"


def _security(scope: Scope, key: str, settings: Document) -> Iterator[str]:
    context = settings.get("securityContext", {})
    if context.get("runAsNonRoot") and str(context.get("runAsUser", "1")) == "0":
        yield f"{scope.place(key)}: runs as user 0 and not as root: the kubelet starts no such container"


def _waiting(scope: Scope, key: str, settings: Document) -> Iterator[str]:
    """A pod waits for a missing secret or config map until its deadline."""
    needed = [
        object_name(entry, kind) or "what a run names" for kind in ("secret", "configMap") for way in ("AsEnv", "AsVolume")
        for entry in settings.get(f"{kind}{way}", ()) if not entry.get("optional")
    ]  # fmt: skip
    if needed and int(settings.get("activeDeadlineSeconds", 0)) <= 0:
        names = ", ".join(dict.fromkeys(needed))
        yield f"{scope.place(key)}: needs {names}, and without a timeout its pod waits for that for ever"
