"""Facts about a report: its run, the base models, the amounts of data, and the date."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from xlrm.models.base_models import TINY
from xlrm.reporting.results import Evaluation, tested
from xlrm.store.artifacts import Record

PROMPTS = "prompts.jsonl"
"""File of a corpus with the prompts that policies are aligned on."""


@dataclass(frozen=True)
class Facts:
    run: str = ""
    """Name of the experiment."""
    bases: list[str] = field(default_factory=list)
    """Names of the models that reward models were trained from."""
    policies: list[str] = field(default_factory=list)
    """Names of the models that policies were aligned from."""
    pairs: dict[str, int] = field(default_factory=dict)
    """Language of a reward model -> preference pairs it was trained on."""
    prompts: dict[str, int] = field(default_factory=dict)
    """Language of a policy -> largest number of response pairs that a policy was aligned on."""
    items: dict[str, int] = field(default_factory=dict)
    """Language -> pairs of its benchmark."""
    aligned: int = 0
    """Number of policies."""
    has_prompts: bool = True
    """Whether the corpus has prompts to align policies on."""
    finished: datetime | None = None
    """Time at which the newest artifact was finished."""

    @property
    def tiny(self) -> bool:
        return TINY in self.bases


def gather(
    run: str, lineage: dict[str, Record], evaluations: list[Evaluation], validation: dict[str, Any] | None
) -> Facts:
    """`validation`: results of the stage validate."""
    rewards, policies = (_of(stage, lineage) for stage in ("reward", "align"))
    return Facts(
        run=run,
        bases=_models("base", rewards, lineage),
        policies=_models("policy", policies, lineage),
        pairs=_pairs(rewards),
        prompts=_pairs(policies),
        items={on: result["items"] for on, result in tested(evaluations).items()},
        aligned=len(policies),
        has_prompts=not validation or any(PROMPTS in files for files in validation["languages"].values()),
        finished=max((one.started + timedelta(seconds=one.seconds) for one in lineage.values()), default=None),
    )


def _of(stage: str, lineage: dict[str, Record]) -> list[Record]:
    return [one for one in lineage.values() if one.stage == stage]


def _models(name: str, trained: list[Record], lineage: dict[str, Record]) -> list[str]:
    """Models that the artifacts were trained from, which are their inputs called `name`: as the config of the stage
    base names them."""
    records = (lineage.get(given.uri) for one in trained for given in one.inputs.get(name, ()))
    return list(dict.fromkeys(one.config["model"] for one in records if one and one.config.get("model")))


def _pairs(trained: list[Record]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in trained:
        if "pairs" in one.metrics:
            language = one.config["language"]
            found[language] = max(found.get(language, 0), int(one.metrics["pairs"]))
    return found
