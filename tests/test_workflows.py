"""Continuous integration's own files: what they call exists, and what they are given stays data."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import phrasebook_settings as settings
import pytest
import typer
import yaml
from kubeflow_server import serve

from pipelines.__main__ import app

ROOT = Path(__file__).parents[1]
FILES = {path.name: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yaml"))}
WORKFLOWS: dict[str, dict[str, Any]] = {name: yaml.safe_load(path.read_text()) for name, path in FILES.items()}


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, workflow in WORKFLOWS.items():
        for job, content in workflow["jobs"].items():
            yield f"{name}: {job}", content


def steps(key: str) -> Iterator[tuple[str, str]]:
    for where, job in jobs():
        yield from ((where, step[key]) for step in job["steps"] if key in step)


def test_the_three_workflows_are_there() -> None:
    assert FILES.keys() == {"ci.yaml", "release.yaml", "retrain.yaml"}
    assert {"schedule", "repository_dispatch", "workflow_dispatch"} == WORKFLOWS["retrain.yaml"][True].keys()  # `on`


def test_a_job_ends_in_time_and_may_no_more_than_it_needs() -> None:
    for name, workflow in WORKFLOWS.items():
        assert workflow["permissions"] == {"contents": "read"} and workflow["concurrency"]["group"], name
    for where, job in jobs():
        assert 0 < job["timeout-minutes"] <= 360, where
    assert [where for where, job in jobs() if "write" in str(job.get("permissions"))] == [
        "release.yaml: images",
        "release.yaml: release",
    ]


PINNED = re.compile(r"([\w-]+/[\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)")
"""An action of others: by its commit, since a tag can be moved; its version is said beside it."""


def loose(text: str) -> list[str]:
    """The actions of a workflow that stand there by less than a commit and a version."""
    return [uses for uses in re.findall(r"\buses:[ ]*(.+)", text) if not PINNED.fullmatch(uses.strip())]


def test_actions_are_pinned_to_one_commit_each_and_leave_no_token_behind() -> None:
    pins = [PINNED.fullmatch(uses) for path in FILES.values() for uses in re.findall(r"uses: (.+)", path.read_text())]
    assert [line for path in FILES.values() for line in loose(path.read_text())] == []
    assert len(pins) == len(list(steps("uses"))) > 0
    assert len({pin[1] for pin in pins}) == len({pin.groups() for pin in pins}), "an action has two commits or versions"
    for where, job in jobs():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False, where


@pytest.mark.parametrize(
    "uses",
    [
        "actions/checkout@v4", "actions/checkout@main", "actions/checkout", f"actions/checkout@{'a' * 39} # v4.4.0",
        f"actions/checkout@{'a' * 40}", f"actions/checkout@{'A' * 40} # v4.4.0", f"actions/checkout@{'a' * 40} # main",
    ],
)  # fmt: skip
def test_an_action_that_is_not_pinned_is_found(uses: str) -> None:
    assert loose(f"      - uses: {uses}\n        with: {{}}\n") == [uses]
    assert loose(f"      - uses: actions/checkout@{'a' * 40} # v4.4.0\n") == []


def test_the_first_and_the_last_python_that_the_package_allows_are_tested() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    first, after = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", wanted).groups()
    job = WORKFLOWS["ci.yaml"]["jobs"]["test"]
    assert job["strategy"]["matrix"] == {"python": [f"3.{first}", f"3.{int(after) - 1}"]}
    (setup,) = [step for step in job["steps"] if step.get("uses", "").startswith("actions/setup-python")]
    assert setup["with"]["python-version"] == "${{ matrix.python }}"


def test_what_an_event_brings_never_becomes_code() -> None:
    """An expression in a script is replaced before a shell reads it: only the matrix, which is ours, may stand there."""
    for where, script in steps("run"):
        found = [one for one in re.findall(r"\$\{\{\s*(.+?)\s*\}\}", script) if not one.startswith("matrix.")]
        assert not found, f"{where}: {found}; give it to the step as an environment variable"
        parsed = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert parsed.returncode == 0, f"{where}: {parsed.stderr}"


def test_targets_of_make_exist() -> None:
    rules = re.findall(r"^([\w%-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    patterns = [re.compile(rule.replace("%", ".+")) for rule in rules]
    called = []
    for where, script in steps("run"):
        for line in re.findall(r"^\s*make (.+)$", script, flags=re.MULTILINE):
            words = re.sub(r"\$\{\{.*?\}\}", "data", line).split()
            called += [(where, word) for word in words if "=" not in word]
    assert called and all(any(p.fullmatch(target) for p in patterns) for _, target in called), (called, rules)


def test_files_exist() -> None:
    for name, path in FILES.items():
        text = re.sub(r"uses: .*", "", path.read_text())
        for file in re.findall(r"\b(?:configs|docs|k8s|docker|\.ci)/[\w./-]*\w", text):
            assert (ROOT / file).exists(), f"{name}: {file}"


def test_images_are_pushed_under_names_that_a_registry_takes(tmp_path: Path) -> None:
    """The step's own script for an owner with capitals, with a make and a docker that only tell what they were given."""
    (script,) = [one for _, one in steps("run") if "docker push" in one]
    for name in ("make", "docker"):
        (tmp_path / name).write_text('#!/bin/sh\necho "$@"')
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "REGISTRY": "ghcr.io/Some-Owner", "IMAGE": "xlrm-data",
        "GITHUB_REF_NAME": "v1.2.3", "GITHUB_SHA": "0" * 40,
    }  # fmt: skip
    script = script.replace("${{ matrix.image }}", "data")
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("image-data REGISTRY=ghcr.io/some-owner TAG=1.2.3 "), lines
    assert lines[-2:] == [f"push ghcr.io/some-owner/xlrm-data:{tag}" for tag in ("1.2.3", "0" * 40)]


def test_commands_of_pipelines_have_the_options_they_are_given() -> None:
    commands = typer.main.get_command(app).commands
    called = 0
    for where, script in steps("run"):
        for name in re.findall(r"python -m pipelines (\w+)", script):
            known = {option for parameter in commands[name].params for option in parameter.opts}
            given = set(
                re.findall(r"(?<![\w-])--[\w-]+", "".join(re.findall(r"^.*(?:pipelines|options).*$", script, re.M)))
            )
            assert given <= known | {"--"}, f"{where}: {name} has no {given - known}"
            called += 1
    assert called == 2


@pytest.mark.parametrize(
    ("overrides", "if_changed", "said"),
    [
        ("null", "true", ""),
        ('["reward.epochs=2", "x=$(id) y"]', "false", "='x': "),  # it came as it was, and was refused
        ("reward.epochs=2", "true", "overrides: a JSON list is wanted"),
    ],
)
def test_the_step_that_retrains_submits(tmp_path: Path, overrides: str, if_changed: str, said: str) -> None:
    """The step's own script, with what an event brings, against a server on loopback."""
    (script,) = [one for where, one in steps("run") if "pipelines submit" in one and "retrain" in where]
    (tmp_path / "mine.yaml").write_text(
        json.dumps({"targets": ["ko"], "register": {"prefix": "mine"}} | settings.sections())
    )
    with serve() as server:
        environment = {
            **os.environ, "CONFIG": "mine.yaml", "OVERRIDES": overrides, "IF_CHANGED": if_changed, "KFP_NAMESPACE": "xlrm",
            "KF_PIPELINES_ENDPOINT": server.address, "KFP_API_TOKEN": "", "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(tmp_path / "page.md"),
            "XLRM_IMAGE_REGISTRY": "ghcr.io/Some-Owner",
        }  # fmt: skip
        server.states = ["SUCCEEDED"]
        command = ["bash", "-e", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        if said:
            assert done.returncode == 2 and said in done.stdout + done.stderr and not server.runs
            return
        assert done.returncode == 0, done.stdout + done.stderr
        page = (tmp_path / "page.md").read_text()
        assert "ghcr.io/some-owner/xlrm-data" in server.uploaded[0] and "Some-Owner" not in server.uploaded[0]
        (run,) = server.runs.values()
        assert yaml.safe_load(run["runtime_config"]["parameters"]["experiment"])["targets"] == ["ko"]
        assert "the run succeeded" in page and " retrain " in run["display_name"]
