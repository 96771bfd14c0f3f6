"""What vLLM computes beside transformers, for every use that this project makes of it: sampling, translation, a judge's
log-probabilities, rewards, and vLLM's own server as a judge and for the rewards of a registered model.

    make check-vllm        # or PYTHON -m benchmarks.vllm_parity [--model FOLDER] [--chunk TOKENS] [--json FILE]

PYTHON has vLLM and this project's dependencies. All in float32, with the code of the stages, or as docs/serving.md and
docs/external.md start a server. Prompts of a few tokens and a very long one are computed together, three times by the
same engine: with chunked prefill, in steps of `chunk` tokens, and with the prefix cache. The reward model is the base
with a head from a seed. Exits with 1 if a text or verdict differs, or a number by more than `TOLERANCE`.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import record
from xlrm.models import chat_templates, generation, loading, sampling
from xlrm.scorers.judges.pairs import Judgement, Pair

TOLERANCE = 1e-4
PASSES = 3
SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_CI_ENV": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
"""vLLM for CPUs takes most of the memory unless it is told; a cache of 1 GiB, a start without warm-up."""
SERVED = "vllm-parity"
Row = dict[str, str]
Chat = list[dict[str, Any]]


@dataclass(frozen=True)
class Parity:
    """Comparison for one use."""

    use: str
    n: int
    """Answers of vLLM that were compared, of all passes together."""
    equal: int | None
    """Equal texts, or verdicts; None where there are only numbers."""
    difference: float | None
    """Largest difference of a number; None where there are only texts."""
    spread: float | None
    """Standard deviation of transformers' numbers, for comparison with the difference."""
    seconds: float
    """Seconds of vLLM with its start, and of transformers."""

    @property
    def passed(self) -> bool:
        texts = self.equal is None or self.equal == self.n
        return texts and (self.difference is None or self.difference <= TOLERANCE)

    def __str__(self) -> str:
        texts = "" if self.equal is None else f"{self.equal} of {self.n}"
        numbers = ("", "") if self.difference is None else (f"{self.difference:.1e}", f"{self.spread:.2f}")
        return f"{self.use:34} {self.n:5}  {texts:>11}  {numbers[0]:>12}  {numbers[1]:>6}  {self.seconds:7.0f}"


def compared(
    use: str, ours: Sequence[Any], passes: Sequence[Sequence[Any]], since: float, numbers: bool = False
) -> Parity:
    """`ours`: transformers' answers, texts or `numbers`; `passes`: vLLM's, in the same order, for each pass."""
    pairs = [pair for theirs in passes for pair in zip(ours, theirs, strict=True)]
    seconds = time.monotonic() - since
    if not numbers:
        return Parity(use, len(pairs), sum(mine == other for mine, other in pairs), None, None, seconds)
    import numpy as np

    difference = max(abs(mine - other) for mine, other in pairs)
    return Parity(use, len(pairs), None, difference, float(np.std(ours)), seconds)


@dataclass(frozen=True)
class Work:
    """What is computed, and where."""

    base: Path
    folder: Path
    """Folder for files that are not kept."""
    rows: list[Row]
    """Short rows with prompt, chosen and rejected, and a long one in their middle."""
    chunk: int
    """Tokens in a step of vLLM."""
    context: int
    tokens: int
    """New tokens of a response."""

    @property
    def prompts(self) -> list[str]:
        return [row["prompt"] for row in self.rows]

    @property
    def chats(self) -> list[Chat]:
        sides = [(row["prompt"], row[side]) for row in self.rows for side in ("chosen", "rejected")]
        return [chat_templates.conversation(*both) for both in sides]

    def pairs(self, count: int) -> list[Pair]:
        return [
            Pair.of(str(i), row["prompt"], row["chosen"], row["rejected"], language="en")
            for i, row in enumerate(self.rows[:count])
        ]


def rows_of(count: int, words: int) -> list[Row]:
    """`count` pairs of the phrasebook in English, and in their middle one whose prompt has `words` words."""
    from xlrm.data.catalog import load_pairs

    rows = [
        {side: row[side] for side in ("prompt", "chosen", "rejected")}
        for row in load_pairs("phrasebook", "en", count, 0).rows
    ]
    text = " ".join(row["prompt"] for row in rows).split()
    long = " ".join((text * math.ceil(words / len(text)))[:words])
    rows.insert(count // 2, {"prompt": long, "chosen": "Let us begin with the first question.", "rejected": "No."})
    return rows


def tiny_base(folder: Path) -> Path:
    """A base model of two layers, wide enough for vLLM's kernels (heads of 32), pretrained for seconds."""
    from xlrm.training.pretraining import Pretraining, pretrain

    pretrain(Pretraining(layers=2, width=128, documents=100), folder)
    return folder


@contextmanager
def chunked(chunk: int) -> Iterator[list[Any]]:
    """Context in which vLLM's engines have chunked prefill in steps of `chunk` tokens, and a prefix cache; the engines
    started in it."""
    import vllm

    made, started = vllm.LLM, []

    def start(**options: Any) -> Any:
        more: dict[str, Any] = {"enable_chunked_prefill": True, "enable_prefix_caching": True, "enforce_eager": True}
        engine = made(**options | more, max_num_batched_tokens=chunk, max_num_seqs=min(64, chunk))
        used = engine.llm_engine.vllm_config
        assert used.scheduler_config.enable_chunked_prefill and used.scheduler_config.max_num_batched_tokens == chunk
        assert used.cache_config.enable_prefix_caching
        started.append(engine)
        return engine

    vllm.LLM = start
    try:
        yield started
    finally:
        vllm.LLM = made


def responses(policy: sampling.Policy, work: Path, prompts: list[str]) -> list[tuple[str, bool]]:
    """Greedy responses by the code of the stage `sample`: text, and whether the model ended it."""
    own = replace(policy, work=work / "output")
    work.mkdir(parents=True)
    return [(each.text, each.whole) for (each,) in own.respond(prompts, 1, judged=True)]


def sampled(work: Work, engine: str, passes: int) -> list[list[tuple[str, bool]]]:
    settings = sampling.Settings.model_validate(
        {"engine": engine, "max_new_tokens": work.tokens, "context": work.context, "batch_size": 4}
    )
    model, context = generation.Model(str(work.base), own=True), loading.Context("context", work.context)
    made = generation.make_engine(settings.engine, model, context, settings.precision, settings.batch_size)
    policy = sampling.Policy(work.base, settings, made, work.folder)
    return [responses(policy, work.folder / f"{engine}{number}", work.prompts) for number in range(passes)]


def translated(work: Work, engine: str, passes: int) -> list[list[str | None]]:
    """Greedy translations of the short prompts by the translator of the stage `translate`; None for one that was cut."""
    from xlrm.languages import find
    from xlrm.translation import translators

    settings = translators.Settings.model_validate(
        {
            "translator": str(work.base), "engine": engine, "precision": "float32", "context": work.context,
            "max_new_tokens": work.tokens,
        }
    )  # fmt: skip
    translator = translators.load(settings, find("en", "source"), find("es", "target"))
    texts = [text for text in work.prompts if len(text) < settings.longest_segment]
    return [[each.text for each in translator.complete(texts, 0, lambda *_: None)] for _ in range(passes)]


def judged(work: Work, judge: str, engine: str | None, prompt: str, count: int) -> Sequence[Judgement]:
    """Verdicts in both orders, by the code of the stage `judge`."""
    from xlrm.scorers.judges import table

    settings = table.Settings.model_validate(
        {
            "judge": judge,
            "engine": engine,
            "prompt": prompt,
            "precision": "float32",
            "context": work.context,
            "parallel": 8,
        }
    )
    return table.judge(judge, settings, work.pairs(count), "en").judgements


def preferences(judgements: Sequence[Judgement]) -> list[float]:
    """Preferences in all orders; 0 for an unreadable verdict."""
    return [value or 0.0 for judgement in judgements for value in judgement.preferences]


def scored(folder: Path, engine: str, work: Work, passes: int) -> list[list[float]]:
    from xlrm.scorers import engines
    from xlrm.scorers.interface import Scoring

    scorer = engines.load(folder, Scoring.model_validate({"engine": engine, "max_length": work.context}))
    return [scorer.score(work.chats) for _ in range(passes)]


def reward_model(base: Path, folder: Path) -> Path:
    tokenizer = loading.reward_tokenizer(base)
    loading.new_reward_model(base, tokenizer, seed=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def registered(folder: Path) -> Path:
    """The folder as it is fetched from the registry, after it was registered there."""
    from xlrm.store import artifacts
    from xlrm.tracking import mlflow_registry, mlflow_runs

    with mlflow_runs.run("vllm-parity", "register", {}, {}) as opened:
        tags = {"digest": artifacts.digest_directory(folder)[0]}
        number = mlflow_registry.add_version(SERVED, [folder], tags, "A head from a seed.", opened)
    mlflow_registry.set_alias(SERVED, number, "champion")
    return mlflow_registry.cached(f"models:/{SERVED}@champion")


@contextmanager
def server(folder: Path, log: Path, *options: object, seconds: float = 600) -> Iterator[str]:
    """Address of vLLM's own server for a model, with the name `SERVED`; its processes end with the context. Exits with
    the end of its log if it does not start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        folder,
        "--served-model-name",
        SERVED,
    ]
    command += ["--host", "127.0.0.1", "--port", port, *options]
    with log.open("w") as written:
        process = subprocess.Popen(list(map(str, command)), stdout=written, stderr=written, start_new_session=True)
    try:
        end = time.monotonic() + seconds
        while not _healthy(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"vLLM's server does not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        _end(process)


def _end(process: subprocess.Popen) -> None:
    """Ends a process that leads a group, and what is left of the group after a minute."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(60)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def classified(address: str, chats: list[Chat], passes: int) -> list[list[float]]:
    """Rewards by the server's /classify, eight requests at a time."""

    def ask(chat: Chat) -> float:
        body = json.dumps({"model": SERVED, "messages": chat}).encode()
        request = urllib.request.Request(f"{address}/classify", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as reply:
            return float(json.loads(reply.read())["data"][0]["probs"][0])

    with ThreadPoolExecutor(8) as pool:
        return [list(pool.map(ask, chats)) for _ in range(passes)]


def answers(work: Work, judge_pairs: int) -> Iterator[Parity]:
    """Sampling, translation and a judge, by one engine in this process and by transformers."""
    from xlrm.models import vllm_engine

    since = time.monotonic()
    judge = f"self-taught={work.base}"
    with chunked(work.chunk) as started:
        texts = sampled(work, "vllm", PASSES)
        yield compared("sampling, greedy", sampled(work, "transformers", 1)[0], texts, since)
        since = time.monotonic()
        translations = translated(work, "vllm", PASSES)
        yield compared("translation, greedy", translated(work, "transformers", 1)[0], translations, since)
        since = time.monotonic()
        asked = judged(work, judge, "vllm", "dialog", judge_pairs)
        assert len(started) == 1, "one engine is for all three"
    vllm_engine.end()
    ours = preferences(judged(work, judge, "transformers", "dialog", judge_pairs))
    yield compared("judge in process, preference", ours, [preferences(asked)], since, numbers=True)
    since = time.monotonic()
    options = (
        "--dtype",
        "float32",
        "--max-model-len",
        work.context,
        "--max-num-batched-tokens",
        work.chunk,
        "--enforce-eager",
    )
    with server(work.base, work.folder / "judge.log", *options) as address:
        os.environ["OPENAI_BASE_URL"] = f"{address}/v1"
        served = judged(work, f"served={SERVED}", None, "dialog", judge_pairs)
    yield compared("served judge, preference", ours, [preferences(served)], since, numbers=True)


def rewards(work: Work) -> Iterator[Parity]:
    """The pooling runner in this process, and the server with a registered model, beside transformers."""
    from xlrm.models import vllm_engine

    since = time.monotonic()
    folder = reward_model(work.base, work.folder / "rm")
    with chunked(work.chunk):
        theirs = scored(folder, "vllm", work, PASSES)
    vllm_engine.end()
    (ours,) = scored(folder, "transformers", work, 1)
    yield compared("rewards, pooling runner", ours, theirs, since, numbers=True)
    since = time.monotonic()
    options = ("--runner", "pooling", "--dtype", "float32", "--max-model-len", work.context, "--enforce-eager")
    with server(
        registered(folder), work.folder / "rewards.log", *options, "--max-num-batched-tokens", work.chunk
    ) as address:
        served = classified(address, work.chats, PASSES)
    yield compared("registered model, /classify", ours, served, since, numbers=True)


def parser() -> argparse.ArgumentParser:
    options = record.parser(__doc__)
    options.add_argument("--model", type=Path, help="instruct model in a folder; without it a tiny one is made")
    options.add_argument("--chunk", type=int, default=128, help="tokens in a step of vLLM")
    options.add_argument("--rows", type=int, default=8, help="short prompts")
    options.add_argument("--words", type=int, default=800, help="words of the long prompt")
    options.add_argument("--context", type=int, default=4096)
    options.add_argument("--tokens", type=int, default=16, help="new tokens of a response")
    options.add_argument("--judge-pairs", type=int, default=4)
    options.add_argument("--only", choices=("generation", "rewards"), help="leave out the other part")
    return options


def measure(options: argparse.Namespace, folder: Path) -> Iterator[Parity]:
    base = options.model or tiny_base(folder / "base")
    work = Work(base, folder, rows_of(options.rows, options.words), options.chunk, options.context, options.tokens)
    if options.only != "rewards":
        yield from answers(work, options.judge_pairs)
    if options.only != "generation":
        yield from rewards(work)


def main() -> int:
    options = parser().parse_args()
    os.environ |= {name: value for name, value in SETTINGS.items() if name not in os.environ}
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # engines in this process, which saves their imports
    results = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["XLRM_HOME"] = str(Path(name) / "home")
        for parity in measure(options, Path(name)):
            results.append(parity)
            print(parity, file=sys.stderr, flush=True)
    print(f"{'float32':34} {'n':>5}  {'equal texts':>11}  {'max |diff.|':>12}  {'spread':>6}  seconds")
    print(*results, sep="\n")
    missed = [each.use for each in results if not each.passed]
    record.write(__spec__.name, options, {"measured": [asdict(each) for each in results]}, missed)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
