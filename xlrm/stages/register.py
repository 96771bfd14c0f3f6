"""Registers reward models in MLflow, with card, signature and fingerprint, and lets each take the champion's place if it is
better than the champion."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from xlrm import artifacts, gate, progress, releases, rewards, settings
from xlrm.artifacts import Record
from xlrm.errors import DataError, GateError
from xlrm.gate import Decision

if TYPE_CHECKING:
    from xlrm.tracking import Version

CHAMPION, CHALLENGER = "champion", "challenger"
PROMOTED, REFUSED, WITHDRAWN, BY_HAND = "promoted", "refused", "withdrawn", "by hand"
"""Tag `gate` of a version: what the gate said, or people with `xlrm promote`; of the one they took from the champion's
place, and of one that they put there."""


class Config(gate.Rule):
    prefix: str = Field("xlrm", pattern=r"^[\w-]+$")
    """Registered names are {prefix}-{language}."""
    gate: Literal["report", "enforce"] = "report"
    """Which version is the champion is decided alike; enforce ends the run in an error, after all is stored, when a
    challenger did not become it."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"evaluations": ("results.json", "rewards.parquet", "fingerprint.json")}


def fingerprint(config: Config) -> str:
    """Registered in one MLflow is not registered in another."""
    return hashlib.sha256(settings.tracking_uri().encode()).hexdigest()


def run(
    config: Config, *, reward_models: list[Path], evaluations: list[Path], lineage: dict[str, Record], output: Path
) -> dict[str, float]:
    """Writes registered.json, gate.md, and a folder for each name with what is stored with its version beside the weights.
    Each model's evaluation is found by its language.

    Raises DataError for a model without an evaluation of its own, ConfigError for a benchmark nobody evaluated on, GateError
    (enforce) for a challenger that is not better, ArtifactError for an MLflow that does not answer.
    """
    from xlrm import tracking

    evaluated = {_read(path / "results.json")["language"]: path for path in evaluations}
    decided: dict[str, tuple[str, Decision]] = {}
    for model in reward_models:
        language = _read(model / "xlrm.json")["language"]
        if language not in evaluated:
            raise DataError(f"register: no evaluation of the model of {language}; there are {', '.join(evaluated)}")
        facts = _facts(f"{config.prefix}-{language}", model, evaluated[language], lineage)
        decided[facts.name] = _register(config, facts, output / facts.name)
    metrics = _report(decided, output)
    refused = [name for name, (_, decision) in decided.items() if not decision.promoted]
    if config.gate == "enforce" and refused:
        tracking.current_run().log(metrics)  # which a stage that fails does not
        why = "; ".join(f"{name} version {decided[name][0]}: {decided[name][1].reason}" for name in refused)
        raise GateError(f"register: not better than the champion, which stays: {why}")
    return metrics


def _facts(name: str, model: Path, evaluation: Path, lineage: dict[str, Record]) -> releases.Facts:
    digest, _ = artifacts.digest_directory(model)
    trained = [uri for uri, one in lineage.items() if one.stage == "reward" and one.digest == digest]
    uri = next(iter(trained), None)
    origin = _ancestors(uri, lineage) if uri else {}
    curated = [(where, one) for where, one in origin.items() if one.stage == "curate"]
    evaluated = [
        where for where, one in lineage.items() if any(given.uri in trained for given in one.inputs.get("model", ()))
    ]
    if trained and not evaluated:
        raise DataError(
            f"register: the evaluation in {_read(evaluation / 'results.json')['language']} is of another model"
        )
    corpus = _corpus(*curated[-1]) if curated else None
    return releases.Facts(name, model, digest, evaluation, origin, corpus, evaluated[0] if evaluated else None)


def _ancestors(uri: str, lineage: dict[str, Record]) -> dict[str, Record]:
    found = {}
    for many in lineage[uri].inputs.values():
        for one in many:
            found |= _ancestors(one.uri, lineage)
    return found | {uri: lineage[uri]}


def _corpus(uri: str, record: Record) -> dict:
    files = tuple(one for one in record.files if one.path == "corpus.json")
    return _read(artifacts.fetch(uri, settings.home() / "cache", files) / "corpus.json")


def _register(config: Config, facts: releases.Facts, folder: Path) -> tuple[str, Decision]:
    """(version, decision). A model that is there already adds no version, and what was decided of it stays decided as long
    as rule and champion are the same."""
    from xlrm import tracking

    known = tracking.models(facts.name)
    same = next((one for one in known if one.tags.get("digest") == facts.digest), None)
    releases.write(folder, facts)
    champion = _champion(known)
    before = _decided(config, same, champion)
    decision = _kept(before or _compare(config, facts, champion), facts, folder)
    if before and "gate" in same.tags:
        return same.number, decision
    if same is None:
        run = tracking.current_run()
        tags = releases.tags(facts) | tracking.kubeflow_tags(run)
        number = tracking.add_version(facts.name, [facts.model, folder], tags, releases.summary(facts), run)
        same = tracking.version(f"models:/{facts.name}/{number}")
    else:
        tracking.add_files(same, folder)
    # Storing a model takes minutes, in which another run or a person may have made another version the champion.
    while _place(now := _champion(tracking.models(facts.name))) != _place(champion):
        champion = now
        decision = _kept(_decided(config, same, champion) or _compare(config, facts, champion), facts, folder)
        tracking.add_files(same, folder)
    _settle(same, decision)
    return same.number, decision


def _champion(known: "list[Version]") -> "Version | None":
    return next((one for one in known if CHAMPION in one.aliases), None)


def _place(champion: "Version | None") -> str | None:
    return champion.number if champion else None


def _kept(decision: Decision, facts: releases.Facts, folder: Path) -> Decision:
    (folder / "gate.json").write_text(decision.as_json(), encoding="utf-8")
    (folder / "gate.md").write_text(decision.markdown(facts.name), encoding="utf-8")
    return decision


def _decided(config: Config, same: "Version | None", champion: "Version | None") -> Decision | None:
    """What was decided of a version before, and need not be again: a champion is not compared with itself, what people
    changed by hand stays, and neither rule nor champion is another than then."""
    if same is None:
        return None
    stored, place = _stored(same), _place(champion)
    if place == same.number:
        return (
            stored if stored and stored.promoted else Decision(True, "made the champion by hand", None, config.rule())
        )
    if same.tags.get("gate") == WITHDRAWN:
        return Decision(False, "taken from the champion's place by hand", place, config.rule())
    if stored and place and "gate" in same.tags and (stored.champion, stored.rule) == (place, config.rule()):
        return replace(stored, promoted=False, reason="replaced by hand") if stored.promoted else stored
    return None


def _stored(version: "Version") -> Decision | None:
    from xlrm import tracking

    if not tracking.has(version, "gate.json"):
        return None
    with TemporaryDirectory() as folder:
        path = tracking.download(version.uri, Path(folder), "gate.json")
        return Decision.from_json(path.read_text(encoding="utf-8"))


def _compare(config: Config, facts: releases.Facts, champion: "Version | None") -> Decision:
    from xlrm import tracking

    challenger, ties = facts.evaluation / rewards.FILE, facts.results["tie_policy"]
    if champion is None or not tracking.has(champion, releases.REWARDS):
        return gate.decide(None, challenger, _place(champion), config, ties)
    with TemporaryDirectory() as folder:
        path = tracking.download(champion.uri, Path(folder), releases.REWARDS)
        return gate.decide(path, challenger, champion.number, config, ties)


def _settle(version: "Version", decision: Decision) -> None:
    """The alias first, then the tag that says all is done."""
    from xlrm import tracking

    name, number = version.name, version.number
    tracking.set_alias(name, number, CHAMPION if decision.promoted else CHALLENGER)
    if decision.promoted and any(CHALLENGER in one.aliases for one in tracking.models(name)):
        tracking.drop_alias(name, CHALLENGER)
    said = {"gate": PROMOTED if decision.promoted else REFUSED, "gate.reason": decision.reason}
    tracking.tag(name, number, said | {"gate.champion": decision.champion or "none"})
    progress.say(f"register: {name} version {number}: {said['gate']}: {decision.reason}")


def promote(uri: str) -> "tuple[Version, Version | None]":
    """Makes a version the champion by hand. Returns it, and the champion before: that one is marked first, so that it does
    not come back when its model is registered again, wherever this is cut off."""
    from xlrm import tracking

    chosen = tracking.version(uri)
    before = _champion(tracking.models(chosen.name))
    if _place(before) == chosen.number:
        return chosen, before
    if before:
        tracking.tag(before.name, before.number, {"gate": WITHDRAWN})
    tracking.set_alias(chosen.name, chosen.number, CHAMPION)
    if CHALLENGER in chosen.aliases:
        tracking.drop_alias(chosen.name, CHALLENGER)
    if chosen.tags.get("gate") != PROMOTED:
        tracking.tag(chosen.name, chosen.number, {"gate": BY_HAND})
    return chosen, before


def _report(decided: dict[str, tuple[str, Decision]], output: Path) -> dict[str, float]:
    """Writes what was decided, and returns the metrics."""
    registered = {
        "versions": {name: number for name, (number, _) in decided.items()},
        "aliases": {name: CHAMPION if one.promoted else CHALLENGER for name, (_, one) in decided.items()},
        "decisions": {name: asdict(one) for name, (_, one) in decided.items()},
    }
    (output / "registered.json").write_text(json.dumps(registered, indent=2), encoding="utf-8")
    said = "\n".join(decision.markdown(name) for name, (_, decision) in decided.items())
    (output / "gate.md").write_text(said, encoding="utf-8")
    metrics = {f"promoted/{name}": float(one.promoted) for name, (_, one) in decided.items()}
    metrics |= {f"version/{name}": float(number) for name, (number, _) in decided.items()}
    for name, (_, decision) in decided.items():
        whole = [row.difference for row in decision.rows if row.verdict in ("better", "not better")]
        metrics |= {f"difference/{name}": sum(whole) / len(whole)} if whole else {}
    return metrics


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
