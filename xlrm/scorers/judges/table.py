"""Who judges: what an entry of `judge.judge` names, its version, and the one door to its verdicts.

| entry | judge |
|---|---|
| phrasebook | knows the right answers (`gold`) |
| gpt-4o, served=MODEL, self-taught=FOLDER, ... | a generative model that compares (`pairwise`), or rates (`ratings`) |
| reward=MODEL | a reward model (`rewards`) |
| human=FILE | people (`human`) |

Several entries are a jury (`jury`).
"""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from xlrm import progress
from xlrm.errors import ConfigError, GateError
from xlrm.models import reward_models
from xlrm.models.decoding import Decoding
from xlrm.models.reward_models import REWARD_MODELS, RewardModel
from xlrm.scorers.interface import Scoring
from xlrm.scorers.judges import gold, human, jury, pairwise, ratings, rewards, rubrics
from xlrm.scorers.judges.gold import JUDGES
from xlrm.scorers.judges.human import HumanJudge
from xlrm.scorers.judges.pairs import Pair
from xlrm.scorers.judges.rewards import RewardJudge
from xlrm.scorers.judges.settings import PolicySettings
from xlrm.scorers.judges.verdicts import Verdicts
from xlrm.store.fields import NamesFile, conflict
from xlrm.store.files import sha256_of
from xlrm.store.local_copies import local_copy, readable

SECTION = "judge"
"""Section of an experiment with the judge and its settings, for messages."""
REWARD = "reward="
_ENTRIES = [
    f"{row.name}[=MODEL]" if row.repository else f"{row.name}=MODEL"
    for row in REWARD_MODELS.values()
    if row.kind == "generative"
]
ALLOWED = ", ".join([*JUDGES, *_ENTRIES, f"{REWARD}MODEL", f"{human.ENTRY}FILE"])
"""Entries that `find` takes, for messages."""

Entries = str | tuple[str, ...]
"""A judge, or a jury."""
Found = gold.Judge | RewardModel | RewardJudge | HumanJudge


class Settings(PolicySettings):
    """How the responses of policies are judged, by whoever judges."""

    rubric: Annotated[str | None, NamesFile(words=rubrics.NAMES)] = None
    """Rates each response from 1 to 10 instead of comparing two: quality, correctness (with `references`), language, or a
    text or Markdown file, here or at s3://bucket/key, with {prompt} and {response} that asks for a last line `Rating: N`.
    For generative judges; null compares."""
    references: Annotated[str | None, NamesFile()] = None
    """File of rows with id and reference, the answers that a rubric shows as {reference}; {language} in its name stands
    for the language's code."""
    scoring: Scoring = Scoring()
    """How a judge reward=MODEL computes rewards."""
    max_missing_share: float = Field(0.0, ge=0, le=1)
    """Largest share of pairs that the file of a judge human=FILE may have no verdict on; above it the stage stops. Such
    pairs are left out of the win rate, as unreadable verdicts are."""

    judge: Annotated[Entries | None, NamesFile(prefix=human.ENTRY)] = None
    """Who judges: phrasebook (knows the right answers to its own prompts), a generative model as in `external.models`, such
    as gpt-4o, served=MODEL_ID or self-taught=FOLDER, reward=MODEL (a reward model, docs/models.md), human=FILE (verdicts of
    people, docs/alignment.md), or a list of several, whose mean counts; null leaves the aligned policies unjudged."""

    @field_validator("rubric")
    @classmethod
    def _is_a_rubric(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                rubrics.find(name)
        except ConfigError as error:
            raise ValueError(f"{error.message}; {error.hint}") from error
        return name

    @field_validator("judge")
    @classmethod
    def _known(cls, judge: Entries | None, others: ValidationInfo) -> Entries | None:
        try:
            if judge is not None:
                check(judge, others.data.get("rubric"))
        except ConfigError as error:
            raise ValueError(f"{error.message}; {error.hint or ALLOWED}, or null for no verdicts") from error
        return judge

    @model_validator(mode="after")
    def _rubric_has_what_it_shows(self) -> Self:
        if self.rubric is None:
            if self.references is not None:
                raise conflict("references", self.references, "is for a rubric, and there is none")
            return self
        if self.prompt is not None:
            raise conflict(
                "prompt", self.prompt, "is for judges that compare, and a rubric rates; set only one of them"
            )
        if rubrics.find(self.rubric).needs_reference != (self.references is not None):
            raise conflict(
                "references", self.references, "is required by a rubric that shows a reference, and only there"
            )
        return self

    def reads_threads(self, model: RewardModel) -> bool:
        return self.rubric is None and super().reads_threads(model)

    def decoding(self, model: RewardModel) -> Decoding:
        if self.rubric is None:
            return super().decoding(model)
        return Decoding(
            self.max_new_tokens or ratings.MAX_NEW_TOKENS, temperature=self.temperature or 0.0,
            top_logprobs=ratings.TOP_LOGPROBS, needs_logprobs=False,
        )  # fmt: skip


def split(entries: Entries | None) -> tuple[str, ...]:
    """The entries of a judge or jury."""
    return () if entries is None else (entries,) if isinstance(entries, str) else tuple(entries)


def required(entries: Entries | None) -> Entries:
    """The entries. Raises ConfigError for none."""
    if entries is None:
        raise ConfigError("null leaves this stage out of a pipeline", where="judge.judge", hint=f"there are {ALLOWED}")
    return entries


def find(entry: str) -> Found:
    """The judge of an entry. Raises ConfigError for anything else."""
    if entry in JUDGES:
        return JUDGES[entry]
    if entry.startswith(REWARD):
        return rewards.find(entry.removeprefix(REWARD))
    if entry.startswith(human.ENTRY):
        return human.find(entry.removeprefix(human.ENTRY))
    if not reward_models.in_table(entry) or (model := reward_models.find(entry)).kind != "generative":
        raise ConfigError("no such judge", value=entry, hint=f"there are {ALLOWED}")
    return model


def check(entries: Entries, rubric: str | None) -> None:
    """Raises ConfigError for an entry that names no judge, a repeated one or none, and for a rubric that nobody reads."""
    names = split(entries)
    judges = [find(entry) for entry in names]
    models = [judge.name for judge in judges if isinstance(judge, RewardModel)]
    if not names or len(set(names)) < len(names) or len(set(models)) < len(models):
        raise ConfigError("one judge or several different ones are required", value=list(names))
    if rubric is not None and not any(isinstance(judge, RewardModel) for judge in judges):
        raise ConfigError(
            f"gives verdicts only, and rubric={rubric} is for generative judges", value=", ".join(names),
            hint="leave out the rubric, or name a model that writes",
        )  # fmt: skip


def generative(entries: Entries | None) -> list[RewardModel]:
    """The generative models among them."""
    return [judge for judge in map(find, split(entries)) if isinstance(judge, RewardModel)]


def of_single_questions(settings: Settings) -> list[str]:
    """Entries of the judges that are not asked about prompts of several turns."""
    judges = {entry: find(entry) for entry in split(settings.judge)}
    return [
        entry
        for entry, judge in judges.items()
        if isinstance(judge, gold.Judge) or (isinstance(judge, RewardModel) and not settings.reads_threads(judge))
    ]


def fingerprint(entries: Entries | None, settings: pairwise.Settings) -> str:
    """Versions of the models that judge, because a name stays the same when a folder or the newest commit on the Hub
    changes; empty for others."""
    return " ".join(filter(None, (_version(find(entry), settings) for entry in split(entries))))


def files(entries: Entries | None, settings: Settings, language: str) -> str:
    """Digest of the files of this machine that judging reads: the rubric, reference answers and verdicts of people. Raises
    DataError for one that cannot be read."""
    digest = hashlib.sha256()
    if settings.rubric is not None:
        digest.update(rubrics.find(settings.rubric).text.encode())
    for name in named_files(entries, settings, language):
        with readable(name):
            digest.update(bytes.fromhex(sha256_of(local_copy(name))))
    return digest.hexdigest()


def named_files(entries: Entries | None, settings: Settings, language: str) -> list[str]:
    """Files of rows that judging responses in this language reads."""
    names = [judge.file for judge in map(find, split(entries)) if isinstance(judge, HumanJudge)]
    return [name.replace("{language}", language) for name in (*names, settings.references) if name]


def judge(entries: Entries, settings: Settings, pairs: Sequence[Pair], language: str) -> Verdicts:
    """The verdicts of a judge or jury on `pairs`, whose responses are in `language`. Estimates and budget of all models
    are checked before any is asked.

    Raises ConfigError for a judge that cannot be asked or is too expensive, ArtifactError for one that is unavailable,
    DataError for files that cannot be used, GateError for one that refuses too many questions, costs too much or has no
    verdict on too many pairs."""
    judges = {entry: find(entry) for entry in split(entries)}
    asked = {each: _asked(each, settings, language) for each in judges.values() if isinstance(each, RewardModel)}
    for each in judges.values():
        if isinstance(each, RewardJudge):
            each.check(settings.scoring)
    pairwise.prepare({model.name: judge for model, judge in asked.items()}, pairs, settings, SECTION)
    verdicts: dict[str, Verdicts] = {}
    for entry, each in judges.items():
        who = asked[each] if isinstance(each, RewardModel) else each
        verdicts[entry] = _verdicts(who, settings, pairs, language)
        _check_budget(verdicts, settings)
    return jury.combined(verdicts) if len(verdicts) > 1 else next(iter(verdicts.values()))


def _check_budget(verdicts: Mapping[str, Verdicts], settings: Settings) -> None:
    """A judge checks its own cost while it is asked."""
    spent = sum(each.cost.usd or 0.0 for each in verdicts.values() if each.cost)
    if settings.max_usd is not None and spent > settings.max_usd:
        raise GateError(
            f"{', '.join(verdicts)} have cost {pairwise.dollars(spent)}, which is more",
            where=f"{SECTION}.max_usd", value=settings.max_usd,
            hint="their answers are kept, and a run with a higher limit continues from there",
        )  # fmt: skip


def _asked(model: RewardModel, settings: Settings, language: str) -> pairwise.Judge:
    if settings.rubric is None:
        return pairwise.load(model, settings, SECTION)
    references = ratings.read_references(settings.references, language) if settings.references else {}
    return ratings.load(model, settings, rubrics.find(settings.rubric), references)


def _verdicts(
    who: gold.Judge | RewardJudge | HumanJudge | pairwise.Judge,
    settings: Settings,
    pairs: Sequence[Pair],
    language: str,
) -> Verdicts:
    if isinstance(who, gold.Judge):
        return Verdicts(who.judge(pairs, language))
    if isinstance(who, RewardJudge):
        return who.judge(pairs, settings.scoring)
    if isinstance(who, HumanJudge):
        return who.judge(pairs, language, settings.max_missing_share)
    with contextlib.closing(who):
        judgements = who.judge(pairs)
    progress.say(f"{SECTION}[{who.model.name}]: {who.cost}")
    return Verdicts(judgements, who.cost)


def _version(judge: Found, settings: pairwise.Settings) -> str | None:
    if isinstance(judge, RewardModel):
        return pairwise.version(judge, settings)
    return judge.version() if isinstance(judge, RewardJudge) else None
