"""Pairs that nothing is trained on: what a training says of them is what plain transformers says, and they change nothing."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from refusals import refused
from test_training import TRAINING, pairs
from torch.nn.functional import logsigmoid

from benchmarks.reward_training import weights_of
from xlrm.errors import ConfigError
from xlrm.models import chat_templates, loading
from xlrm.scorers.engines import TransformersScorer
from xlrm.stages import reward
from xlrm.store.jsonl import write_jsonl
from xlrm.training import curves

ROWS = pairs(70)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    write_jsonl(folder / "en" / "preferences.jsonl", ROWS[:56])
    write_jsonl(folder / "en" / "heldout.jsonl", ROWS[56:])  # 14: three batches of 4, and two rows more
    return folder


def train(base: Path, corpora: Path, work: Path, **changes) -> tuple[dict[str, float], Path]:
    output = work / "output"
    output.mkdir(parents=True)
    config = reward.Config(**TRAINING | {"epochs": 2} | changes)
    return reward.run(config, base=base, corpora=corpora, output=output), output


def scored(output: Path) -> dict[int, dict[str, float]]:
    """By step, the points of the pairs held out."""
    points = [json.loads(line) for line in (output / curves.FILE).read_text().splitlines()]
    return {point["step"]: point for point in points if "heldout_loss" in point}


def plainly(output: Path, rows: list[dict]) -> tuple[float, float]:
    """Loss and accuracy by transformers alone, a conversation at a time."""
    model, tokenizer = loading.load_reward_model(output), loading.load_tokenizer(output)

    def rewards(side: str) -> torch.Tensor:
        ids = [
            tokenizer.apply_chat_template(chat_templates.conversation(row["prompt"], row[side]), return_dict=True)[
                "input_ids"
            ]
            for row in rows
        ]
        with torch.inference_mode():
            return torch.tensor([model(torch.tensor([one])).logits.item() for one in ids])

    apart = rewards("chosen") - rewards("rejected")
    margins = torch.tensor([row.get("margin", 0.0) for row in rows])
    return float(-logsigmoid(apart - margins).mean()), float((apart > 0).float().mean())


@pytest.mark.slow
def test_heldout_pairs_are_scored_as_plain_transformers_scores_them_and_change_no_weight(
    tiny_base, corpora, tmp_path
) -> None:
    metrics, output = train(tiny_base, corpora, tmp_path / "scored", heldout_scorings=3)
    _, undisturbed = train(tiny_base, corpora, tmp_path / "not", heldout_scorings=0)
    ours, other = weights_of(output), weights_of(undisturbed)
    assert all(torch.equal(ours[name], other[name]) for name in other)
    assert list(scored(output)) == [5, 9, 14] and not scored(undisturbed)
    loss, accuracy = plainly(output, ROWS[56:])
    last = scored(output)[14]
    assert (last["heldout_loss"], last["heldout_accuracy"]) == (pytest.approx(loss, abs=1e-5), pytest.approx(accuracy))
    found = metrics["heldout_loss"], metrics["heldout_accuracy"], metrics["heldout_rows"]
    assert found == (last["heldout_loss"], last["heldout_accuracy"], 14.0)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"lora_rank": 4, "learning_rate": 0.1}], ids=["all weights", "LoRA"])
def test_the_best_weights_are_kept_where_that_is_asked_for(tiny_base, corpora, tmp_path, changes) -> None:
    """A learning rate so high that the last weights are not the best."""
    fields = {"keep": "best", "heldout_scorings": 14, "learning_rate": 3e-2} | changes
    metrics, output = train(tiny_base, corpora, tmp_path / "best", **fields)
    losses = {step: point["heldout_loss"] for step, point in scored(output).items()}
    best = min(losses, key=losses.__getitem__)
    assert best != 14 and len(losses) == 14
    assert plainly(output, ROWS[56:])[0] == pytest.approx(losses[best], abs=1e-5) == metrics["heldout_loss"]


@pytest.mark.slow
def test_single_judgments_are_held_out_too(tiny_base, corpora, tmp_path) -> None:
    """28 judgments of 14 pairs in batches of 8: the cross-entropy, and the accuracy of signs."""
    changes = {"loss": "pointwise", "heldout_scorings": 1, "epochs": 1, "device_batch_size": 8}
    metrics, output = train(tiny_base, corpora, tmp_path, **changes)
    scorer = TransformersScorer(loading.load_reward_model(output), loading.load_tokenizer(output))
    chats = [
        chat_templates.conversation(row["prompt"], row[side]) for row in ROWS[56:] for side in ("chosen", "rejected")
    ]
    rewards = torch.tensor(scorer.score(chats)) * torch.tensor([1, -1]).repeat(14)
    assert metrics["heldout_loss"] == pytest.approx(float(-logsigmoid(rewards).mean()), abs=1e-5)
    assert metrics["heldout_accuracy"] == pytest.approx(float((rewards > 0).float().mean()))
    assert metrics["heldout_rows"] == 28


@pytest.mark.slow
@pytest.mark.parametrize("count", [11, 1])
def test_every_row_counts_once_in_two_processes_too(tiny_base, tmp_path, count) -> None:
    """In batches of 2 each: 11 leave three for the last, of which one process has one; of a single row both have a copy."""
    write_jsonl(tmp_path / "corpora" / "en" / "preferences.jsonl", ROWS[:16])
    write_jsonl(tmp_path / "corpora" / "en" / "heldout.jsonl", ROWS[56 : 56 + count])
    changes = {"processes": 2, "device_batch_size": 2, "epochs": 1, "heldout_scorings": 1}
    metrics, output = train(tiny_base, tmp_path / "corpora", tmp_path / "work", **changes)
    loss, accuracy = plainly(output, ROWS[56 : 56 + count])
    found = metrics["heldout_loss"], metrics["heldout_accuracy"], metrics["heldout_rows"]
    assert found == (pytest.approx(loss, abs=1e-5), pytest.approx(accuracy), count)


@pytest.mark.slow
def test_a_margin_counts_in_the_loss_and_not_in_the_accuracy(tiny_base, tmp_path) -> None:
    rows = [row | {"margin": 0.5 * (place % 3)} for place, row in enumerate(ROWS)]
    write_jsonl(tmp_path / "corpora" / "en" / "preferences.jsonl", rows[:56])
    write_jsonl(tmp_path / "corpora" / "en" / "heldout.jsonl", rows[56:])
    metrics, output = train(tiny_base, tmp_path / "corpora", tmp_path / "work", margin=True, heldout_scorings=1)
    loss, accuracy = plainly(output, rows[56:])
    found = metrics["heldout_loss"], metrics["heldout_accuracy"]
    assert found == (pytest.approx(loss, abs=1e-5), pytest.approx(accuracy))


def test_the_best_of_nothing_is_refused(tiny_base, tmp_path) -> None:
    write_jsonl(tmp_path / "corpora" / "en" / "preferences.jsonl", ROWS[:16])
    with refused(ConfigError, "reward.keep", "best"):
        train(tiny_base, tmp_path / "corpora", tmp_path / "work", keep="best")
    with pytest.raises(ValidationError, match="heldout_scorings above 0"):
        reward.Config(**TRAINING | {"keep": "best", "heldout_scorings": 0})
