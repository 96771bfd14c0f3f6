"""The file that a benchmark writes with `--json FILE`, in addition to its output: its figures, and how they were
measured.

    {"benchmark": module, "options": {...}, "figures": {...}, "missed": [...],
     "machine": {"processor", "cores", "memory_gib", "load", "accelerator"}, "commit", "date", "versions": {...}}

`missed` lists the missed goals; `cores` are those that this process may use, `memory_gib` is the machine's, `load` its
load average of the last minute when the file is written; `date` is UTC; `versions` are those of Python and all
installed libraries.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xlrm.store import provenance


def parser(doc: str) -> argparse.ArgumentParser:
    """Parser of a benchmark with the option `--json`; `doc`, the benchmark's docstring, is its help."""
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument(
        "--json", type=new_file, metavar="FILE", help="new file for figures, machine, commit and versions"
    )
    return found


def new_file(text: str) -> Path:
    """Checks the path before the measurement, which may take an hour."""
    path = Path(text)
    if not path.parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: a file in a folder that exists is allowed")
    return path


def write(module: str, options: argparse.Namespace, figures: dict[str, Any], missed: Iterable[str] = ()) -> None:
    """Writes the record if `options.json` names a file. `figures`: values that JSON can represent; `missed`: missed
    goals, one sentence each."""
    if options.json is None:
        return
    given = {name: value for name, value in vars(options).items() if name != "json"}
    found = {
        "benchmark": module, "options": given, "figures": figures, "missed": list(missed), "machine": machine(),
        "commit": provenance.git_commit(), "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": provenance.installed(),
    }  # fmt: skip
    options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    return {
        "processor": processor(), "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load": round(os.getloadavg()[0], 1), "accelerator": _accelerator(),
    }  # fmt: skip


def processor() -> str:
    """Model name of the processor (Linux on x86), or else the architecture."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _accelerator() -> str | None:
    """Name of the GPU; None if there is none, or if the benchmark has not loaded PyTorch."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
