"""What a pipeline makes of an experiment: each step gets what its stage takes, from steps before it."""

import inspect
from dataclasses import replace

import pytest
from phrasebook_settings import sections
from refusals import refused

from components import IMAGES, RUNS, component_of
from configs import PRESETS
from pipelines.platform import GIVEN
from xlrm.errors import ConfigError
from xlrm.run.experiment import STAGES, build, load, stage_config, stage_module
from xlrm.run.sections import CROSS_LINGUAL, RETRAIN
from xlrm.run.steps import PIPELINES, Step, steps

TARGETS = ["es", "it", "ko", "zh", "de", "ru", "tr", "vi"]
SPEAKING = {"pretraining": {"languages": ["en", *TARGETS]}}
NINE = build({"name": "nine", "targets": TARGETS, **sections(base=SPEAKING)}, {}, "test")


def wanted(stage: str) -> tuple[dict[str, bool], set[str]]:
    """Inputs of a stage by name -> whether it takes several artifacts; and those it cannot do without."""
    found = inspect.signature(stage_module(stage).run).parameters.values()
    own = [one for one in found if one.kind is one.KEYWORD_ONLY and one.name not in ("output", "lineage")]
    return {one.name: any(kind in str(one.annotation) for kind in ("list", "Sequence")) for one in own}, {
        one.name for one in own if one.default is one.empty
    }


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_step_takes_what_its_stage_takes_from_steps_before_it(pipeline: str) -> None:
    seen: set[str] = set()
    for label, step in steps(pipeline, NINE).items():
        several = {name: isinstance(of, tuple) for name, of in step.inputs.items()}
        takes, needs = wanted(step.stage)
        assert several.items() <= takes.items() and needs <= several.keys(), f"{label} is fed with {step.inputs}"
        taken = [one for of in step.inputs.values() for one in ((of,) if isinstance(of, str) else of)]
        assert set(taken) <= seen, f"{label} takes {set(taken) - seen}, which no step before it makes"
        seen.add(label)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_step_of_a_shipped_experiment_has_a_config_that_holds(preset: str) -> None:
    loaded = load(PRESETS[preset])
    pipelines = (loaded.pipeline,) if loaded.pipeline else (CROSS_LINGUAL, RETRAIN)
    for step in (step for pipeline in pipelines for step in steps(pipeline, loaded).values()):
        config = stage_config(step.stage, step.config)
        assert all(getattr(config, field) is not None for field in step.config if step.config[field] is not None)


@pytest.mark.parametrize("pipeline", (CROSS_LINGUAL, RETRAIN))
def test_translations_are_checked_with_the_limits_of_validate(pipeline: str) -> None:
    made = steps(pipeline, load(PRESETS["demo"], ("validate.limits.loop_times=9",))).values()
    configs = [stage_config(step.stage, step.config) for step in made if step.stage in ("translate", "validate")]
    assert len(configs) == 5 and {config.limits.loop_times for config in configs} == {9}


def test_paper_a_has_the_steps_of_its_sections() -> None:
    made = steps("cross-lingual-transfer", load(PRESETS["paper_a_qwen"]))
    count = {stage: sum(step.stage == stage for step in made.values()) for stage in STAGES}
    assert count == {
        "curate": 1, "plan": 1, "translate": 4, "validate": 1, "base": 2, "reward": 5, "evaluate": 5, "external": 1,
        "sample": 4 + 4 + 4, "rank": 4, "align": 8, "rl": 0, "judge": 4, "represent": 1, "register": 1, "report": 1,
        **dict.fromkeys(("sft", "best_of_n", "gains", "reuse_report"), 0),
    }  # fmt: skip
    assert made["base"].config["model"] == "Qwen/Qwen2.5-3B-Instruct", "section 2.2"
    assert made["base-policy"].config["model"] == "Qwen/Qwen2.5-7B-Instruct", (
        "section 4.1, whatever the reward models' base"
    )
    assert made["reward-ko"].inputs["base"] == made["represent"].inputs["base"] == "base"
    assert made["align-ko-en"].inputs["policy"] == "base-policy" == made["sample-policy-ko"].inputs["policies"][0]
    assert made["report"].inputs["verdicts"] == tuple(f"judge-{code}" for code in ("es", "it", "ko", "zh"))
    assert made["judge-ko"].inputs["reference"] == ("sample-reference-ko",)
    assert made["rank-ko"].inputs == {"samples": ("sample-policy-ko",), "reward_models": ("reward-en", "reward-ko")}
    assert made["align-ko-en"].config == made["align-ko-ko"].config | {"labeler": "en"}
    assert made["reward-es"].config["learning_rate"] == 1e-5, "the experiment's section, and the language on top"


def test_a_section_rl_adds_policies_that_are_sampled_and_judged_after_the_others() -> None:
    given = {"rl": {"method": "rloo"}, "policy": {"model": "other/model"}}
    made = steps("cross-lingual-transfer", build({"name": "four", "targets": ["es"], **sections(**given)}, {}, "test"))
    step, policies = made["rl-es-en"], ("align-es-en", "align-es-es", "rl-es-en", "rl-es-es")
    assert step.inputs == {"policy": "base-policy", "corpora": "validate", "reward_model": "reward-en"}
    assert stage_config("rl", step.config).method == "rloo" and component_of(step) == "align"
    assert made["sample-es"].inputs["policies"] == policies == made["report"].inputs["policies"]
    assert list(made["judge-es"].config["labelers"]) == ["en", "es", "rloo-en", "rloo-es"]
    assert list(made["rank-es"].config["labelers"]) == ["en", "es"]
    given["rl"] = {"reward_url": "http://HOST/{labeler}/get_reward"}
    asked = steps("cross-lingual-transfer", build({"name": "four", "targets": ["es"], **sections(**given)}, {}, "test"))
    assert asked["rl-es-es"].inputs == {"policy": "base-policy", "corpora": "validate"}


def test_without_a_section_of_its_own_the_policy_is_the_base_model() -> None:
    made = steps("cross-lingual-transfer", NINE)
    assert "base-policy" not in made and made["align-ko-en"].inputs["policy"] == "base"
    assert made["report"].inputs["verdicts"] == tuple(f"judge-{code}" for code in NINE.targets)


def test_a_policy_that_is_tuned_starts_from_the_base_model() -> None:
    made = steps("cross-lingual-transfer", load(PRESETS["demo"]))
    assert made["base-policy"].inputs == {"start": "base"} and not made["base"].inputs
    assert made["align-ko-en"].inputs["policy"] == "base-policy" and made["reward-ko"].inputs["base"] == "base"
    assert not steps("cross-lingual-transfer", load(PRESETS["demo"], ("policy.tuning=null",)))["base-policy"].inputs


def test_without_prompts_nothing_is_aligned() -> None:
    raw = {"name": "x", "targets": ["es", "ko"], **sections(policy={"model": "a/b"}, curate={"prompts": None})}
    made = steps("cross-lingual-transfer", build(raw, {}, "test"))
    assert (
        not {"sample", "rank", "align", "judge"} & {step.stage for step in made.values()} and "base-policy" not in made
    )
    assert made["report"].inputs["registered"] == "register" and "verdicts" not in made["report"].inputs


def test_retraining_translates_the_benchmark_alone() -> None:
    made = steps("retrain", NINE)
    wanted = [step.config["files"] for step in made.values() if step.stage == "translate"]
    assert wanted == [["benchmark"]] * len(NINE.targets)
    assert made["plan"].config["files"] == {key: ["benchmark"] for key in NINE.targets}
    assert all("files" not in step.config for step in steps("cross-lingual-transfer", NINE).values())


def test_retraining_is_the_source_language_alone_and_enforces_the_gate() -> None:
    made = steps("retrain", NINE)
    assert [label for label in made if label.startswith(("reward", "evaluate", "register"))] == [
        "reward-en", "evaluate-en", "register",
    ]  # fmt: skip
    assert made["register"].config["gate"] == "enforce"
    assert list(made)[-1] == "report" and made["report"].inputs == {
        "curated": "curate", "corpora": "validate", "evaluations": ("evaluate-en",), "registered": "register",
    }  # fmt: skip


def test_a_translation_in_shards_is_a_step_for_each() -> None:
    made = steps("retrain", build({"name": "x", "targets": ["es", "ko"], **sections(plan={"shards": 2.0})}, {}, "test"))
    parts = ("translate-es-1of2", "translate-es-2of2", "translate-ko-1of2", "translate-ko-2of2")
    assert made["validate"].inputs["translations"] == parts
    assert made["translate-ko-2of2"].config == {
        "language": "ko", "shard": "2/2", "translator": "phrasebook", "files": ["benchmark"], "limits": {},
    }  # fmt: skip


def test_sampling_in_shards_is_a_step_for_each_before_alignment() -> None:
    raw = {"name": "x", "targets": ["es", "ko"], **sections(sample={"shards": 2.0})}
    made = steps("cross-lingual-transfer", build(raw, {}, "test"))
    parts = ("sample-policy-ko-1of2", "sample-policy-ko-2of2")
    assert made["rank-ko"].inputs["samples"] == made["judge-ko"].inputs["reference"] == parts
    shared = {"languages": ["ko"], "split": "all", "shards": 2.0}
    assert [made[label].config for label in parts] == [shared | {"shard": "1/2"}, shared | {"shard": "2/2"}]
    assert made["sample-ko"].config["split"] == "eval" and "shard" not in made["sample-ko"].config
    assert len([label for label in made if label.startswith("sample-")]) == 2 * (2 + 1)


def test_policies_are_compared_with_a_reference_if_there_is_one() -> None:
    raw = {"name": "x", "targets": ["es", "ko"], **sections(sample={"judged_temperature": 0.7, "runs": 5})}
    made = steps("cross-lingual-transfer", build(raw | {"reference": {"served": "gpt-4-turbo"}}, {}, "test"))
    reference, judged = made["sample-reference-ko"], made["judge-ko"]
    asked = {"languages": ["ko"], "split": "eval", "eval_prompts": None, "served": "gpt-4-turbo"}
    assert (reference.config, reference.inputs) == (asked, {"corpora": "validate"})
    assert component_of(reference) == "sample"
    assert judged.inputs == {
        "reference": ("sample-reference-ko",), "base": ("sample-policy-ko",), "candidates": ("sample-ko",),
    }  # fmt: skip
    unjudged = build(raw | {"reference": {"given": "phrasebook"}}, {"judge.judge": None}, "test")
    assert not [label for label in steps("cross-lingual-transfer", unjudged) if "reference" in label]


def test_the_policy_before_alignment_may_answer_elsewhere_and_aligned_ones_here() -> None:
    raw = {"name": "x", "targets": ["ko"], **sections(sample={"served": "qwen"})}
    made = steps("cross-lingual-transfer", build(raw, {}, "test"))
    assert made["sample-policy-ko"].inputs == {"corpora": "validate"}
    assert made["sample-policy-ko"].config["served"] == "qwen"
    assert made["sample-ko"].inputs["policies"] and made["sample-ko"].config["served"] is None


def test_spare_prompts_are_curated_and_what_is_asked_for_is_written() -> None:
    raw = {"name": "x", "targets": ["es"], **sections(curate={"train_prompts": 40, "spare_prompts": 0.1})}
    made = steps("cross-lingual-transfer", build(raw, {}, "test"))
    assert made["validate"].config["train_prompts"] == 40


def test_an_unknown_pipeline_is_refused() -> None:
    with refused(ConfigError, "pipeline", "paper-b"):
        steps("paper-b", NINE)


def test_every_step_has_a_component_whose_image_it_runs_in() -> None:
    assert {stage for stages in RUNS.values() for stage in stages} == set(STAGES)
    made = steps("cross-lingual-transfer", NINE)
    assert {component_of(step) for step in made.values()} == set(RUNS)
    reused = steps("reuse-rewards", load(PRESETS["demo_reuse"]))
    assert {component_of(step) for step in reused.values()} == set(RUNS) - {"translate"}
    assert component_of(reused["sample-sft-de"]) == "sample" and component_of(reused["sample-rl-de"]) == "answer"
    assert component_of(made["sample-policy-ko"]) == "sample" and component_of(made["sample-ko"]) == "answer"
    judges = {"phrasebook": "report", "gpt-4o": "report", "self-taught": "answer"}
    judged = {judge: replace(made["judge-ko"], config=made["judge-ko"].config | {"judge": judge}) for judge in judges}
    assert {judge: component_of(step) for judge, step in judged.items()} == judges
    served = replace(judged["self-taught"], config=judged["self-taught"].config | {"engine": "endpoint"})
    assert component_of(served) == "report"
    assert "report" in GIVEN["xlrm-endpoint"], "for a served judge"
    assert "answer" in GIVEN["xlrm-hub"], "for a gated judge"
    assert set(IMAGES) <= set(RUNS) and component_of(Step("register")) == "report"
