"""The experiments that ship: what a form can choose from is what was reviewed with the code."""

from pathlib import Path

import yaml

PRESETS = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}
"""Name -> file."""


def presets(pipeline: str) -> list[str]:
    """Names of the experiments that a pipeline takes: those made for it, or for no other."""
    named = {name: yaml.safe_load(path.read_text(encoding="utf-8")).get("pipeline") for name, path in PRESETS.items()}
    if pipeline in named.values():
        return [name for name, own in named.items() if own == pipeline]
    return [name for name, own in named.items() if own is None]
