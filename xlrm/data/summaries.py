"""Documents with their summaries from the GEM benchmark, as rows of demonstrations, and the human ratings of Seahorse (Clark et
al. 2023), which name GEM's documents by their ids.

Columns follow the loaders of GEM's sets and Seahorse's README. The ids of WikiLingua are those of GEM 1.1, in which `target` is
the English summary and `target_aligned` has the summary in each language.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from xlrm.data import wikilingua
from xlrm.errors import DataError

Record = dict[str, Any]
Row = dict[str, Any]
FILES = {"train": "train.tsv", "validation": "validation.tsv"}
"""Split -> file of Seahorse. Its test set is not read, nor the folder `duplicates`, whose items overlap with the splits."""
ARCHIVE = "https://storage.googleapis.com/seahorse-public/seahorse_data.zip"
_LABELS = {"yes": 1.0, "no": 0.0}
_AXIS = "question6"
"""Conciseness, the axis of paper B (appendix A): it encapsulates the others."""
_TABLES = "refs/convert/parquet"
"""The Hub's own copy of a dataset whose repository holds a program, as tables: a folder for each language, with one for each
split in it."""
_NAMES = {"de": "german", "en": "english", "es": "spanish", "ru": "russian", "tr": "turkish", "vi": "vietnamese"}
GEM = (
    ("xsum", "GEM/xsum", "cc-by-sa-4.0", "document", _TABLES, {"en": "xsum"}),
    (
        "xlsum", "GEM/xlsum", "cc-by-nc-sa-4.0", "text", _TABLES,
        {code: _NAMES[code] for code in ("en", "es", "ru", "tr", "vi")},
    ),
    ("mlsum", "GEM/mlsum", "mlsum-research", "text", _TABLES, {"de": "de", "es": "es"}),
    (
        "wikilingua", wikilingua.ARCHIVES, "cc-by-nc-sa-3.0", "source", "main",
        {code: f"wiki_lingua_{name}_{code}" for code, name in _NAMES.items()},
    ),
)  # fmt: skip
"""Name, repository, licence (of GEM's card), column of the document, revision, and folder of each language. WikiLingua is that
of GEM 1.1, whose ids Seahorse has, and which is no set of the Hub."""
Documents = Mapping[str, tuple[str, str]]
"""Id of GEM -> (dataset, document)."""


def rows_of(subset: str, document: str) -> Callable[[Iterable[Record]], Iterator[Row]]:
    """Function from records to rows whose prompt is the document and whose response is its summary. `document`: the column of
    the document."""

    def rows(records: Iterable[Record]) -> Iterator[Row]:
        for record in records:
            summary = _own(record["target_aligned"]) if subset == "wikilingua" else record["target"]
            yield {"id": record["gem_id"], "prompt": record[document], "response": summary, "subset": subset}

    return rows


def _own(aligned: Mapping[str, str]) -> str:
    """The summary in the document's language, of those in it and in English."""
    return next((text for code, text in aligned.items() if code != "en" and text is not None), aligned["en"])


def judgments(
    records: Iterable[tuple[int, Record]], language: str, documents: Documents
) -> tuple[list[Row], list[Row], Counter[str]]:
    """Single judgments of Seahorse's records in a language, its rejects (a record whose document is missing), and how many
    records were left out, by what they have instead of Yes or No: their summary was not comprehensible, or the rater was
    unsure. Raises DataError for a file without the columns."""
    rows: list[Row] = []
    rejects: list[Row] = []
    skipped: Counter[str] = Counter()
    for line, record in records:
        if missing := {"gem_id", "worker_lang", "summary", _AXIS} - record.keys():
            raise DataError("no such column", where=", ".join(sorted(missing)), hint="a file of Seahorse as published")
        if str(record["worker_lang"]).partition("-")[0] != language:
            continue
        label = _LABELS.get(str(record[_AXIS] or "").strip().lower())
        if label is None:
            skipped[str(record[_AXIS] or "") or "nothing"] += 1
        elif record["gem_id"] not in documents:
            reason = f"no document of GEM has the id {record['gem_id']!r}"
            rejects.append({"line": line, "reason": reason})
        else:
            subset, document = documents[record["gem_id"]]
            rows.append({"prompt": document, "response": record["summary"], "label": label, "subset": subset})
    return rows, rejects, skipped


# Paper B (Wu et al. 2024), appendix A: language -> instances for training and for validation.
SFT_COUNTS = {
    "mlsum": {"de": (220748, 8932), "es": (259888, 8374)},
    "wikilingua": {
        "de": (40839, 3699), "en": (99020, 12021), "es": (79212, 9730), "ru": (37028, 3209), "tr": (3148, 194),
        "vi": (13707, 679),
    },
    "xsum": {"en": (23206, 642)},
    "xlsum": {
        "en": (306522, 9690), "es": (38110, 3170), "ru": (62243, 5492), "tr": (27176, 1953), "vi": (32111, 2341),
    },
}  # fmt: skip
"""Table 1, by dataset: after the exclusion of Seahorse's training instances from the validation sets."""
SEAHORSE_COUNTS = {
    "de": (8389, 1250), "en": (14031, 2071), "es": (8741, 1310), "ru": (7679, 1112), "tr": (7855, 1096), "vi": (7844, 1166),
}  # fmt: skip
"""Table 2."""
