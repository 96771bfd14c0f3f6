"""Curation: what is dropped, why, and what is counted."""

import json
import random

import pytest
from phrasebook_settings import CURATE, curated
from refusals import refused

from xlrm.data import cleaning, data_card
from xlrm.data.cleaning import Contamination
from xlrm.data.hub_sets import Origin
from xlrm.errors import ConfigError, DataError
from xlrm.run.experiment import stage_config
from xlrm.stages import curate
from xlrm.store.jsonl import read_rows, write_jsonl

STORY = "The lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote the weather into a thick book"


def row(prompt: str, chosen: str = "Yes.", rejected: str = "No.", source: str = "a") -> dict:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "source": source}


def reasons(
    rows: list[dict], benchmark: tuple[str, ...] = (), alike: frozenset[str] = frozenset()
) -> tuple[list, dict]:
    kept, report = cleaning.clean(rows, Contamination(("bench", prompt) for prompt in benchmark), 0.8, alike)
    return kept, {source: counts.dropped for source, counts in report.counts().items() if counts.dropped}


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
    _, report = cleaning.clean(rows, Contamination(("bench", prompt) for prompt in benchmark), 0.8)
    assert report.counts()["b"].contaminated_by == {"bench": 1} and not report.counts()["a"].contaminated_by
    for counts in report.counts().values():
        assert counts.rows_in == sum(counts.dropped.values()) + counts.rows_out
    assert report.totals()["dropped_conflict"] == 2


def test_other_answers_to_one_long_question_are_other_pairs() -> None:
    question = f"Is this a story about the sea? {STORY}. {STORY.upper()} of his own making."
    rows = [
        row(question, "Yes, it is.", "No."),
        row(question, "Yes, it is.", "Perhaps."),
        row(question, "It takes place beside it.", "No."),
        row(f"Well. {question}", "Yes, it is!", "No."),
    ]
    kept, dropped = reasons(rows)
    assert kept == rows[:3] and dropped == {"a": {"near_duplicate": 1}}


def test_a_near_duplicate_is_found_behind_any_number_of_others() -> None:
    """Against the first of its kind, which stays: of 300 texts, four copies each with a word more, in any order."""
    rng = random.Random(1)
    texts = [" ".join(f"w{rng.randrange(5000)}" for _ in range(60)) for _ in range(300)]
    rows = [row(f"{text} more{i}", "Yes, it is.", "No.") | {"text": text} for text in texts for i in range(4)]
    rng.shuffle(rows)
    first = list({one["text"]: one for one in reversed(rows)}.values())
    kept, dropped = reasons(rows)
    assert {one["prompt"] for one in kept} == {one["prompt"] for one in first} and len(kept) == 300
    assert dropped == {"a": {"near_duplicate": 900}}


def test_texts_of_signs_alone_are_compared_as_they_are() -> None:
    rows = [row(STORY, "+", "-"), row(STORY + "!", "++", "-"), row(STORY + "?", "+", "-")]
    assert reasons(rows) == (rows[:2], {"a": {"near_duplicate": 1}})


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
    contamination = Contamination(("bench", prompt) for prompt in prompts)
    assert contamination.hits(text) == ({"bench"} if found else set())


def test_half_is_not_more_than_half() -> None:
    sixteen = " ".join(f"w{i}" for i in range(16))
    contamination = Contamination([("bench", sixteen)])
    assert not contamination.hits(" ".join(f"w{i}" for i in range(8)))
    assert contamination.hits(" ".join(f"w{i}" for i in range(9)))


def test_every_benchmark_that_asks_it_is_named() -> None:
    ask = "What is the shortest way from the old harbour to the railway station?"
    contamination = Contamination(
        [("one", ask), ("two", f"Say: {ask}"), ("two", "Hi!"), ("three", "?!"), ("three", STORY)]
    )
    assert contamination.hits(ask) == {"one", "two"} and contamination.hits("hi") == {"two"}
    assert not contamination.hits("...") and not contamination.hits("")


def test_the_stage_reports_sources_licences_and_a_share_of_what_is_clean(tmp_path, capsys) -> None:
    mine = tmp_path / "mine.jsonl"
    write_jsonl(
        mine, [row(f"Question {i} about {STORY.split()[i % 18]} {i * i}?", f"{i} it is.") for i in range(10)] * 2
    )
    config = curated(preferences=("phrasebook", str(mine)), pairs=20, train_share=0.8, benchmark_items=28)
    metrics = curate.run(config, output=tmp_path / "out")
    card = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert card["licences"] == {"phrasebook": "Apache-2.0", str(mine): "your own"} and not card["non_commercial"]
    assert card["sources"][str(mine)] == {"in": 20, "dropped": {"duplicate": 10}, "out": 10}
    assert metrics["preferences"] == 24 and metrics["dropped_duplicate"] == 10
    assert f"{mine}: 20 pairs in, dropped 10 duplicate, 10 out" in capsys.readouterr().err
    assert len(read_rows(tmp_path / "out" / "preferences.jsonl")) == 24


@pytest.mark.parametrize(
    ("used", "non_commercial", "unknown"),
    [
        ({"preferences": ["cc-by-nc-4.0", "mit"]}, True, 0),
        ({"preferences": ["mit"], "prompts": ["cc-by-nc-4.0"]}, True, 0),
        ({"preferences": ["mit", "unknown"], "eval_prompts": ["cc-by-nc-4.0"]}, False, 1),
    ],
)
def test_the_terms_are_the_strictest_of_what_is_trained_on(used: dict, non_commercial: bool, unknown: int) -> None:
    origins = {use: {str(i): Origin(licence=one) for i, one in enumerate(all_)} for use, all_ in used.items()}
    card = data_card.card("en", origins, {})
    assert card.non_commercial is non_commercial and len(card.unknown_terms) == unknown


def test_ids_are_made_unique_and_own_ones_stay_where_they_are() -> None:
    rows = [{"id": name, "n": n} for n, name in enumerate(["a", "b", "a", "a#2", "a", "a#2", "c"])]
    found = cleaning.unique_ids(rows)
    assert [row["id"] for row in found] == ["a", "b", "a#3", "a#2", "a#4", "a#2#2", "c"]
    assert [row["n"] for row in found] == list(range(7)) and cleaning.unique_ids(found) == found


def test_ids_are_unique_in_every_table_of_a_corpus(tmp_path) -> None:
    """Two files of one stem, an id twice in a file, and one that two files share."""
    files = [tmp_path / "one" / "mine.jsonl", tmp_path / "two" / "mine.jsonl"]
    for part, file in enumerate(files):
        pairs = [row(f"What is {word} called on ship {part}?", word) for word in STORY.split()[1:7]]
        own = ["x", "x", f"only-{part}", None]
        write_jsonl(file, [one | ({"id": own[i]} if i < 4 else {}) for i, one in enumerate(pairs)])
    config = curate.Config(
        preferences=tuple(map(str, files)), benchmark=str(files[0]), prompts=str(files[0]),
        near_duplicates=1.0, train_prompts=4, eval_prompts=2,
    )  # fmt: skip
    curate.run(
        config.model_copy(update={"benchmark": "phrasebook", "prompts": "phrasebook"}), output=tmp_path / "pairs"
    )
    ids = [one["id"] for one in read_rows(tmp_path / "pairs" / "preferences.jsonl")]
    assert ids[:6] == ["x", "x#2", "only-0", "mine-3", "mine-4", "mine-5"]
    assert ids[6:] == ["x#3", "x#4", "only-1", "mine-3#2", "mine-4#2", "mine-5#2"]
    with refused(DataError, "curate.prompts", str(files[0])):
        curate.run(config, output=tmp_path / "nothing")
    curate.run(config.model_copy(update={"prompts": None}), output=tmp_path / "bench")
    assert [one["id"] for one in read_rows(tmp_path / "bench" / "benchmark.jsonl")][:3] == ["x", "x#2", "only-0"]


def test_training_data_is_kept_clean_of_all_that_is_judged_by(tmp_path) -> None:
    """The benchmark, the prompts policies are judged on, and what else is named; pairs and prompts to align on."""
    asks = {
        name: f"Tell the story of {name}: {' '.join(f'{name}{i}' for i in range(12))}"
        for name in ("bench", "judge", "more", "free", "other")
    }
    for name, texts in {
        "bench": ["bench"], "judge": ["judge"], "more": ["more", "bench"], "ask": ["free", "more", "judge", "other"],
        "pairs": list(asks),
    }.items():  # fmt: skip
        write_jsonl(tmp_path / f"{name}.jsonl", [row(asks[text]) for text in texts])
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("bench", "judge", "more", "ask", "pairs")}
    config = curate.Config(
        preferences=(files["pairs"],), benchmark=files["bench"], prompts=files["ask"], eval_prompt_set=files["judge"],
        decontaminate=(files["more"],), train_prompts=2, eval_prompts=1,
    )  # fmt: skip
    curate.run(config, output=tmp_path / "out")
    card = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert card["sources"][files["pairs"]] == {
        "in": 5, "dropped": {"contaminated": 3}, "out": 2,
        "contaminated_by": {files["bench"]: 1, files["judge"]: 1, files["more"]: 2},
    }  # fmt: skip
    assert card["prompts"][files["ask"]]["contaminated_by"] == {files["judge"]: 1, files["more"]: 1}
    prompts = [(one["split"], one["prompt"]) for one in read_rows(tmp_path / "out" / "prompts.jsonl")]
    assert prompts == [("train", asks["free"]), ("train", asks["other"]), ("eval", asks["judge"])]
    account = (tmp_path / "out" / "curation.md").read_text()
    assert f"| {files['pairs']} | 5 | 3 | 2 | your own |" in account and f"{files['more']} 3" in account


def test_prompts_of_one_set_are_split_and_those_to_align_on_cleaned(tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    texts = [f"Ask {word} about the sea" for word in STORY.split()[:8]]
    write_jsonl(file, [{"prompt": text} for text in [*texts[:5], texts[0], texts[7], *texts[5:]]])
    config = curated(pairs=8, benchmark_items=14, prompts=str(file), train_prompts=7, eval_prompts=3)
    curate.run(config, output=tmp_path / "out")
    rows = read_rows(tmp_path / "out" / "prompts.jsonl")
    order = [*texts[:5], texts[0], texts[7], *texts[5:]]
    drawn = sorted(random.Random(42).sample(range(10), 3))
    judged = [order[i] for i in drawn]
    aligned = [text for text in dict.fromkeys(order) if text not in judged]
    assert drawn != [7, 8, 9]  # those for judging are a sample, not the end of the file
    assert [one["prompt"] for one in rows if one["split"] == "train"] == aligned
    assert [one["prompt"] for one in rows if one["split"] == "eval"] == judged


@pytest.mark.parametrize("field", ["preferences", "decontaminate"])
def test_a_name_that_is_none_is_said_before_anything_is_read(field: str, tmp_path) -> None:
    config = curated(**{"benchmark": str(tmp_path / "none.jsonl"), field: ("magpei",)})
    with refused(ConfigError, "", "magpei"):
        curate.run(config, output=tmp_path / "out")


def test_prompts_to_judge_by_need_prompts_to_align_on() -> None:
    with refused(ConfigError, "curate.eval_prompt_set", "asks.jsonl"):
        stage_config("curate", CURATE | {"prompts": None, "eval_prompt_set": "asks.jsonl"})


def test_nothing_left_is_an_error(tmp_path) -> None:
    mine = tmp_path / "mine.jsonl"
    write_jsonl(mine, [row("Is tea wet?", "Yes.", "Yes.")])
    with refused(DataError, "curate.preferences", str(mine)):
        curate.run(curated(preferences=(str(mine),)), output=tmp_path / "out")


def test_real_pairs_against_a_real_benchmark(shared_data, tmp_path) -> None:
    """One real prompt shares most of a benchmark's; the one planted here is found too."""
    pairs = read_rows(shared_data / "preferences_en.jsonl")
    bench = read_rows(shared_data / "rewardbench_mini_en.jsonl")
    longest = max((item["prompt"] for item in bench), key=len)
    rows = [{key: str(one[key]) for key in cleaning.PAIR} | {"source": "real"} for one in pairs]
    planted = rows[0] | {"prompt": f"Please. {longest}", "source": "planted"}
    contamination = Contamination(("bench", item["prompt"]) for item in bench)
    _, report = cleaning.clean([*rows, planted], contamination, 0.8)
    assert report.counts()["real"].dropped == {"near_duplicate": 57, "contaminated": 1}
    assert report.counts()["planted"].model_dump(by_alias=True) == {
        "in": 1, "dropped": {"contaminated": 1}, "out": 0, "contaminated_by": {"bench": 1}
    }  # fmt: skip


# Limits


def numbered(count: int) -> list[dict]:
    """Pairs that no cleaning drops."""
    return [
        row(f"How old is ship {i} of the {i * 7919 % 1000} that left harbour {i * 104729 % 997}?", f"{i} years.")
        for i in range(count)
    ]


def test_a_file_is_taken_whole(tmp_path, capsys) -> None:
    write_jsonl(tmp_path / "pairs.jsonl", numbered(3000))
    bench = [one | {"section": "last" if i >= 700 else "first"} for i, one in enumerate(numbered(800))]
    write_jsonl(tmp_path / "bench.jsonl", [one | {"prompt": f"Bench: {one['prompt']}"} for one in bench])
    config = curate.Config(
        preferences=(str(tmp_path / "pairs.jsonl"),), benchmark=str(tmp_path / "bench.jsonl"), near_duplicates=1.0
    )
    metrics = curate.run(config, output=tmp_path / "out")
    assert metrics["benchmark_items"] == 800
    assert metrics["preferences"] + sum(v for k, v in metrics.items() if k.startswith("dropped_")) == 3000
    assert "not taken" not in capsys.readouterr().err + (tmp_path / "out" / "curation.md").read_text()


def test_a_limit_takes_a_sample_and_says_what_it_leaves_out(tmp_path, capsys) -> None:
    """Expected: the sample that `random` draws with this seed from the numbers of the rows."""
    pairs, bench = tmp_path / "pairs.jsonl", tmp_path / "bench.jsonl"
    write_jsonl(pairs, numbered(300))
    items = [{**one, "prompt": f"Bench: {one['prompt']}", "section": "many"} for one in numbered(40)]
    write_jsonl(bench, [*items, {**items[0], "prompt": "Bench: alone?", "section": "rare"}])
    config = curate.Config(
        preferences=(str(pairs),), pairs=100, benchmark=str(bench), benchmark_items=20, seed=1, near_duplicates=1.0
    )
    curate.run(config, output=tmp_path / "out")
    drawn = sorted(random.Random(1).sample(range(300), 100))
    ids = [one["id"] for one in read_rows(tmp_path / "out" / "preferences.jsonl")]
    assert set(ids) <= {f"pairs-{i}" for i in drawn} and len(ids) > 90 and drawn != list(range(100))
    sections = {one["section"] for one in read_rows(tmp_path / "out" / "benchmark.jsonl")}
    assert 40 not in random.Random(1).sample(range(41), 20) and sections == {"many"}
    card = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert card["origins"]["preferences"][str(pairs)]["not_taken"] == 200
    assert card["origins"]["benchmark"][str(bench)] == {
        "licence": "your own", "file": str(bench), "rows": 41, "not_taken": 21, "lost": ["rare"],
    }  # fmt: skip
    said, account = capsys.readouterr().err, (tmp_path / "out" / "curation.md").read_text()
    assert f"{pairs}: 100 of 300 rows taken" in said and f"{bench}: no item of rare" in said
    assert f"{bench} (benchmark): 21 of 41 rows not taken, and with them all of rare." in account


def test_prompts_are_all_used_and_a_tenth_is_for_judging(tmp_path) -> None:
    write_jsonl(tmp_path / "ask.jsonl", [{"prompt": f"Tell me about ship {i}."} for i in range(50)])
    curate.run(curated(prompts=str(tmp_path / "ask.jsonl"), pairs=8, parallel=None), output=tmp_path / "out")
    splits = [one["split"] for one in read_rows(tmp_path / "out" / "prompts.jsonl")]
    assert splits == ["train"] * 45 + ["eval"] * 5
    curate.run(
        curated(prompts=str(tmp_path / "ask.jsonl"), train_prompts=10, pairs=8, parallel=None), output=tmp_path / "ten"
    )
    card = json.loads((tmp_path / "ten" / "corpus.json").read_text())
    assert card["origins"]["prompts"][str(tmp_path / "ask.jsonl")]["not_taken"] == 35
    assert sum(one["split"] == "train" for one in read_rows(tmp_path / "ten" / "prompts.jsonl")) == 10


def test_cleaning_can_be_left_out(tmp_path) -> None:
    """Only what nothing can be learned from is dropped then."""
    once, other = row("Where is the harbour of the old town?", "North."), row("Is tea wet?", "Yes.", "Yes.")
    write_jsonl(tmp_path / "mine.jsonl", [once, once, other])
    for reasons, kept in ((("duplicate",), 1), ((), 2)):
        config = curated(preferences=(str(tmp_path / "mine.jsonl"),), clean=reasons, prompts=None, parallel=None)
        metrics = curate.run(config, output=tmp_path / str(kept))
        assert metrics["preferences"] == kept and metrics["dropped_unusable"] == 1
        left = (
            ["conflict", "near_duplicate", "contaminated"]
            if reasons
            else ["duplicate", "conflict", "near_duplicate", "contaminated"]
        )
        assert json.loads((tmp_path / str(kept) / "corpus.json").read_text())["left_in"] == left
        account = (tmp_path / str(kept) / "curation.md").read_text()
        assert (
            f"Not looked for (curate.clean): {', '.join(left).replace('_', ' ')}, so prompts of the benchmark"
            in account
        )
    with refused(ConfigError, "curate.decontaminate", ("rewardbench",)):
        stage_config("curate", CURATE | {"clean": [], "decontaminate": ["rewardbench"]})
