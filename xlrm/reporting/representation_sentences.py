"""Findings on representations, in words."""

from pathlib import Path

from xlrm.analysis.hidden_states import BASE, Similarity
from xlrm.analysis.representations import Representations
from xlrm.analysis.transfer import Correlation, Transfer
from xlrm.reporting.results import model_name
from xlrm.reporting.wording import signed


def singular(models: dict[str, Similarity]) -> str:
    mean = models[BASE].mean
    away = {name: result.mean - mean for name, result in models.items() if name != BASE}
    base = f"f, the similarity of a text's hidden states across languages, is {mean:.3f} in the base model"
    if not away:
        return f"{base}."
    nearest, farthest = (pick(away, key=lambda name: abs(away[name])) for pick in (min, max))
    if nearest == farthest:
        return f"{base}; the {model_name(nearest)} differs from it by {signed(away[nearest], 3)}."
    return (
        f"{base}; the {model_name(nearest)} is closest to it ({signed(away[nearest], 3)}), "
        f"the {model_name(farthest)} farthest from it ({signed(away[farthest], 3)})."
    )


POSITION = {"last": "last token", "mean": "mean over all tokens", "first": "first token"}
TEMPLATE = {"raw": "raw text", "chat": "the text as a user's message, in the chat template"}


def reading(representations: Representations) -> str:
    """Which hidden states were compared, and on how many texts of which dataset."""
    mode, account = representations.reading, representations.parallel
    layer = "after the final norm" if mode.layer == -1 else "before the final norm"
    place = f"{POSITION[mode.position]}, layer {signed(mode.layer, 0)} ({layer}); {TEMPLATE[mode.template]}"
    texts = Path(account.set).name  # the last part of a path, for a file or a local dataset
    left_out = account.incomplete + account.duplicates
    return (
        f"{place}; {representations.texts:,} texts of {texts}"
        f"{f', {left_out:,} more left out as duplicates or not in every language' if left_out else ''}"
    )


def correlated(transfer: Transfer) -> str:
    count = len(transfer.models)
    if not transfer.share or not transfer.moved:
        return (
            f"Correlating f with accuracy needs at least three reward models with different values; there are {count}."
        )
    return (
        f"Over {count} reward models, accuracy in languages other than their own has a correlation of "
        f"{_correlation(transfer.share)} with f, and of {_correlation(transfer.moved)} with f's distance from the base model's."
    )


def _correlation(correlation: Correlation) -> str:
    ends = (
        f" [{', '.join(signed(end, 2) for end in correlation.interval)}]"
        if correlation.interval
        else " (too few for an interval)"
    )
    return f"{signed(correlation.pearson, 2)}{ends}"
