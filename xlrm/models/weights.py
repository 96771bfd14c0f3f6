"""Checks weights on disk. A row of an embedding that is not finite shows only in rewards of texts with that token."""

from pathlib import Path
from typing import TYPE_CHECKING

from xlrm.errors import ArtifactError

if TYPE_CHECKING:
    import torch


def check_finite(folder: Path) -> None:
    """Raises ArtifactError, with the tensor's name and the place in it, for a folder with a weight that is NaN or
    infinite, and for a file of weights that cannot be read. Takes about 0.2 s for 1 GB of float32, and 0.3 s of
    bfloat16, on two cores (files in the page cache)."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - no dictionary
                    _check(f"{file}: {name}", weights.get_tensor(name))
        except (OSError, SafetensorError) as error:
            raise ArtifactError(f"cannot be loaded: {' '.join(str(error).split())[:200]}", where=file) from error


def _check(tensor_name: str, tensor: "torch.Tensor") -> None:
    import torch

    if not tensor.is_floating_point() or not tensor.numel():
        return
    values = tensor.float() if tensor.element_size() == 1 else tensor  # float8 has no aminmax
    if all(
        torch.isfinite(bound) for bound in torch.aminmax(values)
    ):  # NaN is passed on; isfinite takes 15 times as long
        return
    place = (~torch.isfinite(values)).nonzero()[0].tolist()
    raise ArtifactError(
        "weights are finite numbers", where=f"{tensor_name}{place}", value=float(values[tuple(place)]),
        hint="train or download the model again",
    )  # fmt: skip
