"""JSON files that one stage writes and another reads."""

import json
from pathlib import Path

import pytest
from phrasebook_settings import curated
from refusals import refused

from xlrm.analysis.embedding_norms import TokenSets
from xlrm.analysis.representations import Representations
from xlrm.data.corpus_schema import Description, Repairs
from xlrm.data.data_card import DataCard
from xlrm.errors import DataError
from xlrm.evaluation.best_of_n_results import BestOfNResults
from xlrm.evaluation.policy_gains import PolicyGains
from xlrm.evaluation.results import Estimate, EvaluationResults, JudgeResults
from xlrm.models.cards import RewardModelCard
from xlrm.registry import gate
from xlrm.registry.champion import Registered
from xlrm.stages import curate
from xlrm.store.json_file import JsonFile


@pytest.mark.parametrize(
    ("file", "content", "field", "value"),
    [
        (Description, "{", "", None),
        (Description, "[]", "", None),
        (Description, "{}", ": language", None),
        (Description, '{"language": 3}', ": language", 3),
        (Description, '{"language": "es", "shard": [1, "a"]}', ": shard.1", "a"),
        (Description, '{"language": "es", "repairs": {"tried": 0.5}}', ": repairs.tried", 0.5),
        (DataCard, '{"language": "en"}', ": licences", None),
        (EvaluationResults, '{"models": {}}', ": language", None),
        (EvaluationResults, '{"language": "en", "results": {"es": {"items": 3}}}', ": results.es.accuracy", None),
        (JudgeResults, '{"language": "es", "results": {"en": {"win_rate": "x"}}}', ": results.en.win_rate", "x"),
        (RewardModelCard, '{"language": "ko"}', ": pairs", None),
        (Registered, '{"versions": {"demo-en": 3}}', ": versions.demo-en", 3),
        (BestOfNResults, '{"language": "es"}', ": n", None),
        (PolicyGains, '{"language": "es", "prompts": 3, "labelers": "en"}', ": labelers", "en"),
    ],
)
def test_a_file_with_other_content_is_refused_with_its_field_and_value(
    file: type[JsonFile], content: str, field: str, value: object, tmp_path: Path
) -> None:
    (tmp_path / file.FILE).write_text(content)
    with refused(DataError, f"{tmp_path / file.FILE}{field}", value):
        file.read(tmp_path)


def test_fields_of_other_versions_are_ignored_and_those_that_are_absent_have_defaults(tmp_path: Path) -> None:
    (tmp_path / "corpus.json").write_text('{"language": "es", "repairs": {"tried": 2}, "of_another_version": 1}')
    assert Description.read(tmp_path) == Description(language="es", repairs=Repairs(tried=2))
    assert Description.find(tmp_path / "elsewhere") is Description.find(None) is None


def test_results_of_before_they_had_further_benchmarks_are_read_and_written_as_they_were(tmp_path: Path) -> None:
    parts = {"average": 0.5}
    result = {
        "items": 2, "accuracy": parts, "interval": {"average": [0.25, 0.75]}, "length_baseline": parts,
        "random_baseline": parts,
    }  # fmt: skip
    content = json.dumps({"language": "en", "results": {"ko": result}}, indent=2)
    (tmp_path / "results.json").write_text(content)
    results = EvaluationResults.read(tmp_path)
    assert results.tie_policy == "lost" and results.benchmarks == {} and results.results["ko"].missing == ()
    assert results.results["ko"].estimate() == Estimate(0.5, 0.25, 0.75)
    results.write(tmp_path / "again")
    assert (tmp_path / "again" / "results.json").read_text() == content


def test_thresholds_of_tokens_are_read_by_their_former_name(tmp_path: Path) -> None:
    content = {
        "languages": ["en", "ko"], "texts": 1, "reading": {"layer": -1}, "models": {}, "embedding_norms": {},
        "parallel": {"set": "belebele", "rows": 1, "incomplete": 0, "duplicates": 0, "used": 1},
        "token_sets": {"min_count": 2, "share": 0.75},
    }  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert Representations.read(tmp_path).token_sets == TokenSets(min_count=2, min_share=0.75)


def test_a_decision_is_read_as_it_was_written(tmp_path: Path) -> None:
    row = gate.Row("corpus", "all", "average", 80, 0.71, 0.69, -0.02, -0.05, 0.01, "not better")
    decision = gate.Decision(False, "not better on corpus", "2", {"benchmarks": ["corpus"]}, (row,))
    Registered(versions={"demo-en": "3"}, decisions={"demo-en": decision}).write(tmp_path)
    assert Registered.read(tmp_path).decisions["demo-en"] == decision == gate.Decision.from_json(decision.as_json())


def test_a_curated_corpus_is_described_in_one_file_for_all_that_read_it(tmp_path: Path) -> None:
    config = curated(pairs=20, benchmark_items=8)
    curate.run(config, output=tmp_path)
    content = (tmp_path / "corpus.json").read_text()
    card = DataCard.read(tmp_path)
    assert card.sources["phrasebook"].rows_in == json.loads(content)["sources"]["phrasebook"]["in"] == 20
    assert Description.read(tmp_path).language == card.language == "en"
    card.write(tmp_path / "again")
    assert (tmp_path / "again" / "corpus.json").read_text() == content
