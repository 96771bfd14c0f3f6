"""A policy trained with a reward model on one's own prompts: the stages of `xlrm align`, and their run on this machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlrm import languages, progress
from xlrm.data import catalog
from xlrm.data.corpus_schema import CORPUS_PROMPTS
from xlrm.errors import ConfigError, DataError
from xlrm.models import base_models
from xlrm.processes import launch
from xlrm.run import own_data
from xlrm.run.runner import Artifact, Inputs, run_stage
from xlrm.run.sections import config_class, stage_config
from xlrm.store import addresses, artifacts
from xlrm.training.recipes import DpoTraining, OnlineTraining

METHODS = ("dpo", "grpo", "rloo")
LABELER = "reward"
"""Name of the reward model among the stages' fields."""
Settings = dict[str, dict[str, Any]]
"""Stage -> fields."""


def settings(
    method: str, policy: str, reward: str, prompts: str, language: str, fields: Sequence[tuple[str, Any]]
) -> Settings:
    """Fields of the stages that the method takes, in their order, with `fields` (stage.field, value) in them. Raises
    ConfigError for a method, a stage or a field that there is not, and for a server that DPO would rank by."""
    if method not in METHODS:
        raise ConfigError("no such method", where="--method", value=method, hint=f"there are {', '.join(METHODS)}")
    if _is_server(reward) and method == "dpo":
        raise ConfigError(
            "dpo ranks with a model: folder, OWNER/NAME, models:/NAME@ALIAS or URI", where="--reward",
            value=addresses.shown(reward),
            hint="grpo and rloo ask a server",
        )  # fmt: skip
    curated: dict[str, Any] = {
        "language": language,
        "preferences": [],
        "benchmark": None,
        "prompts": prompts,
        "eval_prompts": 0,
    }
    made: Settings = {"curate": curated, "validate": {"max_reject_share": own_data.MOST_REJECTED}}
    if method == "dpo":
        made["sample"] = {"languages": [language], "split": "train"}
        made["rank"] = {"language": language, "labelers": [LABELER]}
        made["align"] = {"language": language, "labeler": LABELER}
    else:
        made["rl"] = {"language": language, "labeler": LABELER, "method": method}
        made["rl"] |= {"reward_url": reward} if _is_server(reward) else {}
    _fit(made, base_models.context(policy))
    for name, value in fields:
        stage, _, field = name.partition(".")
        if stage not in made:
            raise ConfigError(
                f"no stage of {method}", where=name, value=value, hint=f"its stages are {', '.join(made)}"
            )
        made[stage][field] = value
    for stage, values in made.items():
        stage_config(stage, values)
    return made


def check(made: Settings, policy: str, reward: str, prompts: str, output: Path) -> None:
    """Raises ConfigError or ArtifactError for what would end the run later: a language or file that is not there, models
    that cannot be loaded, and an output that exists and is no policy of the store. Downloads only the models' configs."""
    languages.find(made["curate"]["language"], "--language")
    if catalog.is_file(prompts) and "://" not in prompts and not Path(prompts).is_file():
        raise ConfigError("no such file", where="--prompts", value=prompts)
    own_data.check_model(policy, "--policy")
    if not _is_server(reward):
        own_data.check_model(reward, "--reward")
    if output.is_dir() and any(output.iterdir()):
        digest = artifacts.digest_directory(output)[0]
        stored = (artifacts.load(uri) for uri in artifacts.listed(addresses.store(), list(made)[-1]))
        own_data.check_output(output, next((Artifact("", each) for each in stored if each.digest == digest), None))
    else:
        own_data.check_output(output, None)


def _is_server(reward: str) -> bool:
    return reward.startswith(("http://", "https://"))


def _fit(made: Settings, context: int | None) -> None:
    """Lowers defaults to the policy's context, if that is known."""
    for stage, field in (("sample", "context"), ("rank", "max_length"), ("align", "max_length"), ("rl", "max_length")):
        if not context or stage not in made or context >= config_class(stage).model_fields[field].default:
            continue
        made[stage][field] = context
        writes = config_class(stage).model_fields.get("max_new_tokens")
        if writes and writes.default >= context:
            made[stage]["max_new_tokens"] = context // 2
            progress.say(f"align: responses of up to {context // 2} tokens: the policy reads {context} with the prompt")


def sized(made: Settings, stage: str, rows: int) -> dict[str, Any]:
    """Fields of the training `stage` with a batch that `rows` pairs or prompts allow, if none was set."""
    values = made[stage]
    if "batch_size" in values:
        return values
    kind = OnlineTraining if stage == "rl" else DpoTraining
    default = config_class(stage).model_fields["batch_size"].default
    group = values.get("group", OnlineTraining.model_fields["group"].default) if kind is OnlineTraining else 1
    world = launch.world(values.get("processes", 0))
    batch = group * own_data.batch_size(rows, max(1, default // group))
    batch += -batch % world if group == 1 else 0
    if batch != default:
        progress.say(f"align: {stage}.batch_size={batch} instead of {default}, for {rows} rows")
    return values | {"batch_size": batch}


def run(made: Settings, policy: str, reward: str, name: str) -> Artifact:
    """Runs the stages one after the other, and reuses those that are finished. Raises the errors of `run_stage`."""
    curated = run_stage("curate", made["curate"], {}, experiment=name)
    corpus = run_stage("validate", made["validate"], {"source": curated.uri}, experiment=name)
    if "rl" in made:
        model = {} if _is_server(reward) else {"reward_model": reward}
        folder = artifacts.fetch(corpus.uri, addresses.home() / "cache") / made["curate"]["language"]
        values = sized(made, "rl", len(CORPUS_PROMPTS.read(folder)))
        return run_stage("rl", values, {"policy": policy, "corpora": corpus.uri, **model}, experiment=name)
    given: Inputs = {"policies": [policy], "corpora": corpus.uri}
    samples = run_stage("sample", made["sample"], given, experiment=name)
    ranked = run_stage("rank", made["rank"], {"samples": [samples.uri], "reward_models": [reward]}, experiment=name)
    pairs = int(ranked.record.metrics[f"pairs/{LABELER}"])
    if not pairs:
        cut = samples.record.metrics["cut"] / max(1.0, samples.record.metrics["responses"])
        raise DataError(
            "no prompt has two different finished responses with different rewards", where="--prompts",
            hint=f"{cut:.0%} of the responses were cut at sample.max_new_tokens; see rank.unfinished",
        )  # fmt: skip
    values = sized(made, "align", pairs)
    return run_stage("align", values, {"policy": policy, "ranked": ranked.uri}, experiment=name)


def results(artifact: Artifact, output: Path) -> list[str]:
    """Lines on the training, and where the policy is."""
    metrics = artifact.record.metrics
    names = {
        "pairs": "pairs {:.0f}", "prompts": "prompts {:.0f}", "left_out": "prompts left out {:.0f}", "steps": "steps {:.0f}",
        "train_reward": "reward {:.4g}", "train_kl": "KL divergence per token {:.4g}", "train_accuracy": "accuracy {:.3f}",
    }  # fmt: skip
    lines = [line.format(metrics[key]) for key, line in names.items() if key in metrics]
    return [" · ".join(lines), f"policy {output}"]
