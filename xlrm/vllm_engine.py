"""vLLM in this process, on all GPUs of the machine. The only module that imports it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from xlrm.errors import ConfigError


def _vllm() -> Any:
    """Raises ConfigError where it is not installed."""
    try:
        import vllm
    except ModuleNotFoundError as error:
        raise ConfigError(f"engine vllm: {error.name} is not installed; pip install 'xlrm[sample]'") from error
    return vllm


def load(model: str, max_tokens: int, dtype: str, **more: Any) -> Any:
    """`max_tokens`: of prompt and completion together."""
    import torch

    return _vllm().LLM(
        model=model, dtype=dtype, max_model_len=max_tokens, tensor_parallel_size=max(1, torch.cuda.device_count()),
        trust_remote_code=False, load_format="safetensors", **more,
    )  # fmt: skip


def generate(engine: Any, encoded: list[list[int]], **how: Any) -> list[Any]:
    """Completions of token ids, by vLLM's sampling parameters `how`."""
    return engine.generate([{"prompt_token_ids": ids} for ids in encoded], _vllm().SamplingParams(**how))


@dataclass
class Rewards:
    """A reward model as `xlrm.scoring` asks for one: conversations that begin alike share a cache, and a model may be split
    over GPUs."""

    folder: Path
    max_length: int
    precision: str

    def named_modules(self) -> tuple:
        """None to look for a table of positions in: vLLM itself refuses a `max_length` beyond it."""
        return ()

    @cached_property
    def engine(self) -> Any:
        return load(str(self.folder), self.max_length, self.precision, runner="pooling", enable_prefix_caching=True)

    def rewards(self, encoded: list[list[int]]) -> list[float]:
        raw = _vllm().PoolingParams(use_activation=False)  # the logit, not its sigmoid
        found = self.engine.classify([{"prompt_token_ids": ids} for ids in encoded], pooling_params=raw, use_tqdm=False)
        return [float(one.outputs.probs[0]) for one in found]
