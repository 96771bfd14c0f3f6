"""Datasets of the Hugging Face Hub, including paper A's: their repositories, their terms, and how records become rows.

Columns and rules follow the dataset cards; `docs/data.md` explains the defaults that paper A does not specify.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from xlrm import progress
from xlrm.data import conversation_trees, helpsteer, pair_records, summaries, wikilingua
from xlrm.data.conversations import Turns
from xlrm.data.licences import ASSUMED
from xlrm.errors import DataError
from xlrm.languages import FLORES, LANGUAGES
from xlrm.store import hub
from xlrm.store.json_values import check_number

Record = dict
Row = dict


@dataclass(frozen=True)
class Source:
    name: str
    repository: str
    licence: str
    rows: Callable[[Iterable[Record]], Iterator[Row]]
    """Records in the dataset's order -> rows with prompt, chosen and rejected (or prompt only, or text only), in the
    form of `conversations`; with id and subset if the dataset's own matter, margin if it says how much better chosen
    is, and language if a table has several. In a best of n, chosen and rejected are lists of responses."""
    use: str = "preferences"
    """preferences, prompts (to align on), eval_prompts, benchmark, demonstrations, or parallel (never translated)."""
    languages: tuple[str, ...] = ("en",)
    """Languages it is published in."""
    config: str | None = None
    """Name of the repository's table."""
    tables: Mapping[str, str] = field(default_factory=dict)
    """Language -> name of its table, if it has a table for each language."""
    spoken: Callable[[Record, str], bool] | None = None
    """Whether a record is in a language, if one table has several languages."""
    counts: tuple[int, int] | None = None
    """Numbers of records and of rows according to the dataset card; a difference is logged."""
    paper: int | None = None
    """Number of rows according to paper A (Hong et al. 2025, section 2.2, appendices A and D); a difference is logged
    and stands in the account."""
    folder: str | None = None
    """`data_dir` in the repository, if it contains more than one table."""
    folders: Mapping[str, str] = field(default_factory=dict)
    """Language -> `data_dir`, if each language has a folder."""
    reader: Callable[[str, str, str], list[Record] | None] | None = None
    """(repository, language, split) -> records that are not in tables; None for a folder that has tables instead."""
    splits: tuple[str, ...] = ()
    """Splits to read, each of which its rows then name; none for `split` alone."""
    paper_b: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Language -> rows for training and for validation according to paper B (Wu et al. 2024, Tables 1 to 4); a difference stands
    in the account."""
    split: str = "train"
    """{language} in it stands for a language's English name in small letters, if each language has a split."""
    revision: str = "main"
    """Commit, tag or branch; a commit makes a run repeatable."""
    gated: bool = False
    """True if the Hub requires an account that has accepted the licence (HF_TOKEN)."""

    def at(self, repository: str | None, revision: str | None) -> "Source":
        """The same dataset from another repository, with its licence marked as assumed, or at another revision."""
        if not repository:
            return replace(self, revision=revision or self.revision)
        return replace(self, repository=repository, revision=revision or "main", licence=self.licence + ASSUMED)


class Origin(BaseModel):
    """Where rows come from, and their terms."""

    model_config = ConfigDict(frozen=True)

    licence: str
    file: str | None = None
    repository: str | None = None
    revision: str | None = None
    """Not set for a local folder."""
    commit: str | None = None
    records: int | None = None
    rows: int | None = None
    """Rows made from the records, or rows of the file, before a sample was drawn."""
    left_out: dict[str, int] = {}
    """Records that are no rows, by what their label is instead."""
    splits: dict[str, int] = {}
    """Split of the dataset -> rows."""
    paper_b: dict[str, int] = {}
    """Split -> rows that paper B says it has."""
    not_taken: int = 0
    """Rows that a limit of the config left out; those taken are a sample."""
    paper: int | None = None
    """Rows that the paper says it has."""
    lost: tuple[str, ...] = ()
    """Sections of a benchmark of which a limit left no item."""


@dataclass(frozen=True)
class Loaded:
    """Rows with ids, and their origin."""

    rows: list[Row]
    origin: Origin
    rejects: list[Row] = field(default_factory=list)
    """Line and reason of each record that could not be read as a row."""
    left: list[Row] = field(default_factory=list)
    """Rows that a limit left out."""


def _safe_rlhf(rule: str) -> Callable[[Iterable[Record]], Iterator[Row]]:
    """`rule`: better (the more helpful is chosen), safer, or agree (pairs in which one response is both)."""

    def rows(records: Iterable[Record]) -> Iterator[Row]:
        for record in records:
            better, safer = record["better_response_id"], record["safer_response_id"]
            if rule == "agree" and better != safer:
                continue
            chosen = safer if rule == "safer" else better
            yield _row(record["prompt"], record[f"response_{chosen}"], record[f"response_{1 - chosen}"])

    return rows


def _wildguard(records: Iterable[Record]) -> Iterator[Row]:
    """Prompts with exactly one good and one bad response (paper A, section 2.2). For a harmful prompt a harmless
    refusal is good and harmful compliance bad; for a harmless prompt compliance is good and a refusal bad."""
    good: dict[str, list[str]] = {}
    bad: dict[str, list[str]] = {}
    for record in records:
        if not record["response"]:
            continue
        kind = (record["prompt_harm_label"], record["response_refusal_label"], record["response_harm_label"])
        if kind in (("harmful", "refusal", "unharmful"), ("unharmful", "compliance", "unharmful")):
            good.setdefault(record["prompt"], []).append(record["response"])
        elif kind == ("harmful", "compliance", "harmful") or kind[:2] == ("unharmful", "refusal"):
            bad.setdefault(record["prompt"], []).append(record["response"])
    for prompt, responses in good.items():
        if len(responses) == 1 and len(bad.get(prompt, ())) == 1:
            yield _row(prompt, responses[0], bad[prompt][0])


def _offsetbias(records: Iterable[Record]) -> Iterator[Row]:
    for record in records:
        label = int(record["label"])
        yield _row(record["instruction"], record[f"output_{label}"], record[f"output_{3 - label}"])


def _magpie(records: Iterable[Record]) -> Iterator[Row]:
    """Chosen and rejected are whole conversations."""
    for record in records:
        yield pair_records.turns_of({side: record[side] for side in pair_records.SIDES})


def _prompts(key: str) -> Callable[[Iterable[Record]], Iterator[Row]]:
    def rows(records: Iterable[Record]) -> Iterator[Row]:
        for record in records:
            yield {"prompt": record[key]}

    return rows


def _rewardbench(records: Iterable[Record]) -> Iterator[Row]:
    for record in records:
        pair = _row(record["prompt"], record["chosen"], record["rejected"])
        yield {"id": str(record["id"])} | pair | {"subset": record["subset"]}


def _belebele(records: Iterable[Record]) -> Iterator[Row]:
    """Each passage once, because one or two questions repeat it. A passage is identified by its link; if two
    excerpts of an article have the same link, the second one in the dataset's order becomes `link#2`."""
    known: dict[str, dict[str, str]] = {}
    for record in records:
        link, passage = record["link"], record["flores_passage"]
        passages = known.setdefault(link, {})
        if passage not in passages:
            passages[passage] = f"{link}#{len(passages) + 1}" if passages else link
            yield {"id": passages[passage], "text": passage}


def _rewardbench_2(records: Iterable[Record]) -> Iterator[Row]:
    """The first chosen response is the only right one, except in Ties, where all of them are right."""
    for record in records:
        sides = {side: list(record[side]) for side in ("chosen", "rejected")}
        yield {"id": str(record["id"]), "prompt": record["prompt"], **sides, "subset": record["subset"]}


def _xquad(records: Iterable[Record]) -> Iterator[Row]:
    """Questions on a passage with their answer as chosen and the answer to the next question on the passage as rejected, the
    first one's after the last, which is the same choice in every language; no row if both answers are the same."""
    passages: dict[str, list[Record]] = {}
    for record in records:
        passages.setdefault(record["context"], []).append(record)
    for passage, asked in passages.items():
        for record, following in zip(asked, [*asked[1:], asked[0]], strict=True):
            chosen, rejected = (each["answers"]["text"][0] for each in (record, following))
            if chosen.casefold() != rejected.casefold():
                yield {"id": f"xquad:{record['id']}"} | _row(f"{passage}\n\n{record['question']}", chosen, rejected)


def _row(prompt: Turns, chosen: Turns, rejected: Turns) -> Row:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


_M_REWARDBENCH = (
    "es", "it", "ko", "zh", "de", "ru", "tr", "vi", "ar", "cs", "el", "fa", "fr", "he", "hi", "id", "ja", "nl", "pl", "pt",
    "ro", "uk",
)  # fmt: skip
_XQUAD = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")
TRAINED = ("train", "validation")
_SAFE_RLHF = ("PKU-Alignment/PKU-SafeRLHF-30K", "cc-by-nc-4.0")
SOURCES = {
    row.name: row
    for row in (
        Source("safe-rlhf", *_SAFE_RLHF, _safe_rlhf("better")),
        Source("safe-rlhf-agree", *_SAFE_RLHF, _safe_rlhf("agree")),
        Source("safe-rlhf-better", *_SAFE_RLHF, _safe_rlhf("better")),
        Source("safe-rlhf-safer", *_SAFE_RLHF, _safe_rlhf("safer")),
        Source("wildguard", "allenai/wildguardmix", "odc-by", _wildguard, config="wildguardtrain", paper=8383, gated=True),
        Source("helpsteer2", "nvidia/HelpSteer2", "cc-by-4.0", helpsteer.helpsteer2),
        Source(
            "helpsteer2-preference", "nvidia/HelpSteer2", "cc-by-4.0", helpsteer.helpsteer2_preference, folder="preference"
        ),
        Source(
            "helpsteer3", "nvidia/HelpSteer3", "cc-by-4.0", helpsteer.helpsteer3, languages=tuple(helpsteer.LANGUAGES),
            config="preference", spoken=helpsteer.is_in,
        ),
        Source("offsetbias", "NCSOFT/offsetbias", "bsd-3-clause", _offsetbias, paper=8504),
        Source("magpie", "Magpie-Align/Magpie-Pro-DPO-100K-v0.1", "llama3", _magpie),
        Source("magpielm", "Magpie-Align/MagpieLM-DPO-Data-v0.1", "llama3.1", _magpie),
        Source(
            "ultrafeedback", "argilla/ultrafeedback-binarized-preferences-cleaned", "mit", _prompts("prompt"), "prompts"
        ),
        Source(
            "alpacaeval", "zhihz0535/X-AlpacaEval", "cc-by-nc-4.0", _prompts("instruction"), "eval_prompts",
            ("en", "zh", "ko", "it", "es"), paper=805, split="{language}",
        ),
        Source("rewardbench", "allenai/reward-bench", "odc-by", _rewardbench, "benchmark", paper=2985, split="filtered"),
        Source("rewardbench-2", "allenai/reward-bench-2", "odc-by", _rewardbench_2, "benchmark", split="test"),
        Source(
            "m-rewardbench", "CohereLabsCommunity/multilingual-reward-bench", "odc-by", _rewardbench, "benchmark",
            _M_REWARDBENCH, tables={code: FLORES[code] for code in _M_REWARDBENCH}, split="test",
        ),
        Source(
            "belebele", "facebook/belebele", "cc-by-sa-4.0", _belebele, "parallel", tuple(FLORES), tables=FLORES,
            split="test", counts=(900, 488),
        ),
        Source(
            "xquad", "google/xquad", "cc-by-sa-4.0", _xquad, languages=_XQUAD, split="validation",
            tables={code: f"xquad.{code}" for code in _XQUAD},
        ),
        Source(
            "oasst1", "OpenAssistant/oasst1", "apache-2.0", conversation_trees.pairs, languages=conversation_trees.SPOKEN,
            splits=TRAINED, paper_b=conversation_trees.PAIR_COUNTS,
        ),
        Source(
            "oasst1-preferred", "OpenAssistant/oasst1", "apache-2.0", conversation_trees.preferred, "demonstrations",
            conversation_trees.SPOKEN,            splits=TRAINED, paper_b=conversation_trees.SFT_COUNTS,
        ),
        *(
            Source(
                name, repository, licence, summaries.rows_of(name, column), "demonstrations",
                tuple(summaries.SFT_COUNTS[name]), revision=revision, folders=folders, splits=TRAINED,
                paper_b=summaries.SFT_COUNTS[name], reader=wikilingua.records if name == "wikilingua" else None,
            )
            for name, repository, licence, column, revision, folders in summaries.GEM
        ),
    )
}  # fmt: skip


def load(source: Source, language: str) -> Loaded:
    """All rows of a source, with ids, in the order of the dataset.

    Raises ArtifactError for a dataset that cannot be fetched, DataError for records that do not match its schema.
    """
    rows, read, commit = _rows(source, language)
    for number, row in enumerate(rows, 1):
        check_number(f"{source.repository} at {source.revision}: row {number}: margin", row.get("margin"))
    if source.counts and source.counts != (read, len(rows)):
        counted, card = (f"{made} rows of {records} records" for records, made in ((read, len(rows)), source.counts))
        config = source.tables.get(language, source.config)
        progress.say(f"{source.name}: {source.repository} ({config}) has {counted}, its card says {card}")
    paper = {"paper": source.paper} if source.paper else {}
    if source.paper not in (None, len(rows)):
        progress.say(f"{source.name}: {len(rows):,} rows, the paper says {source.paper:,}")
    facts = origin(source.repository, source.revision, commit, source.licence, records=read, rows=len(rows), **paper)
    stem = in_language(source.name, language)
    loaded = Loaded([{"id": f"{stem}-{i}", **row} for i, row in enumerate(rows)], facts)
    return with_splits(loaded, source.paper_b.get(language)) if source.splits else loaded


def _rows(source: Source, language: str) -> tuple[list[Row], int, str | None]:
    """Rows in a language, number of records that were read, and their commit."""
    config = source.tables.get(language, source.config)
    folder = source.folders.get(language, source.folder)
    rows: list[Row] = []
    read, commit = 0, None
    for split in source.splits or (source.split,):
        if "{language}" in split:  # other sets are also in languages that this process has no name of
            split = split.format(language=LANGUAGES[language].name.lower())
        records: Sequence[Record] | None = source.reader(source.repository, language, split) if source.reader else None
        if records is None:
            records, commit = hub.records(source.repository, source.revision, split, config, folder, source.gated)
        try:
            if source.spoken:
                records = [record for record in records if source.spoken(record, language)]
            made, read = list(source.rows(records)), read + len(records)
        except (KeyError, TypeError, IndexError, DataError) as error:
            raise DataError(
                f"a record has an unexpected form: {type(error).__name__} {error}",
                where=f"{source.repository} at {source.revision}",
            ) from error
        own = [row for row in made if row.pop("language", language) == language]
        rows += [row | {"split": split} for row in own] if source.splits else own
    return rows, read, commit


def with_splits(loaded: Loaded, paper_b: tuple[int, int] | None) -> Loaded:
    """The rows with the number of each split in their origin, beside that of paper B."""
    counts = Counter(row["split"] for row in loaded.rows)
    expected = {"paper_b": dict(zip(TRAINED, paper_b, strict=True))} if paper_b else {}
    facts = {"splits": {split: counts[split] for split in TRAINED}, **expected}
    return replace(loaded, origin=loaded.origin.model_copy(update=facts))


def in_language(stem: str, language: str) -> str:
    """Beginning of the ids of rows without one of their own. It names a language other than English, since equal ids in
    two languages say that one row is the translation of the other."""
    return stem if language == "en" else f"{stem}-{language}"


def take(entry: str, loaded: Loaded, count: int | None, seed: int) -> Loaded:
    """At most `count` of the rows, sampled by seed and in their order; None takes all. How many were left out is logged
    and stands in the origin."""
    kept = sample(len(loaded.rows), count, seed)
    if len(kept) == len(loaded.rows):
        return loaded
    taken = set(kept)
    left = [row for i, row in enumerate(loaded.rows) if i not in taken]
    progress.say(
        f"{entry}: {len(kept)} of {len(loaded.rows)} rows taken, a sample of seed {seed}; {len(left)} not taken"
    )
    origin = loaded.origin.model_copy(update={"not_taken": loaded.origin.not_taken + len(left)})
    return replace(loaded, rows=[loaded.rows[i] for i in kept], origin=origin, left=left)


def sample(size: int, count: int | None, seed: int) -> list[int]:
    """Sorted indices of at most `count` of `size` items, drawn by seed."""
    return sorted(random.Random(seed).sample(range(size), size if count is None else min(count, size)))


def origin(repository: str, revision: str, commit: str | None, licence: str, **counts: int) -> Origin:
    """Origin of rows; a local folder has no revision. `counts`: records and rows, and the paper's rows."""
    pinned = ({} if Path(repository).is_dir() else {"revision": revision}) | ({"commit": commit} if commit else {})
    return Origin.model_validate({"licence": licence, "repository": repository, **pinned, **counts})


PAPER_A = ("safe-rlhf", "wildguard", "helpsteer2", "offsetbias", "magpie")
PAPER_A_PAIRS = 86_000
"""Preference datasets of paper A, and the pairs that it trains on (section 2.2)."""
