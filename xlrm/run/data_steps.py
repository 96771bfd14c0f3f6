"""Steps from the sources to validated corpora of all languages, alike in every pipeline."""

from typing import Any

from xlrm.data.corpus_schema import Name
from xlrm.run.sections import Experiment
from xlrm.run.step import Step


def data(experiment: Experiment, only: tuple[Name, ...] = ()) -> list[Step]:
    """Steps from the sources to validated corpora of all languages. `only`: tables to translate; empty for all."""
    own = [
        Step("curate", (code,), experiment.corpus(code), {"source": "curate"})
        for code in experiment.targets
        if code in experiment.corpora
    ]
    wanted = {code: _lacking(experiment, code, only) for code in experiment.translated}
    translated = _translations(experiment, {code: given for code, given in wanted.items() if given is not None})
    inputs: dict[str, str | tuple[str, ...]] = {"source": "curate"}
    if translated:
        inputs["translations"] = tuple(step.label for step in translated if step.stage == "translate")
    if own:
        inputs["own"] = tuple(step.label for step in own)
    checked: dict[str, Any] = {"limits": experiment.limits} if experiment.limits else {}
    if experiment.setting("curate", "spare_prompts"):
        checked["train_prompts"] = experiment.setting("curate", "train_prompts")
    curated = Step("curate", config={"language": experiment.source} | experiment.judged_as_published)
    return [curated, *own, *translated, Step("validate", config=checked, inputs=inputs)]


def _lacking(experiment: Experiment, language: str, only: tuple[Name, ...]) -> dict[str, list[Name]] | None:
    """Field `files` of a translation, if it is of some tables only; None if nothing is translated."""
    names = [name for name in experiment.translated[language] if not only or name in only]
    if not names:
        return None
    return {"files": names} if only or language in experiment.corpora else {}


def _translations(experiment: Experiment, wanted: dict[str, dict[str, list[Name]]]) -> list[Step]:
    """Steps that plan and translate. `wanted`: language -> field `files`."""
    if not wanted:
        return []
    files = {code: given["files"] for code, given in wanted.items() if given}
    given = {"targets": list(wanted), "translate": experiment.stages.get("translate", {})}
    planned = Step("plan", config=given | ({"files": files} if files else {}), inputs={"corpus": "curate"})
    parts = [part for part in translation_parts(experiment) if part[0] in wanted]
    return [
        planned,
        *(_translation(experiment, *part, wanted[part[0]] | {"limits": experiment.limits}) for part in parts),
    ]


def translation_parts(experiment: Experiment) -> list[tuple[str, int, int]]:
    """(language, number of the shard, number of shards) of each translation."""
    shards = int(experiment.setting("plan", "shards"))  # Kubeflow only has floats
    return [(language, number, shards) for language in experiment.translated for number in range(1, shards + 1)]


def _translation(experiment: Experiment, language: str, number: int, shards: int, given: dict[str, Any]) -> Step:
    of = (language,) if shards == 1 else (language, f"{number}of{shards}")
    added = experiment.more_languages.get(language)
    translator = {"translator": added.translator} if added and added.translator else {}
    config = {"language": language, "shard": f"{number}/{shards}"} | translator | given
    return Step("translate", of, config, {"corpus": "curate"})
