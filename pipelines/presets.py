"""The experiments of configs/, compiled into each package: what a form can choose from is what was reviewed with it."""

from pathlib import Path

import yaml

from components._parameters import pack

FOLDER = Path(__file__).parents[1] / "configs"
PRESETS = {
    path.stem: pack({"name": path.stem} | yaml.safe_load(path.read_text(encoding="utf-8")))
    for path in sorted(FOLDER.glob("*.yaml"))
}
"""Name -> settings, as KFP's local runner takes them."""
