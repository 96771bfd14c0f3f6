"""The pod-spec-patch of a container task, which its driver writes and Argo keeps in the status of the task's nodes."""

import re
from collections.abc import Iterator
from typing import Any

from pipelines.server.package import Document, Package, definitions, go_json, proto_json

RUN_ID = "00000000-0000-0000-0000-000000000000"
ROOT_URI = "minio://mlpipeline/v2/artifacts"
"""Default pipeline root of KFP's manifests."""
SESSION = {
    "Provider": "minio",
    "Params": {
        "accessKeyKey": "accesskey", "disableSSL": "true", "endpoint": "seaweedfs.kubeflow:9000", "fromEnv": "false",
        "maxRetries": "5", "region": "minio", "secretKeyKey": "secretkey", "secretName": "mlpipeline-minio-artifact",
    },
}  # fmt: skip
"""backend/src/v2/config/env.go, getDefaultMinioSessionInfo."""
LAUNCHER = (
    "/kfp-launcher/launch", "--pipeline_name", "{name}", "--run_id", RUN_ID, "--execution_id", "000",
    "--executor_input", "{input}", "--component_spec", "{component}", "--pod_name", "$(KFP_POD_NAME)",
    "--pod_uid", "$(KFP_POD_UID)", "--ml_pipeline_server_address", "ml-pipeline.kubeflow.svc.cluster.local",
    "--ml_pipeline_server_port", "8887", "--mlmd_server_address", "metadata-grpc-service.kubeflow.svc.cluster.local",
    "--mlmd_server_port", "8080", "--publish_logs", "true", "--publish_logs", "true", "--",
)  # fmt: skip
"""backend/src/v2/driver/driver.go, initPodSpecPatch; PUBLISH_LOGS is true in KFP's manifests."""
_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)']}}")


def artifact(package: Package, task: str, key: str, metadata: Document) -> Document:
    """An output of a task, in the form in which another task's driver finds it.

    backend/src/v2/metadata/client.go, RecordArtifact and ToRuntimeArtifact: the component's metadata plus the name and
    the store's session, as JSON inside JSON.
    """
    stored = {**metadata, "display_name": key, "store_session_info": go_json(SESSION)}
    return {
        "name": "000",
        "type": {"instanceSchema": ""},
        "uri": f"{_task_root(package, task)}/{key}",
        "metadata": stored,
    }


def executor_input(package: Package, task: str, component: Document, given: Document) -> Document:
    """The launcher's input: resolved inputs, and the locations of outputs (driver.go, provisionOutputs)."""
    root = _task_root(package, task)
    declared = definitions(component, "output", "artifacts")
    logs = {"artifactType": {"schemaTitle": "system.Artifact"}}
    outputs = {
        "parameters": {
            key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in definitions(component, "output", "parameters")
        },
        "artifacts": {
            key: {"artifacts": [{"name": key, "type": definition.get("artifactType", {}), "uri": f"{root}/{key}"}]}
            for key, definition in {**declared, "executor-logs": logs}.items()
        },
        "outputFile": f"/{root.replace('://', '/')}/output_metadata.json",
    }
    held = {"parameterValues": given["parameters"], "artifacts": given["artifacts"]}
    return {"inputs": {key: value for key, value in held.items() if value}, "outputs": outputs}


def pod_spec_patch(package: Package, task: str, name: str, given: Document) -> str:
    """The patch of component `name` in `task`, as JSON (driver/container.go, Container).

    `given` contains `parameters` by value, and `artifacts`, each as {"artifacts": [...]}.
    """
    component, container = package.component(name), package.executor(name)["container"]
    held = executor_input(package, task, component, given)
    texts = {"{name}": package.name, "{input}": proto_json(held), "{component}": proto_json(component)}
    arguments = [
        _resolved(argument, given["parameters"])
        for argument in [*container.get("command", []), *container.get("args", [])]
    ]
    main = {
        "name": "main", "image": container.get("image", ""), "command": [texts.get(part, part) for part in LAUNCHER],
        "args": arguments, "env": [*container.get("env", []), *environment(package.settings(name))],
        "resources": _resources(container.get("resources", {})),
    }  # fmt: skip
    return go_json(_extended(main, package.settings(name)))


def _task_root(package: Package, task: str) -> str:
    return f"{ROOT_URI}/{package.name}/{RUN_ID}/{task}/{RUN_ID}"


def _resolved(argument: Any, parameters: Document) -> Any:
    """driver/util.go, resolveContainerArgs."""
    if not isinstance(argument, str) or "$.outputs" in argument:
        return argument
    return _PLACEHOLDER.sub(lambda match: _text(parameters.get(match[1])), argument)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else proto_json(value)


def _resources(asked: Document) -> Document:
    """Limits and requests, as Kubernetes quantities."""
    limits = {"memory": asked.get("resourceMemoryLimit"), "cpu": asked.get("resourceCpuLimit")}
    requests = {"memory": asked.get("resourceMemoryRequest"), "cpu": asked.get("resourceCpuRequest")}
    accelerator = asked.get("accelerator", {})
    limits[accelerator.get("resourceType", "")] = accelerator.get("resourceCount")
    both = {"limits": limits, "requests": requests}
    return {
        key: given for key, side in both.items() if (given := {name: value for name, value in side.items() if value})
    }


def environment(settings: Document) -> Iterator[Document]:
    """Variables from secrets, config maps and fields (driver/k8s.go, extendPodSpecPatch)."""
    for kind, short in (("secret", "secretKeyRef"), ("configMap", "configMapKeyRef")):
        for source in settings.get(f"{kind}AsEnv", ()):
            optional = {"optional": source["optional"]} if "optional" in source else {}
            for pair in source.get("keyToEnv", ()):
                reference = {"name": object_name(source, kind), "key": pair.get(f"{kind}Key", ""), **optional}
                yield {"name": pair.get("envVar", ""), "valueFrom": {short: reference}}
    for source in settings.get("fieldPathAsEnv", ()):
        yield {"name": source.get("name", ""), "valueFrom": {"fieldRef": {"fieldPath": source.get("fieldPath", "")}}}


def object_name(document: Document, kind: str) -> str:
    """Name of a secret or config map; empty if it is only known in a run."""
    return document.get(f"{kind}Name") or document.get(f"{kind}NameParameter", {}).get("runtimeValue", {}).get(
        "constant", ""
    )


def _extended(main: Document, settings: Document) -> Document:
    """The pod with its Kubernetes settings (driver/k8s.go, extendPodSpecPatch)."""
    pod: Document = {"containers": [main]}
    if mounts := settings.get("emptyDirMounts"):
        pod["volumes"] = [
            {
                "name": mount["volumeName"],
                "emptyDir": {"medium": mount.get("medium"), "sizeLimit": mount.get("sizeLimit")},
            }
            for mount in mounts
        ]
        main["volumeMounts"] = [{"name": mount["volumeName"], "mountPath": mount["mountPath"]} for mount in mounts]
    if policy := settings.get("imagePullPolicy"):
        main["imagePullPolicy"] = policy
    if context := settings.get("securityContext"):
        user = {key: int(value) if key != "runAsNonRoot" else value for key, value in context.items()}
        main["securityContext"] = {"capabilities": {"drop": ["ALL"]}, **user}
    if deadline := settings.get("activeDeadlineSeconds"):
        pod["activeDeadlineSeconds"] = int(deadline)
    if labels := settings.get("nodeSelector", {}).get("labels"):
        pod["nodeSelector"] = labels
    if secrets := settings.get("imagePullSecret"):
        pod["imagePullSecrets"] = [{"name": object_name(secret, "secret")} for secret in secrets]
    if tolerations := settings.get("tolerations"):
        pod["tolerations"] = tolerations
    return pod
