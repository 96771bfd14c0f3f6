"""`xlrm doctor` where what an image has not is not installed, and `python -m pipelines doctor`, through the real
Kubernetes client, against a small API that answers as a real one does."""

import base64
import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cluster_stub import NAMESPACE, Cluster, encoded, forbidden, kubeconfig, node, refusal, secret, slices, slices_of
from typer.testing import CliRunner

from pipelines import doctor, platform
from pipelines.__main__ import app
from xlrm.cli import app as machine_app
from xlrm.run import doctor as machine
from xlrm.run.doctor import Check

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


def found(namespace: str = "xlrm") -> dict[str, Check]:
    return {check.what: check for check in doctor.checks(namespace)}


def failed(checks: dict[str, Check]) -> set[str]:
    return {what for what, check in checks.items() if check.required and not check.ok}


def test_a_cluster_that_has_everything(cluster: Cluster) -> None:
    checks = found()
    assert failed(checks) == set(), checks
    assert checks["Kubernetes"].found.startswith("v1.34.2")
    assert "XLRM_STORE=s3://xlrm/store" in checks["config map"].found
    assert checks["rights"].found.startswith("default-editor may run TrainJobs")
    assert checks["store"].found == "http://store:8333: 1 ready pod"
    assert checks["MLflow"].found == "http://mlflow:5000: 2 ready pods"
    assert checks["Kubeflow Pipelines"].found.endswith("1 ready pod")
    assert not [path for _, path in cluster.asked if "/proxy" in path], "network policies keep that out"
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


def test_a_stage_needs_a_node_whose_taints_it_tolerates(cluster: Cluster) -> None:
    cpu, gpu = cluster.answers[NODES]["items"]
    gpu["spec"] = {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]}
    assert failed(found()) == set(), "GPU stages tolerate it, the others have a node"
    cpu["spec"] = {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}
    assert failed(found()) == {f"a node with {ask}" for ask in doctor.asks() if not ask.gpus}
    gpu["spec"]["taints"].append({"key": "dedicated", "value": "others", "effect": "NoExecute"})
    assert failed(found()) == {f"a node with {ask}" for ask in doctor.asks()}


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


def test_kubeflow_pipelines_alone_runs_pods_as_another_account(cluster: Cluster) -> None:
    reviewed = []
    cluster.allowed = lambda right: True
    path = "/apis/authorization.k8s.io/v1/namespaces/kubeflow/localsubjectaccessreviews"
    cluster.answers["POST", path] = lambda body: reviewed.append(body["spec"]["user"]) or cluster.review(body)
    cluster.answers["GET", "/api/v1/namespaces/kubeflow/serviceaccounts/pipeline-runner"] = {
        "kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "pipeline-runner"},
    }  # fmt: skip
    checks = found("kubeflow")
    assert checks["service account"].found == "pipeline-runner"
    assert checks["rights"].found.startswith("pipeline-runner may") and set(reviewed) == {
        "system:serviceaccount:kubeflow:pipeline-runner"
    }


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
    cluster.answers[slices_of("mlflow")] = slices(False, False)
    cluster.answers[slices_of("store")] = slices()
    cluster.answers[slices_of("ml-pipeline", "kubeflow")] = forbidden("endpointslices")
    checks = found()
    assert failed(checks) == {"MLflow", "store", "Kubeflow Pipelines"}
    assert checks["MLflow"].found == "http://mlflow:5000: no pod of this service is ready"
    assert checks["store"].found == "http://store:8333: no pod of this service is ready"
    assert checks["Kubeflow Pipelines"].found.startswith("403: endpointslices is forbidden")


def test_a_store_outside_the_cluster_is_asked_from_here(cluster: Cluster) -> None:
    data = cluster.answers["GET", f"{NAMESPACE}/configmaps/xlrm-addresses"]["data"]
    data["AWS_ENDPOINT_URL"] = cluster.address
    assert found()["store"].found == f"{cluster.address} answers, from here"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        data["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert "Connection refused" in found()["store"].found


def test_a_host_of_two_names_may_be_a_service_or_no_pod_at_all(cluster: Cluster) -> None:
    data = cluster.answers["GET", f"{NAMESPACE}/configmaps/xlrm-addresses"]["data"]
    data["AWS_ENDPOINT_URL"] = "http://store.xlrm:8333"
    assert found()["store"].found == "http://store.xlrm:8333: 1 ready pod"
    data["AWS_ENDPOINT_URL"] = "http://minio.invalid:9000"
    cluster.answers[slices_of("minio", "invalid")] = {"kind": "EndpointSliceList", "metadata": {}, "items": []}
    assert "minio.invalid" in found()["store"].found and "resolve" in found()["store"].found


def test_amazons_store_needs_no_address(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "AMAZON", cluster.address)
    del cluster.answers["GET", f"{NAMESPACE}/configmaps/xlrm-addresses"]["data"]["AWS_ENDPOINT_URL"]
    checks = found()
    assert failed(checks) == set() and checks["store"].found == f"{cluster.address} answers, from here"


@pytest.mark.parametrize("name", ["xlrm-notify", "xlrm-hub", "xlrm-endpoint"])
def test_a_secret_that_not_every_run_needs_is_no_failure(name: str, cluster: Cluster) -> None:
    cluster.answers["GET", f"{NAMESPACE}/secrets/{name}"] = secret(name, {})
    checks = found()
    assert not checks[f"secret {name}"].ok and failed(checks) == set()


@pytest.mark.parametrize(
    ("hard", "used", "said"),
    [
        ({"requests.nvidia.com/gpu": "32"}, {"requests.nvidia.com/gpu": "30"}, "30 of 32 used, a stage takes 4"),
        ({"requests.memory": "128Gi"}, {"requests.memory": "1Gi"}, "1Gi of 128Gi used, a stage takes 256Gi"),
        ({"requests.cpu": "40"}, {"requests.cpu": "8500m"}, "8500m of 40 used, a stage takes 32"),
        ({"requests.nvidia.com/gpu": "1k"}, {}, None),  # how Kubernetes writes 1000
        ({"pods": "1"}, {"pods": "1"}, None),
    ],
)
def test_a_quota_without_room_is_said(hard: dict, used: dict, said: str | None, cluster: Cluster) -> None:
    cluster.answers["GET", f"{NAMESPACE}/resourcequotas"]["items"][0]["status"] = {"hard": hard, "used": used}
    check = found()["quota"]
    assert check.ok is (said is None)
    assert check.found == (f"xlrm: {next(iter(hard))}: {said}" if said else "room for 4 GPUs, 32 cores, 256 GiB")


def test_an_image_that_no_node_could_pull(cluster: Cluster) -> None:
    del cluster.answers["GET", f"{NAMESPACE}/secrets/xlrm-registry"]
    images = [check for what, check in found().items() if what.startswith("image ")]
    assert images and all(not check.ok and "401" in check.found for check in images)


def test_a_pull_secret_that_is_none_is_as_good_as_none(cluster: Cluster) -> None:
    broken = secret("xlrm-registry", {".dockerconfigjson": "{"}, "kubernetes.io/dockerconfigjson")
    cluster.answers["GET", f"{NAMESPACE}/secrets/xlrm-registry"] = broken
    images = [check for what, check in found().items() if what.startswith("image ")]
    assert images and all(not check.ok and "401" in check.found for check in images)


def test_a_login_of_docker_hub_is_for_the_host_that_has_its_images() -> None:
    login = {"auths": {"https://index.docker.io/v1/": {"auth": base64.b64encode(b"me:word").decode()}}}
    held = SimpleNamespace(data=encoded({".dockerconfigjson": json.dumps(login)}))
    core = SimpleNamespace(read_namespaced_secret=lambda *_, **__: held)
    assert doctor._login(core, "xlrm") == {"registry-1.docker.io": ("me", "word")}


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


@pytest.mark.parametrize("text", ["a: [b", "just text", "", None], ids=["no YAML", "no mapping", "empty", "a folder"])
def test_a_file_that_is_no_kubeconfig_is_one_line(text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kubeconfig"
    file.mkdir() if text is None else file.write_text(text)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(file))
    (check,) = doctor.checks("xlrm")
    assert not check.ok and str(file) in check.found and "\n" not in check.found


def test_a_token_that_has_expired_is_one_line(cluster: Cluster) -> None:
    cluster.answers["GET", "/version/"] = refusal(401, "Unauthorized", "Unauthorized")
    (check,) = doctor.checks("xlrm")
    assert check.found == "401: Unauthorized" and check.remedy.startswith("log in")


def test_what_stages_ask_for_is_what_the_package_says() -> None:
    asks = doctor.asks()
    assert {ask.gpus for ask in asks} >= {0, 1, 4}
    assert all(dict(ask.labels) for ask in asks if ask.gpus) and all(ask.memory >= 2**30 for ask in asks)


def test_the_command_checks_machine_and_cluster_and_fails_with_either(
    cluster: Cluster, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "PACKAGES", {"pipeline": ("kfp",), "train": ("not_installed_here",)})
    whole = CliRunner().invoke(app, ["doctor"])
    assert whole.exit_code == 0, whole.output
    assert {"Python", "artifact store", "Kubernetes", "secret xlrm-store"} <= said(whole.output)
    assert "not_installed_here" in said(whole.output), "what trains is shown, and submitting does without"
    del cluster.answers[STORE]
    assert CliRunner().invoke(app, ["doctor", "--namespace", "xlrm"]).exit_code == 2
    cluster.answers[STORE] = secret("xlrm-store", dict.fromkeys(platform.SECRETS["xlrm-store"], "x"))
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0
    monkeypatch.setattr(machine, "PACKAGES", {"pipeline": ("not_installed_here",)})
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 2


def said(output: str) -> set[str]:
    """What the rows of the table are about."""
    return {re.split(r"\s{2,}", line.strip())[1] for line in output.splitlines() if line.lstrip()[:1] in set("✓✗–")}


def test_the_machine_alone_needs_no_cluster(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(home / "none"))
    result = CliRunner().invoke(machine_app, ["doctor"])
    assert "artifact store" in said(result.output) and "Kubernetes" not in said(result.output)
    whole = CliRunner().invoke(app, ["doctor"])
    assert whole.exit_code == 2 and "Kubernetes" in said(whole.output)


WITHOUT_TORCH = ("torch", "transformers", "trl", "deepspeed", "bitsandbytes", "vllm", "prometheus_client")


@pytest.mark.parametrize(
    ("image", "absent", "status", "missing"),
    [
        ("reg.example:5000/team/xlrm-data:1", WITHOUT_TORCH, 0, set()),
        ("reg.example/xlrm-team/xlrm-data@sha256:0", WITHOUT_TORCH, 0, set()),
        ("reg.example:5000/team/xlrm-data:1", (*WITHOUT_TORCH, "great_expectations"), 2, {"great_expectations"}),
        ("ghcr.io/xlrm/xlrm-train:1", ("great_expectations", "vllm", "deepspeed", "bitsandbytes"), 0, set()),
        ("ghcr.io/xlrm/xlrm-train:1", ("torch", "uvicorn"), 2, {"torch", "uvicorn"}),
        (None, WITHOUT_TORCH, 2, {"torch", "transformers", "trl"}),
    ],
    ids=[
        "data",
        "data of a team",
        "data without what it is for",
        "train for CPUs",
        "train without what it is for",
        "a machine",
    ],
)
def test_what_an_image_is_not_for_is_no_failure_of_it(image, absent, status, missing, tmp_path) -> None:
    """The command in an environment of its own, in which `absent` are not installed."""
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name not in absent and entry.suffix != ".pth":
            (tmp_path / entry.name).symlink_to(entry)
    environment = {name: value for name, value in os.environ.items() if name != "XLRM_IMAGE"}
    environment |= {"PYTHONPATH": f"{ROOT}:{tmp_path}", "COLUMNS": "200"} | ({"XLRM_IMAGE": image} if image else {})
    command = [sys.executable, "-S", "-m", "xlrm.cli", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    lines = [[cell.strip() for cell in line.split("│")] for line in done.stdout.splitlines() if "│" in line]
    marks = {what: mark for _, mark, what, *_ in lines}
    assert done.returncode == status, done.stdout + done.stderr
    assert {what for what, mark in marks.items() if mark == "✗"} == missing
    assert all(marks[package] != "✓" for package in absent if package in marks)
