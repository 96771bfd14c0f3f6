"""A policy trained by reinforcement learning on its own responses, with TRL's GRPO and RLOO, and a reward model that scores
them meanwhile. Of TRL's trainers it keeps advantages, losses, KL divergences and logs, and replaces four things:

- Prompts become tokens, and responses are generated, as by `xlrm.models.transformers_engine`: each response has a seed of
  its own, from the prompt and its number, so it depends neither on the batch nor on the number of processes nor on a kill.
- Log-probabilities are computed of sequences padded on the right, without padding where `xlrm.models.packing` can. TRL's
  are padded on both sides without positions, which moves the positions of models that have absolute ones.
- Rewards come from `xlrm.scorers.online`; None, a response without a reward, is left out of its group. 0.0 is a reward.
- The lowest reward of a group is subtracted from its rewards, which changes no advantage but by rounding: equal rewards have
  an advantage of exactly 0.
"""

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.models import chat_templates, loading, transformers4, transformers_engine, weights
from xlrm.models.decoding import Prompt
from xlrm.models.packing import model as packing
from xlrm.processes import launch
from xlrm.scorers import engines, online
from xlrm.scorers.interface import Scoring
from xlrm.store.json_file import JsonFile
from xlrm.training import dropout, finite, observing, response_logprobs, rollouts, trainers
from xlrm.training.recipes import OnlineTraining

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


_GRPO = {"loss_type": "dapo", "scale_rewards": "group", "use_bias_correction_kl": True}
"""TRL's defaults: the loss is the mean over all tokens of a step, advantages are divided by the standard deviation of their
group, and the KL term is weighted by the ratio of policy and sampling policy, which changes its gradient and not its value."""


class RewardSource(JsonFile):
    """reward.json: the reward model of a training, on this machine."""

    FILE: ClassVar[str] = "reward.json"
    WRITTEN_BY: ClassVar[str] = "a training by reinforcement learning begins with it"

    model: Path | None
    """Folder of the reward model; None for a reward server."""


def train_online(
    policy: Path, reward_model: Path | None, prompts: Sequence[Prompt], config: OnlineTraining, output: Path
) -> dict[str, float]:
    """Trains `policy` on its own responses to the prompts, and writes it to `output`, with the responses of some steps. Returns
    the metrics, none on nodes other than the first. Raises ConfigError for a batch size or length that is not possible,
    DataError for prompts that leave no room for a response, and ArtifactError for a reward model or server that fails."""
    folder = output.parent
    label = f"rl[{config.language}]"
    trainers.check_length("rl.max_length", config, policy)
    if reward_model:
        engines.check(reward_model, _scoring(config))
    fitting = _fitting(policy, prompts, config, label)

    def prepare() -> Path:
        from datasets import Dataset

        weights.check_finite(policy)
        order = training_order(len(fitting), config)
        asked = [json.dumps(fitting[place], ensure_ascii=False, allow_nan=False) for place in order]
        Dataset.from_dict({"prompt": asked, "number": list(range(len(asked)))}).save_to_disk(folder / "tokens")
        return policy

    RewardSource(model=reward_model).write(folder)
    metrics = trainers.run_job(f"{__name__}:worker", prepare, folder, config, OnlineTraining)
    if metrics:
        finite.check_trained(folder / "trained", label, metrics["steps"])
        trainers.copy(folder / "trained", output)
        dropout.restore(output, policy)
        metrics |= {"prompts": float(len(fitting)), "left_out": float(len(prompts) - len(fitting))}
    transformers4.write_older_names(output)
    return metrics


def training_order(prompts: int, config: OnlineTraining) -> list[int]:
    """Indices of the prompts of all steps: a random order for each pass, without what does not fill a step, so that no step
    has a prompt twice. Raises ConfigError for a step with more prompts than there are."""
    together = config.batch_size // config.group
    if together > prompts:
        raise ConfigError(
            f"at most {prompts * config.group} is allowed: {prompts} prompts x group={config.group}",
            where="rl.batch_size", value=config.batch_size,
        )  # fmt: skip
    each = prompts // together
    steps = config.steps or max(1, round(config.epochs * each))
    rng = random.Random(config.seed)
    order: list[int] = []
    while len(order) < steps * together:
        order += rng.sample(range(prompts), prompts)[: each * together]
    return order[: steps * together]


def worker(folder: Path) -> None:
    """Trains a policy in the prepared `folder`; runs in every process of the training."""
    import trl
    from datasets import load_from_disk

    job = trainers.Job.read(folder)
    config = OnlineTraining(**job.config)
    label = f"rl[{config.language}]"
    rewards = _rewards(RewardSource.read(folder).model, loading.load_tokenizer(job.start), config)
    kind, trainer_type, more = trl.RLOOConfig, trl.RLOOTrainer, {}
    if config.method == "grpo":
        kind, trainer_type, more = trl.GRPOConfig, trl.GRPOTrainer, _GRPO
    arguments = trainers.training_arguments(
        kind, config, folder, num_train_epochs=1, beta=config.beta, num_generations=config.group,
        max_completion_length=config.max_new_tokens, temperature=config.temperature, shuffle_dataset=False,
        mask_truncated_completions=config.drop_cut, disable_dropout=True, remove_unused_columns=False, **more,
    )  # fmt: skip
    described = dropout.configured(loading.load_config(job.start), 0.0, label)  # TRL leaves that of T5's attention
    tokenizer, model = trainers.load_policy(job.start, described)
    writer = rollouts.Writer(transformers_engine.Model(str(job.start), own=True), config)
    with launch.together("loading the reference"):
        sampled = rewarded(response_logprobs.computed(rollouts.written(trainer_type, writer), writer), rewards)
        kept = observing.keeping(sampled, writer, config.observe_steps, folder / "trained")
        checked: Any = finite.checked(kept, label)
        trainer = checked(
            model, reward_funcs=writer.reward_function(rewards), args=arguments,
            train_dataset=load_from_disk(str(folder / "tokens")), processing_class=tokenizer,
        )  # fmt: skip
    trainer.eos_token_ids = writer.ends_of(model)
    if trainer.ref_model is not None:
        packing.enable(trainer.accelerator.unwrap_model(trainer.ref_model))
    trainers.train(trainer, label, folder, job)
    if rewards.cut:
        progress.say(
            f"{label}: {rewards.cut} conversations lost their beginning: the reward model reads no more tokens"
        )


def rewarded(trainer: type, rewards: online.Rewards) -> type:
    """Subclass of a trainer of TRL in which the lowest reward of a group is 0, and whose logs have `statistics`."""
    import torch

    class Rewarded(trainer):
        def _calculate_rewards(self, *given: Any) -> "torch.Tensor":
            """(responses of all processes, 1)."""
            groups = super()._calculate_rewards(*given).view(-1, self.num_generations)
            lowest = groups.nan_to_num(nan=torch.inf).amin(1, keepdim=True)
            if lowest.isinf().all():
                raise ArtifactError(
                    f"no response of step {self.state.global_step + 1} has a reward: {rewards.refusal or 'all refused'}",
                    where=getattr(rewards, "url", "reward model"),
                )
            for name, value in statistics(groups).items():
                self._metrics["train"][name].append(value)
            return (groups - lowest).view(-1, 1)

    return Rewarded


def statistics(groups: "torch.Tensor") -> dict[str, float]:
    """Mean reward, mean standard deviation within a group, share of groups of equal rewards, and share of responses without
    a reward. `groups`: (prompts, responses), NaN without a reward."""
    import torch

    there = ~groups.isnan()
    full = [group[has] for group, has in zip(groups.double(), there, strict=True) if has.any()]
    spreads = torch.stack([group.std(correction=0) for group in full])
    return {
        "xlrm/reward": torch.cat(full).mean().item(), "xlrm/spread": spreads.mean().item(),
        "xlrm/equal": sum(bool((group == group[0]).all()) for group in full) / len(groups),
        "xlrm/missing": 1 - there.double().mean().item(),
    }  # fmt: skip


def _scoring(config: OnlineTraining) -> Scoring:
    import torch

    local = os.environ.get("LOCAL_RANK")
    device = f"cuda:{local}" if local and torch.cuda.is_available() else "auto"
    return Scoring(max_length=config.max_length, precision=config.reward_precision, device=device)


def _rewards(model: Path | None, tokenizer: "PreTrainedTokenizerBase", config: OnlineTraining) -> online.Rewards:
    """Loads the reward model. Must come before the training arguments, after which DeepSpeed would shard it."""
    if model:
        return online.InProcess(engines.load(model, _scoring(config)))
    if not config.reward_url:
        raise ConfigError("a reward model or a reward server is required", where="rl.reward_url")
    return online.Server(config.reward_url, tokenizer, config.reward_patience_seconds)


def _fitting(policy: Path, prompts: Sequence[Prompt], config: OnlineTraining, label: str) -> list[Prompt]:
    """Prompts with room for a whole response. Raises DataError if there are none."""
    tokenizer = loading.load_tokenizer(policy)
    room = config.max_length - config.max_new_tokens
    encoder_decoder = loading.load_config(policy).is_encoder_decoder
    encoded = chat_templates.as_policies_read(tokenizer, prompts, encoder_decoder) if prompts else []
    fitting = [prompt for prompt, ids in zip(prompts, encoded, strict=True) if len(ids) <= room]
    if not fitting:
        raise DataError(f"none of {len(prompts)} prompts has at most {room} tokens", where=f"{label}: prompts")
    if left := len(prompts) - len(fitting):
        progress.say(f"{label}: {left} of {len(prompts)} prompts are left out: longer than {room} tokens, or no room")
    return fitting
