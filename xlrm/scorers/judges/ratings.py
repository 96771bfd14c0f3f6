"""A generative model that rates each response by a rubric: engines, saved answers and costs are those of judges of pairs
(`pairwise`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from xlrm.errors import DataError, within
from xlrm.models.decoding import Completion
from xlrm.models.reward_models import RewardModel
from xlrm.scorers.judges import pairwise, rubrics
from xlrm.scorers.judges.pairs import Pair, check_single
from xlrm.scorers.judges.pairwise import Key, Question, Settings
from xlrm.scorers.judges.rubrics import Rubric
from xlrm.scorers.judges.verdicts import Scored, by_scores
from xlrm.store.row_files import RowFile

MAX_NEW_TOKENS = 2048
"""Limit on the tokens of an answer with an explanation, as that of `rewardbench`."""
TOP_LOGPROBS = 20
"""Most likely tokens that a rating is weighted by: the most that OpenAI's API gives, and twice the numbers."""


@dataclass(frozen=True)
class RatingPrompt:
    """What a judge of ratings is asked and how its answers are read; None for one without a rating."""

    top_logprobs: int = TOP_LOGPROBS
    asks_equal: bool = True

    def preference(self, answer: Completion) -> float | None:
        read = rubrics.rating(answer)
        return read.value if read else None


@dataclass
class Rater(pairwise.Judge):
    """A model that is shown one response at a time. A pair has two questions, whose ratings give the preference; the
    reference's is asked once for all systems."""

    rubric: Rubric = field(default_factory=lambda: rubrics.find("quality"))
    references: Mapping[str, str] = field(default_factory=dict)
    """Id of a prompt -> reference answer, for a rubric that shows one."""

    @property
    def prompt(self) -> RatingPrompt:  # type: ignore[override]
        return RatingPrompt()

    def questions(self, pair: Pair) -> list[Question]:
        check_single((pair,))
        run = pair.run if self.decoding.temperature else 0
        if self.rubric.needs_reference and pair.id not in self.references:
            raise DataError("no reference answer for this prompt", where="judge.references", value=pair.id)
        reference = self.references.get(pair.id, "")
        return [Question(True, self.rubric.messages(pair.prompt, text, reference), run) for text in (pair.a, pair.b)]

    def _judgement(self, pair: Pair, questions: list[Question], known: Mapping[Key, Completion]) -> Scored:
        answers = tuple(known[question.key] for question in questions)
        a, b = read = [rubrics.rating(answer) for answer in answers]
        scores = (a.value if a else None, b.value if b else None)
        weighted = tuple(each.weighted for each in read if each)
        return Scored((True,), (by_scores(*scores),), answers, scores=scores, unit="ratings", weighted=weighted)

    @property
    def _may_be_cut(self) -> bool:
        return False  # `Rating: 1` may be the beginning of 10

    def _kept(self, completion: Completion) -> Completion:
        return rubrics.trimmed(completion)


def load(model: RewardModel, settings: Settings, rubric: Rubric, references: Mapping[str, str]) -> Rater:
    """Rater by `model`, which is loaded only at the first question without a saved answer. Raises the errors of
    `pairwise.load`."""
    judge = pairwise.load(model, settings)
    own = {each.name: getattr(judge, each.name) for each in fields(judge)}
    return Rater(**own, rubric=rubric, references=references)


def read_references(file: str, language: str) -> dict[str, str]:
    """Id of a prompt -> reference answer, from rows with id and reference. `file` may have {language} for the language's
    code. Raises DataError for a row without them."""
    name, references = file.replace("{language}", language), {}
    for number, row in RowFile(name).numbered():
        with within(f"{name}:{number}: "):
            for column in ("id", "reference"):
                if not isinstance(row.get(column), str):
                    raise DataError("a text is required", where=column, value=row.get(column))
            references[row["id"]] = row["reference"]
    return references
