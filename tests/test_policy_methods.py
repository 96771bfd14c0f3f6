"""The comparison of DPO, reinforcement learning and best-of-n, with a model too small to learn much."""

import math
from statistics import mean

import pytest
from reward_server import new_model

from benchmarks import policy_methods
from xlrm.data.phrasebook import judge


@pytest.mark.slow
def test_uses_of_a_reward_model_are_compared_on_prompts_that_were_not_trained_on(
    tiny_base, tmp_path, monkeypatch
) -> None:
    responses: dict[str, list[list[str]]] = {}
    respond = policy_methods.Arena.respond

    def remembered(self, policy, prompts, count, name):
        responses[name] = respond(self, policy, prompts, count, name)
        return responses[name]

    monkeypatch.setattr(policy_methods.Arena, "respond", remembered)
    model = new_model(tiny_base, tmp_path / "judge")
    given = "--prompts 8 --judged 6 --samples 4 --tokens 8 --online-rate 1e-3 --method rloo"
    options = policy_methods.parser().parse_args([str(tiny_base), str(model), *given.split()])
    measured = policy_methods.compare(options, tmp_path / "work")
    uses, learned = measured["uses"], measured["curves"]
    assert list(uses) == ["policy", "best of 4", "dpo", "rloo"] and learned[-1]["step"] == 1
    arena = policy_methods.Arena(
        tiny_base, policy_methods.engines.load(model, policy_methods.Scoring()), "en", [], [], 8, tmp_path
    )
    asked = [row["prompt"] for row in policy_methods.catalog.EVAL_PROMPTS["phrasebook"].rows("en", 6, 42)]
    scores = arena.rewards(asked, responses["judged"])
    assert uses["policy"]["reward"] == pytest.approx(mean(mean(row) for row in scores), abs=1e-5)
    assert uses["best of 4"]["reward"] == pytest.approx(mean(map(max, scores)), abs=1e-5)
    assert uses["best of 4"]["divergence"] == pytest.approx(math.log(4) - 3 / 4)
    assert uses["policy"]["gain"] == 0
    for name in ("dpo", "rloo"):
        assert uses[name]["gain"] == pytest.approx(uses[name]["right"] - uses["policy"]["right"])
        rows = zip(asked, responses[f"judged-{name}"], strict=True)
        grades = [judge.grade(prompt, text, "en") for prompt, row in rows for text in row]
        assert uses[name]["grade"] == pytest.approx(mean(grades)) and abs(uses[name]["divergence"]) < 1
    own = policy_methods.Arena(tiny_base, arena.scorer, "en", [], asked, 8, tmp_path)
    assert policy_methods.divergence(own, tiny_base, responses["judged"]) == 0
