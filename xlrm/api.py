"""The names that `import xlrm` offers to notebooks and scripts: load a reward model, score conversations, evaluate a
table of pairs, compare models (docs/api.md). Errors that the user can mend are `xlrm.errors.XlrmError`.

Nothing heavy is imported before a function is called.
"""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from xlrm.analysis.paired_models import ModelComparison
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation.credit import Ties
from xlrm.evaluation.evaluated import ModelEvaluation
from xlrm.models.chat_templates import Message, Side
from xlrm.models.precisions import Precision

if TYPE_CHECKING:
    import pandas

    from xlrm.evaluation.single import Items, Subject

__all__ = ["Model", "ModelComparison", "ModelEvaluation", "compare", "evaluate", "load"]

Conversation = Mapping[str, Any] | Sequence[Mapping[str, Any]] | tuple[Any, str]
"""{"prompt": ..., "response": ...}, {"messages": [...]}, a list of messages, or (prompt, response)."""


class Model:
    """A reward model in memory. It is made by `load`."""

    def __init__(self, subject: "Subject") -> None:
        self._subject = subject

    def __repr__(self) -> str:
        return f"<xlrm.Model {self.name}>"

    @property
    def name(self) -> str:
        """Name that it was loaded by."""
        return self._subject.model.given

    @property
    def version(self) -> str:
        """What the name stood for: models:/NAME/VERSION, OWNER/NAME@COMMIT, or the folder's full path."""
        return self._subject.model.resolved

    @property
    def digest(self) -> str:
        """sha256 over its files."""
        return self._subject.model.digest or ""

    @property
    def max_length(self) -> int:
        """Tokens of a conversation; a longer one is cut."""
        return self._subject.scorer.max_length

    def score(self, conversations: "Iterable[Conversation] | pandas.DataFrame | str | PathLike[str]") -> list[float]:
        """Rewards of the conversations, in their order: raw logits, of which only the order for one prompt has a meaning.

        A conversation is {"prompt": ..., "response": ...}, {"messages": [...]}, a list of messages, or (prompt, response);
        a data frame or file has one in each row. Raises DataError for what is not a conversation.
        """
        return self._subject.scorer.score(_conversations(conversations))


def load(
    model: str | PathLike[str],
    *,
    max_length: int | None = None,
    truncation_side: Side | None = None,
    precision: Precision | None = None,
    engine: Literal["transformers", "vllm"] | None = None,
    device: str | None = None,
    batch_tokens: int | None = None,
    processes: int | None = None,
) -> Model:
    """Loads a reward model: a folder, OWNER/NAME[@REVISION] of the Hub, models:/NAME@ALIAS, models:/NAME/VERSION, a URI, or
    a classifier of the table of models from elsewhere.

    The options are those of `xlrm score` (docs/scoring.md); None stands for the default there. Raises ConfigError and
    ArtifactError.
    """
    from xlrm.evaluation import single
    from xlrm.run.scoring_commands import quiet_transformers
    from xlrm.run.scoring_options import checked
    from xlrm.scorers.interface import Scoring

    options = {
        "max_length": max_length, "truncation_side": truncation_side, "precision": precision, "engine": engine,
        "device": device, "batch_tokens": batch_tokens, "processes": processes,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    checked(Scoring, given, "xlrm.load")
    entry = str(model)
    if single.is_judge(entry):
        raise ConfigError("a judge, which gives no rewards", value=entry, hint="`xlrm evaluate` asks it for verdicts")
    quiet_transformers()
    return Model(single.load(entry, given))


def evaluate(
    model: Model | str | PathLike[str],
    table: "str | PathLike[str] | Sequence[Mapping[str, Any]] | pandas.DataFrame",
    *,
    language: str = "en",
    ties: Ties = "lost",
    items: int | None = None,
) -> ModelEvaluation:
    """Evaluates a model on a benchmark: the name of one, a file, or rows with `prompt`, `chosen` and `rejected`, and
    optionally `id`, `subset` and `section` (docs/evaluation.md).

    `ties`: credit of a pair with equal rewards, lost or half. `items`: number of items, drawn by a seed; None for all.
    Raises ConfigError and DataError before anything is scored.
    """
    from xlrm.evaluation import reward_table, single
    from xlrm.run.scoring_commands import ties_of

    rule, chosen = ties_of(ties, "ties"), _items(table, language, items)
    subject = (model if isinstance(model, Model) else load(model))._subject
    result, scored = single.evaluate(subject, chosen, rule)
    place = (chosen.name, chosen.language)
    kept = reward_table.grouped(reward_table.records(*place, chosen.rows, scored))
    return ModelEvaluation(subject.model.given, {place: kept[language]}, rule, {place: result}, subject.model.identity)


def compare(
    first: ModelEvaluation | str | PathLike[str],
    *others: ModelEvaluation | str | PathLike[str],
    ties: Ties | None = None,
) -> ModelComparison:
    """Compares models with the first one, on the items that they share: differences with intervals, and two tests.

    Each is what `evaluate` gave, or a name that `xlrm compare` takes: a folder of `xlrm evaluate`, a file of rewards, the
    URI of an evaluation, a run, or models:/NAME@ALIAS. `ties`: None for the rule of the evaluations. Raises ConfigError
    for evaluations with different rules, and DataError for two that share no item.
    """
    from xlrm.analysis import paired_models
    from xlrm.run import evaluations
    from xlrm.run.scoring_commands import ties_of

    groups = [[each] if isinstance(each, ModelEvaluation) else evaluations.find(str(each)) for each in (first, *others)]
    return paired_models.compare(evaluations.paired(groups), ties_of(ties, "ties") if ties else None)


def _items(table: Any, language: str, count: int | None) -> "Items":
    from xlrm.data import hub_sets
    from xlrm.data.hub_sets import Loaded, Origin
    from xlrm.data.licences import YOUR_OWN
    from xlrm.evaluation import benchmarks, single
    from xlrm.evaluation.facts import BenchmarkFacts

    if count is not None and count < 1:
        raise ConfigError("at least 1 item is required", where="items", value=count)
    if isinstance(table, str | PathLike):
        (items,) = single.read_items(str(table), [language], count)
        return items
    rows = benchmarks.of_rows("table", _rows(table))
    if not rows:
        raise DataError("no rows", where="table")
    taken = hub_sets.take("table", Loaded(rows, Origin(licence=YOUR_OWN)), count, single.SEED).rows
    return single.Items("table", language, taken, BenchmarkFacts(given="table", available=len(rows)))


def _conversations(given: Any) -> list[list[Message]]:
    from xlrm.data import conversations
    from xlrm.store.jsonl import read_rows

    if isinstance(given, str | PathLike):
        given = read_rows(str(given))
    elif isinstance(given, Mapping):
        raise DataError("a list of conversations is required", where="conversations", value=dict(given))
    rows = _rows(given) if hasattr(given, "columns") else list(given)
    if rows and all(isinstance(row, Mapping) and "role" in row for row in rows):
        raise DataError(
            "a list of conversations is required, and this is one", where="conversations", hint="write [messages]"
        )
    chats = []
    for number, row in enumerate(rows, 1):
        try:
            chats.append(conversations.of_row(_row(row)))
        except DataError as error:
            raise error.within(f"conversations:{number}: ") from error
    return chats


def _row(conversation: Any) -> Mapping[str, Any]:
    """The conversation as a row. Raises DataError."""
    if isinstance(conversation, Mapping):
        return conversation
    if isinstance(conversation, tuple) and len(conversation) == 2:
        return {"prompt": conversation[0], "response": conversation[1]}
    if isinstance(conversation, Sequence) and not isinstance(conversation, str):
        return {"messages": list(conversation)}
    raise DataError("a dict, a list of messages, or (prompt, response) is allowed", value=conversation)


def _rows(table: Any) -> list[dict[str, Any]]:
    """Rows of a data frame, or the rows that were given. A missing value (NaN, NA) of a frame is absent, and an array in a
    cell, at any level, is a list. Raises DataError for anything else."""
    if hasattr(table, "to_dict"):
        frame = table.astype(object).where(table.notna(), None)
        return [
            {key: _listed(value) for key, value in row.items() if value is not None} for row in frame.to_dict("records")
        ]
    rows = list(table)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise DataError("a row with the fields as keys is required", where=f"table:{number}", value=row)
    return [dict(row) for row in rows]


def _listed(value: Any) -> Any:
    """The value with lists for arrays, and numbers of Python for those of NumPy."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return list(map(_listed, value)) if isinstance(value, list) else value
