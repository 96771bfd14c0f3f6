"""The commands: what they print, write and refuse. Each runs as a user runs it, in a process of its own or in this one."""

import json
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
import typer
from rich import markup
from typer.testing import CliRunner

from xlrm import __version__
from xlrm.cli import app
from xlrm.evaluation import reward_table
from xlrm.models import loading
from xlrm.scorers import interface
from xlrm.scorers.engines import TransformersScorer
from xlrm.store import hub
from xlrm.tracking import mlflow_client, mlflow_registry, mlflow_runs

ROWS = [
    {"prompt": "How much is one plus two?", "response": "Three.", "note": "kept"},
    {"messages": [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Let me see."}]},
    {"prompt": "What color is snow?", "response": "White."},
]


@pytest.fixture
def model(tiny_base, tmp_path):
    folder = tmp_path / "model"
    tokenizer = loading.load_tokenizer(tiny_base)
    loading.new_reward_model(tiny_base, tokenizer, seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write(path, rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_score_keeps_rows_and_order_and_adds_the_reward(model, tmp_path) -> None:
    write(tmp_path / "in.jsonl", ROWS)
    result = run("score", "--model", model, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 0, result.output
    scored = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k != "reward"} for row in scored] == ROWS
    assert len({row["reward"] for row in scored}) == 3


def test_interrupted_scoring_is_gone_on_with_and_leaves_no_trace(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(interface, "WINDOW", 2)
    given, whole, cut = (tmp_path / name for name in ("in.jsonl", "whole.jsonl", "cut.jsonl"))
    write(given, ROWS * 2)
    assert run("score", "--model", model, "--input", given, "--output", whole).exit_code == 0
    seen: list[int] = []

    def computed(self, batches, through=TransformersScorer.computed):
        seen.append(sum(map(len, batches)))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return through(self, batches)

    monkeypatch.setattr(TransformersScorer, "computed", computed)
    assert run("score", "--model", model, "--input", given, "--output", cut).exit_code != 0
    assert not cut.exists() and len(list(tmp_path.glob(".cut.jsonl.*"))) == 1
    assert run("score", "--model", model, "--input", given, "--output", cut).exit_code == 0
    assert cut.read_bytes() == whole.read_bytes() and seen[0] == 2 and not list(tmp_path.glob(".cut.jsonl.*"))
    write(given, ROWS)
    assert run("score", "--model", model, "--input", given, "--output", cut).exit_code == 0
    assert len(cut.read_text().splitlines()) == len(ROWS)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("not json\n", "in.jsonl:1: "),
        ('{"prompt": "p", "response": "r"}\n[1]\n', "in.jsonl:2=[1]: "),
        ('{"prompt": "p"}\n', "in.jsonl:1=['prompt']: "),
        ('{"messages": [{"role": "user"}]}\n', "in.jsonl:1: messages={'role': 'user'}: "),
        ('{"messages": [{"role": "user", "content": "x"}]}\n', "in.jsonl:1: role='user': "),
        (None, "in.jsonl: "),
    ],
)
def test_an_unreadable_row_is_one_line_and_nothing_is_written(model, tmp_path, content, place) -> None:
    if content is not None:
        (tmp_path / "in.jsonl").write_text(content)
    result = run("score", "--model", model, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 2
    assert place in result.output and "Traceback" not in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("wrong", ["/nosuch/model", "models:/nosuch@champion", "file:///nosuch/reward/abc"])
def test_a_model_that_is_not_there(tmp_path, wrong) -> None:
    write(tmp_path / "in.jsonl", ROWS)
    result = run("score", "--model", wrong, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert (result.exit_code, f"error: {wrong}: " in result.output) == (2, True), result.output
    assert not (tmp_path / "out.jsonl").exists()


def test_evaluate_on_a_file_of_ones_own(model, tmp_path) -> None:
    write(tmp_path / "mine.jsonl", [{"prompt": f"p{i}", "chosen": "yes it is", "rejected": "no"} for i in range(6)])
    given = ("--model", model, "--benchmark", tmp_path / "mine.jsonl", "--output", tmp_path / "out", "--log", "mine")
    result = run("evaluate", *given)
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "out").iterdir()
    found = json.loads((folder / "results.json").read_text())
    assert found["items"] == 6 and found["length_baseline"]["average"] == 1.0
    assert 0 <= found["accuracy"]["average"] <= 1
    assert found["random_baseline"]["average"] == 0.5 and found["ties"] == 0
    kept = reward_table.read(folder / reward_table.FILE, "mine")["en"]
    assert len(kept) == 6 and all(len(row["chosen"]) == len(row["rejected"]) == 1 for row in kept)
    client = mlflow_client.client()
    (logged,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert logged.data.metrics["accuracy/en/average"] == found["accuracy"]["average"]


def test_results_say_what_was_measured_and_how(model, tmp_path) -> None:
    rows = [{"prompt": f"p{i}", "chosen": "yes " * i, "rejected": "no"} for i in range(1, 41)]
    for code in ("en", "ko"):
        write(tmp_path / f"mine-{code}.jsonl", rows)
    given = (
        "evaluate",
        "--model",
        model,
        "--benchmark",
        tmp_path / "mine-{language}.jsonl",
        "--output",
        tmp_path / "out",
    )
    result = run(*given, "--language", "en,ko", "--items", 30, "--max-length", 32)
    assert result.exit_code == 0, result.output
    digest = hub.folder_digest(model)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"model-{digest[:8]}--mine--{code}" for code in ("en", "ko")
    }
    kept = tmp_path / "out" / f"model-{digest[:8]}--mine--ko"
    found = json.loads((kept / "results.json").read_text())
    assert found["model"] == {"given": str(model), "resolved": str(model), "digest": digest}
    assert found["benchmark"] == {"given": str(tmp_path / "mine-{language}.jsonl"), "available": 40}
    assert (found["items"], found["language"], found["tie_policy"], found["xlrm"]) == (30, "ko", "lost", __version__)
    assert found["scoring"] == {
        "max_length": 32, "truncation_side": "left", "precision": "float32", "engine": "transformers",
    }  # fmt: skip
    assert found["cut"] > 0 and len(found["rows_digest"]) == 64
    assert abs(datetime.now(UTC) - datetime.fromisoformat(found["date"])) < timedelta(minutes=5)
    taken = {row["id"] for row in reward_table.read(kept / reward_table.FILE, "mine")["ko"]}
    assert len(taken) == 30 and taken != {f"mine-ko-{i}" for i in range(30)}, "drawn by a seed, not the first"


def test_an_evaluation_never_overwrites_another_one(model, tmp_path) -> None:
    write(tmp_path / "mine.jsonl", [{"prompt": f"p{i}", "chosen": "yes", "rejected": "no"} for i in range(4)])
    given = ("evaluate", "--model", model, "--benchmark", tmp_path / "mine.jsonl", "--output", tmp_path / "out")
    assert run(*given).exit_code == 0
    (folder,) = (tmp_path / "out").iterdir()
    before = (folder / "results.json").read_bytes()
    other = run(*given, "--max-length", 64)
    assert other.exit_code == 2 and f"--output='{folder}': " in other.output and "scoring" in other.output
    write(tmp_path / "mine.jsonl", [{"prompt": "p", "chosen": "yes", "rejected": "no"}])
    changed = run(*given)
    assert changed.exit_code == 2 and "rows_digest" in changed.output
    assert (folder / "results.json").read_bytes() == before


def test_evaluate_on_best_of_n_with_ties_of_ones_choice(model, tmp_path) -> None:
    rows = [{"prompt": f"p{i}", "chosen": ["yes"], "rejected": ["no", "none"]} for i in range(4)]
    rows += [{"prompt": "p", "chosen": "yes", "rejected": "yes"}]
    write(tmp_path / "mine.jsonl", rows)
    given = ("evaluate", "--model", model, "--benchmark", tmp_path / "mine.jsonl", "--output", tmp_path / "out")
    result = run(*given, "--ties", "half")
    assert result.exit_code == 0, result.output
    assert "1 with equal rewards (half)" in " ".join(result.output.split())
    (folder,) = (tmp_path / "out").iterdir()
    found = json.loads((folder / "results.json").read_text())
    assert found["random_baseline"]["average"] == pytest.approx((4 / 3 + 1 / 2) / 5) and found["tie_policy"] == "half"
    refused = run(*given, "--ties", "maybe")
    assert refused.exit_code == 2 and "--ties='maybe': " in refused.output


def test_evaluate_on_a_benchmark_that_is_not_there(model, tmp_path) -> None:
    result = run("evaluate", "--model", model, "--benchmark", "nosuch", "--output", tmp_path / "out")
    assert result.exit_code == 2 and "error: benchmark='nosuch': " in result.output
    assert not (tmp_path / "out").exists()


def test_registered_models_are_listed_scored_and_pulled(model, tmp_path) -> None:
    with mlflow_runs.run("test", "register", {}, {}) as opened:
        tags = {"digest": "abc", "metric.accuracy/en/average": "0.91"}
        for _ in range(2):
            version = mlflow_registry.add_version("xlrm-test-en", [model], tags, "A model.", opened)
    mlflow_registry.set_alias("xlrm-test-en", version, "champion")
    listed = run("models").output.splitlines()
    assert listed == [
        "models:/xlrm-test-en@champion  version 2  en/average 0.910", "models:/xlrm-test-en/1  version 1  en/average 0.910",
    ]  # fmt: skip
    pulled = tmp_path / "pulled"
    assert run("pull", "models:/xlrm-test-en@champion", pulled).exit_code == 0
    assert {path.name for path in pulled.iterdir()} == {path.name for path in model.iterdir()} | {"files.json"}
    refused = run("pull", "models:/xlrm-test-en@champion", pulled)
    assert refused.exit_code == 2 and f"FOLDER='{pulled}': " in refused.output
    write(tmp_path / "in.jsonl", ROWS)
    rewards = []
    for uri in (model, pulled, "models:/xlrm-test-en@champion", "models:/xlrm-test-en/1"):
        out = tmp_path / "out.jsonl"
        result = run("score", "--model", uri, "--input", tmp_path / "in.jsonl", "--output", out)
        assert result.exit_code == 0, result.output
        rewards.append([json.loads(line)["reward"] for line in out.read_text().splitlines()])
    assert all(found == rewards[0] for found in rewards)


def test_nothing_registered(home) -> None:
    result = run("models")
    assert result.exit_code == 0 and "no registered models" in result.output


def test_pull_wants_a_registered_name(tmp_path) -> None:
    result = run("pull", "xlrm-demo-en", tmp_path / "x")
    assert result.exit_code == 2 and "models:/NAME@ALIAS" in result.output


def test_a_stage_prints_its_artifacts_uri(home) -> None:
    curated = run(
        "stage",
        "curate",
        "preferences=[phrasebook]",
        "pairs=32",
        "benchmark=phrasebook",
        "benchmark_items=28",
        "prompts=phrasebook",
        "train_prompts=8",
        "eval_prompts=8",
    )
    assert curated.exit_code == 0, curated.output
    uri = curated.output.split()[-1]
    assert uri.startswith(f"file://{home}/store/curate/")
    translated = run("stage", "translate", "language=ko", "translator=phrasebook", "--input", f"corpus={uri}")
    assert translated.exit_code == 0, translated.output
    validated = run(
        "stage", "validate", "--input", f"source={uri}", "--inputs", f"translations={translated.output.split()[-1]}"
    )
    assert validated.exit_code == 0, validated.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch",), "stage='nosuch': "),
        (("curate", "pairs"), "'pairs': "),
        (("curate", "pairs=[1"), "pairs='[1': "),
        (("curate", "pairs=0"), "curate.pairs=0: "),
    ],
)
def test_a_stage_with_wrong_arguments(home, arguments, message) -> None:
    result = run("stage", *arguments)
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
    assert not (home / "store").exists()


def test_doctor_names_what_is_missing(monkeypatch) -> None:
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert "artifact store" in result.output and "vllm" in result.output
    monkeypatch.setenv("XLRM_STORE", "ftp://nowhere")
    broken = run("doctor")
    assert broken.exit_code == 2 and "XLRM_STORE" in broken.output


def test_doctor_does_not_wait_for_a_server_that_is_down(monkeypatch) -> None:
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed.getsockname()[1]}")
        started = time.monotonic()
        found = run("doctor")
    assert found.exit_code == 2 and "MLFLOW_TRACKING_URI" in found.output and "Traceback" not in found.output
    assert time.monotonic() - started < 60, "MLflow's own patience is three minutes"


def test_help_starts_fast_and_without_heavy_libraries() -> None:
    code = "import sys; from xlrm.cli import app; print([m for m in ('torch', 'mlflow', 'kfp', 'pandas') if m in sys.modules])"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands))
def test_help_shows_what_is_in_brackets(name: str) -> None:
    parameters = typer.main.get_command(app).commands[name].params
    helps = [text for parameter in parameters if (text := getattr(parameter, "help", None))]
    assert [markup.render(text).plain for text in helps] == [text.replace("\\[", "[") for text in helps]


def test_a_wrong_experiment_ends_the_pipeline_command_with_one_line(tmp_path, home) -> None:
    (tmp_path / "wrong.yaml").write_text("reward:\n  lerning_rate: 1\n")
    command = [sys.executable, "-m", "pipelines", "run", str(tmp_path / "wrong.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "wrong.yaml: reward.lerning_rate" in done.stderr and "learning_rate" in done.stderr
    assert "Traceback" not in done.stderr and not (home / "store").exists()


def test_a_stage_is_given_the_fields_of_sections_as_its_help_names_them() -> None:
    assert "pretraining.documents" in run("stage", "base", "--help").output
    result = run("stage", "base", "model=phrasebook-tiny", "pretraining.layers=1", "pretraining.documents=5")
    assert result.exit_code == 2 and "base.pretraining.documents=5" in result.output


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["sheet", "nowhere", "--output", "sheet.csv"], "JUDGED='nowhere': no such folder"),
        (
            ["sheet", "file:///no/store/judge/1", "--output", "sheet.csv"],
            "JUDGED: file:///no/store/judge/1: no artifact",
        ),
        (["sheet", ".", "--output", "sheet.csv"], "verdicts.jsonl: no such file"),
        (["sheet", "nowhere", "--output", "sheet.txt"], "--output='sheet.txt': no such form"),
        (
            ["report", "page.html", "--artifact", "nowhere"],
            "--artifact='nowhere': the URI of an artifact",
        ),
        (
            ["report", "page.html", "--artifact", "file:///no/store/report/1"],
            "--artifact: file:///no/store/report/1: no artifact",
        ),
        (["report", "page.pdf"], "OUTPUT='page.pdf': no such form"),
    ],
)
def test_a_wrong_input_is_named_in_one_line(arguments, error, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2 and line.startswith(f"error: {error}"), line
    assert not list(tmp_path.glob("*"))
