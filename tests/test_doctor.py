"""`xlrm doctor --cluster`, through the real Kubernetes client, against a small API that answers as a real one does."""

import importlib
import json
import socket
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_stub import NAMESPACE, Cluster, encoded, forbidden, kubeconfig, node, secret
from typer.testing import CliRunner

from pipelines import doctor
from xlrm.cli import app
from xlrm.doctor import Check

ROOT = Path(__file__).parents[1]
STORE = ("GET", f"{NAMESPACE}/secrets/xlrm-store")
NODES = ("GET", "/api/v1/nodes")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """One that has everything; its registry is where the images are."""
    for name in ("KF_PIPELINES_ENDPOINT", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with Cluster().serving() as one:
        (tmp_path / "kubeconfig").write_text(kubeconfig(one.address))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        registry = one.address.removeprefix("http://")
        login = {"auths": {f"http://{registry}": {"auth": encoded({"x": ":".join(one.registry_user)})["x"]}}}
        pull = secret("xlrm-registry", {".dockerconfigjson": json.dumps(login)}, "kubernetes.io/dockerconfigjson")
        one.answers["GET", f"{NAMESPACE}/secrets/xlrm-registry"] = pull
        there = tuple(replace(ask, image=f"{registry}/team/{ask.image.rsplit('/', 1)[-1]}") for ask in doctor.asks())
        monkeypatch.setattr(doctor, "asks", lambda: there)
        yield one


def found() -> dict[str, Check]:
    return {check.what: check for check in doctor.checks("xlrm")}


def failed(checks: dict[str, Check]) -> set[str]:
    return {what for what, check in checks.items() if check.required and not check.ok}


def test_a_cluster_that_has_everything(cluster: Cluster) -> None:
    checks = found()
    assert failed(checks) == set(), checks
    assert checks["Kubernetes"].found.startswith("v1.34.2")
    assert "XLRM_STORE=s3://xlrm/store" in checks["config map"].found
    assert checks["rights"].found.startswith("default-editor may run TrainJobs")
    assert "answers, through the Kubernetes API" in checks["store"].found
    assert [check.ok for what, check in checks.items() if what.startswith("image ")] == [True] * len(
        {ask.image for ask in doctor.asks()}
    )
    assert not checks["secret xlrm-endpoint"].ok and not checks["secret xlrm-endpoint"].required


def test_no_value_of_a_secret_is_said(cluster: Cluster) -> None:
    said = str(found())
    assert "AWS_SECRET_ACCESS_KEY" in said and "hidden-value" not in said and "s3cret" not in said


def test_a_key_that_a_secret_lacks_is_named(cluster: Cluster) -> None:
    cluster.answers[STORE] = secret("xlrm-store", {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": ""})
    checks = found()
    assert failed(checks) == {"secret xlrm-store"}
    assert checks["secret xlrm-store"].found == "no value for AWS_SECRET_ACCESS_KEY"


def test_gpus_without_labels_are_none(cluster: Cluster) -> None:
    cluster.answers[NODES]["items"] = [node("gpu-1", 8, product=None)]
    checks = found()
    assert checks["GPUs"].found == "no node is labelled; stages ask for NVIDIA-A100-SXM4-80GB"
    assert "GPU operator" in checks["GPUs"].remedy
    assert {what for what in failed(checks) if what.startswith("a node with ")} == {
        f"a node with {ask}" for ask in doctor.asks() if ask.gpus
    }


@pytest.mark.parametrize(
    ("nodes", "fitting"),
    [
        ([node("gpu-1", 8)], {1, 4}),
        ([node("gpu-1", 2), node("gpu-2", 2)], {1}),
        ([node("gpu-1", 8, ready="Unknown")], set()),
        ([node("gpu-1", 8, product="Tesla-T4")], set()),
    ],
    ids=["large enough", "four GPUs on no one node", "not ready", "another kind"],
)
def test_a_stage_needs_one_node_that_is_large_enough(nodes: list, fitting: set[int], cluster: Cluster) -> None:
    cluster.answers[NODES]["items"] = nodes
    checks = found()
    for ask in doctor.asks():
        if ask.gpus:
            assert checks[f"a node with {ask}"].ok is (ask.gpus in fitting), ask


def test_what_one_may_not_see_is_no_success(cluster: Cluster) -> None:
    cluster.answers[STORE] = forbidden('secrets "xlrm-store"')
    cluster.answers[NODES] = forbidden("nodes")
    checks = found()
    assert failed(checks) == {"secret xlrm-store"}
    assert checks["secret xlrm-store"].found.startswith('403: secrets "xlrm-store" is forbidden')
    assert not checks["nodes"].ok and "GPUs" not in checks


def test_missing_rights_are_named(cluster: Cluster) -> None:
    cluster.allowed = lambda right: right["verb"] not in ("delete", "list")
    assert found()["rights"].found == "default-editor may not delete trainjobs, list pods"


def test_without_the_right_to_ask_about_others_one_asks_about_oneself(cluster: Cluster) -> None:
    path = "/apis/authorization.k8s.io/v1/namespaces/xlrm/localsubjectaccessreviews"
    cluster.answers["POST", path] = forbidden("localsubjectaccessreviews")
    assert found()["rights"].found.startswith("you may run TrainJobs")
    assert cluster.asked.count(("POST", path)) == 1


def test_what_is_not_installed_is_named(cluster: Cluster) -> None:
    del cluster.answers["GET", "/apis/trainer.kubeflow.org/v1alpha1"]
    del cluster.answers["GET", f"{NAMESPACE}/serviceaccounts/default-editor"]
    del cluster.answers["GET", f"{NAMESPACE}/configmaps/xlrm-addresses"]
    checks = found()
    assert failed(checks) == {"service account", "config map", "store", "MLflow"}
    assert not checks["Kubeflow Trainer"].ok


def test_a_service_without_pods_does_not_answer(cluster: Cluster) -> None:
    refused = {"kind": "Status", "status": "Failure", "message": "no endpoints available for service", "code": 503}
    cluster.answers["GET", f"{NAMESPACE}/services/mlflow:5000/proxy/health"] = (503, refused)
    cluster.answers["GET", f"{NAMESPACE}/services/store:8333/proxy/"] = forbidden("services/proxy")
    checks = found()
    assert failed(checks) == {"MLflow", "store"}
    assert "no endpoints available" in checks["MLflow"].found


def test_a_store_outside_the_cluster_is_asked_from_here(cluster: Cluster) -> None:
    data = cluster.answers["GET", f"{NAMESPACE}/configmaps/xlrm-addresses"]["data"]
    data["AWS_ENDPOINT_URL"] = cluster.address
    assert found()["store"].found == f"{cluster.address} answers, from here"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        data["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert "Connection refused" in found()["store"].found


def test_a_full_quota_is_said(cluster: Cluster) -> None:
    quota = cluster.answers["GET", f"{NAMESPACE}/resourcequotas"]["items"][0]
    quota["status"]["used"]["requests.nvidia.com/gpu"] = "30"
    assert found()["quota of GPUs"].found == "xlrm: 30 of 32 used, a stage takes 4"


def test_an_image_that_no_node_could_pull(cluster: Cluster) -> None:
    del cluster.answers["GET", f"{NAMESPACE}/secrets/xlrm-registry"]
    images = [check for what, check in found().items() if what.startswith("image ")]
    assert images and all(not check.ok and "401" in check.found for check in images)


def test_an_image_that_was_never_pushed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tuple(replace(ask, image=ask.image.replace("/team/", "/tema/")) for ask in doctor.asks())
    monkeypatch.setattr(doctor, "asks", lambda: wrong)
    images = [check for what, check in found().items() if what.startswith("image ")]
    assert images and all(not check.ok and "404" in check.found for check in images)


def test_a_cluster_that_is_down_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        (tmp_path / "kubeconfig").write_text(kubeconfig(f"http://127.0.0.1:{closed.getsockname()[1]}"))
        (check,) = doctor.checks("xlrm")
    assert not check.ok and "Connection refused" in check.found and "\n" not in check.found


def test_a_cluster_that_does_not_answer_is_given_up(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SECONDS", 1)
    cluster.delay = 1.5
    (check,) = doctor.checks("xlrm")
    assert check.found == "no answer in 1 seconds"


def test_without_a_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    (check,) = doctor.checks("xlrm")
    assert not check.ok and "KUBECONFIG" in check.remedy


def test_what_stages_ask_for_is_what_the_package_says() -> None:
    asks = doctor.asks()
    assert {ask.gpus for ask in asks} >= {0, 1, 4}
    assert all(dict(ask.labels) for ask in asks if ask.gpus) and all(ask.memory >= 2**30 for ask in asks)


def test_the_entry_point_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["entry-points"]["xlrm.checks"]["cluster"].partition(":")
    assert getattr(importlib.import_module(module), function) is doctor.checks


def installed(folder: Path, entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with one entry point; any other of the group is not seen."""
    info = folder / "stand_in-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stand-in\nVersion: 1\n")
    (info / "entry_points.txt").write_text(entry)
    others = (one for one in sys.path if "site-packages" not in one and Path(one or ".").resolve() != ROOT)
    monkeypatch.setattr(sys, "path", [str(folder), *others])


def test_the_command_finds_the_checks_and_fails_with_them(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path / "site", "[xlrm.checks]\ncluster = pipelines.doctor:checks\n", monkeypatch)
    assert CliRunner().invoke(app, ["doctor", "--cluster"]).exit_code == 0
    del cluster.answers[STORE]
    result = CliRunner().invoke(app, ["doctor", "--cluster", "--namespace", "xlrm"], terminal_width=200)
    assert result.exit_code == 2 and "xlrm-store" in result.output


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("[other]\n", "pip install 'xlrm[pipeline]'"),
        ("[xlrm.checks]\ncluster = not_installed:checks\n", "No module named 'not_installed'"),
    ],
    ids=["no entry point", "a library is missing"],
)
def test_what_is_missing_for_clusters_is_one_line(
    entry: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path / "site", entry, monkeypatch)
    result = CliRunner().invoke(app, ["doctor", "--cluster"])
    assert result.exit_code == 2 and said in result.output and len(result.output.splitlines()) == 1
