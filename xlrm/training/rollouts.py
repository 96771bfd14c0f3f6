"""The responses of a policy that is trained by reinforcement learning, written by itself."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from xlrm.models import chat_templates, decoding, loading, padding, transformers_engine
from xlrm.models.decoding import Decoding
from xlrm.scorers import online
from xlrm.training.recipes import OnlineTraining


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


def written(trainer: type, writer: Writer) -> type:
    """Subclass of TRL's GRPOTrainer or RLOOTrainer whose responses are those of `writer`. It has the `rows` of this process, and
    what was `generated` for them: token ids of the prompts, seeds, and token ids of the responses."""
    import torch
    from trl.models.utils import unwrap_model_for_generation

    logprobs = (None,) if trainer.__name__ == "GRPOTrainer" else ()  # of the engine; GRPO expects them

    class Written(trainer):
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            self.rows = inputs
            return super()._generate_and_score_completions(inputs)

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
            ids = self.responses(self.model_wrapped, prompt_ids, seeds, train=True)
            self.generated = prompt_ids, seeds, ids
            return (ids, *logprobs) if logprobs else ids

        def responses(
            self, model: Any, encoded: list[list[int]], seeds: list[int], train: bool = False
        ) -> list[list[int]]:
            """As `Writer.written`, of a model in its wrappers, which is left in the mode `train`."""
            with unwrap_model_for_generation(model, self.accelerator) as network, torch.no_grad():
                ids = writer.written(network, encoded, seeds)
                network.train(train)
            return ids

    return Written


def _numbers(first: int, count: int, group: int) -> list[int]:
    """Number in its group of each response of a process that begins with response `first` of all."""
    return [(first + place) % group for place in range(count)]


@contextlib.contextmanager
def _without_options(network: Any) -> Iterator[None]:
    """Context in which nothing of the policy's generation_config.json counts but its token ids."""
    kept = network.generation_config
    network.generation_config = transformers_engine.without_options(kept, network.config.is_encoder_decoder)
    try:
        yield
    finally:
        network.generation_config = kept
