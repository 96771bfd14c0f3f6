"""vLLM where it is installed, for GPUs or for CPUs: the same answers as transformers', and nothing left of its processes. What
can be seen without it: an engine's life, with a package of that name whose engine is a process that waits for ever."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
from refusals import refused
from sampled import answered

from benchmarks import family_models
from xlrm.errors import ConfigError
from xlrm.models import chat_templates, generation, loading, vllm_engine
from xlrm.models.decoding import Decoding
from xlrm.models.loading import Context
from xlrm.scorers import engines
from xlrm.scorers.interface import Scoring
from xlrm.stages import rank
from xlrm.store.jsonl import write_jsonl
from xlrm.training.pretraining import Pretraining, pretrain

STAND_IN = """
import multiprocessing, time, types, weakref

class SamplingParams(types.SimpleNamespace):
    pass

def work(model):
    print("working on", model, flush=True)
    time.sleep(600)

class LLM:
    def __init__(self, **options):
        self.options = options
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=work, args=(options["model"],))
        self.process.start()
        print("engine", self.process.pid, flush=True)
        self.finalizer = weakref.finalize(self, self.process.terminate)
        self.asked = {}
        self.llm_engine = self.engine_core = self

    def shutdown(self):
        print("ended", self.options["model"], flush=True)
        self.finalizer()
        self.process.join()
"""
"""As vLLM: a child that is no daemon, and a finalizer that ends it."""
SCRIPT = """
import weakref
other = type("Other", (), {})()
weakref.finalize(other, int)  # as SQLAlchemy and urllib3 do: before multiprocessing is imported
import sys, time
from xlrm.models import vllm_engine

if __name__ == "__main__":
    for model in sys.argv[2:]:
        engine = vllm_engine.running(model, 64, "float32")
        assert engine is vllm_engine.running(model, 64, "float32")
    if sys.argv[1] == "raises":
        raise SystemExit(3)
    if sys.argv[1] == "waits":
        time.sleep(600)
"""


@pytest.fixture
def script(tmp_path) -> Path:
    (tmp_path / "vllm.py").write_text(STAND_IN)
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path / "script.py"


def start(script: Path, *arguments: str) -> subprocess.Popen:
    path = os.pathsep.join([str(script.parent), str(Path(__file__).parents[1])])
    command = [sys.executable, str(script), *arguments]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether the process has ended, or does so in that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("how", "status"), [("ends", 0), ("raises", 3)])
def test_a_process_ends_with_its_engines_one_after_the_other(script, how, status) -> None:
    process = start(script, how, "one", "two")
    said, _ = process.communicate(timeout=60)
    lines = [line for line in said.splitlines() if not line.startswith("working")]
    pids = [int(line.split()[1]) for line in lines if line.startswith("engine")]
    assert process.returncode == status and len(pids) == 2
    assert [line.split()[0] for line in lines] == ["engine", "ended", "engine", "ended"]
    assert lines[1::2] == ["ended one", "ended two"]
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_does_not_outlive_a_killed_process(script, number) -> None:
    process = start(script, "waits", "one")
    pid = int(process.stdout.readline().split()[1])
    assert process.stdout.readline() == "working on one\n"
    process.send_signal(number)
    assert process.wait(10) == -number
    assert gone(pid)
    process.stdout.close()


@pytest.mark.parametrize(("owner", "expected"), [(os.getpid(), signal.SIGKILL), (None, 0)], ids=["own", "other"])
def test_processes_of_other_programs_are_left_alone(monkeypatch, owner, expected) -> None:
    if owner:
        monkeypatch.setenv(vllm_engine._OWNER, str(owner))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_signal_at_parents_end) == expected


def test_a_process_whose_owner_is_gone_by_then_ends_at_once(monkeypatch) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setenv(vllm_engine._OWNER, str(gone.pid))
    assert subprocess.run([sys.executable, "-c", "import xlrm; print('still here')"], check=False).returncode == 1


def _signal_at_parents_end() -> int:
    import ctypes

    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(found))  # PR_GET_PDEATHSIG
    return found.value


def test_a_context_above_the_models_is_one_line(tiny_base, tmp_path) -> None:
    """Wherever the model is to be computed, and before it is loaded by vLLM; a default gives way."""
    folder = reward_model(tiny_base, tmp_path / "rm")
    write_jsonl(tmp_path / "samples/0/train/en.jsonl", [answered("1", "One?", ["One.", "Two."])])
    for engine in ("vllm", "transformers"):
        config = rank.Config(language="en", labelers=("en",), max_length=8192, engine=engine)
        with refused(ConfigError, "max_length", 8192):
            rank.run(config, samples=[tmp_path / "samples"], reward_models=[folder], output=tmp_path / "w" / "output")
    assert engines.load(folder, Scoring(max_length=8192)).max_length == 4096
    for kind in (generation.Vllm, generation.Transformers):
        engine = kind(generation.Model(str(tiny_base)), context=Context("judge.context", 16384, given=True))
        with refused(ConfigError, "judge.context", 16384):
            engine.complete(["One."], 1, Decoding(4))
        assert kind(generation.Model(str(tiny_base)), context=Context("judge.context", 16384)).limit == 4096


def test_vllm_is_sent_all_that_decides_on_a_token(tiny_base) -> None:
    engine = generation.Vllm(generation.Model(str(tiny_base)))
    sent = engine._parameters(Decoding(6000, temperature=0.6, top_p=0.9, top_k=5, repetition_penalty=1.1), 100, 7)
    ends = [loading.load_tokenizer(tiny_base).eos_token_id]
    assert sent == {
        "max_tokens": 3996, "temperature": 0.6, "top_p": 0.9, "top_k": 5, "repetition_penalty": 1.1, "seed": 7,
        "stop_token_ids": ends, "detokenize": False,
    }  # fmt: skip


def reward_model(base: Path, folder: Path, seed: int = 1) -> Path:
    tokenizer = loading.load_tokenizer(base)
    loading.new_reward_model(base, tokenizer, seed=seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Wide enough for vLLM's kernels."""
    pytest.importorskip("vllm")
    folder = tmp_path_factory.mktemp("base")
    pretrain(Pretraining(layers=2, width=128, documents=100), folder)
    return folder


@pytest.fixture
def small(monkeypatch) -> None:
    """vLLM for CPUs takes most of the memory unless it is told."""
    for name, value in {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_CI_ENV": "1", "VLLM_NO_USAGE_STATS": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("gpu", "more", "expected"),
    [
        (False, {}, {"enable_chunked_prefill": False}), (False, {"runner": "pooling"}, {}), (True, {}, {}),
    ],
)  # fmt: skip
def test_prompts_are_split_where_seeds_allow_it(monkeypatch, gpu, more, expected) -> None:
    """A generator of a CPU cannot be set back, and rewards have no seed."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    assert vllm_engine._whole_prompts({"model": "m"} | more) == expected


@pytest.mark.slow
def test_the_fields_are_vllms() -> None:
    vllm = pytest.importorskip("vllm")
    how = generation.Vllm(generation.Model("m"))
    how.limit, how.ends = 512, [1]
    sent = how._parameters(Decoding(9), 3, 7)
    made = vllm.SamplingParams(**sent)
    assert {name: getattr(made, name) for name in sent} == sent


@pytest.mark.slow
def test_answers_and_rewards_are_those_of_transformers(base, small, tmp_path) -> None:
    model, prompts = generation.Model(str(base)), [f"Name {i} numbers." for i in range(8)]
    ours, theirs = (
        [one for many in kind(model, precision="float32").complete(prompts, 2, Decoding(12)) for one in many]
        for kind in (generation.Transformers, generation.Vllm)
    )
    assert [one.text for one in theirs] == [one.text for one in ours]
    assert [(one.whole, one.tokens) for one in theirs] == [(one.whole, one.tokens) for one in ours]
    chats = [chat_templates.conversation(f"Name {i} numbers.", "One. " * (i % 5 + 1)) for i in range(40)]
    for seed in (1, 2):  # the second engine ends the first
        folder = reward_model(base, tmp_path / str(seed), seed)
        ours, theirs = (
            engines.load(folder, Scoring(max_length=512, engine=engine)).score(chats)
            for engine in ("transformers", "vllm")
        )
        assert theirs == pytest.approx(ours, abs=1e-3) and len(set(ours)) > 30
    processes = multiprocessing.active_children()
    assert processes
    vllm_engine.end()
    assert not any(one.is_alive() for one in processes)


WIDE = {
    "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo2", "phi3", "bert", "roberta",
        "pad is EOS, packed", "no pad, packed", "BOS by template and bos", "bfloat16 in several files, qwen3",
    ],
)  # fmt: skip
def test_rewards_of_a_family_are_those_of_plain_transformers(small, tmp_path, name: str) -> None:
    pytest.importorskip("vllm")
    model = family_models.MODELS[name]
    folder = family_models.build(tmp_path, replace(model, changes=model.changes | WIDE))
    rewards = engines.load(folder, Scoring(max_length=256, engine="vllm")).score(family_models.CHATS)
    assert rewards == pytest.approx(family_models.plain(folder), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, signal.SIGTERM, signal.SIGKILL], ids=["end", "SIGTERM", "SIGKILL"])
def test_a_stage_leaves_no_process_of_vllm(base, small, tmp_path, number) -> None:
    """After more tokens of prompts than a step of the engine holds, each with a seed of its own."""
    code = f"""
    import mlflow, sqlalchemy, sys
    from xlrm.models import generation
    from xlrm.models.decoding import Decoding
    from xlrm.processes import signals
    if __name__ == "__main__":
        with signals.ended_by_signals():
            prompts = [f"{{i}}: " + "Name the numbers. " * 20 for i in range(128)]
            engine = generation.Vllm(generation.Model({str(base)!r}), precision="float32")
            answers = engine.complete(prompts, 1, Decoding(2, temperature=1.0))
            assert len(answers) == 128 and not any(answer.refused for answer, in answers)
            print("answered", flush=True)
            sys.stdin.readline()
    """
    (tmp_path / "stage.py").write_text(textwrap.dedent(code))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, str(tmp_path / "stage.py")], env=environment, **pipes)
    while (line := process.stdout.readline()) != "answered\n":
        assert line, "it ended before"
    started = _descendants(process.pid)
    assert started
    if number:
        process.send_signal(number)
    else:
        process.stdin.close()
    assert process.wait(60) == {0: 0, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert all(gone(pid) for pid in started)
    process.stdout.close()


def _descendants(pid: int) -> set[int]:
    children = {
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    }
    return children.union(*map(_descendants, children))
