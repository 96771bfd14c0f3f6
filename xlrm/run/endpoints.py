"""The steps that ask a server at OPENAI_BASE_URL, and the check before a run that there is one."""

import os
from collections.abc import Iterable
from typing import Any

from xlrm.errors import ConfigError
from xlrm.run import judges
from xlrm.run.sections import stage_config
from xlrm.run.steps import Step

ADDRESS = "OPENAI_BASE_URL"


def check(steps: Iterable[Step]) -> None:
    """Raises ConfigError if a step asks a server and its address is not set, which would end a run after days."""
    if os.environ.get(ADDRESS, "").strip():
        return
    for step in steps:
        for field, model in _asked(step.stage, step.section or step.stage, step.config):
            raise ConfigError(
                f"needs {ADDRESS}, the address of an OpenAI-compatible server, which is not set",
                where=field, value=model, hint=_WITHOUT.get(step.stage, ""),
            )  # fmt: skip


_WITHOUT = {"judge": "or null for no verdicts", "translate": "or engine vllm or transformers"}
"""Stage -> how to go without a server."""


def _asked(stage: str, section: str, values: dict[str, Any]) -> list[tuple[str, str]]:
    """(field, model) of the models at a server that a step asks."""
    if stage not in ("translate", "sample", "judge", "external"):
        return []
    config: Any = stage_config(stage, values)
    if stage == "translate":
        return [("translate.engine", config.engine)] if config.engine == "endpoint" else []
    if stage == "sample":
        return [(f"{section}.served", config.served)] if config.served else []
    served = [judge.model.name for judge in judges.generative(stage, config) if judge.engine == "endpoint"]
    return [("judge.judge" if stage == "judge" else "external.models", name) for name in served]
