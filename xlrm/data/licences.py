"""Conditions of licences, by their Hugging Face Hub ids: which licences are known, and which forbid commercial use."""

import re

YOUR_OWN = "your own"
"""Licence of rows from a local file."""
ASSUMED = " (assumed)"
"""Suffix of a licence that was taken from the original dataset for a copy of it."""

_ATTRIBUTION = {"apache-2.0", "mit", "bsd-3-clause", "odc-by"}
_LLAMA = (
    'the Llama {} licence and its use policy apply; anyone who redistributes the model displays "Built with {}" and puts {} '
    "at the beginning of its name"
)
# From the licences' sections 1.b (Llama), 2 and 4.b (Qwen).
_CONDITIONS = {
    "llama3": _LLAMA.format("3", "Meta Llama 3", "Llama 3")
    + "; its output may be used to improve no large language model except Llama 3 and its derivatives",
    "llama3.1": _LLAMA.format("3.1", "Llama", "Llama"),
    "llama3.2": _LLAMA.format("3.2", "Llama", "Llama"),
    "mlsum-research": "for non-commercial research only; copyright stays with the newspapers",
    "qwen-research": 'not for commercial use; anyone who redistributes the model displays "Built with Qwen" or '
    '"Improved using Qwen"',
}
_CREATIVE_COMMONS = re.compile(r"cc-by(-nc)?(-sa|-nd)?-\d\.\d")
_ELEMENTS = {
    "-nc": "not for commercial use",
    "-sa": "share derivatives on the same terms",
    "-nd": "share no derivatives",
}
_NON_COMMERCIAL = re.compile(r"\b(nc|non-?commercial|research)\b")


def normalised(licence: str) -> str:
    """Licence id in lower case, without the suffix for assumed licences."""
    return licence.removesuffix(ASSUMED).lower()


def is_known(licence: str) -> bool:
    """Whether the licence's terms are known; any other licence, also `unknown` and `other`, must be taken to permit
    nothing."""
    name = normalised(licence)
    return name in {YOUR_OWN, *_ATTRIBUTION, *_CONDITIONS} or bool(_CREATIVE_COMMONS.fullmatch(name))


def is_non_commercial(licence: str) -> bool:
    """Whether the licence forbids commercial use: Creative Commons' NC, or a research licence by its name. Llama's
    community licences do not. False if nothing is known."""
    return bool(_NON_COMMERCIAL.search(normalised(licence)))


def asks_only_attribution(licence: str) -> bool:
    name = normalised(licence)
    return name in _ATTRIBUTION or bool((match := _CREATIVE_COMMONS.fullmatch(name)) and not any(match.groups()))


def conditions(licence: str) -> str:
    """What the licence requires of users of a model trained on the data, without a full stop."""
    name = normalised(licence)
    if name == YOUR_OWN:
        return "terms known to the user who trained the model"
    if asks_only_attribution(name):
        return "keep its notice"
    if match := _CREATIVE_COMMONS.fullmatch(name):
        return "; ".join(_ELEMENTS[element] for element in match.groups() if element)
    unknown = "terms unknown; nothing is permitted until they are known"
    return _CONDITIONS.get(name) or (f"not for commercial use; other {unknown}" if is_non_commercial(name) else unknown)


def verdict(non_commercial: bool, unknown: list[str] | tuple[str, ...]) -> str:
    """Whether one of several licences forbids commercial use, and the names of those with unknown terms, as text."""
    allowed = "not for commercial use" if non_commercial else "no stated term forbids commercial use"
    return f"{allowed}; terms unknown: {', '.join(unknown)}" if unknown else allowed
