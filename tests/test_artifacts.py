import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from refusals import refused
from test_storage import read

from xlrm.errors import ArtifactError
from xlrm.store import artifacts, objects

FACTS = {
    "stage": "reward",
    "key": "k1",
    "config": {"base_model": "tiny", "rate": 1e-5, "languages": ["ko", "en"], "nested": {"한": None}},
    "inputs": {"train": [{"uri": "s3://lab/translate/t1", "digest": "0" * 64}]},
    "metrics": {"accuracy/ko/chat": 0.75},
    "code_version": "c1",
    "git_commit": "0123abc",
    "image": None,
    "versions": {"torch": "2.13.0"},
    "started": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "seconds": 1.5,
    "peak_memory_mib": 100.0,
    "mlflow_run_id": None,
}
CONTENT = {"a.json": b"{}", "b/c.bin": b"1" * 5000, "b/d 한.txt": b"d", "e": b"", "f": b"f"}


def write(directory: Path, content: dict[str, bytes] = CONTENT) -> Path:
    for name, data in content.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return directory


@pytest.fixture
def uri(store) -> str:
    return objects.join(store.uri, "reward", "k1")


@pytest.fixture
def local(tmp_path) -> Path:
    return write(tmp_path / "local")


def test_an_artifact_comes_back_as_it_was(uri, local, tmp_path):
    assert artifacts.find(uri) is None
    record = artifacts.publish(local, uri, **FACTS)
    assert record == artifacts.find(uri) == artifacts.load(uri)
    assert {name: getattr(record, name) for name in FACTS} | {"inputs": FACTS["inputs"]} == FACTS
    assert record.inputs["train"][0].uri == "s3://lab/translate/t1"
    assert [(entry.path, entry.size) for entry in record.files] == [(name, len(CONTENT[name])) for name in CONTENT]
    assert read(artifacts.fetch(uri, tmp_path / "cache")) == CONTENT


def test_the_files_stand_under_their_digest_and_the_record_above(uri, local):
    record = artifacts.publish(local, uri, **FACTS)
    files = [objects.join(uri, record.digest[:16], name) for name in CONTENT]
    assert objects.list_uris(uri) == sorted([*files, objects.join(uri, "artifact.json")])
    text = objects.read_bytes(objects.join(uri, "artifact.json")).decode()
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def test_a_digest_says_names_and_bytes_and_nothing_else(tmp_path):
    digest, files = artifacts.digest_directory(write(tmp_path / "one", {"b": b"1", "a/c": b"2"}))
    listing = [["a/c", hashlib.sha256(b"2").hexdigest()], ["b", hashlib.sha256(b"1").hexdigest()]]
    assert digest == hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    assert [entry.path for entry in files] == ["a/c", "b"]
    same = write(tmp_path / "two", {"a/c": b"2", "b": b"1"})
    os.utime(same / "b", (0, 0))
    assert artifacts.digest_directory(same) == (digest, files)
    for name, other in enumerate([{"b": b"1", "a/c": b"3"}, {"b": b"1", "a/d": b"2"}, {"b": b"1"}]):
        assert artifacts.digest_directory(write(tmp_path / f"other{name}", other))[0] != digest


def test_only_directories_of_files_can_be_published(tmp_path):
    uri = (tmp_path / "store").as_uri()
    (tmp_path / "empty/below").mkdir(parents=True)
    link = write(tmp_path / "link", {"a": b"1"}) / "b"
    link.symlink_to("a")
    (write(tmp_path / "folder link", {"a": b"1"}) / "b").symlink_to(tmp_path)
    os.mkfifo(write(tmp_path / "pipe", {"a": b"1"}) / "b")
    write(tmp_path / "name", {"a": b"1"})
    os.close(os.open(bytes(tmp_path / "name") + b"/\xff", os.O_CREAT | os.O_WRONLY))
    for name in ("missing", "empty", "link", "folder link", "pipe", "name", "link/a"):
        with pytest.raises(ArtifactError) as raised:
            artifacts.publish(tmp_path / name, uri, **FACTS)
        assert raised.value.where.startswith(str(tmp_path / name))
    assert not (tmp_path / "store").exists()


def test_a_folder_that_cannot_be_read_is_not_left_out(local, tmp_path, monkeypatch):
    scandir = os.scandir

    def denied(path):  # not by chmod: root may read everything
        if Path(path) == local / "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with refused(ArtifactError, local / "b"):
        artifacts.digest_directory(local)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metrics", {"accuracy": float("nan")}),
        ("config", {"rate": float("inf")}),
        ("config", {"function": len}),
        ("started", datetime(2026, 1, 2)),
        ("started", datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=9)))),
        ("colour", "red"),
    ],
)
def test_facts_that_cannot_be_recorded_store_nothing(tmp_path, local, name, value):
    uri = (tmp_path / "store").as_uri()
    with refused(ArtifactError, uri) as raised:
        artifacts.publish(local, uri, **FACTS | {name: value})
    assert name in raised.value.message
    assert not (tmp_path / "store").exists()


def test_a_missing_artifact_is_named(uri):
    with refused(ArtifactError, uri):
        artifacts.load(uri)


GARBLED = {
    "cut": lambda text: text[:100],
    "empty": lambda text: "",
    "field missing": lambda text: text.replace('"seconds": 1.5,', ""),
    "field unknown": lambda text: text.replace('"seconds"', '"minutes": 1, "seconds"'),
    "digest of other files": lambda text: text.replace('"a.json"', '"z.json"'),
    "no files": lambda text: json.dumps(json.loads(text) | {"files": [], "digest": hashlib.sha256(b"[]").hexdigest()}),
    "file outside": lambda text: text.replace('"a.json"', '"../a.json"'),
}


@pytest.mark.parametrize("garble", GARBLED.values(), ids=GARBLED)
def test_a_garbled_record_is_named(store, uri, tmp_path, garble):
    artifacts.publish(write(tmp_path / "local", {"a.json": b"{}"}), uri, **FACTS)
    where = objects.join(uri, "artifact.json")
    text = objects.read_bytes(where).decode()
    assert garble(text) != text
    store.overwrite(where, garble(text).encode())
    for act in (artifacts.find, artifacts.load, lambda uri: artifacts.fetch(uri, tmp_path / "cache")):
        with refused(ArtifactError, where) as raised:
            act(uri)
        assert uri in raised.value.hint


@pytest.mark.parametrize("damage", [b"2" * 5000, None])
def test_a_damaged_file_is_named(store, uri, local, tmp_path, damage):
    record = artifacts.publish(local, uri, **FACTS)
    where = objects.join(uri, record.digest[:16], "b/c.bin")
    if damage is None:
        store.delete(where)
    else:
        store.overwrite(where, damage)
    with refused(ArtifactError, where):
        artifacts.fetch(uri, tmp_path / "cache")


def test_what_is_published_is_not_sent_again(uri, local, moved):
    first = artifacts.publish(local, uri, **FACTS)
    assert len(moved) == len(CONTENT)
    assert artifacts.publish(local, uri, **FACTS | {"seconds": 99.0}) == first
    assert len(moved) == len(CONTENT)


def test_an_upload_that_fails_leaves_no_artifact_and_goes_on_later(uri, local, tmp_path, monkeypatch, moved):
    monkeypatch.setattr(objects, "PARALLEL_FILES", 1)
    digest, files = artifacts.digest_directory(local)
    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "digest_directory", lambda _: (digest, files))
        (local / "f").write_bytes(b"g")  # after it was read: the last file fails
        with pytest.raises(ArtifactError) as raised:
            artifacts.publish(local, uri, **FACTS)
        assert raised.value.where.endswith("/f"), "the local file, or the object that refuses it"
    assert artifacts.find(uri) is None
    assert moved.pop() == "f"
    assert len(moved) == 4
    moved.clear()
    write(local)
    artifacts.publish(local, uri, **FACTS)
    assert moved == ["f"]
    assert read(artifacts.fetch(uri, tmp_path / "cache")) == CONTENT


KILLED = """
import os, signal, sys
from pathlib import Path
from test_artifacts import FACTS
from xlrm.store import artifacts, buckets, objects

calls = 0
def die_third_time(*_, **__):
    global calls
    calls += 1
    if calls == 3:
        os.kill(os.getpid(), signal.SIGKILL)

objects.PARALLEL_FILES = 1
local, uri = Path(sys.argv[1]), sys.argv[2]
"""
BEFORE_A_RENAME = """
replace = os.replace
os.replace = lambda *names: (die_third_time(), replace(*names))
artifacts.publish(local, uri, **FACTS)
"""
BEFORE_A_REQUEST = """
buckets._client().meta.events.register("before-send.s3.PutObject", die_third_time)
artifacts.publish(local, uri, **FACTS)
"""
BEFORE_THE_RECORD = """
objects.write_new = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
artifacts.publish(local, uri, **FACTS)
"""
WHILE_FETCHING = """
buckets._client().meta.events.register("before-send.s3.GetObject", die_third_time)
artifacts.fetch(uri, local)
"""


def run_until_killed(code: str, *arguments: object) -> None:
    """Runs a program that has to end by its own SIGKILL."""
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    command = [sys.executable, "-c", KILLED + code, *map(str, arguments)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr


@pytest.mark.parametrize(("moment", "sent"), [("file", 2), ("record", 5)])
def test_a_killed_publish_leaves_no_artifact_and_goes_on_later(store, uri, local, tmp_path, moved, moment, sent):
    in_between = BEFORE_A_RENAME if store.uri.startswith("file:") else BEFORE_A_REQUEST
    run_until_killed(BEFORE_THE_RECORD if moment == "record" else in_between, local, uri)
    assert artifacts.find(uri) is None
    assert len(objects.list_uris(uri)) == sent, "a file that was not sent whole is not listed"
    record = artifacts.publish(local, uri, **FACTS)
    assert len(moved) == len(CONTENT) - sent
    assert read(artifacts.fetch(uri, tmp_path / "cache")) == CONTENT
    assert artifacts.find(uri) == record


def test_a_killed_fetch_goes_on_later(s3_store, local, tmp_path, moved):
    uri, cache = objects.join(s3_store.uri, "reward", "k1"), tmp_path / "cache"
    record = artifacts.publish(local, uri, **FACTS)
    run_until_killed(WHILE_FETCHING, cache, uri)
    assert list(cache.rglob(f"{objects.UNFINISHED}*"))
    moved.clear()
    assert artifacts.fetch(uri, cache) == cache / record.digest
    assert read(cache / record.digest) == CONTENT
    assert len(moved) == len(CONTENT) - 1
    assert not list(cache.rglob(f"{objects.UNFINISHED}*"))


def test_a_fetched_artifact_is_kept_and_mended(s3_store, local, tmp_path, moved):
    uri, cache = objects.join(s3_store.uri, "reward", "k1"), tmp_path / "cache"
    artifacts.publish(local, uri, **FACTS)
    path = artifacts.fetch(uri, cache)
    moved.clear()
    assert artifacts.fetch(uri, cache) == path
    assert moved == []
    (path / "f").write_bytes(b"g")
    assert read(artifacts.fetch(uri, cache)) == CONTENT
    assert moved == ["f"]


def test_who_fetches_at_once_downloads_once(s3_store, local, tmp_path, moved):
    uri, cache = objects.join(s3_store.uri, "reward", "k1"), tmp_path / "cache"
    artifacts.publish(local, uri, **FACTS)
    moved.clear()
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: artifacts.fetch(uri, cache), range(4)))
    assert len(paths) == 1
    assert read(paths.pop()) == CONTENT
    assert len(moved) == len(CONTENT)


def test_a_store_on_this_machine_is_read_in_place_and_not_touched(tmp_path, local):
    uri = (tmp_path / "store/reward/k1").as_uri()
    record = artifacts.publish(local, uri, **FACTS)
    folders = [tmp_path / "store/reward/k1", tmp_path / "store/reward/k1" / record.digest[:16]]
    before = [folder.stat().st_mtime_ns for folder in folders]
    assert artifacts.fetch(uri, tmp_path / "cache") == folders[1]
    assert [folder.stat().st_mtime_ns for folder in folders] == before
    assert not (tmp_path / "cache").exists()


def publish_as(writer: int, local: Path, uri: str, facts: dict) -> artifacts.Record:
    return artifacts.publish(local, uri, **facts | {"peak_memory_mib": float(writer)})


def test_writers_at_once_agree(store, uri, local, tmp_path):
    # On Swift, which may let two records pass, the writers write the same one.
    writers = range(3) if store.uri.startswith("file:") else [0, 0, 0]
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(publish_as, writer, local, uri, FACTS) for writer in writers]
        records = [one.result() for one in waiting]
    assert all(record == artifacts.load(uri) for record in records)
    assert read(artifacts.fetch(uri, tmp_path / "cache")) == CONTENT


def test_the_first_record_counts_when_two_writers_differ(uri, local, tmp_path, monkeypatch):
    other = write(tmp_path / "other", {"a.json": b"[]", "extra": b"1"})
    write_new = objects.write_new

    def overtaken(where: str, data: bytes) -> bool:
        monkeypatch.setattr(objects, "write_new", write_new)
        artifacts.publish(other, uri, **FACTS | {"image": "other"})
        return write_new(where, data)

    monkeypatch.setattr(objects, "write_new", overtaken)
    record = artifacts.publish(local, uri, **FACTS)
    assert record.image == "other"
    assert record == artifacts.load(uri)
    assert read(artifacts.fetch(uri, tmp_path / "cache")) == {"a.json": b"[]", "extra": b"1"}


def test_a_cache_that_cannot_be_written_is_named(s3_store, local, tmp_path):
    uri = objects.join(s3_store.uri, "reward", "k1")
    artifacts.publish(local, uri, **FACTS)
    with pytest.raises(ArtifactError) as raised:
        artifacts.fetch(uri, local / "f")
    assert str(local / "f") in raised.value.where
