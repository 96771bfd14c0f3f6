"""What every GPU stage will take: operations against hand arithmetic and against PyTorch's own count, and what is printed."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from components import RUNS
from pipelines import placement
from xlrm.cli import app
from xlrm.models import loading, reward_models
from xlrm.models.base_models import BASE_MODELS
from xlrm.models.compute import PASSES, Shape, Size, flops, shape
from xlrm.run import assumptions, budget, experiment, forecast
from xlrm.run.forecast import Published, Row
from xlrm.run.workloads import Item, Load, Texts, alone, answer_length, load
from xlrm.scorers import engines
from xlrm.scorers.interface import Scoring
from xlrm.scorers.judges import prompts
from xlrm.store.jsonl import write_jsonl
from xlrm.training.pretraining import Pretraining

CONFIGS = Path(__file__).parents[1] / "configs"
QWEN_3B = 36 * (2 * 2048 * (2048 + 2 * 128) + 3 * 2048 * 11_008)
QWEN_HEAD = 2048 * 151_936
ATTENTION = 2 * 36 * 2048
"""Operations of a token for each token of its sequence."""
# 100 tokens of English ask, 300 and 200 answer; a Spanish token stands for as many bytes, and Spanish has 1.2 times as many.
PAPER = Texts(
    pairs=[Item(350, (1050, 700))] * 86_000, benchmark=[Item(350, (700, 700))] * 2985, train_prompts=[350] * 10_000,
    eval_prompts=[350] * 805,
)  # fmt: skip
FEW = replace(PAPER, pairs=PAPER.pairs[:860])
PUBLISHED = Published({"m-rewardbench": {"en": [Item(350, (350, 350))] * 100}}, {"en": [350] * 488, "es": [350] * 488})


OF_3B = "policy.model=Qwen/Qwen2.5-3B-Instruct"


UNJUDGED = (
    "reference=null", "judge.judge=null", "judge.runs=1", "judge.orders=both", "sample.runs=1", "sample.judged_temperature=0",
)  # fmt: skip


def rows(*overrides: str, texts: Texts = FEW, published: Published = PUBLISHED) -> dict[str, list[Row]]:
    """The estimate of paper A's experiment for English and Spanish, by stage; one run, which nobody judges."""
    found: dict[str, list[Row]] = {}
    loaded = experiment.load(CONFIGS / "paper_a_qwen.yaml", ("targets=[es]", *UNJUDGED, *overrides))
    for row in forecast.rows(loaded, texts, published):
        found.setdefault(row.stage, []).append(row)
    return found


def only(found: dict[str, list[Row]], stage: str) -> Row:
    assert len(found[stage]) == 1
    return found[stage][0]


# Operations


def test_operations_are_those_of_the_formula() -> None:
    size = Size(parameters=1000, layers=3, attention_width=10)
    assert flops(size, tokens=7, mean_length=5, kind="forward") == 7 * (2 * 1000 + 2 * 3 * 5 * 10)
    assert [flops(size, 1, 0, kind) / 2000 for kind in PASSES] == [1, 3, 4, 2, 3]


@pytest.mark.parametrize(
    ("name", "tied", "billions"),
    [("meta-llama/Llama-3.2-3B-Instruct", True, 3.21), ("Qwen/Qwen2.5-3B-Instruct", True, 3.09),
     ("Qwen/Qwen2.5-7B-Instruct", False, 7.61)],
)  # fmt: skip
def test_shapes_give_the_parameters_on_the_models_cards(name: str, tied: bool, billions: float) -> None:
    row = BASE_MODELS[name].shape
    embeddings = row.hidden * row.vocabulary
    parameters = row.size(head=True).parameters + (0 if tied else embeddings)
    assert parameters / 1e9 == pytest.approx(billions, abs=0.01)


@pytest.mark.parametrize(("name", "billions"), [("armorm", 8.03), ("self-taught", 70.6)])
def test_shapes_of_models_from_elsewhere_do_too(name: str, billions: float) -> None:
    row = reward_models.find(name).shape
    parameters = row.size(head=True).parameters + row.hidden * row.vocabulary  # untied
    assert parameters / 1e9 == pytest.approx(billions, rel=0.002)


def counted(path: Path, length: int, reward: bool) -> tuple[int, int]:
    """PyTorch's count of operations for 3 sequences: forward, forward and backward."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    tokenizer = loading.load_tokenizer(path)
    model = loading.new_reward_model(path, tokenizer, seed=1) if reward else loading.load_causal_lm(path)
    model.set_attn_implementation("eager")  # PyTorch counts no other on a CPU
    ids = torch.arange(3 * length).reshape(3, length) % 500 + 10
    found = []
    for backward in (False, True):
        with FlopCounterMode(display=False) as counter:
            loss = model(input_ids=ids).logits.sum()
            if backward:
                loss.backward()
        found.append(counter.get_total_flops())
    return found[0], found[1]


@pytest.mark.parametrize("reward", [False, True])
def test_operations_agree_with_those_pytorch_counts(tiny_base, reward: bool) -> None:
    """PyTorch counts attention as if there were no causal mask: a context of twice the length, in the formula."""
    size, length = shape(json.loads((tiny_base / "config.json").read_text())).size(head=not reward), 48
    forward, both = counted(tiny_base, length, reward)
    assert flops(size, 3 * length, 2 * length, "forward") == pytest.approx(forward, rel=0.002)
    assert flops(size, 3 * length, length, "forward") == pytest.approx(forward, rel=0.1), "half of attention is masked"
    assert flops(size, 3 * length, 2 * length, "training") == pytest.approx(both, rel=0.002)


def test_the_tiny_models_shape_is_that_of_the_one_made_here(tiny_base) -> None:
    made = shape(json.loads((tiny_base / "config.json").read_text()))
    told = forecast.base_shape("phrasebook-tiny", "main", Pretraining(layers=2, width=64, vocabulary=1024))
    assert isinstance(told, Shape)
    assert told.size(head=False) == made.size(head=False)
    assert told.vocabulary == pytest.approx(made.vocabulary, rel=0.02)


def test_models_are_loaded_in_the_precision_that_is_said(tiny_base, tmp_path) -> None:
    tokenizer = loading.load_tokenizer(tiny_base)
    loading.new_reward_model(tiny_base, tokenizer, seed=1).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for model in (engines.load(tmp_path, Scoring()).network, loading.load_causal_lm(tiny_base)):
        assert str(model.dtype) == f"torch.{forecast.LOADED_IN}"


# Tokens


def test_a_shared_prompt_is_read_once() -> None:
    assert load([Item(3, (2, 4))]) == Load(tokens=3 + 2 + 4, squares=5 * 5 + 7 * 7 - 3 * 3)
    assert load([Item(3, (2, 4))], shared=False) == Load(5 + 7, 5 * 5 + 7 * 7)
    assert load([Item(3, (2, 4))], limit=6) == Load(5 + 6, 5 * 5 + 6 * 6), "what is cut at the left shares nothing"
    assert load([Item(3, (2, 4))], scale=2) == Load(18, 100 + 196 - 36)
    assert load(alone([2, 5])) == Load(7, 29) and load([]).mean_length == 0


def test_attention_of_a_shared_prompt_is_counted_token_by_token() -> None:
    prompt, answers = 5, (3, 4)
    attended = sum(place + 1 for place in range(prompt))
    attended += sum(prompt + place + 1 for answer in answers for place in range(answer))
    found = load([Item(prompt, answers)])
    assert found.squares / 2 == pytest.approx(attended - found.tokens / 2)  # a token attends to the half of itself


def test_sampled_answers_are_as_long_as_chosen_ones_up_to_the_limit() -> None:
    pairs = [Item(1, (10, 99)), Item(1, (30, 99))]
    assert answer_length(pairs, scale=2, limit=1000) == 40
    assert answer_length(pairs, scale=2, limit=50) == (20 + 50) / 2
    assert answer_length([], 1, 50) == 0


# Stages of paper A, for two languages, by hand


def test_reward_models() -> None:
    row = only(rows(texts=PAPER), "reward")
    tokens, squares = 600 + 720, 400**2 + 300**2 - 100**2 + 480**2 + 360**2 - 120**2
    assert row.tokens == pytest.approx(86_000 * tokens)
    assert row.flop == pytest.approx(86_000 * 4 * (2 * QWEN_3B * tokens + ATTENTION * squares))
    assert row.hours(assumptions.MFU) == pytest.approx(5.67, abs=0.01)  # 2.549e18 / (312e12 x 0.4 x 3600)
    assert row.what == "2 reward models, 86,000 pairs each"


@pytest.mark.parametrize(
    ("override", "ratio"),
    [("reward.gradient_checkpointing=false", 3 / 4), ("reward.lora_rank=8", 3 / 4), ("reward.epochs=2", 2)],
)
def test_settings_of_the_training_count(override: str, ratio: float) -> None:
    assert only(rows(override), "reward").flop == pytest.approx(ratio * only(rows(), "reward").flop)


def test_pointwise_training_shares_nothing_and_float32_has_a_peak_of_its_own() -> None:
    assert only(rows("reward.loss=pointwise"), "reward").tokens == pytest.approx(860 * (400 + 300) * 2.2)
    slow, fast = only(rows("reward.precision=float32"), "reward"), only(rows(), "reward")
    assert slow.hours(assumptions.MFU) == pytest.approx(16 * fast.hours(assumptions.MFU))


def test_evaluation_is_every_model_on_every_language_and_on_what_is_published() -> None:
    own, published = rows()["evaluate"]
    tokens = 2985 * 500 * (1 + 1.2)
    squares = 2985 * (2 * 300**2 - 100**2) * (1 + 1.2**2)
    assert own.tokens == pytest.approx(2 * tokens)
    assert own.flop == pytest.approx(2 * (2 * QWEN_3B * tokens + ATTENTION * squares))
    assert (
        published.tokens == pytest.approx(2 * 100 * 300)
        and published.what == "2 reward models x 100 items of m-rewardbench"
    )


def test_representations_are_of_the_base_and_of_every_reward_model() -> None:
    row = only(rows(), "represent")
    assert row.what == "3 models x 2 languages x 488 texts"
    assert row.flop == pytest.approx(3 * 2 * 488 * (2 * QWEN_3B * 100 + ATTENTION * 100**2))


def test_sampling_is_of_the_policy_and_of_both_aligned_ones() -> None:
    runs = 5
    first, *_, second = rows(OF_3B, f"sample.runs={runs}", "sample.judged_temperature=1")["sample"]
    one = 2 * (QWEN_3B + QWEN_HEAD) * 480 + ATTENTION * 480**2
    assert first.flop == pytest.approx((4 * 10_000 + 805 * runs) * one)
    assert second.flop == pytest.approx(2 * 805 * runs * one)
    assert first.work == "decoding"
    assert rows()["sample"][0].flop > 2 * first.flop, "the policy is a model of 7B, whatever the reward models are"


def test_ranking_is_by_two_reward_models_with_the_prompt_shared() -> None:
    row = only(rows(), "rank")
    assert row.tokens == pytest.approx(2 * 10_000 * (120 + 4 * 360))
    squares = 10_000 * (4 * 480**2 - 3 * 120**2)
    assert row.flop == pytest.approx(2 * QWEN_3B * row.tokens + 2 * ATTENTION * squares)


def test_alignment_is_a_forward_pass_of_the_reference_and_a_training() -> None:
    row, squares = only(rows(OF_3B), "align"), 2 * 480**2 - 120**2
    assert row.tokens == pytest.approx(2 * 10_000 * (120 + 2 * 360))
    once = 2 * (QWEN_3B + QWEN_HEAD) * row.tokens + 2 * 10_000 * ATTENTION * squares
    assert row.flop == pytest.approx((1 + 4) * once)
    assert only(rows(OF_3B, "align.epochs=2"), "align").flop == pytest.approx((1 + 2 * 4) * once)


def test_models_from_elsewhere_count_where_their_size_is_known() -> None:
    armorm, offsetbias = rows()["external"]
    body = 32 * (2 * 4096 * (4096 + 1024) + 3 * 4096 * 14_336)
    squares = 2985 * (2 * 300**2 - 100**2) * (1 + 1.2**2)
    assert armorm.flop == offsetbias.flop
    assert armorm.flop == pytest.approx(2 * body * armorm.tokens + 2 * 32 * 4096 * squares)
    judged, served = rows("external.models=[self-taught, gpt-4o]")["external"]
    assert judged.work == "decoding" and judged.tokens == pytest.approx(2985 * (500 * 2.2 + 2 * 300))
    assert served.flop == 0 and "endpoint" in served.what


def test_judging_reads_both_answers_to_each_prompt_of_each_aligned_policy() -> None:
    """2 policies x 805 prompts in Spanish of 120 tokens, with answers of 360 tokens each, in both orders; 300 tokens are
    written, but one for AlpacaEval's prompt."""
    local = only(rows("judge.judge=self-taught"), "judge")
    assert (local.work, local.precision, local.aligned) == ("decoding", "bfloat16", True)
    assert local.tokens == pytest.approx(2 * 2 * 805 * (120 + 2 * 360 + 300))
    once = only(rows("judge.judge=self-taught", "judge.orders=seeded"), "judge")
    assert once.flop == pytest.approx(local.flop / 2)
    served = only(rows("judge.judge=gpt-4o", "judge.prompt=rewardbench", "judge.answer_tokens=100"), "judge")
    assert served.usd == pytest.approx(2 * 2 * 805 * (840 * 2.5 + 100 * 10) / 1e6)
    one_token = only(rows("judge.judge=gpt-4o"), "judge")
    assert one_token.usd == pytest.approx(2 * 2 * 805 * (840 * 2.5 + 1 * 10) / 1e6)
    assert (served.flop, served.aligned) == (0, False) and "endpoint" in served.what
    assert "judge" not in rows()


def test_the_words_of_paper_bs_prompts_count_and_no_more_prompts_than_are_judged() -> None:
    words = prompts.find("summarization").characters / 4
    how = ("judge.judge=gpt-4o", "judge.prompt=summarization", "judge.orders=seeded")
    asked = only(rows(*how), "judge")
    assert asked.usd == pytest.approx(2 * 805 * ((840 + words) * 2.5 + 1 * 10) / 1e6) and 500 < words < 600
    limited = only(rows(*how, "judge.max_items=100"), "judge")
    assert limited.usd == pytest.approx(asked.usd * 100 / 805) and "100 prompts" in limited.what


def test_a_judge_that_scores_reads_each_response_once_and_a_jury_is_all_its_members() -> None:
    """2 policies and their reference x 805 prompts, a response at a time; 300 tokens are written for a rating."""
    rated = only(rows("judge.judge=gpt-4o", "judge.rubric=quality"), "judge")
    assert rated.usd == pytest.approx(3 * 805 * (480 * 2.5 + 300 * 10) / 1e6)
    runs = ("judge.runs=2", "sample.runs=2", "sample.judged_temperature=1")
    twice = only(rows("judge.judge=gpt-4o", "judge.rubric=quality", *runs), "judge")
    assert twice.usd == pytest.approx(2 * rated.usd)
    both = rows("judge.judge=[gpt-4o,reward=offsetbias,'human=s3://b/{language}.csv']")["judge"]
    judged, rewarded = both
    assert judged.usd > 0 and (rewarded.work, rewarded.aligned, rewarded.usd) == ("scoring", True, 0)
    assert rewarded.tokens == pytest.approx(3 * 805 * 480) and rewarded.flop > 0


def test_what_is_not_known_is_said(tmp_path) -> None:
    found = rows(f"external.models=[mine={tmp_path}]", published=Published({"m-rewardbench": "no network"}, "no texts"))
    assert only(found, "external").why.startswith(f"the size of {tmp_path} is unknown")
    assert found["evaluate"][1].why == "no network" and only(found, "represent").why == "no texts"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mixtral"}))
    row = only(rows(f"external.models=[mine={tmp_path}]"), "external")
    assert "'mixtral' model cannot be counted" in row.why and row.hours(assumptions.MFU) is None


def test_a_local_models_size_is_read_from_its_config(tmp_path) -> None:
    config = {"model_type": "qwen2", "num_hidden_layers": 36, "hidden_size": 2048, "intermediate_size": 11_008,
              "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151_936,
              "tie_word_embeddings": True}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert shape(config) == BASE_MODELS["Qwen/Qwen2.5-3B-Instruct"].shape
    row = only(rows(f"external.models=[mine={tmp_path}]"), "external")
    assert row.flop == pytest.approx(rows()["evaluate"][0].flop / 2)


def test_every_stage_on_gpus_has_a_line() -> None:
    """What the pipeline puts on GPUs, by its own account; a base model is fetched, or pretrained on a CPU."""
    on_gpus = {name for name, needs in placement.current().tasks.items() if needs.gpus}
    stages = {stage for component in on_gpus for stage in RUNS[component]}
    learning = ("judge.judge=self-taught", "rl={'steps': 10}")
    reused = {row.stage for row in budget.of(experiment.load(CONFIGS / "demo_reuse.yaml"), "reuse-rewards").rows}
    assert stages - rows(*learning).keys() - reused == {"translate"}


# The command


@pytest.fixture
def config(tmp_path) -> Path:
    rows = [{"prompt": f"What is {i}?", "chosen": f"It is number {i}.", "rejected": "No."} for i in range(20)]
    write_jsonl(tmp_path / "mine.jsonl", rows)
    write_jsonl(tmp_path / "more.es.jsonl", rows)
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"targets: [es]\nbase: {{model: Qwen/Qwen2.5-3B-Instruct}}\n"
        f"curate: {{preferences: [{tmp_path}/mine.jsonl], benchmark: phrasebook, benchmark_items: 20, "
        "prompts: phrasebook, near_duplicates: 1.0}\n"
        "translate: {translator: phrasebook}\n"
        f"evaluate: {{benchmarks: ['{tmp_path}/more.{{language}}.jsonl']}}\n"
        f"represent: {{parallel: {tmp_path}/nowhere.jsonl}}\n"
    )
    return path


def invoke(*arguments: object):
    return CliRunner().invoke(app, ["estimate", *map(str, arguments)], env={"COLUMNS": "160"})


def test_the_command_shows_every_stage_with_formula_and_assumptions(config) -> None:
    shown = invoke(config)
    assert shown.exit_code == 0, shown.output
    for stage in ("translate[es]", "reward", "evaluate", "represent", "sample", "rank", "align", "total"):
        assert f" {stage} " in shown.output
    assert "2 reward models x 20 items of more" in shown.output
    assert "without 1 unknown" in shown.output and "– represent" in shown.output and "nowhere.jsonl" in shown.output
    assert "A100-hours = operations / (peak x utilisation)" in shown.output
    assert "training 0.4, scoring 0.5, decoding 0.2" in shown.output
    assert "training 0.4, scoring 1, decoding 0.2" in invoke(config, "--mfu", "scoring=1").output


def test_a_base_model_of_unknown_size_is_said_once_and_no_prompts_leave_alignment_out(config) -> None:
    shown = invoke(config, "base.model=nosuch/model", "curate.prompts=null")
    assert shown.exit_code == 0, shown.output
    assert shown.output.count("the size of nosuch/model@main is unknown") == 1
    assert "– reward, evaluate: the size" in shown.output and "align" not in shown.output


def test_hours_follow_the_utilisation() -> None:
    row = Row("reward", "", "training", "bfloat16", tokens=1, flop=312e12 * 3600)
    assert row.hours(assumptions.utilisation([])) == pytest.approx(1 / 0.4)
    assert row.hours(assumptions.utilisation(["training=0.25", "scoring=0.9"])) == pytest.approx(4)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("--mfu", "thinking=0.5"), "--mfu='thinking=0.5': "),
        (("--mfu", "training=1.5"), "--mfu='training=1.5': "),
        (("--mfu", "training=nan"), "--mfu='training=nan': "),
        (("--mfu", "training"), "--mfu='training': "),
        (("rank.batch_tokens=1",), "rank.batch_tokens"),
    ],
)
def test_wrong_input_is_one_line_and_status_two(config, arguments, place) -> None:
    wrong = invoke(config, *arguments)
    assert wrong.exit_code == 2 and place in wrong.output
    assert len(wrong.output.strip().splitlines()) == 1


def test_responses_of_a_served_model_have_the_price_of_their_tokens() -> None:
    """A Spanish prompt has 120 tokens, a response 360; 10,000 prompts are answered four times, 805 five times or once."""
    for price, usd in (([1, 0], 805 * 120e-6), ([0, 1], 805 * 360e-6)):
        overrides = ("judge.judge=gpt-4o", "reference.served=m", f"reference.usd_per_million={price}")
        (compared,) = [row for row in rows(*overrides)["sample"] if "to compare with" in row.what]
        assert compared.usd == pytest.approx(usd) and compared.flop == 0
    several = ("sample.runs=5", "sample.judged_temperature=1", "sample.served=m", "sample.usd_per_million=[0, 1]")
    before, *_, aligned = rows(*several)["sample"]
    assert before.usd == pytest.approx((40_000 + 805 * 5) * 360e-6) and not before.flop
    assert aligned.flop and not aligned.usd
    (given, *_) = rows("sample.given=s3://b/a-{language}.jsonl")["sample"]
    assert (given.tokens, given.flop, given.usd) == (0, 0, 0)


def test_dollars_of_endpoints_are_shown_without_a_price_of_gpus() -> None:
    of_endpoint = Row("judge", "by gpt-4o, at an endpoint", "decoding", "bfloat16", 1e6, flop=0.0, usd=150.4)
    here = Row("reward", "here", "training", "bfloat16", 1e6, flop=1e18)
    plan = SimpleNamespace(usd_per_gpu_hour=None)
    cells = [budget._cells(budget.Budget([], plan), row, None, "A100") for row in (of_endpoint, here)]
    usd = budget.HEAD.index("USD")
    assert [row[usd] for row in cells] == ["150", "–"]
