"""What components do beside running their stages: the form's settings, the steps of a task, what is left of a run, pages, and
the report of a run's end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import phrasebook_settings as settings
import pytest
import yaml
from kfp.dsl.executor import Executor
from kfp.dsl.types import artifact_types
from refusals import refused

from components import _notice, _pages, _run, _stage, _step
from components import notes as kept
from components._finished import finished
from components.conclude import conclude
from components.curate import curate
from components.form import settle, shared_out
from components.hardware import Hardware, Share
from components.notes import notes
from configs import PRESETS
from pipelines.placement import CLUSTERS, load
from xlrm.errors import ConfigError
from xlrm.run import endpoints, pages
from xlrm.run.experiment import build
from xlrm.run.experiment import load as load_experiment
from xlrm.run.runner import Artifact, run_stage
from xlrm.run.steps import steps
from xlrm.store import addresses as xlrm_settings
from xlrm.store import artifacts, objects, provenance
from xlrm.tracking import mlflow_client

ROOT_FOLDER = Path(__file__).parents[1]
CURATE = settings.CURATE | {
    "preferences": ["phrasebook"], "pairs": 8, "benchmark_items": 14, "train_prompts": 4, "eval_prompts": 4,
    "parallel_texts": 4,
}  # fmt: skip


@pytest.fixture
def view(tmp_path) -> SimpleNamespace:
    return SimpleNamespace(path=str(tmp_path / "made" / "view"))


def text(view: SimpleNamespace) -> str:
    with open(view.path, encoding="utf-8") as file:
        return file.read()


# The form


@pytest.fixture(autouse=True)
def run_id(monkeypatch: pytest.MonkeyPatch) -> str:
    """Tests are tasks of a run, whose steps are tried once."""
    monkeypatch.setenv(_run.RUN_ID, "run-1")
    monkeypatch.setenv(_stage.TRIES, "1")
    monkeypatch.setenv(endpoints.ADDRESS, "http://127.0.0.1:9/v1")
    return "run-1"


def settled(
    view, preset="demo_short", experiment="", shorthands=None, overrides=None, placement=None, pipeline="retrain"
):
    return settle(pipeline, placement or {}, preset, experiment, shorthands or {}, overrides or {}, view)


def test_a_preset_is_an_experiment_of_configs(view) -> None:
    nothing = {"targets": [], "name": "", "curate.pairs": 0}
    settled(view, "paper_a_qwen", shorthands=nothing, placement=load("a100-80gb").facts())
    found = _run.read().experiment
    assert found == load_experiment(PRESETS["paper_a_qwen"]) and found.stages["curate"]["parallel"] is None
    shown = yaml.safe_load(text(view).split("```yaml\n")[1].split("```")[0])
    assert shown["base"]["model"] == "Qwen/Qwen2.5-3B-Instruct" and shown["targets"] == ["es", "it", "ko", "zh"]
    assert "| reward | 1 reward models, 86,400 pairs each |" in text(view), "what it is estimated at"


def test_shorthands_win_over_the_preset_and_overrides_over_both(view) -> None:
    shorthands = {"name": "mine", "targets": ["ko"], "curate.pairs": 50, "base.model": ""}
    overrides = {"curate.pairs": 60.0, "reward.learning_rate": 2e-5, "curate.prompts": None}
    settled(view, shorthands=shorthands, overrides=overrides)
    found = _run.read().experiment
    assert (found.name, found.targets, found.source) == ("mine", ("ko",), "en")
    assert found.stages["curate"]["pairs"] == 60 and found.stages["curate"]["prompts"] is None
    assert found.stages["reward"]["learning_rate"] == 2e-5 and found.stages["base"]["model"] == "phrasebook-tiny"


def test_a_whole_experiment_stands_for_the_preset(view) -> None:
    given = {
        "name": "x",
        "source": "en",
        "targets": ["it"],
        **settings.sections(align={"beta": 0.2}, reward={"batch_size": 8}),
    }
    given["curate"] = CURATE | {"parallel": None}
    settled(view, "no such", yaml.safe_dump(given))
    assert _run.read().experiment.as_file() == given


@pytest.mark.parametrize(
    ("preset", "overrides", "said"),
    [
        ("paper_b", {}, "preset='paper_b': "),
        ("demo", {"reward.learning_rat": 1}, "preset demo: reward.learning_rat=1: "),
        ("demo", {"rewards.epochs": 1}, "preset demo='rewards': "),
        ("demo", {"targets": ["xx"]}, "preset demo: targets='xx': "),
    ],
)
def test_a_wrong_form_is_one_line_and_status_2(view, capsys, preset, overrides, said) -> None:
    with pytest.raises(SystemExit) as ended:
        settled(view, preset, overrides=overrides)
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and len(lines) == 1 and f"error: configure: {said}" in lines[0]
    assert said in notes("run-1").failed()["configure"], "kept for the run's last page"


# Every shipped experiment on every shipped placement


REFUSED = {
    ("paper_a_llama", "cpu"): "translate.engine: vllm needs a GPU; on placement cpu a pod of translate has 0 GPU(s)",
    ("paper_a_qwen_7b", "cpu"): "translate.engine: vllm needs a GPU; on placement cpu a pod of translate has 0 GPU(s)",
    ("paper_a_qwen", "cpu"): "translate.engine: vllm needs a GPU; on placement cpu a pod of translate has 0 GPU(s)",
    (
        "paper_b_summarization",
        "cpu",
    ): "translate.engine: vllm needs a GPU; on placement cpu a pod of translate has 0 GPU(s)",
    ("paper_b_summarization", "a100-40gb"): "sft.device_batch_size=8: needs about 46 GiB of each of 4 GPUs",
    ("paper_b_summarization", "a100-40gb-pcie"): "sft.device_batch_size=8: needs about 46 GiB of each of 4 GPUs",
    ("paper_b_dialog", "cpu"): "sample.engine: vllm needs a GPU; on placement cpu a pod of answer has 0 GPU(s)",
}
"""What no run on a cluster without GPUs can do, or with GPUs that are too small, said before it begins."""


@pytest.mark.parametrize("placement", CLUSTERS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fits_a_placement_or_is_refused_at_once(view, capsys, preset: str, placement: str) -> None:
    facts = json.loads(json.dumps(load(placement).facts()), parse_int=float)  # as Kubeflow passes them
    pipeline = load_experiment(PRESETS[preset]).of_pipeline
    if reason := REFUSED.get((preset, placement)):
        with pytest.raises(SystemExit) as ended:
            settled(view, preset, placement=facts, pipeline=pipeline)
        assert ended.value.code == 2 and reason in capsys.readouterr().err
        return
    left = settled(view, preset, placement=facts, pipeline=pipeline)
    assert int(left.Output) == len(_run.read().steps()), "nothing is finished"
    models = sum(step.stage == "reward" for step in _run.read().steps().values())
    assert len(left.reward) == min(models, load(placement).tasks["reward"].pods)


ASKERS = {
    "a served judge": ("paper_a_qwen", {}, "reference.served='gpt-4-turbo-2024-04-09': "),
    "paper B's judge": ("paper_b_dialog", {}, "judge.judge='gpt-4o': "),
    "a judge alone": ("paper_a_qwen", {"reference": None}, "judge.judge='gpt-4o': "),
    "a judge from elsewhere": (
        "paper_a_qwen", {"judge.judge": None, "reference": None, "external.models": ["gpt-4o"]}, "external.models='gpt-4o': ",
    ),
    "a translator": ("demo", {"translate.translator": "x-alma", "translate.engine": "endpoint"}, "translate.engine='endpoint': "),
}  # fmt: skip


@pytest.mark.parametrize(("preset", "overrides", "said"), ASKERS.values(), ids=ASKERS)
def test_a_run_that_asks_a_server_needs_its_address(view, capsys, monkeypatch, preset, overrides, said) -> None:
    monkeypatch.delenv(endpoints.ADDRESS)
    given = {"placement": load("a100-80gb").facts(), "pipeline": load_experiment(PRESETS[preset]).of_pipeline}
    with pytest.raises(SystemExit) as ended:
        settled(view, preset, overrides=overrides, **given)
    assert ended.value.code == 2 and said in capsys.readouterr().err
    monkeypatch.setenv(endpoints.ADDRESS, "http://127.0.0.1:9/v1")
    assert int(settled(view, preset, overrides=overrides, **given).Output)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"reward.batch_size": 6}, "reward.batch_size=6: "),
        ({"reward.processes": 8}, "reward.processes=8: "),
    ],
)
def test_what_cannot_work_on_the_gpus_is_refused_before_anything_runs(view, capsys, overrides, said) -> None:
    with pytest.raises(SystemExit) as ended:
        settled(view, overrides=overrides, placement=load("a100-80gb").facts())
    assert ended.value.code == 2 and f"preset demo_short: {said}" in capsys.readouterr().err


def test_steps_are_shared_out_to_as_many_pods_as_there_may_be() -> None:
    targets = ["es", "it", "ko", "zh", "de", "ru", "tr", "vi"]
    speaking = {"pretraining": {"languages": ["en", *targets]}}
    nine = build({"name": "nine", "targets": targets, **settings.sections(base=speaking)}, {}, "test")
    made = steps("cross-lingual-transfer", nine)
    shares = shared_out(made, Hardware(tasks={"reward": Share(pods=4), "translate": Share(pods=20)}))
    assert shares["reward"] == [
        "reward-en,reward-zh,reward-vi", "reward-es,reward-de", "reward-it,reward-ru", "reward-ko,reward-tr",
    ]  # fmt: skip
    assert len(shares["translate"]) == 8 and len(shares["align"]) == 1
    assert sorted(",".join(shares["sample"]).split(",")) == [
        "external",
        *(f"sample-policy-{code}" for code in sorted(targets)),
    ]
    assert {len(texts) for texts in shared_out({}, Hardware()).values()} == {0}


def test_a_judge_of_the_tasks_own_runs_after_the_answers_it_reads() -> None:
    judging = {"judge": "self-taught", "engine": "vllm"}
    several = build({"name": "several", "targets": ["es", "it", "ko"], **settings.sections(judge=judging)}, {}, "test")
    made = steps("cross-lingual-transfer", several)
    hardware = Hardware(tasks={"answer": Share(pods=2)})
    both = ["sample-es,judge-es,sample-ko,judge-ko", "sample-it,judge-it"]
    assert shared_out(made, hardware)["answer"] == both
    left = {label: step for label, step in made.items() if label != "sample-es"}
    assert shared_out(left, hardware)["answer"] == ["judge-es,sample-ko,judge-ko", "sample-it,judge-it"]


# What is left of a run


def begun(view, **stages) -> dict:
    """A run of `retrain` on small data; its steps."""
    given = {"curate": CURATE, "validate": {"max_reject_share": 0.5}, "reward": {"batch_size": 8}} | stages
    settled(view, experiment=yaml.safe_dump({"name": "x", "targets": ["es"], **settings.sections(**given)}))
    return _run.read().steps()


def make(made: dict, *labels: str) -> dict[str, str]:
    """Has a run's steps made, each by what a task calls in a process of its own."""
    for label in labels:
        _run.note_made(label, _step.make(made[label], _run.read()))
    return {label: _run.made(label) for label in labels}


DATA = ("curate", "plan", "translate-es", "validate")


def test_what_a_run_has_made_is_not_left_for_the_next(view, monkeypatch) -> None:
    uris = make(begun(view), *DATA)
    monkeypatch.setenv(_run.RUN_ID, "run-2")
    left = settled(view, experiment=_run_of("run-1"))
    assert {label: _run.made(label) for label in DATA} == uris, "its tasks find them as if they had made them"
    assert left.translate == [] and left.reward == ["reward-en"] and left.Output == "5"
    assert "to do: base, reward-en, evaluate-en, register, report." in text(view)


def test_a_change_leaves_what_it_affects_and_what_comes_after(view) -> None:
    make(begun(view), *DATA)
    assert set(finished(begun(view, validate={"max_reject_share": 0.4}))) == {"curate", "plan", "translate-es"}
    assert set(finished(begun(view, curate=CURATE | {"seed": 7}))) == set(), "nothing stands on what is not there"


def test_what_another_image_has_installed_decides_of_its_steps(view, monkeypatch) -> None:
    """`configure` runs without torch; a key holds the versions of the libraries that a stage imports, where it runs."""
    uris = make(begun(view), *DATA)
    monkeypatch.setenv("XLRM_IMAGE", "ghcr.io/xlrm/xlrm-data:0.1.0")
    monkeypatch.setenv("XLRM_GIT_COMMIT", "c0ffee")
    made = _run.read().steps()
    assert set(finished(made)) == {"curate", "plan"}, "an image that has not been seen at work"
    installed = provenance.installed()
    where = _stage.libraries_uri("ghcr.io/xlrm/xlrm-sample:0.1.0")
    objects.write(where, json.dumps(installed).encode())
    assert finished(made) == uris
    objects.write(where, json.dumps(installed | {"pydantic": "9.9.9"}).encode())
    assert set(finished(made)) == {"curate", "plan"}, "another version there makes another artifact"


def _run_of(run: str) -> str:
    data = objects.read_bytes(objects.join(xlrm_settings.store(), "runs", run, "run.json"))
    return yaml.safe_dump(_run.Run.model_validate_json(data).experiment.as_file())


@pytest.fixture
def two(home) -> list[Artifact]:
    return [run_stage("curate", CURATE | {"seed": seed}, {}) for seed in (1, 2)]


# Steps of a task


def test_a_stage_stands_for_all_its_steps(view) -> None:
    settled(view, overrides={"targets": ["es", "ko"]}, pipeline="cross-lingual-transfer")
    found = _run.read().labels("judge,register,align-ko-en")
    assert found == ["judge-es", "judge-ko", "register", "align-ko-en"]
    with refused(ConfigError, "reward-xx"):
        _run.read().labels("reward-xx")


def test_a_step_of_no_run_is_one_line(view, monkeypatch) -> None:
    begun(view)
    with refused(ConfigError, "reward-ko"):
        _run.read().step("reward-ko")
    monkeypatch.delenv(_run.RUN_ID)
    with refused(ConfigError, _run.RUN_ID):
        _run.read()


def in_a_task(label: str, **environment: str) -> subprocess.Popen:
    """A task's process, with `label` as its step; pauses between tries are left out."""
    code = (
        f"import sys; from components import _stage; _stage.PAUSES_S = (0, 0); sys.exit(_stage._to_the_end({label!r}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT_FOLDER, env=os.environ | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.slow
def test_what_may_pass_is_tried_again_where_it_is_and_what_is_the_users_is_not(view) -> None:
    begun(view)
    missing = in_a_task("validate", XLRM_TRIES="3")  # takes what nothing has made: the store may have it next time
    said, _ = missing.communicate(timeout=300)
    assert missing.returncode == 2 and said.count("error: validate:") == 3 and said.count("trying again in 0 s") == 2, (
        said
    )
    assert "curate" in notes("run-1").failed()["validate"]
    wrong = in_a_task("nowhere", XLRM_TRIES="3")
    said, _ = wrong.communicate(timeout=300)
    assert wrong.returncode == 2 and said.count("error: nowhere:") == 1, said
    broken = in_a_task("curate", XLRM_STORE=xlrm_settings.store(), XLRM_HOME="/proc/nowhere")
    said, _ = broken.communicate(timeout=300)
    assert broken.returncode == 2 and "/proc/nowhere" in notes("run-1").failed()["curate"], said


@pytest.mark.slow
def test_a_step_that_is_killed_is_made_by_the_next_try(view, home) -> None:
    begun(view)
    task = in_a_task("curate", XLRM_TRIES="2")
    os.kill(child_of(task.pid), signal.SIGKILL)
    said, _ = task.communicate(timeout=300)
    assert task.returncode == 0 and "ended with status 137; trying again in 0 s" in said and _run.made("curate"), said


def test_a_step_that_is_killed_is_said_to_be_and_by_what() -> None:
    assert _stage._killed(9) == "killed by SIGKILL, as the system does where memory runs out"
    assert (_stage._killed(11), _stage._killed(60)) == ("killed by SIGSEGV", "killed by signal 60")


@pytest.mark.slow
def test_a_task_that_is_ended_ends_its_step_and_says_so_by_its_status(view, home) -> None:
    begun(view)
    task = in_a_task("curate")
    step = child_of(task.pid)
    task.terminate()
    assert task.wait(timeout=60) == 128 + signal.SIGTERM and not Path(f"/proc/{step}").exists()
    task.stdout.close()


@pytest.mark.slow
def test_steps_of_one_task_have_mlflow_runs_of_their_own(view, monkeypatch) -> None:
    """Kubeflow's plug-in gives the task one run, whose parameters could not be those of two steps."""
    begun(view)
    client = mlflow_client.client()
    task = client.create_run(client.create_experiment("task"), run_name="of Kubeflow Pipelines").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", task)
    for label in ("curate", "plan"):
        assert _stage._in_process(label) == 0
    runs = [artifacts.load(_run.made(label)).mlflow_run_id for label in ("curate", "plan")]
    assert len({*runs, task}) == 3
    assert {client.get_run(one).data.tags["mlflow.parentRunId"] for one in runs} == {task}


def test_of_the_tries_of_a_step_the_last_ones_reason_counts(monkeypatch, tmp_path) -> None:
    """And not another step's of the same stage; it stays in the pod's status."""
    monkeypatch.setattr(kept, "TERMINATION_LOG", tmp_path / "log")
    (tmp_path / "log").touch()
    for label, error in (("reward-es", "server away"), ("reward-ko", "another"), ("reward-es", "config is wrong")):
        kept.note_started(label)
        kept.note_failure(label, error)
    kept.note_ended("reward-es", "FAILED", "")
    assert notes("run-1").failed() == {"reward-es": "config is wrong"}
    assert (tmp_path / "log").read_text() == "config is wrong"


def child_of(pid: int) -> int:
    for _ in range(600):
        if children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            return int(children[0])
        time.sleep(0.1)
    raise AssertionError("the task started no step")


# What a task hands to the next


ROOT = "minio://mlpipeline/v2/artifacts/retrain/run-1"
"""Kubeflow's folder of a run, below which its driver places every output."""


def launched(component, parameters: dict) -> dict[str, dict]:
    """Runs a component by Kubeflow's executor with addresses as its driver gives them, and then does what its launcher does,
    by backend/src/v2/component of kubeflow/pipelines: an output that was moved out of the run's folder fails the task, and
    later versions fail it too for one of which there is no file. Returns the outputs."""
    spec = component.component_spec
    declared = spec.outputs or {}
    outputs = {
        name: {"name": name, "type": {"schemaTitle": one.type.partition("@")[0]}, "uri": f"{ROOT}/{spec.name}/{name}"}
        for name, one in declared.items() if one.type.startswith("system.")
    }  # fmt: skip
    values = [name for name in declared if name not in outputs]
    folder = Path(artifact_types._MINIO_LOCAL_MOUNT_PREFIX)
    executor_input = {
        "inputs": {"parameterValues": parameters, "artifacts": {}},
        "outputs": {
            "artifacts": {name: {"artifacts": [one]} for name, one in outputs.items()}, "outputFile": f"{folder}/made.json",
            "parameters": {name: {"outputFile": f"{folder}/{spec.name}-{name}"} for name in values},
        },
    }  # fmt: skip
    Executor(json.loads(json.dumps(executor_input)), component.python_func).execute()
    made = json.loads((folder / "made.json").read_text())
    for name, (one,) in ((name, given["artifacts"]) for name, given in made.get("artifacts", {}).items()):
        assert one["uri"].startswith(f"{ROOT}/"), f"{name}: URI {one['uri']!r} does not have expected bucket prefix"
        assert local(one).is_file(), f"no file of {name}"
        outputs[name] |= one
    return outputs | made.get("parameterValues", {})


def local(artifact: dict) -> Path:
    return Path(artifact_types._MINIO_LOCAL_MOUNT_PREFIX) / artifact["uri"].removeprefix("minio://")


def content(artifact: dict) -> str:
    return local(artifact).read_text(encoding="utf-8")


@pytest.fixture
def pod_folders(tmp_path, monkeypatch) -> None:
    """Where the launcher's folders are; and where a component's processes find this package."""
    monkeypatch.setattr(artifact_types, "_MINIO_LOCAL_MOUNT_PREFIX", f"{tmp_path}/minio/")
    monkeypatch.chdir(ROOT_FOLDER)


@pytest.mark.slow
@pytest.mark.usefixtures("pod_folders")
def test_a_task_leaves_what_kubeflows_launcher_uploads_and_the_run_knows_its_artifacts(view) -> None:
    begun(view)
    made = launched(curate, {"steps": "curate,plan"})
    uris = {label: _run.made(label) for label in ("curate", "plan")}
    assert made["made"]["metadata"] == uris and uris["curate"] == run_stage("curate", CURATE, {}).uri
    assert content(made["made"]) == "".join(f"{label}\t{uri}\n" for label, uri in uris.items())
    page = content(made["page"])
    assert page.startswith("# ") and "| preferences | 8 |" in page and "\n# plan\n" in page, (
        "one page, of both, with metrics"
    )
    assert artifacts.load(uris["plan"]).inputs["corpus"][0].uri == uris["curate"]
    assert {one.state for one in notes("run-1").tasks.values()} == {"SUCCEEDED"}


@pytest.mark.usefixtures("pod_folders")
def test_the_top_of_a_run_shows_its_decision_and_its_report(view, home) -> None:
    status = {"state": "COMPLETE", "pipelineTaskName": "x", "pipelineJobResourceName": "x", "error": {}}
    nothing = launched(conclude, {"pipeline": "retrain", "status": status})
    assert content(nothing["report"]) == "This run has written no report.\n"
    for label, page in (("register", "| en | 0.5 |"), ("validate", "<html><body class=x><p>rows</p></body></html>")):
        folder = home / label
        folder.mkdir()
        (folder / pages.FILES[label]).write_text(page)
        _run.note_refused(label, _run.Refused(uri=f"file://{folder}", reason=f"{label} says a < b"))
    shown = launched(conclude, {"pipeline": "retrain", "status": status})
    decision, report = content(shown["decision"]), content(shown["report"])
    assert 0 < decision.index("register says a < b") < decision.index("| en | 0.5 |")
    assert report.index("<body class=x>") < report.index("validate says a &lt; b") < report.index("<p>rows</p>")
    _run.note_made("validate", "file:///by/a/later/try")
    assert content(launched(conclude, {"pipeline": "retrain", "status": status})["report"]) == content(
        nothing["report"]
    )


# What runs again


def made(settings: dict) -> set[str]:
    """Runs the data's part of the pipeline, task by task; the labels of those that were not found finished."""
    before = set(Path(xlrm_settings.home(), "store").glob("*/*/artifact.json"))
    corpus = run_stage("curate", settings["curate"], {}).uri
    section = {"targets": ["es", "ko"], "translate": {"translator": "phrasebook"}}
    run_stage("plan", section, {"corpus": corpus})
    shards = [
        run_stage("translate", {"language": one, "translator": "phrasebook"}, {"corpus": corpus}).uri
        for one in ("es", "ko")
    ]
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
    page = _pages.markdown("curate", two[0].uri, two[0].record)
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
    assert "retrain 4a1c: failed" in capsys.readouterr().err


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
    said = capsys.readouterr().err
    assert "XLRM_NOTIFY_URL: " in said and "HTTPError" in said and "secret-path" not in said and len(chat.told) == 1


def test_one_language_alone_leaves_nothing_to_translate(view) -> None:
    """Its loop is empty, as that of finished steps is; the form's own list of targets would mean the preset's."""
    left = settled(view, preset="demo_short", overrides={"targets": []}, pipeline="cross-lingual-transfer")
    assert left.translate == [] and left.reward == ["reward-en"] and left.align == ["align-en-en"]
    assert "targets: []" in text(view) and "translate" not in text(view).partition("```yaml")[0]
