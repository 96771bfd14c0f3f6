"""On what terms a reward model may be used, computed from its base model's licence and its data's."""

from dataclasses import dataclass

from xlrm.data import licences
from xlrm.models.base_models import BASE_MODELS


@dataclass(frozen=True)
class Terms:
    licence: str
    """Id on the Hub: the base model's where the data asks for no more than to be named, else `other`."""
    non_commercial: bool
    unknown: tuple[str, ...]
    """What has terms that nobody stated."""
    lines: tuple[str, ...]
    """One sentence for each that asks for something."""


def terms(base_model: str, data: dict[str, str]) -> Terms:
    """`data`: name of a set -> its licence."""
    given = {name: licences.normalised(one) for name, one in ({base_model: of_model(base_model)} | data).items()}
    plain = all(licences.asks_only_attribution(one) for name, one in given.items() if name != base_model)
    unknown = tuple(name for name, one in given.items() if not licences.is_known(one))
    return Terms(
        licence=given[base_model] if plain and not unknown else "other",
        non_commercial=any(map(licences.is_non_commercial, given.values())),
        unknown=unknown,
        lines=tuple(f"{name} ({one}): {licences.conditions(one)}." for name, one in given.items()),
    )


def of_model(name: str) -> str:
    """Licence of a base model, or of one that translated; unknown where it is in no row."""
    return BASE_MODELS[name].licence if name in BASE_MODELS else "unknown"


def summary(found: Terms) -> str:
    return licences.verdict(found.non_commercial, found.unknown)
