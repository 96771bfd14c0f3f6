"""AlpacaEval's published verdicts, replayed: every preference, order and figure of its leaderboards."""

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import alpaca_eval_published, alpaca_eval_replay
from xlrm.scorers.judges.alpaca_eval import a_first

JUDGE = "weighted_alpaca_eval_gpt4_turbo"
TEXTS = ("What is one?", "What is two?", "What is three?", "What is four?")


def test_every_published_number_is_computed_here(shared_data: Path) -> None:
    made = alpaca_eval_replay.replay(alpaca_eval_published.folder(shared_data / "alpaca_eval", Counter()))
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
    made = alpaca_eval_replay.replay(alpaca_eval_published.folder(folder, Counter()))
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


def of(options: list[str]) -> alpaca_eval_replay.Replay:
    """The replay of files named one by one."""
    notes: Counter[str] = Counter()
    found = alpaca_eval_replay.published(alpaca_eval_replay.parser().parse_args(options), notes)
    return alpaca_eval_replay.replay(found, notes)


def named(folder: Path, rows: list[dict], name: str = "rows.jsonl", **changes: float) -> list[str]:
    written(folder, rows, **changes)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {"annotations": name, "instructions": "instructions.jsonl", "leaderboard": "leaderboard.csv"}
    return [part for option, file in files.items() for part in (f"--{option}", str(folder / file))]


def test_other_judges_unknown_models_and_other_forms_are_counted_and_said(rows, tmp_path) -> None:
    """Win rate and standard error are those of the four rows alone; the rest has no row on the leaderboard."""
    first = [a_first(text) for text in TEXTS]
    call = {"ordered_models": [{"model": "M", "rank": 1}, {"model": "m", "rank": 2}]}
    cot = "alpaca_eval_cot_gpt4_turbo_fn"
    more = [
        {"annotator": cot, "generator_2": "x", "instruction": TEXTS[0], "output_1": "a", "output_2": "b",
         "preference": 2.0 if first[0] else 1.0, "raw_completion": {"concise_explanation": "m is short"} | call},
        {"judge": cot, "model": "x", "instruction": 1, "preference": 2.0 if first[1] else 1.0, "completion": json.dumps(call)},
        {"judge": cot, "model": "x", "instruction": 2, "preference": 1.5, "completion": "[[A]]"},
        {"judge": cot, "model": "x", "instruction": 99, "preference": None, "completion": None},
        {"judge": cot, "model": "x", "instruction": 0, "preference": "1.5", "completion": {"ordered_models": ["m", 3]}},
        {"judge": JUDGE, "model": "y", "instruction": 0, "preference": None, "top_logprobs": {" m": -0.1, "The": -3}},
        {"judge": JUDGE, "model": "y", "instruction": 1, "preference": None, "top_logprobs": {"The": -3}},
        {"judge": JUDGE, "model": "y", "instruction": 2, "preference": float("nan"), "top_logprobs": []},
        {"judge": "alpaca_eval_gpt4", "model": "y", "instruction": 3, "preference": None, "completion": "model_1 wins"},
    ]  # fmt: skip
    options = named(tmp_path, rows)
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in more)
    with (tmp_path / "leaderboard.csv").open("a") as file:
        file.write(f"{JUDGE},nobody,50.0,,,,,,,\n")
    made = of(options)
    broken = [sentence for sentence in made.missed if not sentence.startswith("preferences from function calls")]
    assert broken == [] and len(made.missed) == 1, "the call with no ranks has no preference, and 1.5 was published"
    assert made.counts["preferences from function calls: equal"] == 2 and made.counts["orders"] == 5
    assert made.counts["win_rate"] == made.counts["win_rate: equal"] == 1
    assert {name: count for name, count in made.notes.items() if count} == {
        "rows of the leaderboard without verdicts": 1, "models that are not on the leaderboard": 3,
        "verdicts on unknown instructions": 1, f"answers of {cot} in an unknown form": 1,
        "answers with m or M beside white space only": 1, "models without a readable verdict": 2,
    }  # fmt: skip


def test_a_leaderboard_of_alpaca_eval_itself_is_read_by_its_first_column(rows, tmp_path) -> None:
    options = named(tmp_path, rows)
    (judged,) = csv.DictReader((tmp_path / "leaderboard.csv").open())
    (tmp_path / "leaderboard.csv").write_text(f",win_rate,mode\nmine,{judged['win_rate']},community\n")
    made = of(options)
    assert made.missed == [] and made.counts["win_rate: equal"] == 1


def test_a_file_that_is_not_there_ends_the_program(rows, tmp_path) -> None:
    options = named(tmp_path, rows)
    for broken in (options[:4], [*options[:4], "--leaderboard", str(tmp_path / "other.csv")]):
        with pytest.raises(SystemExit, match="--leaderboard: a file is required"):
            of(broken)
