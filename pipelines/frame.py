"""What every pipeline has around its work: the settings of the experiment before it, and the conclusion after it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kfp import dsl

from components.conclude import conclude
from components.configure import configure
from pipelines.placement import Placement

Place = Callable[[dsl.PipelineTask], dsl.PipelineTask]


@contextmanager
def experiment(place: Place, placement: Placement, pipeline: str, **asked: Any) -> Iterator[dict[str, Any]]:
    """The unfinished steps of each component, a text for each pod; what is made under `with` runs if there are any, and
    `conclude` in any case. `asked`: the other parameters of `configure`."""
    with dsl.ExitHandler(place(conclude(pipeline=pipeline)), name="experiment"):
        settled = place(configure(pipeline=pipeline, placement=placement.facts(), **asked))
        with dsl.If(settled.outputs["Output"] != "0", name="work"):
            yield settled.outputs
