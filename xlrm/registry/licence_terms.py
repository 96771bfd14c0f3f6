"""Terms of use of a reward model, computed from the licences of its base model and its data."""

from dataclasses import dataclass

from xlrm.data import licences
from xlrm.models.base_models import BASE_MODELS


@dataclass(frozen=True)
class Terms:
    licence: str
    """Id on the Hub: the base model's if the data requires attribution at most, else `other`."""
    non_commercial: bool
    unknown: tuple[str, ...]
    """Names of the base model or datasets whose terms nobody stated."""
    lines: tuple[str, ...]
    """One sentence for each licence, with its conditions."""


def terms(base_model: str, data: dict[str, str]) -> Terms:
    """Computes the terms. `data`: name of a dataset -> its licence."""
    given = {
        name: licences.normalised(licence) for name, licence in ({base_model: of_model(base_model)} | data).items()
    }
    plain = all(licences.asks_only_attribution(licence) for name, licence in given.items() if name != base_model)
    unknown = tuple(name for name, licence in given.items() if not licences.is_known(licence))
    return Terms(
        licence=given[base_model] if plain and not unknown else "other",
        non_commercial=any(map(licences.is_non_commercial, given.values())),
        unknown=unknown,
        lines=tuple(f"{name} ({licence}): {licences.conditions(licence)}." for name, licence in given.items()),
    )


def of_model(name: str) -> str:
    """Licence of a base model or of a translator; `unknown` without a row for it."""
    return BASE_MODELS[name].licence if name in BASE_MODELS else "unknown"


def summary(terms: Terms) -> str:
    return licences.verdict(terms.non_commercial, terms.unknown)
