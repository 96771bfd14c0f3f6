"""AlpacaEval's published verdicts, replayed: every preference, order and figure of its leaderboards."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from benchmarks import alpaca_eval_replay
from xlrm.scorers.judges.alpaca_eval import a_first

JUDGE = "weighted_alpaca_eval_gpt4_turbo"
TEXTS = ("What is one?", "What is two?", "What is three?", "What is four?")


def test_every_published_number_is_computed_here(shared_data: Path) -> None:
    made = alpaca_eval_replay.replay(alpaca_eval_replay.extract(shared_data / "alpaca_eval"))
    assert made.missed == []
    least = {"preferences from log-probabilities": 26_485, "preferences from rankings": 1_608, "orders": 28_086}
    columns = ("win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total", "discrete_win_rate")
    least |= {name + label: 50 for name in columns for label in ("", " in results.json")}
    assert {name: count for name, count in least.items() if made.counts[name] < count} == {}


@pytest.fixture
def rows() -> list[dict]:
    """Four verdicts for the model: the shown order of each is the seed's; the second has no answer."""
    likely = {"m": -0.1, "M": -2.4}
    shown = 2 - 2.718281828459045**-0.1 / (2.718281828459045**-0.1 + 2.718281828459045**-2.4)
    preferences = [shown if a_first(text) else 3 - shown for text in TEXTS]
    made = [
        {"judge": JUDGE, "model": "mine", "instruction": place, "preference": value, "characters": [3, 4]}
        for place, value in enumerate(preferences)
    ]
    for row in made:
        row["top_logprobs"] = likely
    made[1] = {name: value for name, value in made[1].items() if name != "top_logprobs"} | {"preference": 0}
    return made


def written(folder: Path, rows: list[dict], **changes: float) -> Path:
    """The rows with a leaderboard of their figures, computed here, and `changes` to these."""
    wins = [0.5 if row["preference"] == 0 else row["preference"] - 1 for row in rows]
    mean = sum(wins) / len(wins)
    spread = (sum((win - mean) ** 2 for win in wins) / (len(wins) - 1) / len(wins)) ** 0.5
    figures = {
        "judge": JUDGE, "model": "mine", "win_rate": 100 * mean, "standard_error": 100 * spread,
        "n_wins": sum(win > 0.5 for win in wins), "n_wins_base": sum(win < 0.5 for win in wins),
        "n_draws": wins.count(0.5), "n_total": len(wins),
        "discrete_win_rate": 25 * sum(win if win == 0.5 else float(win > 0.5) for win in wins),
        "length_controlled_winrate": "",
    } | changes  # fmt: skip
    with (folder / "leaderboard.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, figures.keys())
        table.writeheader()
        table.writerow(figures)
    (folder / "instructions.jsonl").write_text(
        "".join(json.dumps({"id": place, "instruction": text}) + "\n" for place, text in enumerate(TEXTS))
    )
    with gzip.open(folder / "annotations.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def missed(folder: Path) -> list[str]:
    """What differs, by the name of the comparison."""
    made = alpaca_eval_replay.replay(alpaca_eval_replay.folder_of(folder))
    return [sentence.partition(":")[0] for sentence in made.missed]


def test_nothing_differs_where_all_is_equal(rows, tmp_path) -> None:
    assert len({a_first(text) for text in TEXTS}) == 2, "both orders"
    assert missed(written(tmp_path, rows)) == []


def test_a_wrong_preference_order_or_figure_is_noticed(rows, tmp_path) -> None:
    for changes in ({"win_rate": 50.1}, {"standard_error": 0.0}, {"n_draws": 0}, {"discrete_win_rate": 12.5}):
        (name,) = changes
        assert missed(written(tmp_path, rows, **changes)) == [name, f"{name} in results.json"]
    swapped = [rows[0] | {"preference": 3 - rows[0]["preference"]}, *rows[1:]]
    found = missed(written(tmp_path, swapped))
    assert {"orders", "preferences from log-probabilities", "win_rate"} <= set(found)
    drawn = [rows[0] | {"preference": 0}, *rows[1:]]
    assert "preferences from log-probabilities" in missed(written(tmp_path, drawn))
