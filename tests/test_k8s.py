"""The manifests: every overlay renders, passes strict schemas, and agrees with itself and with the pipelines."""

import copy
import itertools
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import manifests
import pytest
import yaml

from components import REGISTRY
from pipelines import doctor, platform
from xlrm import __version__
from xlrm.run import experiment
from xlrm.serving.service import Settings

ROOT = Path(__file__).parents[1]
OVERLAYS = ("dev", "prod", "standalone")
SMALL_NODE_GIB = 10
"""Free on the disk of a node that `dev` is for."""
SECRETS = {*platform.SECRETS, "xlrm-mlflow-db", "xlrm-serving"}
"""Made by hand, by External Secrets or by SOPS: docs/cluster.md."""


def render(folder: Path) -> list[dict]:
    """Objects of a kustomization, by kustomize 5 on its own or in kubectl."""
    command = next((one for one in (["kubectl", "kustomize"], ["kustomize", "build"]) if shutil.which(one[0])), None)
    if command is None:
        said = "the manifests are not rendered: neither kubectl nor kustomize on PATH (Debian 13 has the package kustomize)"
        (pytest.fail if os.environ.get("XLRM_REQUIRE_KUSTOMIZE") else pytest.skip)(said)
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[dict]:
    return render(ROOT / "k8s" / "overlays" / request.param)


@pytest.fixture(scope="module")
def dev() -> list[dict]:
    return render(ROOT / "k8s" / "overlays" / "dev")


def one(objects: list[dict], kind: str, name: str) -> dict:
    return next(o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name))


def container(objects: list[dict], kind: str, name: str) -> dict:
    return one(objects, kind, name)["spec"]["template"]["spec"]["containers"][0]


def space(overlay: list[dict]) -> str:
    """The namespace of all that is in one."""
    (found,) = {o["metadata"]["namespace"] for o in overlay if o["kind"] not in ("Namespace", "PriorityClass")}
    return found


def test_an_overlay_is_sound(overlay: list[dict]) -> None:
    assert manifests.problems(overlay, SECRETS) == []
    assert space(overlay) in ("xlrm", "kubeflow")


def test_a_profiles_namespace_keeps_the_label_that_kubeflow_knows_it_by(dev: list[dict]) -> None:
    labels = one(dev, "Namespace", "xlrm")["metadata"]["labels"]
    assert "app.kubernetes.io/part-of" not in labels, "kubeflow-profile, by which Kubeflow's network policies select"
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_what_kubeflow_pipelines_runs_beside_us_is_left_alone() -> None:
    alone = render(ROOT / "k8s" / "overlays" / "standalone")
    assert space(alone) == "kubeflow"
    assert not {"Namespace", "ResourceQuota", "LimitRange"} & {o["kind"] for o in alone}
    policies = [o["spec"]["podSelector"] for o in alone if o["kind"] == "NetworkPolicy"]
    assert policies and all(policies), "a policy for every pod of the namespace"


def plant_a_typo(objects: list[dict]) -> None:
    one(objects, "Deployment", "mlflow")["spec"]["replica"] = 1


def plant_a_kind(objects: list[dict]) -> None:
    one(objects, "Deployment", "mlflow")["kind"] = "Deploiment"


def plant_a_selector(objects: list[dict]) -> None:
    one(objects, "Service", "mlflow")["spec"]["selector"]["app.kubernetes.io/name"] = "mlfow"


def plant_a_port(objects: list[dict]) -> None:
    one(objects, "Service", "mlflow")["spec"]["ports"][0]["targetPort"] = "https"


def plant_a_budget(objects: list[dict]) -> None:
    one(objects, "PodDisruptionBudget", "xlrm-serving")["spec"]["selector"]["matchLabels"] = {"app": "x"}


def plant_a_quantity(objects: list[dict]) -> None:
    container(objects, "Deployment", "mlflow")["resources"]["limits"]["memory"] = "3Gib"


def plant_a_quota(objects: list[dict]) -> None:
    one(objects, "ResourceQuota", "xlrm")["spec"]["hard"]["limits.memory"] = "lots"


def plant_a_secret(objects: list[dict]) -> None:
    container(objects, "Deployment", "mlflow")["env"][-1]["valueFrom"]["secretKeyRef"]["name"] = "xlrm-mlflow-bd"


def plant_a_key(objects: list[dict]) -> None:
    del one(objects, "ConfigMap", "xlrm-addresses")["data"]["MLFLOW_TRACKING_URI"]


def plant_a_root(objects: list[dict]) -> None:
    container(objects, "Deployment", "mlflow")["securityContext"]["readOnlyRootFilesystem"] = False


def plant_a_user(objects: list[dict]) -> None:
    one(objects, "StatefulSet", "store")["spec"]["template"]["spec"]["securityContext"].pop("runAsNonRoot")


def plant_no_limit(objects: list[dict]) -> None:
    del container(objects, "Deployment", "xlrm-serving")["resources"]["limits"]["memory"]


def plant_an_account(objects: list[dict]) -> None:
    one(objects, "RoleBinding", "xlrm-train-jobs")["subjects"][0]["namespace"] = "kubeflow"


def plant_a_volume(objects: list[dict]) -> None:
    container(objects, "Deployment", "mlflow")["volumeMounts"][0]["name"] = "temp"


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (plant_a_typo, "'replica' was unexpected"),
        (plant_a_kind, "no such kind as apps/v1 Deploiment"),
        (plant_a_selector, "Service/mlflow: selects no pod"),
        (plant_a_port, "Service/mlflow: no port https"),
        (plant_a_budget, "PodDisruptionBudget/xlrm-serving: selects no pod"),
        (plant_a_quantity, "'3Gib', no quantity"),
        (plant_a_quota, "'lots', no quantity"),
        (plant_a_secret, "no Secret xlrm-mlflow-bd"),
        (plant_a_key, "ConfigMap xlrm-addresses has no MLFLOW_TRACKING_URI"),
        (plant_a_root, "its root file system can be written"),
        (plant_a_user, "StatefulSet/store: runAsNonRoot"),
        (plant_no_limit, "no limits of memory"),
        (plant_an_account, "binds default-editor of kubeflow, not of xlrm"),
        (plant_a_volume, "Deployment/mlflow: no volume temp"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_is_found(plant, said: str, dev: list[dict]) -> None:
    objects = copy.deepcopy(dev)
    plant(objects)
    found = manifests.problems(objects, SECRETS)
    assert any(said in problem for problem in found), found


def test_an_overlay_names_what_the_pipelines_name(overlay: list[dict]) -> None:
    addresses = one(overlay, "ConfigMap", platform.ADDRESSES)["data"]
    assert addresses.keys() == {"XLRM_STORE", "AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI"}
    own = {c["image"] for _, t in manifests.pods(overlay) for c in t["spec"]["containers"] if "xlrm" in c["image"]}
    assert own == {f"{REGISTRY}/xlrm-{name}:{__version__}" for name in ("mlflow", "train")}
    asked = {
        (name, key)
        for _, template in manifests.pods(overlay)
        for kind, name, key in manifests.referenced(template["spec"])
        if kind == "Secret" and name in platform.SECRETS
    }
    assert asked <= {(name, key) for name, keys in platform.SECRETS.items() for key in keys}
    assert not [o for o in overlay if o["kind"] == "Secret"], "secrets come from elsewhere"


def test_pipelines_may_run_train_jobs_and_no_more(overlay: list[dict]) -> None:
    role, binding = (one(overlay, kind, "xlrm-train-jobs") for kind in ("Role", "RoleBinding"))
    account = {"xlrm": "default-editor", "kubeflow": "pipeline-runner"}[space(overlay)]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": space(overlay)}]
    given = {
        (verb, group, *(resource + "/").split("/")[:2])
        for rule in role["rules"]
        for verb, group, resource in itertools.product(rule["verbs"], rule["apiGroups"], rule["resources"])
    }
    assert given == set(doctor.RIGHTS)
    assert not [o for o in overlay if o["kind"].startswith("ClusterRole")]


def test_nothing_is_reached_but_what_is_named(overlay: list[dict]) -> None:
    policies = [o for o in overlay if o["kind"] == "NetworkPolicy"]
    if space(overlay) == "xlrm":
        denied = {"podSelector": {}, "policyTypes": ["Ingress"]}
        assert one(overlay, "NetworkPolicy", "deny-all-ingress")["spec"] == denied
    opened = {p["metadata"]["name"] for p in policies if p["spec"].get("ingress")}
    for service in (o["metadata"]["name"] for o in overlay if o["kind"] == "Service"):
        assert service in opened, f"{service}: no network policy lets anybody reach it"
    assert all(rule.get("from") for p in policies for rule in p["spec"].get("ingress", [])), "open to everybody"


def test_mlflow_answers_by_every_name_of_its_service(overlay: list[dict]) -> None:
    data = next(o["data"] for o in overlay if o["kind"] == "ConfigMap" and "MLFLOW_HOSTS" in o["data"])
    hosts, of_service = data["MLFLOW_HOSTS"].split(","), f"mlflow.{space(overlay)}"
    for host in ("mlflow", of_service, f"{of_service}.svc", f"{of_service}.svc.cluster.local"):
        assert f"{host}:5000" in hosts
    assert "*" not in hosts
    pages = {host for host in hosts if ":" not in host}
    assert pages == {urlsplit(one).netloc for one in data.get("MLFLOW_ORIGINS", "").split(",") if one}, (
        "403 for its POSTs"
    )
    origins = {"name": "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"}.items()
    assert bool(pages) == any(origins <= e.items() for e in container(overlay, "Deployment", "mlflow")["env"])
    assert data["MLFLOW_ARTIFACTS_DESTINATION"].startswith("s3://")


def test_a_rolling_restart_of_serving_loses_nobody(overlay: list[dict]) -> None:
    deployment = one(overlay, "Deployment", "xlrm-serving")["spec"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    serving = deployment["template"]["spec"]["containers"][0]
    drain = next(int(arg.removeprefix("drain_seconds=")) for arg in serving["args"] if arg.startswith("drain_seconds="))
    assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] >= drain + 60 and "lifecycle" not in serving
    assert serving["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert serving["livenessProbe"]["httpGet"]["path"] == serving["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert serving["command"] + serving["args"][:1] == ["xlrm", "serve"]
    mounted = {mount["mountPath"] for mount in serving["volumeMounts"]}
    assert mounted == {"/var/lib/xlrm", "/tmp"}, "its root file system is read-only"


def test_serving_waits_for_its_model_for_as_long_as_it_takes(overlay: list[dict]) -> None:
    given = [a.split("=") for a in container(overlay, "Deployment", "xlrm-serving")["args"] if "=" in a]
    assert math.isinf(Settings(**dict(given)).wait_for_model_seconds)


def test_an_apply_leaves_alone_what_was_scaled_by_hand(overlay: list[dict]) -> None:
    """What a manifest says, each apply brings back; where it says nothing, a new workload has one replica."""
    said = {manifests.name(o): o["spec"]["replicas"] for o in overlay if "replicas" in o.get("spec", {})}
    prod = any(o["metadata"]["name"] == "mlflow" and o["kind"] == "PodDisruptionBudget" for o in overlay)
    assert said == ({"Deployment/mlflow": 2, "Deployment/xlrm-serving": 2} if prod else {})


def test_what_starts_slowly_is_not_taken_for_dead(overlay: list[dict]) -> None:
    """A liveness probe on its own would end a database that is still reading its log, again and again."""
    for whose, template in manifests.pods(overlay):
        for c in template["spec"]["containers"]:
            if "livenessProbe" in c:
                probe = c["startupProbe"]
                assert probe["periodSeconds"] * probe["failureThreshold"] >= 300, f"{whose}: started in five minutes"
                assert "readinessProbe" in c, whose


def test_the_store_takes_its_first_objects_on_a_small_node(dev: list[dict]) -> None:
    """StorageClasses that give a node's own disk keep no claim, so what counts is what is free there."""
    addresses = {value for o in dev if o["kind"] == "ConfigMap" for value in o["data"].values()}
    buckets = {urlsplit(address).netloc for address in addresses if address.startswith("s3://")}
    needed = manifests.seaweedfs_bytes(container(dev, "StatefulSet", "store")["args"], len(buckets)) / 2**30
    said = re.search(r"store begins with\s+(\d+) GiB free", (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8"))
    assert needed <= SMALL_NODE_GIB and needed == int(said[1])


def test_serving_serves_what_an_experiment_registers(overlay: list[dict]) -> None:
    model = next(o["data"]["MODEL"] for o in overlay if o["kind"] == "ConfigMap" and "MODEL" in o["data"])
    assert "$(MODEL)" in container(overlay, "Deployment", "xlrm-serving")["args"]
    loaded = (experiment.load(path) for path in (ROOT / "configs").glob("*.yaml"))
    assert model in {f"models:/{e.stages['register']['prefix']}-{e.source}@champion" for e in loaded}


def test_an_apply_can_change_whatever_was_applied_before(overlay: list[dict]) -> None:
    """In a job or a pod on its own, Kubernetes refuses another image and other settings."""
    assert not {"Job", "Pod"} & {o["kind"] for o in overlay}


def test_dev_makes_the_buckets_that_it_names_before_mlflow_starts(dev: list[dict]) -> None:
    (init,) = one(dev, "Deployment", "mlflow")["spec"]["template"]["spec"]["initContainers"]
    named = {
        key for o in dev if o["kind"] == "ConfigMap" for key, value in o["data"].items() if value.startswith("s3://")
    }
    assert set(init["args"]) == {f"$({key})" for key in named} and named <= {
        variable["name"] for variable in init["env"]
    }
    assert init["image"] == container(dev, "Deployment", "mlflow")["image"]


def test_the_secrets_examples_make_what_pods_ask_for(tmp_path: Path, overlay: list[dict]) -> None:
    folder = shutil.copytree(ROOT / "k8s" / "secrets", tmp_path / "secrets", ignore=shutil.ignore_patterns("*.env"))
    for example in folder.glob("*.env.example"):
        assert not re.search(r"(KEY|PASSWORD|TOKEN)\w*=.", example.read_text()), f"{example.name}: a value"
        shutil.copyfile(example, example.with_suffix(""))
    made = {o["metadata"]["name"]: set(o["data"]) for o in render(folder)}
    assert made.keys() == SECRETS
    assert {name: set(keys) for name, keys in platform.SECRETS.items()}.items() <= made.items()
    for _, template in manifests.pods(overlay):
        for kind, name, key in manifests.referenced(template["spec"]):
            assert kind != "Secret" or key in made[name]


def test_the_install_names_every_secret() -> None:
    said = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    for name, keys in {**platform.SECRETS, **dict.fromkeys(SECRETS, ())}.items():
        assert all(f"`{one}`" in said for one in (name, *keys)), f"docs/cluster.md does not say {name} and its keys"


def test_the_install_makes_a_namespace_before_it_puts_something_there() -> None:
    """With a profile, whose controller makes it some time after the command has ended, and without."""
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    commands = "".join(re.findall(r"```sh\n(.*?)```", text, re.S))
    profile, awaited = commands.index("kind: Profile"), commands.index("until kubectl get namespace xlrm; do")
    assert profile < awaited < commands.index("-n xlrm ")
    assert text.index("`kubectl apply -f k8s/base/namespace.yaml`") < text.index("-n xlrm ")


def test_files_with_secrets_are_not_committed() -> None:
    done = subprocess.run(
        ["git", "check-ignore", "k8s/secrets/xlrm-store.env"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode in (0, 128), "git would take k8s/secrets/xlrm-store.env"  # 128: no repository here


def test_buckets_are_made_once(s3) -> None:
    script = ROOT / "k8s" / "overlays" / "dev" / "create_buckets.py"
    command = [sys.executable, str(script), "s3://made-here/store", "s3://made-here/mlflow"]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(2))
    assert (first.returncode, first.stdout) == (0, "made-here: made\n"), first.stderr
    assert (second.returncode, second.stdout) == (0, "made-here: there\n"), second.stderr
    assert "made-here" in [bucket["Name"] for bucket in s3.client.list_buckets()["Buckets"]]
