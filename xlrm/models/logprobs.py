"""Log-probabilities of the most likely tokens at each position of a completion, by the tokens' texts."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


def by_text(tokens: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Log-probability by text, most likely first, from (text, log-probability) of tokens. The probabilities of tokens
    with the same text are added; a text of probability 0, and a value that is no number, is left out."""
    summed: dict[str, float] = {}
    for text, value in tokens:
        if math.isfinite(value):
            low, high = sorted((summed.get(text, -math.inf), value))
            summed[text] = high + math.log1p(math.exp(low - high))
    return dict(sorted(summed.items(), key=lambda item: -item[1]))


def token_text(tokenizer: Any, token: int) -> str:
    """Text of a token alone, where SentencePiece has no space at its beginning, and byte-level BPE has."""
    return tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)


def decoded(tokenizer: Any, written: Sequence[int], positions: Sequence[Mapping[int, float]]) -> dict[str, Any]:
    """The fields `logprobs` and `pieces` of a Completion, from the ids of its tokens and, for each, id -> log-probability
    of the most likely tokens."""
    ids = set(written).union(*positions) if positions else set()
    texts = {token: token_text(tokenizer, token) for token in ids}
    tables = tuple(by_text((texts[token], value) for token, value in table.items()) for table in positions)
    return {"logprobs": tables, "pieces": tuple(texts[token] for token in written) if positions else ()}


class Recorder:
    """Most likely tokens of each row at each step of transformers' `generate`, from the model's own logits, before any
    logits processor. Keeping the logits themselves would need (steps x rows x vocabulary) numbers."""

    def __init__(self, count: int):
        self.count = count
        self.steps: list[list[dict[int, float]]] = []
        """Step -> row -> id -> log-probability."""

    @contextmanager
    def of(self, network: Any) -> Iterator[None]:
        """Context in which the network's forward passes are recorded, unless `count` is 0."""
        if not self.count:
            yield
            return
        handle = network.register_forward_hook(self._keep)
        try:
            yield
        finally:
            handle.remove()

    def row(self, place: int) -> list[dict[int, float]]:
        """Tables of a row, by step."""
        return [step[place] for step in self.steps]

    def _keep(self, network: Any, arguments: Any, output: Any) -> None:
        likely = output.logits[:, -1].float().log_softmax(-1)
        values, ids = likely.topk(min(self.count, likely.shape[-1]))
        self.steps.append(
            [dict(zip(row, value, strict=True)) for row, value in zip(ids.tolist(), values.tolist(), strict=True)]
        )
