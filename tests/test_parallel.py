"""Scoring in several processes: the same rewards, and one line for a process that ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from refusals import refused
from sampled import answered
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from benchmarks import workload
from xlrm.cli import app
from xlrm.errors import ArtifactError, ConfigError
from xlrm.evaluation import reward_table
from xlrm.models import chat_templates
from xlrm.scorers import engines, fingerprints, interface, parallel
from xlrm.scorers.interface import Scoring
from xlrm.scorers.parallel import ParallelScorer
from xlrm.scorers.reward_journal import Journal
from xlrm.stages import evaluate, rank
from xlrm.store.jsonl import write_jsonl

PAIRS = workload.pairs(9)
ROWS = [{"prompt": row["prompt"], "response": text} for row in PAIRS for text in row["responses"]]
CHATS = [chat_templates.conversation(**row) for row in ROWS]
TWO = Scoring(max_length=300, processes=2)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_thread_each():
    """So that rewards are equal, and not only by 1e-5."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "2")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    workload.save_model(folder, SimpleNamespace(hidden=128, layers=2))
    return folder


@pytest.fixture(scope="module")
def expected(model) -> list[float]:
    """Rewards by plain transformers, one conversation at a time, cut by the tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(model, truncation_side="left")
    network = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32).eval()
    rewards = []
    for chat in CHATS:
        text = tokenizer.apply_chat_template(chat, tokenize=False)
        ids = tokenizer(text, truncation=True, max_length=300, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            rewards.append(float(network(ids).logits[0, 0]))
    return rewards


@pytest.fixture(scope="module")
def scorer(model) -> ParallelScorer:
    found = parallel.load(model, TWO)
    assert isinstance(found, ParallelScorer)
    return found


def children(scorer: ParallelScorer) -> list[int]:
    launcher = scorer.group.process.pid
    return [int(pid) for file in Path(f"/proc/{launcher}/task").glob("*/children") for pid in file.read_text().split()]


def test_rewards_are_those_of_one_process_and_of_plain_transformers(scorer, model, expected) -> None:
    assert len(children(scorer)) == 2
    rewards = scorer.score(CHATS)
    assert rewards == engines.load(model, TWO).score(CHATS)
    assert rewards == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.1
    assert scorer.cut and scorer.cut == [
        i for i, row in enumerate(ROWS) if sum(len(row[key].split()) for key in row) + 3 > 300
    ]


def test_both_processes_work(scorer) -> None:
    """Each gets a batch first, whatever the other does."""
    ticks = [cpu_seconds(pid) for pid in children(scorer)]
    scorer.score(CHATS * 3)
    assert all(cpu_seconds(pid) > before for pid, before in zip(children(scorer), ticks, strict=True))


def cpu_seconds(pid: int) -> float:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def test_evaluate_and_rank_give_what_one_process_gives(model, tmp_path) -> None:
    items = [
        {"id": f"{i}", "subset": "s", "section": "s", "prompt": row["prompt"]}
        | dict(zip(("chosen", "rejected"), row["responses"], strict=True))
        for i, row in enumerate(PAIRS)
    ]
    (tmp_path / "corpora" / "en").mkdir(parents=True)
    write_jsonl(tmp_path / "corpora" / "en" / "benchmark.jsonl", items)
    samples = [answered(f"{i}", row["prompt"], row["responses"]) for i, row in enumerate(PAIRS)]
    (tmp_path / "samples" / "0" / "train").mkdir(parents=True)
    write_jsonl(tmp_path / "samples" / "0" / "train" / "en.jsonl", samples)
    tables, metrics, pairs = [], [], []
    for processes in (1, 2):
        output = tmp_path / str(processes) / "output"
        how = {"max_length": 300, "processes": processes}
        metrics.append(
            evaluate.run(evaluate.Config(**how), model=model, corpora=tmp_path / "corpora", output=output / "evaluate")
        )
        tables.append(reward_table.read(output / "evaluate" / reward_table.FILE)["en"])
        config = rank.Config(language="en", labelers=("en",), **how)
        rank.run(config, samples=[tmp_path / "samples"], reward_models=[model], output=output / "rank")
        pairs.append((output / "rank" / "en.jsonl").read_text())
    assert tables[0] == tables[1] and metrics[0] == metrics[1] and pairs[0] == pairs[1]
    assert len(tables[0]) == len(PAIRS) and metrics[0]["cut/en"] > 0


def test_score_continues_where_a_killed_process_stopped_it(model, expected, tmp_path, monkeypatch) -> None:
    """With any number of processes; and nothing of the first attempt still runs."""
    monkeypatch.setattr(interface, "WINDOW", 5)
    write_jsonl(tmp_path / "in.jsonl", ROWS)
    through, seen = ParallelScorer.computed, []

    def computed(self, batches):
        if len(seen) == 2:
            os.kill(children(self)[0], signal.SIGKILL)
        seen.extend(children(self)[:1])
        return through(self, batches)

    monkeypatch.setattr(ParallelScorer, "computed", computed)
    arguments = ["score", "--model", model, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"]
    arguments += ["--max-length", 300, "--batch-tokens", 256]
    result = CliRunner().invoke(app, [*map(str, arguments), "--processes", "2"])
    assert result.exit_code == 2 and not (tmp_path / "out.jsonl").exists()
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert "processes=2" in line
    (journal,) = [path for path in tmp_path.iterdir() if ".out.jsonl." in path.name and path.suffix != ".lock"]
    assert journal.stat().st_size >= 8 * 10, "two windows of five, and batches of the third"
    assert not any(Path(f"/proc/{pid}").exists() for pid in seen)
    assert CliRunner().invoke(app, [*map(str, arguments), "--processes", "1"]).exit_code == 0
    scored = [json.loads(text) for text in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["reward"] for row in scored] == pytest.approx(expected, abs=1e-5)


def test_an_error_of_a_process_is_raised_here(model, tmp_path) -> None:
    fingerprints.write(tmp_path, engines.load(model, Scoring()))
    content = json.loads((tmp_path / "fingerprint.json").read_text())
    content["probes"][3]["reward"] += 100
    for path in model.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "fingerprint.json").write_text(json.dumps(content))
    with refused(ArtifactError, tmp_path):
        parallel.load(tmp_path, TWO)


def test_processes_end_with_the_scorer(model) -> None:
    scorer = parallel.load(model, TWO)
    pids, folder = [scorer.group.process.pid, *children(scorer)], scorer.group.folder
    assert all(Path(f"/proc/{pid}").exists() for pid in pids) and folder.exists()
    del scorer
    assert gone(pids) and not folder.exists()


def test_a_signal_removes_what_the_processes_share(model, tmp_path) -> None:
    rows = [{"prompt": row["prompt"], "response": text} for row in workload.pairs(400) for text in row["responses"]]
    write_jsonl(tmp_path / "in.jsonl", rows)
    command = [
        sys.executable,
        "-m",
        "xlrm.cli",
        "score",
        "--model",
        model,
        "--input",
        "in.jsonl",
        "--output",
        "out.jsonl",
    ]
    given = [*map(str, command), "--processes", "2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(given, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as started:
        for _ in range(600):
            if any(path.stat().st_size for path in tmp_path.glob(".out.jsonl.*.journal")):
                break
            time.sleep(0.1)
        assert list(tmp_path.glob("xlrm-score-*"))
        started.terminate()
        assert started.wait(30) == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("xlrm-score-*"))


def test_a_killed_command_leaves_no_process(model) -> None:
    code = f"""
import sys, test_parallel
scorer = test_parallel.parallel.load(test_parallel.Path({str(model)!r}), test_parallel.TWO)
print(scorer.group.process.pid, *test_parallel.children(scorer), flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code]
    paths = os.pathsep.join(sys.path)
    environment = os.environ | {"PYTHONPATH": paths}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout
        pids = next(line.split() for line in started.stdout if line[:1].isdigit())
        assert len(pids) == 3 and all(Path(f"/proc/{pid}").exists() for pid in pids)
        started.kill()
    assert gone(pids)


def gone(pids: Sequence[object]) -> bool:
    """Whether all processes end within ten seconds."""
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.1)
    return False


def test_a_journal_is_of_what_the_rewards_depend_on(tmp_path) -> None:
    def journal(model: str = "model", **how) -> Path:
        return Journal.of_file(tmp_path / "out.jsonl", model, Scoring(**how)).path

    assert journal() == journal(processes=3) == journal(device="cpu") == journal(batch_tokens=256)
    others = [{"precision": "bfloat16"}, {"max_length": 300}, {"truncation_side": "right"}, {"engine": "vllm"}]
    others += [{"precision": "bfloat16", "batch_tokens": 256}, {"model": "retrained"}]
    assert len({journal(), *(journal(**how) for how in others)}) == 7


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="there are GPUs")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there(device: str, tmp_path) -> None:
    with refused(ConfigError, "device", device):
        engines.check(tmp_path, Scoring(device=device))
