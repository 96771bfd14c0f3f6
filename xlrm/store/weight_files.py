"""Files of weights in safetensors, by their format: the length of a header, the header in JSON, then the tensors (the
README of huggingface/safetensors). The image that registers models has neither torch nor the safetensors package."""

import json
from pathlib import Path
from typing import Any


def header(file: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Where the tensors begin in the file, and each tensor's dtype, shape and `data_offsets` from there. Raises OSError
    and ValueError for a file that is not whole."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = 8 + int.from_bytes(opened.read(8), "little")
        if not 8 < start <= size:
            raise ValueError("no header of a safetensors file")
        entries = json.loads(opened.read(start - 8))
    try:
        tensors = {name: entry for name, entry in entries.items() if name != "__metadata__"}
        end = start + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError("no header of a safetensors file") from error
    if size != end:
        raise ValueError(f"{size} bytes, and by its header {end}")
    return start, tensors


def fault(file: Path) -> str:
    """What is wrong with a file by its header and its length, without its weights; empty if nothing is."""
    try:
        header(file)
    except (OSError, ValueError, RecursionError) as error:
        return " ".join(str(error).split())[:200]
    return ""
