"""Responses of policies, as the stage `sample` writes them and other stages read them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm.errors import DataError
from xlrm.store.json_file import JsonFile
from xlrm.store.jsonl import read_rows

Split = Literal["train", "eval"]
OF_A_RESPONSE = ("responses", "finished", "languages")
"""Fields of a row that are lists, with an entry for each response."""


def file(place: int, split: str, language: str) -> str:
    """Path, in a folder of `sample`, of the responses of its policy number `place` (from 0) in a language."""
    return f"{place}/{split}/{language}.jsonl"


def read(folders: Sequence[Path], place: int, split: Split, language: str) -> list[dict]:
    """Rows with id, prompt, responses, finished (whether the policy ended the response itself) and languages (the
    identified one of each response, null if unknown), in the order of the corpus.

    `folders`: what `sample` wrote, the shards in their order. Raises DataError for a missing file, a row without a field
    or with fields of different lengths, and a prompt that two shards have."""
    rows: list[dict] = []
    known: set[str] = set()
    for folder in folders:
        path = folder / file(place, split, language)
        if not path.is_file():
            raise DataError("no such file; the stage `sample` writes it", where=path)
        for row in read_rows(path, ("id", "prompt", *OF_A_RESPONSE)):
            if len({len(row[field]) for field in OF_A_RESPONSE}) > 1:
                lengths = {field: len(row[field]) for field in OF_A_RESPONSE}
                raise DataError("lists of the same length are required", where=f"{path}: {row['id']}", value=lengths)
            if row["id"] in known:
                raise DataError("twice among the shards; name each shard once", where=f"{path}: id", value=row["id"])
            known.add(row["id"])
            rows.append(row)
    return rows


class Counts(BaseModel):
    """Counts of a policy's responses to the prompts of a split in one language."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    prompts: int
    responses: int
    distinct: int
    """Responses without those equal to an earlier one to the same prompt."""
    empty: int
    """Responses without text; prompts that the policy refuses are among them."""
    cut: int
    """Responses that the policy did not end itself."""
    other_language: int
    """Responses identified as in another language than the prompt's."""
    unknown_language: int
    """Responses too short to identify their language, or in a language that cannot be identified."""
    mean_characters: float

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the responses, by what is counted."""
        names = ("distinct", "empty", "cut", "other_language")
        return {f"{name}_share": getattr(self, name) / max(1, self.responses) for name in names}

    @classmethod
    def of(cls, rows: Iterable[dict], language: str) -> "Counts":
        """Counts of rows as `read` returns them."""
        rows = list(rows)
        texts = [text for row in rows for text in row["responses"]]
        identified = [code for row in rows for code in row["languages"]]
        own = language.partition("_")[0]
        return cls(
            prompts=len(rows), responses=len(texts), distinct=sum(len(set(row["responses"])) for row in rows),
            empty=sum(not text for text in texts), cut=sum(not ended for row in rows for ended in row["finished"]),
            other_language=sum(code is not None and code != own for code in identified),
            unknown_language=identified.count(None), mean_characters=sum(map(len, texts)) / max(1, len(texts)),
        )  # fmt: skip


class SampleCounts(JsonFile):
    """Counts of what a step of `sample` generated."""

    FILE: ClassVar[str] = "samples.json"
    WRITTEN_BY: ClassVar[str] = "the stage `sample` writes it"

    shard: tuple[int, int] = (1, 1)
    """Number of the shard of the prompts, from 1, and number of shards."""
    decoding: dict[str, dict[str, Any]] = Field({})
    """Split -> everything that decided on the tokens of its responses, or where they were taken from."""
    policies: list[dict[str, dict[str, Counts]]]
    """For each policy: split -> language -> counts."""

    def temperature(self, split: str) -> float | None:
        """Temperature at which the responses of a split were drawn, 0 for greedy ones; None if it is not known."""
        return self.decoding.get(split, {}).get("temperature")


def metrics(policies: Sequence[Mapping[str, Mapping[str, Counts]]]) -> dict[str, float]:
    """Flat metrics of `SampleCounts.policies`: responses and cut ones in all, and for each policy, split and language the
    shares of distinct, empty, cut and other-language responses."""
    flat: dict[str, float] = {}
    every = [counts for policy in policies for split in policy.values() for counts in split.values()]
    for place, policy in enumerate(policies):
        for split, of_split in policy.items():
            for language, counts in of_split.items():
                of = "/".join([*([str(place)] if len(policies) > 1 else []), split, language])
                flat |= {f"{name}/{of}": share for name, share in counts.shares.items()}
    return {"responses": float(sum(c.responses for c in every)), "cut": float(sum(c.cut for c in every))} | flat
