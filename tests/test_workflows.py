"""Continuous integration's own files: what they call exists, and what they are given stays data."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def test_actions_are_pinned_and_leave_no_token_behind() -> None:
    for where, uses in steps("uses"):
        assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", uses), f"{where}: {uses}"
    for where, job in jobs():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False, where


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


@pytest.mark.parametrize(("overrides", "if_changed"), [("null", "true"), ('["reward.epochs=2", "x=$(id) y"]', "false")])
def test_the_step_that_retrains_submits(tmp_path: Path, overrides: str, if_changed: str) -> None:
    """The step's own script, with what an event brings, against a server on loopback."""
    (script,) = [one for where, one in steps("run") if "pipelines submit" in one and "retrain" in where]
    (tmp_path / "mine.yaml").write_text("targets: [ko]")
    wrong = "$(id)" in overrides
    with serve() as server:
        environment = {
            **os.environ, "CONFIG": "mine.yaml", "OVERRIDES": overrides, "IF_CHANGED": if_changed, "KFP_NAMESPACE": "xlrm",
            "KF_PIPELINES_ENDPOINT": server.address, "KFP_API_TOKEN": "", "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(tmp_path / "page.md"),
        }  # fmt: skip
        server.states = ["SUCCEEDED"]
        command = ["bash", "-e", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        page = (tmp_path / "page.md").read_text()
        if wrong:
            assert done.returncode == 2 and "no stage or setting 'x'" in done.stdout, (
                "it came as it was, and was refused"
            )
            assert not server.runs and "error: mine.yaml" in page
            return
        assert done.returncode == 0, done.stdout + done.stderr
        (run,) = server.runs.values()
        assert json.loads(json.dumps(run["runtime_config"]["parameters"]["experiment"]["targets"])) == ["ko"]
        assert "the run succeeded" in page and " retrain " in run["display_name"]
