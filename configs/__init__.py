"""The experiments that ship: what a form can choose from is what was reviewed with the code."""

from pathlib import Path

PRESETS = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}
"""Name -> file."""
