"""Replays AlpacaEval's published verdicts: are preferences, orders and win rates computed here the published ones?

python -m benchmarks.alpaca_eval_replay [FOLDER] [--json FILE]

FOLDER is a copy of the repository tatsu-lab/alpaca_eval, or an extract of it with annotations.jsonl.gz (a row for each
verdict: judge, model, instruction, preference, characters of both responses, and top_logprobs or completion where they
were published), instructions.jsonl (id, instruction) and leaderboard.csv.

- Each published log-probability or ranking is read by the judge's prompt (`xlrm.scorers.judges.prompts`), mapped back by
  the order that the seed rule gives (`alpaca_eval.a_first`), and compared with the published preference.
- The seed rule is checked by itself where the answer prefers one position: the other order would give another
  preference.
- Win rate, standard error, wins, losses, draws, total and discrete rate are computed from these preferences, with the
  published ones where no answer was published, and compared with the leaderboard's.
"""

import argparse
import csv
import gzip
import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import record
from xlrm.evaluation import win_rates
from xlrm.models import logprobs
from xlrm.models.decoding import Completion
from xlrm.scorers.judges import alpaca_eval, prompts
from xlrm.scorers.judges.pairs import Judgement, Pair

TOLERANCE = 1e-6
PROMPTS = {"weighted_alpaca_eval_gpt4_turbo": "alpacaeval", "alpaca_eval_gpt4": "alpacaeval-1"}
"""alpaca_eval's name of a judge -> ours of its prompt."""
BOARDS = {
    "weighted_alpaca_eval_gpt4_turbo": "data_AlpacaEval_2/weighted_alpaca_eval_gpt4_turbo_leaderboard.csv",
    "alpaca_eval_gpt4": "data_AlpacaEval/alpaca_eval_gpt4_leaderboard.csv",
}
"""Name of a judge -> its leaderboard in the repository."""


@dataclass(frozen=True)
class Verdict:
    instruction: str
    preference: float | None
    """As published: 1 to 2, 0 for a draw, None without one."""
    characters: tuple[int, int]
    """Lengths of the reference's response and the model's."""
    answer: Completion | None = None
    """What the judge wrote, if it was published."""
    equal: bool = False
    """Whether both responses are known to be the same."""


@dataclass(frozen=True)
class Published:
    """A row of a leaderboard with its verdicts."""

    judge: str
    model: str
    verdicts: list[Verdict]
    figures: dict[str, float]
    """Columns of the leaderboard that have a number."""

    def __str__(self) -> str:
        return f"{self.judge}: {self.model}"


@dataclass
class Replay:
    counts: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    """What differs from the published, a sentence each."""

    def compare(self, what: str, equal: bool, where: str) -> None:
        """Counts a comparison by its name; keeps the sentence for one that failed."""
        self.counts[what] += 1
        self.counts[f"{what}: equal"] += equal
        if not equal:
            self.missed.append(f"{what}: {where}")

    @property
    def figures(self) -> dict[str, str]:
        names = [name for name in self.counts if f"{name}: equal" in self.counts]
        return {name: f"{self.counts[f'{name}: equal']:,} of {self.counts[name]:,}" for name in names}


def extract(folder: Path) -> Iterator[Published]:
    """Rows of leaderboard.csv with their verdicts."""
    texts = {row["id"]: row["instruction"] for row in _lines(folder / "instructions.jsonl")}
    verdicts: dict[tuple[str, str], list[Verdict]] = {}
    for row in _lines(folder / "annotations.jsonl.gz"):
        likely, text = row.get("top_logprobs"), row.get("completion")
        answer = _answer(likely.items() if likely else None, text)
        first, second = row["characters"]
        verdict = Verdict(texts[row["instruction"]], row["preference"], (first, second), answer)
        verdicts.setdefault((row["judge"], row["model"]), []).append(verdict)
    for row in _table(folder / "leaderboard.csv"):
        judge, model = row.pop("judge"), row.pop("model")
        yield Published(judge, model, verdicts[judge, model], _numbers(row))


def repository(folder: Path) -> Iterator[Published]:
    """Rows of the leaderboards of AlpacaEval 1 and 2 whose verdicts are in the repository."""
    for judge, board in BOARDS.items():
        for row in _table(folder / "src/alpaca_eval/leaderboards" / board):
            model = row.pop("")
            path = folder / "results" / model / judge / "annotations.json"
            if path.is_file():
                verdicts = [_annotation(row) for row in json.loads(path.read_text(encoding="utf-8"))]
                yield Published(judge, model, verdicts, _numbers(row))


def _annotation(row: dict[str, Any]) -> Verdict:
    raw = row.get("raw_completion")
    if isinstance(raw, dict):
        (position,) = raw["logprobs"]["content"]
        answer = _answer([(entry["token"], entry["logprob"]) for entry in position["top_logprobs"]], None)
    else:
        answer = _answer(None, raw)
    first, second = row["output_1"], row["output_2"]
    preference = row["preference"]
    given = None if preference is None or math.isnan(preference) else float(preference)
    return Verdict(row["instruction"], given, (len(first), len(second)), answer, first == second)


def _answer(likely: Any, text: str | None) -> Completion | None:
    if likely is not None:
        return Completion("", False, logprobs=(logprobs.by_text(likely),))
    return None if text is None else Completion(text, True)


def judged(row: Verdict, judge: str) -> Judgement:
    """Our judgement of the pair: from the judge's answer if it is known, else the published preference."""
    first = alpaca_eval.a_first(row.instruction)
    if row.answer is not None:
        return Judgement((first,), (prompts.find(PROMPTS[judge]).preference(row.answer),), (row.answer,))
    published = 1.5 if row.preference == 0 else row.preference
    return Judgement((True,), (published,))


def replay(rows: Iterator[Published]) -> Replay:
    made = Replay()
    for published in rows:
        judgements = [judged(row, published.judge) for row in published.verdicts]
        for place, (row, judgement) in enumerate(zip(published.verdicts, judgements, strict=True)):
            if row.answer is not None:
                _verdict(made, row, judgement, f"{published}, verdict {place}")
            elif row.equal:
                made.compare("draws of equal responses", row.preference in (0, 1.5), f"{published}, verdict {place}")
        _rates(made, published, judgements)
    return made


def _verdict(made: Replay, row: Verdict, judgement: Judgement, where: str) -> None:
    kind = "log-probabilities" if row.answer and row.answer.logprobs else "rankings"
    published = 1.5 if row.preference == 0 else row.preference
    found = None if judgement.unreadable else judgement.preference
    made.compare(f"preferences from {kind}", _same(found, published), f"{where}: {found}, published {published}")
    if found is not None and published is not None and abs(found - 1.5) > TOLERANCE:
        other = 3 - found
        made.compare("orders", abs(found - published) < abs(other - published), where)


def _rates(made: Replay, published: Published, judgements: list[Judgement]) -> None:
    """Compares the statistics of the preferences, and what the stage `judge` writes of them, with the leaderboard."""
    preferences = [None if judgement.unreadable else judgement.preference for judgement in judgements]
    pairs = [
        Pair(str(place), row.instruction, "x" * row.characters[0], "x" * row.characters[1])
        for place, row in enumerate(published.verdicts)
    ]
    results = win_rates.win_rate(win_rates.Judged(pairs, judgements))
    computed: dict[str, Any] = {"": win_rates.head_to_head(preferences), " in results.json": results}
    for label, rates in computed.items():
        total = getattr(rates, "items" if label else "total")
        counts = {"n_wins": rates.wins, "n_wins_base": rates.losses, "n_draws": rates.draws, "n_total": total}
        shares = {
            "win_rate": rates.win_rate,
            "standard_error": rates.standard_error,
            "discrete_win_rate": rates.discrete,
        }
        ours = counts | {name: None if share is None else 100 * share for name, share in shares.items()}
        for name, value in ours.items():
            if (wanted := published.figures.get(name)) is not None:
                made.compare(name + label, _same(value, wanted), f"{published}: {value}, published {wanted}")


def _same(found: float | None, published: float | None) -> bool:
    if found is None or published is None:
        return found is published
    return abs(found - published) <= TOLERANCE


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _numbers(row: dict[str, str]) -> dict[str, float]:
    numbers = {}
    for name, text in row.items():
        try:
            numbers[name] = float(text)
        except ValueError:
            continue
    return {name: value for name, value in numbers.items() if not math.isnan(value)}


def folder_of(path: Path) -> Iterator[Published]:
    """Published rows of either kind of folder."""
    return extract(path) if (path / "annotations.jsonl.gz").is_file() else repository(path)


def parser() -> argparse.ArgumentParser:
    made = record.parser(__doc__)
    shared = Path(os.environ.get("XLRM_SHARED_DATA", "../shared/data")) / "alpaca_eval"
    made.add_argument("folder", type=Path, nargs="?", default=shared, help=f"published verdicts (default: {shared})")
    return made


def main() -> None:
    options = parser().parse_args()
    made = replay(folder_of(options.folder))
    for name, figure in made.figures.items():
        print(f"{name:35} {figure} equal")
    for sentence in made.missed:
        print(f"missed: {sentence}")
    record.write(__spec__.name, options, made.figures, made.missed)
    raise SystemExit(1 if made.missed else 0)


if __name__ == "__main__":
    main()
