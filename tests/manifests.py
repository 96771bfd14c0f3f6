"""What is wrong with Kubernetes manifests that schemas do not say, and what schemas do say: each check gives sentences."""

import json
from collections.abc import Iterator
from functools import cache

import kubernetes_validate

KUBERNETES = "1.34"
"""The version of the schemas; a field of a later one is a mistake."""
WORKLOADS = ("Deployment", "StatefulSet")


def problems(objects: list[dict], outside: set[str]) -> list[str]:
    """`outside`: secrets by name that are made by hand. Empty when all is well."""
    return [
        said
        for check in (_schemas, _selectors, _references, _accounts, _security, _quantities)
        for said in check(objects, outside)
    ]


def name(thing: dict) -> str:
    return f"{thing['kind']}/{thing['metadata']['name']}"


def _schemas(objects: list[dict], outside: set[str]) -> Iterator[str]:
    for one in objects:
        yield from (f"{name(one)}: {said}" for said in _schema(json.dumps(one, sort_keys=True)))


@cache
def _schema(text: str) -> tuple[str, ...]:
    """What the schema of its kind says against an object, as JSON: read once for every object, each reading takes long."""
    one = json.loads(text)
    try:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return (f"{'.'.join(map(str, error.path))}: {error.message}",)
    except kubernetes_validate.SchemaNotFoundError:
        return (f"no such kind as {one['apiVersion']} {one['kind']}",)
    return ()


def pods(objects: list[dict]) -> Iterator[tuple[str, dict]]:
    """(whose, pod template)"""
    for one in objects:
        if one["kind"] in WORKLOADS:
            yield name(one), one["spec"]["template"]


def _matches(selector: dict, labels: dict) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def _selectors(objects: list[dict], outside: set[str]) -> Iterator[str]:
    """Selectors of services, workloads, budgets and policies find pods; a service's port is one of theirs."""
    templates = [template for _, template in pods(objects)]
    for one in objects:
        spec = one.get("spec", {})
        if one["kind"] == "Service":
            found = [t for t in templates if _matches(spec["selector"], t["metadata"]["labels"])]
            ports = {p["name"] for t in found for c in t["spec"]["containers"] for p in c.get("ports", [])}
            yield from (f"{name(one)}: selects no pod" for _ in range(not found))
            yield from (
                f"{name(one)}: no port {p['targetPort']}" for p in spec["ports"] if p["targetPort"] not in ports
            )
        wanted = {"PodDisruptionBudget": "selector", "NetworkPolicy": "podSelector"}.get(one["kind"])
        wanted = spec.get(wanted, {}).get("matchLabels") if wanted else None
        if wanted and not any(_matches(wanted, t["metadata"]["labels"]) for t in templates):
            yield f"{name(one)}: selects no pod"
        if one["kind"] in WORKLOADS:
            labels = spec["template"]["metadata"]["labels"]
            if not _matches(spec["selector"]["matchLabels"], labels):
                yield f"{name(one)}: its selector does not match its own pods"


def referenced(pod: dict) -> Iterator[tuple[str, str, str | None]]:
    """(kind, name, key) of every secret and config map of a pod's spec that must be there."""
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        for variable in container.get("env", []):
            for kind, field in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
                reference = variable.get("valueFrom", {}).get(field)
                if reference:
                    yield kind, reference["name"], reference["key"]
    for volume in pod.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], None


def _references(objects: list[dict], outside: set[str]) -> Iterator[str]:
    there = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    for whose, template in pods(objects):
        pod = template["spec"]
        for kind, named, key in referenced(pod):
            if (kind, named) not in there and not (kind == "Secret" and named in outside):
                yield f"{whose}: no {kind} {named}"
            elif key and (kind, named) in there and key not in there[kind, named]["data"]:
                yield f"{whose}: {kind} {named} has no {key}"
        for kind, named in (
            ("ServiceAccount", pod["serviceAccountName"]),
            ("PriorityClass", pod.get("priorityClassName")),
        ):
            if named and (kind, named) not in there:
                yield f"{whose}: no {kind} {named}"
        volumes = {v["name"] for v in pod.get("volumes", [])}
        volumes |= {c["metadata"]["name"] for c in _owner(objects, template)["spec"].get("volumeClaimTemplates", [])}
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            yield from (f"{whose}: no volume {mount}" for mount in sorted(mounts - volumes))


def _owner(objects: list[dict], template: dict) -> dict:
    return next(one for one in objects if one.get("spec", {}).get("template") is template)


def _accounts(objects: list[dict], outside: set[str]) -> Iterator[str]:
    for one in objects:
        if one["kind"] == "RoleBinding":
            space = one["metadata"]["namespace"]
            for subject in one["subjects"]:
                if subject.get("namespace") != space:
                    yield f"{name(one)}: binds {subject['name']} of {subject.get('namespace')}, not of {space}"
            if not any(o["kind"] == "Role" and o["metadata"]["name"] == one["roleRef"]["name"] for o in objects):
                yield f"{name(one)}: no Role {one['roleRef']['name']}"


def _security(objects: list[dict], outside: set[str]) -> Iterator[str]:
    """The pod security standard `restricted`, a read-only root, and bounded resources."""
    for whose, template in pods(objects):
        pod = template["spec"]
        context = pod.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{whose}: runAsNonRoot and seccompProfile RuntimeDefault"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{whose}: automountServiceAccountToken is not false"
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            yield from (f"{whose}.{container['name']}: {said}" for said in _loose(container))


def _loose(container: dict) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("readOnlyRootFilesystem") is not True:
        yield "its root file system can be written"
    if context.get("allowPrivilegeEscalation") is not False or context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "allowPrivilegeEscalation false and capabilities drop ALL"
    for which in ("requests", "limits"):
        missing = {"cpu", "memory"} - container.get("resources", {}).get(which, {}).keys()
        yield from (f"no {which} of {what}" for what in sorted(missing))


SEAWEEDFS_GROWTH = 7
"""Volumes that SeaweedFS makes at once for a collection without copies: its default of master.volume_growth.copy_1."""


def seaweedfs_bytes(arguments: list[str], buckets: int) -> float:
    """Free space that SeaweedFS wants before every bucket takes its first object: it counts each volume at its full size."""
    (limit,) = (float(one.partition("=")[2]) for one in arguments if one.startswith("-master.volumeSizeLimitMB="))
    return SEAWEEDFS_GROWTH * (1 + buckets) * limit * 2**20  # one more than buckets: the filer's own files


def _quantities(objects: list[dict], outside: set[str]) -> Iterator[str]:
    for one in objects:
        for where, value in _resources(one):
            try:
                quantity(value)
            except ValueError:
                yield f"{name(one)}: {where} is {value!r}, no quantity"


def _resources(node, where: str = "") -> Iterator[tuple[str, str]]:
    """Every quantity below `node`, by where it stands."""
    tables = ("requests", "limits", "hard", "default", "defaultRequest")
    if isinstance(node, dict):
        for key, value in node.items():
            if key in tables and isinstance(value, dict):
                yield from ((f"{where}.{key}.{what}", amount) for what, amount in value.items())
            elif key in ("sizeLimit", "storage"):
                yield f"{where}.{key}", value
            else:
                yield from _resources(value, f"{where}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _resources(value, f"{where}[{number}]")


def quantity(text) -> float:
    """By the Kubernetes client's own parser. Raises ValueError."""
    from kubernetes.utils.quantity import parse_quantity

    return float(parse_quantity(text))
