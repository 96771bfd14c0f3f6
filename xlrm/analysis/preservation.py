"""How far training moved a model's f (paper A, figure 1), compared between models on the same texts."""

from collections.abc import Mapping

from xlrm.analysis.hidden_states import BASE, Similarity
from xlrm.evaluation.results import Estimate
from xlrm.evaluation.statistics import mean_interval


def shift(models: Mapping[str, Similarity], name: str, than: str = BASE) -> Estimate:
    """f of a model minus that of another, the base model, mean over the texts, with its 95 % bootstrap interval. Above 0: the
    states of different languages are more alike (paper A: collapse). `models`: of `Representations`."""
    import numpy as np

    return Estimate(*mean_interval(np.subtract(models[name].values, models[than].values)))


def farther(models: Mapping[str, Similarity], name: str, other: str) -> Estimate:
    """How much farther than `other` the model is from the base model: the difference of the two absolute mean shifts, with
    its 95 % bootstrap interval over the texts. Above 0: `other` keeps the base model's representations better."""
    import numpy as np

    moved = [np.subtract(models[model].values, models[BASE].values) for model in (name, other)]
    first, second = (np.sign(values.mean()) * values for values in moved)
    return Estimate(*mean_interval(first - second))
