"""The stages that train and use models, on a base model of seconds and on real text."""

import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from phrasebook_settings import curated
from refusals import refused

from xlrm.errors import ConfigError, DataError
from xlrm.evaluation import reward_table
from xlrm.models import loading
from xlrm.run.runner import run_stage
from xlrm.stages import align, base, evaluate, external, judge, rank, represent, reward, sample
from xlrm.store import addresses, artifacts
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.training import checkpoints, columns

TRAINING = {"learning_rate": 1e-3, "batch_size": 8, "device_batch_size": 4, "gradient_checkpointing": False}


def pairs(count: int) -> list[dict]:
    from xlrm.data.catalog import PREFERENCES

    return PREFERENCES["phrasebook"].rows("en", count, 0)


@pytest.fixture
def corpora(tmp_path):
    write_jsonl(tmp_path / "corpora" / "en" / "preferences.jsonl", pairs(64))
    return tmp_path / "corpora"


def test_batches_of_similar_lengths_hold_every_row_once_and_need_less_padding() -> None:
    lengths = [random.Random(i).randint(5, 100) for i in range(203)]
    order = columns.similar_lengths_together(lengths, batch=8, seed=1)

    def padded(rows: list[int]) -> int:
        return sum(8 * max(lengths[row] for row in rows[i : i + 8]) for i in range(0, 200, 8))

    assert sorted(order) == list(range(203))
    assert order == columns.similar_lengths_together(lengths, batch=8, seed=1)
    assert order != columns.similar_lengths_together(lengths, batch=8, seed=2)
    assert padded(order) < 0.7 * padded(list(range(203)))
    firsts = [lengths[row] for row in order[0:200:8]]
    assert firsts != sorted(firsts) and firsts != sorted(firsts, reverse=True)


@pytest.mark.slow
def test_a_reward_model_learns_and_is_a_plain_hugging_face_folder(tiny_base, corpora, tmp_path) -> None:
    config = reward.Config(language="en", epochs=6, **TRAINING)
    metrics = reward.run(config, base=tiny_base, corpora=corpora, output=tmp_path / "work" / "output")
    assert metrics["train_accuracy"] > 0.6 and metrics["steps"] == 48
    folder = tmp_path / "work" / "output"
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= {
        p.name for p in folder.iterdir()
    }
    assert json.loads((folder / "config.json").read_text())["problem_type"] == "regression"
    assert loading.load_reward_model(folder).config.num_labels == 1


@pytest.mark.slow
def test_training_killed_half_way_ends_where_it_would_have(tiny_base, corpora, tmp_path, monkeypatch) -> None:
    """Stopped after a checkpoint and run again, with other `save_steps`, training gives the weights of the run that was not
    stopped."""
    from transformers import Trainer

    config = reward.Config(language="en", epochs=2, save_steps=5, **TRAINING)
    reward.run(config, base=tiny_base, corpora=corpora, output=tmp_path / "whole" / "output")

    real = Trainer.training_step

    def stops(trainer, *arguments, **named):
        if trainer.state.global_step == 8:
            raise KeyboardInterrupt
        return real(trainer, *arguments, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "training_step", stops)
        reward.run(config, base=tiny_base, corpora=corpora, output=tmp_path / "cut" / "output")
    assert (tmp_path / "cut" / "checkpoints" / "checkpoint-5").is_dir()
    assert not (tmp_path / "cut" / "output").exists()
    saved, finish = [], checkpoints._finish
    monkeypatch.setattr(checkpoints, "_finish", lambda folder, step: saved.append(step) or finish(folder, step))
    config = config.model_copy(update={"save_steps": 3})
    reward.run(config, base=tiny_base, corpora=corpora, output=tmp_path / "cut" / "output")
    assert saved == [6, 9, 12, 15, 16]
    whole, cut = (loading.load_reward_model(tmp_path / name / "output").state_dict() for name in ("whole", "cut"))
    assert max(float((whole[name] - cut[name]).abs().max()) for name in whole) < 1e-6


@pytest.mark.slow
def test_no_pair_is_dropped_for_its_length(tiny_base, corpora, tmp_path) -> None:
    config = reward.Config(language="en", max_length=16, **TRAINING)
    metrics = reward.run(config, base=tiny_base, corpora=corpora, output=tmp_path / "work" / "output")
    assert metrics["pairs"] == 64 and metrics["steps"] == 8


def test_a_batch_that_cannot_be_made(tiny_base, corpora, tmp_path) -> None:
    config = reward.Config(language="en", **TRAINING | {"batch_size": 128})
    with refused(ConfigError, "batch_size", 128):
        reward.run(config, base=tiny_base, corpora=corpora, output=tmp_path / "work" / "output")


def test_tuning_teaches_how_chats_are_answered(tiny_base, tmp_path) -> None:
    """The loss on other chats, computed with transformers alone, is lower after it; the tokenizer is the same."""
    import torch
    from transformers import AutoModelForCausalLM

    from xlrm.data.phrasebook import questions
    from xlrm.training import pretraining

    given = {"model": "phrasebook-tiny", "pretraining": {"languages": ("en", "ko"), "batch_tokens": 2048}}
    tuned = base.Config(**given, tuning={"chats": 200, "careless": 1.0})
    with refused(ConfigError, "base.tuning"):
        base.run(tuned, output=tmp_path / "without" / "output")
    metrics = base.run(tuned, start=tiny_base, output=tmp_path / "work" / "output")
    tokenizer = loading.load_tokenizer(tmp_path / "work" / "output")
    assert tokenizer.get_vocab() == loading.load_tokenizer(tiny_base).get_vocab() and metrics["steps"] > 2
    others = pretraining.examples(questions.chats(["en", "ko"], 7, careless=1.0), 40, tokenizer)

    def loss(folder) -> float:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            return sum(float(model(**{name: torch.tensor([ids]) for name, ids in one.items()}).loss) for one in others)

    assert loss(tmp_path / "work" / "output") < 0.95 * loss(tiny_base)


@pytest.mark.slow
def test_from_samples_to_verdicts(tiny_base, tmp_path) -> None:
    """sample -> rank -> align -> sample -> judge, each on what the one before it wrote."""
    from xlrm.stages import curate

    corpus = tmp_path / "corpora" / "en"
    curate.run(curated(pairs=16, benchmark_items=14, train_prompts=16, eval_prompts=6, parallel_texts=6), output=corpus)
    tokenizer = loading.load_tokenizer(tiny_base)
    labeler = tmp_path / "rm"
    loading.new_reward_model(tiny_base, tokenizer, seed=5).save_pretrained(labeler)
    tokenizer.save_pretrained(labeler)

    def sampled(name: str, split: str, *policies):
        config = sample.Config(languages=("en",), split=split, max_new_tokens=16, samples=3, temperature=1.5)
        sample.run(config, policies=list(policies), corpora=tmp_path / "corpora", output=tmp_path / name)
        return tmp_path / name

    base = sampled("base", "all", tiny_base)
    assert (
        base.joinpath("0/train/en.jsonl").read_text()
        == sampled("again", "all", tiny_base).joinpath("0/train/en.jsonl").read_text()
    ), "the same seed gives the same samples"
    config = rank.Config(language="en", labelers=("en",), unfinished="keep")  # this policy ends few of its responses
    rank.run(config, samples=[base], reward_models=[labeler], output=tmp_path / "ranked")
    ranked = read_rows(tmp_path / "ranked" / "en.jsonl")
    assert ranked and all(row["chosen_reward"] > row["rejected_reward"] for row in ranked)
    config = align.Config(language="en", labeler="en", **TRAINING | {"batch_size": 4})
    aligned = tmp_path / "align" / "output"
    assert align.run(config, policy=tiny_base, ranked=tmp_path / "ranked", output=aligned)["pairs"] == len(ranked)
    candidates = sampled("candidates", "eval", aligned)
    config = judge.Config(language="en", labelers=("en",), judge="phrasebook")
    metrics = judge.run(config, reference=[base], candidates=[candidates], output=tmp_path / "verdicts")
    assert 0 <= metrics["win_rate/en"] <= 1
    assert len(read_rows(tmp_path / "verdicts" / "verdicts.jsonl")) == 6


@pytest.mark.slow
def test_a_policy_that_said_nothing_can_be_taught_not_to(tiny_base, tmp_path) -> None:
    ranked = [
        {"id": str(i), "prompt": "How much is one plus two?", "chosen": "Three.", "rejected": ""} for i in range(4)
    ]
    write_jsonl(tmp_path / "ranked" / "en.jsonl", ranked)
    config = align.Config(language="en", labeler="en", **TRAINING | {"batch_size": 4})
    metrics = align.run(config, policy=tiny_base, ranked=tmp_path / "ranked", output=tmp_path / "align" / "output")
    assert metrics["pairs"] == 4 and math.isfinite(metrics["train_loss"])


def test_the_judge_wants_answers_to_the_same_prompts(tmp_path) -> None:
    rows = [
        {
            "id": "1",
            "prompt": "How much is one plus two?",
            "responses": ["Three."],
            "finished": [True],
            "languages": ["en"],
        }
    ]
    write_jsonl(tmp_path / "a/0/eval/en.jsonl", rows)
    write_jsonl(tmp_path / "b/0/eval/en.jsonl", [{**rows[0], "id": "2"}])
    config = judge.Config(language="en", labelers=("en",), judge="phrasebook")
    with refused(DataError, "judge", "1"):
        judge.run(config, reference=[tmp_path / "a"], candidates=[tmp_path / "b"], output=tmp_path / "out")


@pytest.fixture
def loads(monkeypatch) -> Counter[str]:
    """How often the weights of each folder were loaded as a model; they are loaded as ever."""
    from transformers import PreTrainedModel

    real, found = PreTrainedModel.from_pretrained.__func__, Counter()

    def counted(kind, path, *arguments, **named):
        found[str(path)] += 1
        return real(kind, path, *arguments, **named)

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(counted))
    return found


def reward_model(base: Path, folder: Path, seed: int) -> Path:
    tokenizer = loading.load_tokenizer(base)
    loading.new_reward_model(base, tokenizer, seed=seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_stage_that_uses_models_loads_each_once(tiny_base, tmp_path, loads) -> None:
    """Whatever languages, splits and benchmarks they are used on."""
    two = [reward_model(tiny_base, tmp_path / name, seed) for seed, name in enumerate(("en", "es"), 1)]
    corpora, languages = tmp_path / "corpora", ("en", "es")
    for language in languages:
        rows = [row | {"section": "S"} for row in pairs(6)]
        write_jsonl(corpora / language / "benchmark.jsonl", rows)
        asked = [{"id": row["id"], "prompt": row["prompt"]} for row in rows]
        write_jsonl(
            corpora / language / "prompts.jsonl", [row | {"split": s} for s in ("train", "eval") for row in asked]
        )
        write_jsonl(corpora / language / "parallel.jsonl", [{"id": row["id"], "text": row["prompt"]} for row in asked])
    file = tmp_path / "further.jsonl"
    write_jsonl(file, pairs(6))

    def output(name: str) -> Path:
        (tmp_path / name).mkdir()
        loads.clear()
        return tmp_path / name

    config = evaluate.Config(language="en", languages=languages, benchmarks=(str(file),))
    evaluate.run(config, model=two[0], corpora=corpora, output=output("evaluated"))
    assert loads == {str(two[0]): 1}
    config = external.Config(models=tuple(map(str, two)), languages=languages)
    external.run(config, corpora=corpora, output=output("external"))
    assert loads == dict.fromkeys(map(str, two), 1)
    config = sample.Config(languages=languages, split="all", samples=2, max_new_tokens=8, temperature=1.5)
    sample.run(config, policies=[tiny_base], corpora=corpora, output=output("samples"))
    assert loads == {str(tiny_base): 1}
    config = rank.Config(language="en", labelers=languages)
    rank.run(config, samples=[tmp_path / "samples"], reward_models=two, output=output("ranked"))
    assert loads == dict.fromkeys(map(str, two), 1)
    config = represent.Config(languages=languages)
    represent.run(config, base=tiny_base, reward_models=two, corpora=corpora, output=output("represented"))
    assert loads == dict.fromkeys(map(str, (tiny_base, *two)), 1)


@pytest.mark.slow
def test_a_training_loads_each_folder_once(tiny_base, corpora, tmp_path, loads) -> None:
    """A reward model's is the base's, to put a head on, and that of the model with the head, which every process reads; DPO
    has no second model for its reference."""
    config = reward.Config(language="en", epochs=1, **TRAINING)
    reward.run(config, base=tiny_base, corpora=corpora, output=tmp_path / "reward" / "output")
    assert loads[str(tiny_base)] == 1 and set(loads.values()) == {1}
    loads.clear()
    write_jsonl(tmp_path / "ranked" / "en.jsonl", pairs(8))
    config = align.Config(language="en", labeler="en", **TRAINING)
    align.run(config, policy=tiny_base, ranked=tmp_path / "ranked", output=tmp_path / "align" / "output")
    assert loads == {str(tiny_base): 1}


@pytest.mark.slow
def test_real_text_end_to_end(tiny_base, shared_data, home) -> None:
    """A dataset and a benchmark of one's own, as files: curated, trained on, evaluated by RewardBench's sections."""
    config = {
        "preferences": [str(shared_data / "preferences_en.jsonl")], "pairs": 96, "benchmark_items": 1528,
        "benchmark": str(shared_data / "rewardbench_mini_en.jsonl"), "prompts": None, "parallel": None,
    }  # fmt: skip
    corpus = run_stage("curate", config, {})
    assert corpus.record.metrics["benchmark_items"] == 1528
    files = artifacts.fetch(corpus.uri, addresses.home() / "cache")
    sections = {row["section"] for row in read_rows(files / "benchmark.jsonl")}
    assert {"Chat Hard", "Safety", "Reasoning"} <= sections
    (files / "en").symlink_to(files)  # a validated corpus has a folder a language
    output = home / "rm" / "output"
    metrics = reward.run(
        reward.Config(language="en", max_length=128, **TRAINING), base=tiny_base, corpora=files, output=output
    )
    assert metrics["pairs"] == 96 - corpus.record.metrics["dropped_near_duplicate"] > 0
    assert math.isfinite(metrics["train_loss"])
    (home / "evaluation").mkdir()
    found = evaluate.run(
        evaluate.Config(language="en", max_length=128), model=output, corpora=files, output=home / "evaluation"
    )
    assert 0 < found["accuracy/en/average"] < 1
    scores = reward_table.read(home / "evaluation" / reward_table.FILE)["en"]
    assert len(scores) == 1528 and len({row["chosen"][0] for row in scores}) > 1000
    results = json.loads((home / "evaluation" / "results.json").read_text())["results"]["en"]
    low, high = results["interval"]["average"]
    assert low <= results["accuracy"]["average"] <= high
