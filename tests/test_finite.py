"""Numbers that are not finite pass nowhere: not as rows, not in a training, not in weights, rewards or fingerprints."""

import json
import math
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from xlrm.data import catalog, hub_sets, pair_records
from xlrm.errors import DataError
from xlrm.stages import curate, evaluate, reward
from xlrm.store import jsonl
from xlrm.store.jsonl import each_row, read_rows, stream

PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}
NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "-1e400")
"""As JSON text, of which Python's reader makes numbers."""


def line(number: str, field: str = "margin") -> str:
    return f'{json.dumps(PAIR)[:-1]}, "{field}": {number}}}\n'


# Rows


@pytest.mark.parametrize("number", NUMBERS)
def test_every_reader_names_file_line_and_field(number: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(line("0.5") + line(number))
    for read in (read_rows, lambda path: list(each_row(path)), lambda path: list(stream(path))):
        with pytest.raises(DataError, match=r"rows\.jsonl:2: 'margin' is -?(nan|inf); a finite number is allowed"):
            read(path)
    _, rejects = pair_records.read_pairs(path)
    assert [reject["line"] for reject in rejects] == [2] and "'margin' is" in rejects[0]["reason"]


def test_a_number_within_a_row_is_named_by_its_way(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "p", "scores": [1, {"a": NaN}]}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:1: 'scores\.1\.a' is nan"):
        read_rows(path)
    path.write_text('{"margin": NaN, "margin": 1}\n')
    with pytest.raises(DataError, match="'a field' is NaN"):
        read_rows(path)
    path.write_text('{"margin": ' + "9" * 5000 + "}\n")
    with pytest.raises(DataError, match="not JSON"):
        read_rows(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_parquet_is_read_by_the_same_rule(value: float, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = [PAIR | {"margin": 1.0, "other": 1.0}, PAIR | {"margin": value, "other": 1.0}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(DataError, match=r"rows\.parquet:2: 'margin' is -?(nan|inf)"):
        read_rows(path)
    pairs, rejects = pair_records.read_pairs(path)
    assert len(pairs) == 1 and [reject["line"] for reject in rejects] == [2]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([PAIR | {"margin": None, "other": value}]), path)
    assert pair_records.read_pairs(path) == ([PAIR], []), "a column that is not read does not matter"


@pytest.mark.parametrize("value", ["NaN", "0.5", True, [1], 10**400, 1e39, math.nan])
def test_a_margin_is_a_number_that_float32_has(value: object) -> None:
    with pytest.raises(DataError, match=r"'margin' is .*; a finite number is allowed"):
        pair_records.pair_of(PAIR | {"margin": value})
    for right in (0, -2, 0.5, 3.4e38):
        assert pair_records.pair_of(PAIR | {"margin": right})["margin"] == right


def test_margins_of_known_datasets_are_numbers_too(tmp_path: Path) -> None:
    records = [{"prompt": "p", "response": text, "helpfulness": helpful} for text, helpful in (("a", 4.0), ("b", 1.0))]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
    assert catalog.load_pairs(f"helpsteer2={tmp_path}", "en", 9, 0).rows[0]["margin"] == 3
    records[1]["helpfulness"] = math.nan
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "train.parquet")
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(DataError, match=rf"{tmp_path} at 'main': row 1: 'margin' is nan"):
        hub_sets.load(hub_sets.SOURCES["helpsteer2"].at(str(tmp_path), None), "en", None, 0)


def test_curate_rejects_the_row_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [json.dumps({"prompt": f"Say {i}", "chosen": f"{i}!", "rejected": "no", "margin": 0.5}) for i in range(30)]
    path.write_text("\n".join([*rows[:20], rows[20].replace("0.5", "NaN"), *rows[21:]]) + "\n")
    output = tmp_path / "output"
    output.mkdir()
    config = {"preferences": (str(path),), "prompts": None, "parallel": None, "benchmark_items": 28}
    assert curate.run(curate.Config(**config), output=output)["dropped_rejected"] == 1
    (reject,) = read_rows(output / "rejects.jsonl")
    assert reject["line"] == 21 and reject["reason"] == "'margin' is nan; a finite number is allowed"
    assert {row["margin"] for row in read_rows(output / "preferences.jsonl")} == {0.5}


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("preferences", "margin", "NaN"),
        ("preferences", "margin", '"NaN"'),
        ("heldout", "margin", "1e39"),
        ("preferences", "label", "Infinity"),
        ("benchmark", "weight", '"2"'),
        ("benchmark", "weight", "NaN"),
    ],
)
def test_rows_of_a_corpus_made_elsewhere_are_checked_where_they_are_read(file, field, value, tmp_path: Path) -> None:
    folder = tmp_path / "corpora" / "en"
    folder.mkdir(parents=True)
    rows = [line("0.5"), line("0.5")]
    for name in ("preferences", "heldout", "benchmark"):
        whole = [row.replace("{", '{"id": "a", "subset": "s", "section": "S", ', 1) for row in rows]
        if name == file:
            whole[1] = whole[1].replace('"margin": 0.5', f'"{field}": {value}')
        (folder / f"{name}.jsonl").write_text("".join(whole))
    with pytest.raises(DataError, match=rf"{file}\.jsonl:2: '{field}' is "):
        if file == "benchmark":
            config = evaluate.Config(language="en")
            evaluate.run(config, model=tmp_path, corpora=tmp_path / "corpora", output=tmp_path)
        else:
            config = reward.Config(language="en", margin=True)
            reward.run(config, base=tmp_path, corpora=tmp_path / "corpora", output=tmp_path)


def test_nothing_is_written_that_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        jsonl.write_jsonl(tmp_path / "rows.jsonl", [{"reward": math.nan}])
    assert not (tmp_path / "rows.jsonl").exists()
