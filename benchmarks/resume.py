"""Kills a translation half way and runs it again, on the same machine and on an empty one: how much is translated
twice?

python -m benchmarks.resume [--json FILE]
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import record
from benchmarks.served_translations import Server, serving
from xlrm.data.corpus_schema import Description
from xlrm.store.jsonl import write_jsonl

STAGE = """
import sys
from pathlib import Path
from xlrm.stages import translate
config = translate.Config(language="es", translator="served", engine="endpoint", repairs=0)
translate.run(config, corpus=Path(sys.argv[1]), output=Path(sys.argv[2]))
"""
ENGLISH = "Report {} says that the old house on the hill was sold to a family from the north."
SPANISH = "El informe {} dice que la vieja casa de la colina fue vendida a una familia del norte."
BLOCK = 256
"""Segments sent to an endpoint at once; after a kill, those of the unfinished block are sent again."""


def _answer(text: str, _: dict) -> tuple[str, str]:
    time.sleep(0.002)
    return SPANISH.format(text.split()[1]), "stop"


def _corpus(folder: Path, rows: int) -> int:
    """Writes `rows` pairs with 30 lines each, and returns the number of segments."""

    def text(first: int, lines: int) -> str:
        return "\n".join(ENGLISH.format(1_000_000 + first + i) for i in range(lines))

    pairs = (
        {"id": str(i), "prompt": text(30 * i, 1), "chosen": text(30 * i + 1, 14), "rejected": text(30 * i + 15, 15)}
        for i in range(rows)
    )
    write_jsonl(folder / "preferences.jsonl", pairs)
    Description(language="en").write(folder)
    return 30 * rows


def kill_and_resume(stage: str, folder: Path, server: Server, kill_at: float, home: str = "home") -> tuple[int, int]:
    """(requests before a kill after `kill_at` of them, requests of the run that continues). The second run has the
    same store and the local state `home`, which is empty unless it is "home"; its output is `resumed`. Then an
    uninterrupted run with an empty store and state writes `whole`. `stage` is a program that takes an input and an
    output folder."""

    def start(home: str, store: str, output: str) -> subprocess.Popen:
        (folder / output).mkdir()
        addresses = {"XLRM_HOME": str(folder / home), "XLRM_STORE": f"file://{folder / store}"}
        environment = os.environ | addresses | {"OPENAI_BASE_URL": server.address}
        return subprocess.Popen([sys.executable, "-c", stage, str(folder), str(folder / output)], env=environment)

    def asked() -> int:
        return sum(server.asked.values())

    killed = start("home", "store", "killed")
    while asked() < kill_at and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    time.sleep(0.5)
    before = asked()
    assert start(home, "store", "resumed").wait() == 0
    after = asked() - before
    assert start("other", "another", "whole").wait() == 0
    return before, after


def measure(rows: int, share: float, home: str = "home") -> dict[str, float]:
    """Segments requested before and after a kill at `share` of them, and whether the result equals that of an
    uninterrupted run."""
    with tempfile.TemporaryDirectory() as name, serving(_answer) as server:
        folder = Path(name)
        segments = _corpus(folder, rows)
        before, after = kill_and_resume(STAGE, folder, server, share * segments, home)
        one, other = ((folder / output / "preferences.jsonl").read_bytes() for output in ("resumed", "whole"))
    return {
        "segments": segments, "asked before": before, "asked after": after, "under way": BLOCK,
        "same as in one go": one == other,
    }  # fmt: skip


def parser() -> argparse.ArgumentParser:
    return record.parser(__doc__)


def main() -> None:
    options = parser().parse_args()
    found = {}
    for home in ("home", "elsewhere"):
        found[home] = measure(rows=1000, share=0.5, home=home)
        for key, value in found[home].items():
            print(f"{home:10} {key:18} {value}")
    record.write(__spec__.name, options, found)


if __name__ == "__main__":
    main()
