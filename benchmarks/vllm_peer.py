"""vLLM as a contestant: runs in an environment that has it beside this project's base and train dependencies.

    python -m benchmarks.vllm_peer score MODEL DTYPE LENGTH

Scores the pairs in each line of standard input with the pooling runner, and prints the time taken. The prefix cache is
empty at the beginning of each line. The engine computes in this process, so that processor time is its own.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import memory
from benchmarks.workload import conversations

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def score(model: str, dtype: str, length: str) -> None:
    """Prints `seconds`, `rewards` of (chosen, rejected) and `peak` in MiB above idle, for each line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # any other output goes to standard error
    from xlrm.models import vllm_engine
    from xlrm.scorers import engines
    from xlrm.scorers.interface import Scoring

    start = vllm_engine._start  # by default vLLM takes a GPU for itself
    vllm_engine._start = lambda asked: start(asked | {"gpu_memory_utilization": 0.4})
    settings = {"engine": "vllm", "precision": dtype, "max_length": int(length)}
    scorer: Any = engines.load(Path(model), Scoring.model_validate(settings))
    for line in sys.stdin:
        asked = json.loads(line)
        pairs = [{"prompt": pair["prompt"], "responses": [pair["chosen"], pair["rejected"]]} for pair in asked["pairs"]]
        chats = conversations(pairs)
        scorer._engine.reset_prefix_cache()
        memory.reset_peak()
        idle, clock = memory.held(), CLOCKS[asked["clock"]]
        begun = clock()
        rewards = scorer.score(chats)
        seconds = clock() - begun
        both = list(zip(rewards[::2], rewards[1::2], strict=True))
        answers.write(json.dumps({"seconds": seconds, "rewards": both, "peak": memory.peak() - idle}) + "\n")
        answers.flush()


if __name__ == "__main__":
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    {"score": score}[sys.argv[1]](*sys.argv[2:])
