"""Verdicts on two responses. Must not know benchmarks, subsets or accuracies."""
