"""Memory of this process (Linux), in MiB."""

from pathlib import Path


def held() -> float:
    return _status("VmRSS")


def peak() -> float:
    """Since the process began, or since `reset_peak`."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Sets the peak to what is held now: proc(5), clear_refs."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024
