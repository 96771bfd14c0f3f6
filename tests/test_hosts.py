"""Where things are fetched from is for the machine to say, in its package managers' own configuration: no file of the project
names the host of a package registry or a mirror, and none fetches over plain HTTP."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HIDDEN = (".ci", ".github")
"""Folders that are looked at though their names begin with a dot."""
MADE = ("build", "__pycache__")
PUBLIC = r"(?:[a-z]{2,3}\.)?(?:org|com|net|io|dev|edu|cn|eu|de|uk)\b"
REGISTRY = re.compile(
    r"(?<![\w-])(?:deb|apt|archive|security|ports|files|registry(?:-\d+)?|mirrors?|repo|index|downloads?|helm|charts|npm|proxy)"
    rf"\.(?:[\w-]+\.)*{PUBLIC}"
    rf"|\b(?:[\w-]+\.)*[\w-]*(?:pypi|pythonhosted|mirror|anaconda|npmjs)[\w-]*\.(?:[\w-]+\.)*{PUBLIC}",
    re.IGNORECASE,
)
PLAIN = re.compile(rf"http://(?:[^/\s@]*@)?((?:[\w-]+\.)+{PUBLIC})", re.IGNORECASE)
ALLOWED = {
    "registry-1.docker.io": "what answers for images of docker.io: the doctor asks it for their manifests",
    "index.docker.io": "the name under which a pull secret has the logins of docker.io",
    "www.apache.org": "the licence's own text",
}


def hosts(text: str) -> list[str]:
    """Hosts of package registries and mirrors, and those that are asked over plain HTTP; but for the allowed."""
    found = [match[0] for match in REGISTRY.finditer(text)] + PLAIN.findall(text)
    return [host for host in found if host.lower() not in ALLOWED]


def files() -> Iterator[Path]:
    """Every text of the project."""
    for folder, names, here in os.walk(ROOT):
        names[:] = [
            n for n in names if n in HIDDEN or (not n.startswith(".") and n not in MADE and "egg-info" not in n)
        ]
        yield from (Path(folder) / name for name in here if not name.endswith((".png", ".pyc", ".parquet", ".gz")))


def test_no_file_names_a_registry_or_fetches_over_plain_http() -> None:
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files()}
    assert {
        ".ci/run",
        ".github/workflows/ci.yaml",
        "docker/Dockerfile",
        "k8s/base/mlflow.yaml",
        "docs/images.md",
    } <= texts.keys()
    assert {name: found for name, text in texts.items() if (found := hosts(text))} == {}


@pytest.mark.parametrize(
    ("before", "host", "after"),
    [
        ("curl -O http://", ["deb", "somewhere", "org"], "/debian/pool/x.deb"),
        ("PIP_EXTRA_INDEX_URL: https://", ["download", "somewhere", "org"], "/whl/cpu"),
        ("index-url = https://", ["pypi", "org"], "/simple"),
        ("pip install --index-url https://", ["a", "pypi-mirror", "co", "uk"], "/simple"),
        ("helm repo add x https://", ["helm", "a", "b", "com"], "/x"),
        ("--trusted-host ", ["mirrors", "somewhere", "edu", "cn"], ""),
        ("wget http://", ["somewhere", "net"], "/a.tar.gz"),
    ],
)
def test_such_a_host_is_found(before: str, host: list[str], after: str) -> None:
    assert ".".join(host) in hosts(f"{before}{'.'.join(host)}{after}")


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/v1", "http://mlflow:5000", "http://store.xlrm:8333", "http://me:secret@localhost/",
        "https://example.org/page", "ghcr.io/xlrm/xlrm-data:0.1.0", "http://minio.invalid",
    ],
)  # fmt: skip
def test_what_fetches_no_package_is_not(text: str) -> None:
    assert hosts(text) == []
