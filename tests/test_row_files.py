"""Users' files: every format is read to the same rows and written from them; columns, standard input and S3."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from refusals import refused
from swift_server import S3Store

from xlrm.data import catalog, reading
from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.stages import curate
from xlrm.store import outputs
from xlrm.store.jsonl import each_row, read_rows
from xlrm.store.row_files import Reading, RowFile, form_of
from xlrm.store.row_writers import Output

ROWS = [
    {"prompt": 'Say "hi",\nplease.', "response": "Hi;\tthere\r\nHi.\rHi.", "label": 0.5},
    {"prompt": "¿Qué hora es?", "response": "三点。", "label": 1.0},
]


def packed(content: bytes, ending: str) -> bytes:
    if ending == ".gz":
        return gzip.compress(content)
    return pyarrow.compress(content, "zstd", asbytes=True) if ending == ".zst" else content


def contents(form: str) -> bytes:
    if form == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), file := io.BytesIO())
        return file.getvalue()
    if form == "json":
        return json.dumps(ROWS, indent=2).encode()
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(ROWS[0]), delimiter="," if form == "csv" else "\t")
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_all_formats_are_the_same_rows(form: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"Rows.{form.upper()}{ending}"
    path.write_bytes(packed(contents(form), ending))
    assert read_rows(path) == list(each_row(str(path))) == ROWS
    assert catalog.is_file(str(path)) and catalog.stem(str(path)) == "Rows"


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_what_is_written_is_what_is_read(form: str, ending: str, tmp_path: Path) -> None:
    rows = [ROWS[0], ROWS[1] | {"messages": [{"role": "user", "content": "a"}]}]
    output = Output.named(tmp_path / f"out.{form}{ending}")
    for row in rows:
        output.see(row)
    output.learn()
    assert output.write(iter(rows)) == 2
    assert [path.name for path in tmp_path.iterdir()] == [f"out.{form}{ending}"]
    read = read_rows(tmp_path / f"out.{form}{ending}")
    assert [{key: value for key, value in row.items() if value is not None} for row in read] == rows
    packing = {"": b"", ".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}[ending]
    assert (tmp_path / f"out.{form}{ending}").read_bytes().startswith(packing)


def test_a_column_of_several_types_cannot_be_parquet(tmp_path: Path) -> None:
    output = Output.named(tmp_path / "out.parquet")
    output.see({"a": 1})
    output.see({"a": "text"})
    with refused(DataError, tmp_path / "out.parquet"):
        output.learn()


def test_an_error_while_rows_are_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        Output.named(tmp_path / "out.jsonl").write({"a": 1 // i} for i in (1, 0))
    assert not list(tmp_path.iterdir())


def test_other_names_are_no_files_of_rows() -> None:
    assert [form_of(name) for name in ("a.txt", "a", "jsonl", "a.jsonl.bz2", "a.b.csv")] == [None] * 4 + ["csv"]


def test_cells_of_csv_are_text_except_numbers_and_messages(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('response,label,messages,id\n42,True,"[{""role"": ""user""}]",007\n,,,\n')
    assert read_rows(path) == [
        {"response": "42", "label": True, "messages": [{"role": "user"}], "id": "007"},
        {"response": "", "label": None, "messages": None, "id": ""},
    ]
    path.write_text("response,label\na,good\n")
    with refused(DataError, f"{path}:2: label", "good"):
        read_rows(path)


@pytest.mark.parametrize(("mark", "ending"), [(";", "csv"), ("\t", "csv"), ("|", "csv"), (",", "tsv"), (";", "tsv")])
def test_other_separators_are_named(mark: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{ending}"
    path.write_text(f"prompt{mark}response\r\na, b{mark}c\r\n")
    with refused(DataError, f"{path}:1", f"prompt{mark}response") as error:
        read_rows(path)
    assert repr(mark) in str(error.value)


def test_truth_values_as_spreadsheets_write_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("response,label\na,TRUE\nb,FALSE\nc,True\nd,false\n")
    assert [row["label"] for row in read_rows(path)] == [True, False, True, False]


def test_a_row_of_csv_is_named_by_the_line_on_which_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a,b\n"x\ny",1\n\n"p\nq",1,2\n')
    with refused(DataError, f"{path}:5"):
        read_rows(path)


def test_columns_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "q", "prompt": "old"}\n{"question": "r", "better": "b"}\n')
    named = Reading({"prompt": "question", "chosen": "better"})
    assert read_rows(path, reading=named) == [
        {"question": "q", "prompt": "q"}, {"question": "r", "better": "b", "prompt": "r", "chosen": "b"},
    ]  # fmt: skip
    with refused(DataError, path, "worse") as error:
        read_rows(path, reading=Reading({"rejected": "worse"}))
    assert error.value.hint == "there are question, prompt, better"
    assert len(read_rows(path, reading=Reading({"rejected": "worse"}, everywhere=False))) == 2


def test_options_for_columns_and_encoding() -> None:
    assert reading.of_options(["prompt=q,chosen=a", "rejected=b=c"], "latin-1") == Reading(
        {"prompt": "q", "chosen": "a", "rejected": "b=c"}, "latin-1"
    )
    for columns, encoding, where, value in (
        (["prompt"], None, "--columns", "prompt"), (["prompt=a,prompt=b"], None, "--columns", "prompt=b"),
        (["promt=a"], None, "--columns", "promt=a"), (["prompt="], None, "--columns", "prompt="),
        ([], "latin-99", "--encoding", "latin-99"), ([], "base64", "--encoding", "base64"),
    ):  # fmt: skip
        with refused(ConfigError, where, value):
            reading.of_options(columns, encoding)


def test_curate_takes_columns_and_encoding(tmp_path: Path) -> None:
    pairs = "".join(f"question {i}?;good, {i}é;bad, {i}\n".replace(";", "\t") for i in range(12))
    (tmp_path / "pairs.tsv").write_bytes(("question\tbetter\tworse\n" + pairs).encode("latin-1"))
    (tmp_path / "bench.csv").write_text("prompt,chosen,worse\nWhich one?,This.,That.\n")
    columns = {"prompt": "question", "chosen": "better", "rejected": "worse"}
    given = {"preferences": (str(tmp_path / "pairs.tsv"),), "benchmark": str(tmp_path / "bench.csv"), "prompts": None,
             "parallel": None, "near_duplicates": 1.0}  # fmt: skip
    made = curate.Config.model_validate(given | {"columns": columns, "encoding": "latin-1"})
    curate.run(made, output=tmp_path / "en")
    rows = read_rows(tmp_path / "en" / "preferences.jsonl")
    assert [row["chosen"] for row in rows] == [f"good, {i}é" for i in range(12)]
    assert read_rows(tmp_path / "en" / "benchmark.jsonl")[0]["rejected"] == "That."
    wrong = curate.Config.model_validate(given | {"columns": columns | {"margin": "by"}, "encoding": "latin-1"})
    with refused(DataError, tmp_path / "pairs.tsv", "by"):
        curate.run(wrong, output=tmp_path / "wrong")
    with refused(DataError, f"{tmp_path / 'pairs.tsv'}:2"):
        curate.run(curate.Config.model_validate(given | {"columns": columns}), output=tmp_path / "utf8")


def test_columns_of_a_dataset_of_the_hub_have_other_names_too(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.jsonl").write_text('{"question": "q", "better": "b", "worse": "w"}\n' * 2)
    entry, columns = f"hub:{tmp_path / 'mine'}", {"prompt": "question", "chosen": "better", "rejected": "worse"}
    loaded = catalog.load_pairs(entry, "en", None, 0, Reading(columns))
    assert [{key: row[key] for key in columns} for row in loaded.rows] == [
        {"prompt": "q", "chosen": "b", "rejected": "w"}
    ] * 2
    with refused(DataError, entry, "nothing") as error:
        catalog.load_pairs(entry, "en", None, 0, Reading({"prompt": "nothing"}))
    assert error.value.hint == "there are question, better, worse"


@pytest.mark.parametrize("text", [7, ["a"], {"a": "b"}, True])
def test_texts_to_translate_are_texts(text: object, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"text": "One."}) + "\n\n" + json.dumps({"text": text}) + "\n")
    with refused(DataError, f"{path}:3: text", text):
        catalog.load(catalog.PARALLEL, str(path), "en", None, 42, ("text",))


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "tsv", "parquet", "jsonl.gz", "csv.zst"])
def test_standard_input_is_read_once_whatever_its_format(form: str) -> None:
    plain, _, ending = form.partition(".")
    program = (
        "import json; from xlrm.store.row_files import RowFile; table = RowFile('-');"
        "print(json.dumps([list(table.rows()), list(RowFile('-').rows())]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], input=packed(contents(plain), f".{ending}"), capture_output=True, check=True
    )
    assert json.loads(ended.stdout) == [ROWS, ROWS]


def test_an_object_of_s3_is_downloaded_again_only_if_it_changed(s3_store: S3Store, tmp_path: Path, monkeypatch) -> None:
    from xlrm.store import objects

    monkeypatch.setenv("XLRM_HOME", str(tmp_path))
    uri = f"{s3_store.uri}/mine/pairs.jsonl.gz"
    with refused(ArtifactError, uri):
        read_rows(uri)
    objects.write(uri, gzip.compress(contents("jsonl")))
    digest = catalog.fingerprint([uri])
    assert read_rows(uri) == ROWS and catalog.stem(uri) == "pairs"
    (copy,) = catalog.local_files(uri)
    before = os.stat(copy).st_mtime_ns
    assert catalog.local_files(uri) == [copy] and os.stat(copy).st_mtime_ns == before
    assert catalog.fingerprint([str(copy)]) == digest
    objects.write(uri, gzip.compress(contents("json").replace(b"\n", b"")[1:-1].replace(b"},", b"}\n")))
    assert catalog.fingerprint([uri]) != digest and len(read_rows(uri)) == 2


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet"])
def test_memory_does_not_grow_with_the_rows(form: str, tmp_path: Path) -> None:
    output = Output.named(tmp_path / f"rows.{form}")
    row = {"prompt": "a" * 1000, "response": "b" * 1000}
    output.see(row)
    output.learn()
    output.write(row for _ in range(20_000))  # 40 MB
    tracemalloc.start()
    try:
        assert sum(1 for _ in RowFile(str(output.path)).rows()) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


def test_an_output_that_cannot_be_made_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    outputs.check_file(tmp_path / "new" / "deep" / "out.jsonl")
    outputs.check_file(tmp_path / "file")
    outputs.check_folder(tmp_path / "new" / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    for path in (
        tmp_path / "folder",
        tmp_path / "file" / "x",
        tmp_path / ("n" * 250),
        Path("/proc/x"),
        Path("/dev/full"),
    ):
        with refused(ConfigError, "--output", str(path)):
            outputs.check_file(path)
    for path in (tmp_path / "file", tmp_path / "file" / "x", Path("/proc/x/y")):
        with refused(ConfigError, "--output", str(path)):
            outputs.check_folder(path)


def test_places_of_state_and_store_are_checked(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XLRM_HOME", str(tmp_path / "file"))
    with refused(ConfigError, "XLRM_HOME", str(tmp_path / "file")):
        outputs.check_places("s3://bucket/store")
    monkeypatch.setenv("XLRM_HOME", str(tmp_path))
    with refused(ConfigError, "XLRM_STORE", str(tmp_path / "file" / "store")):
        outputs.check_places(f"file://{tmp_path}/file/store")
