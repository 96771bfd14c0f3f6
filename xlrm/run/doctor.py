"""What `xlrm doctor` looks at."""

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata

from xlrm.errors import ConfigError, XlrmError
from xlrm.store import addresses, objects

PACKAGES = {
    "pipeline": ("kfp", "mlflow", "boto3"),
    "data": ("great_expectations", "datasets"),
    "train": ("torch", "transformers", "trl"),
    "gpu": ("deepspeed", "bitsandbytes"),
    "sample": ("vllm",),
    "serve": ("fastapi", "uvicorn", "prometheus_client"),
}
"""Extra -> the packages by which it is known to be installed."""
DEMO = {"pipeline", "data", "train"}
"""Extras without which a machine cannot run the demo."""
IMAGES = {"data": {"pipeline", "data"}, "train": {"pipeline", "train", "serve"}, "sample": {"pipeline", "data"}}
"""Image -> extras that its tasks cannot do without, be it made for GPUs or for CPUs, which have neither `gpu` nor vLLM."""


@dataclass(frozen=True)
class Check:
    what: str
    ok: bool
    found: str
    remedy: str
    required: bool = True


def checks() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("Python", (3, 11) <= sys.version_info < (3, 14), version, "install Python 3.11, 3.12 or 3.13")
    image = _image()
    needed = IMAGES.get(image, DEMO)
    for extra, packages in PACKAGES.items():
        for package in packages:
            yield _installed(package, extra, extra in needed, image)
    yield _store()
    yield _tracking()
    yield _gpu(image)
    free = shutil.disk_usage(addresses.home().parent).free / 2**30
    yield Check("disk", free > 2, f"{free:.0f} GiB free", "free at least 2 GiB, or set XLRM_HOME to another disk")


def cluster_checks(namespace: str, context: str | None) -> Iterator[Check]:
    """What the package that knows the cluster looks at: it names itself by an entry point. Raises ConfigError without it."""
    found = metadata.entry_points(group="xlrm.checks", name="cluster")
    if not found:
        raise ConfigError(
            "--cluster: nothing installed knows clusters; pip install 'xlrm[pipeline]' (again, if it is old)"
        )
    try:
        checks_of = next(iter(found)).load()
    except ImportError as error:
        raise ConfigError(f"--cluster: {error}; pip install 'xlrm[pipeline]'") from error
    return checks_of(namespace, context)


def _image() -> str | None:
    """Which of the project's images this is, by the name it was built with (REGISTRY/xlrm-NAME:TAG); None outside of them."""
    found = re.search(r"/xlrm-(\w+)(?=[:@]|$)", os.environ.get("XLRM_IMAGE", ""))
    return found[1] if found and found[1] in IMAGES else None


def _installed(package: str, extra: str, required: bool, image: str | None) -> Check:
    if importlib.util.find_spec(package) is not None:
        return Check(package, True, metadata.version(package), "", required)
    if image is None:
        return Check(package, False, "not installed", f"pip install 'xlrm[{extra}]'", required)
    if required:
        return Check(
            package, False, f"not installed, and xlrm-{image} needs it", "build the image again: docs/images.md"
        )
    return Check(package, False, "not in this image", "", required=False)


def _store() -> Check:
    uri = addresses.store()
    try:
        objects.read_bytes(objects.join(uri, "doctor"))
    except XlrmError as error:
        return Check("artifact store", False, str(error), "set XLRM_STORE, AWS_ENDPOINT_URL and the AWS keys")
    return Check("artifact store", True, uri, "")


def _tracking() -> Check:
    from xlrm.tracking import mlflow_registry

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds; MLflow's two minutes are for files
    uri = addresses.shown(addresses.tracking_uri())
    try:
        models = mlflow_registry.models()
    except XlrmError as error:
        return Check("MLflow", False, str(error), "set MLFLOW_TRACKING_URI, or unset it for a local database")
    return Check("MLflow", True, f"{uri}, {len({one.name for one in models})} registered models", "")


def _gpu(image: str | None) -> Check:
    if importlib.util.find_spec("torch") is None:
        return replace(_installed("torch", "train", False, image), what="GPU")
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Check("GPU", bool(names), ", ".join(names) or "none", "none is needed for the demo", required=False)
