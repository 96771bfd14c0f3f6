"""Pretrained models as reward models: their rewards through every door, beside those of plain transformers, and what
bfloat16 changes in the rewards of real pairs.

    python -m benchmarks.pretrained FOLDER ... [--pairs 200] [--only-pairs] [--json FILE]

Each folder has a causal language model in Hugging Face's format, which gets the head that a training begins with. The
status is 1 if a float32 reward differs by more than 2e-5.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import families, record
from benchmarks.defects import SHARED_DATA
from benchmarks.family_models import Asked
from xlrm.models import chat_templates, loading
from xlrm.models.chat_templates import Message
from xlrm.scorers import engines
from xlrm.scorers.interface import Scoring
from xlrm.store import jsonl

SPOKEN = {
    "How many days does a week have?": ("Seven.", "Eight, I think."),
    "¿En qué año llegó Colón a América?": ("En 1492.", "Ni idea."),
    "대한민국의 수도는 어디입니까?": ("서울입니다.", "부산?"),
    "`print('x' * 3)`? 答案是什么？": ("`xxx`。", "🙂"),
}
DAYS = 45
"""Sentences of a prompt that is longer than the window of Gemma 3's layers that slide, 512 tokens."""
FEW_DAYS = 8


def asked(days: int, precision: Any = "float32") -> Asked:
    """Short questions in four languages, and one after so many sentences, if any."""
    told = " ".join(f"On day {day} the hare ran {7 * day % 31} miles and slept." for day in range(1, days + 1))
    if not days:
        return Asked(SPOKEN, precision)
    story = {f"{told} Where did it sleep?": ("The story does not say.", "Under a tree, on the hill behind the mill.")}
    return Asked(SPOKEN | story, precision)


def reward_model(base: Path, folder: Path) -> Path:
    """The base with the head that a training begins with; in the base's number format, as published models are."""
    import torch

    words = loading.reward_tokenizer(base)
    model: Any = loading.new_reward_model(base, words, seed=1)
    model.to(torch.bfloat16).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def rewards(folder: Path, chats: list[list[Message]], precision: str = "float32") -> list[float]:
    """By transformers alone: one conversation at a time, without padding."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    words: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=precision).eval()
    found = []
    for chat in chats:
        text = words.apply_chat_template(chat, tokenize=False)
        ids = words(text, add_special_tokens=not text.startswith(words.bos_token or "\0"))["input_ids"]
        with torch.inference_mode():
            found.append(float(model(torch.tensor([ids])).logits[0, 0]))
    return found


def differences(folder: Path, work: Path, days: int) -> dict[str, float]:
    """Largest difference of a float32 reward from plain transformers, by door."""
    told = asked(days)
    expected, found = rewards(folder, told.chats), {}
    for number, (door, opened) in enumerate(families.DOORS.items()):
        place = work / str(number)
        place.mkdir()
        found[door] = max(
            abs(mine - theirs) for mine, theirs in zip(opened(folder, place, told), expected, strict=True)
        )
        shutil.rmtree(place)
    return found


def rounded(folder: Path, pairs: list[dict[str, str]]) -> dict[str, float]:
    """What bfloat16 changes in the rewards of pairs, and how many verdicts are others than in float32."""
    chats = [
        chat_templates.conversation(pair["prompt"], pair[side]) for pair in pairs for side in ("chosen", "rejected")
    ]
    exact, near = (
        np.array(engines.load(folder, Scoring(precision=name)).score(chats)) for name in ("float32", "bfloat16")
    )
    margins, others = exact[::2] - exact[1::2], near[::2] - near[1::2]
    changed = np.sign(margins) != np.sign(others)
    return {
        "pairs": len(pairs), "spread": float(exact.std()), "median margin": float(np.median(abs(margins))),
        "root mean square": float(np.sqrt(np.mean((near - exact) ** 2))), "largest": float(abs(near - exact).max()),
        "verdicts changed": int(changed.sum()), "equal rewards": int((others == 0).sum()),
        "largest margin changed": float(abs(margins[changed]).max(initial=0)),
    }  # fmt: skip


def short_pairs(wanted: int) -> list[dict[str, str]]:
    """The English preference pairs in $XLRM_SHARED_DATA with the shortest texts."""
    rows = jsonl.read_rows(SHARED_DATA / "preferences_en.jsonl", ("prompt", "chosen", "rejected"))
    return sorted(rows, key=lambda row: sum(len(row[name]) for name in ("prompt", "chosen", "rejected")))[:wanted]


def parser() -> argparse.ArgumentParser:
    options = record.parser(__doc__)
    options.add_argument("models", nargs="+", type=Path, metavar="FOLDER")
    options.add_argument("--days", type=int, default=DAYS, help=f"sentences of the long prompt ({DAYS})")
    options.add_argument("--pairs", type=int, default=200, help="pairs of real text to score in both formats (200)")
    options.add_argument("--only-pairs", action="store_true", help="leaves out the doors")
    return options


def main(options: argparse.Namespace) -> int:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    figures: dict[str, dict] = {}
    missed = []
    for base in options.models:
        with tempfile.TemporaryDirectory() as work:
            folder = reward_model(base, Path(work) / base.name)
            doors = {} if options.only_pairs else differences(folder, Path(work), options.days)
            figures[base.name] = {"doors": doors, "bfloat16": rounded(folder, short_pairs(options.pairs))}
        missed += [f"{base.name}, {door}: {value:.1e}" for door, value in doors.items() if value > families.TOLERANCE]
        print(
            base.name, {door: f"{value:.0e}" for door, value in doors.items()}, figures[base.name]["bfloat16"], sep="\n"
        )
    record.write(__spec__.name, options, figures, missed)
    print("\n".join(missed), file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(parser().parse_args()))
