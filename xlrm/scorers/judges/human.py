"""People as judges: their verdicts from a file of rows, and the sheet that they fill in.

A row has `id` (of the prompt) and `preference`: 1, a or first for the response shown first, 2, b or second for the other,
1.5 or tie for neither; an empty one is not filled in. Which responses it is about follows

- from `pair`, which a sheet has: a digest of both texts in the order in which they were shown, so that it does not matter
  what a spreadsheet does to them;
- or from `first` and `second`, these texts: in both cases the verdict holds for them only, whichever system wrote them;
- or from `system` (or `labeler`), the name of the system in the results; the reference's response was shown first, unless
  `reference_first` is false.

Optional are `language`, `prompt`, `annotator` (who judged) and anything else.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from xlrm import progress
from xlrm.errors import ConfigError, DataError, GateError, within
from xlrm.scorers.judges import agreement
from xlrm.scorers.judges.pairs import Pair, coin
from xlrm.scorers.judges.verdicts import Verdicts, Voted
from xlrm.store.row_files import ALLOWED, RowFile, form_of

ENTRY = "human="
_PREFERENCES = {
    "1": 1.0, "a": 1.0, "first": 1.0, "2": 2.0, "b": 2.0, "second": 2.0, "1.5": 1.5, "tie": 1.5, "draw": 1.5,
}  # fmt: skip
_ALLOWED = "1, a or first; 2, b or second; 1.5 or tie; or nothing, are allowed"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_ALONE = "annotator"
"""Name of who judged, where the file names no one."""


@dataclass(frozen=True)
class Row:
    """A person's verdict."""

    id: str
    preference: float
    """1 for the response shown first, 2 for the other, 1.5 for neither."""
    shown: tuple[str, str] | None
    """The responses as they were shown; None in a file that names them in another way."""
    pair: str
    """Digest of the responses as they were shown (`digest`); empty without one."""
    system: str
    reference_first: bool
    annotator: str


@dataclass(frozen=True)
class HumanJudge:
    """People. Each person's verdict is one of the judgement's, so that it is the mean of several people's."""

    file: str
    """File of their verdicts, as `xlrm.store.row_files` reads it, with {language} for the code of the language."""

    def judge(self, pairs: Sequence[Pair], language: str, max_missing_share: float) -> Verdicts:
        """A pair without a verdict has an unreadable one. Raises DataError for a file or row that cannot be read, and for
        verdicts on none of the pairs; GateError if more than `max_missing_share` of the pairs have none."""
        rows = read(self.file.replace("{language}", language), language)
        by_id: dict[str, list[Row]] = {}
        for row in rows:
            by_id.setdefault(row.id, []).append(row)
        by_pair = [_of_pair(by_id.get(pair.id, ()), pair) for pair in pairs]
        missing = sum(not votes for votes in by_pair)
        progress.say(f"judge[human]: {len(rows):,} verdicts; {missing:,} of {len(pairs):,} pairs have none")
        if pairs and missing > max_missing_share * len(pairs):
            raise GateError(
                f"{missing:,} of {len(pairs):,} pairs have no verdict in {self.file}, more than allowed",
                where="judge.max_missing_share", value=max_missing_share,
                hint="fill in the sheet further, or allow more; pairs without a verdict are left out of the win rate",
            )  # fmt: skip
        return Verdicts([_judgement(votes) for votes in by_pair], agreement=_agreement(by_pair))


def find(file: str) -> HumanJudge:
    """Raises ConfigError for what is not named like a file of rows."""
    if form_of(file) is None:
        raise ConfigError(f"{ALLOWED}, is required", value=f"{ENTRY}{file}")
    return HumanJudge(file)


def read(file: str, language: str) -> list[Row]:
    """The verdicts in a file on responses in a language. Raises DataError, with line and field, for a row without what it
    needs, and for another preference."""
    rows = []
    for number, row in RowFile(file).numbered():
        with within(f"{file}:{number}: "):
            preference = _preference(row)
            if preference is not None and row.get("language") in (None, "", language):
                rows.append(_row(row, preference))
    return rows


def sheet(pairs: Iterable[Pair], language: str, seed: int, per_system: int | None = None) -> list[dict]:
    """Rows for people to fill in `preference` and `annotator`: responses without the names of their systems, in an order
    that follows from seed, prompt and responses, pairs in one too. A pair of equal responses is left out, and one that
    several systems give is there once. `per_system`: number of pairs of each system, those of the first prompts by the seed,
    which are the same for all systems as far as their responses differ from the reference's."""
    rows: dict[bytes, dict] = {}
    for pair in _chosen(pairs, seed, per_system):
        a_first = coin(seed, f"{pair.id}\0{pair.b}")
        first, second = (pair.a, pair.b) if a_first else (pair.b, pair.a)
        key = hashlib.sha256("\0".join([str(seed), pair.id, *sorted((first, second))]).encode()).digest()
        if first != second and key not in rows:
            texts = {"pair": digest(pair.id, first, second), "prompt": pair.prompt, "first": first, "second": second}
            rows[key] = {"id": pair.id, "language": language, **texts, "preference": "", "annotator": ""}
    return [rows[key] for key in sorted(rows)]


def _chosen(pairs: Iterable[Pair], seed: int, per_system: int | None) -> Iterable[Pair]:
    if per_system is None:
        return pairs
    by_system: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair.a != pair.b:
            by_system.setdefault(pair.system, []).append(pair)
    chosen = (sorted(own, key=lambda pair: _digest(seed, pair.id))[:per_system] for own in by_system.values())
    return [pair for own in chosen for pair in own]


def _digest(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def digest(prompt_id: str, first: str, second: str) -> str:
    """Name of two responses to a prompt in the order in which they are shown. It begins with a letter, so that no
    spreadsheet takes it for a number."""
    return f"p{hashlib.sha256(json.dumps([prompt_id, first, second]).encode()).hexdigest()[:16]}"


def _preference(row: Mapping[str, object]) -> float | None:
    """None where nothing is filled in."""
    if "preference" not in row:
        raise DataError("missing", where="preference", hint=_ALLOWED)
    given = row["preference"]
    text = f"{given:g}" if isinstance(given, int | float) and not isinstance(given, bool) else str(given or "").strip()
    if not text:
        return None
    if text.lower() not in _PREFERENCES:
        raise DataError(_ALLOWED, where="preference", value=given)
    return _PREFERENCES[text.lower()]


def _row(row: Mapping[str, object], preference: float) -> Row:
    if row.get("id") in (None, ""):
        raise DataError("the id of the prompt is required", where="id", value=row.get("id"))
    shown = (row.get("first"), row.get("second"))
    system = str(row.get("system") or row.get("labeler") or "")
    texts = (shown[0], shown[1]) if isinstance(shown[0], str) and isinstance(shown[1], str) else None
    pair = str(row.get("pair") or "")
    if texts is None and not system and not pair:
        raise DataError(
            "required: the responses as they were shown, or the name of the system", where="first, second or system"
        )
    given = str(row.get("reference_first") if row.get("reference_first") is not None else "").strip().lower() or "true"
    if given not in _BOOLEANS:
        raise DataError("true and false are allowed", where="reference_first", value=row.get("reference_first"))
    annotator = str(row.get("annotator") or _ALONE)
    return Row(str(row["id"]), preference, texts, pair, system, _BOOLEANS[given], annotator)


def _of_pair(rows: Iterable[Row], pair: Pair) -> dict[str, float]:
    """Annotator -> preference between a and b. Raises DataError for two verdicts of the same person."""
    votes: dict[str, float] = {}
    for row in rows:
        if row.pair:
            both = (digest(pair.id, pair.a, pair.b), digest(pair.id, pair.b, pair.a))
            fits, a_first = row.pair in both, row.pair == both[0]
        elif row.shown is None:
            fits, a_first = row.system == pair.system, row.reference_first
        else:
            fits, a_first = set(row.shown) == {pair.a, pair.b}, row.shown[0] == pair.a
        if not fits:
            continue
        if row.annotator in votes:
            raise DataError(
                "two verdicts of this person on the same responses",
                where=f"item {pair.id}: annotator",
                value=row.annotator,
            )
        votes[row.annotator] = row.preference if a_first else 3 - row.preference
    return votes


def _judgement(votes: Mapping[str, float]) -> Voted:
    """Judgement with as many verdicts as people, all for the order a, b; an unreadable one without any."""
    given = tuple(votes.values()) or (None,)
    return Voted((True,) * len(given), given, votes=votes)


def _agreement(by_pair: Sequence[Mapping[str, float]]) -> list[agreement.JudgesAgreement]:
    people = dict.fromkeys(name for votes in by_pair for name in votes)
    return agreement.of_all({name: [votes.get(name) for votes in by_pair] for name in people})
