"""The part on the recommender of source languages: which reward model to reuse for a target."""

from xlrm.reporting.reuse_material import Material
from xlrm.reporting.reuse_parts import Part

KEY, TITLE = "recommender", "Which reward model to reuse for a target"


def part(material: Material) -> Part:
    return Part(KEY, TITLE, short="Recommender")
