"""vLLM where it is installed: the same rewards as transformers'."""

import pytest
import torch

from xlrm import models, scoring
from xlrm.pretraining import Pretraining, pretrain


@pytest.mark.slow
def test_rewards_are_those_of_transformers(tmp_path) -> None:
    pytest.importorskip("vllm")
    if not torch.cuda.is_available():
        pytest.skip("vLLM's wheel wants a GPU")
    (tmp_path / "base").mkdir()
    pretrain(Pretraining(layers=2, width=128, documents=64), tmp_path / "base")
    tokenizer = models.load_tokenizer(tmp_path / "base")
    model = models.new_reward_model(tmp_path / "base", tokenizer, seed=1)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "rm")
    chats = [scoring.conversation(f"Name {i} numbers.", "One. " * (i % 5 + 1)) for i in range(40)]
    ours, theirs = (
        scoring.score(*scoring.load(tmp_path / "rm", scoring.Scoring(max_length=512, engine=engine)), chats)
        for engine in ("transformers", "vllm")
    )
    assert theirs == pytest.approx(ours, abs=1e-3) and len(set(ours)) > 30
