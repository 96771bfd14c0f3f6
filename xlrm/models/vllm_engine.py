"""vLLM on all GPUs: one engine at a time, whose processes end with this one. No other module imports vllm.

vLLM computes in a separate process (`EngineCore`), and in more of them for further GPUs. By default these can outlive
this process. If a weakref.finalize was created before multiprocessing was imported, multiprocessing waits at exit for
its children before vLLM's finalizers can end them; and a killed process ends none of its children. So `end` ends an
engine, at exit at the latest, and the kernel does if this process is killed (`end_with_owner`).
"""

import atexit
import ctypes
import gc
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm import installation, progress
from xlrm.errors import ArtifactError, ConfigError
from xlrm.models import weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_OWNER = "XLRM_OWNS_VLLM"
"""Environment variable of an engine's processes: the id of this process, with which they must end."""
_running: dict[str, Any] = {}
"""The running engine by its options; at most one."""


def running(model: str, max_tokens: int | None, precision: str, **options: Any) -> Any:
    """The engine for `model`: the running one if its options are the same, else a new one, after the other has ended,
    since a GPU has no room for two. `max_tokens` limits prompt and completion together; None for the limit of the model.

    Raises ConfigError if vLLM is not installed, ArtifactError if it does not start, and for a folder with a weight that
    is not finite."""
    asked = dict(model=model, max_model_len=max_tokens, dtype=precision, **options)
    if repr(asked) not in _running:
        end()
        _running[repr(asked)] = _start(asked)
    return _running[repr(asked)]


def end() -> None:
    """Ends the running engine, if any, and returns when its processes have ended and their memory is free."""
    while _running:
        engine = _running.popitem()[1]
        engine.llm_engine.engine_core.shutdown()
        gc.collect()


def end_with_owner(owner: int) -> None:
    """Makes the kernel kill this process, one of vLLM's, when its parent ends for any reason. `owner` is the id of the
    process that started the engine: the parent or grandparent of this process.

    A spawned process first imports its owner's main module (multiprocessing.spawn.prepare), which imports `xlrm`; that
    calls this function, before any code of vLLM runs."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; a busy engine ignores SIGTERM
    if owner not in _parents():  # it ended before the call above
        os._exit(1)


def _parents() -> tuple[int, int]:
    parent = os.getppid()
    try:
        return parent, int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return parent, 0


def classifier(config: "PretrainedConfig") -> dict[str, Any]:
    """Options of `running` for a classifier. vLLM itself decides whether sequences share a cache, which only decoders
    can, and knows Gemma 3's text models by the name of the whole one."""
    renamed = {"gemma3_text": "Gemma3ForSequenceClassification"}
    if name := renamed.get(config.model_type):
        return {"runner": "pooling", "hf_overrides": {"architectures": [name]}}
    return {"runner": "pooling"}


def generate(
    engine: Any, encoded: Sequence[list[int]], parameters: Sequence[dict[str, Any]], each: Callable[[int, Any], None]
) -> None:
    """Completes token ids, each sequence with its own SamplingParams; passes `each` (index, output) when it is done."""
    asked = [_vllm().SamplingParams(**given) for given in parameters]
    try:
        names = engine.enqueue([{"prompt_token_ids": ids} for ids in encoded], asked, use_tqdm=False)
        places = {name.partition("-")[0]: place for place, name in enumerate(names)}  # the part before vLLM's suffix
        while (
            engine.llm_engine.has_unfinished_requests()
        ):  # like vLLM's own loop (entrypoints/offline_utils.py, _run_engine)
            for output in engine.llm_engine.step():
                if output.finished:
                    each(places[output.request_id], output)
    except BaseException:
        end()  # with its unfinished requests
        raise


def logits(engine: Any, encoded: Sequence[list[int]]) -> list[float]:
    """Raw logit of each sequence of token ids, by a classifier with one label."""
    raw = _vllm().PoolingParams(use_activation=False)  # the logit, also if the model's problem_type is not regression
    outputs = engine.classify([{"prompt_token_ids": ids} for ids in encoded], pooling_params=raw, use_tqdm=False)
    return [float(output.outputs.probs[0]) for output in outputs]


def _start(asked: dict[str, Any]) -> Any:
    import torch

    if (folder := Path(asked["model"])).is_dir():
        weights.check_finite(folder)
    # A forked process would inherit the state of locks and threads, and not import `xlrm`, which ties it to its owner.
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    vllm = _vllm()
    atexit.unregister(end)
    atexit.register(end)  # registered after vLLM imported multiprocessing, so called before that waits for its children
    os.environ[_OWNER] = str(os.getpid())
    try:
        return vllm.LLM(
            tensor_parallel_size=max(1, torch.cuda.device_count()), trust_remote_code=False, load_format="safetensors",
            use_tqdm_on_load=not progress.bars_hidden(), **_whole_prompts(asked), **asked,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        message = " ".join(str(error).split())[:300]
        raise ArtifactError(
            f"vLLM does not start: {message}", where=asked["model"], hint="its log above gives details"
        ) from error
    finally:
        del os.environ[_OWNER]


def _whole_prompts(asked: dict[str, Any]) -> dict[str, Any]:
    """Options of an engine that writes on a CPU: no prompt is split over steps. vLLM 0.31 would set back the generator of a
    request with a seed, which a CPU's cannot do, and the engine would end ("CPU Generator does not use offset")."""
    import torch

    if torch.cuda.is_available() or asked.get("runner") == "pooling":
        return {}
    return {"enable_chunked_prefill": False}


def _vllm() -> Any:
    """The module `vllm`. Raises ConfigError if it is not installed."""
    try:
        import vllm
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"vllm needs {error.name}, which is not installed", where="engine", hint=installation.command("sample")
        ) from error
    return vllm
