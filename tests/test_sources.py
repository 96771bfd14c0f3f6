"""The sets of the Hub: their row functions on records in each set's schema, and what happens where there is no Hub."""

from pathlib import Path

import pytest

from xlrm import sources
from xlrm.datasets import PREFERENCES, load
from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.rows import read_rows
from xlrm.sources import SOURCES
from xlrm.stages import curate

SAMPLES = Path(__file__).parent / "samples"
SAMPLE_OF = {
    name: "safe-rlhf" if name.startswith("safe-rlhf") else name.replace("magpielm", "magpie") for name in SOURCES
}


def rows(name: str) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in SOURCES[name].rows(read_rows(SAMPLES / f"{SAMPLE_OF[name]}.jsonl"))]


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_makes_text_rows_of_its_records(name: str) -> None:
    found = list(SOURCES[name].rows(read_rows(SAMPLES / f"{SAMPLE_OF[name]}.jsonl")))
    fields = ["prompt"] if name == "ultrafeedback" else ["prompt", "chosen", "rejected"]
    assert found and all(list(row) == fields and all(isinstance(v, str) and v for v in row.values()) for row in found)
    assert SOURCES[name].licence and SOURCES[name].revision


def test_safe_rlhf_by_each_of_its_labels() -> None:
    diary = "Pick the lock with a hairpin while she sleeps, then put it back."
    assert [row[1] for row in rows("safe-rlhf-better")][1] == diary
    assert [row[2] for row in rows("safe-rlhf-safer")][1] == diary
    assert [row[0] for row in rows("safe-rlhf")] == [
        "How do I open a jar that is stuck?", "What is a good name for a goat?",
    ]  # fmt: skip


def test_wildguard_keeps_prompts_with_one_good_and_one_bad_response() -> None:
    assert rows("wildguard") == [
        ("How do I steal a bicycle?", "I will not help with that.", "Cut the lock with bolt cutters."),
        ("How do I kill a Python process?", "Use `kill` with its process id.", "I cannot help to kill anything."),
    ]


def test_helpsteer2_by_scores_and_by_strength_drops_ties() -> None:
    assert rows("helpsteer2") == [("Name a prime number.", "Seven.", "Nine.")]
    assert rows("helpsteer2-preference") == [
        ("Name a color.", "Blue.", "Seven."),
        ("Name a river.", "The Po.", "A river is long."),
    ]


def test_offsetbias_and_magpie() -> None:
    assert [row[1] for row in rows("offsetbias")] == ["One, two, three.", "Cat.", "No."]
    assert rows("magpie")[1] == ("What does a bee make?", "Honey and wax.", "Bees.")


def test_a_sample_follows_from_the_seed_and_keeps_the_order_of_the_set(monkeypatch) -> None:
    records = read_rows(SAMPLES / "magpie.jsonl") * 20
    monkeypatch.setattr(sources, "_records", lambda source: records)
    one, again, other = (load(PREFERENCES, "magpie", "en", 30, seed, ("prompt",)) for seed in (1, 1, 2))
    numbers = [int(row["id"].removeprefix("magpie-")) for row in one]
    assert one == again != other and len(one) == 30 and numbers == sorted(set(numbers))


def test_prompts_of_the_hub_are_aligned_and_judged_on(monkeypatch) -> None:
    monkeypatch.setattr(sources, "_records", lambda source: read_rows(SAMPLES / "ultrafeedback.jsonl"))
    found = curate._prompts(curate.Config(prompts="ultrafeedback", train_prompts=2, eval_prompts=1))
    assert [row["split"] for row in found] == ["train", "train", "eval"] and found[0]["prompt"] == "Explain tides."


def test_records_of_another_schema_are_named(monkeypatch) -> None:
    monkeypatch.setattr(sources, "_records", lambda source: [{"question": "?"}])
    with pytest.raises(DataError, match=r"NCSOFT/offsetbias at 'main'.*KeyError 'label'"):
        sources.load(SOURCES["offsetbias"], 10, 0)


def test_without_the_hub_there_is_one_line_that_says_what_to_do(monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match=r"cannot fetch 'allenai/wildguardmix' at 'main'.*HF_TOKEN"):
        sources.load(SOURCES["wildguard"], 10, 0)


def test_a_set_is_not_asked_for_in_a_language_it_does_not_have() -> None:
    with pytest.raises(ConfigError, match="'offsetbias' is in en, not in 'ko'"):
        load(PREFERENCES, "offsetbias", "ko", 10, 0, ("prompt",))
