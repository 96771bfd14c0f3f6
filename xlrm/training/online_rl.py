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

import contextlib
import json
import os
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.models import (
    chat_templates,
    decoding,
    divergence,
    loading,
    padding,
    transformers4,
    transformers_engine,
    weights,
)
from xlrm.models.decoding import Decoding, Prompt
from xlrm.models.packing import model as packing
from xlrm.processes import launch
from xlrm.scorers import engines, online
from xlrm.scorers.interface import Scoring
from xlrm.store.json_file import JsonFile
from xlrm.training import dropout, finite, observing, response_logprobs, trainers
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
    policy: Path, reward_model: Path | None, prompts: Sequence[Prompt], config: OnlineTraining, output: Path,
    observers: Sequence[Path] = (),
) -> dict[str, float]:  # fmt: skip
    """Trains `policy` on its own responses to the prompts, and writes it to `output`, with what the `observers` say of it.
    Returns the metrics, none on nodes other than the first. Raises ConfigError for a batch size or length that is not possible,
    DataError for prompts that leave no room for a response, and ArtifactError for a reward model or server that fails."""
    folder = output.parent
    label = f"rl[{config.language}]"
    trainers.check_length("rl.max_length", config, policy)
    if reward_model:
        engines.check(reward_model, _scoring(config))
    observing.check(observers, config, _scoring(config))
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
        dropout.restore(folder / "trained", policy)
        trainers.move(folder / "trained", output)
        if observers:
            loading.free_gpu()
            observing.score(folder, observers, config, _scoring(config), output)
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
    writer = Writer(transformers_engine.Model(str(job.start), own=True), config)
    with launch.together("loading the reference"):
        checked: Any = finite.checked(sampled(trainer_type, writer, rewards, config), label)
        trainer = checked(
            model, reward_funcs=writer.reward_function(rewards), args=arguments,
            train_dataset=load_from_disk(str(folder / "tokens")), processing_class=tokenizer,
        )  # fmt: skip
    trainer.eos_token_ids = writer.ends_of(model)
    if trainer.ref_model is not None:
        packing.enable(trainer.accelerator.unwrap_model(trainer.ref_model))
    trainers.train(trainer, label, folder, job)
    if trainer.is_world_process_zero():
        observing.write_responses(trainer.state.log_history, folder)
    if rewards.cut:
        progress.say(
            f"{label}: {rewards.cut} conversations lost their beginning: the reward model reads no more tokens"
        )


class Writer(transformers_engine.Transformers):
    """The engine that generates the responses, with the network that is trained."""

    network: Any = None

    def __init__(self, model: transformers_engine.Model, config: OnlineTraining) -> None:
        context = loading.Context("rl.max_length", config.max_length)
        super().__init__(model, config.generation_batch, context=context)
        self.decoding = Decoding(config.max_new_tokens, temperature=config.temperature, seed=config.seed)
        self.group = config.group

    def ends_of(self, network: Any) -> list[int]:
        """Ids of the tokens that end a response."""
        self.network = network
        return self.ends

    def text(self, written: list[int]) -> str:
        """The text of a response, as the stage `sample` writes it."""
        return chat_templates.text_of(self.tokenizer, written, self.ends).strip()

    def written(self, network: Any, encoded: list[list[int]], seeds: list[int]) -> list[list[int]]:
        """Token ids of a response to each encoded prompt, with the token that ended it."""
        self.network = network
        rows: list[list[int]] = [[] for _ in encoded]
        order = sorted(range(len(encoded)), key=lambda place: len(encoded[place]))
        begin = 1 if self.config.is_encoder_decoder else None
        with _without_options(network):
            for start in range(0, len(order), self._together):
                places = order[start : start + self._together]
                read = [encoded[place] for place in places]
                options = self._options(self.decoding, self.decoding.max_new_tokens, [seeds[place] for place in places])
                inputs = self._padded(read)
                padding.forget_lengths(network)
                made = network.generate(**inputs, **options)[:, begin or inputs["input_ids"].shape[1] :].tolist()
                for place, row in zip(places, made, strict=True):
                    end = next((i + 1 for i, token in enumerate(row) if token in self.ends), len(row))
                    rows[place] = row[:end]
        return rows

    def reward_function(self, rewards: online.Rewards) -> Any:
        """The rewards as a function for TRL."""

        def reward(prompts: list[str], completion_ids: list[list[int]], **more: Any) -> list[float | None]:
            return rewards.of(
                [
                    chat_templates.conversation(json.loads(prompt), self.text(ids))
                    for prompt, ids in zip(prompts, completion_ids, strict=True)
                ]
            )

        return reward


def sampled(trainer: type, writer: Writer, rewards: online.Rewards, config: OnlineTraining) -> Any:
    """Subclass of TRL's GRPOTrainer or RLOOTrainer with what the module's docstring says."""
    import torch
    from accelerate.utils import gather_object
    from trl.models.utils import unwrap_model_for_generation

    computed = response_logprobs.of_decoder
    if writer.config.is_encoder_decoder:
        start = writer.config.decoder_start_token_id
        computed = partial(response_logprobs.of_encoder_decoder, start=start, temperature=writer.decoding.temperature)
    logprobs = (None,) if trainer.__name__ == "GRPOTrainer" else ()  # of the engine; GRPO expects them

    class Sampled(trainer):
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            self.rows = inputs
            made = super()._generate_and_score_completions(inputs)
            if observing.due(self.state.global_step + 1, self.state.max_steps, config):
                self.observe()
            return made

        def observe(self) -> None:
            """Keeps the responses of this step in the log history."""
            read, seeds, written = self.generated
            rows = [
                {"prompt": row["prompt"], "response": writer.text(ids), "first": None, "kl": None}
                for row, ids in zip(self.rows, written, strict=True)
            ]
            if self.ref_model is not None:
                policy, first = map(self.accelerator.unwrap_model, (self.model, self.ref_model))
                pairs = list(zip(read, written, strict=True))
                divergences = divergence.per_response(policy, first, pairs, writer.decoding.temperature)
                with unwrap_model_for_generation(self.ref_model, self.accelerator) as network, torch.no_grad():
                    texts = map(writer.text, writer.written(network, read, seeds))
                    rows = [row | {"first": t, "kl": k} for row, t, k in zip(rows, texts, divergences, strict=True)]
            entry: dict[str, Any] = {"step": self.state.global_step + 1, observing.FIELD: gather_object(rows)}
            self.state.log_history.append(entry)

        def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict]:
            return writer.encode([json.loads(prompt) for prompt in prompts]), None, {}

        def _generate_single_turn(self, prompt_ids: list[list[int]], *others: Any, **more: Any) -> Any:
            first = self.accelerator.process_index * len(self.rows)
            seeds = [
                decoding.seed_of(
                    self.args.seed, json.loads(row["prompt"]), row["number"] * self.num_generations + number
                )
                for row, number in zip(self.rows, _numbers(first, len(self.rows), self.num_generations), strict=True)
            ]
            with unwrap_model_for_generation(self.model_wrapped, self.accelerator) as network, torch.no_grad():
                ids = writer.written(network, prompt_ids, seeds)
                network.train()
            self.generated = prompt_ids, seeds, ids
            return (ids, *logprobs) if logprobs else ids

        def _get_per_token_logps_and_entropies(
            self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, batch_size: int | None = None,
            compute_entropy: bool = False, compute_aux_loss: bool = False, **more: Any,
        ) -> tuple[Any, Any, Any]:  # fmt: skip
            if compute_aux_loss:  # a mixture of experts
                return super()._get_per_token_logps_and_entropies(
                    model,
                    input_ids,
                    attention_mask,
                    logits_to_keep,
                    batch_size,
                    compute_entropy,
                    compute_aux_loss,
                    **more,
                )
            size, parts = batch_size or len(input_ids), []
            for start in range(0, len(input_ids), size):
                ids, mask = input_ids[start : start + size], attention_mask[start : start + size]
                with self.accelerator.autocast():
                    parts.append(computed(model, ids, mask, logits_to_keep))
            probabilities, entropies = (list(each) for each in zip(*parts, strict=True))
            return torch.cat(probabilities), torch.cat(entropies) if compute_entropy else None, None

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

    return Sampled


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


def _numbers(first: int, count: int, group: int) -> list[int]:
    """Number in its group of each response of a process that begins with response `first` of all."""
    return [(first + place) % group for place in range(count)]


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


@contextlib.contextmanager
def _without_options(network: Any) -> Iterator[None]:
    """Context in which nothing of the policy's generation_config.json counts but its token ids."""
    kept = network.generation_config
    network.generation_config = transformers_engine.without_options(kept, network.config.is_encoder_decoder)
    try:
        yield
    finally:
        network.generation_config = kept
