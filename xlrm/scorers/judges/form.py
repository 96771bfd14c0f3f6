"""A form for people who judge: one HTML file that works without a network, keeps answers in the browser and gives them as a
CSV file that a judge human=FILE reads."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xlrm import languages
from xlrm.errors import ConfigError
from xlrm.scorers.judges import numbered

TASKS = ("response", "summarization", "dialog")
"""What is judged: responses to prompts, or what paper B's prompts of these names are about."""
ENDING = ".html"
_SHOWN = ("id", "language", "pair", "prompt", "first", "second")
_PLAIN = (
    "You see a prompt and two responses to it, in {language}. Decide which response is better: more helpful, more correct, "
    "and in good {language}. Press 1 or 2. The responses are in a random order, and there is no name on them.",
)
_HOW = (
    "Keys 1 and 2 choose and go on; ← and → go back and skip, and an answer can be changed. Answers stay in this browser. "
    "At the end, or at any time, download them and send the file back. Judge by yourself, without asking others or a model, "
    "and do not look up who wrote what."
)


def html(rows: Sequence[Mapping[str, Any]], task: str, language: str) -> str:
    """The form with the rows of `human.sheet`, whose order and texts it shows; nothing in it says which system wrote what.
    `language`: its code. Raises ConfigError for no rows, and for an unknown language or task."""
    if not rows:
        raise ConfigError("no pair of different responses to judge", where="JUDGED", value=0)
    if task not in TASKS:
        raise ConfigError(f"{', '.join(TASKS)} are allowed", where="--task", value=task)
    name = languages.find(language, "language").name
    asked, written = {"summarization": ("Text", "Summary"), "dialog": ("Dialog", "Response")}.get(
        task, ("Prompt", "Response")
    )
    pairs = [{key: row[key] for key in _SHOWN} for row in rows]
    data = {
        "key": hashlib.sha256("".join(row["pair"] for row in pairs).encode()).hexdigest()[:16],
        "title": f"Which {written.lower()} is better? ({name})", "language": language, "asked": asked, "written": written,
        "instructions": [text.replace("{language}", name) for text in (*_instructions(task), _HOW)], "pairs": pairs,
    }  # fmt: skip
    template = Path(__file__).with_name("form.html").read_text("utf-8")
    before, _, after = template.partition("DATA")
    return before + json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c") + after


def _instructions(task: str) -> Sequence[str]:
    """Paragraphs for people: the words of the prompt that models are asked with (paper B, appendix G.2: "for both human and
    LM judge evaluation"), without what shows the texts."""
    if task == "summarization":
        return numbered.SUMMARIZATION.partition("\nText - ")[0].split("\n")
    if task == "dialog":
        before, _, rest = numbered.DIALOG.partition("\nHere is the prompt")
        asked = before.replace(" All inputs are python dictionaries.", "").split("\n")
        return [*asked, rest.partition("\n]\n")[2].partition("\nBetter output=")[0]]
    return _PLAIN
