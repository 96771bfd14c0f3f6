"""The choice of the prompts to align on among those that passed validation."""

from collections.abc import Sequence

from xlrm import progress
from xlrm.data.corpora import Corpus
from xlrm.data.corpus_schema import CORPUS_PROMPTS
from xlrm.validation.report import Kept

_FILE = CORPUS_PROMPTS.file


def choose(corpora: Sequence[Corpus], kept: Kept, count: int | None) -> Kept:
    """The kept ids, of prompts for alignment `count` in each language; None for all. The first are those that passed in
    the source and in all its translations, in the order of the corpus; where those are too few, the first of the others
    that passed in the language follow. Prompts for judging stay."""
    having = [corpus for corpus in corpora if _FILE in corpus.files]
    if count is None or not having:
        return kept
    train = {corpus.language.code: _for_alignment(corpus, kept[corpus.language.code][_FILE]) for corpus in having}
    related = [corpus.language.code for corpus in having if corpus.translated or corpus is corpora[0]]
    shared = set.intersection(*(set(train[code]) for code in related)) if related else set()
    chosen = dict(kept)
    for code, ids in train.items():
        first = sorted(ids, key=lambda row_id: row_id not in shared)[:count]  # stable: in the order of the corpus
        left_out = set(ids).difference(first)
        chosen[code] = kept[code] | {_FILE: [row_id for row_id in kept[code][_FILE] if row_id not in left_out]}
        _say(code, count, first, shared)
    return chosen


def _for_alignment(corpus: Corpus, ids: Sequence[str]) -> list[str]:
    rows = corpus.rows(_FILE)
    there = zip(ids, rows.at([rows.first[row_id] for row_id in ids]), strict=True)
    return [row_id for row_id, row in there if row and row["split"] == "train"]


def _say(code: str, count: int, chosen: Sequence[str], shared: set[str]) -> None:
    own = sum(row_id not in shared for row_id in chosen)
    if own or len(chosen) < count:
        missing = f", {count - len(chosen)} fewer than asked for" if len(chosen) < count else ""
        progress.say(
            f"validate[{code}]: {len(chosen)} prompts to align on, {own} of them not in every language{missing}"
        )
