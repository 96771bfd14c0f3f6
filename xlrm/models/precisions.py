"""Number formats and devices of models for inference."""

import logging
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

from xlrm import installation
from xlrm.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Precision = Literal["float32", "bfloat16", "int8", "4bit"]
"""Number format of a model. int8 and 4bit are those of the weights of its linear layers, by bitsandbytes; all else is in
bfloat16."""
_BLOCK = 64
"""Weights that share a scale in 4 bits."""


def arguments(precision: Precision, device_name: str = "auto") -> dict[str, Any]:
    """Arguments of `from_pretrained` for a model on `device(device_name)` with weights of this precision."""
    place = device(device_name)
    there = {} if place == "cpu" else {"device_map": {"": place}}  # straight to the GPU, without a copy in memory
    if precision in ("float32", "bfloat16"):
        return {"dtype": precision, **there}
    import torch
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # a line for each forward pass of a layer
    bits: dict[str, Any] = {"load_in_8bit": True}
    if precision == "4bit":
        bits = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    return {"dtype": "bfloat16", "device_map": {"": place}, "quantization_config": BitsAndBytesConfig(**bits)}


def check_library(precision: Precision) -> None:
    """Raises ConfigError if the library of the precision is not installed."""
    if precision not in ("int8", "4bit"):
        return
    try:
        metadata.version("bitsandbytes")
    except metadata.PackageNotFoundError as error:
        raise ConfigError(
            "needs bitsandbytes, which is not installed",
            where="precision", value=precision, hint=installation.command("gpu"),
        ) from error  # fmt: skip


def check_layers(model: "PreTrainedModel", precision: Precision) -> None:
    """Raises ConfigError for a model that bitsandbytes cannot compute in 4 bits on this CPU."""
    if precision != "4bit" or model.device.type != "cpu":
        return
    for name, layer in model.named_modules():
        if getattr(layer, "support_avx512bf16_for_cpu", False) and layer.in_features % _BLOCK:
            raise ConfigError(
                f"needs layers of a multiple of {_BLOCK} inputs on this CPU; {name} has {layer.in_features}",
                where="precision", value=precision, hint="int8 is allowed",
            )  # fmt: skip


def device(name: str = "auto") -> str:
    """The torch device for inference, by the name of a setting: auto is the GPU if there is one. Trainers place their
    models themselves. Raises ConfigError for a GPU that is not there."""
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if gpus else "cpu"
    if name != "cpu" and int(name.partition(":")[2] or 0) >= gpus:
        raise ConfigError(
            f"this machine has {gpus} GPU(s) that PyTorch can use",
            where="device",
            value=name,
            hint=f"such as {'cuda:0' if gpus else 'cpu'}",
        )
    return name
