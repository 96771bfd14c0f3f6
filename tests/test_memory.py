"""What models said before: found by what they were asked, by any machine, and never mixed up."""

import gzip
import subprocess
import sys

import pytest
from refusals import refused

from xlrm.errors import ArtifactError
from xlrm.store import addresses, objects
from xlrm.store.answers import Memory

SPANISH = {"translator": "m", "revision": "1", "target": "es"}


def elsewhere(monkeypatch: pytest.MonkeyPatch, folder) -> None:
    """As on another machine: the store is the same, what is known locally is not."""
    monkeypatch.setenv("XLRM_STORE", addresses.store())
    monkeypatch.setenv("XLRM_HOME", str(folder))


def test_what_was_added_is_found_here_at_once_and_elsewhere_once_sent(monkeypatch, tmp_path) -> None:
    memory = Memory("words", SPANISH)
    memory.add({"one": "uno", "two": None}, attempt=0)
    assert Memory("words", SPANISH).look_up(["one", "two", "three"], 0) == {"one": "uno", "two": None}
    elsewhere(monkeypatch, tmp_path)
    assert Memory("words", SPANISH).look_up(["one"], 0) == {}
    memory.send()
    assert Memory("words", SPANISH).look_up(["one", "two"], 0) == {"one": "uno", "two": None}


def test_two_machines_add_to_one_memory(monkeypatch, tmp_path) -> None:
    here = Memory("words", SPANISH)
    here.add({f"text {i}": f"texto {i}" for i in range(6000)}, 0)
    here.send()
    elsewhere(monkeypatch, tmp_path)
    there = Memory("words", SPANISH)
    there.add({"last": "último"}, 0)
    there.send()
    elsewhere(monkeypatch, tmp_path / "third")
    texts = [f"text {i}" for i in range(6000)] + ["last"]
    assert len(Memory("words", SPANISH).look_up(texts, 0)) == 6001
    assert sum(uri.endswith(".gz") for uri in objects.list_uris(here.uri)) == 3


@pytest.mark.parametrize("other", [{"revision": "2"}, {"target": "it"}, {"prompt": "another"}])
def test_what_was_made_otherwise_is_not_found(other: dict) -> None:
    Memory("words", SPANISH).add({"one": "uno"}, 0)
    assert Memory("words", SPANISH | other).look_up(["one"], 0) == {}
    assert Memory("words", SPANISH).look_up(["one"], 1) == {}, "another attempt"


def test_a_killed_process_leaves_what_it_had_added(home) -> None:
    code = f"""
import os, signal
from xlrm.store.answers import Memory
Memory("words", {SPANISH!r}).add({{"one": "uno"}}, 0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    memory = Memory("words", SPANISH)
    assert memory.look_up(["one"], 0) == {"one": "uno"}
    memory.send()
    assert any(uri.endswith(".gz") for uri in objects.list_uris(memory.uri)), "and the next one sends it"


def test_a_damaged_file_is_named_and_not_believed(monkeypatch, tmp_path) -> None:
    memory = Memory("words", SPANISH)
    memory.add({"one": "uno"}, 0)
    memory.send()
    (uri,) = [uri for uri in objects.list_uris(memory.uri) if uri.endswith(".gz")]
    objects.local_path(uri).write_bytes(gzip.compress(b'["00", "wrong"]\n'))
    elsewhere(monkeypatch, tmp_path)
    with refused(ArtifactError, uri):
        Memory("words", SPANISH)


def test_it_works_on_s3(s3_store, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XLRM_STORE", s3_store.uri)
    memory = Memory("words", SPANISH)
    memory.add({"one": "uno"}, 0)
    memory.send()
    monkeypatch.setenv("XLRM_HOME", str(tmp_path))
    assert Memory("words", SPANISH).look_up(["one"], 0) == {"one": "uno"}
