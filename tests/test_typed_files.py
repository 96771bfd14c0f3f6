"""JSON files that one stage writes and another reads."""

import json
from pathlib import Path

import pytest

from xlrm.data.corpus_schema import Description, Repairs
from xlrm.data.data_card import DataCard
from xlrm.errors import DataError
from xlrm.stages import curate
from xlrm.store.json_file import JsonFile


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (Description, "{", "Invalid JSON"),
        (Description, "[]", "Input should be an object"),
        (Description, "{}", "language: Field required"),
        (Description, '{"language": "xx"}', "language: no such language; there are en, .*, got 'xx'"),
        (Description, '{"language": "es", "shard": [1, "a"]}', "shard.1: Input should be a valid integer.*, got 'a'"),
        (Description, '{"language": "es", "repairs": {"tried": 0.5}}', "repairs.tried: .*integer.*, got 0.5"),
        (DataCard, '{"language": "en"}', "licences: Field required"),
    ],
)
def test_a_file_with_other_content_is_refused_with_its_field_and_value(
    file: type[JsonFile], content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / file.FILE).write_text(content)
    with pytest.raises(DataError, match=f"^{tmp_path / file.FILE}: {message}") as raised:
        file.read(tmp_path)
    assert "\n" not in str(raised.value)


def test_fields_of_other_versions_are_ignored_and_those_that_are_absent_have_defaults(tmp_path: Path) -> None:
    (tmp_path / "corpus.json").write_text('{"language": "es", "repairs": {"tried": 2}, "of_another_version": 1}')
    assert Description.read(tmp_path) == Description(language="es", repairs=Repairs(tried=2))
    assert Description.find(tmp_path / "elsewhere") is Description.find(None) is None


def test_a_curated_corpus_is_described_in_one_file_for_all_that_read_it(tmp_path: Path) -> None:
    config = curate.Config(pairs=20, benchmark_items=8, prompts=None, parallel=None)
    curate.run(config, output=tmp_path)
    content = (tmp_path / "corpus.json").read_text()
    card = DataCard.read(tmp_path)
    assert card.sources["phrasebook"].rows_in == json.loads(content)["sources"]["phrasebook"]["in"] == 20
    assert Description.read(tmp_path).language == card.language == "en"
    card.write(tmp_path / "again")
    assert (tmp_path / "again" / "corpus.json").read_text() == content
