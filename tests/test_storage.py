import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.awsrequest import AWSResponse
from pydantic import ValidationError
from refusals import refused

from xlrm.errors import ArtifactError
from xlrm.store import buckets, objects
from xlrm.store.artifacts import digest_directory
from xlrm.store.objects import FileEntry

CONTENT = {
    "config.json": b"{}\n",
    "empty": b"",
    ".hidden": b"seen\n",
    "data/train/part 1.jsonl": b"1" * 1000,
    "data/한국어.txt": "번역".encode(),
    "data/50%25 #1?&+.txt": b"odd name\n",
}


def write(directory: Path, content: dict[str, bytes] = CONTENT) -> tuple[FileEntry, ...]:
    for name, data in content.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return digest_directory(directory)[1]


def read(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_directory_comes_back_as_it_was(store, tmp_path):
    files = write(tmp_path / "local")
    objects.upload_directory(tmp_path / "local", files, store.uri)
    assert objects.list_uris(store.uri) == sorted(objects.join(store.uri, name) for name in CONTENT)
    objects.download_directory(store.uri, files, tmp_path / "back")
    assert read(tmp_path / "back") == CONTENT
    assert {path.name for path in tmp_path.iterdir()} <= {"local", "back", "store"}, "something unfinished is left"


def test_a_file_uri_may_be_percent_encoded(tmp_path):
    folder = tmp_path / "a b%20c"
    assert objects.write_new(objects.join(folder.as_uri(), "x y"), b"1")
    assert (folder / "x y").read_bytes() == b"1"
    assert objects.read_bytes(f"file://{tmp_path}/a b%2520c/x y") == b"1"


def test_a_large_file_goes_in_parts(s3_store, tmp_path):
    files = write(tmp_path / "local", {"model.bin": os.urandom(2 * buckets.PART_BYTES + 1), "small": b"1"})
    objects.upload_directory(tmp_path / "local", files, s3_store.uri)
    uri = objects.join(s3_store.uri, "model.bin")
    assert s3_store.client.head_object(**s3_store._name(uri))["ETag"].strip('"').endswith("-3")
    assert len(objects.list_uris(s3_store.uri)) == 2
    objects.download_directory(s3_store.uri, files, tmp_path / "back")
    assert read(tmp_path / "back") == read(tmp_path / "local")


def test_what_stands_there_is_not_sent_again(store, tmp_path, moved):
    files = write(tmp_path / "local")
    objects.upload_directory(tmp_path / "local", files, store.uri)
    assert len(moved) == len(CONTENT)
    moved.clear()
    objects.upload_directory(tmp_path / "local", files, store.uri)
    assert moved == []
    files = write(tmp_path / "local", {"config.json": b"[]\n"})  # as many bytes as before, but other ones
    objects.upload_directory(tmp_path / "local", files, store.uri)
    assert moved == ["config.json"]
    assert objects.read_bytes(objects.join(store.uri, "config.json")) == b"[]\n"


def test_what_is_here_is_not_fetched_again(store, tmp_path, moved):
    files = write(tmp_path / "local")
    objects.upload_directory(tmp_path / "local", files, store.uri)
    objects.download_directory(store.uri, files, tmp_path / "back")
    moved.clear()
    write(tmp_path / "back", {"config.json": b"[]\n"})
    objects.download_directory(store.uri, files, tmp_path / "back")
    assert moved == ["config.json"]
    assert read(tmp_path / "back") == CONTENT


@pytest.mark.parametrize("damage", [b"2" * 1000, b"1" * 999, b"1" * 1001, None])
def test_a_damaged_file_is_named_and_does_not_arrive(store, tmp_path, damage):
    files = write(tmp_path / "local", {"a": b"1", "b/c": b"1" * 1000})
    objects.upload_directory(tmp_path / "local", files, store.uri)
    uri = objects.join(store.uri, "b/c")
    if damage is None:
        store.delete(uri)
    else:
        store.overwrite(uri, damage)
    with pytest.raises(ArtifactError) as caught:
        objects.download_directory(store.uri, files, tmp_path / "back")
    assert uri in str(caught.value)
    assert ("missing" if damage is None else "corrupted") in str(caught.value)
    assert not (tmp_path / "back/b/c").exists()
    assert list((tmp_path / "back").rglob("*unfinished*")) == []


def test_a_file_that_changes_meanwhile_is_not_stored(store, tmp_path):
    files = write(tmp_path / "local", {"a": b"old"})
    (tmp_path / "local/a").write_bytes(b"new")
    with refused(ArtifactError, tmp_path / "local/a"):
        objects.upload_directory(tmp_path / "local", files, store.uri)
    assert objects.list_uris(store.uri) == []


def test_after_an_error_nothing_more_is_begun(tmp_path, monkeypatch, moved):
    monkeypatch.setattr(objects, "PARALLEL_FILES", 1)
    files = write(tmp_path / "local", dict.fromkeys("abcdefgh", b"1"))
    (tmp_path / "local/b").unlink()
    upload = objects._File.upload

    def slow_from_c_on(place, folder, source, entry):
        time.sleep(0.2 * (entry.path >= "c"))
        upload(place, folder, source, entry)

    monkeypatch.setattr(objects._File, "upload", slow_from_c_on)
    with refused(ArtifactError, (tmp_path / "store/b").as_uri()):
        objects.upload_directory(tmp_path / "local", files, (tmp_path / "store").as_uri())
    assert len(moved) <= 4


def test_a_small_file_is_written_once(store):
    uri = objects.join(store.uri, "record.json")
    assert objects.read_bytes(uri) is None
    assert objects.write_new(uri, b"first")
    assert not objects.write_new(uri, b"second")
    assert objects.read_bytes(uri) == b"first"
    assert objects.list_uris(store.uri) == [uri]
    assert objects.list_uris(objects.join(store.uri, "rec")) == []


def test_of_many_writers_one_wins(tmp_path):
    # Only on files: Swift lets several pass when they come within milliseconds.
    uri = (tmp_path / "record.json").as_uri()
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda number: objects.write_new(uri, b"%d" % number), range(16)))
    assert sum(won) == 1
    assert objects.read_bytes(uri) == b"%d" % won.index(True)


@pytest.fixture
def answers(s3_store):
    """Answers the next requests for an object instead of the server, and counts all requests."""
    queued, asked = [], []

    def answer(request, **_):
        asked.append(request.method)
        if not queued:
            return None  # let it reach the server
        status, code = queued.pop(0)
        reply = AWSResponse(request.url, status, {}, None)
        reply._content = f"<Error><Code>{code}</Code><Message>later</Message></Error>".encode()
        return reply

    events = buckets._client().meta.events
    events.register("before-send.s3", answer)
    yield queued, asked
    events.unregister("before-send.s3", answer)


def test_a_conflict_with_another_request_is_asked_again(s3_store, answers):
    queued, asked = answers
    queued.append((409, "ConditionalRequestConflict"))
    assert objects.write_new(objects.join(s3_store.uri, "record.json"), b"1")
    assert asked == ["PUT", "PUT"]


def test_a_busy_server_is_asked_again_and_given_up(s3_store, answers, monkeypatch):
    queued, asked = answers
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the attempts
    queued.append((503, "SlowDown"))
    assert objects.read_bytes(objects.join(s3_store.uri, "record.json")) is None
    assert asked == ["GET", "GET"]
    queued.extend([(503, "SlowDown")] * 9)
    with refused(ArtifactError, objects.join(s3_store.uri, "record.json")) as raised:
        objects.read_bytes(objects.join(s3_store.uri, "record.json"))
    assert raised.value.message.startswith("SlowDown from http")
    assert len(asked) == 2 + buckets.ATTEMPTS


@pytest.mark.parametrize(
    "uri", ["gs://bucket/x", "/tmp/store", "runs/store", "file://relative", "s3://", "s3:///x", "s3:/bucket", ""]
)
def test_other_uris_are_refused(uri):
    with pytest.raises(ArtifactError) as caught:
        objects.read_bytes(uri)
    assert f"'{uri}'" in str(caught.value)
    assert "file:///absolute/path and s3://bucket/prefix" in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://me:pass/word@bucket/x", "https://me:pass/word@host/x"])
def test_a_login_in_a_uri_is_not_repeated(uri):
    with pytest.raises(ArtifactError) as caught:
        objects.read_bytes(uri)
    assert "word" not in str(caught.value)


WRONG = {
    "secret": ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "set AWS_ACCESS_KEY_ID"),
    "key": ({"AWS_ACCESS_KEY_ID": "lab:nobody"}, "set AWS_ACCESS_KEY_ID"),
    "half": ({"AWS_SECRET_ACCESS_KEY": None}, "AWS_SECRET_ACCESS_KEY"),
    "none": ({"AWS_SECRET_ACCESS_KEY": None, "AWS_ACCESS_KEY_ID": None}, "set AWS_ACCESS_KEY_ID"),
    "address": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9: is AWS_ENDPOINT_URL right"),
    "login": ({"AWS_ENDPOINT_URL": "http://me:wrong-secret@127.0.0.1:9"}, "is AWS_ENDPOINT_URL right"),
    "no url": ({"AWS_ENDPOINT_URL": "localhost:9000"}, "localhost:9000: is AWS_ENDPOINT_URL right"),
    "profile": ({"AWS_PROFILE": "nobody"}, "AWS_PROFILE"),
}


@pytest.mark.parametrize(("changes", "hint"), WRONG.values(), ids=WRONG)
def test_a_store_that_cannot_be_used_is_explained(s3_store, tmp_path, monkeypatch, changes, hint):
    monkeypatch.setattr(buckets, "ATTEMPTS", 1)
    for name, value in changes.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    files = write(tmp_path / "local", {"a": b"1"})
    uri = objects.join(s3_store.uri, "a")
    for act in (
        lambda: objects.read_bytes(uri),
        lambda: objects.write_new(uri, b"1"),
        lambda: objects.upload_directory(tmp_path / "local", files, s3_store.uri),
        lambda: objects.download_directory(s3_store.uri, files, tmp_path / "back"),
        lambda: objects.list_uris(s3_store.uri),
    ):
        with pytest.raises(ArtifactError) as caught:
            act()
        assert s3_store.uri in str(caught.value)
        assert hint in str(caught.value)
        for secret in ("wrong-secret", os.environ.get("AWS_SECRET_ACCESS_KEY", "wrong-secret")):
            assert secret not in str(caught.value)


def test_a_missing_bucket_is_explained(s3, tmp_path):
    files = write(tmp_path / "local", {"a": b"1"})
    for act in (
        lambda: objects.read_bytes("s3://nobody-made-it/a"),
        lambda: objects.upload_directory(tmp_path / "local", files, "s3://nobody-made-it"),
        lambda: objects.write_new("s3://nobody-made-it/a", b"1"),
    ):
        with refused(ArtifactError, "s3://nobody-made-it/a") as raised:
            act()
        assert raised.value.message.startswith("NoSuchBucket")


def test_a_place_that_cannot_be_written_is_explained(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    uri = (tmp_path / "file/below").as_uri()
    with refused(ArtifactError, uri):
        objects.write_new(uri, b"1")
    with refused(ArtifactError, tmp_path.as_uri()):
        objects.read_bytes(tmp_path.as_uri())


def test_servers_without_checksums_can_be_used(s3_store, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    sent, events = [], buckets._client().meta.events
    events.register("before-send.s3.PutObject", lambda request, **_: sent.append(request.headers))
    files = write(tmp_path / "local", {"a": b"1"})
    objects.upload_directory(tmp_path / "local", files, s3_store.uri)
    assert len(sent) == 1
    assert not any("checksum" in name.lower() for name in sent[0])
    objects.download_directory(s3_store.uri, files, tmp_path / "back")


@pytest.mark.parametrize("path", ["../a", "a/../../b", "/etc/passwd", "", ".", "./a", "a//b", "a/"])
def test_a_path_cannot_lead_out_of_its_directory(path):
    with pytest.raises(ValidationError, match="plain relative path"):
        FileEntry(path=path, size=0, sha256="0" * 64)


def test_boto3_is_imported_only_when_needed():
    code = "import sys, xlrm.store.artifacts; sys.exit(bool({'boto3', 'botocore', 's3transfer'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_threads_that_write_side_by_side_do_not_take_each_others_work_for_leftovers(tmp_path) -> None:
    def write(number: int) -> None:
        for place in range(60):
            objects.write((tmp_path / f"{number}-{place}").as_uri(), b"x")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(16)))
    assert len(list(tmp_path.iterdir())) == 16 * 60
