"""What an estimate of GPU hours assumes: peaks of GPUs and the utilisation of each kind of work.

Utilisation is model FLOP utilisation (Chowdhery et al. 2022, appendix B), except that recomputation by gradient
checkpointing counts; it is assumed, one value for each kind of work.
"""

from collections.abc import Iterable, Mapping

from xlrm.errors import ConfigError
from xlrm.translation import effort

MFU = {"training": 0.4, "scoring": 0.5, "decoding": effort.UTILISATION}
"""Kind of work -> assumed share of the peak, not measured here. PaLM reached 0.46 in training (Chowdhery et al. 2022);
scoring needs no gradients and no exchange between GPUs; decoding one token at a time waits for memory."""
A100 = "A100"
PEAK = {
    A100: {"bfloat16": effort.A100_FLOPS, "float32": 19.5e12},
    "H100": {"bfloat16": 989e12, "float32": 67e12},
}
"""GPU -> dense FLOP/s (NVIDIA's data sheets; H100: SXM5), float32 without TF32, which PyTorch leaves off."""
PRODUCTS = {"NVIDIA-H100-80GB-HBM3": "H100"}
"""Node label nvidia.com/gpu.product -> GPU. For other labels, hours of an A100 are shown."""
FORMULA = (
    "A100-hours = operations / (peak x utilisation) / 3600. Each token: (2 x parameters + 2 x layers x length x attention width) "
    "x passes: 1 forward, 2 backward (1 with LoRA), 1 more with gradient checkpointing; DPO reads its pairs once more, for "
    "the reference (Kaplan et al. 2020, section 2.1)."
)


def peak(gpu: str, precision: str) -> float:
    """FLOP/s of a GPU; models with weights in 8 or 4 bits compute in bfloat16."""
    return PEAK[gpu].get(precision, PEAK[gpu]["bfloat16"])


def utilisation(given: Iterable[str]) -> dict[str, float]:
    """MFU with values from the command line, such as training=0.35. Raises ConfigError."""
    shares = dict(MFU)
    for text in given:
        name, _, value = text.partition("=")
        if name not in MFU:
            raise ConfigError(f"written NAME=SHARE, where NAME is {', '.join(MFU)}", where="--mfu", value=text)
        shares[name] = _share(text, value)
    return shares


def _share(text: str, value: str) -> float:
    try:
        if 0 < float(value) <= 1:
            return float(value)
    except ValueError:
        pass
    raise ConfigError("a share above 0 and up to 1 is allowed", where="--mfu", value=text)


def sentences(mfu: Mapping[str, float], gpu: str = A100) -> list[str]:
    """Sentences on what the figures assume, to be shown beside them."""
    return [
        "utilisation of the peak: " + _listed(mfu),
        *(f"peak of an {name}, TFLOP/s: " + _listed(_tera(PEAK[name])) for name in dict.fromkeys((A100, gpu))),
        "bytes per token: " + _listed(effort.BYTES_PER_TOKEN),
        "bytes of a translation per byte of English: " + _listed(effort.BYTES_OF_TRANSLATION),
        f"translation: {effort.PROMPT_TOKENS} prompt tokens per segment, 2 x parameters operations per token",
        "a sampled response has the mean length of the corpus's chosen ones, at most sample.max_new_tokens",
        "a prompt shared by responses is computed once in training and scoring; tokens of the chat template are not counted",
    ]


def _tera(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value / 1e12 for name, value in values.items()}


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())
