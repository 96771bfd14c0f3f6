"""On what terms a reward model may be used, computed from its base model's licence and its data's."""

from dataclasses import dataclass

from xlrm.models.base_models import BASE_MODELS

# Ids as the Hugging Face Hub spells them. Of a licence that is in no row nothing is known: it is named, and permits nothing.
_ATTRIBUTION = {"apache-2.0", "mit", "bsd-3-clause", "odc-by", "cc-by-4.0"}
_LLAMA = (
    'the Llama {} licence and its use policy go with it; whoever passes the model on displays "Built with {}" and puts {} at '
    "the beginning of its name"
)
# From the licences' sections 1.b (Llama), 2 and 4.b (Qwen).
_CONDITIONS = {
    "cc-by-sa-4.0": "share what is made of it on the same terms",
    "llama3": _LLAMA.format("3", "Meta Llama 3", "Llama 3")
    + "; what Llama 3 wrote may improve no other large language model than Llama 3 and what is made of it",
    "llama3.1": _LLAMA.format("3.1", "Llama", "Llama"),
    "llama3.2": _LLAMA.format("3.2", "Llama", "Llama"),
    "qwen-research": 'not for commercial use; whoever passes the model on displays "Built with Qwen" or "Improved using Qwen"',
    "cc-by-nc-4.0": "not for commercial use",
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
    given = {base_model: of_model(base_model).lower()} | {
        name: one.lower().removesuffix(ASSUMED) for name, one in data.items()
    }
    plain = all(one in _ATTRIBUTION for name, one in given.items() if name != base_model)
    unknown = tuple(name for name, one in given.items() if not _known(one))
    return Terms(
        licence=given[base_model] if plain and not unknown else "other",
        non_commercial=any(one in _NON_COMMERCIAL for one in given.values()),
        unknown=unknown,
        lines=tuple(f"{name} ({one}): {_asks(one)}." for name, one in given.items()),
    )


def of_model(name: str) -> str:
    """Licence of a base model, or of one that translated; unknown where it is in no row."""
    return BASE_MODELS[name].licence if name in BASE_MODELS else "unknown"


def summary(found: Terms) -> str:
    said = "not for commercial use" if found.non_commercial else "nothing stated rules commercial use out"
    return f"{said}; terms unknown: {', '.join(found.unknown)}" if found.unknown else said


def _known(licence: str) -> bool:
    return licence in _ATTRIBUTION | _CONDITIONS.keys() | {YOUR_OWN}


def _asks(licence: str) -> str:
    if licence == YOUR_OWN:
        return "whoever trained the model knows the terms of these rows"
    if licence in _ATTRIBUTION:
        return "keep its notice"
    return _CONDITIONS.get(licence, "terms unknown, which permit nothing until they are")
