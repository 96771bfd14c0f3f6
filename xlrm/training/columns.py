"""Training data of a reward model: rows of text as columns of token ids, and their order."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from xlrm import progress
from xlrm.data.corpus_schema import PREFERENCE_PAIRS
from xlrm.errors import ConfigError, DataError
from xlrm.models import chat_templates
from xlrm.models.decoding import Prompt
from xlrm.training.recipes import RewardTraining

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

Row = dict[str, Any]
Columns = dict[str, list]


def ordered(tokenizer: "PreTrainedTokenizerBase", rows: list[Row], config: RewardTraining) -> "Dataset":
    """Dataset of token ids; with `similar_lengths` or `shared_beginnings` in training order. Logs how many rows reach
    `max_length`."""
    encoded = dataset(tokenizer, rows, config)
    columns = encoded.to_dict()
    lengths = longest(columns)
    if cut := sum(length >= config.max_length for length in lengths):
        progress.say(
            f"reward[{config.language}]: {cut} of {len(lengths)} rows reach max_length {config.max_length}; "
            "longer ones lose their beginning"
        )
    if config.similar_lengths:
        return encoded.select(similar_lengths_together(lengths, config.batch_size, config.seed))
    if config.shared_beginnings:
        texts = next(column for name, column in columns.items() if name.endswith("_ids"))
        return encoded.select(shared_beginnings_together(texts, config.seed))
    return encoded


def dataset(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Row], config: RewardTraining) -> "Dataset":
    """Dataset of token ids with the columns of `pairs` or, for the pointwise loss, of `judgments`."""
    from datasets import Dataset

    if config.loss == "pointwise":
        return Dataset.from_dict(judgments(tokenizer, rows, config.max_length))
    return Dataset.from_dict(pairs(tokenizer, rows, config.max_length, config.margin))


def pairs(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Row], max_length: int, margin: bool) -> Columns:
    """Columns chosen_ids, rejected_ids and, with `margin`, margin, which TRL's RewardTrainer uses unchanged. Raises
    DataError if `margin` is set and no pair has one."""
    columns: Columns = {
        f"{side}_ids": chat_templates.encode(
            tokenizer, [chat_templates.conversation(row["prompt"], row[side]) for row in rows], max_length
        )
        for side in ("chosen", "rejected")
    }
    if margin:
        margins = [row.get("margin") for row in rows]
        if all(value is None for value in margins):
            raise DataError(
                "no pair has a margin",
                where="reward.margin",
                value=True,
                hint="set it to false, or add margins to the pairs",
            )
        columns["margin"] = [float(value or 0) for value in margins]
    return columns


def judgments(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Row], max_length: int) -> Columns:
    """Columns input_ids and labels (from 0 bad to 1 good). A row with response and label is one judgment, a pair is two.
    Raises DataError for a row that is neither."""
    answers: list[tuple[Prompt, Prompt, float]] = []
    for number, row in enumerate(rows, 1):
        label = row.get("label")
        if row.get("response") and isinstance(label, int | float) and 0 <= label <= 1:
            answers.append((row["prompt"], row["response"], float(label)))
        elif row.get("chosen") and row.get("rejected"):
            answers += [(row["prompt"], row["chosen"], 1.0), (row["prompt"], row["rejected"], 0.0)]
        else:
            raise DataError(
                "a response with a label from 0 to 1, or chosen and rejected, is required", where=f"pair {number}"
            )
    ids = chat_templates.encode(
        tokenizer, [chat_templates.conversation(prompt, text) for prompt, text, _ in answers], max_length
    )
    return {"input_ids": ids, "labels": [label for _, _, label in answers]}


def check_loss(loss: str, judged: bool, name: str) -> None:
    """Raises ConfigError for a loss of pairs if the file or corpus `name` has single judgments."""
    if judged and loss != "pointwise":
        raise ConfigError(
            f"needs pairs, and {name} has single judgments", where="reward.loss", value=loss, hint="set pointwise"
        )


def mixture(by_language: dict[str, list[Row]], kind: Literal["split", "all", "pool"], seed: int) -> list[Row]:
    """Rows of several languages (language -> rows). `pool` takes all rows of each, one language after the other; the others
    match pairs by id. `split` draws each pair in one random language that
    has it, equally many per language if all have every pair; `all` takes it in every language that has it. Raises
    DataError for a pair without an id."""
    if kind == "pool":
        counts = ", ".join(f"{len(rows)} in {language}" for language, rows in by_language.items())
        progress.say(f"reward: {sum(map(len, by_language.values()))} rows: {counts}")
        return [row for rows in by_language.values() for row in rows]
    tables = {language: _by_id(language, rows) for language, rows in by_language.items()}
    ids = dict.fromkeys(row_id for table in tables.values() for row_id in table)
    counts = ", ".join(f"{len(rows)} in {language}" for language, rows in by_language.items())
    everywhere = sum(all(row_id in table for table in tables.values()) for row_id in ids)
    progress.say(f"reward: {len(ids)} different pairs: {counts}; {everywhere} in every language")
    if kind == "all":
        return [table[row_id] for row_id in ids for table in tables.values() if row_id in table]
    rng = random.Random(seed)
    drawn = [list(tables)[i % len(tables)] for i in range(len(ids))]
    rng.shuffle(drawn)
    having = ([language for language in tables if row_id in tables[language]] for row_id in ids)
    places = (language if language in able else rng.choice(able) for language, able in zip(drawn, having, strict=True))
    return [tables[language][row_id] for language, row_id in zip(places, ids, strict=True)]


def _by_id(language: str, rows: list[Row]) -> dict[str, Row]:
    for number, row in enumerate(rows, 1):
        if row.get("id") is None:
            raise DataError(
                "missing; a mixture of languages matches pairs by it",
                where=f"{language}/{PREFERENCE_PAIRS.file}:{number}: id",
            )
    return {row["id"]: row for row in rows}


def longest(columns: Columns) -> list[int]:
    """Number of tokens of the longest text in each row."""
    texts = [column for name, column in columns.items() if name.endswith("_ids")]
    return [max(map(len, row)) for row in zip(*texts, strict=True)]


def similar_lengths_together(lengths: list[int], batch: int, seed: int) -> list[int]:
    """Random order of row indices in which each batch has rows of similar length: eight random batches at a time are
    sorted by length and cut into eight batches again, and then all batches are shuffled. transformers' group_by_length
    leaves similar batches together, and the tiny model learned less that way."""
    rng = random.Random(seed)
    rows = rng.sample(range(len(lengths)), len(lengths))
    batches, rest = [], rows[len(rows) - len(rows) % batch :]
    for start in range(0, len(rows) - len(rest), 8 * batch):
        window = sorted(rows[start : min(start + 8 * batch, len(rows) - len(rest))], key=lengths.__getitem__)
        batches += [window[i : i + batch] for i in range(0, len(window), batch)]
    rng.shuffle(batches)
    return [row for group in batches for row in group] + rest


def shared_beginnings_together(texts: list[list[int]], seed: int) -> list[int]:
    """Order of row indices in which texts follow each other if they share the first half of the shorter one, or more. Such groups
    are in random order, and within a group the rows keep theirs."""
    groups: list[list[int]] = []
    before: list[int] = []
    for row in sorted(range(len(texts)), key=texts.__getitem__):
        text = texts[row]
        half = (min(len(before), len(text)) + 1) // 2
        if before and text[:half] == before[:half]:
            groups[-1].append(row)
        else:
            groups.append([row])
        before = text
    random.Random(seed).shuffle(groups)
    return [row for group in groups for row in sorted(group)]
