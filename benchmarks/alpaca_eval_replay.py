"""Replays AlpacaEval's published verdicts: are preferences, orders and win rates computed here the published ones?

python -m benchmarks.alpaca_eval_replay [FOLDER] [--json FILE]
python -m benchmarks.alpaca_eval_replay --annotations FILE --instructions FILE --leaderboard FILE [--json FILE]

FOLDER is a copy of the repository tatsu-lab/alpaca_eval, or an extract of it with annotations.jsonl.gz (a row for each
verdict: judge, model, instruction, preference, characters of both responses, and top_logprobs or completion where they
were published), instructions.jsonl (id, instruction) and leaderboard.csv. The three files can be named one by one too
(`benchmarks.alpaca_eval_published`).

- Each published log-probability or ranking is read by the judge's prompt (`xlrm.scorers.judges.prompts`), mapped back by
  the order that the seed rule gives (`alpaca_eval.a_first`), and compared with the published preference. Rankings in the
  arguments of a function call, which no judge here writes, are read by this file.
- The seed rule is checked by itself where the answer prefers one position: the other order would give another
  preference.
- Win rate, standard error, wins, losses, draws, total and discrete rate are computed from these preferences, with the
  published ones where no answer was published, and compared with the leaderboard's.

What cannot be compared is counted and said: answers in another form, models that are not on the leaderboard, rows of it
without verdicts.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import alpaca_eval_published, record
from benchmarks.alpaca_eval_published import CALL, RANKING, WEIGHTED, Published, Verdict
from xlrm.errors import DataError, GateError
from xlrm.evaluation import win_rates
from xlrm.models.decoding import Completion
from xlrm.scorers.judges import alpaca_eval, prompts
from xlrm.scorers.judges.pairs import Judgement, Pair

TOLERANCE = 1e-6
PROMPTS = {WEIGHTED: "alpacaeval", RANKING: "alpacaeval-1"}
"""Kind of an answer -> prompt that reads it."""
STALE = {("alpaca_eval_gpt4_turbo_fn", "Mistral-7B-Instruct-v0.2")}
"""Rows of leaderboards that are not those of their published verdicts: the repository has 15.53 % in this annotations.json,
as for alpaca_eval_cot_gpt4_turbo_fn, and 19.63 % on the leaderboard."""


@dataclass
class Replay:
    counts: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    """What differs from the published, a sentence each."""
    notes: Counter[str] = field(default_factory=Counter)
    """What cannot be compared."""

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


def read(answer: Completion, kind: str) -> float | None:
    """Preference for the order shown, by the judge's answer."""
    if kind != CALL:
        return prompts.find(PROMPTS[kind]).preference(answer)
    ranks = json.loads(answer.text)
    try:
        first = next(row["rank"] for row in ranks if row["model"] == "m")
    except (TypeError, LookupError, StopIteration):
        return None
    return float(first) if first in (1, 2) else None


def judged(row: Verdict) -> Judgement:
    """Our judgement of the pair: from the judge's answer if it is known, else the published preference."""
    if row.answer is not None and row.instruction is not None and not _ours_alone(row):
        return Judgement((alpaca_eval.a_first(row.instruction),), (read(row.answer, row.kind),), (row.answer,))
    return Judgement((True,), (1.5 if row.preference == 0 else row.preference,))


def _ours_alone(row: Verdict) -> bool:
    """Whether only tokens with white space say what the judge prefers, which alpaca_eval does not read."""
    if row.kind != WEIGHTED or row.answer is None or {"m", "M"} & row.answer.logprobs[0].keys():
        return False
    return row.preference is None and read(row.answer, row.kind) is not None


def replay(rows: Iterable[Published], notes: Counter[str] | None = None) -> Replay:
    """`notes`: counts of the reader of `rows`, which go on while it reads."""
    made = Replay(notes=Counter() if notes is None else notes)
    for published in rows:
        judgements = [judged(row) for row in published.verdicts]
        for place, (row, judgement) in enumerate(zip(published.verdicts, judgements, strict=True)):
            if judgement.answers:
                _verdict(made, row, judgement, f"{published}, verdict {place}")
            elif row.answer is not None and row.instruction is not None:
                made.notes["answers with m or M beside white space only"] += 1
            elif row.answer is None and row.equal:
                made.compare("draws of equal responses", row.preference in (0, 1.5), f"{published}, verdict {place}")
        _rates(made, published, judgements)
    return made


def _verdict(made: Replay, row: Verdict, judgement: Judgement, where: str) -> None:
    published = 1.5 if row.preference == 0 else row.preference
    found = None if judgement.unreadable else judgement.preference
    made.compare(f"preferences from {row.kind}", _same(found, published), f"{where}: {found}, published {published}")
    if found is not None and published is not None and abs(found - 1.5) > TOLERANCE:
        other = 3 - found
        made.compare("orders", abs(found - published) < abs(other - published), where)


def _rates(made: Replay, published: Published, judgements: list[Judgement]) -> None:
    """Compares the statistics of the preferences, and what the stage `judge` writes of them, with the leaderboard."""
    if published.figures and (published.judge, published.model) in STALE:
        made.notes["rows of the leaderboard that are not of their verdicts"] += 1
        return
    preferences = [None if judgement.unreadable else judgement.preference for judgement in judgements]
    pairs = [
        Pair(str(place), row.instruction or "", "x" * row.characters[0], "x" * row.characters[1])
        for place, row in enumerate(published.verdicts)
    ]
    try:
        results = win_rates.win_rate(win_rates.Judged(pairs, judgements))
        computed: dict[str, Any] = {"": win_rates.head_to_head(preferences), " in results.json": results}
    except (DataError, GateError):
        made.notes["models without a readable verdict"] += 1
        return
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


def parser() -> argparse.ArgumentParser:
    made = record.parser(__doc__)
    shared = Path(os.environ.get("XLRM_SHARED_DATA", "../shared/data")) / "alpaca_eval"
    made.add_argument("folder", type=Path, nargs="?", default=shared, help=f"published verdicts (default: {shared})")
    for name in FILES:
        made.add_argument(f"--{name}", type=Path, metavar="FILE", help="instead of a folder; all three are required")
    return made


FILES = ("annotations", "instructions", "leaderboard")


def published(options: argparse.Namespace, notes: Counter[str]) -> Iterator[Published]:
    """Published rows of the folder or files. Ends the program for a file that is missing."""
    given = [getattr(options, name) for name in FILES]
    if not any(given):
        return alpaca_eval_published.folder(options.folder, notes)
    for name, path in zip(FILES, given, strict=True):
        if path is None or not path.is_file():
            raise SystemExit(f"error: --{name}: a file is required (got {path})")
    annotations, instructions, leaderboard = map(Path, given)
    return alpaca_eval_published.files(annotations, instructions, leaderboard, notes)


def main() -> None:
    options, notes = parser().parse_args(), Counter[str]()
    made = replay(published(options, notes), notes)
    for name, figure in made.figures.items():
        print(f"{name:35} {figure} equal")
    said = {name: f"{count:,}" for name, count in made.notes.items() if count}
    for name, count in said.items():
        print(f"not compared: {name}: {count}")
    for sentence in made.missed:
        print(f"missed: {sentence}")
    if not made.counts:
        made.missed.append("there is nothing to compare")
        print(f"missed: {made.missed[-1]}")
    record.write(__spec__.name, options, made.figures | said, made.missed)
    raise SystemExit(1 if made.missed else 0)


if __name__ == "__main__":
    main()
