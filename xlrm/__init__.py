"""Cross-lingual reward models: data, training, evaluation, alignment and reports."""

import os

__version__ = "0.1.0"

if owner := os.environ.get("XLRM_OWNS_VLLM"):  # a process of vLLM's, which begins with its owner's main module
    from xlrm.models.vllm_engine import end_with_owner

    end_with_owner(int(owner))
