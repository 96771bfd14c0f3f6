"""Experiments that cannot work are refused when they are loaded, in one line; those that are shipped can."""

import json
import re
from pathlib import Path

import pytest
import yaml
from refusals import refused

from components import estimate, hardware
from configs import PRESETS
from pipelines import placement
from xlrm.data.catalog import SPOKEN
from xlrm.errors import ConfigError, GateError
from xlrm.models import base_models
from xlrm.run import budget, expected, judges
from xlrm.run.assumptions import MFU
from xlrm.run.experiment import build, load
from xlrm.run.sections import CROSS_LINGUAL, RETRAIN, REUSE, Experiment, stage_config
from xlrm.run.steps import PIPELINES, Step, steps
from xlrm.stages import judge, plan
from xlrm.store import fields
from xlrm.store.jsonl import write_jsonl

IMPOSSIBLE = (
    ("paper_a_qwen", "targets=[es,de]", "sample.eval_prompts", 'alpacaeval'),
    ("demo", "sample.eval_prompts=mine.jsonl", "sample.eval_prompts", 'mine.jsonl'),
    ("paper_a_qwen", "curate.decontaminate=[rewardbench-2]", "curate.decontaminate", ('rewardbench-2',)),
    ("demo", "register.benchmarks=[heldout]", "register.benchmarks", 'heldout'),
    ("paper_a_qwen", "judge.judge=gpt-5", "judge.judge", 'gpt-5'),
    ("paper_a_qwen", "judge.judge=phrasebook", "judge.judge", 'phrasebook'),
    ("demo", "name=a/b", "name", 'a/b'),
    ("demo", "curate.preferences=[helpsteer4]", "curate.preferences", 'helpsteer4'),
    ("demo", "curate.preferences=[helpsteer2]", "translate.translator", 'phrasebook'),
    ("paper_a_qwen", "source=es targets=[en]", "curate.preferences", 'safe-rlhf'),
    ("demo", "source=es targets=[ko] translate.translator=x-alma", "translate.translator", 'x-alma'),
    ("demo", "targets=[es,de]", "base.pretraining.languages", ('en', 'es', 'it', 'ko', 'zh')),
    ("demo", "base.pretraining.languages=[en,es,it,ko,zh,fr]", "base.pretraining.languages", (*SPOKEN[:5], "fr")),
    ("paper_a_qwen", "evaluate.benchmarks=[rewardbench-3]", "evaluate.benchmarks", 'rewardbench-3'),
    ("paper_a_qwen", "evaluate.benchmarks=[m-rewardbench,m-rewardbench@v1]", "evaluate.benchmarks", 'm-rewardbench'),
    ("paper_a_qwen", "evaluate.benchmarks=[corpus.jsonl]", "evaluate.benchmarks", 'corpus'),
    ("demo", "source=es targets=[ko] evaluate.benchmarks=[rewardbench-2]", "evaluate.benchmarks", 'rewardbench-2'),
    ("demo", "register.benchmarks=[m-rewardbench]", "register.benchmarks", 'm-rewardbench'),
    ("paper_a_qwen", "external.models=[armour]", "external.models", "armour"),
    ("paper_a_qwen", "judge.judge=armorm", "judge.judge", "armorm"),
    ("paper_a_qwen", "judge.judge=served", "judge.judge", "served"),
    ("paper_a_qwen", "judge.judge=[gpt-4o,gpt-4o]", "judge.judge", ["gpt-4o", "gpt-4o"]),
    ("paper_a_qwen", "judge.judge=[gpt-4o,phrasebook]", "judge.judge", "phrasebook"),
    ("paper_a_qwen", "judge.judge=reward=gpt-4o", "judge.judge", "reward=gpt-4o"),
    ("paper_a_qwen", "judge.judge=human=", "judge.judge", "human="),
    ("paper_a_qwen", "judge.judge=human=none/{language}.csv", "judge.judge", "none/es.csv"),
    ("paper_a_qwen", "judge.judge=gpt-4o judge.rubric=none.md", "judge.rubric", "none.md"),
    ("paper_a_qwen", "judge.judge=gpt-4o judge.rubric=correctness", "judge.references", None),
    ("paper_a_qwen", "judge.judge=gpt-4o judge.rubric=correctness judge.references=r.csv", "judge.references", "r.csv"),
    ("paper_a_qwen", "judge.judge=gpt-4o judge.rubric=quality judge.prompt=rewardbench", "judge.prompt", "rewardbench"),
    ("demo", "judge.rubric=quality", "judge.judge", "phrasebook"),
    ("paper_a_qwen", "judge.judge=self-taught judge.context=1024", "judge.max_new_tokens", 2048),
    ("paper_a_qwen", "judge.judge=served=m judge.max_usd=9", "judge.max_usd", 9.0),
    ("paper_a_qwen", "sample.runs=1 judge.orders=both", "judge.runs", 5),
    ("paper_a_qwen", "sample.runs=1 judge.orders=both judge.temperature=1", "judge.runs", 5),
    ("paper_a_qwen", "sample.runs=1 judge.judge=reward=armorm judge.orders=seeded", "judge.runs", 5),
    ("demo", "judge.runs=2 judge.orders=seeded", "judge.runs", 2),
    ("paper_a_qwen", "judge.judge=gpt-4o judge.length_control=hub", "judge.length_control", "hub"),
    ("demo", "targets=[] judge.length_control=hub", "judge.length_control", "hub"),
    ("paper_a_qwen", "targets=[] evaluate.benchmarks=[] judge.judge=gpt-4o judge.length_control=no.csv",
     "judge.length_control", "no.csv"),
    ("paper_a_qwen", "external.models=[served=m] external.judge.max_usd=9", "external.judge.max_usd", 9.0),
    ("paper_a_qwen", "judge.judge=served=m plan.max_usd=1000 plan.usd_per_gpu_hour=1", "plan.max_usd", 1000.0),
    ("paper_a_qwen", "external.models=[self-taught] external.judge.max_new_tokens=16384", "external.judge.max_new_tokens", 16384),
    ("paper_a_qwen", "reward.max_length=65536", "reward.max_length", 65536),
    ("paper_a_qwen", "evaluate.max_length=32769", "evaluate.max_length", 32769),
    ("paper_a_llama", "represent.max_length=200000", "represent.max_length", 200000),
    ("paper_a_qwen", "align.max_length=65536", "align.max_length", 65536),
    ("demo", "sample.max_new_tokens=4096", "sample.max_new_tokens", 4096),
    ("paper_a_qwen", "policy.model=phrasebook-tiny sample.max_new_tokens=8000", "sample.max_new_tokens", 8000),
    ("paper_a_qwen", "translate.max_new_tokens=4000", "translate.max_new_tokens", 4000),
    ("demo", "translate.limits.loop_times=9", "translate.limits", {"loop_times": 9}),
    ("demo", "sample.samples=1", "sample.samples", 1),
    ("demo", "sample.temperature=0", "sample.temperature", 0.0),
    ("demo", "align.batch_size=256", "align.batch_size", 256),
    ("demo", "rl.batch_size=1024 rl.max_length=512 rl.max_new_tokens=32", "rl.batch_size", 1024),
    ("demo", "sample.runs=2", "sample.judged_temperature", 0.0),
    ("demo", "sample.given=phrasebook sample.served=m", "sample.served", "m"),
    ("demo", "sample.given=answers.jsonl", "sample.given", "answers.jsonl"),
    ("demo", "reference.given=answers-{language}.jsonl", "reference.given", "answers-es.jsonl"),
    ("demo_short", "reference.seed=1", "reference.given", None),
    ("demo_short", "reference.served=m reference.runs=2", "reference.judged_temperature", 0.0),
    ("demo_short", "reference.given=phrasebook reference.samples=8", "reference.samples", 8),
    ("demo_short", "reference.given=phrasebook reference.shards=2", "reference.shards", 2),
    ("demo_short", "reference.given=phrasebook reference.eval_prompts=alpacaeval", "reference.eval_prompts", "alpacaeval"),
    ("demo", "rl.max_length=8192", "rl.max_length", 8192),
    ("demo", "rl.max_length=512 rl.max_new_tokens=32 rl.processes=3", "rl.batch_size", 128),
    ("demo", "rl.max_length=512 rl.max_new_tokens=32 rl.reward_url=http://a/get_reward", "rl.reward_url", "http://a/get_reward"),
    ("demo", "reward.batch_size=8192", "reward.batch_size", 8192),
    ("demo", "reward.processes=3", "reward.batch_size", 8),
    ("demo", "policy.nosuch=1", "policy.nosuch", 1),
    ("demo", "align.optimizer=adamm", "align.optimizer", "adamm"),
    ("demo", "base.model=org/Other-1B", "base.model", "org/Other-1B"),
    ("demo_short", "base.tuning={}", "base.tuning", None),
    ("demo_short", "policy.tuning={} policy.model=org/Other-1B", "policy.model", "org/Other-1B"),
    ("paper_a_qwen", "plan.max_gpu_hours=100", "plan.max_gpu_hours", 100.0),
    ("paper_a_qwen", "plan.max_usd=100", "plan.max_usd", 100.0),
    ("paper_a_qwen", "plan.max_usd=100 plan.usd_per_gpu_hour=2", "plan.max_usd", 100.0),
    ("paper_a_qwen", "base.model=org/Other-1B plan.max_gpu_hours=1000", "plan.max_gpu_hours", 1000.0),
    ("paper_a_qwen", "external.models=[served=x] plan.max_usd=1000 plan.usd_per_gpu_hour=1", "plan.max_usd", 1000.0),
)  # fmt: skip
"""Preset, overrides, and the field and value that are refused."""


def refusal(preset: str, overrides: str, pipeline: str = CROSS_LINGUAL) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        load(Path(PRESETS[preset]), tuple(overrides.split(" ")), pipeline)
    return raised.value


@pytest.mark.parametrize(("preset", "overrides", "field", "value"), IMPOSSIBLE)
def test_what_cannot_work_is_refused_in_one_line(preset: str, overrides: str, field: str, value: object) -> None:
    error = refusal(preset, overrides)
    assert (error.where, error.value) == (f"{PRESETS[preset]}: {field}", value) and "\n" not in str(error)


def pipelines_of(preset: str) -> list[str]:
    """The pipelines that take a shipped experiment."""
    made_for = load(Path(PRESETS[preset])).pipeline
    return [made_for] if made_for else [name for name in PIPELINES if name != REUSE]


@pytest.mark.parametrize("on", placement.SHIPPED)
@pytest.mark.parametrize("preset", PRESETS)
def test_shipped_experiments_work_on_shipped_placements(preset: str, on: str, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    given = placement.load(on).hardware()
    for pipeline in pipelines_of(preset):
        made = steps(pipeline, load(Path(PRESETS[preset]), pipeline=pipeline))
        if preset.startswith("paper") and on == "cpu":
            with pytest.raises(ConfigError) as raised:
                hardware.check(made, given, preset)
            assert raised.value.where.endswith(".engine")
        elif preset == "paper_b_summarization" and on.startswith("a100-40gb"):
            # 3.74e9 weights of 4 bytes, their copies of 2 and gradients of 4 are 34.9 GiB; activations and logits come to it.
            with refused(ConfigError, f"{preset}: sft.device_batch_size", 8):
                hardware.check(made, given, preset)
        else:
            hardware.check(made, given, preset)


DEMOS = {pipeline: "demo_reuse_short" if pipeline == REUSE else "demo_short" for pipeline in PIPELINES}
LEFT_OUT = [
    (pipeline, *of)
    for pipeline in PIPELINES
    for of in (
        ("base", "model"), ("curate", "preferences"), ("translate", "translator"),
        *([("curate", "demonstrations"), ("curate", "prompts")] if pipeline == REUSE else [("curate", "benchmark")]),
    )
]  # fmt: skip


@pytest.mark.parametrize(("pipeline", "section", "field"), LEFT_OUT)
def test_what_a_run_cannot_do_without_is_asked_for_when_it_is_loaded(pipeline: str, section: str, field: str) -> None:
    demo = yaml.safe_load(Path(PRESETS[DEMOS[pipeline]]).read_text(encoding="utf-8"))
    lacking = {name: value for name, value in demo.get(section, {}).items() if name != field}
    translated = (
        {"reward": demo["reward"] | {"translate_train": True}} if pipeline == REUSE and section == "translate" else {}
    )
    with refused(ConfigError, f"mine.yaml: {section}.{field}") as raised:
        build(demo | translated | {section: lacking}, {}, "mine.yaml", pipeline)
    assert f"for example {section}.{field}=" in str(raised.value) and "\n" not in str(raised.value)


def test_no_default_is_the_demos() -> None:
    """Fewest settings of a run: nothing in it comes from the phrasebook."""
    few = {
        "name": "mine", "targets": ["ko"], "base": {"model": "Qwen/Qwen2.5-3B-Instruct"},
        "curate": {"preferences": ["offsetbias"], "benchmark": "rewardbench"}, "translate": {"translator": "x-alma"},
    }  # fmt: skip
    for pipeline in (CROSS_LINGUAL, RETRAIN):
        made = steps(pipeline, build(few, {}, "mine.yaml", pipeline))
        configs = [stage_config(step.stage, step.config) for step in made.values()]
        assert "phrasebook" not in repr([config for config in configs if not hasattr(config, "pretraining")])
        assert not {"sample", "align", "judge", "represent"} & {step.stage for step in made.values()}
        assert next(step.config["prefix"] for step in made.values() if step.stage == "register") == "mine"


def test_a_stage_that_does_not_run_is_not_held_to_anything() -> None:
    preset = Path(PRESETS["paper_a_qwen"])
    assert load(preset, ("represent.parallel=null", "judge.judge=phrasebook"), RETRAIN)
    assert load(preset, ("judge.judge=gpt-4o", "judge.max_usd=50")), (
        "a generative judge reads any prompt in any language"
    )
    assert load(preset, ("judge.judge=served=m", "judge.engine=endpoint", "judge.max_new_tokens=32768"))
    for varied in (
        "judge.orders=alpacaeval",
        "judge.orders=both judge.temperature=1 judge.prompt=rewardbench",
        "judge.orders=both judge.temperature=1 judge.prompt=null judge.rubric=quality",
    ):
        assert load(preset, ("judge.judge=gpt-4o", "sample.runs=1", "judge.runs=5", *varied.split()))
    assert load(preset, ("curate.prompts=null", "sample.samples=1"))


def test_a_budget_is_shared_and_length_control_is_for_english_alone() -> None:
    """With English as a target, its responses are controlled for length and those in Spanish are not."""
    asked = {"judge": "gpt-4o", "max_usd": 50, "length_control": "hub"}
    experiment = Experiment(
        name="x", source="ko", targets=("en", "es"), stages={"curate": {"prompts": "x"}, "judge": asked}
    )
    made = steps(CROSS_LINGUAL, experiment)
    judged = {code: stage_config("judge", made[f"judge-{code}"].config) for code in ("en", "es")}
    assert [judged[code].max_usd for code in judged] == [25, 25]
    assert [judged[code].length_control for code in judged] == ["hub", None]
    assert judges.settings(experiment, "es", steps=2) == {"max_usd": 12.5, "length_control": None}


def test_judges_of_single_questions_are_refused_for_files_of_turns(tmp_path) -> None:
    turns = [{"role": role, "content": "?"} for role in ("system", "user")]
    write_jsonl(tmp_path / "turns.jsonl", [{"prompt": turns, "chosen": "a", "rejected": "b"}])
    write_jsonl(tmp_path / "single.jsonl", [{"prompt": turns[1:], "chosen": "a", "rejected": "b"}])
    asked = "judge.judge=gpt-4o judge.max_usd=50 curate.eval_prompt_set="
    error = refusal("paper_a_qwen", f"{asked}{tmp_path / 'turns.jsonl'}")
    assert error.where.endswith("judge.judge") and error.value == "gpt-4o" and "curate.eval_prompt_set" in error.message
    external = "external.models=[armorm,served=m] curate.benchmark="
    error = refusal("paper_a_qwen", f"{external}{tmp_path / 'turns.jsonl'}")
    assert error.where.endswith("external.models") and error.value == "m"
    single = [f"{option}{tmp_path / 'single.jsonl'}" for option in (asked, external)]
    assert load(Path(PRESETS["paper_a_qwen"]), tuple(" ".join(single).split(" ")))
    of_turns = " ".join(f"{option}{tmp_path / 'turns.jsonl'}" for option in (asked, external))
    threads = f"judge.prompt=dialog external.judge.prompt=dialog {of_turns}"
    assert load(Path(PRESETS["paper_a_qwen"]), tuple(threads.split(" "))), "paper B's prompts show threads"
    alone = (f"curate.benchmark={tmp_path / 'turns.jsonl'}", "external.models=[armorm]", "judge.judge=null")
    assert load(Path(PRESETS["paper_a_qwen"]), (*alone, f"curate.eval_prompt_set={tmp_path / 'turns.jsonl'}"))


def test_what_is_checked_and_estimated_are_the_steps(monkeypatch) -> None:
    """A pipeline that looks at representations, and trains in a target language alone."""
    own = [Step("reward", ("ko",)), Step("represent")]
    monkeypatch.setitem(PIPELINES, RETRAIN, lambda _: own)
    found = paper(pipeline=RETRAIN).rows
    assert next(row.what for row in found if row.stage == "reward").startswith("1 reward models")
    assert any(row.stage == "represent" for row in found) and not any(row.stage == "external" for row in found)


def test_a_folders_config_says_how_much_its_model_reads(tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 1024}))
    error = refusal("paper_a_qwen", f"base.model={tmp_path}")
    assert error.where.endswith("reward.max_length") and error.value == 2048
    assert str(tmp_path) in error.message and "1024" in error.message


def test_the_tiny_model_reads_what_its_row_says(tiny_base) -> None:
    assert base_models.context(str(tiny_base)) == base_models.context("phrasebook-tiny") == 4096


@pytest.mark.parametrize(("seen", "allowed"), [("0,1,2", False), ("0,1", True), ("", True)])
def test_a_batch_is_held_against_the_gpus_of_this_machine(seen: str, allowed: bool, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    made = steps(CROSS_LINGUAL, load(Path(PRESETS["demo"]), ("reward.batch_size=8",)))
    if not allowed:
        with refused(ConfigError, "demo: reward.batch_size", 8):
            hardware.check(made, placement.load(placement.LOCAL).hardware(), "demo")
    else:
        hardware.check(made, placement.load(placement.LOCAL).hardware(), "demo")


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("evaluate.device=cuda:2", "evaluate.device", "cuda:2"),
        ("rank.processes=3", "rank.processes", 3),
        ("external.processes=4", "external.processes", 4),
    ],
)
def test_scoring_is_held_against_the_gpus_of_this_machine(override, field, value, monkeypatch) -> None:
    made = steps(CROSS_LINGUAL, load(Path(PRESETS["demo"]), (override,)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with refused(ConfigError, f"demo: {field}", value):
        hardware.check(made, placement.load(placement.LOCAL).hardware(), "demo")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    hardware.check(made, placement.load(placement.LOCAL).hardware(), "demo")


@pytest.mark.parametrize("stage", ["evaluate", "sample"])
def test_vllm_is_refused_on_a_machine_without_gpus(stage: str, monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(hardware, "DRIVER", tmp_path / "driver")
    made = steps(CROSS_LINGUAL, load(Path(PRESETS["demo"]), (f"{stage}.engine=vllm",)))
    given = placement.load(placement.LOCAL).hardware()
    with refused(ConfigError, f"demo: {stage}.engine"):
        hardware.check(made, given, "demo")
    for name in ("gpu 0", "gpu 1"):
        (tmp_path / "driver" / name).mkdir(parents=True)
    assert hardware.here() == 2
    hardware.check(made, given, "demo")


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (("judge.judge=self-taught",), "judge.engine"),
        (("external.models=[self-taught]",), "external.judge.engine"),
        (("judge.judge=self-taught", "judge.engine=vllm"), "judge.engine"),
    ],
)
def test_a_judges_own_engine_needs_a_gpu_too(overrides, field, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    given = placement.load(placement.LOCAL).hardware()
    with refused(ConfigError, f"demo: {field}"):
        hardware.check(steps(CROSS_LINGUAL, load(Path(PRESETS["demo"]), overrides)), given, "demo")
    served = ("judge.judge=self-taught", "judge.engine=endpoint", "external.models=[gpt-4o]")
    hardware.check(steps(CROSS_LINGUAL, load(Path(PRESETS["demo"]), served)), given, "demo")


def test_without_a_judge_there_is_nothing_to_judge_by(tmp_path) -> None:
    with refused(ConfigError, "judge.judge"):
        config = judge.Config(language="es", labelers=("en",), judge=None)
        judge.run(config, reference=tmp_path, candidates=tmp_path, output=tmp_path)


# What a run is estimated at


def paper(*overrides: str, pipeline: str = CROSS_LINGUAL) -> budget.Budget:
    return budget.of(load(Path(PRESETS["paper_a_qwen"]), overrides, pipeline), pipeline)


def test_paper_as_counts_are_those_of_its_appendix() -> None:
    texts = expected.texts(load(Path(PRESETS["paper_a_qwen"])))
    assert [len(texts.pairs), len(texts.benchmark), len(texts.train_prompts), len(texts.eval_prompts)] == [
        86_400, 2985, 11_000, 805,
    ]  # fmt: skip
    assert texts.pairs[0] == (350, (1050, 1050)) and texts.parallel == []


def test_dollars_are_hours_times_their_price_and_what_endpoints_ask() -> None:
    found = paper("plan.usd_per_gpu_hour=2", "external.models=[gpt-4o]")
    hours = sum(row.hours(MFU) for row in found.rows)
    (served,) = [row for row in found.rows if row.stage == "external"]
    assert served.flop == 0 and served.usd > 0
    asked = sum(row.usd for row in found.rows)
    assert asked > served.usd, "the references and the judge"
    assert found.gpu_hours == pytest.approx(hours) and found.usd == pytest.approx(2 * hours + asked)
    # 300 tokens of each answer, of a question of a prompt and two responses in each of five languages, at 2.5 and 10 dollars.
    items, written = 2985, 300
    read = sum(
        (350 + 2 * 1050) * expected.effort.tokens_of(1, *(expected.LANGUAGES[code] for code in ("en", target)))
        for target in ("en", "es", "it", "ko", "zh")
    )
    assert served.usd == pytest.approx(items * (read * 2.5 + 5 * written * 10.0) / 1e6)
    assert paper().usd is None


def test_room_is_that_of_the_models() -> None:
    rows = {(row.stage, row.aligned): row.stored for row in paper().rows}
    qwen, policy = (base_models.BASE_MODELS[f"Qwen/Qwen2.5-{size}-Instruct"].shape.parameters for size in ("3B", "7B"))
    assert qwen == pytest.approx(3.09e9, rel=0.002)
    assert rows["base", False] == 2 * (qwen + policy) and rows["reward", False] == 5 * 4 * qwen
    assert rows["align", False] == 8 * 4 * policy and rows["sample", True] is None
    assert policy / 1e9 == pytest.approx(7.61, abs=0.01), "its head is a matrix of its own"


def test_retraining_is_estimated_as_what_it_is() -> None:
    whole, again = paper(), paper(pipeline=RETRAIN)
    assert {row.stage.partition("[")[0] for row in again.rows} == {"base", "translate", "reward", "evaluate"}
    hours = [next(row.hours(MFU) for row in one.rows if row.stage == "reward") for one in (whole, again)]
    assert hours[1] < hours[0] / 5, "English has the fewest tokens of the five"


def test_assumptions_and_prices_can_be_said_and_nothing_is_made_again_for_them() -> None:
    assert paper("plan.response_tokens=600").gpu_hours > 1.5 * paper().gpu_hours
    assert {*fields.marked(plan.Config, fields.NotCounted)} == {
        "usd_per_gpu_hour",
        "max_gpu_hours",
        "max_usd",
        "rows",
        "prompt_tokens",
        "response_tokens",
    }


def test_a_table_is_shown_with_the_gpus_of_a_placement() -> None:
    demo = load(Path(PRESETS["paper_a_qwen"]), ("plan.usd_per_gpu_hour=2",))
    given = placement.load("a100-80gb-2-nodes").hardware()
    table = estimate.table(demo, CROSS_LINGUAL, given)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    gpus = {(row[0], *row[1].split(" ")[1:2]): row[3] for row in rows[2:]}
    assert gpus["reward", "reward"] == gpus["align", "policies,"] == "16", "two nodes of four, and two at a time"
    assert gpus["translate[ko]", "texts,"] == "2" and gpus["sample", "aligned"] == "1" and rows[-1][0] == "total"
    assert len({len(row) for row in rows}) == 1


def test_hours_are_those_of_the_placements_gpus() -> None:
    """At NVIDIA's peaks, 989 TFLOP/s in bfloat16 and 67 in float32 instead of 312 and 19.5; limits and prices stay an A100's."""
    demo = load(Path(PRESETS["paper_a_qwen"]), ("plan.usd_per_gpu_hour=2",))
    found = {}
    for on in ("a100-80gb", "h100-80gb"):
        lines = estimate.table(demo, CROSS_LINGUAL, placement.load(on).hardware()).splitlines()
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        found[on] = {row[0]: row for row in rows if row[0] in ("stage", "align", "evaluate")}, lines
    (a100, _), (h100, said) = found.values()
    assert [one["stage"][4] for one in (a100, h100)] == ["hours on as many A100s", "hours on as many H100s"]
    for stage, ratio in {"align": 2 * 312 / 989, "evaluate": 19.5 / 67}.items():  # two do what four did
        assert a100[stage][2] == h100[stage][2] and a100[stage][5] == h100[stage][5]
        assert float(h100[stage][4]) == pytest.approx(float(a100[stage][4]) * ratio, rel=0.06), "two digits are shown"
    assert "- peak of an H100, TFLOP/s: bfloat16 989, float32 67" in said


def test_a_budget_that_is_kept_starts() -> None:
    found = paper("plan.usd_per_gpu_hour=2")
    limits = {"plan.max_gpu_hours": found.gpu_hours + 1, "plan.max_usd": found.usd + 1, "plan.usd_per_gpu_hour": 2}
    raw = load(Path(PRESETS["paper_a_qwen"])).as_file()
    assert build(raw, limits, "test")
    assert build(raw, {"plan.max_gpu_hours": 1000, "external.models": ["served=x"]}, "test"), (
        "dollars are not asked for"
    )
    with refused(ConfigError, "test: plan.max_usd", found.usd - 1) as raised:
        build(raw, limits | {"plan.max_usd": found.usd - 1}, "test")
    assert re.findall(r" h of (\w+)", raised.value.hint) == ["sample", "evaluate", "translate"]


def test_translating_alone_may_be_too_much_once_it_is_counted() -> None:
    plan._check_limits(plan.Config(max_gpu_hours=10, max_usd=20, usd_per_gpu_hour=2), 10)
    with refused(GateError, "plan.max_usd", 20):
        plan._check_limits(plan.Config(max_gpu_hours=11, max_usd=20, usd_per_gpu_hour=2), 11)


def test_nothing_is_fetched_for_an_estimate(monkeypatch) -> None:
    monkeypatch.setattr("xlrm.store.hub.model_folder", lambda *_: pytest.fail("the Hub was asked"))
    found = paper("base.model=org/Other-1B", "external.models=[org/reward]")
    why = {row.stage: row.why for row in found.rows if row.why}
    assert why["reward"] == "the size of org/Other-1B@main is unknown until it is downloaded"
    assert "org/reward" in why["external"]
