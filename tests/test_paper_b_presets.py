"""The presets of paper B have its recipe: appendices A and B, and section 4.1 of Wu et al. 2024, on every step."""

from pathlib import Path
from typing import Any

import pytest

from configs import PRESETS
from xlrm.run.experiment import load, stage_config
from xlrm.run.sections import REUSE, STAGES
from xlrm.run.steps import steps

DATA_OF_TABLE_1 = {
    "de": {"mlsum", "wikilingua"}, "en": {"xsum", "xlsum", "wikilingua"}, "es": {"xlsum", "mlsum", "wikilingua"},
    "ru": {"xlsum", "wikilingua"}, "tr": {"xlsum", "wikilingua"}, "vi": {"xlsum", "wikilingua"},
}  # fmt: skip
SFT = {"optimizer": "adafactor", "scheduler": "constant", "warmup": 0, "warmup_steps": None, "batch_size": 32, "dropout": 0.1,
       "keep": "best", "max_prompt_length": 1024, "max_response_length": 512}  # fmt: skip
REWARD = {"optimizer": "adafactor", "scheduler": "constant", "warmup_steps": 1000, "learning_rate": 1e-4, "batch_size": 32,
          "dropout": 0.1, "keep": "best", "template": "plain", "max_prompt_length": 1024}  # fmt: skip
ONLINE = {"optimizer": "adafactor", "scheduler": "constant", "warmup": 0, "learning_rate": 1e-4, "batch_size": 32, "beta": 0.1,
          "max_new_tokens": 512}  # fmt: skip
TASKS: dict[str, dict[str, dict[str, Any]]] = {
    "summarization": {
        "sft": SFT | {"learning_rate": 1e-3, "instruction": "summarization"}, "reward": REWARD | {"loss": "pointwise"},
        "rl": ONLINE | {"steps": 3000}, "judge": {"prompt": "summarization", "max_items": 1000},
    },
    "dialog": {
        "sft": SFT | {"learning_rate": 1e-5, "instruction": "dialog"}, "reward": REWARD | {"loss": "bradley_terry"},
        "rl": ONLINE | {"steps": 2500}, "judge": {"prompt": "dialog", "max_items": 1000},
    },
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_every_step_has_the_papers_recipe(task: str) -> None:
    experiment = load(Path(PRESETS[f"paper_b_{task}"]))
    made = steps(REUSE, experiment)
    languages = ("en", "de", "es", "ru", "tr", "vi") if task == "summarization" else ("en", "es", "ru")
    assert experiment.languages == languages, "section 4.1"
    wanted = TASKS[task] | {"best_of_n": {"n": 64}}
    for stage, fields in wanted.items():
        configs = [stage_config(stage, step.config) for step in made.values() if step.stage == stage]
        assert configs
        for config in configs:
            assert {name: getattr(config, name) for name in fields} == fields
    assert sum(step.stage == "rl" and len(step.of) == 2 for step in made.values()) == len(languages) ** 2
    assert {made[f"reward-{code}"].inputs["base"] for code in languages} == {f"sft-{code}" for code in languages}
    sampled = [stage_config("sample", made[f"sample-sft-{code}"].config) for code in languages]
    assert {(config.runs, config.max_new_tokens) for config in sampled} == {(65, 512)}
    assert {step.stage for step in made.values()} <= set(STAGES)


def test_demonstrations_of_a_language_are_those_of_table_1() -> None:
    made = steps(REUSE, load(Path(PRESETS["paper_b_summarization"])))
    for code, names in DATA_OF_TABLE_1.items():
        config = stage_config("curate", made["curate" if code == "en" else f"curate-{code}"].config)
        assert (config.language, set(config.demonstrations)) == (code, names)
        assert (config.preferences, config.prompts) == (("seahorse",), "demonstrations")
        assert (config.demonstrations_mixture, config.demonstrations_apart) == ("even", True), "appendix A"


def test_the_judge_is_asked_once_in_an_order_by_the_seed_as_gpt_4_was() -> None:
    for task in TASKS:
        made = steps(REUSE, load(Path(PRESETS[f"paper_b_{task}"])))
        judged = [stage_config("judge", step.config) for step in made.values() if step.stage == "judge"]
        assert {(config.orders, config.logprobs) for config in judged} == {("seeded", False)}, "appendix D"
