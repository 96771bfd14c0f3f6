"""Gathering lines of a tensor by index, with a backward pass that gathers too.

PyTorch's backward pass adds lines at random indices, which takes longer on a CPU than the attention itself.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch


class Gather:
    """Lines of a tensor by index: (lines, ...) -> (places, ...)."""

    def __init__(self, places: "np.ndarray", lines: int, device: Any):
        """`places`: indices of lines; -1 for padding, which has no gradient. `lines`: number of lines of the input."""
        import numpy as np

        real = np.flatnonzero(places >= 0)
        first = np.zeros(lines, dtype=int)  # 1 + the first output index of each line; 0 if it has none
        first[places[real][::-1]] = 1 + real[::-1]
        again = real[first[places[real]] != 1 + real]
        self.places, self.first = on(device, np.maximum(places, 0)), on(device, first)
        self.again, self.again_of = on(device, 1 + again), on(device, places[again])

    def __call__(self, values: "torch.Tensor") -> "torch.Tensor":
        return _gathering().apply(values, self)


@cache
def _gathering() -> Any:
    import torch

    class Gathering(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: torch.Tensor, how: Gather) -> torch.Tensor:
            ctx.how = how
            return values.index_select(0, how.places)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
            how = ctx.how
            gradient = torch.cat([gradient.new_zeros(1, *gradient.shape[1:]), gradient])
            result = gradient.index_select(0, how.first)
            if len(how.again):
                result.index_add_(0, how.again_of, gradient.index_select(0, how.again))
            return result, None

    return Gathering


def on(device: Any, array: "np.ndarray") -> "torch.Tensor":
    import torch

    return torch.from_numpy(array.astype("int64")).to(device, non_blocking=True)
