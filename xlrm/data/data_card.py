"""The account of a curated corpus: the terms of use of its sources, and how many rows of each were kept."""

from collections.abc import Collection, Iterable
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm import markdown_table
from xlrm.data import licences
from xlrm.data.cleaning import CLEANED, REASONS, Counts
from xlrm.data.corpus_schema import Description
from xlrm.data.hub_sets import PAPER_A, PAPER_A_PAIRS, Origin
from xlrm.store import hub

Origins = dict[str, dict[str, Origin]]
"""Purpose -> entry of the config -> origin."""

_TRAINED_ON = ("preferences", "prompts", "demonstrations")


class Division(BaseModel):
    """Numbers of prompts, or of the documents that prompts are about, on both sides of what is held out."""

    model_config = ConfigDict(frozen=True)

    of: Literal["prompts", "documents"]
    training: int
    held_out: int
    both: int
    """In both parts."""


class DataCard(Description):
    """corpus.json of a curated corpus."""

    INDENT: ClassVar[int | None] = 2

    licences: dict[str, str]
    """Entry of the config -> licence, for the preference pairs and the demonstrations."""
    non_commercial: bool
    """Whether a licence of the pairs, of the prompts for alignment or of the demonstrations forbids commercial use."""
    unknown_terms: tuple[str, ...]
    """Entries whose licence nobody stated, which permits nothing."""
    sources: dict[str, Counts]
    """Entry of the config -> counts of its pairs."""
    origins: Origins
    training_pairs: int = 0
    """Pairs for training, without those held out."""
    prompts: dict[str, Counts] = Field(default_factory=dict)
    """Entry of the config -> counts of its prompts for alignment."""
    demonstrations: dict[str, Counts] = Field(default_factory=dict)
    """Entry of the config -> counts of its demonstrations."""
    left_in: tuple[str, ...] = ()
    """Reasons for which no row was dropped, since the config leaves them out."""
    division: Division | None = None
    """What the pairs are divided by into those for training and those held out, if the config names it."""


def card(
    language: str,
    origins: Origins,
    sources: dict[str, Counts],
    prompts: dict[str, Counts] | None = None,
    training_pairs: int = 0,
    clean: Collection[str] = CLEANED,
    demonstrations: dict[str, Counts] | None = None,
    division: Division | None = None,
) -> DataCard:
    """`sources`: counts of the pairs; `prompts` and `demonstrations`: of the prompts for alignment and of the demonstrations,
    None if there are none; `clean`: reasons for which rows were dropped."""
    trained = {entry: origin.licence for use in _TRAINED_ON for entry, origin in origins.get(use, {}).items()}
    return DataCard(
        language=language,
        licences={
            entry: origin.licence
            for use in ("preferences", "demonstrations")
            for entry, origin in origins.get(use, {}).items()
        },
        non_commercial=any(map(licences.is_non_commercial, trained.values())),
        unknown_terms=tuple(entry for entry, licence in trained.items() if not licences.is_known(licence)),
        sources=sources,
        origins=origins,
        training_pairs=training_pairs,
        **({} if prompts is None else {"prompts": prompts}),
        **({} if demonstrations is None else {"demonstrations": demonstrations}),
        **({} if division is None else {"division": division}),
        **({"left_in": left_in} if (left_in := tuple(reason for reason in CLEANED if reason not in clean)) else {}),
    )


def moving(origins: Origins) -> dict[str, str]:
    """Entries taken from the branch main, whose content may change -> how to pin them."""
    return {
        entry: f"{entry}@{origin.commit or 'COMMIT'}"
        for entries in origins.values()
        for entry, origin in entries.items()
        if origin.revision == "main"
    }


def markdown(card: DataCard) -> str:
    """Rows in, dropped by reason and out for each source, with its terms and origin, in Markdown."""
    parts = [(entry, counts, "preferences") for entry, counts in card.sources.items()]
    parts += [(entry, counts, "prompts") for entry, counts in card.prompts.items()]
    parts += [(entry, counts, "demonstrations") for entry, counts in card.demonstrations.items()]
    reasons = [reason for reason in REASONS if any(reason in counts.dropped for _, counts, _ in parts)]
    head = ["source", "in", *(reason.replace("_", " ") for reason in reasons), "out", "licence", "from"]
    lines = [f"# Corpus in {card.language}", "", *markdown_table.head(head)]
    for entry, counts, use in parts:
        origin = card.origins[use][entry]
        dropped = [counts.dropped.get(reason, 0) for reason in reasons]
        name = entry if use == "preferences" else f"{entry} ({use})"
        lines.append(
            markdown_table.row([name, counts.rows_in, *dropped, counts.rows_out, origin.licence, _place(origin)])
        )
    lines += ["", _terms_line(card), *(line for text in notes(card) for line in ("", text))]
    if hits := _hits(counts for _, counts, _ in parts):
        lines += ["", f"Contaminated rows by what they hit: {hits}."]
    return "\n".join(lines) + "\n"


def notes(card: DataCard) -> list[str]:
    """Sentences on the sources of which a limit left out rows, on those that have other numbers of rows than in paper A,
    and on what the cleaning leaves in."""
    sentences = []
    for use, entries in card.origins.items():
        for entry, origin in entries.items():
            if origin.not_taken:
                lost = f", and with them all of {', '.join(origin.lost)}" if origin.lost else ""
                sentences.append(f"{entry} ({use}): {origin.not_taken:,} of {origin.rows:,} rows not taken{lost}.")
            if origin.left_out:
                listed = ", ".join(f"{count:,} {label}" for label, count in sorted(origin.left_out.items()))
                sentences.append(f"{entry} ({use}): records that are rated neither Yes nor No left out: {listed}.")
            if not origin.not_taken and any(origin.splits[split] != count for split, count in origin.paper_b.items()):
                counts = " and ".join(
                    f"{origin.splits[split]:,} rows for {split}, paper B says {count:,}"
                    for split, count in origin.paper_b.items()
                )
                sentences.append(f"{entry} ({use}): {counts}.")
            if origin.paper not in (None, origin.rows):
                sentences.append(f"{entry} ({use}): {origin.rows:,} rows, the paper says {origin.paper:,}.")
    return [*sentences, *filter(None, [paper_note(card), _left_in(card), _divided(card)])]


def _divided(card: DataCard) -> str:
    if (division := card.division) is None:
        return ""
    parts = f"{division.training:,} for training, {division.held_out:,} held out, {division.both:,} in both parts"
    return f"Pairs divided by {division.of}: {parts}."


def _left_in(card: DataCard) -> str:
    if not card.left_in:
        return ""
    leaked = "contaminated" in card.left_in
    prompts = ", so prompts of the benchmark and those for judging may be in the training data" if leaked else ""
    return f"Not looked for (curate.clean): {', '.join(card.left_in).replace('_', ' ')}{prompts}."


def paper_note(card: DataCard) -> str:
    """A sentence on the number of training pairs, if the sources are paper A's and the number is another."""
    named = {hub.parse_entry(entry)[0] for entry in card.sources if not entry.startswith("hub:")}
    if named != set(PAPER_A) or card.training_pairs in (0, PAPER_A_PAIRS):
        return ""
    return f"All sources: {card.training_pairs:,} pairs for training, the paper says {PAPER_A_PAIRS:,}."


def _terms_line(card: DataCard) -> str:
    return f"Terms of the whole: {licences.verdict(card.non_commercial, card.unknown_terms)}."


def _hits(parts: Iterable[Counts]) -> str:
    totals: dict[str, int] = {}
    for counts in parts:
        for name, count in counts.contaminated_by.items():
            totals[name] = totals.get(name, 0) + count
    return ", ".join(f"{name} {count}" for name, count in sorted(totals.items()))


def _place(origin: Origin) -> str:
    if origin.repository is None:
        return origin.file or "made here"
    revision = (origin.commit or origin.revision or "")[:12]
    return f"{origin.repository}@{revision}" if revision else origin.repository
