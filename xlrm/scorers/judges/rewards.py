"""A reward model as judge: the response with the higher reward is the better one."""

from collections.abc import Sequence
from dataclasses import dataclass

from xlrm import progress
from xlrm.errors import ConfigError, within
from xlrm.models import chat_templates, loading, reward_models
from xlrm.models.reward_models import RewardModel
from xlrm.scorers import classifiers
from xlrm.scorers.interface import Scoring
from xlrm.scorers.judges.pairs import Pair
from xlrm.scorers.judges.verdicts import Scored, Verdicts, by_scores


@dataclass(frozen=True)
class RewardJudge:
    """Prefers a (1) if its reward is higher, b (2) if that one's is, and neither (1.5) if they are equal, as those of
    equal responses are. Every response is scored once, as `xlrm score` does, so the order of pairs and which of them are
    judged together change no reward."""

    model: RewardModel

    def version(self) -> str:
        """Identifies the weights that the name now stands for."""
        with within("judge.judge: "):
            return self.model.version()

    def check(self, scoring: Scoring) -> None:
        """Raises ConfigError for settings that do not fit the model or this machine."""
        with within("judge.scoring."):
            classifiers.check(self.model, self.how(scoring))

    def judge(self, pairs: Sequence[Pair], scoring: Scoring) -> Verdicts:
        """Raises ArtifactError for a model that is unavailable or no reward model, ConfigError for settings that do not fit
        it."""
        asked = {pair.prompt: list(pair.turns) if pair.turns else pair.prompt for pair in pairs}
        texts = list(dict.fromkeys((pair.prompt, text) for pair in pairs for text in (pair.a, pair.b)))
        progress.say(f"judge[{self.model.name}]: {len(texts):,} responses to reward")
        scorer = classifiers.load(self.model, self.how(scoring))
        rewards = dict(
            zip(
                texts,
                scorer.score([chat_templates.conversation(asked[prompt], text) for prompt, text in texts]),
                strict=True,
            )
        )
        scorer.say_cut(f"judge[{self.model.name}]", len(texts))
        del scorer
        loading.free_gpu()
        return Verdicts([_judgement(rewards[pair.prompt, pair.a], rewards[pair.prompt, pair.b]) for pair in pairs])

    def how(self, scoring: Scoring) -> Scoring:
        """With the precision of the model's row, unless another is set."""
        own = {} if "precision" in scoring.model_fields_set else {"precision": self.model.precision}
        return scoring.model_copy(update=own)


def find(name: str) -> RewardJudge:
    """The judge of a reward model, named as in `xlrm.models.reward_models`. Raises ConfigError for another name, and for
    a model that gives verdicts and no rewards."""
    model = reward_models.find(name)
    if model.kind != "classifier":
        raise ConfigError("a judge that gives no rewards", value=name, hint="name it without reward=")
    return RewardJudge(model)


def _judgement(a: float, b: float) -> Scored:
    return Scored((True,), (by_scores(a, b),), scores=(a, b))
