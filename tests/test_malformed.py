"""Rows and files that are not what they should be: each is read, or refused in one line that names file and line."""

import gzip
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from refusals import refused

from xlrm.data import curation
from xlrm.errors import DataError, XlrmError
from xlrm.evaluation import benchmarks
from xlrm.scorers.interface import Scoring
from xlrm.scorers.score_file import score_file
from xlrm.store.json_values import DEEPEST, LONGEST
from xlrm.store.row_files import Reading, RowFile

GOOD = {
    "score": {"prompt": "How much is one plus two?", "response": "Three."},
    "curate": {"prompt": "How much is one plus two?", "chosen": "Three.", "rejected": "Four."},
    "evaluate": {"prompt": "How much is one plus two?", "chosen": "Three.", "rejected": "Four."},
}
FIELDS = {
    "score": ("prompt", "response", "messages", "id", "note"),
    "curate": ("prompt", "chosen", "rejected", "margin", "label", "id", "subset", "section", "note"),
    "evaluate": ("prompt", "chosen", "rejected", "id", "subset", "section", "weight", "note"),
}
VALUES = (
    "null", "7", "-1.5", "true", '""', '" "', "[]", "{}", "[1]", "[[]]", "[{}]", '["a"]', '[null]', '{"a": 1}',
    '[{"role": "user"}]', '[{"role": 1, "content": "a"}]', '[{"role": "user", "content": null}]',
    '[{"role": "", "content": "a"}]', '[{"role": "assistant", "content": [1]}]', '[{"from": "human", "value": 7}]',
    '{"role": "user", "content": "a"}', '"\\ud800"', '[{"role": "assistant", "content": "\\udfff"}]', '"a\\u0000b"',
    "NaN", "-Infinity", "1e999", "9" * 400, "[" * 70 + "]" * 70,
)  # fmt: skip
LINES = (
    b"null", b"7", b"[1, 2]", b"{}", b'"text"', b"{", b"{]", b'{"prompt": "a", "resp', b'{"prompt": "a"} {}', b"\xff\xfe",
    b'{"prompt": "Tr\xe9s"}', b"\x00", b'{"prompt": "\x00"}', b'{"prompt": "\t"}', b"{'prompt': 'a'}", b'{"prompt": "a",}',
    b'{"prompt": "a", "prompt": "b"}', b"[" * 10_000, b'{"a": ' * 10_000, b'{"n": ' + b"1" * 5000 + b"}", b"\xef\xbb\xbf{}",
    b"[" + b"1," * 60_000 + b"1]", b'{"\\ud800": 1}', b"undefined", b"\x1f\x8b\x08",
)  # fmt: skip


class Reached(Exception):
    """All rows were read and checked."""


def score(path: Path, folder: Path) -> None:
    def model() -> Path:
        raise Reached

    with pytest.raises(Reached):
        score_file(model, path, folder / "out.jsonl", Scoring(device="cpu"))


def curate(path: Path, folder: Path) -> None:
    loaded = curation.load_pairs(str(path), "en", 100, 42, max_reject_share=1.0)
    assert all(isinstance(reject["line"], int) and "\n" not in reject["reason"] for reject in loaded.rejects)
    curation.load_pairs(str(path), "en", 100, 42, max_reject_share=0.0)


def evaluate(path: Path, folder: Path) -> None:
    benchmarks.load(str(path), "en", None, 42)


DOORS: dict[str, Callable[[Path, Path], None]] = {"score": score, "curate": curate, "evaluate": evaluate}


def line(row: dict, field: str, value: str) -> bytes:
    others = {name: json.dumps(given) for name, given in row.items() if name != field}
    if field == "messages":
        others = {}
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in [*others.items(), (field, value)]) + "}").encode()


def rows_of(door: str) -> Iterator[bytes]:
    yield from LINES
    yield from (line(GOOD[door], field, value) for field in FIELDS[door] for value in VALUES)


def ending(door: str, path: Path, folder: Path) -> str:
    """How the door ended: `read`, or the place that its one line names."""
    try:
        DOORS[door](path, folder)
    except XlrmError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500, str(error)
        assert error.where.startswith(str(path)), str(error)
        first = str(error).partition("; the first: ")[2]  # curate names the line of the first row that it refuses
        return first or error.where
    finally:
        assert not (folder / "out.jsonl").exists() and not list(folder.glob("*.part"))
    return "read"


@pytest.mark.parametrize("door", DOORS)
def test_a_bad_row_between_good_ones(door: str, tmp_path: Path) -> None:
    good, path = json.dumps(GOOD[door]).encode(), tmp_path / "rows.jsonl"
    ends = {}
    for bad in rows_of(door):
        path.write_bytes(b"\n".join((good, bad, good)) + b"\n")
        ends[bad] = ending(door, path, tmp_path)
        assert ends[bad] == "read" or f"{path}:2" in ends[bad] or "line 2: " in ends[bad], (bad[:80], ends[bad])
    assert sum(end != "read" for end in ends.values()) > 100
    assert ends[line(GOOD[door], "note", "7")] == "read"


def tables(door: str) -> Iterator[tuple[str, bytes, bool]]:
    """(name, content, whether it can be read) of files that are wrong or unusual as a whole."""
    row = GOOD[door]
    text = "".join(json.dumps(row) + "\n" for _ in range(50)).encode()
    names, cells = ",".join(row), ",".join(row.values())
    yield "rows.jsonl", b"\xef\xbb\xbf" + text, True
    yield "rows.jsonl", text.decode().encode("utf-16"), True
    yield "rows.jsonl", text.decode().encode("utf-32"), True
    yield "rows.jsonl", text.replace(b"\n", b"\r\n"), True
    yield "rows.jsonl", text.replace(b"\n", b"\r"), True
    yield "rows.jsonl", b"\n\n" + text, True
    yield "rows.jsonl", text.decode().encode("utf-16")[:-1], False
    yield "rows.jsonl", json.dumps([row]).encode(), False
    yield "rows.jsonl", b'{"prompt": "' + b"a" * LONGEST + b'"}\n', False
    yield "rows.json", json.dumps([row] * 50, indent=1).encode(), True
    yield "rows.json", text, True
    for wrong in (b"[", b"[1]", b"[{}", b"[{},]", b"[{}]]", b"[{} {}]", b"[[{}]]", b"]", b'["', b"[" * 10_000):
        yield "rows.json", wrong, False
    yield "rows.json", json.dumps([row])[:-1].encode() + b', {"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}]", False
    yield "rows.csv", f"{names}\n{cells}\n".encode(), True
    yield "rows.csv", b"\xef\xbb\xbf" + f"{names}\r\n{cells}\r\n".encode(), True
    yield "rows.tsv", f"{names}\n{cells}\n".replace(",", "\t").encode(), True
    yield "rows.csv", f"{names}\n{cells},more\n".encode(), False
    yield "rows.csv", f"{names}\nalone\n".encode(), False
    yield "rows.csv", f"{names},prompt\n{cells},a\n".encode(), False
    yield "rows.csv", f'{names}\n"{cells}\n'.encode(), False
    yield "rows.csv", f'{names}\n"a"b{cells}\n'.encode(), False
    yield "rows.csv", f"question,answer\n{cells}\n".encode(), False
    yield "rows.csv", (f"{names}\n" + "a" * LONGEST + f"{cells}\n").encode(), False
    yield "rows.csv", (f"{names}\n" + '"' + "a\n" * (LONGEST // 2) + f'"{cells}\n').encode(), False
    for name in ("rows.jsonl", "rows.csv", "rows.parquet"):
        yield name, b"\x89PNG\r\n\x1a\n" + bytes(range(256)), False
    for name in ("rows.parquet", "rows.parquet.gz"):
        yield name, b"", False
    packed = gzip.compress(text)
    yield "rows.jsonl.gz", packed, True
    yield "rows.jsonl", packed, True
    yield "rows.jsonl.gz", packed[:-10], False
    yield "rows.jsonl.gz", packed[: len(packed) // 2], False
    yield "rows.jsonl.gz", packed[:20] + bytes(20) + packed[40:], False
    zstd = pyarrow.compress(text, "zstd", asbytes=True)
    yield "rows.jsonl.zst", zstd, True
    yield "rows.jsonl.zst", zstd[:-10], False
    yield "rows.jsonl.zst", zstd[:8] + bytes(8) + zstd[16:], False
    whole = parquet(row)
    yield "rows.parquet", whole, True
    yield "rows.parquet.zst", pyarrow.compress(whole, "zstd", asbytes=True), True
    yield "rows.parquet", whole[:-8], False
    yield "rows.parquet", whole[:40] + bytes(40) + whole[80:], False
    for extra in (
        pyarrow.array([Decimal("1.5")]), pyarrow.array([datetime(2026, 1, 1, tzinfo=UTC)]), pyarrow.array([b"text"]),
        pyarrow.array(["a"]).dictionary_encode(), pyarrow.array([None]), pyarrow.array([[{"a": None, "b": [None]}]]),
        pyarrow.array([[("a", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())), pyarrow.array([2**40], "duration[ms]"),
    ):  # fmt: skip
        yield "rows.parquet", parquet(row, extra), True
    for extra in (pyarrow.array([b"\xff"]), pyarrow.array([2**53], pyarrow.timestamp("ms"))):
        yield "rows.parquet", parquet(row, extra), False
    yield "rows.parquet", parquet(row, pyarrow.array(["a" * (LONGEST + 1)])), False


def parquet(row: dict, extra: Any = None) -> bytes:
    columns = {name: pyarrow.array([value]).dictionary_encode() for name, value in row.items()}
    table = pyarrow.table(columns if extra is None else columns | {"note": extra})
    pyarrow.parquet.write_table(table, content := io.BytesIO())
    return content.getvalue()


@pytest.mark.parametrize("door", DOORS)
def test_a_file_that_is_wrong_or_unusual_as_a_whole(door: str, tmp_path: Path) -> None:
    for name, content, readable in tables(door):
        path = tmp_path / name
        path.write_bytes(content)
        assert (ending(door, path, tmp_path) == "read") is readable, (name, content[:60])
        path.unlink()


def test_limits_are_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "b"}\n{"a": "' + "x" * LONGEST + '"}\n')
    with refused(DataError, f"{path}:2") as error:
        list(RowFile(str(path)).rows())
    assert f"{LONGEST:,} characters" in str(error.value)
    path.write_text('{"a": ' + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1) + "}\n")
    assert len(list(RowFile(str(path)).rows())) == 1
    path.write_text('{"a": ' + "[" * DEEPEST + "]" * DEEPEST + "}\n")
    with refused(DataError, f"{path}:1"):
        list(RowFile(str(path)).rows())
    path.write_text(json.dumps({"a": "[{" * 1000}) + "\n")
    assert len(list(RowFile(str(path)).rows())) == 1, "brackets in a text are not lists"


def test_bytes_of_another_encoding_are_refused_or_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"a": "b"}\n{"a": "Tr\u00e9s"}\n'.encode("latin-1"))
    with refused(DataError, f"{path}:2") as error:
        list(RowFile(str(path)).rows())
    assert "byte 0xe9 at byte 10 of the line" in str(error.value) and "--encoding latin-1" in error.value.hint
    assert [row["a"] for row in RowFile(str(path), Reading(encoding="latin-1")).rows()] == ["b", "Trés"]
