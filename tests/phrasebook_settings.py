"""Settings that take everything from the phrasebook, as the demo's experiment does: no stage has them as defaults."""

from typing import Any

from xlrm.stages import curate

CURATE: dict[str, Any] = {
    "preferences": ("phrasebook",), "benchmark": "phrasebook", "prompts": "phrasebook", "parallel": "phrasebook",
}  # fmt: skip
SECTIONS: dict[str, dict[str, Any]] = {
    "base": {"model": "phrasebook-tiny"}, "curate": CURATE, "translate": {"translator": "phrasebook"},
    "judge": {"judge": "phrasebook"},
}  # fmt: skip


def sections(**given: dict[str, Any]) -> dict[str, Any]:
    """Sections of an experiment on the phrasebook; `given`: section -> fields that replace its own or are added."""
    return {name: SECTIONS.get(name, {}) | given.get(name, {}) for name in SECTIONS | given}


def curated(**given: Any) -> curate.Config:
    return curate.Config(**(CURATE | given))
