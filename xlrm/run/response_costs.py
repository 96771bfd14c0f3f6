"""Costs of responses that no policy of a run writes: those of a model at an endpoint, and those that exist."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from xlrm.run.sections import REFERENCE
from xlrm.run.workloads import Load

if TYPE_CHECKING:
    from xlrm.run.forecast import Row, Scene


def elsewhere(row: "Row", scene: "Scene", section: str, asked: Sequence[tuple[Sequence[float], int]]) -> "Row":
    """A row of sampling, changed if the section says that its responses come from elsewhere: no operations, and the price
    of an endpoint's tokens. `asked`: prompts' lengths with the number of responses to each."""
    config = scene.config(section, languages=scene.experiment.aligned)
    if config.given:
        return replace(row, what=f"{row.what}, given", tokens=0.0, flop=0.0, why="")
    if not config.served:
        return row
    longest = config.max_new_tokens
    whole = sum((scene.answered(prompts, count, longest, shared=False) for prompts, count in asked), Load()).tokens
    at_endpoint = replace(row, what=f"{row.what}, at an endpoint", tokens=whole, flop=0.0, why="")
    if config.usd_per_million is None:
        return replace(at_endpoint, why=f"{section}.usd_per_million has no price for {config.served}")
    written = sum(scene.answered([0.0] * len(prompts), count, longest, shared=False).tokens for prompts, count in asked)
    read_price, written_price = config.usd_per_million
    return replace(at_endpoint, usd=((whole - written) * read_price + written * written_price) / 1e6)


def reference(row: "Row", scene: "Scene") -> "list[Row]":
    """The row of the responses that policies are compared with, if a section names them; `row` is any of sampling."""
    if not (scene.experiment.stages.get(REFERENCE) and scene.experiment.setting("judge", "judge")):
        return []
    judged, runs = scene.texts.eval_prompts, scene.config(REFERENCE, languages=scene.experiment.aligned).runs
    what = f"{len(scene.experiment.aligned)} languages x {len(judged):,} prompts x {runs} to compare with"
    return [elsewhere(replace(row, what=what, stored=None), scene, REFERENCE, [(judged, runs)])]
