"""The Dockerfile, read: what it promises about images that cannot all be built wherever tests run."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from components import REGISTRY, RUNS, image
from xlrm.run import doctor

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
IMAGES = {"data", "train", "sample", "mlflow"}


def instructions() -> list[tuple[str, str]]:
    """(word, rest) of each instruction, continued lines joined, comments left out."""
    text = "".join(
        line + "\n"
        for line in (ROOT / "docker/Dockerfile").read_text(encoding="utf-8").splitlines()
        if not line.lstrip().startswith("#")
    )
    joined = text.replace("\\\n", " ").splitlines()
    return [tuple(re.split(r"\s+", line.strip(), maxsplit=1)) for line in joined if line.strip()]


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Stage -> what it starts from, and its instructions."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            parent, _, name = rest.partition(" AS ")
            found[name] = (parent, [])
        elif found:
            list(found.values())[-1][1].append((word, rest))
    return found


def lineage(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage and, before them, of what it starts from."""
    parent, own = stages()[name]
    parent = parent.replace("${ACCELERATOR}", "cuda")
    return (lineage(parent) if parent in stages() else []) + own


def test_the_targets_are_the_images_that_components_and_manifests_name() -> None:
    used = {
        image(name).removeprefix(f"{REGISTRY}/xlrm-").partition(":")[0] for name in (*RUNS, "configure", "conclude")
    }
    made = {re.search(r'image\.title="xlrm-(\w+)"', rest)[1] for word, rest in instructions() if "image.title" in rest}

    assert used == {"data", "train", "sample"}
    assert made == IMAGES <= stages().keys()
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.search(r"^IMAGES := (.*)", makefile, re.M)[1].split()) == IMAGES


def test_what_is_installed_are_extras_of_the_project() -> None:
    installed = [
        rest.split("sh docker/install ")[1].split() for _, rest in instructions() if "sh docker/install " in rest
    ]

    assert len(installed) == 5
    assert {extra for extras in installed for extra in extras} == EXTRAS.keys() - {"dev"}


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
@pytest.mark.parametrize("image", sorted(doctor.IMAGES))
def test_an_image_has_what_the_doctor_asks_of_it(image: str, kind: str) -> None:
    venv = "data-venv" if image == "data" else f"{image}-{kind}"
    commands = (rest.split("sh docker/install ")[1] for _, rest in lineage(venv) if "sh docker/install " in rest)
    extras = {extra for command in commands for extra in command.split()}
    command = [sys.executable, "docker/requirements.py", *extras]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    installed = {re.match(r"[\w.-]+", one)[0] for one in found.splitlines()} | {
        "kfp"
    }  # docker/install has it everywhere
    asked = {package.replace("_", "-") for extra in doctor.IMAGES[image] for package in doctor.PACKAGES[extra]}
    assert asked <= {one.replace("_", "-") for one in installed}


def test_each_base_is_an_argument_and_pinned_by_digest() -> None:
    names = set(stages())
    parents = {parent for parent, _ in stages().values()} - names
    defaults = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "=" in rest)

    assert parents == {"${BASE}", "train-${ACCELERATOR}", "sample-${ACCELERATOR}", "runtime-${ACCELERATOR}"}
    assert re.fullmatch(r"[a-z./-]+:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", defaults["BASE"])
    for kind in ("cuda", "cpu"):
        assert {f"{one}-{kind}" for one in ("train", "sample", "runtime")} <= names


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_what_runs_is_not_root_and_says_what_it_is(name: str) -> None:
    made = lineage(name)
    labels = " ".join(rest for word, rest in made if word == "LABEL")

    assert [rest for word, rest in made if word == "USER"][-1] == "1000:1000"
    assert [word for word, _ in made].count("ENTRYPOINT") == 0  # a component's command is the whole command
    for label in ("title", "description", "licenses", "version", "revision", "base.name"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert f"XLRM_IMAGE=${{REGISTRY}}/xlrm-{name}:${{TAG}} XLRM_GIT_COMMIT=" in " ".join(rest for _, rest in made)
    assert [rest for word, rest in made if word == "HEALTHCHECK"][-1].startswith("NONE") == (name != "mlflow")
    # Installed elsewhere: no pip, no cache and no source comes along.
    copied = [rest for word, rest in made if word == "COPY"]
    assert all(rest.startswith("--from=") for rest in copied)
    assert not any("pip" in rest for word, rest in made if word == "RUN")


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_what_libraries_write_at_home_they_can_write_on_a_read_only_root(name: str) -> None:
    told = " ".join(rest for word, rest in lineage(name) if word == "ENV")

    assert re.findall(r"\bHOME=(\S+)", told) == ["/tmp"]  # vLLM ends where FlashInfer cannot make its ~/.cache
    assert "MLFLOW_DISABLE_TELEMETRY=true" in told


def test_vllm_compiles_nothing_that_its_image_has_no_compiler_for() -> None:
    made = lineage("sample")
    told = " ".join(rest for word, rest in made if word == "ENV")

    assert not any(re.search(r"g\+\+|nvcc", rest) for word, rest in made if word == "RUN")
    assert "VLLM_USE_FLASHINFER_SAMPLER=0" in told
    assert "VLLM_NO_USAGE_STATS=1" in told


def test_torch_for_cpus_comes_from_an_index_that_is_asked_for_nothing_else() -> None:
    declared = [name for name, (_, made) in stages().items() if ("ARG", "TORCH_INDEX") in made]
    script = (ROOT / "docker/install").read_text(encoding="utf-8").replace("\\\n", " ")
    asked = [line for line in script.splitlines() if "TORCH_INDEX" in line and "pip install" in line]

    assert declared == ["cpu-venv"] and ("ARG", "TORCH_INDEX=") in instructions()
    assert len(asked) == 1 and "--no-deps" in asked[0] and "^torch==" in asked[0]


@pytest.mark.parametrize("has_buildkit", [True, False])
def test_without_buildkit_nothing_is_begun(has_buildkit: bool, tmp_path: Path) -> None:
    """`DOCKER_BUILDKIT=1 docker build --help` fails where the plug-in Buildx is missing, as each build would."""
    docker, calls = tmp_path / "docker", tmp_path / "calls"
    answer = "" if has_buildkit else '[ "$DOCKER_BUILDKIT" != 1 ] || exit 1'
    docker.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{answer}\n')
    docker.chmod(0o755)
    command = ["make", "--jobs", "4", "images", f"DOCKER={docker}", "GIT_COMMIT=x"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    built = [line for line in calls.read_text().splitlines() if "--target" in line]

    assert (done.returncode == 0) is has_buildkit and len(built) == len(IMAGES) * has_buildkit
    assert ("Buildx" in done.stderr) is not has_buildkit


def test_nothing_is_fetched_by_address_and_no_secret_is_an_argument() -> None:
    words = [word for word, _ in instructions()]
    told = [rest for word, rest in instructions() if word in ("ARG", "ENV")]

    assert "ADD" not in words
    assert not any(re.search(r"https?://(?!127\.0\.0\.1)", rest) for _, rest in instructions())
    assert not [rest for rest in told if re.search(r"TOKEN|SECRET|PASSWORD|_KEY|INDEX_URL|FIND_LINKS", rest)]
    for _, rest in instructions():
        if re.search(r"\bpip install|sh docker/install", rest):
            assert "--mount=type=secret,id=pip,target=/etc/pip.conf" in rest


@pytest.mark.parametrize(
    "path", [".git/config", ".venv/bin/python", ".xlrm/mlflow.db", "tests/conftest.py", "configs/.env", "xlrm/.env"]
)
def test_a_build_is_not_sent(path: str) -> None:
    assert not _sent(path)


@pytest.mark.parametrize(
    "path", ["pyproject.toml", "constraints.txt", "docker/install", "xlrm/cli.py", "pipelines/__init__.py"]
)
def test_a_build_is_sent(path: str) -> None:
    assert _sent(path)


def test_all_that_is_copied_is_sent() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    copied = [one for line in re.findall(r"^COPY (?!--from)(.*)", text, re.M) for one in line.split()[:-1]]
    assert len(copied) > 8 and [one for one in copied if not _sent(one)] == []


def _sent(path: str) -> bool:
    """As Docker reads .dockerignore: the last pattern that fits a file or a folder it is in decides."""
    parts = Path(path).parts
    names = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = line.lstrip("!")
            fits = [fnmatch.fnmatch(one, pattern) or fnmatch.fnmatch(one, pattern.removeprefix("**/")) for one in names]
            if pattern.startswith("**/"):
                fits += [fnmatch.fnmatch(part, pattern.removeprefix("**/")) for part in parts]
            if any(fits):
                sent = line.startswith("!")
    return sent


def test_requirements_of_extras_with_those_they_name() -> None:
    command = [sys.executable, "docker/requirements.py", "sample"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()

    assert {one for one in EXTRAS["sample"] if not one.startswith("xlrm-pipeline[")} < set(found)
    assert set(EXTRAS["data"]) < set(found)
    assert not any("xlrm" in one for one in found)
    assert len(found) == len(set(found))
    missing = subprocess.run([*command[:-1], "no-such-extra"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert missing.returncode == 1


def test_what_images_install_is_pinned() -> None:
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8").lower(), re.M))
    scripts = "".join((ROOT / "docker" / name).read_text(encoding="utf-8") for name in ("install", "install_cuda"))
    named = set(re.findall(r"pinned (\w+)|\^(\w+)==", scripts))

    assert {one or other for one, other in named} - {"$1"} == {"torch", "ninja", "numpy", "deepspeed", "kfp"}
    assert {one or other for one, other in named} <= pinned
    tools = next(rest for _, rest in instructions() if "/opt/tools/bin/pip install --no-compile pip" in rest)
    assert re.findall(r" (pip|cyclonedx-bom|pip-licenses)==[\d.]+", tools) == ["pip", "cyclonedx-bom", "pip-licenses"]


def test_continuous_integration_runs_the_images() -> None:
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(".ci/containers ") for line in lines) and "finished $contained containers" in lines
    subprocess.run(["bash", "-n", ".ci/containers"], cwd=ROOT, check=True)


def test_what_must_not_be_there_ends_the_check_when_it_is() -> None:
    """A shell's `-e` takes no notice of a command that `!` negates, unless it is part of a list that ends in a decision."""
    lines = (ROOT / ".ci/containers").read_text(encoding="utf-8").splitlines()

    assert not [line for line in lines if re.search(r"(^|;)\s*! [^&|]*(;|$)", line)]
