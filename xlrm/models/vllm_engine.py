"""vLLM on all GPUs of the machine: one engine at a time, whose processes end with this one. The only module that imports it.

vLLM computes in a process of its own (`EngineCore`), with more of them for further GPUs. Left to themselves they outlive us: at
the end of an interpreter multiprocessing waits for its children before vLLM's finalizers may end them, where anything has made a
weakref.finalize before multiprocessing was imported; and a killed process ends none. So an engine is ended by `end`, at exit at
the latest, and by the kernel where this process is killed (`end_with_owner`).
"""

import atexit
import ctypes
import gc
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError

_OWNER = "XLRM_OWNS_VLLM"
"""In the environment of an engine's processes, our own id: they are to end with us."""
_running: dict[str, Any] = {}
"""The engine that runs, by what it was asked for: none or one."""


def running(model: str, max_tokens: int, precision: str, **options: Any) -> Any:
    """The engine for `model`, which has run since it was last asked for or starts now; another one ends first, as a GPU has no
    room for two. `max_tokens`: of prompt and completion together.

    Raises ConfigError where vLLM is not installed, ArtifactError where it does not start."""
    asked = dict(model=model, max_model_len=max_tokens, dtype=precision, **options)
    if repr(asked) not in _running:
        end()
        _running[repr(asked)] = _start(asked)
    return _running[repr(asked)]


def end() -> None:
    """Ends the engine, if one runs; its processes and their memory are gone when this returns."""
    while _running:
        engine = _running.popitem()[1]
        engine.llm_engine.engine_core.shutdown()
        gc.collect()


def end_with_owner(owner: int) -> None:
    """Has the kernel end this process, one of vLLM's, as soon as its parent is gone, however that was ended; `owner`: the process
    that asked for the engine, which is its parent or its parent's.

    Such a process is spawned and begins with its owner's main module (multiprocessing.spawn.prepare), which imports `xlrm`; that
    calls this, long before vLLM's own code is there."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; an engine that works does not look at SIGTERM
    if owner not in _parents():  # it was gone before the kernel knew
        os._exit(1)


def _parents() -> tuple[int, int]:
    parent = os.getppid()
    try:
        return parent, int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return parent, 0


def generate(
    engine: Any, encoded: Sequence[list[int]], parameters: Sequence[dict[str, Any]], each: Callable[[int, Any], None]
) -> None:
    """Completes token ids, each by SamplingParams of its own; `each` is told of (place, output) as soon as it is finished."""
    asked = [_vllm().SamplingParams(**given) for given in parameters]
    try:
        names = engine.enqueue([{"prompt_token_ids": ids} for ids in encoded], asked, use_tqdm=False)
        places = {name.partition("-")[0]: place for place, name in enumerate(names)}  # vLLM tells them with a suffix
        while (
            engine.llm_engine.has_unfinished_requests()
        ):  # as vLLM's own loop (entrypoints/offline_utils.py, _run_engine)
            for output in engine.llm_engine.step():
                if output.finished:
                    each(places[output.request_id], output)
    except BaseException:
        end()  # with what is still asked of it
        raise


def logits(engine: Any, encoded: Sequence[list[int]]) -> list[float]:
    """Of a classifier with one label, for token ids."""
    raw = _vllm().PoolingParams(use_activation=False)  # the logit, of a model without problem_type regression too
    found = engine.classify([{"prompt_token_ids": ids} for ids in encoded], pooling_params=raw, use_tqdm=False)
    return [float(one.outputs.probs[0]) for one in found]


def _start(asked: dict[str, Any]) -> Any:
    import torch

    os.environ[_OWNER] = str(os.getpid())
    # A forked process would keep the state of our locks and threads, and import nothing again.
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    vllm = _vllm()
    atexit.unregister(end)
    atexit.register(end)  # after vLLM's import of multiprocessing, and so called before that waits for its children
    try:
        return vllm.LLM(
            tensor_parallel_size=max(1, torch.cuda.device_count()), trust_remote_code=False, load_format="safetensors",
            use_tqdm_on_load=not progress.bars_hidden(), **asked,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:300]
        raise ArtifactError(f"{asked['model']}: vLLM does not start: {said}; its log above says more") from error
    finally:
        del os.environ[_OWNER]


def _vllm() -> Any:
    """Raises ConfigError where it is not installed."""
    try:
        import vllm
    except ModuleNotFoundError as error:
        raise ConfigError(f"engine vllm: {error.name} is not installed; pip install 'xlrm[sample]'") from error
    return vllm
