"""Benchmarks, the credit for an item, accuracies with intervals, and the files that `evaluate` writes.

Knows nothing of torch.
"""
