"""The compiled package: what a Kubeflow server would refuse is refused here; and the experiments that go into it."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import phrasebook_settings
import pytest
import yaml
from google.protobuf import json_format, struct_pb2
from kfp.compiler import Compiler
from kfp.compiler.pipeline_spec_builder import to_protobuf_value
from kfp.pipeline_spec import pipeline_spec_pb2
from phrasebook_settings import CURATE
from refusals import refused

import xlrm
from components import RUNS
from components.hardware import Hardware
from configs import PRESETS
from pipelines import cross_lingual_transfer, placement
from pipelines.server.package import load as load_package
from pipelines.server.rules import findings
from xlrm.errors import ConfigError
from xlrm.run.experiment import STAGES, build, load, parse, stage_config, stage_module, stage_of, write

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
REGENERATE = "python -m pipelines compile --output tests/golden"
PLANTED = {
    key: f"planted-{number}"
    for number, key in enumerate(
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD")
    )
}
"""Secrets in the environment of the compiler, none of which may reach the package."""
PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]")

Document = dict[str, Any]
Package = tuple[Document, Document]
"""The pipeline and the platform document."""


@pytest.fixture(scope="module")
def package_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled by the command that people use."""
    folder = tmp_path_factory.mktemp("compiled")
    environment = {key: value for key, value in os.environ.items() if key != "XLRM_IMAGE_REGISTRY"} | PLANTED
    command = [sys.executable, "-m", "pipelines", "compile", "--output", str(folder)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder / "cross_lingual_transfer.yaml"


@pytest.fixture(scope="module")
def package(package_file: Path) -> Package:
    return read(package_file)


def read(path: Path) -> Package:
    pipeline, platform = yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return pipeline, platform


def executors(package: Package) -> Iterator[tuple[str, Document, Document]]:
    """(name, container, Kubernetes settings) of each."""
    settings = package[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in package[0]["deploymentSpec"]["executors"].items():
        yield name, executor["container"], settings.get(name, {})


def test_a_server_would_take_the_package(package_file: Path) -> None:
    assert findings(load_package(package_file)) == [], "tests/test_server_rules.py plants a fault for each rule"


def holders(node: Any, key: str) -> Iterator[Document]:
    """The mappings anywhere in `node` that have `key`."""
    if isinstance(node, dict) and key in node:
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from holders(child, key)


def tasks(package: Package) -> Iterator[Document]:
    for dag in holders(package[0], "tasks"):
        yield from dag["tasks"].values()


# What the package runs on


def test_nothing_is_installed_when_a_task_starts(package: Package) -> None:
    for name, container, _ in executors(package):
        command = " ".join([*container["command"], *container.get("args", ())])
        assert "pip install" not in command, f"{name}: install_kfp_package=False, and no packages_to_install"


def test_images_are_those_of_the_extras(package: Package) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    images = {f"ghcr.io/xlrm/xlrm-{extra}:{xlrm.__version__}" for extra in extras}
    for name, container, _ in executors(package):
        assert container["image"] in images, f"{name}: {container['image']} is no image of an extra in pyproject.toml"


def test_a_task_gets_all_of_a_gpu_or_nothing_of_it(package: Package) -> None:
    found = set()
    for name, container, settings in executors(package):
        wants = {
            "accelerator": int(container["resources"].get("accelerator", {}).get("resourceCount", 0)) > 0,
            "node selector": bool(settings.get("nodeSelector", {}).get("labels", {}).get("nvidia.com/gpu.product")),
            "toleration": "nvidia.com/gpu" in [one["key"] for one in settings.get("tolerations", ())],
            "/dev/shm": ("/dev/shm", "Memory")
            in [(one["mountPath"], one["medium"]) for one in settings.get("emptyDirMounts", ())],
        }
        assert len(set(wants.values())) == 1, (
            f"{name}: `placed` of pipelines/platform.py gives all of it, it has {wants}"
        )
        without = name == "exec-base" or not re.search("-(train|sample):", container["image"])
        assert wants["accelerator"] or without, f"{name}: gpus in pipelines/placement.py"
        found.add(wants["accelerator"])
    assert found == {True, False}, "some tasks need a GPU and some do not"


def test_every_task_says_what_it_needs(package: Package) -> None:
    wanted = {"resourceCpuRequest", "resourceMemoryLimit", "resourceMemoryRequest"}
    for name, container, settings in executors(package):
        assert wanted <= container["resources"].keys(), f"{name}: `placed` says what it needs"
        given = {one["envVar"] for many in settings["configMapAsEnv"] for one in many["keyToEnv"]}
        assert {"XLRM_STORE", "MLFLOW_TRACKING_URI"} <= given, f"{name}: `placed` gives the addresses"


def test_secrets_come_by_reference(package_file: Path, package: Package) -> None:
    text = package_file.read_text(encoding="utf-8")
    leaked = [key for key, value in PLANTED.items() if value in text]
    assert not leaked, f"the package has the values of {leaked}; kubernetes.use_secret_as_env names them instead"
    for name, container, settings in executors(package):
        assert not container.get("env"), f"{name}: addresses come from a config map, secrets from a secret"
        by_address = {one["envVar"] for many in settings["configMapAsEnv"] for one in many["keyToEnv"]}
        secret = [one for one in by_address if re.search("KEY|TOKEN|SECRET|PASSWORD", one)]
        assert not secret, f"{name}: {secret} from a config map, where everyone can read them"
        by_secret = {one["envVar"] for many in settings["secretAsEnv"] for one in many["keyToEnv"]}
        assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= by_secret, f"{name}: cannot reach the object store"


def test_a_task_ends_and_what_may_pass_is_tried_again_inside_it(package: Package) -> None:
    for name, container, settings in executors(package):
        assert 0 < int(settings["activeDeadlineSeconds"]) <= 72 * 3600, name
        assert settings["imagePullPolicy"] == "IfNotPresent" and settings["imagePullSecret"], name
        assert [one["name"] for one in settings["fieldPathAsEnv"]] == ["KFP_RUN_ID"], name
        assert container["command"][:3] == ["python3", "-m", "components"], f"{name}: whose steps are tried again"
    policy = pipeline_spec_pb2.PipelineTaskSpec.RetryPolicy.DESCRIPTOR.fields_by_name
    assert not [field for field in policy if "policy" in field or "when" in field], "a package could say it now: do"
    assert not [task for task in tasks(package) if "retryPolicy" in task], (
        "it would only say how often Argo replaces lost pods"
    )


def test_training_on_several_nodes_waits_on_a_cpu(tmp_path: Path) -> None:
    """The GPUs are the TrainJob's, which the task makes."""
    on = placement.load("a100-80gb-2-nodes")
    Compiler().compile(cross_lingual_transfer.build(on), str(tmp_path / "two.yaml"))
    package = read(tmp_path / "two.yaml")
    alike = {name: (container, settings) for name, container, settings in executors(package)}
    for name in ("exec-reward", "exec-align"):
        container, settings = alike[name]
        assert "accelerator" not in container["resources"] and "nodeSelector" not in settings, name
    assert "accelerator" in alike["exec-evaluate"][0]["resources"]
    (given,) = [one["placement"] for one in holders(package[0], "placement") if "runtimeValue" in one["placement"]]
    has = Hardware(**through_kubeflow(given["runtimeValue"]["constant"]))
    assert has == on.hardware() and (has.nodes, has.share("reward").gpus, has.share("reward").memory) == (2, 4, "256Gi")


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("tasks: {rewards: {gpus: 1}}", ": tasks", {"rewards": {"gpus": 1}}),
        ("tasks: {reward: {gpus: -1}}", ": tasks.reward.gpus", -1),
        ("tasks: {reward: {memory: much}}", ": tasks.reward.memory", "much"),
        ("tasks: {reward: {cores: 0}}", ": tasks.reward.cores", 0),
        ("tasks: {reward: {gpus: null}}", ": tasks.reward.gpus", None),
        ("gpu: A100", ": gpu", "A100"),
        ("- 1", "", None),
    ],
)
def test_a_wrong_placement_is_one_line(tmp_path: Path, text: str, field: str, value: object) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with refused(ConfigError, f"{tmp_path / 'mine.yaml'}{field}", value):
        placement.load(str(tmp_path / "mine.yaml"))
    with refused(ConfigError, "--placement", "a1000"):
        placement.load("a1000")


def test_a_placement_is_of_what_is_named_and_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("tasks: {reward: {gpus: 8}}")
    found = placement.load(str(tmp_path / "mine.yaml"))
    assert found.tasks["reward"].gpus == 8 and found.tasks["reward"].memory == "256Gi" and found.name == "mine"
    assert found.tasks["align"] == placement.load("a100-80gb").tasks["align"]


def test_what_goes_on_after_a_failure_is_the_account_of_it(package: Package) -> None:
    after = {
        name for name, task in package[0]["root"]["dag"]["tasks"].items()
        if task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
    }  # fmt: skip
    assert after == {"conclude"}


def test_the_form_is_short_typed_and_described(package: Package) -> None:
    form = package[0]["root"]["inputDefinitions"]["parameters"]
    assert 1 < len(form) <= 10 and list(form) == sorted(form)
    for name, field in form.items():
        assert field.get("description") and field["parameterType"] and "defaultValue" in field, name
    assert set(PRESETS) == {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    assert form["preset"]["defaultValue"] in PRESETS and not list(holders(package[0], "presets")), (
        "they are in the image"
    )


def test_every_component_tells_what_it_made_and_shows_one_page(package: Package) -> None:
    for component in RUNS:
        shown = package[0]["components"][f"comp-{component}"]["outputDefinitions"]["artifacts"]
        kinds = {name: one["artifactType"]["schemaTitle"] for name, one in shown.items()}
        assert set(kinds) == {"made", "page"} and kinds["page"] in ("system.Markdown", "system.HTML"), component
    top = package[0]["components"]["comp-conclude"]["outputDefinitions"]["artifacts"]
    assert set(top) == {"summary", "decision", "report"}, "at the top of the run"


def test_the_package_is_the_reviewed_one(package: Package, package_file: Path) -> None:
    golden = GOLDEN / package_file.name
    assert golden.is_file(), f"`{REGENERATE}` writes it"
    found, expected = (flat(read_without_sdk(path)) for path in (package_file, golden))
    changed = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
    assert not changed, (
        f"the compiled package is not {golden.relative_to(ROOT)} any more. If that is meant: `{REGENERATE}`, then "
        f"review the diff as a change of what clusters run. {len(changed)} places, such as {', '.join(changed[:8])}"
    )


def read_without_sdk(path: Path) -> Package:
    """A package without the version of the compiler; what that changes in the rest is still seen."""
    pipeline, platform = read(path)
    return pipeline | {"sdkVersion": ""}, platform


def flat(node: Any, where: str = "") -> dict[str, Any]:
    """Each leaf by its place."""
    if not isinstance(node, dict | list | tuple) or not node:
        return {where: node}
    children = node.items() if isinstance(node, dict) else enumerate(node)
    return {place: leaf for key, child in children for place, leaf in flat(child, f"{where}/{key}").items()}


# Experiments


def test_the_papers_two_models_are_trained_alike() -> None:
    """Hong et al. 2025, sections 2 and appendix B; the two files differ in the base model and in names alone."""
    llama, qwen = (load(ROOT / "configs" / f"paper_a_{name}.yaml") for name in ("llama", "qwen"))
    differ = {
        f"{stage}.{field}"
        for stage in llama.stages
        for field, value in llama.stages[stage].items()
        if qwen.stages[stage][field] != value
    }
    assert llama.stages.keys() == qwen.stages.keys() and differ == {"base.model", "register.prefix"}
    recipe = stage_config("reward", llama.stages["reward"] | {"language": "en"})
    told = {
        "learning_rate": 1e-5, "warmup": 0.1, "epochs": 1, "batch_size": 128, "max_length": 2048, "seed": 42,
        "optimizer": "paged_adamw_8bit", "precision": "bfloat16", "loss": "bradley_terry", "lora_rank": 0,
    }  # fmt: skip
    assert {name: getattr(recipe, name) for name in told} == told


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_experiment_loads(path: Path) -> None:
    experiment = load(path)
    assert experiment.source not in experiment.targets
    for stage, section in experiment.stages.items():
        stage_config(stage_of(stage), needed(stage_of(stage)) | section)


WRONG = {
    "unknown section": ("rewards: {epochs: 1}", (), "", "rewards"),
    "misspelled setting": ("target: [es]", (), "", "target"),
    "unknown field": ("reward: {epoch: 1}", (), "reward.epoch", 1),
    "unknown field beside missing ones": ("align: {betas: 0.1}", (), "align.betas", 0.1),
    "unknown field of a part": ("base: {pretraining: {depth: 3}}", (), "base.pretraining.depth", 3),
    "wrong type": ("reward: {batch_size: many}", (), "reward.batch_size", "many"),
    "half a pair": ("reward: {batch_size: 16.5}", (), "reward.batch_size", 16.5),
    "out of range": ("reward: {warmup: 1}", (), "reward.warmup", 1),
    "section that is a number": ("reward: 3", (), "reward", 3),
    "section that is false": ("reward: false", (), "reward", False),
    "targets that are a word": ("targets: es", (), "targets", "es"),
    "unknown target": ("targets: [es, xx]", (), "targets", "xx"),
    "unknown source": ("source: xx", (), "source", "xx"),
    "duplicate target": ("targets: [es, ko, es]", (), "targets", ("en", "es", "ko", "es")),
    "source among the targets": ("source: es\ntargets: [es, ko]", (), "targets", ("es", "es", "ko")),
    "not YAML": ("reward: {epochs: 1", (), "", None),
    "deep": ("a: " + "[" * 5000, (), "", None),
    "no date": ("name: 2026-13-45", (), "", None),
    "not text": (b"name: \xff\xfe", (), "", None),
    "list": ("- reward", (), "", None),
    "empty list": ("[]", (), "", None),
    "number as a name": ("1: {}", (), "", 1),
    "number as a field": ("reward: {1: 2}", (), "stages.reward.1.[key]", 1),
    "wrong type by override": ("", ("reward.batch_size=many",), "reward.batch_size", "many"),
    "unknown section by override": ("", ("rewards.epochs=1",), "", "rewards"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_experiment_is_refused_by_file_field_and_value(tmp_path: Path, wrong: str) -> None:
    content, overrides, field, value = WRONG[wrong]
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(ConfigError, f"{path}: {field}" if field else path, value):
        load(path, overrides)


@pytest.mark.parametrize(
    "override",
    ["reward.batch_size", "=3", ".batch_size=3", "reward.=3", "reward.batch_size=[1", "name.first=x", "targets.0=es"],
)
def test_a_malformed_override_is_refused(tmp_path: Path, override: str) -> None:
    path = tmp_path / "right.yaml"
    path.write_text("name: right\ntargets: [ko]")
    with pytest.raises(ConfigError) as error:
        load(path, (override,))
    assert override.partition("=")[0] in str(error.value), error.value


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with refused(ConfigError, tmp_path / "nowhere.yaml"):
        load(tmp_path / "nowhere.yaml")


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        yaml.safe_dump({"targets": ["ko"], **phrasebook_settings.sections(reward={"batch_size": 16, "epochs": 2})})
    )
    experiment = load(path, ("reward.batch_size=8", "targets=[es, it]", "sample.samples=2"))
    assert (experiment.name, experiment.languages) == ("mine", ("en", "es", "it"))
    own = {name: section for name, section in experiment.stages.items() if name not in phrasebook_settings.SECTIONS}
    assert own == {"reward": {"batch_size": 8, "epochs": 2}, "sample": {"samples": 2}}


def needed(stage: str) -> Document:
    """Values of the fields without default, which the pipeline gives."""
    values = {"language": "ko", "labeler": "en", "labelers": ["en", "ko"], "languages": ["en", "ko"]}
    values |= CURATE | {"model": "phrasebook-tiny", "translator": "phrasebook", "prefix": "demo"}
    return {key: values[key] for key, field in stage_module(stage).Config.model_fields.items() if field.is_required()}


def through_kubeflow(values: Document) -> Document:
    """As a component gets it: a protobuf Struct has no integers."""
    return json_format.MessageToDict(json_format.ParseDict(values, struct_pb2.Struct()))


def test_null_and_numbers_reach_a_component_as_they_are(tmp_path: Path) -> None:
    """Through KFP's own conversion of a parameter, which refuses null in a mapping, and has no integers. What says null as a
    text stays that text."""
    (tmp_path / "x.yaml").write_text(
        "targets: [ko]\ncurate: {preferences: [phrasebook], benchmark: phrasebook, parallel: null, pairs: 800}\n"
        "base: {model: phrasebook-tiny}\ntranslate: {translator: phrasebook}\n"
        "report: {title: 'null'}\nreward: {learning_rate: 1.0e-6}\nrepresent: {parallel: belebele}"
    )
    given = load(tmp_path / "x.yaml")
    sent = json_format.MessageToDict(to_protobuf_value(write(given)))
    assert "\n" not in sent, "the form has one line"
    assert build(parse(sent, "experiment"), {}, "experiment") == given
    curate, title = given.stages["curate"], given.stages["report"]["title"]
    assert (curate["parallel"], title, type(curate["pairs"])) == (None, "null", int)


@pytest.mark.parametrize("stage", STAGES)
def test_numbers_from_kubeflow_give_the_same_config(stage: str) -> None:
    config = stage_config(stage, needed(stage))
    plain = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    returned = stage_config(stage, through_kubeflow(json.loads(plain)))
    assert returned == config
    again = json.dumps(returned.model_dump(mode="json"), sort_keys=True)
    assert again == plain, "an artifact's key is a digest of this text"


def test_a_whole_number_as_a_float_is_an_integer_and_half_a_one_is_refused() -> None:
    assert through_kubeflow({"batch_size": 16})["batch_size"].__class__ is float
    for number in (16, 16.0):
        assert repr(stage_config("reward", {"language": "ko", "batch_size": number}).batch_size) == "16"
    with refused(ConfigError, "reward.batch_size", 16.5):
        stage_config("reward", {"language": "ko", "batch_size": 16.5})
