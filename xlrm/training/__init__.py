"""Weights from rows: reward models, policies, a tiny base model; the only importer of trl and peft.

Knows nothing of benchmarks or the registry.
"""
