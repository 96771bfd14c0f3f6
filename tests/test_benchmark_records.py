"""Every benchmark can write its figures as JSON, with what they were measured with."""

import ast
import importlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy
import pytest

from benchmarks import record, startup

ROOT = Path(__file__).parents[1]
SHARED = {
    "alpaca_eval_published": "alpaca_eval's published verdicts",
    "contest": "how speed benchmarks are timed",
    "defect_counts": "what planted_defects and false_alarms count",
    "defects": "rows, and what makes them wrong",
    "family_models": "models of many families",
    "memory": "memory of the process",
    "record": "the JSON itself",
    "rewardbench_oracle": "runs in the environment of the rewardbench package, which has none of this project",
    "served_translations": "a server",
    "transfer_matrix": "tables of what real_language measures",
    "vllm_peer": "vLLM in an environment of its own, for the benchmark that asks for it",
    "workload": "the work of speed benchmarks",
}
"""Modules that measure nothing by themselves."""
BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in SHARED)


def calls(name: str) -> set[str]:
    """What a module calls by `module.function`."""
    tree = ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8"))
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_writes_its_figures_where_it_is_asked_to(name: str) -> None:
    parser = importlib.import_module(f"benchmarks.{name}").parser()
    assert "--json" in parser.format_help() and parser.get_default("json") is None
    assert calls(name) & {"record.write", "contest.main"}, "it takes --json, and writes nothing"


def test_speed_benchmarks_write_by_what_they_share() -> None:
    assert "record.write" in calls("contest")


def test_what_is_written_beside_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLRM_GIT_COMMIT", "c" * 40)
    options = record.parser("doc").parse_args(["--json", str(tmp_path / "found.json")])
    record.write("benchmarks.mine", options, {"seconds": 1.5}, ["too slow"])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found.keys() == {
        "benchmark", "options", "figures", "missed", "machine", "commit", "date", "versions",
    }  # fmt: skip
    assert (found["benchmark"], found["figures"], found["missed"]) == (
        "benchmarks.mine",
        {"seconds": 1.5},
        ["too slow"],
    )
    assert found["commit"] == "c" * 40 and found["options"] == {}
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found["date"])).total_seconds()) < 60
    assert found["versions"]["numpy"] == numpy.__version__ == metadata.version("numpy")
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    machine = found["machine"]
    assert machine["cores"] == len(os.sched_getaffinity(0)) and machine["processor"]
    (total,) = [
        line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:")
    ]
    assert machine["memory_gib"] == pytest.approx(int(total) / 2**20, rel=0.02, abs=0.1)


def test_nothing_is_written_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record.write("benchmarks.mine", record.parser("doc").parse_args([]), {"seconds": 1.5})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["missing/found.json", "."])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        record.parser("doc").parse_args(["--json", file])
    assert caught.value.code == 2 and "--json" in capsys.readouterr().err.splitlines()[-1]


def test_one_as_it_is_run(tmp_path: Path) -> None:
    """Prompts and verdicts beside those of a stand-in with RewardBench's two functions, of which one always says A."""
    (tmp_path / "generative.py").write_text(
        "def format_judge_answers(question, a, b):\n    return 'no', 'such prompt'\n"
        "def process_judgement(said, model):\n    return 'A'\n"
    )
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}) + "\n")
    command = [sys.executable, "-m", "benchmarks.judge_parity", "generative.py", "pairs.jsonl", "--json", "found.json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["benchmark"] == "benchmarks.judge_parity" and found["options"]["pairs"] == "pairs.jsonl"
    assert found["figures"]["prompts equal"] == "0 of 1"


def test_the_table_of_start_up_says_which_stage_is_over_the_goal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Overhead by hand: 3 - 1 - (1.2 - 0.2) and 4 - 1 - (1.2 - 0.2) seconds, and 1.5 is the goal."""
    step = {"stage": "plan", "wall": 3.0, "run": 1.0, "torch": 1.2, "torch_in_run": 0.2, "imports": 0.5}
    monkeypatch.setattr(startup, "steps", lambda home: [step, step | {"stage": "report", "wall": 4.0}])
    found = startup.show_steps(1)
    assert {stage: one["overhead"] for stage, one in found.items()} == {
        "plan": pytest.approx(1), "report": pytest.approx(2),
    }  # fmt: skip
    *_, plan, report = capsys.readouterr().out.splitlines()
    assert plan.endswith("| 1.00 | 1.5 | reached |") and report.endswith("| 2.00 | 1.5 | missed |")
