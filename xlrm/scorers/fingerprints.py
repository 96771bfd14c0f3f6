"""The fingerprint of a reward model: its rewards for a few fixed conversations, checked whenever it is loaded.

Wrong weights, a missing or damaged head, another chat template or another tokenizer raise no error, but make rewards
meaningless.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from xlrm.errors import ArtifactError, DataError
from xlrm.models.precisions import Precision
from xlrm.store.json_file import JsonFile

if TYPE_CHECKING:
    from xlrm.scorers.interface import Scorer

MAX_LENGTH = 256
"""Limit on the tokens of a probe; the longest probes lose their beginning, so that truncation is checked too."""
_BATCH_TOKENS = 8192


TOLERANCE: dict[Precision, float] = {"float32": 0.001, "bfloat16": 0.1, "int8": 0.2, "4bit": 1.0}
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


class Probe(BaseModel):
    """A conversation and its reward."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    messages: Conversation
    reward: FiniteFloat


class Fingerprint(JsonFile):
    """fingerprint.json: the rewards of the probes, in the precision that the model was evaluated in."""

    FILE: ClassVar[str] = "fingerprint.json"
    WRITTEN_BY: ClassVar[str] = "the stage evaluate writes it"
    INDENT: ClassVar[int | None] = 1
    END: ClassVar[str] = "\n"

    precision: Precision
    max_length: int
    tolerance: dict[str, FiniteFloat]
    """As in `TOLERANCE`, or more if the rewards were computed in a coarser precision; versions before int8 and 4bit lack
    these."""
    probes: tuple[Probe, ...] = Field(min_length=1)


def rewards(scorer: "Scorer", probes: list[Conversation]) -> list[float]:
    """Rewards of probes, truncated to `MAX_LENGTH` tokens, in batches of a fixed size."""
    same = {"max_length": MAX_LENGTH, "batch_tokens": _BATCH_TOKENS, "truncation_side": "left"}
    return replace(scorer, **same).score(probes)  # type: ignore[type-var]  # a dataclass


def write(folder: Path, scorer: "Scorer", precision: Precision = "float32") -> None:
    """Writes fingerprint.json for a scorer with transformers whose model is loaded in `precision`. Raises ArtifactError
    for a reward that is not finite."""
    values = rewards(scorer, list(PROBES))
    probes = tuple(Probe(messages=chat, reward=reward) for chat, reward in zip(PROBES, values, strict=True))
    tolerance = {name: max(allowed, TOLERANCE[precision]) for name, allowed in TOLERANCE.items()}
    Fingerprint(precision=precision, max_length=MAX_LENGTH, tolerance=tolerance, probes=probes).write(folder)


def check(folder: Path, precision: Precision, scorer: "Scorer") -> None:
    """Raises ArtifactError if the model's rewards differ from those in the fingerprint in `folder` or are not finite,
    or if that file is not a fingerprint. Without the file, checks nothing."""
    try:
        kept = Fingerprint.find(folder)
    except DataError as error:
        raise ArtifactError(
            f"not a fingerprint: {error.message}",
            where=error.where,
            value=error.value,
            hint="download the folder again",
        ) from error
    if kept is None:
        return
    expected = [probe.reward for probe in kept.probes]
    values = rewards(scorer, [probe.messages for probe in kept.probes])
    allowed = kept.tolerance.get(precision, TOLERANCE[precision]) * (max(expected) - min(expected)) + 1e-5 * max(
        map(abs, expected)
    )
    worst = max(range(len(values)), key=lambda i: abs(values[i] - expected[i]))
    if not abs(values[worst] - expected[worst]) <= allowed:
        raise ArtifactError(
            f"not the model that was registered: probe {worst + 1} of {len(values)} of {kept.FILE} has the reward "
            f"{values[worst]:.4f} instead of {expected[worst]:.4f} (difference allowed in {precision}: {allowed:.4f})",
            where=folder, hint="remove the folder and download it again",
        )  # fmt: skip
