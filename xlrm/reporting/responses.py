"""What policies answered, and how reward models ranked it: the counts of the stages `sample` and `rank` in a lineage."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from xlrm.evaluation.alignment_results import AlignmentResults
from xlrm.evaluation.rankings import Ranking
from xlrm.evaluation.results import REFERENCE
from xlrm.models.samples import Counts, SampleCounts
from xlrm.store import addresses, artifacts
from xlrm.store.artifacts import Record
from xlrm.store.json_file import JsonFile

Content = TypeVar("Content", bound=JsonFile)
JUDGED = "eval"
"""Split of the prompts that policies are judged on."""


@dataclass(frozen=True)
class Responses:
    """A policy's responses to the prompts for judging, in one language."""

    language: str
    policy: str
    """`base`, or what the policy was aligned to."""
    counts: Counts
    uris: tuple[str, ...]
    """Artifacts with the responses: one, or the shards."""

    @property
    def shares(self) -> dict[str, float]:
        return self.counts.shares


@dataclass(frozen=True)
class Ranked:
    uri: str
    ranking: Ranking


def rankings(lineage: dict[str, Record]) -> list[Ranked]:
    """In the order of the lineage. Raises ArtifactError for a store that does not answer, DataError for another content."""
    return [Ranked(uri, content) for uri, _, content in _contents(lineage, "rank", Ranking)]


@dataclass(frozen=True)
class Trained:
    uri: str
    results: AlignmentResults


def trainings(lineage: dict[str, Record]) -> list[Trained]:
    """Policies trained by DPO, in the order of the lineage. Raises the same errors as `rankings`."""
    return [Trained(uri, content) for uri, _, content in _contents(lineage, "align", AlignmentResults)]


def responses(lineage: dict[str, Record]) -> list[Responses]:
    """By language, the policy before alignment first. Raises the same errors as `rankings`."""
    counted: dict[tuple[str, str], list[tuple[str, Counts]]] = {}
    for uri, record, content in _contents(lineage, "sample", SampleCounts):
        policies = [given.uri for given in record.inputs.get("policies", ())]
        for place, splits in enumerate(content.policies):
            name = _system(lineage.get(policies[place])) if place < len(policies) else _elsewhere(record)
            for language, counts in splits.get(JUDGED, {}).items():
                counted.setdefault((language, name), []).append((uri, counts))
    ordered = sorted(counted, key=lambda key: key[1] != REFERENCE)  # stable: the order of the lineage otherwise
    languages = list(dict.fromkeys(language for language, _ in counted))
    return [
        Responses(language, name, _sum(part for _, part in parts), tuple(uri for uri, _ in parts))
        for language in languages for of, name in ordered if of == language and (parts := counted[language, name])
    ]  # fmt: skip


def _contents(lineage: dict[str, Record], stage: str, model: type[Content]) -> Iterator[tuple[str, Record, Content]]:
    """URI, record and content of the file of each artifact of a stage that has it."""
    for uri, record in lineage.items():
        files = tuple(entry for entry in record.files if entry.path == model.FILE)
        if record.stage == stage and files:
            yield uri, record, model.read(artifacts.fetch(uri, addresses.home() / "cache", files))


def _system(policy: Record | None) -> str:
    """Name of a policy, as in the results of the stage judge."""
    if policy is None or "labeler" not in policy.config:
        return REFERENCE
    labeler = policy.config["labeler"]
    return labeler if policy.stage == "align" else f"{policy.config.get('method', policy.stage)}-{labeler}"


def _elsewhere(record: Record) -> str:
    """Name of responses that no policy of the run gave."""
    return str(record.config.get("served") or record.config.get("given") or REFERENCE)


def _sum(shards: Iterable[Counts]) -> Counts:
    """Counts of all shards together."""
    every = list(shards)
    totals = {name: sum(getattr(each, name) for each in every) for name in Counts.model_fields}
    characters = sum(each.mean_characters * each.responses for each in every)
    return Counts(**{**totals, "mean_characters": characters / max(1, totals["responses"])})
