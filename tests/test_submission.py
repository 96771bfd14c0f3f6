"""`python -m pipelines submit` through kfp's own client, against a server on loopback that speaks its API and fails on cue."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from kubeflow_server import Fault, Kubeflow, serve
from refusals import refused
from swift_server import S3Store
from test_pipeline import GOLDEN, REGENERATE, flat, read_without_sdk
from typer.testing import CliRunner

from pipelines import changes, following, kubeflow, placement, submission
from pipelines.__main__ import app
from pipelines.server.package import load as load_package
from pipelines.server.rules import findings
from xlrm.errors import ConfigError
from xlrm.run import experiment
from xlrm.store import addresses, provenance

ROOT = Path(__file__).parents[1]
CONFIG = """
name: mine
targets: [es, ko]
base: {model: phrasebook-tiny}
curate: {pairs: 64, preferences: [rows.jsonl], benchmark: phrasebook, prompts: phrasebook, parallel: phrasebook}
translate: {translator: phrasebook}
reward: {batch_size: 8, learning_rate: 5.0e-4}
align: {beta: 0.2}
"""
SERVED = ("translate.translator=x-alma", "translate.engine=endpoint")
"""What translates texts that are not the phrasebook's."""
Submit = Callable[..., tuple[int, str]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubeflow]:
    for name in (*kubeflow.TOKENS, "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(kubeflow, "PAUSES", (0.01,) * 4)
    monkeypatch.setattr(following, "POLL_SECONDS", 0.01)
    with serve() as found:
        yield found


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    for name in submission.PIPELINES:
        submission.compile_package(name, folder, placement.current())
    return folder


@pytest.fixture
def submit(
    server: Kubeflow, packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_store: S3Store
) -> Submit:
    """Exit code and what was said, of a submission of `mine.yaml` in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XLRM_STORE", s3_store.uri)
    monkeypatch.setattr(
        submission, "compile_package", lambda name, folder, _: Path(shutil.copy(packages / f"{name}.yaml", folder))
    )
    Path("mine.yaml").write_text(CONFIG)
    Path("rows.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str, pipeline: str = "retrain", host: str | None = None) -> tuple[int, str]:
        command = ["submit", "mine.yaml", *arguments, "--pipeline", pipeline, "--host", host or server.address]
        result = CliRunner().invoke(app, [*command, "--summary", "summary.md"])
        assert not result.exception or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    yield run
    signal.signal(signal.SIGTERM, before)


def summary() -> str:
    return Path("summary.md").read_text(encoding="utf-8")


def test_a_submission_uploads_a_version_and_starts_a_run(submit: Submit, server: Kubeflow) -> None:
    code, said = submit("reward.batch_size=16")
    assert code == 0, said
    (run,), (version,), (pipeline,) = server.runs.values(), server.versions.values(), server.pipelines.values()
    assert pipeline["display_name"] == "retrain"
    assert re.fullmatch(r"([0-9a-f]{12}|unknown)-[0-9a-f]{8}", version["display_name"])
    given = run["runtime_config"]["parameters"]
    assert given.keys() == {"experiment"}
    expected = experiment.load(Path("mine.yaml"), ("reward.batch_size=16",)).as_file()
    digest = hashlib.sha256(Path("rows.jsonl").read_bytes()).hexdigest()
    expected["curate"]["preferences"] = [f"{addresses.store()}/inputs/{digest}/rows.jsonl"]
    assert yaml.safe_load(given["experiment"]) == expected
    assert f"{server.address}/#/runs/details/{run['run_id']}" in said and "| content |" in summary()
    assert 0 < said.index("| total |") < said.index("started: "), "what it is estimated at comes first"
    assert "| reward | 1 reward models, 1 pairs each |" in summary()
    assert submit()[0] == 0 and len(server.runs) == 2
    assert len(server.uploaded) == 1 and len(server.experiments) == 1, "what is there is used again"
    assert submit(pipeline="cross_lingual_transfer")[0] == 0
    assert [one["display_name"] for one in server.pipelines.values()] == ["retrain", "cross-lingual-transfer"]


MADE = ("/experiments", "/pipelines", "/pipelines/upload_version", "/runs")


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done all the same"])
@pytest.mark.parametrize("status", [0, 500, 503], ids=["reset", "500", "503"])
@pytest.mark.parametrize("path", MADE)
def test_nothing_is_made_twice(submit: Submit, server: Kubeflow, path: str, status: int, done: bool) -> None:
    server.faults = [Fault("POST", path, status, done=done), Fault("GET", path, 502)]
    code, said = submit("--wait")
    assert code == 0 and "again in" in said, said
    held = (server.experiments, server.pipelines, server.versions, server.runs)
    assert [len(one) for one in held] == [1, 1, 1, 1]
    assert server.made(path) == (1 if done else 2)


def test_names_are_found_again_whatever_is_in_them(submit: Submit, server: Kubeflow) -> None:
    """The server decodes a filter once more than the URL it is in."""
    for name in ("a+b 50% of c%20d", 'ü "quoted"'):
        assert submit(f"name='{name}'")[0] == submit(f"name='{name}'")[0] == 0
    assert [one["display_name"] for one in server.experiments.values()] == ["a+b 50% of c%20d", 'ü "quoted"']


def test_a_pipeline_is_found_by_the_name_that_no_other_has(submit: Submit, server: Kubeflow) -> None:
    """Which is not the one it is shown under, where somebody uploaded it in the UI."""
    server.pipelines["1"] = {"pipeline_id": "1", "name": "retrain", "display_name": "Train again"}
    assert submit()[0] == 0
    assert [one["pipeline_id"] for one in server.versions.values()] == ["1"]


def test_a_name_that_something_unseen_has_is_refused(submit: Submit, server: Kubeflow) -> None:
    server.faults = [Fault("POST", "/pipelines", 409, "Already exist error: retrain") for _ in range(9)]
    code, said = submit()
    assert code == 2 and "error: pipeline retrain: 409 Already exist error: retrain, 5 times" in said


@pytest.mark.parametrize("path", ["/pipelines/upload_version", "/runs"])
def test_bad_input_that_the_server_calls_its_own_fault_is_refused_at_once(
    submit: Submit, server: Kubeflow, path: str
) -> None:
    message = "InternalServerError: failed to generate the ExecutionSpec: Invalid input error: unknown parameter"
    server.faults = [Fault("POST", path, 500, message)]
    code, said = submit()
    assert code == 2 and message in said and server.made(path) == 1


def test_a_server_that_is_slow_to_answer_makes_one_run(
    submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeflow, "REQUEST_SECONDS", (1, 0.2))
    server.faults = [Fault("POST", "/runs", seconds=0.4), Fault("GET", "/healthz", seconds=0.4)]
    code, said = submit("--wait")
    assert code == 0 and "run mine retrain" in said and "no answer: ReadTimeoutError" in said
    assert len(server.runs) == 1 and server.made("/runs") == 1


def test_a_server_that_keeps_failing_is_given_up(submit: Submit, server: Kubeflow) -> None:
    server.faults = [Fault("GET", "/experiments", 500, "database is locked") for _ in range(9)]
    code, said = submit("--wait")
    assert code == 5 and "error: the list of experiments: 500 database is locked, 5 times" in said
    assert not server.runs and "database is locked" in summary()
    assert submit(host="http://127.0.0.1:9")[0] == 5, "nobody listens there"


def test_an_upload_that_is_refused_says_what_the_server_said(submit: Submit, server: Kubeflow) -> None:
    message = "Failed to create a pipeline version: Invalid input error: unknown field imago"
    server.faults = [Fault("POST", "/pipelines/upload_version", 400, message)]
    code, said = submit("--wait")
    assert code == 2 and re.search(r"error: version \S+ of pipeline retrain: refused by the server: ", said)
    assert message in said and message in summary() and not server.runs
    assert server.made("/pipelines/upload_version") == 1, "a refusal stays one"


@pytest.mark.parametrize(("text", "value"), [("0s", 0), ("0.5h", 1800), ("90m", 5400), ("2d", 172800)])
def test_a_time(text: str, value: float) -> None:
    assert submission.seconds(text) == value


@pytest.mark.parametrize("text", ["", "12", "nan", "nans", "-1h", "1e3s", "inf", "1h30m", "h", "1 h"])
def test_what_is_no_time(text: str) -> None:
    with refused(ConfigError, "--timeout", text):
        submission.seconds(text)


def test_a_page_that_cannot_be_written_is_said_before_anything_is_started(submit: Submit, server: Kubeflow) -> None:
    Path("summary.md").mkdir()
    code, said = submit("--wait")
    assert code == 2 and "error: --summary summary.md: Is a directory" in said and not server.asked


def test_a_page_that_cannot_be_written_in_the_end_changes_no_code(
    submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow = following.follow

    def full(*arguments) -> following.Outcome:
        Path("summary.md").unlink()
        Path("summary.md").mkdir()
        return follow(*arguments)

    monkeypatch.setattr(following, "follow", full)
    code, said = submit("--wait")
    assert code == 0 and "the run succeeded" in said and "Is a directory" in said


def test_an_interruption_before_the_run_says_that_there_is_none(
    submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kubeflow.Server, "version", interrupted)
    code, said = submit("--wait")
    assert code == 130 and "interrupted; no run has been started" in said


# --if-changed


def test_nothing_is_started_when_nothing_has_changed(submit: Submit, server: Kubeflow) -> None:
    assert submit("--if-changed", "--wait")[0] == 0
    (run,) = server.runs.values()
    for arguments in ((), ("reward.batch_size=8",), ("align.beta=0.3",), ("reward.save_steps=7",)):
        code, said = submit("--if-changed", "--wait", *arguments)
        assert code == 0 and "nothing has changed" in said and run["run_id"] in said, arguments
    assert len(server.runs) == 1 and "nothing has changed" in summary()
    assert submit("--wait")[0] == 0 and len(server.runs) == 2, "without the option a run is a run"


def test_every_kind_of_change_starts_a_run(
    submit: Submit, server: Kubeflow, packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*arguments: str) -> bool:
        before = len(server.runs)
        assert submit("--if-changed", "--wait", *arguments)[0] == 0
        return len(server.runs) > before

    assert started() and not started()
    assert started("reward.batch_size=16") and started("targets=[es]"), "a setting"
    with Path("rows.jsonl").open("a") as file:
        file.write('{"prompt": "d", "chosen": "e", "rejected": "f"}\n')
    assert started() and not started(), "a byte of the data"
    version = provenance.code_version
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "code_version", lambda name: version(name) + ("x" if "reward" in name else ""))
        assert started() and not started(), "the code of one stage"
        patch.setattr(provenance, "code_version", lambda name: version(name) + ("x" if "align" in name else ""))
        assert not started(), "of a stage the pipeline does not have"
    image = packages / "retrain.yaml"
    other = tmp_path / "other" / "retrain.yaml"
    other.parent.mkdir()
    other.write_text(image.read_text().replace("xlrm-data:", "xlrm-data:next-"))
    monkeypatch.setattr(submission, "compile_package", lambda name, folder, _: other)
    assert started() and not started() and len(server.versions) == 2, "an image"


def test_only_success_counts_and_a_run_under_way_is_joined(submit: Submit, server: Kubeflow) -> None:
    server.states = ["FAILED"]
    assert [submit("--if-changed", "--wait")[0] for _ in range(2)] == [1, 1] and len(server.runs) == 2
    server.states = ["RUNNING"]
    assert submit("--if-changed")[0] == 0 and len(server.runs) == 3
    list(server.runs.values())[-1]["left"] = ["RUNNING", "SUCCEEDED"]
    code, said = submit("--if-changed", "--wait")
    assert code == 0 and "of the same content is already running" in said and len(server.runs) == 3
    server.states = ["RUNTIME_STATE_UNSPECIFIED"]
    assert submit("--if-changed", "reward.batch_size=16")[0] == 0 and len(server.runs) == 4
    list(server.runs.values())[-1]["state"] = "RUNTIME_STATE_UNSPECIFIED"
    code, said = submit("--if-changed", "reward.batch_size=16")
    assert code == 0 and "already running" in said and "started" not in said and len(server.runs) == 4, "not yet begun"
    list(server.runs.values())[-1]["state"] = "CANCELING"
    assert submit("--if-changed", "reward.batch_size=16")[0] == 0 and len(server.runs) == 5, "ends, and not well"


def test_a_branch_of_the_hub_is_pinned_to_its_commit(
    submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    server.commits = {"me/mine": "1" * 40, "NVIDIA/HelpSteer2": "2" * 40}
    sets = (
        "curate.preferences=[helpsteer2=me/mine, 'hub:me/mine:part', phrasebook]",
        *SERVED,
        "--if-changed",
        "--wait",
    )

    def preferences() -> list[str]:
        given = list(server.runs.values())[-1]["runtime_config"]["parameters"]
        return yaml.safe_load(given["experiment"])["curate"]["preferences"]

    assert submit(*sets)[0] == 0
    first = [f"helpsteer2=me/mine@{'1' * 40}", f"hub:me/mine:part@{'1' * 40}", "phrasebook"]
    assert preferences() == first
    assert "nothing has changed" in submit(*sets)[1]
    server.commits["me/mine"] = "3" * 40
    assert submit(*sets)[0] == 0 and len(server.runs) == 2, "new data"
    assert preferences()[0] == f"helpsteer2=me/mine@{'3' * 40}"
    server.commits = {}
    code, said = submit(*sets)
    assert code == 0 and "assumed to be unchanged: me/mine: " in said and len(server.runs) == 2


def test_one_set_that_cannot_be_seen_hides_no_change_of_another(
    submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    server.commits = {"me/seen": "1" * 40, "NVIDIA/HelpSteer2": "2" * 40}
    sets = ("curate.preferences=['hub:me/seen', 'hub:me/unseen']", *SERVED, "--if-changed", "--wait")
    assert submit(*sets)[0] == 0
    code, said = submit(*sets)
    assert code == 0 and "assumed to be unchanged: me/unseen: " in said and len(server.runs) == 1
    server.commits["me/seen"] = "3" * 40
    assert submit(*sets)[0] == 0 and len(server.runs) == 2


# Who may, and what with


def test_a_token_is_used_and_never_shown(submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    server.token = "token-of-the-test"
    code, said = submit()
    assert code == 2 and "401 Unauthenticated" in said and "KFP_API_TOKEN" in said
    monkeypatch.setenv("KFP_API_TOKEN", server.token)
    server.faults = [Fault("POST", "/runs", 500)]
    code, said = submit("--wait")
    assert code == 0, said
    held = json.dumps([server.runs, server.versions], default=str)
    assert not [text for text in (said, summary(), held) if server.token in text]
    assert submit(f"register.prefix={server.token}")[1].count("error: KFP_API_TOKEN: ") == 1
    assert len(server.runs) == 1


@pytest.mark.parametrize("secret", ['pass"word\\', "ends in a line\n"])
def test_a_secret_is_found_however_it_is_written(
    submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("registry_password", secret)
    code, said = submit(f"curate.preferences=[{json.dumps('hub:me/' + secret.strip())}]")
    assert code == 2 and "error: registry_password: " in said and not server.asked
    assert secret.strip() not in said


def test_a_token_may_end_in_a_line_and_must_be_one(
    submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "token-of-the-test"
    monkeypatch.setenv("KFP_API_TOKEN", f"{server.token}\n")
    assert submit()[0] == 0
    monkeypatch.setenv("KFP_API_TOKEN", "two\nlines")
    code, said = submit()
    assert code == 2 and "error: KFP_API_TOKEN: " in said and "two" not in said


def test_a_file_of_a_token_has_to_be_there(
    submit: Submit, server: Kubeflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file))
    code, said = submit()
    assert code == 2 and f"KF_PIPELINES_SA_TOKEN_PATH='{file}': " in said
    file.write_text("first-token")
    start = kubeflow.Server.start

    def gone(self: kubeflow.Server, run):
        made = start(self, run)
        file.unlink()
        return made

    monkeypatch.setattr(kubeflow.Server, "start", gone)
    monkeypatch.setattr(following, "OUTAGE_SECONDS", 0)
    code, said = submit("--wait")
    assert code == 5 and "No such file" in said and "the run continues: http" in said


def test_a_token_from_a_file_is_read_again(
    submit: Submit, server: Kubeflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "first-token"
    file = tmp_path / "token"
    file.write_text("first-token")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file))
    look = kubeflow.Server.run

    def expired(self: kubeflow.Server, run_id: str):
        server.token = "second-token"
        file.write_text("second-token")
        return look(self, run_id)

    monkeypatch.setattr(kubeflow.Server, "run", expired)
    assert submit("--wait")[0] == 0


def test_a_server_of_several_users_wants_a_namespace(submit: Submit, server: Kubeflow) -> None:
    server.multi_user = True
    code, said = submit()
    assert code == 2 and "--namespace: this server has several users" in said
    assert submit("--wait", "--namespace", "xlrm")[0] == 0
    for held in (server.experiments, server.pipelines):
        assert [one["namespace"] for one in held.values()] == ["xlrm"]
    server.multi_user = False
    assert submit("--wait", "--namespace", "xlrm")[0] == 0, "and one of one user refuses one"


def test_a_page_to_log_in_at_is_recognised(submit: Submit, server: Kubeflow) -> None:
    server.page = "<html>Log in to Dex</html>"
    code, said = submit()
    assert code == 2 and "does not answer as Kubeflow Pipelines does" in said and "token" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--timeout", "12"), "--timeout='12': "),
        (("--schedule", "every day"), "--schedule='every day': "),
        (("--schedule", "0 3 * * 1", "--wait"), "--schedule='0 3 * * 1': "),
        (("--host", "kubeflow.example.org"), "an address that begins with https://"),
        (("reward.epoch=1",), "reward.epoch=1: "),
        (("--pipeline", "align"), "--pipeline='align': "),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(
    submit: Submit, server: Kubeflow, arguments: tuple[str, ...], said: str
) -> None:
    command = ["submit", "mine.yaml", "--host", server.address, *arguments]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and said in result.output, result.output
    assert not server.asked


def test_without_an_address_there_is_nothing_to_submit_to(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    result = CliRunner().invoke(app, ["submit", "mine.yaml"])
    assert result.exit_code == 2 and "KF_PIPELINES_ENDPOINT" in result.output


# Schedules


def test_a_schedule_is_made_once_and_replaces_the_one_before(submit: Submit, server: Kubeflow) -> None:
    server.faults = [Fault("POST", "/recurringruns", 500, done=True)]
    for _ in range(2):
        assert submit("--schedule", "0 3 * * 1")[0] == 0
    (first,) = server.recurring_runs.values()
    assert first["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1" and first["mode"] == "ENABLE"
    assert yaml.safe_load(first["runtime_config"]["parameters"]["experiment"])["name"] == "mine" and not server.runs
    code, said = submit("--schedule", "0 0 4 * * 1")
    assert code == 0 and f"switched off: {first['display_name']}" in said
    assert [one["mode"] for one in server.recurring_runs.values()] == ["DISABLE", "ENABLE"]
    assert submit("--schedule", "0 3 * * 1")[0] == 0
    assert [one["mode"] for one in server.recurring_runs.values()] == ["ENABLE", "DISABLE"], "and back again"


# As it is


def test_an_interrupted_wait_says_that_the_run_goes_on(submit: Submit, server: Kubeflow) -> None:
    """The command in a process of its own, which is ended as continuous integration ends a job."""
    server.states = ["RUNNING"]
    command = [sys.executable, "-m", "pipelines", "submit", "mine.yaml", "--wait", "--summary", "summary.md"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KF_PIPELINES_ENDPOINT": server.address}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any("run_details" in run for run in server.runs.values()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    address, said = process.communicate(timeout=30)
    assert re.fullmatch(r"\S+/#/runs/details/\S+\n", address), "the result alone, as soon as there is one"
    assert process.returncode == 130 and "interrupted; a run that has been started continues" in said
    assert "interrupted" in summary() and "/#/runs/details/" in summary()


def test_the_key_knows_the_stages_of_a_package(packages: Path) -> None:
    loaded = experiment.load(ROOT / "configs" / "demo_short.yaml")
    found = changes.sections(packages / "retrain.yaml", loaded)
    assert found == ["base", "curate", "evaluate", "plan", "register", "report", "reward", "translate", "validate"]
    assert {"align", "report", *found} <= {*changes.sections(packages / "cross_lingual_transfer.yaml", loaded)}


# The pipeline that retrains


def test_a_server_would_take_the_package_and_it_is_the_reviewed_one(packages: Path) -> None:
    assert findings(load_package(packages / "retrain.yaml")) == []
    found, expected = (flat(read_without_sdk(folder / "retrain.yaml")) for folder in (packages, GOLDEN))
    changed = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
    assert not changed, f"`{REGENERATE}`, then review the diff: {changed[:8]}"
