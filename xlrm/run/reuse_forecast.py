"""Estimate of the pipeline `reuse-rewards`, as if every language had as many texts as the source, in its own length."""

from collections.abc import Iterator, Mapping, Sequence

from xlrm.models.compute import Kind
from xlrm.run import forecast, judges
from xlrm.run.forecast import LOADED_IN, Published, Row, Scene, weights
from xlrm.run.sections import REUSE, Experiment
from xlrm.run.shapes import base_shape
from xlrm.run.steps import steps
from xlrm.run.workloads import Item, Load, Texts, answer_length
from xlrm.translation.effort import Estimate


def rows(
    experiment: Experiment, texts: Texts, published: Published | None = None, translated: Mapping[str, Estimate] | None = None,
    pipeline: str = REUSE, fetch: bool = True,
) -> list[Row]:  # fmt: skip
    """The rows in the order of a pipeline; those of other pipelines by `forecast.rows`, whose parameters these are. Translations
    of pairs and demonstrations for comparisons are not counted."""
    if pipeline != REUSE:
        return forecast.rows(experiment, texts, published, translated, pipeline, fetch)
    config = experiment.config("base")
    shape = base_shape(config.model, config.revision, config.pretraining, fetch)
    scene = Scene(experiment, texts, published or Published(), shape, shape, experiment.languages, fetch)
    made = steps(pipeline, experiment).values()
    stages = [step.stage for step in made]
    systems = sum(len(step.config["labelers"]) for step in made if step.stage == "judge")
    return [
        forecast.base_row(scene), *forecast.translations(scene, translated or {}),
        _tuned(scene, stages.count("sft")), _rewards(scene, stages.count("reward")), *forecast.evaluations(scene),
        *_sampled(scene, stages.count("best_of_n")), *(_online(scene, stages.count("rl")) if "rl" in stages else ()),
        *(_judged(scene, systems) if "judge" in stages else ()),
    ]  # fmt: skip


def _kind(checkpointing: bool) -> Kind:
    return "checkpointed" if checkpointing else "training"


def _read(scene: Scene, items: Sequence[Item], limit: float, models: int, shared: bool = False) -> Load:
    """Tokens that `models` models read, each those of its language."""
    return scene.read(items, limit, shared) * (models / len(scene.experiment.languages))


def _tuned(scene: Scene, models: int) -> Row:
    config, demonstrations = scene.config("sft"), scene.texts.demonstrations
    reading = _read(scene, demonstrations, config.max_prompt_length + config.max_response_length, models)
    passes = config.epochs
    if config.steps is not None and demonstrations:
        passes = config.steps * config.batch_size / len(demonstrations)
    stored = weights([scene.base] * models, LOADED_IN)
    return scene.row(
        "sft", f"{models} policies, {len(demonstrations):,} demonstrations each x {passes:.3g} passes", "training",
        config.precision, reading, {_kind(config.gradient_checkpointing): passes}, True, stored=stored,
    )  # fmt: skip


def _rewards(scene: Scene, models: int) -> Row:
    config, pairs = scene.config("reward"), scene.texts.pairs
    reading = _read(scene, pairs, config.max_length, models, config.loss == "bradley_terry")
    return scene.row(
        "reward", f"{models} reward models, {len(pairs):,} rows each", "training", config.precision, reading,
        {_kind(config.gradient_checkpointing): config.epochs}, stored=weights([scene.base] * models, LOADED_IN),
    )  # fmt: skip


def _sampled(scene: Scene, policies: int) -> Iterator[Row]:
    """The samples of all fine-tuned policies, and their rewards by every reward model."""
    languages, prompts = scene.experiment.languages, scene.texts.eval_prompts
    sample, chosen = scene.config("sample", languages=languages), scene.config("best_of_n", labelers=())
    share, count = policies / len(languages), sample.runs
    drawn = scene.answered(prompts, count, sample.max_new_tokens, shared=False) * share
    what = f"{policies} policies x {len(prompts):,} prompts x {count}"
    yield scene.row("sample", what, "decoding", sample.precision, drawn, {"forward": 1}, head=True)
    labelers = (
        len(languages) + len(scene.experiment.bilingual) + scene.experiment.translate_train * (len(languages) - 1)
    )
    scored = scene.answered(prompts, count, sample.max_new_tokens, chosen.max_length)
    what = f"{labelers} reward models x {len(languages)} languages x {len(prompts):,} prompts x {count}"
    yield scene.row("best_of_n", what, "scoring", chosen.precision, scored, {"forward": labelers})


def _online(scene: Scene, policies: int) -> Iterator[Row]:
    """Policies of every language by every reward model, and those on translations, their responses, and the gains of the former
    by every reward model."""
    languages, judged = scene.experiment.languages, scene.texts.eval_prompts
    train = scene.texts.to_align_on(scene.config("curate").train_prompts)
    n, config, longest = len(languages), scene.config("rl"), scene.config("sample", languages=languages).max_new_tokens
    passes = config.steps * config.batch_size / config.group / max(1, len(train)) if config.steps else config.epochs
    drawn = scene.answered(train, config.group, config.max_new_tokens, config.max_length, shared=False) * (policies / n)
    forward = 1 + (config.beta > 0) + (config.method == "rloo") + (config.reward_url is None)
    work: dict[Kind, float] = {"forward": passes * forward, _kind(config.gradient_checkpointing): passes}
    what = f"{policies} policies, {len(train):,} prompts x {config.group} responses x {passes:.3g} passes"
    yield scene.row(
        "rl", what, "decoding", config.precision, drawn, work, True, stored=weights([scene.base] * policies, LOADED_IN)
    )
    answered = scene.answered(judged, 1, longest, shared=False)
    what = f"{policies} trained policies x {len(judged):,} prompts"
    precision = scene.config("sample", languages=languages).precision
    yield scene.row("sample", what, "decoding", precision, answered, {"forward": policies / n}, head=True, aligned=True)
    gains = scene.config("gains", labelers=())
    read = scene.answered(judged, 1, longest, gains.max_length)
    what = (
        f"{n} reward models x {n * n} trained policies x {len(judged):,} prompts, and 2 policies for their divergence"
    )
    yield scene.row("gains", what, "scoring", gains.precision, read, {"forward": n * (n + 2)}, aligned=True)


def _judged(scene: Scene, systems: int) -> Iterator[Row]:
    """Every reward model's choice in every language, and every trained policy, against the fine-tuned policy's response.
    `systems`: their number in all languages together."""
    config, languages = scene.config("judge"), scene.experiment.languages
    prompts = judges.judged(scene.experiment, config, scene.texts.eval_prompts)
    longest = scene.config("sample", languages=languages).max_new_tokens
    for judge in judges.generative("judge", config):
        reading = Load()
        for scale in map(scene.scale, languages):
            answer = answer_length(scene.texts.demonstrations or scene.texts.pairs, scale, longest) / scale
            items = [Item(prompt, (answer,) * 2) for prompt in prompts]
            reading += forecast.judge_reads(items, scale, judge) * (systems / len(languages))
        what = f"{systems} systems x {len(prompts):,} prompts by {judge.model.name}"
        yield forecast.judging(scene, judge, what, reading, systems * len(prompts))
