"""Checks that the server can parse both documents of a package, field by field (apiserver/template/v2_template.go)."""

from collections.abc import Iterator
from typing import Any

from pipelines.server.package import Document, Package


def parse_findings(package: Package) -> Iterator[str]:
    """PipelineSpec and PlatformSpec do not restrict executors; the compiler parses these separately."""
    from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes
    from kfp.pipeline_spec import pipeline_spec_pb2 as specs

    pipeline, platform = package.pipeline, package.platform
    yield from _parsed(package, pipeline, specs.PipelineSpec())
    if (version := pipeline.get("schemaVersion")) != "2.1.0":
        yield f"{package.name}: schemaVersion {version}, and a server takes 2.1.0"
    yield from _parsed(package, pipeline.get("deploymentSpec", {}), specs.PipelineDeploymentConfig())
    findings = list(_parsed(package, platform, specs.PlatformSpec()))
    yield from findings
    executors = {} if findings else platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
    for name, settings in executors.get("executors", {}).items():
        yield from _parsed(package, settings, kubernetes.KubernetesExecutorConfig(), f"{name}: ")


def _parsed(package: Package, document: Document, message: Any, where: str = "") -> Iterator[str]:
    from google.protobuf import json_format

    try:
        json_format.ParseDict(document, message, ignore_unknown_fields=False)
    except json_format.ParseError as error:
        yield f"{package.name}: {where}not a {message.DESCRIPTOR.name}: {error}"
