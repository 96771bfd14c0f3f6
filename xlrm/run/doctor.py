"""The checks of `xlrm doctor`: this machine. `python -m pipelines doctor` adds the cluster (`pipelines.doctor`)."""

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from importlib import metadata

from rich.markup import escape

from xlrm import installation
from xlrm.errors import ConfigError, XlrmError
from xlrm.run.output import console, empty_table
from xlrm.store import addresses, objects, outputs

PACKAGES = {
    "pipeline": ("kfp", "mlflow", "boto3"),
    "data": ("great_expectations", "datasets"),
    "train": ("torch", "transformers", "trl"),
    "gpu": ("deepspeed", "bitsandbytes"),
    "sample": ("vllm",),
    "serve": ("fastapi", "uvicorn", "prometheus_client"),
}
"""Extra -> packages that show whether it is installed."""
DEMO = {"pipeline", "data", "train"}
"""Extras that the demo needs."""
IMAGES = {"data": {"pipeline", "data"}, "train": {"pipeline", "train", "serve"}, "sample": {"pipeline", "data"}}
"""Image -> extras that its tasks need. Images for CPUs lack `gpu` and vLLM, so these are not required of any image."""


@dataclass(frozen=True)
class Check:
    what: str
    ok: bool
    found: str
    remedy: str
    required: bool = True


def show(checks: Iterable[Check]) -> bool:
    """Prints the checks as a table and returns whether every required one passed. An iterator of checks is run row by
    row."""
    table, ready = empty_table(["", "what", "found", "what to do"]), True
    for check in checks:
        ready &= check.ok or not check.required
        mark = "[green]✓[/]" if check.ok else "[red]✗[/]" if check.required else "[yellow]–[/]"
        table.add_row(mark, escape(check.what), escape(check.found), "" if check.ok else escape(check.remedy))
    console().print(table)
    return ready


def checks(needed: Set[str] = DEMO) -> Iterator[Check]:
    """Checks what is installed on this machine, and what can be reached from it. `needed`: the required extras; inside
    one of the project's images, those of the image (`IMAGES`) take their place."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("Python", (3, 11) <= sys.version_info < (3, 14), version, "install Python 3.11, 3.12 or 3.13")
    image = _image()
    needed = IMAGES.get(image or "", needed)
    for extra, packages in PACKAGES.items():
        for package in packages:
            yield _installed(package, extra, extra in needed, image)
    yield _home()
    yield _store()
    yield _tracking()
    yield _gpu(image)
    free = shutil.disk_usage(addresses.home().parent).free / 2**30
    yield Check("disk", free > 2, f"{free:.0f} GiB free", "free at least 2 GiB, or set XLRM_HOME to another disk")


def _home() -> Check:
    folder = str(addresses.home())
    try:
        outputs.check_folder(addresses.home(), "XLRM_HOME")
    except ConfigError as error:
        return Check("XLRM_HOME", False, folder, f"{error.message}; set XLRM_HOME to another folder")
    return Check("XLRM_HOME", True, folder, "")


def _image() -> str | None:
    """Name of the project's image that this process runs in, from the name it was built with (REGISTRY/xlrm-NAME:TAG);
    None outside of them."""
    match = re.search(r"/xlrm-(\w+)(?=[:@]|$)", os.environ.get("XLRM_IMAGE", ""))
    return match[1] if match and match[1] in IMAGES else None


def _installed(package: str, extra: str, required: bool, image: str | None) -> Check:
    if importlib.util.find_spec(package) is not None:
        return Check(package, True, metadata.version(package), "", required)
    if image is None:
        return Check(package, False, "not installed", installation.command(extra), required)
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

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds; MLflow's two minutes are for files
    uri = addresses.shown(addresses.tracking_uri())
    try:
        models = mlflow_registry.models()
    except XlrmError as error:
        return Check("MLflow", False, str(error), "set MLFLOW_TRACKING_URI, or unset it for a local database")
    return Check("MLflow", True, f"{uri}, {len({model.name for model in models})} registered models", "")


def _gpu(image: str | None) -> Check:
    if importlib.util.find_spec("torch") is None:
        return replace(_installed("torch", "train", False, image), what="GPU")
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Check("GPU", bool(names), ", ".join(names) or "none", "none is needed for the demo", required=False)
