"""Rewards of models of any family, through every door, are those of plain transformers: one conversation at a time,
without padding, in float32, in the model's own chat template."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from refusals import refused
from typer.testing import CliRunner

from benchmarks import families, rewardbench_parity
from benchmarks.families import TOLERANCE
from benchmarks.family_models import BOS, CHATS, FAMILIES, MODELS, SMALL, TURNS, Model, build, plain
from xlrm.cli import app
from xlrm.errors import ArtifactError
from xlrm.models import loading, padding, transformers4
from xlrm.models.packing import model as packing
from xlrm.registry import mlflow_loader
from xlrm.scorers import engines
from xlrm.scorers.interface import Scoring
from xlrm.store import jsonl


def score(folder: Path) -> list[float]:
    return engines.load(folder, Scoring()).score(CHATS)


def test_every_family_that_pads_or_packs_is_tried() -> None:
    assert {model.family for model in MODELS.values()} >= {*padding.FAMILIES, *packing.FAMILIES}


def test_the_page_of_families_says_which_are_packed_and_padded() -> None:
    page = (Path(__file__).parents[1] / "docs" / "families.md").read_text()
    table = [line.split("|") for line in page.splitlines() if line.startswith("| p")]
    rows = {kind.split()[0]: names.strip() for _, kind, names, _ in table[:2]}
    assert rows["packed:"] == ", ".join(packing.FAMILIES)
    assert rows["padded"] == ", ".join(name for name in padding.FAMILIES if name not in packing.FAMILIES)


@pytest.mark.parametrize("name", MODELS)
def test_rewards_are_those_of_plain_transformers(tmp_path, name: str) -> None:
    found = families.differences(name, tmp_path)
    assert not {door: value for door, value in found.items() if not value <= TOLERANCE}


@pytest.mark.parametrize("written", ["", "{{ bos_token }}"])
@pytest.mark.parametrize("kind", ["decoder", "bos", "encoder"])
def test_one_bos_whoever_writes_it(tmp_path, kind: str, written: str) -> None:
    """Also where a long conversation loses its beginning."""
    folder = build(tmp_path, Model("qwen2", kind=kind, template=written + TURNS))
    scorer = engines.load(folder, Scoring(max_length=30))
    for chat, ids in zip(CHATS, scorer.encode(CHATS), strict=True):
        assert ids.count(BOS) == (kind != "decoder" or written != ""), chat
        assert len(ids) <= 30 and (BOS not in ids or ids[0] == BOS)
    assert max(map(len, scorer.encode(CHATS))) == 30


@pytest.mark.parametrize("family", ["qwen2", "bert", "t5"])
def test_several_labels_are_refused_at_every_door(tmp_path, family: str) -> None:
    """None of them is a reward that others would agree on."""
    model = FAMILIES[family]
    folder = build(tmp_path / "two", replace(model, changes=model.changes | {"num_labels": 2}))
    place = f"{folder / 'config.json'}: num_labels"
    for door in ("evaluate", "external", "rank", "pyfunc"):
        (tmp_path / door).mkdir()
        copied = tmp_path / door / "registered" if door == "pyfunc" else folder
        with refused(ArtifactError, f"{copied / 'config.json'}: num_labels", 2):
            families.DOORS[door](folder, tmp_path / door)
    with refused(ArtifactError, place, 2):
        engines.load(folder, Scoring(engine="vllm"))
    with pytest.raises(ValueError, match=f"{place}=2: "):
        mlflow_loader._plain(folder)
    pairs = [{"prompt": "How much?", "chosen": "Three.", "rejected": "No", "response": "Three."}]
    jsonl.write_jsonl(tmp_path / "in.jsonl", pairs)
    for command in (
        ("score", "--model", folder, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"),
        ("evaluate", "--model", folder, "--benchmark", tmp_path / "in.jsonl", "--output", tmp_path / "out"),
        ("serve", folder, "--port", 0),
    ):
        result = CliRunner().invoke(app, [str(argument) for argument in command])
        errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
        assert result.exit_code == 2 and len(errors) == 1 and f"{place}=2: " in errors[0], result.output
    assert not (tmp_path / "out.jsonl").exists()


READER = """
import json, sys, torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel
folder, ids = sys.argv[1], json.loads(sys.argv[2])
model = AutoModel.from_config(AutoConfig.from_pretrained(folder, attn_implementation="eager")).eval()
weights = {name.removeprefix("model."): one for name, one in load_file(folder + "/model.safetensors").items()}
head = weights.pop("score.weight")
model.load_state_dict(weights)
with torch.inference_mode():
    print(json.dumps([float(model(torch.tensor([one])).last_hidden_state[0, -1] @ head[0]) for one in ids]))
"""
"""Rewards by transformers 4; 4.51 has no classifier for Gemma 3, but its model."""
DEEP = SMALL | {"num_hidden_layers": 7}
LOCAL = {"sliding_attention": {"rope_type": "default", "rope_theta": 3e4}}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}  # fmt: skip
OLDER: dict[str, Model] = {
    "gemma2": Model("gemma2", FAMILIES["gemma2"].changes | DEEP | {
        "rope_parameters": {"rope_type": "default", "rope_theta": 3e4},
    }),
    "gemma3_text": Model("gemma3_text", DEEP | {
        "sliding_window": 16, "sliding_window_pattern": 3,
        "rope_parameters": LOCAL | {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6}},
    }),
    "gemma3_text, default": Model("gemma3_text", DEEP | {"sliding_window": 16}),
    "gemma3_text, all sliding": Model("gemma3_text", DEEP | {"sliding_window": 16, "layer_types": ["sliding_attention"] * 7}),
    "llama": Model("llama", DEEP | {"rope_parameters": LLAMA3}),
    "mistral": Model("mistral", DEEP | {"sliding_window": 16}),
    "qwen3": Model("qwen3", DEEP | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen3, yarn": Model("qwen3", DEEP | {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e6}}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", OLDER)
def test_transformers_4_gives_the_same_rewards(tmp_path, name: str) -> None:
    python = rewardbench_parity.VENV.absolute() / "bin" / "python"
    if not python.exists():
        pytest.skip("no environment with transformers 4; `python -m benchmarks.rewardbench_parity` makes one")
    build(tmp_path, OLDER[name])
    transformers4.write_older_names(tmp_path)
    scorer = engines.load(tmp_path, Scoring())
    expected = scorer.score(CHATS)
    asked = [python, "-c", READER, tmp_path, json.dumps(scorer.encode(CHATS))]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    print(f"{name}: {max(abs(one - other) for one, other in zip(found, expected, strict=True)):.1e}")
    assert max(expected) - min(expected) > 0.1
    assert found == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "bert", "roberta", "mt5"])
def test_the_lines_of_the_card_of_a_trained_model(tmp_path, family: str) -> None:
    """A head on a base of any family, with a chat template of this project: the base has none."""
    base = build(tmp_path / "base", FAMILIES[family])
    (base / "chat_template.jinja").unlink()
    words, output = loading.reward_tokenizer(base), tmp_path / "output"
    loading.new_reward_model(base, words, seed=1).save_pretrained(output)
    words.save_pretrained(output)
    expected = plain(output)
    assert families.card(output, tmp_path) == pytest.approx(expected, abs=TOLERANCE)
    assert score(output) == pytest.approx(expected, abs=TOLERANCE)
