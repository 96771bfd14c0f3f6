"""A step of a pipeline: a stage, the fields that the pipeline sets, and the steps whose artifacts it reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Inputs = Mapping[str, str | tuple[str, ...]]
"""Input of a stage -> label of the step that makes it, or several labels."""


@dataclass(frozen=True)
class Step:
    stage: str
    of: tuple[str, ...] = ()
    """What distinguishes it from other steps of the stage: languages, or the number of a shard."""
    config: dict[str, Any] = field(default_factory=dict)
    """Fields of the stage's config: the experiment's section, overridden by the fields that the pipeline sets."""
    inputs: Inputs = field(default_factory=dict)
    section: str = ""
    """Section of the experiment, if it is not named like the stage."""
    shows_refusals: bool = False
    """Whether it also reads artifacts that a gate refused; a report shows them."""

    @property
    def label(self) -> str:
        return "-".join((self.stage, *self.of))

    @property
    def reads(self) -> set[str]:
        """Labels of the steps whose artifacts it reads."""
        return {label for of in self.inputs.values() for label in ((of,) if isinstance(of, str) else of)}


Steps = dict[str, Step]
"""Label -> step, each after the steps whose artifacts it reads."""
