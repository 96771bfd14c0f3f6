"""Preference pairs of a policy as token ids, each conversation cut to a length, and batches of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xlrm import progress
from xlrm.evaluation.alignment_results import PairCounts
from xlrm.models import chat_templates

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

SIDES = ("chosen", "rejected")


def say_cut(counts: PairCounts, label: str, max_length: int) -> None:
    """Logs how many pairs were cut, and how many have nothing to choose from, if there are any."""
    if counts.cut:
        also = f"; of {counts.cut_answers} also the response" if counts.cut_answers else ""
        progress.say(
            f"{label}: {counts.cut} of {counts.pairs} pairs are longer than max_length {max_length}: {counts.cut_chosen} "
            f"chosen and {counts.cut_rejected} rejected conversations lost their beginning{also}; none is dropped"
        )
    if counts.equal:
        progress.say(f"{label}: {counts.equal} of {counts.pairs} pairs are twice the same tokens, and teach nothing")


def dataset(
    tokenizer: "PreTrainedTokenizerBase", rows: Sequence[dict[str, Any]], max_length: int
) -> tuple["Dataset", PairCounts]:
    """Columns {side}_ids, the token ids of a conversation, and {side}_start, the place of its response's first token in
    them, for each side of rows with prompt, chosen and rejected.

    A conversation longer than `max_length` loses its beginning, as in reward models: first of the prompt, and of a response
    that is longer by itself then too. A BOS stays. What follows the response in the chat template belongs to it. The prompt
    is the one that the policy read when it was sampled: `chat_templates.as_trained`.

    Raises TemplateRefusal for a conversation that the template does not accept."""
    from datasets import Dataset

    asked = chat_templates.as_trained(tokenizer, [row["prompt"] for row in rows]) if rows else []
    read = [chat_templates.accepted(tokenizer, row["prompt"]) for row in rows]
    whole = {
        side: chat_templates.as_rendered(
            tokenizer, [chat_templates.conversation(chat, row[side]) for chat, row in zip(read, rows, strict=True)]
        )
        for side in SIDES
    }
    starts = [
        min(map(chat_templates.shared, [ids] * 2, both)) for ids, *both in zip(asked, *whole.values(), strict=True)
    ]
    bos = chat_templates.added_first(tokenizer) or [tokenizer.bos_token_id]
    columns: dict[str, list] = {}
    shorter, responses = {}, 0
    for side, conversations in whole.items():
        cut = [chat_templates.without_beginning(ids, bos, max_length) for ids in conversations]
        lost = [len(ids) - len(left) for ids, left in zip(conversations, cut, strict=True)]
        kept = [len(bos) * (ids[: len(bos)] == bos) for ids in conversations]
        columns[f"{side}_ids"] = cut
        columns[f"{side}_start"] = [max(k, start - n) for k, start, n in zip(kept, starts, lost, strict=True)]
        shorter[side] = [n > 0 for n in lost]
        responses += sum(n > max(0, start - k) for k, start, n in zip(kept, starts, lost, strict=True))
    counts = PairCounts(
        pairs=len(rows), cut=sum(map(any, zip(*shorter.values(), strict=True))), cut_chosen=sum(shorter["chosen"]),
        cut_rejected=sum(shorter["rejected"]), cut_answers=responses, dropped=0,
        equal=sum(map(list.__eq__, columns["chosen_ids"], columns["rejected_ids"])),
    )  # fmt: skip
    return Dataset.from_dict(columns), counts


def batch(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Batch for TRL's DPOTrainer: the chosen conversations of n rows of `dataset`, then the rejected ones, padded on the
    right, with `completion_mask` 1 at the tokens of the response; shapes (2n, width). Log-probabilities of the reference,
    if the rows have them: shape (n)."""
    import torch

    conversations = [(row[f"{side}_ids"], row[f"{side}_start"]) for side in SIDES for row in rows]
    shape = len(conversations), max(len(ids) for ids, _ in conversations)
    ids, mask, completion = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
    for place, (tokens, start) in enumerate(conversations):
        ids[place, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
        mask[place, : len(tokens)] = 1
        completion[place, start : len(tokens)] = 1
    columns = [name for name in (f"ref_{side}_logps" for side in SIDES) if name in rows[0]]
    logps = {name: torch.tensor([row[name] for row in rows]) for name in columns}
    return {"input_ids": ids, "attention_mask": mask, "completion_mask": completion} | logps
