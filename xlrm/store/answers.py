"""Kept answers of models: a second run, an added dataset or a resumed run asks only what is new.

A memory belongs to one use of one model: a translator with its pair of languages, or a judge. On the store it is a
folder of files, each written once and named by the digest of its content, so that shards and runs can add to it at
the same time. On a machine it is an SQLite file, so that its size hardly affects the use of RAM.
"""

import gzip
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from xlrm.errors import ArtifactError
from xlrm.store import addresses, objects

SECONDS_BETWEEN_FILES = 30
"""Longest time in seconds that an answer is only on this machine while others arrive: what a killed run loses that
continues on another machine."""
_KEYS_AT_ONCE = 500
_ROWS_A_FILE = 5000


class Memory:
    """Answers by (text, attempt). `kind` names the use and its folder on the store; `identity` is everything that an
    answer depends on except the text. `store` and `home` replace the usual places, for example by the folders of an
    unfinished stage."""

    def __init__(self, kind: str, identity: Mapping[str, object], store: str | None = None, home: Path | None = None):
        described = json.dumps(identity, sort_keys=True, ensure_ascii=False, allow_nan=False)
        name = hashlib.sha256(described.encode()).hexdigest()[:24]
        self.uri = objects.join(store or addresses.store(), kind, name)
        path = (home or addresses.home() / "cache") / kind / hashlib.sha256(self.uri.encode()).hexdigest()[:24]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.database = _open(path.with_suffix(".sqlite"))
        objects.write_new(objects.join(self.uri, "identity.json"), described.encode())
        self._receive()
        self._sent = time.monotonic()

    def look_up(self, texts: Iterable[str], attempt: int) -> dict[str, str | None]:
        """Known answers by text; None for a text that is known to get no complete answer."""
        keys = {_key(text, attempt): text for text in texts}
        answers = {}
        wanted = list(keys)
        for start in range(0, len(wanted), _KEYS_AT_ONCE):
            some = wanted[start : start + _KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            for key, answer in self.database.execute(f"select key, text from known where key in ({marks})", some):
                answers[keys[key]] = answer
        return answers

    def add(self, answers: Mapping[str, str | None], attempt: int) -> None:
        """Keeps answers on this machine at once, and on the store with the next `send`; sends now if the last `send`
        was some time ago."""
        rows = [(_key(text, attempt), answer) for text, answer in answers.items()]
        with self.database:
            self.database.executemany("insert or ignore into known values (?, ?, 0)", rows)
        if time.monotonic() - self._sent >= SECONDS_BETWEEN_FILES:
            self.send()

    def send(self) -> None:
        """Writes to the store the answers that it does not have yet."""
        self._sent = time.monotonic()
        while rows := self.database.execute(
            "select key, text from known where sent = 0 order by key limit ?", (_ROWS_A_FILE,)
        ).fetchall():
            lines = "".join(
                json.dumps([key.hex(), text], ensure_ascii=False, allow_nan=False) + "\n" for key, text in rows
            )
            data = gzip.compress(lines.encode(), compresslevel=3, mtime=0)
            name = f"{hashlib.sha256(data).hexdigest()}.jsonl.gz"
            objects.write_new(objects.join(self.uri, name), data)
            with self.database:
                self.database.execute("insert or ignore into files values (?)", (name,))
                self.database.executemany("update known set sent = 1 where key = ?", [(key,) for key, _ in rows])

    def close(self) -> None:
        self.send()
        self.database.close()

    def _receive(self) -> None:
        """Reads what other machines and runs have added to the store."""
        seen = {name for (name,) in self.database.execute("select name from files")}
        for uri in objects.list_uris(self.uri):
            name = uri.rsplit("/", 1)[1]
            if name.endswith(".jsonl.gz") and name not in seen:
                rows = _rows(uri, name)
                with self.database:
                    self.database.executemany("insert or ignore into known values (?, ?, 1)", rows)
                    self.database.execute("insert or ignore into files values (?)", (name,))


def _open(path: Path) -> sqlite3.Connection:
    """Opens the database. Several processes may have it open; each waits while another writes."""
    database = sqlite3.connect(path, timeout=60)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = normal")
    with database:
        database.execute(
            "create table if not exists known (key blob primary key, text text, sent integer not null) without rowid"
        )
        database.execute("create table if not exists files (name text primary key)")
        database.execute("create index if not exists unsent on known (sent) where sent = 0")
    return database


def _key(text: str, attempt: int) -> bytes:
    return hashlib.sha256(f"{attempt}\0{text}".encode()).digest()[:16]


def _rows(uri: str, name: str) -> list[tuple[bytes, str | None]]:
    data = objects.read_bytes(uri)
    if data is None or hashlib.sha256(data).hexdigest() != name.partition(".")[0]:
        raise ArtifactError("corrupted", where=uri, hint="delete it, and its answers are requested again")
    return [(bytes.fromhex(key), text) for key, text in map(json.loads, gzip.decompress(data).splitlines())]
