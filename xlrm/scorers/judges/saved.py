"""Saved answers of judges: their form in a memory (`xlrm.store.answers`)."""

import json

from xlrm.models.decoding import Completion


def written(answer: Completion, top_logprobs: int) -> str:
    """The answer's text, or JSON with its log-probabilities."""
    if not top_logprobs:
        return answer.text
    fields = {"text": answer.text, "logprobs": answer.logprobs, "pieces": answer.pieces}
    return json.dumps(fields, ensure_ascii=False, allow_nan=False)


def read(text: str, top_logprobs: int) -> Completion:
    """The answer that was `written`."""
    if not top_logprobs:
        return Completion(text, True)
    fields = json.loads(text)
    return Completion(fields["text"], True, logprobs=tuple(fields["logprobs"]), pieces=tuple(fields["pieces"]))
