"""The speed benchmarks in miniature: what they measure, hold to parity, and refuse."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import best_of_n, contest, dpo_speed, reward_training_speed, scoring, workload
from benchmarks.contest import Benchmark, Contestant, Outcome
from xlrm.models import loading
from xlrm.models.chat_templates import encode

LOOSE = {"goal": 1e-3, "less_memory": None}
"""A machine that is busy with other tests."""


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def options(*given: str, pairs: int = 4) -> argparse.Namespace:
    small = [
        "--pairs",
        str(pairs),
        "--layers",
        "2",
        "--hidden",
        "128",
        "--rounds",
        "1",
        "--threads",
        "1",
        "--no-memory",
    ]
    found = contest.parser("", count=4).parse_args([*small, *given])
    found.venv, found.vllm, found.responses, found.batch = None, None, 3, reward_training_speed.BATCH
    found.shipped = False
    return found


def loosened(benchmark: Benchmark, **goals: float | None) -> Benchmark:
    def contestants(given: argparse.Namespace, folder: Path) -> list[Contestant]:
        first, *others = benchmark.contestants(given, folder)
        return [first, *(replace(one, **LOOSE | goals) for one in others)]

    return replace(benchmark, contestants=contestants)


def test_tokens_are_as_many_as_the_lengths_say(tmp_path: Path) -> None:
    workload.save_model(tmp_path, options())
    encoded = encode(loading.load_tokenizer(tmp_path), workload.conversations(workload.pairs(60)), 16384)
    said = [prompt + size + 4 for prompt, *sizes in workload.LENGTHS for size in sizes]
    assert [len(one) for one in encoded] == said
    assert workload.described(workload.pairs(60)) == (
        "60 prompts of 120 tokens with 120 responses of 197, the longest sequence 1290; "
        "1.23x fewer tokens with prompts once"
    )


def test_more_pairs_than_lengths_are_made_of_other_words() -> None:
    rows = workload.pairs(120)
    assert workload.lengths(120)[60:] == list(workload.LENGTHS) and rows[0]["prompt"] != rows[60]["prompt"]


@pytest.mark.parametrize("benchmark", [scoring.BENCHMARK, best_of_n.benchmark(3)], ids=["pairs", "best of 3"])
def test_rewards_are_held_to_parity(benchmark: Benchmark, tmp_path: Path) -> None:
    ours, plain = contest.measure(loosened(benchmark), options(pairs=4), tmp_path)
    assert plain.parity.held and plain.parity.said.endswith("4/4")
    assert ours.ratios == [1.0] and plain.ratios == [plain.seconds[0] / ours.seconds[0]]
    assert ours.missed == plain.missed == []


def test_rewards_that_are_apart_are_not_held() -> None:
    rewards = [0.0, 1.0, 2.0, 1.0]
    given = argparse.Namespace(responses=2)
    for parity in (scoring.parity, best_of_n.parity):
        assert parity(rewards, rewards, given).held
        assert not parity(rewards, [0.0, 1.0, 2.0, 1.0 + 1e-4], given).held
    turned = scoring.parity([0.0, 1e-7], [1e-7, 0.0], given)
    assert not turned.held and turned.said.endswith("0/1")


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", [reward_training_speed.BENCHMARK, dpo_speed.BENCHMARK], ids=["reward", "dpo"])
def test_training_is_held_to_parity(benchmark: Benchmark, tmp_path: Path) -> None:
    small = replace(loosened(benchmark), rows=lambda count: [_cut(row) for row in workload.pairs(count)])
    ours, *others = contest.measure(small, options(pairs=16), tmp_path)
    assert len(others) >= 2 and all(one.parity.held for one in others if one.parity) and len(ours.seconds) == 1
    assert not [one.missed for one in [ours, *others] if one.missed]


def _cut(row: workload.Row) -> workload.Row:
    return {"prompt": row["prompt"][:80], "responses": [text[:160] for text in row["responses"]]}


def test_losses_that_are_apart_are_not_held() -> None:
    import torch

    one = reward_training_speed.Learned([0.7, 0.6], [3.0, 2.0], {"a": torch.ones(2)})
    parity = partial(reward_training_speed.parity, one, options=options())
    assert parity(one).held
    assert not parity(one._replace(losses=[0.7, 0.6001])).held
    assert not parity(one._replace(norms=[3.0, 2.1])).held


@pytest.mark.parametrize(("goal", "status"), [(1e-3, 0), (1e6, 1)])
def test_a_missed_goal_is_the_exit_status(goal: float, status: int, capsys: pytest.CaptureFixture) -> None:
    assert contest.main(loosened(scoring.BENCHMARK, goal=goal), options(pairs=2)) == status
    said = " ".join(capsys.readouterr().out.split())
    assert "transformers, batch 8" in said and "2/2" in said
    assert ("missed: transformers, batch 8" in said) == bool(status) and ("every goal met" in said) != bool(status)


def test_goals_are_for_a_cpu_and_parity_for_float32() -> None:
    ours = Outcome("xlrm", [1.0], [1.0], memory=90.0)
    theirs = Outcome("plain", [2.0], [2.0], contest.Parity("0.1", False), memory=100.0)
    asked = Contestant("plain", lambda rows: None, goal=3.0, less_memory=0.8)

    def missed(**given: str) -> int:
        return len(list(contest._missed(asked, theirs, ours, argparse.Namespace(**given))))

    assert missed(device="cpu", dtype="float32") == 3
    assert missed(device="cpu", dtype="bfloat16") == 2
    assert missed(device="cuda", dtype="float32") == 1


def test_memory_is_the_peak_over_what_is_held_before() -> None:
    held = bytearray(64 * 2**20)
    assert contest.peak_over_idle(lambda: bytearray(b"x") * (200 * 2**20), "cpu") == pytest.approx(200, abs=40)
    assert len(held) == 64 * 2**20


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    given = options()
    del given.responses, given.batch
    workload.save_model(tmp_path, given)
    assert contest._peak_elsewhere(scoring.BENCHMARK, given, tmp_path, "transformers, batch 8") > 1
