"""Rows of responses as the stage `sample` writes them."""

from typing import Any


def answered(key: str, prompt: Any, responses: list[str], language: str = "en", **fields: Any) -> dict[str, Any]:
    """All of them whole, and in the language of the prompt."""
    lists = {"responses": responses, "finished": [True] * len(responses), "languages": [language] * len(responses)}
    return {"id": key, "prompt": prompt} | lists | fields
