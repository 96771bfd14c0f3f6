"""Preference pairs of sampled responses, and how far two reward models agree on them: against sums written out here."""

import itertools
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from refusals import refused

from xlrm.errors import ArtifactError, DataError
from xlrm.evaluation import rankings
from xlrm.evaluation.rankings import Ranking
from xlrm.models import chat_templates, loading
from xlrm.scorers.engines import TransformersScorer
from xlrm.stages import align, rank
from xlrm.store.jsonl import read_rows, write_jsonl

PROMPT = "How much is one plus two?"


def sampled(*responses: str, **more) -> dict:
    marks = {"finished": [True] * len(responses), "languages": ["en"] * len(responses)}
    return {"id": "1", "prompt": PROMPT, "responses": list(responses)} | marks | more


def made(row: dict, rewards: list[float], **rules) -> dict | None:
    return rankings.pair(
        rankings.candidates(row, "en", **{"unfinished": "drop", "other_language": "keep"} | rules), rewards
    )


def test_the_best_and_the_worst_make_a_pair_the_first_of_equals() -> None:
    assert made(sampled("a", "bb", "ccc", "dddd"), [0.5, 2.0, 2.0, 0.5]) == {
        "id": "1", "prompt": PROMPT, "chosen": "bb", "rejected": "a", "chosen_reward": 2.0, "rejected_reward": 0.5,
        "margin": 1.5, "chosen_characters": 2, "rejected_characters": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "rewards", "reason"),
    [
        (sampled("a", "b"), [1.0, 1.0], "equal_rewards"), (sampled("a", "a", "a"), [1.0], "equal_texts"),
        (sampled("a"), [1.0], "too_few"), (sampled(), [], "too_few"),
        (sampled("a", "b", finished=[True, False]), [1.0], "too_few"),
    ],
)  # fmt: skip
def test_a_prompt_without_a_pair_is_counted_by_its_reason(row, rewards, reason) -> None:
    of = rankings.candidates(row, "en", "drop", "keep")
    assert len(of.texts) == len(rewards) and rankings.pair(of, rewards) is None
    found = rankings.summary([of], [], 0).model_dump(include={"pairs", "too_few", "equal_texts", "equal_rewards"})
    assert found == {"pairs": 0, "too_few": 0, "equal_texts": 0, "equal_rewards": 0} | {reason: 1}


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ({}, ("a", "c", "d")), ({"unfinished": "keep"}, ("a", "b", "c", "d")), ({"other_language": "drop"}, ("a", "d")),
        ({"unfinished": "keep", "other_language": "drop"}, ("a", "d")),
    ],
)  # fmt: skip
def test_cut_responses_and_those_in_other_languages_follow_their_rules(rules, left) -> None:
    """b was cut and is Spanish, c is Spanish, and nobody knows of d."""
    row = sampled("a", "b", "c", "d", finished=[True, False, True, True], languages=["en", "es", "es", None])
    of = rankings.candidates(row, "en", **{"unfinished": "drop", "other_language": "keep"} | rules)
    assert of.texts == left
    assert rankings.counts([of], "en") == {
        "prompts": 1, "responses": 4, "unfinished": 1, "other_language": 2, "candidates": len(left)
    }  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_makes_no_pair(value) -> None:
    for rewards in ([value, 1.0], [1.0, value]):
        with pytest.raises(ArtifactError) as raised:
            made(sampled("a", "b"), rewards)
        assert raised.value.where == "reward"


def tau_b(one: list[float], two: list[float]) -> float | None:
    """(concordant - discordant) / sqrt(pairs not tied in one x pairs not tied in two), by Kendall (1945)."""
    orders = [
        (np.sign(one[i] - one[j]), np.sign(two[i] - two[j])) for i, j in itertools.combinations(range(len(one)), 2)
    ]
    below = math.sqrt(sum(a != 0 for a, _ in orders) * sum(b != 0 for _, b in orders))
    return sum(a * b for a, b in orders) / below if below else None


def test_agreement_is_that_of_its_definitions() -> None:
    """Rewards of few values, so that there are ties of every kind, prompts without a tau and prompts that are left out."""
    rng = random.Random(3)
    sides = [[[float(rng.randint(0, 3)) for _ in range(n)] for n in sizes] for sizes in [[4, 4, 3, 2, 1, 0] * 20] * 2]
    sides[1][0] = [2.0] * 4
    found = rankings.agreement("en", "es", (sides[0], sides[1]))
    several = [(one, two) for one, two in zip(*sides, strict=True) if len(one) > 1]
    taus = [tau for one, two in several if (tau := tau_b(one, two)) is not None]
    assert (found.prompts, found.responses, found.kendall_prompts) == (80, 260, len(taus)) and len(taus) < 80
    assert found.kendall_tau == pytest.approx(np.mean(taus))
    best = [(int(np.argmax(one)) == int(np.argmax(two))) for one, two in several]
    worst = [(int(np.argmin(one)) == int(np.argmin(two))) for one, two in several]
    assert found.same_best == pytest.approx(np.mean(best))
    assert found.same_pair == pytest.approx(np.mean(np.logical_and(best, worst)))
    alike = [
        np.sign(one[i] - one[j]) == np.sign(two[i] - two[j])
        for one, two in several for i, j in itertools.combinations(range(len(one)), 2)
    ]  # fmt: skip
    assert found.ordered_alike == pytest.approx(np.mean(alike))
    flat = [np.concatenate([each[side] for each in several]) for side in (0, 1)]
    centred = [np.concatenate([np.array(each[side]) - np.mean(each[side]) for each in several]) for side in (0, 1)]
    assert found.pearson == pytest.approx(np.corrcoef(*flat)[0, 1])
    assert found.pearson_within == pytest.approx(np.corrcoef(*centred)[0, 1])


def test_models_that_cannot_be_compared_have_no_correlation() -> None:
    nothing = rankings.agreement("en", "es", ([[1.0]], [[2.0]]))
    assert (nothing.prompts, nothing.kendall_tau, nothing.same_best) == (0, None, None)
    constant = rankings.agreement("en", "es", ([[1.0, 2.0]], [[3.0, 3.0]]))
    assert (constant.prompts, constant.kendall_prompts, constant.kendall_tau, constant.pearson) == (1, 0, None, None)
    assert constant.ordered_alike == 0


def reward_model(base: Path, folder: Path, seed: int) -> Path:
    tokenizer = loading.load_tokenizer(base)
    loading.new_reward_model(base, tokenizer, seed=seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_the_stage_writes_pairs_rewards_and_agreement_of_two_reward_models(tiny_base, tmp_path) -> None:
    """Against rewards of one conversation at a time. Prompt 4 gives no pair; a response of each other prompt was cut."""
    rows = [
        sampled(f"{n}.", "Three.", f"It is {n}.", "Three", id=str(n), finished=[True, True, True, False])
        for n in range(4)
    ]
    rows.append(sampled("Yes.", "Yes.", id="4"))
    write_jsonl(tmp_path / "samples/0/train/en.jsonl", rows)
    models = [reward_model(tiny_base, tmp_path / f"rm{seed}", seed) for seed in (1, 2)]
    config = rank.Config(language="en", labelers=("en", "ko"))
    metrics = rank.run(config, samples=[tmp_path / "samples"], reward_models=models, output=tmp_path / "ranked")
    ranking = Ranking.read(tmp_path / "ranked")
    assert (ranking.prompts, ranking.responses, ranking.unfinished, ranking.candidates) == (5, 18, 4, 14)
    rewards = []
    for labeler, model in zip(("en", "ko"), models, strict=True):
        scorer = TransformersScorer(loading.load_reward_model(model), loading.load_tokenizer(model))
        one = {
            (row["id"], text): scorer.score([chat_templates.conversation(PROMPT, text)])[0]
            for row in rows for text in row["responses"]
        }  # fmt: skip
        rewards.append([[one[row["id"], text] for text in row["responses"][:3]] for row in rows[:4]])
        pairs = read_rows(tmp_path / "ranked" / f"{labeler}.jsonl")
        for row, given, pair in zip(rows, rewards[-1], pairs, strict=False):
            best, worst = int(np.argmax(given)), int(np.argmin(given))
            assert (pair["chosen"], pair["rejected"]) == (row["responses"][best], row["responses"][worst])
            assert pair["margin"] == pytest.approx(max(given) - min(given), abs=1e-5)
        each = ranking.labelers[labeler]
        assert (each.pairs, each.equal_texts, each.too_few, each.equal_rewards) == (len(pairs), 1, 0, 0) == (4, 1, 0, 0)
        assert each.margin == pytest.approx(np.mean([pair["margin"] for pair in pairs]))
        assert metrics[f"pairs/{labeler}"] == 4 and metrics[f"no_pair/{labeler}"] == 1
    (both,) = ranking.agreements
    assert (both.first, both.second, both.prompts, both.responses) == ("en", "ko", 4, 12)
    assert both.kendall_tau == pytest.approx(np.mean([tau_b(*each) for each in zip(*rewards, strict=True)]))
    assert both.pearson == pytest.approx(np.corrcoef(*(np.concatenate(side) for side in rewards))[0, 1], abs=1e-4)
    assert metrics["kendall_tau/en-ko"] == both.kendall_tau
    first = json.loads((tmp_path / "ranked/rewards.jsonl").read_text().splitlines()[0])
    assert first["responses"] == ["0.", "Three.", "It is 0."]
    assert first["rewards"]["ko"] == pytest.approx(rewards[1][0], abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "batch", "reason", "field"),
    [
        ([{"finished": [False] * 3}] * 4, 2, "4 prompts have fewer than two responses", "rank.unfinished=keep"),
        ([{"responses": ["Yes."] * 3}] * 4, 2, "4 prompts have only equal responses", "sample.temperature"),
        ([{}, *[{"finished": [False] * 3}] * 3], 2, "1 pairs are too few", "or lower align.batch_size"),
    ],
    ids=["cut", "equal", "fewer than a batch"],
)
def test_an_alignment_says_why_it_has_too_few_pairs_before_it_loads_a_model(
    rows, batch, reason, field, tiny_base, tmp_path
) -> None:
    samples = [sampled("One.", "Three.", "It is two.", id=str(n)) | row for n, row in enumerate(rows)]
    write_jsonl(tmp_path / "samples/0/train/en.jsonl", samples)
    config = rank.Config(language="en", labelers=("en",))
    model = reward_model(tiny_base, tmp_path / "rm", 1)
    rank.run(config, samples=[tmp_path / "samples"], reward_models=[model], output=tmp_path / "ranked")
    training = align.Config(language="en", labeler="en", batch_size=batch)
    with refused(DataError, "align: pairs by the reward model en") as raised:
        align.run(training, policy=tmp_path / "no such policy", ranked=tmp_path / "ranked", output=tmp_path / "output")
    assert reason in raised.value.message and field in raised.value.hint


def test_equal_rewards_are_counted_as_the_reason() -> None:
    ranked = [rankings.candidates(sampled("a", "b"), "en", "drop", "keep")] * 3
    counts = rankings.summary(ranked, [], 0)
    assert counts.equal_rewards == 3 and counts.why_few[0] == "3 prompts have only equal rewards"
