"""Decides which version of a registered model is its champion: by the gate at registration, or by hand.

A finished registration is never judged again. An interrupted one continues: its version is found by the digest of the
model's files, and the tag GATE, set last, says that a version is registered and judged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from xlrm import progress
from xlrm.evaluation import reward_table
from xlrm.registry import gate, releases
from xlrm.registry.gate import Decision, Rule
from xlrm.store import artifacts
from xlrm.store.artifacts import Record
from xlrm.store.json_file import JsonFile

if TYPE_CHECKING:
    from xlrm.tracking.mlflow_registry import Version

CHAMPION, CHALLENGER = "champion", "challenger"
GATE = "gate"
"""The last tag that a version gets; a version with it is registered and judged."""
PROMOTED, REFUSED, WITHDRAWN, BY_HAND = "promoted", "refused", "withdrawn", "by hand"
"""Values of GATE: the gate's decision or, after `xlrm promote`, withdrawn for the replaced champion and by hand for a
version that the gate had not promoted."""


VERSION = "version/"
"""Start of the metric with the version that a name was registered as."""


@dataclass(frozen=True)
class Registration:
    """Result of registering a model, now or earlier."""

    version: str
    decision: Decision
    since: str = ""
    """For a version that was registered before: a sentence that says which version is the champion now."""


class Registered(JsonFile):
    """registered.json of the stage register."""

    FILE: ClassVar[str] = "registered.json"
    WRITTEN_BY: ClassVar[str] = "the stage register writes it"

    versions: dict[str, str]
    """Registered name -> version."""
    aliases: dict[str, list[str]] = Field(default_factory=dict)
    """Registered name -> the version's aliases when the stage ran."""
    decisions: dict[str, Decision] = Field(default_factory=dict)
    """Registered name -> the gate's decision."""


def register(rule: Rule, facts: releases.Facts, folder: Path) -> Registration:
    """Registers a model. A finished registration stays unchanged, whichever version is the champion now; an interrupted
    one continues."""
    from xlrm.tracking import mlflow_registry

    known = mlflow_registry.models(facts.name)
    same = [version for version in known if version.tags.get("digest") == facts.digest]
    same.sort(key=lambda version: CHAMPION not in version.aliases)
    releases.write(folder, facts)
    finished = next((version for version in same if _is_finished(version, facts)), None)
    if finished is None:
        return _go_on(rule, facts, folder, next((version for version in same if GATE not in version.tags), None))
    progress.say(f"register: {facts.name} version {finished.number}: already registered, gate {finished.tags[GATE]}")
    now = f"version {champion.number}" if (champion := _champion(known)) else "none"
    since = f"Already registered as version {finished.number}; current champion: {now}."
    return Registration(finished.number, _written(_stands(finished), facts, folder, since), since)


def promote(uri: str) -> "tuple[Version, Version | None]":
    """Makes a version the champion by hand. Returns it and the previous champion, which is marked as withdrawn first:
    even after an interruption, registering its model again does not bring it back. Raises DataError for a version with
    rewards that are not finite or all equal, since no decision by hand makes it work."""
    from xlrm.tracking import mlflow_registry

    chosen = mlflow_registry.version(uri)
    before = _champion(mlflow_registry.models(chosen.name))
    if _place(before) == chosen.number:
        return chosen, before
    with _file(chosen, releases.REWARDS) as kept:
        if kept:
            gate.check_rewards(kept)
            gate.check_differences(chosen.uri, kept)
    if before:
        mlflow_registry.tag(before.name, before.number, {GATE: WITHDRAWN})
    mlflow_registry.set_alias(chosen.name, chosen.number, CHAMPION)
    if CHALLENGER in chosen.aliases:
        mlflow_registry.drop_alias(chosen.name, CHALLENGER)
    if chosen.tags.get(GATE) != PROMOTED:
        mlflow_registry.tag(chosen.name, chosen.number, {GATE: BY_HAND})
    return chosen, before


def report(decided: dict[str, Registration], output: Path) -> dict[str, float]:
    """Writes the decisions and the versions' aliases to `output`, and returns the metrics."""
    from xlrm.tracking import mlflow_registry

    Registered(
        versions={name: result.version for name, result in decided.items()},
        aliases={
            name: mlflow_registry.version(f"models:/{name}/{result.version}").aliases
            for name, result in decided.items()
        },
        decisions={name: result.decision for name, result in decided.items()},
    ).write(output)
    text = "\n".join(result.decision.markdown(name, result.since) for name, result in decided.items())
    (output / "gate.md").write_text(text, encoding="utf-8")
    metrics = {f"promoted/{name}": float(result.decision.promoted) for name, result in decided.items()}
    metrics |= {f"{VERSION}{name}": float(result.version) for name, result in decided.items()}
    for name, result in decided.items():
        whole = [row.difference for row in result.decision.rows if row.verdict in ("better", "not better")]
        metrics |= {f"difference/{name}": sum(whole) / len(whole)} if whole else {}
    return metrics


def still_registered(record: Record) -> bool:
    """Whether the registry still has all versions that an artifact names, with the same models. Raises ArtifactError if
    MLflow or the store does not answer."""
    from xlrm.tracking import mlflow_registry

    made = [artifacts.find(given.uri) for given in record.inputs["reward_models"]]
    digests = {artifact.digest for artifact in made if artifact}  # empty if the store was cleared
    numbers = {k.removeprefix(VERSION): f"{v:.0f}" for k, v in record.metrics.items() if k.startswith(VERSION)}
    there = [
        version
        for name in numbers
        for version in mlflow_registry.models(name)
        if not digests or version.tags.get("digest") in digests
    ]
    return numbers.items() <= {(version.name, version.number) for version in there}


def _go_on(rule: Rule, facts: releases.Facts, folder: Path, begun: "Version | None") -> Registration:
    from xlrm.tracking import mlflow_registry

    champion = _champion(mlflow_registry.models(facts.name))
    decision = _written(_judged(rule, facts, begun, champion), facts, folder)
    version = _added(facts, folder, begun)
    # Storing a model takes minutes, in which another run or a person may have made another version the champion.
    while _place(now := _champion(mlflow_registry.models(facts.name))) != _place(champion):
        champion = now
        decision = _written(_judged(rule, facts, version, champion), facts, folder)
        mlflow_registry.add_files(version, folder)
    _settle(version, decision)
    return Registration(version.number, decision)


def _is_finished(version: "Version", facts: releases.Facts) -> bool:
    """Whether a version of the same model is this registration, complete. A version with another evaluation is not,
    unless it is the champion, which is not compared with itself, or was withdrawn by hand."""
    if GATE not in version.tags:
        return False
    return CHAMPION in version.aliases or version.tags[GATE] == WITHDRAWN or _evaluated_alike(version, facts)


def _evaluated_alike(version: "Version", facts: releases.Facts) -> bool:
    with _file(version, releases.REWARDS) as kept:
        return kept is None or gate.same(facts.evaluation / reward_table.FILE, kept)


def _stands(version: "Version") -> Decision:
    """The gate's decision on a finished version, or a later one by hand."""
    tag = version.tags[GATE]
    if CHAMPION in version.aliases or tag == BY_HAND:
        return _as_champion(version)
    if tag == WITHDRAWN:
        return Decision(False, "taken from the champion's place by hand", None, {})
    return _stored(version) or Decision(tag == PROMOTED, version.tags.get("gate.reason", tag), None, {})


def _as_champion(version: "Version") -> Decision:
    stored = _stored(version)
    return stored if stored and stored.promoted else Decision(True, "made the champion by hand", None, {})


def _judged(rule: Rule, facts: releases.Facts, begun: "Version | None", champion: "Version | None") -> Decision:
    """The decision on a model: an unfinished version that is the champion already stays; otherwise the two are
    compared."""
    if begun and begun.number == _place(champion):
        return _as_champion(begun)
    return _compare(rule, facts, champion)


def _added(facts: releases.Facts, folder: Path, begun: "Version | None") -> "Version":
    """The version with all its files: the unfinished one, or a new one."""
    from xlrm.tracking import mlflow_registry, mlflow_runs

    if begun:
        mlflow_registry.add_files(begun, folder)
        mlflow_registry.tag(begun.name, begun.number, releases.tags(facts))
        return begun
    run = mlflow_runs.current_run()
    tags = releases.tags(facts) | mlflow_runs.kubeflow_tags(run)
    number = mlflow_registry.add_version(facts.name, [facts.model, folder], tags, releases.summary(facts), run)
    return mlflow_registry.version(f"models:/{facts.name}/{number}")


def _champion(known: "list[Version]") -> "Version | None":
    return next((version for version in known if CHAMPION in version.aliases), None)


def _place(champion: "Version | None") -> str | None:
    return champion.number if champion else None


def _written(decision: Decision, facts: releases.Facts, folder: Path, since: str = "") -> Decision:
    (folder / "gate.json").write_text(decision.as_json(), encoding="utf-8")
    (folder / "gate.md").write_text(decision.markdown(facts.name, since), encoding="utf-8")
    return decision


@contextmanager
def _file(version: "Version", name: str) -> Iterator[Path | None]:
    """A local copy of a file of a version; None if the version has no such file."""
    from xlrm.tracking import mlflow_registry

    with TemporaryDirectory() as folder:
        yield mlflow_registry.download(version.uri, Path(folder), name) if mlflow_registry.has(version, name) else None


def _stored(version: "Version") -> Decision | None:
    with _file(version, "gate.json") as path:
        return Decision.from_json(path.read_text(encoding="utf-8")) if path else None


def _compare(rule: Rule, facts: releases.Facts, champion: "Version | None") -> Decision:
    challenger, ties = facts.evaluation / reward_table.FILE, facts.results.tie_policy
    own = tuple(facts.card.languages)
    if champion is None:
        return gate.decide(None, challenger, None, rule, ties, own)
    with _file(champion, releases.REWARDS) as kept:
        return gate.decide(kept, challenger, champion.number, rule, ties, own)


def _settle(version: "Version", decision: Decision) -> None:
    """Sets the alias first, and last the tag that marks the registration as finished."""
    from xlrm.tracking import mlflow_registry

    name, number = version.name, version.number
    mlflow_registry.set_alias(name, number, CHAMPION if decision.promoted else CHALLENGER)
    if decision.promoted and any(CHALLENGER in other.aliases for other in mlflow_registry.models(name)):
        mlflow_registry.drop_alias(name, CHALLENGER)
    tag = PROMOTED if decision.promoted else REFUSED
    why = {"gate.reason": decision.reason, "gate.champion": decision.champion or "none"}
    mlflow_registry.tag(name, number, why | {GATE: tag})
    progress.say(f"register: {name} version {number}: {tag}: {decision.reason}")
