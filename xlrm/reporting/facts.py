"""Facts about a report: its run, the base models, the amounts of data, and the date."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from xlrm.data.corpus_schema import CORPUS_PROMPTS
from xlrm.evaluation.results import Evaluation
from xlrm.models.base_models import TINY
from xlrm.reporting.results import tested
from xlrm.store.artifacts import Record
from xlrm.validation.summary import Summary


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


def gather(run: str, lineage: dict[str, Record], evaluations: list[Evaluation], validation: Summary | None) -> Facts:
    rewards, policies = (_of(stage, lineage) for stage in ("reward", "align"))
    return Facts(
        run=run,
        bases=_models("base", rewards, lineage),
        policies=_models("policy", policies, lineage),
        pairs=_pairs(rewards),
        prompts=_pairs(policies),
        items={on: result.items for on, result in tested(evaluations).items()},
        aligned=len(policies),
        has_prompts=not validation or any(CORPUS_PROMPTS.file in files for files in validation.languages.values()),
        finished=max((record.started + timedelta(seconds=record.seconds) for record in lineage.values()), default=None),
    )


def _of(stage: str, lineage: dict[str, Record]) -> list[Record]:
    return [record for record in lineage.values() if record.stage == stage]


def _models(name: str, trained: list[Record], lineage: dict[str, Record]) -> list[str]:
    """Models that the artifacts were trained from, which are their inputs called `name`: as the config of the stage
    base names them."""
    records = (lineage.get(given.uri) for record in trained for given in record.inputs.get(name, ()))
    return list(dict.fromkeys(record.config["model"] for record in records if record and record.config.get("model")))


def _pairs(trained: list[Record]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for record in trained:
        if "pairs" in record.metrics:
            language = record.config["language"]
            counts[language] = max(counts.get(language, 0), int(record.metrics["pairs"]))
    return counts
