"""What components do beside running their stage: the form's settings, the fan-in of loops, the report of a run's end."""

import json
import math
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from kfp.dsl.executor import Executor
from kfp.dsl.types import artifact_types

from components import _fan_in, _notice, _stage
from components._form import settle
from components._parameters import unpack
from components._stage import markdown
from components.curate import curate
from components.plan import plan
from pipelines.presets import PRESETS
from xlrm import artifacts, provenance
from xlrm import settings as xlrm_settings
from xlrm.runner import Artifact, run_stage

CURATE = {"pairs": 8, "benchmark_items": 14, "train_prompts": 4, "eval_prompts": 4, "parallel_texts": 4}


@pytest.fixture
def view(tmp_path) -> SimpleNamespace:
    return SimpleNamespace(path=str(tmp_path / "made" / "view"))


def text(view: SimpleNamespace) -> str:
    with open(view.path, encoding="utf-8") as file:
        return file.read()


# The form


def test_a_preset_is_an_experiment_of_configs(view) -> None:
    found = settle(PRESETS, "paper_a_qwen", {}, {"targets": [], "name": "", "curate.pairs": 0}, {}, view)
    assert found.experiment["name"] == "paper-a-qwen" and found.targets == ["es", "it", "ko", "zh"]
    assert unpack(found.experiment)["stages"]["curate"]["parallel"] is None
    shown = yaml.safe_load(text(view).split("```yaml\n")[1].split("```")[0])
    assert shown["base"]["model"] == "Qwen/Qwen2.5-3B-Instruct" and shown["targets"] == found.targets


def test_shorthands_win_over_the_preset_and_overrides_over_both(view) -> None:
    shorthands = {"name": "mine", "targets": ["ko"], "curate.pairs": 50, "base.model": ""}
    overrides = {"curate.pairs": 60.0, "reward.learning_rate": 2e-5, "curate.prompts": "null"}
    found = settle(PRESETS, "demo_short", {}, shorthands, overrides, view)
    stages = unpack(found.experiment)["stages"]
    assert (found.experiment["name"], found.targets, found.source) == ("mine", ["ko"], "en")
    assert stages["curate"]["pairs"] == 60 and stages["curate"]["prompts"] is None
    assert stages["reward"]["learning_rate"] == 2e-5 and stages["base"]["model"] == "phrasebook-tiny"


def test_a_whole_experiment_stands_for_the_preset(view) -> None:
    found = settle(PRESETS, "no such", {"name": "x", "targets": ["it"], "align": {"beta": 0.2}}, {}, {}, view)
    assert found.experiment == {"name": "x", "stages": {"align": {"beta": 0.2}}} and found.targets == ["it"]


@pytest.mark.parametrize(
    ("preset", "overrides", "said"),
    [
        ("paper_b", {}, "preset: no preset 'paper_b'; there are demo, demo_short, paper_a_llama, paper_a_qwen"),
        ("demo", {"reward.learning_rat": 1}, "preset demo: reward.learning_rat:"),
        ("demo", {"rewards.epochs": 1}, "preset demo: no stage or setting 'rewards'"),
        ("demo", {"targets": ["xx"]}, "preset demo: targets: no language 'xx'"),
    ],
)
def test_a_wrong_form_is_one_line_and_status_2(view, capsys, preset, overrides, said) -> None:
    with pytest.raises(SystemExit) as ended:
        settle(PRESETS, preset, {}, {}, overrides, view)
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 2 and len(lines) == 1 and f"error: configure: {said}" in lines[0]


# Fan-in


@pytest.fixture
def two(home) -> list[Artifact]:
    return [run_stage("curate", CURATE | {"seed": seed}, {}) for seed in (1, 2)]


def test_what_a_loop_leaves_out_is_found_in_the_store(two, monkeypatch, capsys) -> None:
    monkeypatch.setenv("KFP_RUN_ID", "run-1")
    for one in two:
        _fan_in.note(one)
        _fan_in.note(one)  # a task that is tried again
    first, second = two
    handed = [SimpleNamespace(metadata={"artifact": one.uri}) for one in two]
    assert _fan_in.collected(handed, "curate") == [first.uri, second.uri]
    assert "did not pass on" not in capsys.readouterr().out
    assert _fan_in.collected(handed[1:], "curate") == [second.uri, first.uri]
    assert "1 artifact(s) that Kubeflow did not pass on" in capsys.readouterr().out
    assert _fan_in.collected([], "curate") == sorted([first.uri, second.uri])
    monkeypatch.setenv("KFP_RUN_ID", "run-2")
    assert _fan_in.collected(handed[:1], "curate") == [first.uri], "another run's are not taken"


def test_without_a_run_of_kubeflow_nothing_is_kept(two, monkeypatch, home) -> None:
    monkeypatch.delenv("KFP_RUN_ID", raising=False)
    _fan_in.note(two[0])
    assert not list(home.glob("**/runs")) and _fan_in.collected([two[0].uri], "curate") == [two[0].uri]


# What a task hands to the next


ROOT = "minio://mlpipeline/v2/artifacts/retrain/run-1"
"""Kubeflow's folder of a run, below which its driver places every output."""


def launched(component, parameters: dict, artifacts: dict | None = None) -> dict[str, dict]:
    """Runs a component by Kubeflow's executor with addresses as its driver gives them, and then does what its launcher does,
    by backend/src/v2/component of kubeflow/pipelines: an output that was moved out of the run's folder fails the task, and
    later versions fail it too for one of which there is no file, other than of metrics. Returns the outputs, for a next task."""
    spec = component.component_spec
    declared = spec.outputs or {}
    outputs = {
        name: {"name": name, "type": {"schemaTitle": one.type.partition("@")[0]}, "uri": f"{ROOT}/{spec.name}/{name}"}
        for name, one in declared.items() if one.type.startswith("system.")
    }  # fmt: skip
    values = [name for name in declared if name not in outputs]
    folder = Path(artifact_types._MINIO_LOCAL_MOUNT_PREFIX)
    executor_input = {
        "inputs": {"parameterValues": parameters, "artifacts": {k: {"artifacts": [v]} for k, v in (artifacts or {}).items()}},
        "outputs": {
            "artifacts": {name: {"artifacts": [one]} for name, one in outputs.items()}, "outputFile": f"{folder}/made.json",
            "parameters": {name: {"outputFile": f"{folder}/{spec.name}-{name}"} for name in values},
        },
    }  # fmt: skip
    Executor(json.loads(json.dumps(executor_input)), component.python_func).execute()
    made = json.loads((folder / "made.json").read_text())
    for name, (one,) in ((name, given["artifacts"]) for name, given in made.get("artifacts", {}).items()):
        assert one["uri"].startswith(f"{ROOT}/"), f"{name}: URI {one['uri']!r} does not have expected bucket prefix"
        assert local(one).is_file() or outputs[name]["type"]["schemaTitle"] == "system.Metrics", f"no file of {name}"
        outputs[name] |= one
    return outputs | made.get("parameterValues", {})


def local(artifact: dict) -> Path:
    return Path(artifact_types._MINIO_LOCAL_MOUNT_PREFIX) / artifact["uri"].removeprefix("minio://")


def content(artifact: dict) -> str:
    return local(artifact).read_text(encoding="utf-8")


@pytest.fixture
def pod_folders(tmp_path, monkeypatch) -> None:
    """Of a component: where the launcher's folders are, and libraries that other tests need."""
    monkeypatch.setattr(artifact_types, "_MINIO_LOCAL_MOUNT_PREFIX", f"{tmp_path}/minio/")
    monkeypatch.setattr(_stage, "_UNUSED", ())


@pytest.mark.usefixtures("pod_folders")
def test_a_task_leaves_what_kubeflows_launcher_uploads_and_the_next_finds_the_artifact(home) -> None:
    experiment = {"name": "x", "stages": {"curate": CURATE}}
    made = launched(curate, {"experiment": experiment, "language": "en"})
    uri = made["corpus"]["metadata"]["artifact"]
    assert uri == run_stage("curate", CURATE, {}).uri
    assert content(made["corpus"]) == f"{uri}\n" and content(made["account"]).startswith("#")
    assert all(math.isfinite(value) for value in made["metrics"]["metadata"].values())
    planned = launched(plan, {"experiment": experiment, "targets": ["ko"]}, {"corpus": made["corpus"]})
    record = artifacts.load(planned["estimate"]["metadata"]["artifact"])
    assert record.inputs["corpus"][0].uri == uri


# What runs again


def made(settings: dict) -> set[str]:
    """Runs the data's part of the pipeline, task by task; the labels of those that were not found finished."""
    before = set(Path(xlrm_settings.home(), "store").glob("*/*/artifact.json"))
    corpus = run_stage("curate", settings["curate"], {}).uri
    section = {"targets": ["es", "ko"], "translate": {}}
    run_stage("plan", section, {"corpus": corpus})
    shards = [run_stage("translate", {"language": one}, {"corpus": corpus}).uri for one in ("es", "ko")]
    run_stage("validate", settings["validate"], {"source": corpus, "translations": shards})
    found = set(Path(xlrm_settings.home(), "store").glob("*/*/artifact.json")) - before
    records = [json.loads(one.read_text()) for one in found]
    return {record["stage"] + record["config"].get("language", "") for record in records}


@pytest.mark.slow
def test_exactly_what_is_affected_runs_again(home, tmp_path, monkeypatch) -> None:
    """After a byte upstream, a value of one stage, the code of one stage."""
    mine = tmp_path / "mine.jsonl"
    phrasebook = artifacts.fetch(run_stage("curate", CURATE, {}).uri, home / "cache") / "preferences.jsonl"
    mine.write_bytes(phrasebook.read_bytes())
    curated = CURATE | {"preferences": [str(mine)], "near_duplicates": 1.0}
    settings = {"curate": curated, "validate": {"max_reject_share": 0.5}}
    everything = {"curateen", "plan", "translatees", "translateko", "validate"}
    assert made(settings) == everything
    assert made(settings) == set(), "nothing changed"

    settings["validate"]["max_reject_share"] = 0.4
    assert made(settings) == {"validate"}, "one value, of the last stage"
    version = provenance.code_version
    changed = {"xlrm.stages.plan"}
    monkeypatch.setattr(provenance, "code_version", lambda name: version(name) + ("x" if name in changed else ""))
    assert made(settings) == {"plan"}, "code of a stage whose output is as before"
    changed.add("xlrm.stages.translate")
    assert made(settings) == {"translatees", "translateko"}, "the same bytes: nothing after it has anything to do"
    mine.write_bytes(mine.read_bytes().replace(b'"subset": "', b'"subset": "x', 1))
    assert made(settings) == everything, "one byte upstream"


# What the UI shows


def test_a_page_says_what_was_made_of_what(two) -> None:
    page = markdown(two[0])
    assert page.startswith("# curate\n") and two[0].uri in page
    assert "| preferences | 8 |" in page and '"pairs": 8' in page and "- nothing" in page


class Told(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def chat():
    server = HTTPServer(("127.0.0.1", 0), Told)
    server.told, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_end_of_a_run_is_told(chat, view, monkeypatch, capsys) -> None:
    monkeypatch.setenv("KFP_RUN_ID", "4a1c")
    monkeypatch.setenv(_notice.ADDRESS, f"http://127.0.0.1:{chat.server_port}/secret-path")
    _notice.report("retrain", SimpleNamespace(state="FAILED", error_message="Task x\nfailed."), view)
    assert chat.told == [("/secret-path", {"text": "retrain 4a1c: failed: Task x failed."})]
    assert text(view) == "# Failed\n\nretrain 4a1c: failed: Task x failed.\n"
    assert "retrain 4a1c: failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("state", "said"),
    [("COMPLETE", "succeeded"), ("SUCCEEDED", "succeeded"), ("CANCELED", "canceled"), ("CANCELLED", "canceled")],
)
def test_the_end_is_told_in_the_same_words_by_every_server(view, monkeypatch, state, said) -> None:
    """The open-source server says COMPLETE, in the task that comes after a run's end."""
    monkeypatch.delenv("KFP_RUN_ID", raising=False)
    _notice.report("retrain", SimpleNamespace(state=state, error_message=None), view)
    assert text(view) == f"# {said.capitalize()}\n\nretrain: {said}\n"


def test_a_chat_that_is_down_fails_no_run_and_keeps_its_address(chat, view, monkeypatch, capsys) -> None:
    chat.status = 500
    monkeypatch.setenv(_notice.ADDRESS, f"http://127.0.0.1:{chat.server_port}/secret-path")
    _notice.report("retrain", SimpleNamespace(state="SUCCEEDED", error_message=""), view)
    said = capsys.readouterr().out
    assert "nobody could be told: HTTPError" in said and "secret-path" not in said and len(chat.told) == 1
