"""Rewards of models of any family, through every door, are those of plain transformers: one conversation at a time,
without padding, in float32, in the model's own chat template."""

from pathlib import Path

import pytest

from benchmarks import families
from benchmarks.families import BOS, CHATS, FAMILIES, MODELS, TOLERANCE, Model, build
from xlrm.models import loading, padding
from xlrm.models.packing import model as packing
from xlrm.scorers import engines
from xlrm.scorers.interface import Scoring


def score(folder: Path) -> list[float]:
    return engines.load(folder, Scoring()).score(CHATS)


def test_every_family_that_pads_or_packs_is_tried() -> None:
    assert {model.family for model in MODELS.values()} >= {*padding.FAMILIES, *packing.FAMILIES}


def test_the_page_of_families_says_which_are_packed_and_padded() -> None:
    page = (Path(__file__).parents[1] / "docs" / "families.md").read_text()
    rows = {
        line.split("|")[1].split()[0]: line.split("|")[2].strip() for line in page.splitlines() if line.startswith("|")
    }
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
    folder = build(tmp_path, Model("qwen2", kind=kind, template=written + families.TURNS))
    scorer = engines.load(folder, Scoring(max_length=30))
    for chat, ids in zip(CHATS, scorer.encode(CHATS), strict=True):
        assert ids.count(BOS) == (kind != "decoder" or written != ""), chat
        assert len(ids) <= 30 and (BOS not in ids or ids[0] == BOS)
    assert max(map(len, scorer.encode(CHATS))) == 30


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "bert", "roberta", "mt5"])
def test_the_lines_of_the_card_of_a_trained_model(tmp_path, family: str) -> None:
    """A head on a base of any family, with a chat template of this project: the base has none."""
    base = build(tmp_path / "base", FAMILIES[family])
    (base / "chat_template.jinja").unlink()
    words, output = loading.reward_tokenizer(base), tmp_path / "output"
    loading.new_reward_model(base, words, seed=1).save_pretrained(output)
    words.save_pretrained(output)
    expected = families.plain(output)
    assert families.card(output, tmp_path) == pytest.approx(expected, abs=TOLERANCE)
    assert score(output) == pytest.approx(expected, abs=TOLERANCE)
