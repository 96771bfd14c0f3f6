"""Sampling n responses to each prompt with vLLM: the code of the stage `sample` beside vLLM alone.

    PYTHON -m benchmarks.sampling_speed [--model FOLDER] [--pairs PROMPTS] [--samples 64] [--tokens 64] [--dtype bfloat16]

PYTHON has vLLM and this project's dependencies. Both use one engine in turns; vLLM alone gets the prompts' token ids and
`SamplingParams(n=...)`. A round has other seeds and an empty prefix cache. `of_vllm` is the ratio of written tokens per
second, `cached` the share of prompt tokens from the prefix cache. Exits with 1 if its median is below 0.95.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import contest, record, workload

GOAL = 0.95
SHARED = 384
"""Tokens of a prompt: three blocks of vLLM's cache on a CPU, which shares whole blocks alone."""


class Sampled(NamedTuple):
    seconds: float
    written: int
    read: int
    """Tokens of the prompts, counted for each response."""
    cached: int | None = None
    """Those of them from the prefix cache; None for vLLM alone, which reports one of the n responses."""

    @property
    def figures(self) -> dict[str, float]:
        share = {} if self.cached is None else {"cached": self.cached / self.read}
        return {"seconds": self.seconds, "tokens_per_second": self.written / self.seconds} | share


def prompts(options: argparse.Namespace) -> list[str]:
    rows = workload.of_options(workload.pairs(60), options)
    words = [word for row in rows for word in row["prompt"].split()]
    return [" ".join(words[start * SHARED : (start + 1) * SHARED]) for start in range(options.pairs)]


def alone(engine: Any, asked: list[str], options: argparse.Namespace) -> Callable[[int], Sampled]:
    """vLLM alone, as its documentation samples several completions of a prompt."""
    import vllm

    llm, encoded = engine._engine(), engine.model.encode(engine.tokenizer, asked)

    def run(seed: int) -> Sampled:
        parameters = vllm.SamplingParams(n=options.samples, temperature=1.0, max_tokens=options.tokens, seed=seed)
        given: Any = [{"prompt_token_ids": ids} for ids in encoded]
        seconds, outputs = contest.timed(lambda: llm.generate(given, parameters, use_tqdm=False), options)
        written = sum(len(answer.token_ids) for output in outputs for answer in output.outputs)
        read = options.samples * sum(map(len, encoded))
        return Sampled(seconds, written, read)

    return run


def stage(
    engine: Any, asked: list[str], options: argparse.Namespace, folder: Path, work: Path
) -> Callable[[int], Sampled]:
    """The same responses by the code of the stage, with its saving of responses."""
    from xlrm.models import sampling, vllm_engine

    generate, cached = vllm_engine.generate, []

    def counted(llm: Any, encoded: Any, parameters: Any, each: Callable[[int, Any], None]) -> None:
        def tell(place: int, output: Any) -> None:
            cached.append(output.num_cached_tokens or 0)
            each(place, output)

        generate(llm, encoded, parameters, tell)

    def run(seed: int) -> Sampled:
        settings = sampling.Settings(
            engine="vllm",
            precision=options.dtype,
            max_new_tokens=options.tokens,
            context=engine.context.tokens,
            seed=seed,
        )
        (own := work / str(seed)).mkdir()
        policy = sampling.Policy(folder, settings, engine, own / "output")
        cached.clear()
        vllm_engine.generate = counted  # type: ignore[assignment]
        try:
            seconds, _ = contest.timed(lambda: policy.respond(asked, options.samples, judged=False), options)
        finally:
            vllm_engine.generate = generate
        return Sampled(seconds, policy.tokens[1], policy.tokens[0], sum(cached))

    return run


def measure(options: argparse.Namespace, root: Path) -> dict[str, Any]:
    import torch

    from xlrm.models import generation, loading

    torch.set_num_threads(options.threads)
    workload.save_model(folder := root / "model", options, policy=True)
    context = loading.Context("context", 1024 + options.tokens)
    engine = generation.Vllm(generation.Model(str(folder), own=True), context, options.dtype)
    asked = prompts(options)
    runs = {"vllm": alone(engine, asked, options), "stage": stage(engine, asked, options, folder, root)}
    rounds: dict[str, list[Sampled]] = {name: [] for name in runs}
    for number in range(options.rounds + 1):
        for name, run in runs.items():
            engine._engine().reset_prefix_cache()
            sampled = run(number)
            if number:  # the first is the warm-up
                rounds[name].append(sampled)
                print(f"{name}: {sampled.figures}", file=sys.stderr, flush=True)
    engine.close()
    rates = {name: [one.written / one.seconds for one in made] for name, made in rounds.items()}
    return {
        "prompts": len(asked), "samples": options.samples,
        "of_vllm": [mine / bare for mine, bare in zip(rates["stage"], rates["vllm"], strict=True)],
        "rounds": {name: [one.figures for one in made] for name, made in rounds.items()},
    }  # fmt: skip


def parser() -> argparse.ArgumentParser:
    found = contest.parser(__doc__, count=2)
    found.add_argument("--samples", type=int, default=64)
    found.add_argument("--tokens", type=int, default=64, help="most tokens of a response")
    return found


def main() -> int:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    options = parser().parse_args()
    if options.clock == "processor":
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # so that the time of the engine is this process's
    with tempfile.TemporaryDirectory() as name:
        os.environ["XLRM_HOME"] = str(Path(name) / "home")
        figures = measure(options, Path(name))
    ratio = median(figures["of_vllm"])
    print(json.dumps(figures, indent=1))
    missed = [f"{ratio:.2f} of vLLM alone, and {GOAL} is the goal"] if ratio < GOAL else []
    record.write("benchmarks.sampling_speed", options, figures, missed)
    print("\n".join(f"missed: {line}" for line in missed) or "every goal met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
