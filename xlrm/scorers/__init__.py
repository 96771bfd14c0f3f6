"""A number for a response. Knows nothing of benchmarks, subsets or accuracies."""
