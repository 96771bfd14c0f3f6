"""Paper A's alignment: its recipe in the presets and on the placements, and the memory that it takes there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import refused

from components import hardware
from configs import PRESETS
from pipelines import placement
from xlrm.errors import ConfigError
from xlrm.models import base_models, compute
from xlrm.processes import launch
from xlrm.run.experiment import load, stage_config
from xlrm.run.sections import CROSS_LINGUAL
from xlrm.run.steps import steps
from xlrm.training import memory
from xlrm.training.recipes import RewardTraining

PAPERS = [name for name in PRESETS if name.startswith("paper_a")]
POLICY = base_models.BASE_MODELS["Qwen/Qwen2.5-7B-Instruct"]
GIB = 2**30


@pytest.mark.parametrize("preset", PAPERS)
def test_the_presets_of_paper_a_have_its_recipe(preset: str) -> None:
    """Appendix B.2; with ZeRO-3, and four GPUs x one pair x eight passes, as on four A100s."""
    made = steps(CROSS_LINGUAL, load(Path(PRESETS[preset])))
    aligned = [step for step in made.values() if step.stage == "align"]
    assert len(aligned) == 8, "four languages by two reward models"
    for step in aligned:
        config = stage_config("align", step.config)
        assert stage_config("base", made[step.inputs["policy"]].config).model == POLICY.name
        recipe = (config.learning_rate, config.beta, config.batch_size, config.epochs, config.warmup, config.max_length)
        assert recipe == (5e-7, 0.1, 32, 1, 0.1, 2048)
        assert (config.optimizer, config.precision) == ("paged_adamw_8bit", "bfloat16")
        gpus = placement.load("a100-80gb").tasks["align"].gpus
        assert launch.split_batch(config.batch_size, config.device_batch_size, gpus) == (1, 8) and gpus == 4
        accelerate = launch.accelerate_config(launch.Nodes(), gpus, config.precision, on_cpu=False)
        assert accelerate["deepspeed_config"]["zero_stage"] == 3 and accelerate["mixed_precision"] == "bf16"


def test_the_memory_is_that_of_its_parts() -> None:
    """7.6 billion parameters on four GPUs: weights 2 + 4 bytes, gradients 2, two states of a byte each."""
    assert POLICY.shape
    needs = memory.of_training(POLICY.shape, 2 * 2048, 4, "bfloat16", "paged_adamw_8bit", True)
    count = POLICY.shape.parameters / 4
    assert count == pytest.approx(7.61e9 / 4, rel=0.01)
    assert (needs.weights, needs.gradients, needs.optimizer) == (6 * count, 2 * count, 2 * count)
    whole = memory.of_training(POLICY.shape, 2 * 2048, 1, "float32", "adamw_torch_fused", True)
    assert whole.weights + whole.gradients + whole.optimizer == 16 * POLICY.shape.parameters
    logits = 2 * 2048 * POLICY.shape.vocabulary * 4
    assert needs.head < 2 * 4 * POLICY.shape.vocabulary * POLICY.shape.hidden + logits, "never all logits at once"


def test_the_memory_of_a_reward_model_and_of_its_adapters() -> None:
    """By hand: two layers of 8 with two heads of 4, keys of one, an MLP of 16, rank 2: queries and outputs 2 x 2 x (8 + 8),
    keys and values 2 x 2 x (8 + 4), the MLP 3 x 2 x (8 + 16), and all that twice. 1,000 embeddings are read, and no token
    is predicted."""
    shape = compute.Shape(2, 8, 16, 2, 1, 4, 1000, tied=False)
    weights = 2 * (2 * 8 * 8 + 2 * 8 * 4 + 3 * 8 * 16) + 8 * 1000
    fields = {"language": "en", "learning_rate": 1e-5, "batch_size": 1}
    whole = memory.of_reward_model(shape, 10, 1, RewardTraining(**fields))
    assert (whole.weights, whole.gradients, whole.optimizer, whole.head) == (4 * weights, 4 * weights, 8 * weights, 0)
    lora = memory.of_reward_model(shape, 10, 1, RewardTraining(**fields, lora_rank=2))
    adapters = 2 * (2 * 2 * 16 + 2 * 2 * 12 + 3 * 2 * 24)
    assert (lora.weights, lora.gradients, lora.optimizer) == (4 * weights, 4 * adapters, 8 * adapters)


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "gemma3_text", "llama"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_a_layer_keeps_for_the_backward_pass(family: str, precision: str) -> None:
    """Tensors saved by PyTorch for a forward pass of three and of four layers, without weights and their copies in bfloat16."""
    config: dict = {
        "hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
        "vocab_size": 100, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None, "use_cache": False, "num_labels": 1,
    }  # fmt: skip
    shape = compute.shape({"model_type": family, "num_hidden_layers": 1} | config)
    assert shape
    three, four = (_saved_bytes(family, config | {"num_hidden_layers": n}, precision) for n in (3, 4))
    number = {"float32": (4, 4), "bfloat16": (4, 2)}[precision]
    assert (four - three) / 640 == pytest.approx(memory._kept(shape, *number), rel=0.1)


def _saved_bytes(family: str, config: dict, precision: str) -> int:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from xlrm.models.packing import model as packing

    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, **config), dtype=torch.float32)
    packing.enable(model)
    weights = {shape[::step] for shape in (tuple(weight.shape) for weight in model.parameters()) for step in (1, -1)}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tuple(tensor.shape) not in weights:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.randint(1, 100, (2, 320))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert output.logits.requires_grad
    return sum(saved.values())


@pytest.mark.parametrize(
    ("on", "changes", "fits"),
    [
        ("a100-80gb", [], True), ("a100-40gb", [], True), ("a100-40gb-pcie", [], True), ("h100-80gb", [], True),
        ("a100-80gb-2-nodes", [], True),
        ("a100-40gb", ["align.device_batch_size=8"], ("align.device_batch_size", 8)),
        ("a100-40gb", ["align.gradient_checkpointing=false"], ("align.gradient_checkpointing", False)),
        ("a100-40gb", ["align.optimizer=adamw_torch_fused"], ("align.optimizer", "adamw_torch_fused")),
        ("a100-40gb", ["align.processes=2"], ("align.processes", 2)),
        ("a100-80gb", ["align.processes=1"], ("align.processes", 1)),
    ],
)  # fmt: skip
def test_a_policy_that_does_not_fit_is_refused_before_it_costs_anything(on, changes, fits, tmp_path) -> None:
    preset = Path(PRESETS["paper_a_qwen"])
    made, given = steps(CROSS_LINGUAL, load(preset, changes)), placement.load(on).hardware()
    if fits is True:
        hardware.check(made, given, "qwen")
    else:
        with refused(ConfigError, f"qwen: {fits[0]}", fits[1]):
            hardware.check(made, given, "qwen")


def test_a_gpu_or_a_policy_that_nothing_is_known_of_is_not_checked() -> None:
    assert hardware.gpu_bytes("NVIDIA-A100-SXM4-40GB") == 40 * GIB and hardware.gpu_bytes("NVIDIA-H200") is None
    huge = steps(CROSS_LINGUAL, load(Path(PRESETS["paper_a_qwen"]), ["align.processes=1"]))
    hardware.check(
        huge, placement.load("a100-80gb").hardware().model_copy(update={"gpu_product": "NVIDIA-H200"}), "qwen"
    )


MEASURE = """
import json, sys, threading, time
from pathlib import Path
import torch
from transformers import Trainer
import trl
from trl import DPOTrainer
from xlrm.training.dpo import train_dpo
from xlrm.training.recipes import DpoTraining

def resident():
    resident, shared = open("/proc/self/statm").read().split()[1:3]
    return (int(resident) - int(shared)) * 4096

seen = []
def step(self, *given, real=Trainer.training_step):
    seen.append(resident())
    done = threading.Event()
    watch = threading.Thread(target=lambda: [seen.append(resident()) for _ in iter(lambda: done.wait(0.002), True)])
    watch.start()
    result = real(self, *given)
    done.set()
    watch.join()
    return result
Trainer.training_step = step
folder, fields = Path(sys.argv[1]), json.loads(sys.argv[2])
rows = [{"prompt": "Is it?", "chosen": "yes no big dog " * 400, "rejected": "no yes big dog " * 400}] * 3
train_dpo(folder / "policy", rows, DpoTraining(**fields), folder / "work" / "output")
print(json.dumps([seen[0], max(seen)]))
"""


@pytest.mark.slow
def test_the_memory_of_a_training_is_what_the_formula_says(tiny_base, tmp_path) -> None:
    """One process, float32, AdamW: growth from before the first step to the highest point of the third. Weights are mapped
    from their file at first and copied by the first update, so they count; freed memory is given back at once."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from xlrm.models import loading

    config = Qwen2Config(
        vocab_size=1024, hidden_size=512, intermediate_size=1536, num_hidden_layers=12, num_attention_heads=8,
        num_key_value_heads=2, tie_word_embeddings=False, max_position_embeddings=512,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(tmp_path / "policy")
    loading.load_tokenizer(tiny_base).save_pretrained(tmp_path / "policy")
    fields = {
        "language": "en", "learning_rate": 1e-6, "batch_size": 1, "device_batch_size": 1, "max_length": 256,
        "gradient_checkpointing": True,
    }  # fmt: skip
    command = [sys.executable, "-c", MEASURE, str(tmp_path), json.dumps(fields)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    before, most = json.loads(ran.stdout.splitlines()[-1])
    shape = compute.shape(json.loads((tmp_path / "policy" / "config.json").read_text()))
    assert shape
    needs = memory.of_training(shape, 2 * 256, 1, "float32", "adamw_torch_fused", True)
    assert most - before == pytest.approx(needs.total, rel=0.2), needs
