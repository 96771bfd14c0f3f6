"""Checks of an experiment for the pipeline `reuse-rewards`."""

from collections.abc import Iterator

from xlrm.errors import ConfigError
from xlrm.languages import LANGUAGES
from xlrm.run import silver_steps
from xlrm.run.data_readiness import Check, Stages
from xlrm.run.sections import OF_A_CORPUS, POLICY, REFERENCE, REUSE, Experiment

_UNUSED = {
    POLICY: "the policies are fine-tuned from the model of `base`", REFERENCE: "policies are compared with the fine-tuned one",
}  # fmt: skip


def sections(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Sections of other pipelines that would be expected to change something here."""
    for section, why in _UNUSED.items():
        if asked.pipeline == REUSE and asked.stages.get(section):
            yield ConfigError(f"not used by {REUSE}: {why}", where=section, value=section, hint="leave the section out")


def tables(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Tables without which nothing can be fine-tuned or sampled, and languages that nothing can be compared with."""
    if asked.pipeline != REUSE:
        return
    for field, why, example in (
        ("demonstrations", "policies are fine-tuned on them", "[demonstrations.jsonl]"),
        ("prompts", "policies answer them; `demonstrations` takes those", "demonstrations"),
    ):
        if not asked.setting("curate", field):
            yield ConfigError(
                f"required for {REUSE}: {why}", where=f"curate.{field}",
                value=asked.stages.get("curate", {}).get(field), hint=f"for example curate.{field}={example}",
            )  # fmt: skip
    if not asked.targets:
        yield ConfigError("one or more other languages are required", where="targets", value=asked.targets)


def runs(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Runs of a judge beyond the first, which would compare with the candidates of best-of-n."""
    if asked.pipeline == REUSE and "judge" in stages and (several := asked.config("judge").runs) > 1:
        yield ConfigError(
            f"1 is required for {REUSE}: response 0 is the policy's own, and best-of-n chooses from the others",
            where="judge.runs", value=several, hint="judge.orders=both asks twice",
        )  # fmt: skip


def bilingual(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Bilingual reward models of languages that the experiment does not have."""
    if asked.pipeline != REUSE:
        return
    for name in asked.bilingual:
        for code in name.split("+"):
            if code not in asked.languages:
                yield ConfigError(
                    f"{code!r} is not a language of this experiment", where="reward.bilingual", value=name,
                    hint=f"its languages are {', '.join(asked.languages)}",
                )  # fmt: skip


def translated(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Comparisons with translated data without a translator, or between languages that it does not know."""
    if asked.pipeline != REUSE:
        return
    kinds = asked.translated_demonstrations
    if kinds and silver_steps.ENGLISH not in asked.languages:
        yield ConfigError(
            "needs English among the languages, which is the source or the target of each",
            where="sft.translated",
            value=kinds,
        )
    field = "reward.translate_train" if asked.translate_train else "sft.translated"
    if not (asked.translate_train or kinds):
        return
    own = OF_A_CORPUS["preferences"] if asked.translate_train else OF_A_CORPUS["demonstrations"]
    lacking = [code for code, names in asked.translated.items() if set(own) & set(names)]
    if lacking:
        yield ConfigError(
            f"needs data of their own in all languages, and {', '.join(lacking)} have translations already", where=field,
            value=asked.setting(*field.split(".")), hint=f"add them to corpora.{lacking[0]}",
        )  # fmt: skip
    for source, target in _pairs(asked):
        if silver_steps.translator(asked, target) == "x-alma" and None in (_group(source), _group(target)):
            yield ConfigError(
                f"X-ALMA has no model for {LANGUAGES[source].name} to {LANGUAGES[target].name}", where="translate.translator",
                value="x-alma",
            )  # fmt: skip


def _pairs(asked: Experiment) -> list[tuple[str, str]]:
    return [(source, target) for source in asked.languages for target in asked.languages if source != target]


def _group(code: str) -> int | None:
    """Group of a language's X-ALMA model; English is in all."""
    return 0 if code == silver_steps.ENGLISH else LANGUAGES[code].x_alma_group


CHECKS: tuple[Check, ...] = (sections, tables, runs, bilingual, translated)
