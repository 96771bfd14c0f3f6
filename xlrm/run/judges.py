"""The generative judges of an experiment, for the checks and estimates before it runs."""

from dataclasses import dataclass
from typing import Any

from xlrm.evaluation import external_models, win_rates
from xlrm.models import reward_models
from xlrm.models.generation import EngineName
from xlrm.models.reward_models import RewardModel
from xlrm.scorers.judges import pairwise


@dataclass(frozen=True)
class Judge:
    stage: str
    """external or judge."""
    section: str
    """Where its settings are in the experiment, such as `external.judge`."""
    model: RewardModel
    settings: pairwise.Settings

    @property
    def engine(self) -> EngineName:
        return pairwise.engine_name(self.model, self.settings)


def generative(stage: str, config: Any) -> list[Judge]:
    """The generative judges that a stage of this config asks. Raises ConfigError for an entry without its model."""
    if stage == "judge":
        model = config.judge and win_rates.find(config.judge)
        return [Judge(stage, win_rates.SECTION, model, config)] if model else []
    if stage != "external":
        return []
    models = [reward_models.find(entry) for entry in config.models if reward_models.in_table(entry)]
    return [
        Judge(stage, external_models.SECTION, model, config.judge) for model in models if model.kind == "generative"
    ]
