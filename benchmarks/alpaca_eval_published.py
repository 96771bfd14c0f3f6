"""Reads AlpacaEval's published verdicts: from the repository tatsu-lab/alpaca_eval, or from files with rows of it."""

import csv
import gzip
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xlrm.models import logprobs
from xlrm.models.decoding import Completion

WEIGHTED, RANKING, CALL = "log-probabilities", "rankings", "function calls"
"""Kinds of answers: of the tokens m and M; a list in the text, which ranks model_1 and model_2; and the arguments of a
call, which rank m and M."""
RANKERS = ("alpaca_eval_gpt4",)
"""Judges whose every text is a ranking, perhaps a broken one."""
_BOARD = "_leaderboard"


@dataclass(frozen=True)
class Verdict:
    instruction: str | None
    """None for one that is in no file of instructions."""
    preference: float | None
    """As published: 1 to 2, 0 for a draw, None without one."""
    characters: tuple[int, int]
    """Lengths of the reference's response and the model's; zeros if they are unknown."""
    answer: Completion | None = None
    """What the judge wrote, if it was published in a known form."""
    kind: str = ""
    """Kind of the answer; empty without one."""
    equal: bool = False
    """Whether both responses are known to be the same."""


@dataclass(frozen=True)
class Published:
    """All verdicts of a judge on a model."""

    judge: str
    model: str
    verdicts: list[Verdict]
    figures: dict[str, float] = field(default_factory=dict)
    """Columns of the leaderboard that have a number; empty if the model is not on it."""

    def __str__(self) -> str:
        return f"{self.judge}: {self.model}"


def folder(path: Path, notes: Counter[str]) -> Iterator[Published]:
    """The repository or an extract of it. `notes` counts what cannot be compared."""
    if (path / "annotations.jsonl.gz").is_file():
        return files(path / "annotations.jsonl.gz", path / "instructions.jsonl", path / "leaderboard.csv", notes)
    return repository(path, notes)


def files(annotations: Path, instructions: Path, leaderboard: Path, notes: Counter[str]) -> Iterator[Published]:
    """Rows of `annotations` by judge and model, with those of `leaderboard`, which is alpaca_eval's own or has a column
    `judge` too. A row has judge, model, instruction (its id or the text), preference, and characters, top_logprobs or
    completion if they are known; or the names of the repository's annotations.json. All files may be JSON, JSON lines
    or compressed with gzip."""
    texts = {row.get("id", place): row["instruction"] for place, row in enumerate(_rows(instructions))}
    by_names: dict[tuple[str, str], list[Verdict]] = {}
    for row in _rows(annotations):
        names = (str(row.get("judge", row.get("annotator"))), str(row.get("model", row.get("generator_2"))))
        by_names.setdefault(names, []).append(_verdict(row, texts, names[0], notes))
    figures = dict(_figures(leaderboard, {judge for judge, _ in by_names}))
    notes["rows of the leaderboard without verdicts"] += len(figures.keys() - by_names.keys())
    for (judge, model), verdicts in by_names.items():
        notes["models that are not on the leaderboard"] += (judge, model) not in figures
        yield Published(judge, model, verdicts, figures.get((judge, model), {}))


def repository(path: Path, notes: Counter[str]) -> Iterator[Published]:
    """Rows of all leaderboards whose verdicts are in the repository."""
    for board in sorted(path.glob(f"src/alpaca_eval/leaderboards/*/*{_BOARD}.csv")):
        judge = board.stem.removesuffix(_BOARD)
        for (_, model), figures in _figures(board, {judge}):
            annotations = path / "results" / model / judge / "annotations.json"
            if annotations.is_file():
                verdicts = [_verdict(row, {}, judge, notes) for row in _rows(annotations)]
                yield Published(judge, model, verdicts, figures)


def _verdict(row: Mapping[str, Any], texts: Mapping[Any, str], judge: str, notes: Counter[str]) -> Verdict:
    named = row["instruction"]
    instruction = texts.get(named, named if isinstance(named, str) else None)
    notes["verdicts on unknown instructions"] += instruction is None
    outputs = [row.get(name) for name in ("output_1", "output_2")]
    lengths = row.get("characters") or [len(text or "") for text in outputs]
    answer, kind = _answer(row, judge)
    if kind and answer is None:
        notes[f"answers of {judge} in an unknown form"] += 1
    return Verdict(
        instruction, _preference(row.get("preference")), (int(lengths[0]), int(lengths[1])), answer, kind if answer else "",
        outputs[0] is not None and outputs[0] == outputs[1],
    )  # fmt: skip


def _preference(given: Any) -> float | None:
    """None for null, NaN and an empty text."""
    value = math.nan if given in (None, "") else float(given)
    return None if math.isnan(value) else value


def _answer(row: Mapping[str, Any], judge: str) -> tuple[Completion | None, str]:
    """The answer and its kind; (None, "") if none was published, (None, "unknown") for another form."""
    given = row.get("top_logprobs") or row.get("completion", row.get("raw_completion"))
    if given is None or given == "":
        return None, ""
    if likely := _likely(given, judge):
        return Completion("", False, logprobs=(likely,)), WEIGHTED
    if isinstance(given, str) and (judge in RANKERS or "model_1" in given):
        return Completion(given, True), RANKING
    ranks = _object(given).get("ordered_models")
    return (None, "unknown") if ranks is None else (Completion(json.dumps(ranks), True), CALL)


def _likely(given: Any, judge: str) -> dict[str, float]:
    """Log-probabilities at the first position; empty if there are none of m or M, and for other content."""
    content = given.get("logprobs") if isinstance(given, dict) else None
    positions = content.get("content") if isinstance(content, dict) else None
    if isinstance(positions, list):
        given = (positions[0].get("top_logprobs") if positions and isinstance(positions[0], dict) else None) or []
    if isinstance(given, dict):
        pairs: Iterable[tuple[Any, Any]] = given.items()
    else:
        entries = given if isinstance(given, list) else []
        pairs = [(entry.get("token"), entry.get("logprob")) for entry in entries if isinstance(entry, dict)]
    numbers = [(token, value) for token, value in pairs if isinstance(token, str) and isinstance(value, float | int)]
    likely = logprobs.by_text(numbers)
    return likely if judge.startswith("weighted") or {"m", "M"} & likely.keys() else {}


def _object(given: Any) -> dict[str, Any]:
    try:
        content = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _figures(path: Path, judges: set[str]) -> Iterator[tuple[tuple[str, str], dict[str, float]]]:
    """((judge, model), numbers) of each row. Without a column `judge` a row counts for the judge of the file's name, or for
    each of `judges`."""
    named = path.stem.removesuffix(_BOARD)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            model = row.pop("model", None) or row.pop("", None) or row.pop("name", "")
            own = row.pop("judge", None)
            for judge in [own] if own else [named] if named in judges else sorted(judges):
                yield (judge, str(model)), _numbers(row)


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    numbers = {}
    for name, text in row.items():
        try:
            numbers[name] = float(text)
        except (ValueError, TypeError):
            continue
    return {name: value for name, value in numbers.items() if not math.isnan(value)}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig") as file:
        if file.read(1) == "[":
            file.seek(0)
            yield from json.load(file)
        else:
            file.seek(0)
            yield from (json.loads(line) for line in file if line.strip())
