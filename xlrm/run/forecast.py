"""Estimate of each GPU stage of an experiment: tokens, floating-point operations, A100-hours and space in the store.

Operations are counted (`xlrm.models.compute`) for the tokens estimated from the corpus's bytes
(`xlrm.translation.effort`); hours are operations / (the GPU's peak in the stage's precision x utilisation), both in
`xlrm.run.assumptions`. A base model takes no GPU: it is fetched, or pretrained on a CPU. Space counts saved models, and
texts.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from xlrm.data import parallel_texts
from xlrm.errors import XlrmError
from xlrm.evaluation import benchmarks, external_models
from xlrm.languages import LANGUAGES
from xlrm.models import reward_models
from xlrm.models.base_models import TINY
from xlrm.models.compute import Kind, Shape, flops
from xlrm.run import judges, response_costs, workloads
from xlrm.run.assumptions import A100, peak
from xlrm.run.judges import Judge
from xlrm.run.sections import CROSS_LINGUAL, POLICY, Experiment
from xlrm.run.shapes import base_shape, external_shape
from xlrm.run.steps import steps
from xlrm.run.workloads import Item, Load, Texts, alone, answer_length, load
from xlrm.scorers.judges import pairwise
from xlrm.translation import effort, translators
from xlrm.translation.effort import Estimate

BYTES_OF_WEIGHT = {"bfloat16": 2, "float32": 4}
LOADED_IN = "float32"
"""Precision in which `xlrm.analysis.hidden_states` loads models."""


Work = Literal["training", "scoring", "decoding"]


@dataclass(frozen=True)
class Row:
    """One line of the estimate."""

    stage: str
    what: str
    work: Work
    precision: str
    tokens: float | None = None
    flop: float | None = None
    why: str = ""
    """Reason why the work or its price is unknown."""
    stored: float | None = None
    """Bytes that the store keeps; None if unknown, or few compared with models and texts."""
    usd: float = 0.0
    """US dollars that an endpoint charges."""
    aligned: bool = False
    """Whether it uses policies made by `align`, and therefore runs after it on the same GPUs."""

    def hours(self, mfu: Mapping[str, float], gpu: str = A100) -> float | None:
        return None if self.flop is None else self.flop / (peak(gpu, self.precision) * mfu[self.work]) / 3600


@dataclass
class Published:
    """Lengths of texts outside the corpus by language, in bytes, or why they are unknown."""

    benchmarks: dict[str, dict[str, list[Item]] | str] = field(default_factory=dict)
    parallel: dict[str, list[float]] | str | None = None
    """None if the corpus has the texts."""


@dataclass
class Scene:
    """An experiment with the lengths of all texts that it reads."""

    experiment: Experiment
    texts: Texts
    published: Published
    base: Shape | str
    """Shape of the base model, or the reason why it is unknown."""
    policy: Shape | str = ""
    trained: tuple[str, ...] = ()
    """Languages of the reward models."""
    fetch: bool = True
    """Whether the Hub may be asked for shapes that are not known here."""

    def config(self, stage: str, **more: Any) -> Any:
        """Config of a stage as the pipeline fills it in. Raises ConfigError."""
        return self.experiment.config(stage, **more)

    def scale(self, language: str) -> float:
        """Tokens in a language for a byte of the corpus's source text."""
        return effort.tokens_of(1, LANGUAGES[self.experiment.source], LANGUAGES[language])

    def read(
        self, items: Iterable[Item], limit: float, shared: bool = True, languages: Iterable[str] | None = None
    ) -> Load:
        """Tokens of a part of the corpus, in every language or in the given ones."""
        codes = self.experiment.languages if languages is None else languages
        return sum((load(items, self.scale(code), limit, shared) for code in codes), Load())

    def answered(
        self, prompts: Iterable[float], count: int, longest: int, limit: float = math.inf, shared: bool = True
    ) -> Load:
        """Tokens of prompts with `count` sampled responses of at most `longest` tokens each, in all targets."""
        total = Load()
        for scale in map(self.scale, self.experiment.aligned):
            answer = answer_length(self.texts.pairs, scale, longest)
            total += load([Item(prompt * scale, (answer,) * count) for prompt in prompts], 1, limit, shared)
        return total

    def row(
        self, stage: str, what: str, work: Work, precision: str, reading: Load, passes: Mapping[Kind, float],
        head: bool = False, of: Shape | str | None = None, stored: float | None = None, aligned: bool = False,
    ) -> Row:  # fmt: skip
        """Row for `passes` over the tokens of `reading`, by the base model or by a model of shape `of`."""
        of = self.base if of is None else of
        tokens = reading.tokens * max(passes.values())
        if isinstance(of, str):
            return Row(stage, what, work, precision, tokens, why=of, aligned=aligned)
        size = of.size(head)
        flop = sum(flops(size, reading.tokens * n, reading.mean_length, kind) for kind, n in passes.items())
        return Row(stage, what, work, precision, tokens, flop, stored=stored, aligned=aligned)


def rows(
    experiment: Experiment, texts: Texts, published: Published | None = None, translated: Mapping[str, Estimate] | None = None,
    pipeline: str = CROSS_LINGUAL, fetch: bool = True,
) -> list[Row]:  # fmt: skip
    """The rows of another pipeline than `reuse-rewards`, in its order, at least one for each GPU stage. `translated`: target ->
    what is left to translate; `fetch`: whether to ask the Hub for the sizes of models that are in no table.

    Raises ConfigError for settings that are not allowed.
    """
    base, policy = (
        base_shape(config.model, config.revision, config.pretraining, fetch)
        for config in (experiment.config("base"), experiment.config(POLICY))
    )
    made = steps(pipeline, experiment).values()
    stages, trained = {step.stage for step in made}, tuple(step.of[0] for step in made if step.stage == "reward")
    scene = Scene(experiment, texts, published or Published(), base, policy, trained, fetch)
    table = [base_row(scene), *translations(scene, translated or {}), _reward(scene), *evaluations(scene)]
    table += _external(scene) if "external" in stages else ()
    table += [_represent(scene)] if "represent" in stages else []
    aligning = "align" in stages and (texts.train_prompts or texts.eval_prompts)
    table += _alignment(scene) if aligning else []
    table += [_online(scene)] if aligning and "rl" in stages else []
    return table + (list(_policies_judged(scene)) if aligning and "judge" in stages else [])


def read_published(experiment: Experiment) -> Published:
    """Published texts, or why they cannot be read. Raises ConfigError for settings that are not allowed."""
    result = Published()
    source, languages = experiment.source, experiment.languages
    config = experiment.config("evaluate")
    for entry in config.benchmarks:
        try:
            loaded = {code: benchmarks.load_published(entry, code, source) for code in languages}
        except XlrmError as error:
            result.benchmarks[benchmarks.label(entry)] = str(error)
            continue
        lengths = {
            code: [workloads.item(row) for row in benchmark.rows] for code, benchmark in loaded.items() if benchmark
        }
        result.benchmarks[benchmarks.label(entry)] = lengths
    if experiment.represented and (config := experiment.config("represent")).parallel:
        try:
            texts = parallel_texts.load(config.parallel, languages, config.texts, config.seed).texts
            result.parallel = {code: [workloads.size(text) for text in passages] for code, passages in texts.items()}
        except XlrmError as error:
            result.parallel = str(error)
    return result


# Stages


def base_row(scene: Scene) -> Row:
    """The base model, and the policy if that is another model."""
    config, policy = scene.config("base"), scene.config(POLICY)
    made = LOADED_IN if config.model == TINY else "bfloat16"
    several = [config.model] + [policy.model] * (policy != config)
    stored = weights([scene.base, scene.policy][: len(several)], made)
    return Row("base", ", ".join(several), "training", made, tokens=0.0, flop=0.0, stored=stored)


def weights(shapes: Iterable[Shape | str], precision: str) -> float | None:
    """Bytes of the models' weights; None if the shape of one is unknown."""
    known = [shape.parameters if isinstance(shape, Shape) else None for shape in shapes]
    return None if None in known else BYTES_OF_WEIGHT[precision] * sum(filter(None, known))


def translations(scene: Scene, translated: Mapping[str, Estimate]) -> Iterator[Row]:
    for code, left in translated.items():
        config = scene.config("translate", language=code)
        parameters = translators.parameters(config, LANGUAGES[scene.experiment.source], LANGUAGES[code])
        what = f"{left.texts:,} texts, {left.segments:,} segments" + (f", {left.known:,} known" if left.known else "")
        row = Row(f"translate[{code}]", what, "decoding", "bfloat16", left.tokens, stored=left.bytes)
        if config.translator == "phrasebook":
            yield replace(row, what=f"{what}; no model", flop=0.0)
        elif parameters is None:
            yield replace(row, why=f"translate.translator: the size of {config.translator!r} is unknown")
        else:
            yield replace(row, flop=2 * parameters * left.tokens)


def _reward(scene: Scene) -> Row:
    codes = scene.trained
    config = scene.config("reward", language=scene.experiment.source)
    kind: Kind = "adapters" if config.lora_rank else "training"
    if config.gradient_checkpointing:
        kind = "checkpointed adapters" if config.lora_rank else "checkpointed"
    reading = scene.read(scene.texts.pairs, config.max_length, config.loss == "bradley_terry", codes)
    what = f"{len(codes)} reward models, {len(scene.texts.pairs):,} pairs each"
    # `head=True` adds one matrix of the vocabulary's size: here the embeddings, as the reward head has one row.
    stored = len(codes) * 4 * scene.base.size(head=True).parameters if isinstance(scene.base, Shape) else None
    return scene.row("reward", what, "training", config.precision, reading, {kind: config.epochs}, stored=stored)


def evaluations(scene: Scene) -> Iterator[Row]:
    """Every reward model on the corpus's benchmark in every language, and on the published benchmarks."""
    codes, models = scene.experiment.languages, len(scene.trained)
    config = scene.config("evaluate", languages=codes)
    reading = scene.read(scene.texts.benchmark, config.max_length)
    what = f"{models} reward models x {len(codes)} languages x {len(scene.texts.benchmark):,} items"
    yield scene.row("evaluate", what, "scoring", config.precision, reading, {"forward": models})
    if held := scene.texts.heldout:
        what = f"{models} reward models x {len(codes)} languages x {len(held):,} held-out pairs"
        yield scene.row(
            "evaluate", what, "scoring", config.precision, scene.read(held, config.max_length), {"forward": models}
        )
    for name, entry in scene.published.benchmarks.items():
        if isinstance(entry, str):
            yield Row("evaluate", name, "scoring", config.precision, why=entry)
            continue
        reading = _read_as_published(entry, config.max_length)
        what = f"{models} reward models x {sum(map(len, entry.values())):,} items of {name}"
        yield scene.row("evaluate", what, "scoring", config.precision, reading, {"forward": models})


def _external(scene: Scene) -> Iterator[Row]:
    """Models from elsewhere on the corpus's benchmark, in every language."""
    codes, items = scene.experiment.languages, scene.texts.benchmark
    config = scene.config("external", languages=codes)
    for model in reward_models.find_all(config.models):
        what = f"{model.name} x {len(codes)} languages x {len(items):,} items"
        if model.kind == "classifier":
            reading, of = scene.read(items, config.max_length), external_shape(model, scene.fetch)
            yield scene.row(
                "external", what, "scoring", config.precision or model.precision, reading, {"forward": 1}, of=of
            )
            continue
        judge = Judge("external", external_models.SECTION, model, config.judge)
        reading = sum((judge_reads(items, scene.scale(code), judge) for code in codes), Load())
        yield judging(scene, judge, what, reading, len(codes) * len(items))


def judging(scene: Scene, judge: Judge, what: str, reading: Load, pairs: int) -> Row:
    """A generative judge that reads `reading`, its answers included, for each order in which it is shown the pairs. At
    an endpoint tokens have a price, and operations are not counted."""
    orders = judge.orders
    if judge.engine != "endpoint":
        of = external_shape(judge.model, scene.fetch)
        precision, aligned = judge.settings.precision, judge.stage == "judge"
        return scene.row(
            judge.stage, what, "decoding", precision, reading, {"forward": orders}, True, of, aligned=aligned
        )
    row = Row(judge.stage, f"{what}, at an endpoint", "decoding", "bfloat16", orders * reading.tokens, flop=0.0)
    if (price := pairwise.price_of(judge.model, judge.settings)) is None:
        return replace(row, why=f"{judge.section}.usd_per_million has no price for {judge.model.name}")
    written = pairs * judge.answer_tokens
    usd = orders * ((reading.tokens - written) * price[0] + written * price[1]) / 1e6
    return replace(row, usd=usd)


def _policies_judged(scene: Scene) -> Iterator[Row]:
    """The aligned policies of each target, and the policy before alignment if that is not the reference, against the
    reference, in each run; a judge that knows the right answers and people take nothing. One that scores each response
    reads those of the reference too, and each once."""
    targets, config = scene.experiment.aligned, scene.config("judge")
    prompts = judges.judged(scene.experiment, config, scene.texts.eval_prompts)
    sections = scene.experiment.stages
    policies = len(_labelers(scene)) * (1 + ("rl" in sections)) + bool(sections.get("reference"))
    shown = f"{len(targets)} languages x {len(prompts):,} prompts"
    for judge in judges.generative("judge", config):
        of, each = (policies + 1, 1) if judge.rates else (policies, 2)
        reading = _to_judge(scene, prompts, each, judge) * (of * config.runs)
        what = f"{of} policies x {shown} {'rated ' if judge.rates else ''}by {judge.model.name}"
        yield judging(scene, judge, what, reading, of * config.runs * len(targets) * len(prompts))
    for rewarder in judges.rewarders(config):
        reading, model = _to_judge(scene, prompts, 1) * ((policies + 1) * config.runs), rewarder.model
        yield scene.row(
            "judge", f"{policies + 1} policies x {shown} rewarded by {model.name}", "scoring",
            rewarder.how(config.scoring).precision, reading, {"forward": 1}, of=external_shape(model, scene.fetch),
            aligned=True,
        )  # fmt: skip


def _to_judge(scene: Scene, prompts: Sequence[float], responses: int, judge: Judge | None = None) -> Load:
    """Tokens of judging `responses` to each prompt at a time, in every target language. `judge`: a generative one, whose
    prompt and answer count."""
    targets, reading = scene.experiment.aligned, Load()
    longest = scene.config("sample", languages=targets).max_new_tokens
    for scale in map(scene.scale, targets):
        answer = answer_length(scene.texts.pairs, scale, longest) / scale
        reading += judge_reads([Item(prompt, (answer,) * responses) for prompt in prompts], scale, judge)
    return reading


def _labelers(scene: Scene) -> tuple[str, ...]:
    """Reward models whose rewards align a policy in the first language: the source's and the language's own."""
    return scene.config("rank").labelers


def _represent(scene: Scene) -> Row:
    """The base model and every reward model on the same texts."""
    codes, published = scene.experiment.languages, scene.published.parallel
    config = scene.config("represent", languages=codes)
    if isinstance(published, str):
        return Row("represent", str(config.parallel), "scoring", LOADED_IN, why=published)
    if published is None:
        texts = alone(scene.texts.parallel[: config.texts])
        count, reading = len(texts), scene.read(texts, config.max_length)
    else:
        reading = _read_as_published({code: alone(lengths) for code, lengths in published.items()}, config.max_length)
        count = max(map(len, published.values()))
    models = len(scene.trained) + 1
    what = f"{models} models x {len(codes)} languages x {count:,} texts"
    return scene.row("represent", what, "scoring", LOADED_IN, reading, {"forward": models})


def _alignment(scene: Scene) -> list[Row]:
    """Sampling, ranking by the source's and the target's reward model, DPO by each, and sampling to judge."""
    targets, judged = scene.experiment.aligned, scene.texts.eval_prompts
    train = scene.texts.to_align_on(scene.config("curate").train_prompts)
    m = len(_labelers(scene))
    k = m * (1 + ("rl" in scene.experiment.stages))
    sample, rank = scene.config("sample", languages=targets), scene.config("rank", language=targets[0], labelers=())
    align = scene.config("align", language=targets[0], labeler=targets[0])
    drawn = scene.answered(train, sample.samples, sample.max_new_tokens, shared=False)
    single = scene.answered(judged, sample.runs, sample.max_new_tokens, shared=False)
    ranked = scene.answered(train, sample.samples, sample.max_new_tokens, rank.max_length)
    pairs = scene.answered(train, 2, sample.max_new_tokens, align.max_length) * m
    kind: Kind = "checkpointed" if align.gradient_checkpointing else "training"
    n, samples = len(targets), f"{len(train):,} prompts x {sample.samples}"
    what = (
        f"{n} languages x ({samples} + {_times(len(judged), sample.runs)} to judge by)",
        f"{m} reward models x {n} languages x {samples}",
        f"{m * n} policies, {len(train):,} pairs each", f"{k * n} aligned policies x {_times(len(judged), sample.runs)} to judge",
    )  # fmt: skip
    passes: dict[Kind, float] = {"forward": 1, kind: align.epochs}
    policies = weights([scene.policy] * m * n, LOADED_IN)
    before = scene.row(
        "sample", what[0], "decoding", sample.precision, drawn + single, {"forward": 1}, head=True, of=scene.policy
    )
    return [
        response_costs.elsewhere(before, scene, "sample", [(train, sample.samples), (judged, sample.runs)]),
        *response_costs.reference(before, scene),
        scene.row("rank", what[1], "scoring", rank.precision, ranked, {"forward": m}),
        scene.row("align", what[2], "training", align.precision, pairs, passes, True, scene.policy, policies),
        scene.row(
            "sample", what[3], "decoding", sample.precision, single, {"forward": k}, True, scene.policy, aligned=True
        ),
    ]


def _times(prompts: int, runs: int) -> str:
    return f"{prompts:,}" if runs == 1 else f"{prompts:,} x {runs}"


def _online(scene: Scene) -> Row:
    """Reinforcement learning: each response is written, read by the policy's reference and, for RLOO, by the policy again,
    and trained on. Its scoring, a pass of a reward model over the same tokens, counts as one of the policy's."""
    config, train = scene.config("rl"), scene.texts.to_align_on(scene.config("curate").train_prompts)
    labelers, prompts = len(_labelers(scene)), max(1, len(train))
    passes = config.steps * config.batch_size / config.group / prompts if config.steps else config.epochs
    drawn = scene.answered(train, config.group, config.max_new_tokens, config.max_length, shared=False) * labelers
    kind: Kind = "checkpointed" if config.gradient_checkpointing else "training"
    forward = 1 + (config.beta > 0) + (config.method == "rloo") + (config.reward_url is None)
    work: dict[Kind, float] = {"forward": passes * forward, kind: passes}
    policies = labelers * len(scene.experiment.aligned)
    what = f"{policies} policies, {len(train):,} prompts x {config.group} responses x {passes:.3g} passes"
    stored = weights([scene.policy] * policies, LOADED_IN)
    return scene.row("rl", what, "decoding", config.precision, drawn, work, True, scene.policy, stored)


def judge_reads(items: Iterable[Item], scale: float, judge: Judge | None) -> Load:
    """Tokens of a judge: it reads its instructions, the prompt and both responses, and writes its answer."""
    words, answer = (judge.prompt_tokens, float(judge.answer_tokens)) if judge else (0.0, 0.0)
    return load(Item(words + (item.prompt + sum(item.responses)) * scale, (answer,)) for item in items)


def _read_as_published(items: Mapping[str, list[Item]], limit: float) -> Load:
    own = {code: effort.tokens_of(1, LANGUAGES[code], LANGUAGES[code]) for code in items}
    return sum((load(texts, own[code], limit) for code, texts in items.items()), Load())
