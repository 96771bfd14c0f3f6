"""On what terms a reward model may be used, computed from its base model's licence and its data's."""

from dataclasses import dataclass

from xlrm.base_models import BASE_MODELS

# Ids as the Hugging Face Hub spells them. Of a licence that is in no row nothing is known: it is named, and permits nothing.
_ATTRIBUTION = {"apache-2.0", "mit", "bsd-3-clause", "odc-by", "cc-by-4.0"}
_CONDITIONS = {
    "cc-by-sa-4.0": "share what is made of it on the same terms",
    "llama3": "the Llama 3 licence and its use policy; a model made with it has Llama 3 at the beginning of its name",
    "llama3.1": "the Llama 3.1 licence and its use policy; a model made with it has Llama at the beginning of its name",
    "llama3.2": "the Llama 3.2 licence and its use policy; a model made with it has Llama at the beginning of its name",
}
_NON_COMMERCIAL = {"cc-by-nc-4.0", "qwen-research"}
YOUR_OWN = "your own"
ASSUMED = " (assumed)"
"""Behind a licence that is the known set's, where a copy of it was taken."""


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
    base = BASE_MODELS[base_model].licence if base_model in BASE_MODELS else "unknown"
    given = {base_model: base.lower()} | {name: one.lower().removesuffix(ASSUMED) for name, one in data.items()}
    plain = all(one in _ATTRIBUTION for name, one in given.items() if name != base_model)
    unknown = tuple(name for name, one in given.items() if not _known(one))
    return Terms(
        licence=given[base_model] if plain and not unknown else "other",
        non_commercial=any(one in _NON_COMMERCIAL for one in given.values()),
        unknown=unknown,
        lines=tuple(f"{name} ({one}): {_asks(one)}." for name, one in given.items()),
    )


def summary(found: Terms) -> str:
    said = "not for commercial use" if found.non_commercial else "nothing stated rules commercial use out"
    return f"{said}; terms unknown: {', '.join(found.unknown)}" if found.unknown else said


def _known(licence: str) -> bool:
    return licence in _ATTRIBUTION | _CONDITIONS.keys() | _NON_COMMERCIAL | {YOUR_OWN}


def _asks(licence: str) -> str:
    if licence in _NON_COMMERCIAL:
        return "not for commercial use"
    if licence == YOUR_OWN:
        return "whoever trained the model knows the terms of these rows"
    if licence in _ATTRIBUTION:
        return "keep its notice"
    return _CONDITIONS.get(licence, "terms unknown, which permit nothing until they are")
