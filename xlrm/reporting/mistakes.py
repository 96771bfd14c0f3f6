"""Pairs that a reward model ranks wrongly, with their texts: in each section those with the largest wrong margins."""

from dataclasses import dataclass
from pathlib import Path

from xlrm.data.conversations import Turns, shown
from xlrm.data.corpus_schema import BENCHMARK_ITEMS
from xlrm.evaluation import reward_table
from xlrm.evaluation.credit import responses
from xlrm.evaluation.results import Evaluation
from xlrm.store.jsonl import each_row

COUNT = 3
"""Pairs of a section."""


@dataclass(frozen=True)
class Mistake:
    """A pair whose rejected response has the higher reward; of several responses on a side, the one with the highest
    reward."""

    language: str
    section: str
    subset: str
    id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_reward: float
    rejected_reward: float


Texts = dict[str, dict[tuple[str, str], dict]]
"""Language -> (id, digest of the texts) -> row of the benchmark."""
Item = tuple[str, dict]
"""Language, and the item as the evaluation has it."""


def find(evaluations: list[Evaluation], corpora: Path) -> dict[str, list[Mistake]]:
    """Language of the reward model -> its mistakes, section by section, on items whose texts are in `corpora`."""
    languages = dict.fromkeys(on for evaluation in evaluations for on in evaluation.scores)
    texts = {on: _texts(corpora / on / BENCHMARK_ITEMS.file, on) for on in languages}
    return {evaluation.language: worst for evaluation in evaluations if (worst := _worst(evaluation, texts))}


def _texts(path: Path, language: str) -> dict[tuple[str, str], dict]:
    """Rows by id and digest of their texts, because the same id may have other texts in another corpus."""
    rows = each_row(path) if path.is_file() else []
    return {(row["id"], _digest(row, language)): row for row in rows}


def _digest(row: dict, language: str) -> str:
    (record,) = reward_table.records(reward_table.CORPUS, language, [row], [((0.0,), ())])
    return record["text"]


def _worst(evaluation: Evaluation, texts: Texts) -> list[Mistake]:
    wrong: dict[str, list[Item]] = {}
    for on, items in evaluation.scores.items():
        for item in items:
            if is_wrong(item) and (item["id"], item["text"]) in texts[on]:
                wrong.setdefault(item["section"], []).append((on, item))
    return [
        _mistake(on, item, texts[on][item["id"], item["text"]])
        for pairs in wrong.values()
        for on, item in _chosen(pairs)
    ]


def is_wrong(item: dict) -> bool:
    """Whether the response with the highest reward is a rejected one."""
    return _margin(item) < 0


def _margin(item: dict) -> float:
    return max(item["chosen"]) - max(item["rejected"])


def _chosen(items: list[Item]) -> list[Item]:
    """The items with the largest wrong margins, in different languages if there are enough."""
    ranked = sorted(items, key=lambda pair: _margin(pair[1]))
    first = {language: (language, item) for language, item in reversed(ranked)}
    of_languages = sorted(first.values(), key=lambda pair: _margin(pair[1]))
    others = [pair for pair in ranked if pair not in of_languages]
    return [*of_languages, *others][:COUNT]


def _mistake(language: str, item: dict, row: dict) -> Mistake:
    sides = zip(responses(row), (item["chosen"], item["rejected"]), strict=True)
    (chosen, ours), (rejected, theirs) = (_best(*side) for side in sides)
    about = (language, item["section"], item["subset"], item["id"])
    return Mistake(*about, shown(row["prompt"]), shown(chosen), shown(rejected), ours, theirs)


def _best(side: list[Turns], values: list[float]) -> tuple[Turns, float]:
    place = max(range(len(values)), key=values.__getitem__)
    return side[place], values[place]
