"""Checks of an experiment for the pipeline `reuse-rewards`."""

from collections.abc import Iterator
from pathlib import Path

from xlrm.errors import ConfigError
from xlrm.languages import LANGUAGES
from xlrm.models import base_models
from xlrm.run import reuse_steps, silver_steps
from xlrm.run.data_readiness import Check, Stages
from xlrm.run.sections import OF_A_CORPUS, POLICY, REFERENCE, REUSE, Experiment
from xlrm.store.local_copies import S3

_UNUSED = {
    POLICY: "the policies are fine-tuned from the model of `base`", REFERENCE: "policies are compared with the fine-tuned one",
    "align": "policies are trained in the section `rl`", "rank": "reward models choose in the section `best_of_n`",
    "report": "the page is that of `reuse_report`", "external": "only the experiment's own reward models are compared",
    "represent": "no representations are compared",
}  # fmt: skip

_FILLED_IN = {"labeler", "labelers", "languages", "reference", "runs", "shard", "split"}
"""Fields whose values are the pipeline's."""


def sections(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Sections of other pipelines that would be expected to change something here."""
    for section, why in _UNUSED.items():
        if asked.pipeline == REUSE and asked.stages.get(section):
            hint = f"leave the section out; {section}=null on a command line does"
            yield ConfigError(f"not used by {REUSE}: {why}", where=section, value=asked.stages[section], hint=hint)


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


def filled_in(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Fields that the pipeline sets to something else than the experiment does."""
    for step in reuse_steps.reuse_rewards(asked) if asked.pipeline == REUSE else ():
        given = asked.stages.get(step.stage, {})
        for field in sorted(_FILLED_IN & given.keys() & step.config.keys()):
            value = given[field]
            if (list(value) if isinstance(value, tuple) else value) != step.config[field]:
                yield ConfigError(
                    f"{REUSE} sets it itself, in {step.label} to {step.config[field]}", where=f"{step.stage}.{field}",
                    value=value, hint="leave it out" + (", and set best_of_n.n" if field == "runs" else ""),
                )  # fmt: skip


def served(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Responses of a model at an endpoint, or given ones, which are not those of the policy that the run fine-tunes."""
    for field in ("served", "given") if asked.pipeline == REUSE else ():
        if name := asked.setting("sample", field):
            message = f"not used by {REUSE}: responses are those of the policies that it fine-tunes"
            yield ConfigError(message, where=f"sample.{field}", value=name, hint="leave it out")


def engine(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """An encoder-decoder, as far as its dimensions are known, on an engine that has none."""
    model = asked.setting("base", "model") or ""
    shape = base_models.shape(model)
    if asked.pipeline == REUSE and asked.setting("sample", "engine") == "vllm" and shape and shape.encoder_layers:
        message = f"vLLM has no encoder-decoders, and {model} is one"
        yield ConfigError(message, where="sample.engine", value="vllm", hint="transformers generates its responses")


def typology(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """A file of typological features that is not on this machine."""
    name = asked.setting("reuse_report", "typology")
    if asked.pipeline == REUSE and name and not name.startswith(S3) and not Path(name).is_file():
        hint = "a path here, or s3://bucket/key"
        yield ConfigError("no such file", where="reuse_report.typology", value=name, hint=hint)


def fine_tuned_lengths(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Prompts and responses to fine-tune on that do not fit into the base model together."""
    model = asked.setting("base", "model")
    if asked.pipeline != REUSE or not model:
        return
    context, tuned = base_models.context(model), asked.config("sft")
    if context is not None and tuned.max_prompt_length + tuned.max_response_length > context:
        yield ConfigError(
            f"{model} reads {context} tokens; at most {context} are allowed together with "
            f"sft.max_response_length={tuned.max_response_length}",
            where="sft.max_prompt_length", value=tuned.max_prompt_length,
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


CHECKS: tuple[Check, ...] = (
    sections, tables, filled_in, runs, bilingual, served, engine, typology, fine_tuned_lengths, translated,
)  # fmt: skip
