"""Loading of Seahorse: ratings as published, joined with the documents of GEM's sets by their ids."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from xlrm import progress
from xlrm.data import hub_sets, summaries
from xlrm.data.hub_sets import Loaded, Source
from xlrm.errors import DataError
from xlrm.store import archives, hub
from xlrm.store.row_files import RowFile

NAME = "seahorse"
_DOCUMENTS_IN = ("validation", "test")
"""Splits of GEM that Seahorse's documents are from (its paper; paper B, appendix A)."""


def _no_rows(records: Iterable[dict]) -> Iterator[dict]:
    raise NotImplementedError("its records are joined with documents")


SOURCE = Source(
    NAME, summaries.ARCHIVE, "cc-by-4.0", _no_rows, languages=tuple(summaries.SEAHORSE_COUNTS), splits=hub_sets.TRAINED,
    paper_b=summaries.SEAHORSE_COUNTS,
)  # fmt: skip


def load(source: Source, language: str, beside: Iterable[str]) -> Loaded:
    """The single judgments in a language. `beside`: entries of the config for GEM's sets, for documents from other places than
    the Hub. Raises ArtifactError for files or documents that are unavailable, DataError for other files than Seahorse's."""
    folder = _folder(archives.unpacked(source.repository), source.repository)
    documents = _documents(language, beside)
    rows: list[dict] = []
    rejects: list[dict] = []
    left_out: Counter[str] = Counter()
    read = 0
    for split, name in summaries.FILES.items():
        records = list(RowFile(str(folder / name)).numbered())
        read += len(records)
        made, refused, skipped = summaries.judgments(records, language, documents)
        rows += [{"id": f"{NAME}-{language}-{split}-{i}", **row, "split": split} for i, row in enumerate(made)]
        rejects, left_out = rejects + refused, left_out + skipped
    if left_out:
        listed = ", ".join(f"{count:,} {label}" for label, count in sorted(left_out.items()))
        progress.say(f"{NAME}: in {language}, summaries rated neither Yes nor No are left out: {listed}")
    facts = hub_sets.origin(source.repository, source.revision, None, source.licence, records=read, rows=len(rows))
    facts = facts.model_copy(update={"left_out": dict(left_out)})
    return hub_sets.with_splits(Loaded(rows, facts, rejects), source.paper_b.get(language))


def _folder(folder: Path, source: str) -> Path:
    """The folder with Seahorse's files, in an unpacked archive."""
    for file in sorted(folder.rglob(summaries.FILES["train"])):
        if (
            "duplicates" not in file.relative_to(folder).parts
            and (file.parent / summaries.FILES["validation"]).is_file()
        ):
            return file.parent
    raise DataError(f"no folder with {' and '.join(summaries.FILES.values())}", where=source)


def _documents(language: str, beside: Iterable[str]) -> summaries.Documents:
    named = {name: (repository, revision) for name, repository, revision in map(hub.parse_entry, beside)}
    documents: dict[str, tuple[str, str]] = {}
    for name, counts in summaries.SFT_COUNTS.items():
        if language in counts:
            source = hub_sets.SOURCES[name].at(*named.get(name, (None, None)))
            read = replace(source, splits=_DOCUMENTS_IN, paper_b={})
            documents |= {row["id"]: (name, row["prompt"]) for row in hub_sets.load(read, language).rows}
    return documents
