"""The head of a reward model to be trained: that of a base that is a reward model already, or a new one."""

from pathlib import Path

from xlrm import progress
from xlrm.errors import ConfigError
from xlrm.models import loading
from xlrm.training.recipes import RewardTraining


def keeps(base: Path, config: RewardTraining) -> bool:
    """Whether the training continues with the head of the base, which is a reward model then. Raises ConfigError for a
    head that gives no single reward."""
    described = loading.load_config(base)
    if not loading.has_head(described) or config.reinitialize_head:
        return False
    if described.num_labels != 1:
        raise ConfigError(
            "a base that is a classifier has 1 label", where=f"{base}: num_labels", value=described.num_labels,
            hint="reward.reinitialize_head: true gives it a new head with one",
        )  # fmt: skip
    kept = "the base is a reward model, whose head is kept; reward.reinitialize_head: true gives it a new one"
    progress.say(f"reward[{config.language}]: {kept}")
    return True
