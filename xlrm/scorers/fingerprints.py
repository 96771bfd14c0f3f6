"""The fingerprint of a reward model: its rewards for a few fixed conversations, checked whenever it is loaded.

Wrong weights, a missing or damaged head, another chat template or another tokenizer raise no error, but make rewards
meaningless.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xlrm.errors import ArtifactError

if TYPE_CHECKING:
    from xlrm.scorers.interface import Scorer

FILE = "fingerprint.json"
MAX_LENGTH = 256
"""Limit on the tokens of a probe; the longest probes lose their beginning, so that truncation is checked too."""
_BATCH_TOKENS = 8192
TOLERANCE = {"float32": 0.001, "bfloat16": 0.1}
"""Allowed difference from the stored reward, as a share of the spread (largest minus smallest) of the probes' rewards,
by precision of the computation. docs/registry.md has the measurements, also of damaged models."""
Conversation = list[dict[str, str]]


def _asked(*turns: str) -> Conversation:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]


_LONG = (
    "The lighthouse keeper wrote down the weather every morning: wind, clouds, the height of the waves, and which ships "
    "had passed in the night. When the radio failed, these notes were all that the harbour had to go by. "
)
PROBES: tuple[Conversation, ...] = (
    _asked("What is the capital of France?", "Paris."),
    _asked("What is the capital of France?", "I will not tell you, and you should be ashamed of asking."),
    _asked("Write a function that adds two numbers.", "```python\ndef add(a, b):\n    return a + b\n```"),
    _asked("Hello!", "Hello. What can I do for you?", "Nothing, thanks.", "Then have a good day!"),
    _asked("¿Cuántos días tiene una semana?", "Una semana tiene siete días, de lunes a domingo."),
    _asked("Perché il cielo è azzurro?", "Perché l'aria diffonde la luce blu più di quella rossa."),
    _asked("물은 몇 도에서 끓나요?", "해수면에서 물은 섭씨 100도에서 끓습니다."),
    _asked("请用一句话介绍长城。", "长城是中国古代修筑的防御工程，绵延数千公里。"),
    _asked("Сколько будет дважды два?", "Пять. Впрочем, это неважно."),
    _asked("Summarise this.\n\n" + 8 * _LONG, "A keeper's notes on weather and ships helped when the radio failed."),
    _asked("Go on with the story.", 6 * _LONG + "Then the lamp went out."),
)
"""Fixed conversations: several languages, good and bad responses, short and long, one turn or more."""


def rewards(scorer: "Scorer", probes: list[Conversation]) -> list[float]:
    """Rewards of probes, truncated to `MAX_LENGTH` tokens, in batches of a fixed size."""
    alike = replace(scorer, max_length=MAX_LENGTH, batch_tokens=_BATCH_TOKENS)  # type: ignore[type-var]  # a dataclass
    return alike.score(probes)


def write(folder: Path, scorer: "Scorer") -> None:
    """Writes fingerprint.json for a scorer whose model is loaded in float32."""
    values = rewards(scorer, list(PROBES))
    probes = [{"messages": chat, "reward": reward} for chat, reward in zip(PROBES, values, strict=True)]
    fingerprint = {"precision": "float32", "max_length": MAX_LENGTH, "tolerance": TOLERANCE, "probes": probes}
    (folder / FILE).write_text(json.dumps(fingerprint, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def check(folder: Path, precision: str, scorer: "Scorer") -> None:
    """Raises ArtifactError if the model's rewards differ from those in the fingerprint in `folder`, or if that file is
    not a fingerprint. Without the file, checks nothing."""
    if not (folder / FILE).is_file():
        return
    try:
        kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
        expected, tolerance = [probe["reward"] for probe in kept["probes"]], kept["tolerance"][precision]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / FILE}: not a fingerprint: {error!r}; fetch the folder again") from error
    values = rewards(scorer, [probe["messages"] for probe in kept["probes"]])
    allowed = tolerance * (max(expected) - min(expected)) + 1e-5 * max(map(abs, expected))
    worst = max(range(len(values)), key=lambda i: _off(values[i], expected[i]))
    if _off(values[worst], expected[worst]) > allowed:
        raise ArtifactError(
            f"{folder}: not the model that was registered: probe {worst + 1} of {len(values)} of {FILE} gets the reward "
            f"{values[worst]:.4f}, not {expected[worst]:.4f} (allowed in {precision}: {allowed:.4f} off); remove the folder "
            "and fetch it again"
        )


def _off(found: float, expected: float) -> float:
    """Absolute difference; infinite if it is NaN."""
    distance = abs(found - expected)
    return distance if distance == distance else float("inf")
