"""Training curves: the entries of `curves.jsonl` in the artifacts of reward models and policies."""

import math
from dataclasses import dataclass

from xlrm.reporting.lineage import label
from xlrm.reporting.results import language_name
from xlrm.store import addresses, artifacts
from xlrm.store.artifacts import Record
from xlrm.store.jsonl import each_row
from xlrm.training.curves import FILE

MEASURES = {"reward": ("loss", "accuracy"), "align": ("loss", "accuracy"), "rl": ("reward", "kl")}
"""Stage -> measures drawn of a training; held-out values have the same name after heldout_."""
_POINTS = 200


@dataclass(frozen=True)
class Curves:
    stage: str
    label: str
    """The language; for a policy also the reward model it was aligned with."""
    language: str
    labeler: str
    rows: list[dict[str, float]]
    method: str = ""
    """grpo or rloo, for a training online; empty for others."""

    @property
    def title(self) -> str:
        if self.stage == "reward":
            return f"{language_name(self.language)} reward model"
        if self.stage == "rl":
            return f"{language_name(self.language)} policy, {self.method.upper()} by {language_name(self.labeler)}"
        return f"{language_name(self.language)} policy, preferences by {language_name(self.labeler)}"

    @property
    def held_out(self) -> bool:
        """Whether there are values on held-out pairs."""
        return any(name.startswith("heldout_") for row in self.rows for name in row)

    def values(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of each entry with a finite value."""
        pairs = [(row["step"], row[name]) for row in self.rows if row.get(name) is not None]
        return [(step, value) for step, value in pairs if math.isfinite(value)]


def read(lineage: dict[str, Record]) -> list[Curves]:
    """Curves of the trainings that wrote some. Raises DataError for a line that is not a JSON object, ArtifactError for
    a store that does not answer."""
    curves = []
    for uri, record in lineage.items():
        files = tuple(entry for entry in record.files if entry.path == FILE)
        if record.stage in MEASURES and files:
            path = artifacts.fetch(uri, addresses.home() / "cache", files) / FILE
            config = record.config
            rows = [row for row in each_row(path) if "step" in row]
            language, labeler, method = (config.get(name, "") for name in ("language", "labeler", "method"))
            curves.append(Curves(record.stage, label(record), language, labeler, rows, method))
    return curves


def thinned(values: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of neighbouring values, _POINTS at most."""
    size = math.ceil(len(values) / _POINTS) or 1
    groups = [values[start : start + size] for start in range(0, len(values), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
