"""Curation: what is dropped, why, and what is counted."""

import json

import pytest

from xlrm import curation
from xlrm.errors import DataError
from xlrm.rows import read_rows, write_jsonl
from xlrm.stages import curate

STORY = "The lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote the weather into a thick book"


def row(prompt: str, chosen: str = "Yes.", rejected: str = "No.", source: str = "a") -> dict:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "source": source}


def reasons(
    rows: list[dict], benchmark: tuple[str, ...] = (), alike: frozenset[str] = frozenset()
) -> tuple[list, dict]:
    kept, report = curation.clean(rows, benchmark, 0.8, alike)
    return kept, {source: counts["dropped"] for source, counts in report.as_dict().items() if counts["dropped"]}


def test_each_reason_is_found_and_counted_by_source() -> None:
    good = row("Is the sea salty?")
    rows = [
        good,
        row("Is  the sea salty? "),
        row("Is tea wet?", "Yes.", " Yes. ", source="b"),
        row("Is ice cold?", "", "No."),
        row("Is the moon far?", "Yes.", "No."),
        row("Is the moon far?", "No.", "Yes.", source="b"),
        row("Say this", STORY + ".", "No."),
        row("Say this", STORY + "!", "No.", source="b"),
        row("What is the shortest way from the old harbour to the railway station?", source="b"),
    ]
    benchmark = ("Tell me: what is the shortest way from the old harbour to the railway station",)
    kept, dropped = reasons(rows, benchmark)
    assert kept == [good, rows[6]]
    assert dropped == {
        "a": {"duplicate": 1, "unusable": 1, "conflict": 1},
        "b": {"unusable": 1, "conflict": 1, "near_duplicate": 1, "contaminated": 1},
    }
    _, report = curation.clean(rows, benchmark, 0.8)
    for counts in report.as_dict().values():
        assert counts["in"] == sum(counts["dropped"].values()) + counts["out"]
    assert report.totals()["dropped_conflict"] == 2


def test_a_closed_world_keeps_what_only_resembles() -> None:
    rows = [row("Say this", STORY + "."), row("Say this", STORY + "!"), row("Say this", STORY + ".")]
    kept, dropped = reasons(rows, (f"Please, say: {STORY}", "Say this"), frozenset({"a"}))
    assert kept == rows[:2] and dropped == {"a": {"duplicate": 1}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("one two three four five six seven eight nine ten", True),
        ("He said: ONE two, three four five six seven eight - and left", True),
        ("zero one two three four five six seven", False),
        ("nine ten one two three", False),
        ("hello there", True),
        ("hello there again", False),
        ("今天天气怎么样我们去公园", True),
    ],
)
def test_contamination_is_half_of_a_prompt_in_common_eight_grams(text: str, found: bool) -> None:
    prompts = ["one two three four five six seven eight nine ten", "Hello there!", "今天天气怎么样我们去公园吧"]
    assert curation.Contamination(prompts).holds(text) is found


def test_half_is_not_more_than_half() -> None:
    sixteen = " ".join(f"w{i}" for i in range(16))
    contamination = curation.Contamination([sixteen])
    assert not contamination.holds(" ".join(f"w{i}" for i in range(8)))
    assert contamination.holds(" ".join(f"w{i}" for i in range(9)))


def test_the_stage_reports_sources_licences_and_a_share_of_what_is_clean(tmp_path, capsys) -> None:
    mine = tmp_path / "mine.jsonl"
    write_jsonl(
        mine, [row(f"Question {i} about {STORY.split()[i % 18]} {i * i}?", f"{i} it is.") for i in range(10)] * 2
    )
    config = curate.Config(preferences=("phrasebook", str(mine)), pairs=20, train_share=0.8, benchmark_items=28)
    metrics = curate.run(config, output=tmp_path / "out")
    card = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert card["licences"] == {"phrasebook": "Apache-2.0", str(mine): "your own"} and not card["non_commercial"]
    assert card["sources"][str(mine)] == {"in": 20, "dropped": {"duplicate": 10}, "out": 10}
    assert metrics["preferences"] == 24 and metrics["dropped_duplicate"] == 10
    assert f"{mine}: 20 pairs in, dropped 10 duplicate, 10 out" in capsys.readouterr().out
    assert len(read_rows(tmp_path / "out" / "preferences.jsonl")) == 24


def test_the_merged_terms_are_the_strictest() -> None:
    assert curate._terms(("offsetbias", "safe-rlhf"))["non_commercial"]
    assert not curate._terms(("offsetbias", "helpsteer2"))["non_commercial"]


def test_nothing_left_is_an_error(tmp_path) -> None:
    mine = tmp_path / "mine.jsonl"
    write_jsonl(mine, [row("Is tea wet?", "Yes.", "Yes.")])
    with pytest.raises(DataError, match=r"curate\.preferences: no pair of .*mine.jsonl is left"):
        curate.run(curate.Config(preferences=(str(mine),)), output=tmp_path / "out")


def test_real_pairs_against_a_real_benchmark(shared_data, tmp_path) -> None:
    """One real prompt shares most of a benchmark's; the one planted here is found too."""
    pairs = read_rows(shared_data / "preferences_en.jsonl")
    bench = read_rows(shared_data / "rewardbench_mini_en.jsonl")
    longest = max((item["prompt"] for item in bench), key=len)
    rows = [{key: str(one[key]) for key in curation.PAIR} | {"source": "real"} for one in pairs]
    planted = rows[0] | {"prompt": f"Please. {longest}", "source": "planted"}
    _, report = curation.clean([*rows, planted], (item["prompt"] for item in bench), 0.8)
    assert report.as_dict()["real"]["dropped"] == {"near_duplicate": 131, "contaminated": 1}
    assert report.as_dict()["planted"]["dropped"] == {"contaminated": 1}
