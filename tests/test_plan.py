"""What translation will take, said before it begins, and the parts it is done in."""

import json
from pathlib import Path

import pytest
from refusals import refused
from typer.testing import CliRunner

from xlrm.cli import app
from xlrm.data.corpus_schema import Description
from xlrm.errors import ConfigError
from xlrm.languages import LANGUAGES
from xlrm.stages import plan
from xlrm.stages.plan import Config
from xlrm.store.jsonl import write_jsonl
from xlrm.translation import effort, workload


@pytest.fixture
def corpus(tmp_path) -> Path:
    rows = [
        {"id": "a", "prompt": "How are you?", "chosen": "Well.\n\nAnd you?", "rejected": "```\ncode\n```\nWell."},
        {"id": "b", "prompt": "How are you?", "chosen": "So so.", "rejected": "12"},
    ]
    write_jsonl(tmp_path / "preferences.jsonl", rows)
    write_jsonl(tmp_path / "prompts.jsonl", [{"id": "c", "prompt": "So so.", "split": "train"}])
    write_jsonl(tmp_path / "rejects.jsonl", [{"source": "x", "line": 1, "reason": "not to be translated"}])
    Description(language="en").write(tmp_path)
    return tmp_path


def test_segments_are_counted_once_and_what_is_not_language_never(corpus) -> None:
    found = workload.estimates(corpus, ("ko",), {"translator": "x-alma"})["ko"]
    assert found.texts == 7
    assert found.segments == len({"How are you?", "Well.", "And you?", "So so."})


def test_hours_follow_from_tokens_as_the_formula_says() -> None:
    work = effort.Work(texts=1, segments=1000, source_bytes=350_000)
    found = effort.estimate(work, LANGUAGES["en"], LANGUAGES["zh"], 13e9)
    tokens = 350_000 / 3.5 + 1000 * 30 + 350_000 * 0.95 / 2.0
    assert found.tokens == pytest.approx(tokens)
    assert found.gpu_hours == pytest.approx(2 * 13e9 * tokens / (312e12 * 0.2) / 3600)
    work.known["zh"] = 750
    assert effort.estimate(work, LANGUAGES["en"], LANGUAGES["zh"], 13e9).tokens == pytest.approx(tokens / 4)
    assert effort.estimate(work, LANGUAGES["en"], LANGUAGES["zh"], None).gpu_hours is None


def test_parts_are_languages_by_shards(corpus, tmp_path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    metrics = plan.run(
        Config(targets=("es", "ko"), shards=2, translate={"translator": "x-alma"}), corpus=corpus, output=output
    )
    written = json.loads((output / "plan.json").read_text())
    assert [(part["language"], part["shard"]) for part in written["parts"]] == [
        ("es", "1/2"), ("es", "2/2"), ("ko", "1/2"), ("ko", "2/2"),
    ]  # fmt: skip
    assert metrics["segments"] == 8 and metrics["gpu_hours"] > 0
    assert written["assumptions"]["utilisation"] == effort.UTILISATION


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_shards_take_each_row_once(of: int, tmp_path) -> None:
    for name, count in (("preferences.jsonl", 10), ("prompts.jsonl", 3)):
        write_jsonl(tmp_path / name, ({"id": str(i)} for i in range(count)))
    for name, count in (("preferences.jsonl", 10), ("prompts.jsonl", 3)):
        bounds = [
            (start, stop) for n in range(1, of + 1) for path, start, stop in effort.parts(tmp_path, f"{n}/{of}")
            if path.name == name
        ]  # fmt: skip
        assert [i for start, stop in bounds for i in range(start, stop)] == list(range(count))


@pytest.mark.parametrize(
    ("fields", "place", "value"),
    [({"targets": ("xx",), "translate": {"translator": "x-alma"}}, "plan.targets", "xx"),
     ({"translate": {"batch_size": "many"}}, "translate.batch_size", "many"),
     ({"targets": ("ko",), "translate": {"translator": "x-alma", "engine": "abacus"}}, "translate.engine", "abacus")],
)  # fmt: skip
def test_wrong_settings_are_named(fields: dict, place: str, value: str, corpus) -> None:
    with refused(ConfigError, place, value):
        plan.run(Config(**fields), corpus=corpus, output=corpus)


def test_the_command_shows_what_is_left(tmp_path) -> None:
    rows = [{"prompt": f"What is {i}?", "chosen": f"It is number {i}.", "rejected": "No."} for i in range(20)]
    write_jsonl(tmp_path / "mine.jsonl", rows)
    config = tmp_path / "mine.yaml"
    config.write_text(
        f"targets: [es]\nbase: {{model: Qwen/Qwen2.5-3B-Instruct}}\n"
        f"curate: {{preferences: [{tmp_path}/mine.jsonl], benchmark: phrasebook, benchmark_items: 20, "
        "near_duplicates: 1.0}\n"
        f"translate: {{translator: haoranxu/X-ALMA-13B-Group2, revisions: {{haoranxu/X-ALMA-13B-Group2: {'a' * 40}}}}}\n"
    )
    shown = CliRunner().invoke(app, ["estimate", str(config)], env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.output
    assert "translate[es]" in shown.output and "A100-hours" in shown.output and "decoding 0.2" in shown.output
    wrong = CliRunner().invoke(app, ["estimate", str(config), "translate.batch_size=0"])
    assert wrong.exit_code == 2 and "translate.batch_size" in wrong.output
