"""Evaluations that can be compared: one model's rewards for the items of benchmarks, read from where they are kept."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.data import conversations, pair_records
from xlrm.data.conversations import Turns
from xlrm.data.pair_records import SIDES
from xlrm.errors import ConfigError, DataError, within
from xlrm.evaluation import external_models, reward_table
from xlrm.evaluation.credit import Ties, credit
from xlrm.evaluation.facts import text_digest
from xlrm.evaluation.results import EvaluationResults, ExternalResults, Result, SingleResult
from xlrm.store.jsonl import read_rows

if TYPE_CHECKING:
    import numpy as np

Place = tuple[str, str]
"""Name of a benchmark, and a language."""
RESULTS = SingleResult.FILE


@dataclass(frozen=True)
class ModelEvaluation:
    """One model's rewards, and their results if these are at hand."""

    name: str
    items: dict[Place, list[dict]]
    """Items with id, text (a digest of their texts), subset, section, weight if any, and the rewards of the chosen and
    of the rejected responses; or the `credit` that a judge earned."""
    ties: Ties | None = None
    """Credit for equal rewards; None if it is not known."""
    results: dict[Place, Result] = field(default_factory=dict)
    model: str = ""
    """Identifies the model, for evaluations of one model that are in several folders."""
    trained_in: str = ""
    """Language of the model's training data, if it is known."""
    base: str = ""
    """Model that it was trained from, if it is known."""

    @property
    def result(self) -> Result:
        """The result. Raises ConfigError if there are several."""
        if len(self.results) != 1:
            raise ConfigError(f"has {len(self.results)} results; `results` has all of them", value=self.name)
        return next(iter(self.results.values()))

    @property
    def accuracy(self) -> dict[str, float]:
        """Accuracy of each section, of the average, and of each `subset/NAME`, from 0 to 1."""
        return self.result.accuracy

    @property
    def interval(self) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals of the accuracies."""
        return self.result.interval

    def rows(self) -> list[dict]:
        """A row for each accuracy, as for `pandas.DataFrame`."""
        return [
            {
                "model": self.name, "benchmark": benchmark, "language": language, "part": part, "items": result.items,
                "accuracy": value, "low": result.interval[part][0], "high": result.interval[part][1],
                "longest_response": result.length_baseline.get(part), "chance": result.random_baseline[part],
            }
            for (benchmark, language), result in self.results.items()
            for part, value in result.accuracy.items()
        ]  # fmt: skip

    def item_rows(self) -> list[dict]:
        """A row for each item: its id, subset and section, the rewards, and the credit that they earned."""
        return [
            {"model": self.name, "benchmark": benchmark, "language": language, **item, "credit": float(value)}
            for (benchmark, language), items in self.items.items()
            for item, value in zip(items, earned(items, self.ties or "lost"), strict=True)
        ]


def earned(items: list[dict], ties: Ties) -> "np.ndarray":
    """Credit (n) of each item: a judge's, or that of its rewards."""
    import numpy as np

    if items and "credit" in items[0]:
        return np.array([item["credit"] for item in items], dtype=float)
    return credit(items, [(item["chosen"], item["rejected"]) for item in items], ties)


def read_folder(folder: Path, name: str = "") -> list[ModelEvaluation]:
    """Evaluations in a folder of `xlrm evaluate`, in a folder with such folders, or in the files of the stage evaluate or
    external, those of one model in one. Raises DataError for a folder without any, and for unreadable files."""
    if not (folder / RESULTS).is_file():
        folders = sorted(path.parent for path in folder.glob(f"*/{RESULTS}"))
        if not folders:
            raise DataError(f"no {RESULTS}, neither there nor one folder below", where=folder)
        return merged(each for inner in folders for each in read_folder(inner))
    content = _keys(folder / RESULTS)
    if "models" in content:
        models = ExternalResults.read(folder).models
        return [
            ModelEvaluation(
                key, _items(folder / key), of.tie_policy, {("corpus", code): r for code, r in of.results.items()}
            )
            for key, of in models.items()
        ]
    if "results" in content:
        return [_of_stage(folder, name)]
    result = SingleResult.read(folder)
    items = _items(folder)
    shown = name or (result.model.given if result.model else folder.name)
    return [
        ModelEvaluation(
            shown, items, result.tie_policy, dict.fromkeys(items, result), result.model.identity if result.model else ""
        )
    ]


def _of_stage(folder: Path, name: str) -> ModelEvaluation:
    results = EvaluationResults.read(folder)
    by_benchmark = {reward_table.CORPUS: results.results, **results.benchmarks}
    places = {(benchmark, code): r for benchmark, own in by_benchmark.items() for code, r in own.items()}
    trained_in = results.language or ""
    return ModelEvaluation(
        name or trained_in or folder.name, _items(folder), results.tie_policy, places, trained_in=trained_in
    )


def merged(evaluations: Iterable[ModelEvaluation]) -> list[ModelEvaluation]:
    """The evaluations, those of one model on different benchmarks or in different languages in one."""
    kept: list[ModelEvaluation] = []
    for each in evaluations:
        place = next((i for i, before in enumerate(kept) if _is_more_of(before, each)), None)
        if place is None:
            kept.append(each)
        else:
            before = kept[place]
            kept[place] = replace(before, items=before.items | each.items, results=before.results | each.results)
    return kept


def _is_more_of(before: ModelEvaluation, each: ModelEvaluation) -> bool:
    """Whether both are of one model, under one rule, and not of the same benchmark in the same language."""
    same = each.model == before.model != "" and before.ties == each.ties
    return same and not before.items.keys() & each.items.keys()


def _keys(path: Path) -> set[str]:
    try:
        return set(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError("not the results of an evaluation", where=path) from error


def _items(folder: Path) -> dict[Place, list[dict]]:
    verdicts = folder / external_models.VERDICTS
    if not verdicts.is_file():
        return read_rewards(folder / reward_table.FILE)
    rows = read_rows(verdicts, ("id", "text", "subset", "section", "language"))
    items: dict[Place, list[dict]] = {}
    for row in rows:
        kept = {key: row[key] for key in ("id", "text", "subset", "section", "weight", "credit") if key in row}
        items.setdefault((reward_table.CORPUS, row["language"]), []).append(kept)
    return items


def read_rewards(path: Path) -> dict[Place, list[dict]]:
    """Items of a rewards.parquet. Raises DataError as `reward_table.read` does."""
    return {
        (benchmark, language): rows
        for benchmark in reward_table.benchmarks(path)
        for language, rows in reward_table.read(path, benchmark).items()
    }


REWARD_FILE = (
    "rows with prompt, chosen, rejected, chosen_reward and rejected_reward, or a row for each response with id, side "
    "(chosen or rejected), prompt, response and reward; subset, section and language as they are"
)


def read_file(path: Path, name: str = "") -> ModelEvaluation:
    """Evaluation from a file of rewards: a rewards.parquet, or rows as `REWARD_FILE` says, such as `xlrm score` writes
    for rows that have id and side. Raises DataError for other content."""
    shown = name or path.name
    if path.suffix == ".parquet" and path.name == reward_table.FILE:
        return ModelEvaluation(shown, read_rewards(path))
    rows = read_rows(path, ())
    items = _of_pairs(path, rows) if rows and "chosen_reward" in rows[0] else _of_responses(path, rows)
    if not items:
        raise DataError("no rewards of pairs", where=path, hint=f"needed are {REWARD_FILE}")
    return ModelEvaluation(shown, items)


def _of_pairs(path: Path, rows: list[dict]) -> dict[Place, list[dict]]:
    items: dict[Place, list[dict]] = {}
    for number, row in enumerate(rows, 1):
        rewards = {side: _rewards(path, number, f"{side}_reward", row.get(f"{side}_reward")) for side in SIDES}
        with within(f"{path}:{number}: "):
            texts = pair_records.item_of(row)
        items.setdefault(_place(path, row), []).append(_item(row, str(row.get("id", number - 1)), texts) | rewards)
    return items


def _of_responses(path: Path, rows: list[dict]) -> dict[Place, list[dict]]:
    by_item: dict[tuple[Place, str], dict] = {}
    for number, row in enumerate(rows, 1):
        if row.get("side") not in SIDES or row.get("id") is None:
            where = "side" if row.get("side") not in SIDES else "id"
            hint = f"needed are {REWARD_FILE}"
            raise DataError(
                "chosen or rejected is allowed" if where == "side" else "missing", where=f"{path}:{number}: {where}",
                value=row.get(where), hint=hint,
            )  # fmt: skip
        item = by_item.setdefault((_place(path, row), str(row["id"])), {"row": row, "chosen": [], "rejected": []})
        with within(f"{path}:{number}: "):
            prompt, response = _turns(row)
        item["row"] = item["row"] | {"prompt": prompt}
        item[row["side"]].append((response, _rewards(path, number, "reward", row.get("reward"))[0]))
    items: dict[Place, list[dict]] = {}
    for (place, name), item in by_item.items():
        texts = {side: [text for text, _ in item[side]] for side in SIDES}
        if not all(texts.values()):
            raise DataError("needs a chosen and a rejected response", where=f"{path}: id", value=name)
        whole = {side: texts[side] if len(texts[side]) > 1 else texts[side][0] for side in SIDES}
        rewards = {side: [reward for _, reward in item[side]] for side in SIDES}
        items.setdefault(place, []).append(_item(item["row"], name, item["row"] | whole) | rewards)
    return items


def _turns(row: dict) -> tuple[Turns, Turns]:
    """Prompt and response of a row that was scored, in their one form. Raises DataError."""
    if row.get("response") is not None and row.get("prompt") is not None:
        return conversations.prompt(row["prompt"]), conversations.response(row["response"])
    *before, last = conversations.of_row(row)
    return conversations.prompt(before), conversations.response([last])


def _place(path: Path, row: dict) -> Place:
    return path.stem, str(row.get("language") or "")


def _item(row: dict, name: str, texts: dict) -> dict:
    subset = str(row.get("subset") or "all")
    section = str(row.get("section") or subset)
    weight = {"weight": row["weight"]} if row.get("weight") else {}
    return {"id": name, "text": text_digest(texts), "subset": subset, "section": section, **weight}


def _rewards(path: Path, number: int, column: str, value: Any) -> list[float]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
        raise DataError("a number is required", where=f"{path}:{number}: {column}", value=value)
    return [float(each) for each in values]
