"""Keeps responses in the course of a policy's training by reinforcement learning (`xlrm.evaluation.observed`), for reward models
that the training does not load (paper B, figures 3b and 10b).

They are in the training's log history, and so in its checkpoints: a training that was interrupted keeps what an undisturbed
one does.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.evaluation import observed
from xlrm.evaluation.observed import ObservedResponse
from xlrm.models import divergence

if TYPE_CHECKING:
    from xlrm.training.rollouts import Writer

_FIELD = "observed"
"""Field of an entry of the log history."""


def keeping(trainer: type, writer: "Writer", every: int | None, folder: Path) -> type:
    """Subclass of a trainer of `rollouts.written` that writes the responses of the first, of each `every`-th and of the last
    step to `folder` when the training ends; the trainer itself without `every`."""
    from accelerate.utils import gather_object

    if every is None:
        return trainer

    class Keeping(trainer):
        def train(self, *given: Any, **named: Any) -> Any:
            result = super().train(*given, **named)
            if self.is_world_process_zero():
                observed.write(folder, _responses(self.state.log_history))
            return result

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            made = super()._generate_and_score_completions(inputs)
            step = self.state.global_step + 1
            if step in (1, self.state.max_steps) or step % every == 0:
                self.state.log_history.append({"step": step, _FIELD: gather_object(self.kept())})
            return made

        def kept(self) -> list[dict[str, Any]]:
            """The responses of this process, and of the policy before the training to the same prompts with the same seeds."""
            read, seeds, ids = self.generated
            rows: list[dict[str, Any]] = [
                {"prompt": row["prompt"], "response": writer.text(own)} for row, own in zip(self.rows, ids, strict=True)
            ]
            if self.ref_model is None:
                return rows
            policy, first = map(self.accelerator.unwrap_model, (self.model, self.ref_model))
            pairs = list(zip(read, ids, strict=True))
            divergences = divergence.per_response(policy, first, pairs, writer.decoding.temperature)
            texts = map(writer.text, self.responses(self.ref_model, read, seeds))
            return [row | {"first": t, "kl": k} for row, t, k in zip(rows, texts, divergences, strict=True)]

    return Keeping


def _responses(history: list[dict[str, Any]]) -> list[ObservedResponse]:
    return [
        ObservedResponse(step=entry["step"], **row | {"prompt": json.loads(row["prompt"])})
        for entry in history if _FIELD in entry for row in entry[_FIELD]
    ]  # fmt: skip
