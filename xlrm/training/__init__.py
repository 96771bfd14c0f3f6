"""Training of reward models, policies and the tiny base model; the only package that imports trl and peft.

It knows nothing of benchmarks or the registry.
"""
