"""Ends a training at the first step whose loss or gradient norm is not finite, before a checkpoint of it is written."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.errors import ArtifactError, ConfigError
from xlrm.models import weights

if TYPE_CHECKING:
    from transformers import Trainer


def checked(trainer: type, label: str) -> type["Trainer"]:
    """Subclass of a trainer that raises ConfigError, in all processes, for a step whose loss (in any process), gradient
    norm or held-out loss is NaN or infinite. Its arguments need `logging_nan_inf_filter=False`: by default transformers
    replaces such a loss by the mean of the others. The norm shows all gradients, in all processes."""
    import torch

    class Checked(trainer):
        def _maybe_log_save_evaluate(self, tr_loss: Any, grad_norm: Any, *rest: Any, **named: Any) -> None:
            """transformers calls this after every step; `tr_loss` is the sum of the losses since the last log."""
            norm = 0.0 if grad_norm is None else float(grad_norm)
            norm = math.nan if norm < 0 else norm  # DeepSpeed writes -1 for both
            both = self.accelerator.reduce(torch.tensor([float(tr_loss), norm], device=self.args.device))
            self.check(dict(zip(("loss", "gradient norm"), both.tolist(), strict=True)))
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, *rest, **named)

        def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
            metrics = super().evaluate(*arguments, **named)
            self.check({"held-out loss": metrics.get("eval_loss", 0.0)})
            return metrics

        def check(self, values: dict[str, float]) -> None:
            for name, value in values.items():
                if not math.isfinite(value):
                    raise ConfigError(
                        "a finite number is required",
                        where=f"{label}: step {self.state.global_step} of {self.state.max_steps}: {name}", value=value,
                        hint=f"lower learning_rate={self.args.learning_rate:g}",
                    )  # fmt: skip

    return Checked


def check_trained(folder: Path, label: str, steps: float) -> None:
    """Raises ConfigError for a trained model with a weight that is not finite, as a last step can leave, which no loss
    follows."""
    try:
        weights.check_finite(folder)
    except ArtifactError as error:
        raise ConfigError(
            error.message, where=f"{label}: after step {steps:.0f}, the last: {error.where}", value=error.value,
            hint="lower learning_rate",
        ) from error  # fmt: skip
