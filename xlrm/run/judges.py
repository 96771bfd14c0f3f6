"""The generative judges of an experiment, for the checks and estimates before it runs."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlrm.data import catalog, conversations
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation import external_models
from xlrm.models import reward_models
from xlrm.models.generation import EngineName
from xlrm.models.reward_models import RewardModel
from xlrm.run.sections import Experiment
from xlrm.scorers.judges import pairwise, table
from xlrm.scorers.judges.rewards import RewardJudge
from xlrm.store.local_copies import S3
from xlrm.store.row_files import Reading


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
    def max_new_tokens(self) -> int:
        return self.settings.decoding(self.model).max_new_tokens

    @property
    def orders(self) -> int:
        """Times that a question is asked: in one order or both; a rating has none."""
        rates = isinstance(self.settings, table.Settings) and self.settings.rubric is not None
        return 2 if self.settings.orders == "both" and not rates else 1


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


def turns(asked: Experiment, stages: Collection[str]) -> Iterator[ConfigError]:
    """A judge, which compares answers to single questions, for a file whose first prompt has several turns, if the file is
    there to look at."""
    curated = asked.config("curate")
    field = "eval_prompt_set" if curated.eval_prompt_set else "prompts"
    names = table.split(asked.config("judge").judge) if "judge" in stages else ()
    if names and _asks_turns(curated, field):
        yield _of_turns("judge.judge", ", ".join(names), f"curate.{field}", "null aligns without verdicts")
    judges = generative("external", asked.config("external")) if "external" in stages else []
    if judges and _asks_turns(curated, "benchmark"):
        yield _of_turns(
            "external.models", judges[0].model.name, "curate.benchmark", "name reward models, which read them"
        )


def files(asked: Experiment, stages: Collection[str]) -> Iterator[ConfigError]:
    """Files that judging reads and that are not on this machine. A rubric is read when the section is."""
    config = asked.config("judge")
    for language in asked.aligned if "judge" in stages else ():
        for name in table.named_files(config.judge, config, language):
            if not name.startswith(S3) and not Path(name).is_file():
                where = (
                    "judge.references"
                    if name == (config.references or "").replace("{language}", language)
                    else "judge.judge"
                )
                yield ConfigError("no such file", where=where, value=name, hint="a path here, or s3://bucket/key")


def _of_turns(where: str, name: str, prompts: str, hint: str) -> ConfigError:
    message = f"a judge compares answers to single questions, and {prompts} has prompts of several turns"
    return ConfigError(message, where=where, value=name, hint=hint)


def _asks_turns(curated: Any, field: str) -> bool:
    entry = getattr(curated, field)
    if not (entry and catalog.is_file(entry) and Path(entry).is_file()):
        return False
    first = catalog.first_row(entry, Reading(curated.columns, curated.encoding))
    try:
        return not isinstance(conversations.prompt(first.get("prompt")), str)
    except DataError:  # `curate` says so
        return False
