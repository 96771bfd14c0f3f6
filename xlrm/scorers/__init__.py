"""Rewards of responses. Must not know benchmarks, subsets or accuracies."""
