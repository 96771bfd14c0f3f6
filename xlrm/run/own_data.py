"""A reward model from one's own preference pairs: the experiment of `xlrm train`, and its run on this machine.

It has the settings of `configs/own_data.yaml`, which does the same on a cluster.
"""

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xlrm import progress
from xlrm.data import catalog
from xlrm.errors import ArtifactError, ConfigError, XlrmError
from xlrm.evaluation.benchmarks import AVERAGE, HELDOUT
from xlrm.evaluation.results import EvaluationResults
from xlrm.models import base_models
from xlrm.processes import launch, locks
from xlrm.registry.champion import Registered
from xlrm.run import assumptions, forecast, runner, workloads
from xlrm.run.experiment import Experiment, build, override
from xlrm.run.runner import Artifact, run_stage
from xlrm.run.sections import CROSS_LINGUAL
from xlrm.run.steps import Steps, steps
from xlrm.store import addresses, artifacts
from xlrm.store.row_files import PLAIN, Reading
from xlrm.tracking import named_models
from xlrm.training.recipes import RewardTraining

SHARE = 0.8
"""Share of the pairs that are trained on if there is no file to evaluate on (paper A)."""
MOST_REJECTED = 0.5
"""Texts of one's own that are not in the language, such as an answer that is a translation, are left out; a file in another
language is refused."""
STEPS = 20
"""Optimizer steps that a training should have: fewer hardly change a model."""
_CHECKPOINTS = 5
_LEFT_OUT = ("plan", "external", "register")
"""Steps of the pipeline that one language, one model and no registration leave without work."""
Artifacts = dict[str, Artifact]
"""Label of a step -> its artifact."""


def settings(
    base: str,
    data: Sequence[str],
    benchmark: str | None,
    language: str,
    name: str,
    register: str | None = None,
    reading: Reading = PLAIN,
) -> dict[str, Any]:
    """The mapping of the experiment's file."""
    return {
        "name": name,
        "source": language,
        "targets": [],
        "base": {"model": base},
        "curate": {
            "preferences": list(data), "benchmark": benchmark or HELDOUT, "train_share": 1.0 if benchmark else SHARE,
            **({"columns": dict(reading.columns)} if reading.columns else {}),
            **({"encoding": reading.encoding} if reading.encoding else {}),
        },
        "validate": {"max_reject_share": MOST_REJECTED},
        **({"register": {"prefix": register}} if register else {}),
    }  # fmt: skip


def experiment(raw: dict[str, Any], overrides: Sequence[tuple[str, Any]]) -> Experiment:
    """The checked experiment. Raises ConfigError, DataError or ArtifactError for what would end the run: files that are
    missing, a base that cannot be loaded, and what `readiness` finds."""
    raw = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    context = base_models.context(raw["base"]["model"])
    if context and context < (longest := RewardTraining.model_fields["max_length"].default):
        progress.say(f"train: conversations of up to {context} tokens instead of {longest}: the base reads no more")
        for stage in ("reward", "evaluate"):
            override(raw, f"{stage}.max_length", context)
    for field, value in overrides:
        override(raw, field, value)
    made = build(raw, {}, "xlrm train")
    for entry in (*made.config("curate").preferences, made.config("curate").benchmark):
        if catalog.is_file(entry) and "://" not in entry and not Path(entry).is_file():
            raise ConfigError(
                "no such file", where="--data" if entry in raw["curate"]["preferences"] else "--eval", value=entry
            )
    if (base := made.config("base").model) != base_models.TINY:
        check_model(base, "--base")
    return made


def check_model(model: str, option: str) -> None:
    """Raises ConfigError or ArtifactError for a model that cannot be loaded; downloads only its config."""
    try:
        if named_models.is_folder(model):
            named_models.folder(model)
        named_models.config(model)
    except XlrmError as error:
        error.within(f"{option}: ")
        raise
    except (OSError, ValueError) as error:
        raise ArtifactError(f"its config.json cannot be read: {error}", where=option, value=model) from error


def own_steps(experiment: Experiment, register: bool) -> Steps:
    """The steps of the pipeline that make the model and its report."""
    left_out = {name for name in _LEFT_OUT if name != "register" or not register}
    made = {label: step for label, step in steps(CROSS_LINGUAL, experiment).items() if step.stage not in left_out}
    return {
        label: replace(
            step, inputs={key: of for key, of in step.inputs.items() if not isinstance(of, str) or of in made}
        )
        for label, step in made.items()
    }


def sized(experiment: Experiment, pairs: int) -> Experiment:
    """The experiment with the batch and the checkpoints that `pairs` pairs allow, where they are not set. Says what is
    not the paper's, and why. Raises ConfigError for a batch that was set to more pairs than there are."""
    reward, set_here = experiment.config("reward"), experiment.stages.get("reward", {})
    fitting = batch_size(pairs, reward.batch_size, launch.world(reward.processes))
    batch = reward.batch_size if "batch_size" in set_here else fitting
    if batch > pairs * (1 + (reward.loss == "pointwise")):
        raise ConfigError(
            f"at most the {pairs} pairs that are left to train on are allowed", where="reward.batch_size", value=batch
        )
    count = max(1, math.ceil(reward.epochs * pairs / batch))
    if batch != reward.batch_size:
        progress.say(
            f"train: reward.batch_size={batch} instead of the paper's {reward.batch_size}, so that {pairs} pairs make "
            f"{count} steps"
        )
    given = {"batch_size": batch, "save_steps": max(1, min(reward.save_steps, count // _CHECKPOINTS))} | set_here
    return experiment.model_copy(update={"stages": experiment.stages | {"reward": given}})


def batch_size(pairs: int, most: int, processes: int = 1) -> int:
    """The largest power of 2 up to `most` with which the pairs make `STEPS` steps or more, as a multiple of the
    processes."""
    power = 2 ** int(math.log2(max(1, min(most, pairs / STEPS))))
    return max(processes, power - power % processes)


def run(experiment: Experiment, register: bool) -> tuple[Experiment, Artifacts]:
    """Runs the steps on this machine, one after the other, and reuses those that are finished. Raises the errors of
    `run_stage`."""
    made: Artifacts = {}
    first = own_steps(experiment, register)
    _make(first, ["curate"], experiment, made)
    pairs = int(made["curate"].record.metrics["preferences"])
    experiment = sized(experiment, pairs)
    for line in estimate(experiment, artifacts.fetch(made["curate"].uri, addresses.home() / "cache")):
        progress.say(line)
    following = own_steps(experiment, register)
    _make(following, [label for label in following if label != "curate"], experiment, made)
    return experiment, made


def _make(steps: Steps, labels: Sequence[str], experiment: Experiment, made: Artifacts) -> None:
    for label in labels:
        made[label] = run_stage(
            steps[label].stage, steps[label].config, _inputs(steps, label, made), experiment=experiment.name
        )


def _inputs(steps: Steps, label: str, made: Artifacts) -> dict[str, str | list[str]]:
    return {
        key: made[of].uri if isinstance(of, str) else [made[entry].uri for entry in of]
        for key, of in steps[label].inputs.items()
    }


def finished(experiment: Experiment, register: bool) -> Artifact | None:
    """The reward model, if this training is finished already."""
    made: Artifacts = {}
    label = f"reward-{experiment.source}"
    for step in ("curate", "validate", "base", label):
        if step == "validate":
            experiment = sized(experiment, int(made["curate"].record.metrics["preferences"]))
        current = own_steps(experiment, register)[step]
        uri = runner.address(current.stage, current.config, _inputs({step: current}, step, made))
        record = artifacts.find(uri)
        if record is None:
            return None
        made[step] = Artifact(uri, record)
    return made[label]


def estimate(experiment: Experiment, corpus: Path) -> Iterator[str]:
    """Lines on the work of training and evaluation, counted in the curated corpus."""
    texts = workloads.read(corpus)
    for row in forecast.rows(experiment, texts, forecast.read_published(experiment), {}, fetch=False):
        if row.stage.partition("[")[0] in ("reward", "evaluate") and row.tokens:
            work = (
                f", {row.flop / 1e15:,.2g} PFLOP, {row.hours(assumptions.MFU) or 0:.2g} hours of an A100"
                if row.flop
                else ""
            )
            yield f"estimate: {row.stage}: {row.what}: {row.tokens:,.0f} tokens{work}"


def check_output(output: Path, model: Artifact | None) -> bool:
    """Whether `output` already has the model. Raises ConfigError for one that exists and is something else."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if output.is_dir() and model and artifacts.digest_directory(output)[0] == model.record.digest:
        return True
    raise ConfigError(
        "exists, and is not the model of this training", where="--output", value=str(output), hint="choose a new folder"
    )


def write(model: Artifact, output: Path) -> None:
    """Copies the model to `output`, which appears complete or not at all."""
    with locks.alone(output.with_name(f".{output.name}.lock"), f"train: {output}"):
        if check_output(output, model):
            return
        part = output.with_name(f".{output.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(artifacts.fetch(model.uri, addresses.home() / "cache"), part)
        if output.exists():
            output.rmdir()
        part.replace(output)


def results(experiment: Experiment, made: Artifacts, output: Path) -> Iterator[str]:
    """The accuracies, and where model and report are; copies the report there."""
    language = experiment.source
    folder = artifacts.fetch(made[f"evaluate-{language}"].uri, addresses.home() / "cache")
    result = EvaluationResults.read(folder).results[language]
    on = "held-out pairs" if experiment.config("curate").benchmark == HELDOUT else "pairs"
    sections = result.sections if len(result.sections) > 1 else []
    for name in [*sections, AVERAGE]:
        low, high = result.interval[name]
        where = "accuracy" if name == AVERAGE else f"accuracy in {name}"
        yield f"{where} {result.accuracy[name]:.3f}, 95 % interval {low:.3f} to {high:.3f}"
    yield f"on {result.items} {on}"
    page = addresses.home() / "reports" / f"{experiment.name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(artifacts.fetch(made["report"].uri, addresses.home() / "cache") / "report.html", page)
    yield f"report {page}"
    if "register" in made:
        registered = Registered.read(artifacts.fetch(made["register"].uri, addresses.home() / "cache"))
        for entry, version in registered.versions.items():
            aliases = ", ".join(registered.aliases.get(entry, [])) or "no alias"
            yield f"registered models:/{entry}/{version} ({aliases})"
    yield f"model {output}"
