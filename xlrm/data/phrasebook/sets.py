"""Rows of the phrasebook: preference pairs, single judgments of responses, and demonstrations for supervised fine-tuning.

Ids contain the seed: equal seeds give translations of each other in all languages, different seeds different rows.
"""

import itertools
from collections.abc import Iterator

from xlrm.data.phrasebook import judge, questions
from xlrm.data.phrasebook.questions import Pair
from xlrm.data.phrasebook.translator import render

CARELESS = 0.7
"""Share of the demonstrations whose answer is padded, cut short or not what was asked for, as in `base.tuning`; the other
30 % are right."""
GOOD = 3
"""Least grade of the gold judge (0 to 3) of a response with label 1: right, not padded, in the form that was asked for."""
_HELD_OUT = 10
"""One in so many rows is for validation, and asks a test question."""


def demonstrations(language: str, count: int, seed: int) -> list[dict]:
    """Rows with id, prompt, response, split and subset. A tenth, at most one for each test question, is for validation."""
    held = questions.answers(seed, count // _HELD_OUT, CARELESS, test=True)
    train = questions.answers(seed, count - len(held), CARELESS, test=False)
    return [
        {
            "id": f"phrasebook-{split}-{seed}-{i}", "prompt": render(prompt, language), "response": render(answer, language),
            "split": split, "subset": "phrasebook",
        }
        for split, asked in (("train", train), ("validation", held)) for i, (prompt, answer) in enumerate(asked)
    ]  # fmt: skip


def pair_row(row_id: str, pair: Pair, language: str) -> dict:
    """Row with id, prompt, chosen, rejected and subset."""
    return {
        "id": row_id,
        "prompt": render(pair.prompt, language),
        "chosen": render(pair.chosen, language),
        "rejected": render(pair.rejected, language, pair.other_language),
        "subset": pair.subset,
    }


def pairs(language: str, count: int, seed: int) -> list[dict]:
    """Rows of pairs with a split. A tenth is for validation, and asks test questions: whatever the seeds, no language trains on
    a question that another holds out."""
    held = count // _HELD_OUT
    return [
        pair_row(f"phrasebook-pair-{split}-{seed}-{i}", pair, language) | {"split": split}
        for split, size in (("train", count - held), ("validation", held))
        for i, pair in enumerate(questions.pairs(seed, size, split == "validation"))
    ]


def judgments(language: str, count: int, seed: int) -> list[dict]:
    """Rows with id, prompt, response, label, split and subset: both responses of each preference pair, so that half of the
    labels are 1. A tenth is for validation."""
    held = count // _HELD_OUT
    return [
        {"id": f"phrasebook-judgment-{split}-{seed}-{i}", **row, "split": split}
        for split, size in (("train", count - held), ("validation", held))
        for i, row in enumerate(itertools.islice(_judged(language, size, seed, split == "validation"), size))
    ]


def _judged(language: str, size: int, seed: int, test: bool) -> Iterator[dict]:
    for pair in questions.pairs(seed, -(-size // 2), test):
        yield from (_judgment(pair, side, language) for side in ("chosen", "rejected"))


def _judgment(pair: Pair, side: str, language: str) -> dict:
    prompt = render(pair.prompt, language)
    response = render(getattr(pair, side), language, pair.other_language and side == "rejected")
    label = float(judge.grade(prompt, response, language) >= GOOD)
    return {"prompt": prompt, "response": response, "label": label, "subset": pair.subset}
