"""Responses that `sample` writes: shards, runs, languages and counts; served and given ones."""

from collections import Counter
from pathlib import Path

import pytest
from refusals import refused
from sampled import answered

from benchmarks.served_translations import serving
from xlrm.data import given_responses
from xlrm.data.catalog import EVAL_PROMPTS, SPOKEN
from xlrm.data.phrasebook import judge, writer
from xlrm.errors import ConfigError, DataError, GateError
from xlrm.models import samples
from xlrm.models.decoding import seed_of
from xlrm.models.samples import Counts, SampleCounts
from xlrm.stages import sample
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.validation import responses

WORDS = ["one", "two", "three", "four", "five", "six", "seven"]
PROMPTS = [f"How much is one plus {word}?" for word in WORDS]
SETTINGS = {"languages": ["en"], "split": "all", "samples": 2, "max_new_tokens": 6, "temperature": 1.5, "top_p": 0.9}


@pytest.fixture
def corpora(tmp_path) -> Path:
    """Five prompts to align on and two to judge by."""
    rows = [{"id": str(i), "prompt": text, "split": ("train", "eval")[i > 4]} for i, text in enumerate(PROMPTS)]
    write_jsonl(tmp_path / "corpora" / "en" / "prompts.jsonl", rows)
    return tmp_path / "corpora"


def run(corpora: Path, folder: Path, policy: Path | None = None, **fields) -> tuple[Path, dict[str, float]]:
    config = sample.Config(**SETTINGS | fields)
    policies = {"policies": [policy]} if policy else {}
    return folder / "output", sample.run(config, corpora=corpora, output=folder / "output", **policies)


# What is written


def test_shards_make_the_whole(tiny_base, corpora, tmp_path) -> None:
    whole, _ = run(corpora, tmp_path / "whole", tiny_base)
    parts = [run(corpora, tmp_path / f"{n}", tiny_base, shard=f"{n}/3", shards=3)[0] for n in (1, 2, 3)]
    for split, sizes in (("train", [1, 2, 2]), ("eval", [0, 1, 1])):
        assert [len(read_rows(part / f"0/{split}/en.jsonl")) for part in parts] == sizes
        rows = samples.read(parts, 0, split, "en")
        assert rows == read_rows(whole / f"0/{split}/en.jsonl")
        assert [row["prompt"] for row in rows] == [PROMPTS[:5], PROMPTS[5:]][split == "eval"]
    assert [SampleCounts.read(part).shard for part in parts] == [(1, 3), (2, 3), (3, 3)]
    with refused(DataError, parts[0] / "0/train/en.jsonl: id", "0"):
        samples.read([*parts, parts[0]], 0, "train", "en")


def test_rows_that_cannot_be_read_are_refused(tmp_path) -> None:
    file = tmp_path / "0/train/en.jsonl"
    with refused(DataError, file):
        samples.read([tmp_path], 0, "train", "en")
    write_jsonl(file, [answered("a", "One?", ["1", "2"], finished=[True])])
    lengths = {"responses": 2, "finished": 1, "languages": 2}
    with refused(DataError, f"{file}: a", lengths):
        samples.read([tmp_path], 0, "train", "en")
    write_jsonl(file, [{"id": "a", "prompt": "One?", "responses": ["1"]}])
    with refused(DataError, f"{file}:1: finished"):
        samples.read([tmp_path], 0, "train", "en")


def test_responses_to_judge_by_are_greedy_or_several_and_drawn(tiny_base, corpora, tmp_path) -> None:
    greedy, _ = run(corpora, tmp_path / "greedy", tiny_base)
    drawn, metrics = run(corpora, tmp_path / "drawn", tiny_base, runs=4, judged_temperature=1.5)
    assert [len(row["responses"]) for row in read_rows(greedy / "0/eval/en.jsonl")] == [1, 1]
    rows = read_rows(drawn / "0/eval/en.jsonl")
    assert all(len(set(row["responses"])) > 1 and len(row["responses"]) == 4 for row in rows)
    assert read_rows(drawn / "0/train/en.jsonl") == read_rows(greedy / "0/train/en.jsonl")
    assert metrics["responses"] == 5 * 2 + 2 * 4
    common = {"max_new_tokens": 6, "beams": 1, "repetition_penalty": 1.0, "seed": 42, "engine": "transformers"}
    common |= {"precision": "float32", "context": 4096}
    hot = {"temperature": 1.5, "top_p": 0.9, "top_k": 0}
    recorded = SampleCounts.read(drawn).decoding
    assert recorded["train"] == recorded["train"] | common | hot and recorded["eval"] == recorded["train"]
    cold = {"temperature": 0.0, "top_p": 1.0, "top_k": 0}
    assert SampleCounts.read(greedy).decoding["eval"] == recorded["train"] | cold


def test_what_is_counted() -> None:
    rows = [
        answered("1", "?", ["a", "a", ""], finished=[True, False, False], languages=["es", "en", None]),
        answered("2", "?", ["bcd", "a", "efgh"], finished=[True, True, True], languages=["es", None, "de"]),
    ]
    assert Counts.of(rows, "es") == Counts(
        prompts=2, responses=6, distinct=5, empty=1, cut=2, other_language=2, unknown_language=2, mean_characters=10 / 6
    )
    flat = samples.metrics([{"train": {"es": Counts.of(rows, "es")}}])
    assert flat == {
        "responses": 6.0, "cut": 2.0, "distinct_share/train/es": 5 / 6, "empty_share/train/es": 1 / 6,
        "cut_share/train/es": 2 / 6, "other_language_share/train/es": 2 / 6,
    }  # fmt: skip


def test_a_response_in_another_language_is_known_and_a_short_one_is_not() -> None:
    said = [
        "El perro vive en la casa de mi madre, y por la noche duerme en el jardín.",
        "The dog lives in the house of my mother, and at night it sleeps in the garden.", "Madrid.", "",
        "```python\nprint('the dog lives in the house and sleeps in the garden')\n```",
    ]  # fmt: skip
    assert responses.languages_of(said, "es") == ["es", "en", None, None, None]
    assert responses.languages_of(["我的狗住在我母亲的房子里，晚上睡在花园里。"], "zh") == ["zh"]


# Responses of a model at an endpoint


def test_a_served_model_answers_once_for_all(corpora, tmp_path, monkeypatch) -> None:
    """With the seeds of each prompt, and never twice, whatever the stage's folder."""
    with serving(
        lambda text, asked: (f" {text} {asked['seed']} ", "stop" if "six" in text else "length"), str
    ) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        served = {"served": "m", "runs": 2, "judged_temperature": 0.7, "top_p": 1.0}
        folder, metrics = run(corpora, tmp_path / "a", **served)
        asked = Counter(request["temperature"] for request in server.requests)
        assert asked == {1.5: 5 * 2, 0.7: 2 * 2} and metrics["cut"] == 12
        again, _ = run(corpora, tmp_path / "b", **served)
        assert len(server.requests) == 14
    rows = samples.read([folder], 0, "eval", "en")
    assert rows == samples.read([again], 0, "eval", "en")
    assert rows[0]["responses"] == [f"{PROMPTS[5]} {seed_of(42, PROMPTS[5], number)}" for number in (0, 1)]
    assert [row["finished"] for row in rows] == [[True, True], [False, False]]
    assert SampleCounts.read(folder).decoding["eval"]["served"] == "m"


def test_what_a_server_does_not_take_is_recorded(corpora, tmp_path, monkeypatch) -> None:
    def moody(text: str, request: dict) -> tuple:
        taken = request.get("temperature", 1) == 1
        return (text, "stop") if taken else ("Unsupported value: temperature", "refused", 400, {})

    with serving(moody, str) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        folder, _ = run(corpora, tmp_path / "a", served="m", split="eval", top_p=1.0)
    assert SampleCounts.read(folder).decoding["eval"]["left_out"] == ["temperature"]


def test_a_served_model_stops_at_its_budget(corpora, tmp_path, monkeypatch) -> None:
    """The server counts words: six in each prompt, and the answers are the same."""
    with serving(lambda text, _: (text, "stop"), str) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        priced = {"served": "m", "usd_per_million": (1e4, 2e4), "split": "eval"}
        _, metrics = run(corpora, tmp_path / "a", **priced)
        assert metrics["usd"] == pytest.approx(2 * 6 * 3e4 / 1e6)
        with refused(GateError, "sample.max_usd", 0.01):
            run(corpora, tmp_path / "b", **priced | {"max_usd": 0.01, "seed": 1})


def test_a_policy_and_a_served_model_are_one_too_many(tiny_base, corpora, tmp_path) -> None:
    for field, value in (("served", "m"), ("given", "phrasebook")):
        with refused(ConfigError, f"sample.{field}", value):
            run(corpora, tmp_path, tiny_base, **{field: value})
    with refused(ConfigError, "sample.served"):
        run(corpora, tmp_path)


# Responses that were written elsewhere


def test_given_responses_are_found_by_prompt_or_id(corpora, tmp_path) -> None:
    """As alpaca_eval's outputs are written, or ours, or one row for each response."""
    files = {
        "outputs": [{"instruction": text, "output": f" {n} "} for n, text in enumerate(PROMPTS)],
        "ours": [answered(str(n), "renumbered", [str(n), "more"], finished=[n == 6, True]) for n in range(7)],
        "rows": [{"prompt": text, "id": "0", "response": f"{n}{k}"} for k in "ab" for n, text in enumerate(PROMPTS)],
    }
    for row in files["ours"]:
        row["prompt"] = None
    for name, rows in files.items():
        write_jsonl(tmp_path / f"{name}-en.jsonl", rows)
    given = {name: str(tmp_path / f"{name}-{{language}}.jsonl") for name in files}
    wanted = {"outputs": ["5", "6"], "ours": ["5", "6"], "rows": ["5a", "6a"]}
    for name, texts in wanted.items():
        folder, _ = run(corpora, tmp_path / name, given=given[name], split="eval")
        rows = samples.read([folder], 0, "eval", "en")
        assert [(row["prompt"], *row["responses"]) for row in rows] == list(zip(PROMPTS[5:], texts, strict=True))
        assert [row["finished"] for row in rows] == [[name != "ours"], [True]]
    folder, _ = run(corpora, tmp_path / "both", given=given["rows"], split="eval", runs=2)
    assert samples.read([folder], 0, "eval", "en")[0]["responses"] == ["5a", "5b"]
    with refused(DataError, tmp_path / "outputs-en.jsonl", PROMPTS[5]):
        run(corpora, tmp_path / "more", given=given["outputs"], split="eval", runs=2)
    for row, where in ({"prompt": "x", "output": 1}, "output"), ({"output": "x"}, "prompt"):
        write_jsonl(tmp_path / "bad.jsonl", [row])
        with refused(DataError, f"{tmp_path}/bad.jsonl:1: {where}", row.get(where)):
            run(corpora, tmp_path / "bad", given=str(tmp_path / "bad.jsonl"))


def test_a_changed_file_of_responses_counts(tmp_path) -> None:
    config = sample.Config(**SETTINGS, given=str(tmp_path / "{language}.jsonl"))
    digests = set()
    for text in ("a", "b"):
        write_jsonl(tmp_path / "en.jsonl", [{"prompt": text, "output": text}])
        digests.add(sample.files(config))
    assert len(digests) == 2


@pytest.mark.parametrize("language", SPOKEN)
def test_the_phrasebook_gives_right_answers_for_the_share_that_is_asked(language: str) -> None:
    rows = EVAL_PROMPTS["phrasebook"].rows(language, 200, 0)
    settings = given_responses.Settings(given="phrasebook", right_share=0.7)
    given = [texts for (texts,) in given_responses.respond(settings, rows, language, 1, 3)]
    grades = [judge.grade(row["prompt"], each.text, language) for row, each in zip(rows, given, strict=True)]
    right = [grade == 3 for grade in grades]
    assert len(rows) > 100 and abs(sum(right) / len(right) - 0.7) < 0.1 and min(grades) >= 1
    english = EVAL_PROMPTS["phrasebook"].rows("en", 200, 0)
    same = [judge.grade(row["prompt"], writer.answer(row["prompt"], "en", 0.7, 3), "en") == 3 for row in english]
    assert right == same, "a question is answered alike in every language"
    for share, grade in ((1.0, {3}), (0.0, {1, 2})):
        said = [writer.answer(row["prompt"], language, share, 3) for row in rows]
        assert {judge.grade(row["prompt"], text, language) for row, text in zip(rows, said, strict=True)} <= grade


def test_a_prompt_of_another_world_has_no_answer() -> None:
    with refused(DataError, "en.yaml", "Who are you?"):
        writer.answer("Who are you?", "en", 1.0, 0)
