"""The judges of an experiment: what its steps, checks and estimates need to know of them before it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xlrm.evaluation import external_models, length_control, win_rates
from xlrm.models import reward_models
from xlrm.models.generation import EngineName
from xlrm.models.reward_models import RewardModel
from xlrm.run.sections import REFERENCE, Experiment
from xlrm.scorers.judges import pairwise, prompts, table
from xlrm.scorers.judges.pairwise import BYTES_PER_TOKEN
from xlrm.scorers.judges.rewards import RewardJudge


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

    @property
    def answer_tokens(self) -> int:
        """Assumed tokens of an answer."""
        return self.settings.expected_tokens(self.model)

    @property
    def prompt_tokens(self) -> float:
        """Assumed tokens of the own words of a prompt of paper B, which are English and many; those of other prompts and of
        rubrics are not counted."""
        asked = prompts.find(self.settings.prompt_of(self.model))
        return asked.characters / BYTES_PER_TOKEN if asked.names_language and not self.rates else 0.0

    @property
    def max_new_tokens(self) -> int:
        return self.settings.decoding(self.model).max_new_tokens

    @property
    def rates(self) -> bool:
        """Whether it rates each response, rather than compare two."""
        return isinstance(self.settings, table.Settings) and self.settings.rubric is not None

    @property
    def orders(self) -> int:
        """Times that a question is asked: in one order or both; a rating has none."""
        return 2 if self.settings.orders == "both" and not self.rates else 1

    @property
    def varies(self) -> bool:
        """Whether another run may give another verdict on the same responses: in another order, or by another answer, unless
        that is a first token's log-probabilities."""
        decoding = self.settings.decoding(self.model)
        first_token = decoding.top_logprobs > 0 and decoding.max_new_tokens == 1
        drawn = self.settings.orders != "both" and not self.rates
        return drawn or (decoding.temperature > 0 and not first_token)


def settings(experiment: Experiment, language: str, steps: int = 1) -> dict[str, Any]:
    """Fields of the stage `judge` that follow from others: an equal part of the budget for each language and each of its
    `steps` that judge, no length control where that is not valid, and the name of the reference if that is not the policy
    before alignment."""
    whole = experiment.setting("judge", "max_usd")
    budget = {} if whole is None else {"max_usd": whole / len(experiment.aligned) / steps}
    controlled = language == length_control.LANGUAGE or experiment.setting("judge", "length_control") is None
    elsewhere = experiment.stages.get(REFERENCE) or {}
    name = elsewhere.get("served") or elsewhere.get("given")
    return budget | ({} if controlled else {"length_control": None}) | ({"reference": name} if name else {})


def judged(experiment: Experiment, config: win_rates.Settings, lengths: Sequence[float]) -> Sequence[float]:
    """The prompts that are judged, of those for judging: at most `max_items` of each data set, which are those whose
    demonstrations the prompts are from, or else one."""
    if config.max_items is None:
        return lengths
    sets = experiment.stages.get("curate", {}).get("demonstrations") or ("all",)
    return lengths[: config.max_items * len(sets)]


def generative(stage: str, config: Any) -> list[Judge]:
    """The generative judges that a stage of this config asks. Raises ConfigError for an entry without its model."""
    if stage == "judge":
        return [Judge(stage, table.SECTION, model, config) for model in table.generative(config.judge)]
    if stage != "external":
        return []
    models = [reward_models.find(entry) for entry in config.models if reward_models.in_table(entry)]
    return [
        Judge(stage, external_models.SECTION, model, config.judge) for model in models if model.kind == "generative"
    ]


def rewarders(config: Any) -> list[RewardJudge]:
    """The reward models that the stage judge asks."""
    return [judge for judge in map(table.find, table.split(config.judge)) if isinstance(judge, RewardJudge)]


def on_this_machine(config: Any) -> bool:
    """Whether the stage judge loads a model, rather than asking a server or nobody."""
    asked = generative("judge", config)
    return bool(rewarders(config)) or any(judge.engine != "endpoint" for judge in asked)
