"""Reward models to register, each with its evaluation, its lineage and the data card of its corpus."""

from collections import Counter
from pathlib import Path

from xlrm.data.data_card import DataCard
from xlrm.errors import DataError
from xlrm.evaluation import reward_table
from xlrm.evaluation.results import EvaluationResults
from xlrm.models import weights
from xlrm.models.cards import RewardModelCard
from xlrm.registry import gate, releases
from xlrm.scorers.fingerprints import Fingerprint
from xlrm.store import addresses, artifacts, objects
from xlrm.store.artifacts import Record


def gather(
    prefix: str, reward_models: list[Path], evaluations: list[Path], lineage: dict[str, Record]
) -> list[releases.Facts]:
    """Facts of each model, which is registered as {prefix}-{language}, with the evaluation of the model in that
    language; for an artifact of `reward`, with the evaluation of that very artifact. Raises DataError for two models of
    one name, a model without its own evaluation, and an evaluation with numbers that are not finite; ArtifactError for a
    model with such weights."""
    labelled = [(_language(EvaluationResults.read(path), path), path) for path in evaluations]
    models = [_facts(prefix, model, labelled, lineage) for model in reward_models]
    if duplicated := [name for name, times in Counter(facts.name for facts in models).items() if times > 1]:
        raise DataError(
            "more than one model would get this name; register them one at a time",
            where="register.reward_models", value=", ".join(duplicated),
        )  # fmt: skip
    for facts in models:
        weights.check_finite(facts.model)
        _check_finite(facts.evaluation)
    return models


def _language(results: EvaluationResults, folder: Path) -> str:
    """Language of the model that was evaluated."""
    if not results.language:
        raise DataError(
            "the code of a language is required, as in `evaluate language=en`",
            where=f"register: {folder / results.FILE}: language",
            value=results.language,
        )
    return results.language


def _facts(prefix: str, model: Path, labelled: list[tuple[str, Path]], lineage: dict[str, Record]) -> releases.Facts:
    language, (digest, _) = RewardModelCard.read(model).language, artifacts.digest_directory(model)
    trained = [uri for uri, record in lineage.items() if record.stage == "reward" and record.digest == digest]
    uri = next(iter(trained), None)
    origin = _ancestors(uri, lineage) if uri else {}
    evaluation, evaluated = _evaluation(language, labelled, trained, lineage)
    corpora = _corpora(language.split("+"), origin)
    return releases.Facts(f"{prefix}-{language}", model, digest, evaluation, origin, corpora, evaluated)


def _evaluation(
    language: str, labelled: list[tuple[str, Path]], trained: list[str], lineage: dict[str, Record]
) -> tuple[Path, str | None]:
    """The evaluation of the model whose artifacts are `trained`, and its URI. For a model that is not an artifact of
    `reward`, the language alone identifies the evaluation, and the URI is None."""
    named = [path for code, path in labelled if code == language]
    if not named:
        there = ", ".join(code for code, _ in labelled)
        raise DataError(
            f"no evaluation of the model of {language}",
            where="register.evaluations",
            hint=f"there are {there or 'none'}",
        )
    if not trained:
        return named[-1], None
    for path in named:
        for uri, record in lineage.items():
            if any(given.uri in trained for given in record.inputs.get("model", ())) and _is_of(path, record):
                return path, uri
    raise DataError(f"the evaluation in {language} is of another model", where="register.evaluations")


def _is_of(folder: Path, record: Record) -> bool:
    """Whether the evaluation in `folder` is the artifact of `record`."""
    kept = {entry.path: entry.sha256 for entry in record.files}
    files = [folder / name for name in (EvaluationResults.FILE, reward_table.FILE)]
    return all(kept.get(path.name) == objects.sha256_of(path) for path in files if path.is_file())


def _check_finite(evaluation: Path) -> None:
    """Raises DataError for an evaluation with a number that is not finite, since nothing can be compared with it."""
    gate.check_rewards(evaluation / reward_table.FILE)
    for file in (EvaluationResults, Fingerprint):
        file.read(evaluation)


def _ancestors(uri: str, lineage: dict[str, Record]) -> dict[str, Record]:
    records: dict[str, Record] = {}
    for inputs in lineage[uri].inputs.values():
        for given in inputs:
            records |= _ancestors(given.uri, lineage)
    return records | {uri: lineage[uri]}


def _corpora(languages: list[str], origin: dict[str, Record]) -> dict[str, DataCard]:
    """URI -> data card of the corpora with the training pairs in these languages: a language's own, or else the source's,
    which its pairs were translated from."""
    curated = {uri: record for uri, record in origin.items() if record.stage == "curate"}
    cards = {uri: _card(uri, record) for uri, record in curated.items()}
    source = {uri: cards[uri] for uri, record in curated.items() if not record.inputs.get("source")}
    own = {
        cards[uri].language: {uri: cards[uri]}
        for uri, record in curated.items()
        if record.inputs.get("source") and cards[uri].licences
    }
    return {uri: card for language in languages for uri, card in own.get(language, source).items()}


def _card(uri: str, record: Record) -> DataCard:
    files = tuple(entry for entry in record.files if entry.path == DataCard.FILE)
    return DataCard.read(artifacts.fetch(uri, addresses.home() / "cache", files))
