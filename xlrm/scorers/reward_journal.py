"""Rewards of an unfinished run, in a file and on the store, with which a killed run continues.

A record is one batch: a digest of what its rewards depend on (model, settings and the token ids of the whole batch), the
rewards, and a checksum. So it does not matter who wrote a record, in which order, or for which input: a batch gets the
rewards of the same batch, or it is computed. A continued run forms the same batches, so its rewards are those of a run
that was not interrupted.
"""

import errno
import hashlib
import json
import os
import re
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from xlrm import progress
from xlrm.errors import ArtifactError
from xlrm.store import answers, objects, provenance, unfinished
from xlrm.store.fields import counted

SECONDS_BETWEEN_SYNCS = 5
"""Longest time in seconds that a reward is not on the disk while others arrive: what a power failure loses. A killed
process loses the batch that it computes."""
_DIGEST = 16
_SUM = 8
_NAME = re.compile(r"[0-9a-f]{16}\.journal")
_NAME_LENGTH = len("0123456789abcdef.journal")


@dataclass
class Journal:
    """Rewards by batch, in a file. If `uri` is set, the file is also copied to the store, so that another machine can
    continue, without the rewards of the last `answers.SECONDS_BETWEEN_FILES` seconds."""

    path: Path
    identity: str
    """What the rewards depend on besides the batch; records of another identity are not used."""
    uri: str | None = None
    _known: dict[bytes, array] | None = None
    _synced: float = field(default_factory=time.monotonic)
    _sent: float = field(default_factory=time.monotonic)

    @classmethod
    def beside(cls, output: Path, name: str) -> "Journal":
        """Journal of a stage with this output folder, beside it and on the store. Its identity is the stage's key."""
        uri = objects.join(unfinished.address(output), f"{name}.journal")
        return cls(output.parent / f"{name}.journal", "/".join(uri.split("/")[-3:]), uri)

    @classmethod
    def of_file(cls, output: Path, model: str, settings: BaseModel) -> "Journal":
        """Journal beside a file of rewards, only on this machine. Its identity, of which its name has a digest, is
        `model` (a digest of the model's content), the fields of `settings` that count, the code and the libraries."""
        module = "xlrm.scorers.parallel"
        lines = [
            model, json.dumps(counted(settings), sort_keys=True, allow_nan=False),
            provenance.code_version(module), json.dumps(provenance.versions(module), sort_keys=True, allow_nan=False),
        ]  # fmt: skip
        identity = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return cls(output.with_name(f".{output.name}.{identity[:16]}.journal"), identity)

    def find(self, batch: Sequence[Sequence[int]]) -> list[float] | None:
        """The saved rewards of a batch of sequences of token ids, or None."""
        if self._known is None:
            self._known = self._read()
        rewards = self._known.get(self._digest(batch))
        return None if rewards is None else rewards.tolist()

    def append(self, batch: Sequence[Sequence[int]], rewards: Sequence[float]) -> None:
        """Saves the rewards of a batch. Raises ArtifactError if the file cannot be written."""
        body = self._digest(batch) + len(rewards).to_bytes(4, "little") + array("d", rewards).tobytes()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:
                file.write(body + self._sum(body))
                if time.monotonic() - self._synced >= SECONDS_BETWEEN_SYNCS:
                    os.fsync(file.fileno())
                    self._synced = time.monotonic()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise ArtifactError(
                f"the rewards so far cannot be written: {error.strerror}", where=self.path,
                hint="free some space, and the same command continues" if full else "choose another output",
            ) from error  # fmt: skip
        if self.uri and time.monotonic() - self._sent >= answers.SECONDS_BETWEEN_FILES:
            self._send(self.uri)

    def remove(self) -> None:
        """Removes the file, and those of earlier runs for the same output with another model or other settings."""
        for file in self.path.parent.glob(".*.journal"):
            if file == self.path or _NAME.fullmatch(file.name.removeprefix(self.path.name[:-_NAME_LENGTH])):
                file.unlink(missing_ok=True)

    def _read(self) -> dict[bytes, array]:
        """Rewards by the digest of their batch. Cuts off what follows the last whole record: a killed process leaves half
        of one, and a file of another identity has none. Copies a missing file from the store."""
        if self.uri and not self.path.exists() and (kept := objects.read_bytes(self.uri)):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(kept)
        if not self.path.exists():
            return {}
        content, end = self.path.read_bytes(), 0
        known: dict[bytes, array] = {}
        for digest, rewards, end in self._records(content):  # noqa: B007
            known[digest] = rewards
        if end < len(content):
            os.truncate(self.path, end)
        if known:
            progress.say(f"continues with {sum(map(len, known.values())):,} rewards of an interrupted run")
        return known

    def _records(self, content: bytes) -> Iterator[tuple[bytes, array, int]]:
        """(digest, rewards, end) of each record up to the first that is not whole."""
        start = 0
        while True:
            first = start + _DIGEST + 4
            count = int.from_bytes(content[start + _DIGEST : first], "little")
            end = first + 8 * count
            if content[end : end + _SUM] != self._sum(content[start:end]):
                return
            yield content[start : start + _DIGEST], array("d", content[first:end]), end + _SUM
            start = end + _SUM

    def _digest(self, batch: Sequence[Sequence[int]]) -> bytes:
        digest = hashlib.blake2b(self.identity.encode(), digest_size=_DIGEST)
        for ids in batch:
            digest.update(len(ids).to_bytes(4, "little") + array("I", ids).tobytes())
        return digest.digest()

    def _sum(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self.identity.encode()[:64], digest_size=_SUM).digest()

    def _send(self, uri: str) -> None:
        """Copies the file to the store; if that fails, only logs it, as the next call sends the whole file again."""
        self._sent = time.monotonic()
        try:
            objects.write(uri, self.path.read_bytes())
        except ArtifactError as error:
            progress.say(f"the rewards so far are only on this machine, not in the store: {error}")
