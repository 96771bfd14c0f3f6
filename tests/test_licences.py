"""Licences by the Hub's ids: known or not, and which rule commercial use out; one answer of the corpus and of the registry."""

import pytest

from xlrm.data import data_card, licences
from xlrm.data.hub_sets import SOURCES, Origin
from xlrm.models.base_models import BASE_MODELS
from xlrm.models.reward_models import REWARD_MODELS
from xlrm.registry import licence_terms

# Read from the licences themselves: (id, rules commercial use out, terms known here).
TABLE = [
    ("apache-2.0", False, True), ("Apache-2.0", False, True), ("mit", False, True), ("bsd-3-clause", False, True),
    ("odc-by", False, True), ("odc-by (assumed)", False, True), ("your own", False, True),
    ("cc-by-4.0", False, True), ("cc-by-sa-4.0", False, True), ("cc-by-nd-4.0", False, True),
    ("cc-by-nc-2.0", True, True), ("cc-by-nc-4.0", True, True), ("cc-by-nc-4.0 (assumed)", True, True),
    ("cc-by-nc-sa-4.0", True, True), ("CC-BY-NC-SA-4.0", True, True), ("cc-by-nc-nd-4.0", True, True),
    ("llama3", False, True), ("llama3.1", False, True), ("llama3.2", False, True),
    ("qwen-research", True, True), ("fair-noncommercial-research-license", True, False),
    ("Self-taught Evaluator Research License", True, False), ("intel-research", True, False),
    ("unknown", False, False), ("other", False, False), ("unknown (assumed)", False, False), ("llama9", False, False),
]  # fmt: skip


@pytest.mark.parametrize(("licence", "non_commercial", "known"), TABLE)
def test_corpus_and_registry_read_a_licence_alike(licence: str, non_commercial: bool, known: bool) -> None:
    card = data_card.card("en", {"preferences": {"mine": Origin(licence=licence)}}, {})
    terms = licence_terms.terms("Qwen/Qwen2.5-7B-Instruct", {"mine": licence})
    assert card.non_commercial is terms.non_commercial is non_commercial
    assert bool(card.unknown_terms) is bool(terms.unknown) is not known
    assert ("not for commercial use" in licences.conditions(licence)) is non_commercial
    assert ("unknown" in licences.conditions(licence)) is not known
    assert f"Terms of the whole: {licence_terms.summary(terms)}." in data_card.markdown(card)


def test_the_parts_of_creative_commons_are_all_said() -> None:
    said = licences.conditions("cc-by-nc-sa-4.0")
    assert said == "not for commercial use; share derivatives on the same terms"
    assert licences.conditions("cc-by-nc-nd-4.0").endswith("share no derivatives")


def test_licences_of_the_tables_are_known_but_for_what_has_terms_of_its_own() -> None:
    rows = [*SOURCES.values(), *BASE_MODELS.values(), *REWARD_MODELS.values()]
    unknown = {row.licence for row in rows if not licences.is_known(row.licence)}
    assert unknown == {"Self-taught Evaluator Research License", "OpenAI's terms of use", "unknown"}
