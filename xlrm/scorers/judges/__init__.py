"""A verdict on two responses. Knows nothing of benchmarks, subsets or accuracies."""
