"""Benchmarks, the credit for an item, accuracies and win rates with intervals, and the files that they are in.

Knows nothing of torch.
"""
