"""Kills the sampling of a policy at random moments and runs it again, on the same machine and on an empty one: how many
responses are generated twice, and are the bytes those of a run that nothing stopped?

python -m benchmarks.sampling_resume [--prompts 48] [--kills 2] [--json FILE]
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import record
from xlrm.data import catalog
from xlrm.store.jsonl import write_jsonl
from xlrm.training.pretraining import Pretraining, pretrain

STAGE = """
import json, sys
from pathlib import Path
from xlrm.models.transformers_engine import Transformers
from xlrm.stages import sample

batch, log = Transformers._batch, Path(sys.argv[4])

def noted(engine, encoded, seeds, decoding):
    completions = batch(engine, encoded, seeds, decoding)
    with log.open("a") as file:
        file.write("".join(f"{seed}\\n" for seed in seeds))
    return completions

Transformers._batch = noted
config = sample.Config(**json.loads(sys.argv[5]))
sample.run(config, policies=[Path(sys.argv[1])], corpora=Path(sys.argv[2]), output=Path(sys.argv[3]))
"""
"""Samples, and notes the seed of each response that is generated; seeds differ."""
SAMPLES = 4


def run(work: Path, home: str, store: str, settings: dict) -> subprocess.Popen:
    output = work / home / "work/sample/key/output"
    given = [work / "policy", work / "corpora", output, work / f"{home}-{store}.log", json.dumps(settings)]
    addresses = {"XLRM_HOME": str(work / home), "XLRM_STORE": f"file://{work / store}"}
    command = [sys.executable, "-c", STAGE, *map(str, given)]
    return subprocess.Popen(command, env=os.environ | addresses, stderr=subprocess.DEVNULL)


def generated(work: Path, home: str, store: str) -> list[str]:
    """Seeds of the responses generated so far."""
    log = work / f"{home}-{store}.log"
    return log.read_text().split() if log.is_file() else []


def kill_at(work: Path, home: str, store: str, settings: dict, count: int) -> int:
    """Kills a run some time after `count` responses; returns how many were generated."""
    process = run(work, home, store, settings)
    while process.poll() is None and len(generated(work, home, store)) < count:
        time.sleep(0.002)
    time.sleep(random.random() * 0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return len(generated(work, home, store))


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--kills", type=int, default=2)
    arguments: argparse.Namespace = parser.parse_args()
    random.seed(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pretrain(Pretraining(documents=200, languages=("en", "es")), work / "policy")
        prompts = catalog.load(catalog.PROMPTS, "phrasebook", "en", arguments.prompts, 0, ("prompt",)).rows
        write_jsonl(work / "corpora/en/prompts.jsonl", prompts)
        settings = {"languages": ["en"], "samples": SAMPLES, "max_new_tokens": 24, "batch_size": 4}
        assert run(work, "whole", "whole", settings).wait() == 0
        every = len(generated(work, "whole", "whole"))
        for number in range(arguments.kills):
            same = number % 2 == 0
            store, first = f"store{number}", f"first{number}"
            before = kill_at(work, first, store, settings, random.randrange(16, every - 32))
            second = first if same else f"second{number}"
            assert run(work, second, store, settings).wait() == 0
            after = len(generated(work, second, store)) - (before if same else 0)
            name = "work/sample/key/output/0/train/en.jsonl"
            equal = (work / second / name).read_bytes() == (work / "whole" / name).read_bytes()
            rows.append(
                {"machine": "the same" if same else "empty", "before": before, "after": after,
                 "twice": before + after - every, "equal": equal}
            )  # fmt: skip
            print(f"killed after {before} of {every} responses; continued on {rows[-1]['machine']} machine: "
                  f"{rows[-1]['twice']} generated twice; bytes equal: {equal}")  # fmt: skip
    record.write(__spec__.name, arguments, {"responses": every, "batch": settings["batch_size"], "kills": rows})


if __name__ == "__main__":
    main()
