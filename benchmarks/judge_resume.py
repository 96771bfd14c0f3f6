"""Kills a judge half way and runs it again: how many questions are asked twice?

python -m benchmarks.judge_resume
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.served_translations import serving
from xlrm.rows import write_jsonl

STAGE = """
import sys
from pathlib import Path
from xlrm.stages import external
config = external.Config(models=("served=judge",))
external.run(config, corpora=Path(sys.argv[1]), output=Path(sys.argv[2]))
"""


def _start(folder: Path, home: str, address: str, output: str) -> subprocess.Popen:
    (folder / output).mkdir()
    environment = os.environ | {"XLRM_HOME": str(folder / home), "OPENAI_BASE_URL": address}
    environment.pop("XLRM_STORE", None)
    return subprocess.Popen([sys.executable, "-c", STAGE, str(folder), str(folder / output)], env=environment)


def measure(items: int, share: float) -> dict[str, float]:
    """Questions asked until the kill at `share` of them, and after it, and whether the verdicts are those of one go."""
    rows = (
        {
            "id": str(i),
            "prompt": f"Question {i}?",
            "chosen": f"Yes, {i}.",
            "rejected": "No.",
            "subset": "s",
            "section": "S",
        }
        for i in range(items)
    )
    with tempfile.TemporaryDirectory() as name, serving(lambda *_: ("[[A]]", "stop"), read=str) as server:
        folder = Path(name)
        write_jsonl(folder / "en" / "benchmark.jsonl", rows)
        killed = _start(folder, "home", server.address, "killed")
        while sum(server.asked.values()) < share * items and killed.poll() is None:
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        time.sleep(0.5)
        before = sum(server.asked.values())
        assert _start(folder, "home", server.address, "resumed").wait() == 0
        after = sum(server.asked.values()) - before
        assert _start(folder, "other", server.address, "whole").wait() == 0
        one, other = ((folder / out / "judge" / "verdicts.jsonl").read_bytes() for out in ("resumed", "whole"))
    return {
        "questions": items, "asked before": before, "asked after": after, "asked twice": before + after - items,
        "same as in one go": one == other,
    }  # fmt: skip


if __name__ == "__main__":
    for key, value in measure(items=14_925, share=0.5).items():
        print(f"{key:18} {value}")
