"""Levels that a reward model's accuracy is read against (paper B, section 6.1)."""


def expected_agreement(first: float, second: float) -> float:
    """Share of binary decisions on which two independent models with these accuracies agree: p q + (1 - p)(1 - q)
    (footnote 7). Accuracies and result in [0, 1]."""
    return first * second + (1 - first) * (1 - second)
