"""Cross-lingual reward models: data, training, evaluation, alignment and reports."""

import importlib
import os

__all__ = ["Model", "ModelComparison", "ModelEvaluation", "__version__", "compare", "evaluate", "load"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Imports the public names (`xlrm.api`) when they are first used, so that `import xlrm` takes no time."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("xlrm.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if owner := os.environ.get("XLRM_OWNS_VLLM"):  # a process of vLLM's, which begins with its owner's main module
    from xlrm.models.vllm_engine import end_with_owner

    end_with_owner(int(owner))
