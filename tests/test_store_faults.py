"""Whatever a server or a network does, the store says so in one line, and nothing stands half written."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faulty_store import FAULTS, serving

from xlrm.errors import ArtifactError
from xlrm.store import buckets, objects
from xlrm.store.artifacts import digest_directory

URI = "s3://lab/x"
TAKEN_FOR_AN_ANSWER = {
    "a_portal": {"read", "write_new", "write", "list", "upload"},
    "half_a_page": {"read"},
    "no_length": {"read", "write_new", "write", "list"},
}
"""What S3 might have said: the content is checked by whoever reads it."""


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, list]]:
    """A port, and what its connections are answered with: the first, as long as there is a second, once."""
    answers: list[Callable[[socket.socket], None]] = []
    with serving(lambda connection: (answers.pop(0) if len(answers) > 1 else answers[0])(connection)) as port:
        yield port, answers


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ATTEMPTS": 2, "CONNECT_SECONDS": 1, "READ_SECONDS": 0.1}.items():
        monkeypatch.setattr(buckets, name, value)
    monkeypatch.setattr(buckets.time, "sleep", lambda seconds: None)  # between the tries, in boto3 too
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "none")


def actions(folder: Path):
    folder.mkdir()
    (folder / "a").write_bytes(b"1" * 1000)
    files = digest_directory(folder)[1]
    return {
        "read": lambda: objects.read_bytes(f"{URI}/r"),
        "write_new": lambda: objects.write_new(f"{URI}/r", b"1"),
        "write": lambda: objects.write(f"{URI}/r", b"1"),
        "list": lambda: objects.list_uris(URI),
        "stat": lambda: objects.stat(f"{URI}/r"),
        "upload": lambda: objects.upload_directory(folder, files, URI),
        "download": lambda: objects.download_directory(URI, files, folder.with_name("back")),
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_with_the_address(fault, server, monkeypatch, tmp_path) -> None:
    answered = set()
    port, answers = server
    answers[:] = [FAULTS[fault]]
    address = f"{'https' if fault.startswith('tls') else 'http'}://127.0.0.1:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    for name, act in actions(tmp_path / "local").items():
        try:
            act()
        except ArtifactError as error:
            assert "\n" not in str(error) and URI in str(error)
            assert address in str(error) or "corrupted" in str(error), f"{name}: {error}"
        else:
            answered.add(name)
    assert answered <= TAKEN_FOR_AN_ANSWER.get(fault, set())
    assert not list(tmp_path.rglob("back/*"))


def test_an_answer_that_is_cut_off_is_asked_for_again(server, monkeypatch) -> None:
    port, answers = server
    answers[:] = [FAULTS["closed_in_the_body"], FAULTS["a_portal"]]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    assert objects.read_bytes(f"{URI}/r").startswith(b"<html>") and len(answers) == 1


def test_what_a_killed_process_was_writing_is_removed_and_what_one_writes_is_not(tmp_path) -> None:
    uri = tmp_path.as_uri()
    with objects._folder_beside(tmp_path / "record", uri) as at_work:
        child = os.fork()
        if not child:
            with objects._folder_beside(tmp_path / "record", uri) as killed:
                (killed / "half").write_text("half")
                os._exit(9)
        os.waitpid(child, 0)
        (left,) = set(tmp_path.iterdir()) - {at_work}
        objects.write(objects.join(uri, "record"), b"1")
        assert at_work.is_dir() and not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["record"]
