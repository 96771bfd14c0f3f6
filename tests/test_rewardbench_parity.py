"""The rewardbench package and this project give the same rewards: always on what the package said of made-up pairs, and on real
ones where its environment is at hand (XLRM_REWARDBENCH_VENV; `python -m benchmarks.rewardbench_parity` makes one)."""

import json
import os
from pathlib import Path

import pytest

from benchmarks import rewardbench_parity as parity

GOLDEN = json.loads((Path(__file__).parent / "golden" / "rewardbench_rewards.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", parity.TEMPLATES)
def test_rewards_are_the_packages(kind: str, tmp_path: Path) -> None:
    pairs, expected = GOLDEN["pairs"], GOLDEN["rewards"][kind]
    parity.make_model(tmp_path, kind, [pair[side] for pair in pairs for side in pair])
    found = parity.ours(tmp_path, pairs, batch_tokens=256)
    assert len(found) == len(expected) == 20
    for (chosen, rejected), one in zip(found, expected, strict=True):
        assert (chosen, rejected) == pytest.approx((one["chosen"], one["rejected"]), abs=parity.TOLERANCE)
        assert (chosen > rejected) == one["won"]
    rewards = [reward for pair in found for reward in pair]
    assert max(rewards) - min(rewards) > 1000 * parity.TOLERANCE, "rewards that could not differ prove nothing"


@pytest.mark.slow
def test_rewards_are_the_packages_on_real_pairs(shared_data: Path) -> None:
    python = Path(os.environ.get("XLRM_REWARDBENCH_VENV", "")) / "bin" / "python"
    if not os.environ.get("XLRM_REWARDBENCH_VENV") or not python.exists():
        pytest.skip("no environment of the rewardbench package in XLRM_REWARDBENCH_VENV")
    for one in parity.measure(python, shared_data, 300, [8]):
        assert one.passed, one
