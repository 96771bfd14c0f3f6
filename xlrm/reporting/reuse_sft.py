"""The part on SFT policies: their ROUGE-L, and policies fine-tuned on translated demonstrations (section 5.3)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from xlrm.analysis import quantities
from xlrm.evaluation.results import JudgeResults, WinRate
from xlrm.reporting.documents import Cell, Grid
from xlrm.reporting.published import paper_b
from xlrm.reporting.results import language_name
from xlrm.reporting.reuse_parts import Part
from xlrm.reporting.wording import percent, percent_range
from xlrm.store.artifacts import Record

Kind = Literal["organic", "translated", "round_trip"]
KINDS: dict[Kind, str] = {
    "organic": "own texts",
    "translated": "translated from",
    "round_trip": "there and back through",
}
ROUGE = "heldout_rouge_l"
SHOWN = {
    "demonstrations": ("demonstrations", "{:,.0f}"), "steps": ("steps", "{:,.0f}"), "train_loss": ("loss", "{:.3f}"),
    ROUGE: ("ROUGE-L", "{:.1f}"), "heldout_rows": ("validation rows", "{:,.0f}"),
}  # fmt: skip
"""Metric of the stage sft -> its column, and its form."""

ENGLISH = "en"
TABLES: dict[str, tuple[Literal[22, 24], str, str]] = {
    "best_of_n": (22, "best-of-n, %", "paper, Table 22"), "rl": (24, "RL, %", "paper, Table 24"),
}  # fmt: skip
"""Method -> number of the paper's table, and headings of the columns of this run and of the paper."""
TO_ENGLISH = {"translated": "translated lg>en", "round_trip": "back-translated en>lg>en"}
FROM_ENGLISH = {"translated": "translated en>lg", "round_trip": "back-translated lg>en>lg"}
"""Kind of demonstrations -> row of these tables."""


@dataclass(frozen=True)
class SftPolicy:
    """An SFT policy, and what it was fine-tuned on."""

    language: str
    """`de+en` for one of both."""
    kind: Kind
    source: str = ""
    """Language that the demonstrations were translated from, or through; empty for the language's own."""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def rouge(self) -> float | None:
        """On the validation demonstrations, from 0 to 100."""
        return self.metrics.get(ROUGE)

    @property
    def data(self) -> str:
        return KINDS[self.kind] + (f" {language_name(self.source)}" if self.source else "")


@dataclass(frozen=True)
class TranslatedVerdict:
    """Win rate of a policy fine-tuned on translations, against the SFT policy of the language's own texts, by the reward model of
    `source`."""

    method: str
    """best_of_n or rl."""
    language: str
    kind: Kind
    source: str
    rate: WinRate


def policies(lineage: Mapping[str, Record]) -> list[SftPolicy]:
    """SFT policies among the artifacts; what they were fine-tuned on follows from the translations before their corpora."""
    trained = []
    for record in lineage.values():
        if record.stage == "sft" and record.config.get("language"):
            language = str(record.config["language"])
            stops = _stops(record, language, lineage)
            kind: Kind = "organic" if len(stops) < 2 else "round_trip" if stops[0] == language else "translated"
            source = "" if kind == "organic" else stops[0] if kind == "translated" else stops[len(stops) // 2]
            trained.append(SftPolicy(language, kind, source, record.metrics))
    return trained


def _stops(record: Record, language: str, lineage: Mapping[str, Record]) -> list[str]:
    """Languages that the demonstrations passed, from the first corpus to the policy's language."""
    before = [lineage[given.uri] for given in record.inputs.get("corpora", ()) if given.uri in lineage]
    if not before:
        return [language]
    stops, near = [language], before[0]
    while True:
        inputs = [lineage[given.uri] for several in near.inputs.values() for given in several if given.uri in lineage]
        step = next(
            (each for each in inputs if each.stage == "translate" and each.config.get("language") == stops[0]), None
        )
        if step is None:
            return stops
        near = step
        corpus = next((lineage[given.uri] for given in step.inputs.get("corpus", ()) if given.uri in lineage), None)
        stops.insert(0, str(corpus.config.get("language", "")) if corpus else "")


def verdicts(results: Mapping[str, Sequence[JudgeResults]]) -> list[TranslatedVerdict]:
    """Systems named `en translated` and `en round_trip`, with the language whose reward model chose, by method."""
    return [
        TranslatedVerdict(method, each.language, kind, source, rate)
        for method, several in results.items()
        for each in several
        for system, rate in each.results.items()
        for source, _, name in [system.partition(" ")]
        for kind in KINDS
        if kind == name
    ]


def gaps(trained: Sequence[SftPolicy]) -> dict[tuple[str, str], float]:
    """(policy's language, other language) -> share of the gap in ROUGE-L between own and translated texts that texts translated
    there and back close."""
    own = {each.language: each.rouge for each in trained if each.kind == "organic"}
    by_kind = {(each.language, each.source, each.kind): each.rouge for each in trained}
    closed = {}
    for language, source, kind in by_kind:
        three = (own.get(language), by_kind[language, source, kind], by_kind.get((language, source, "round_trip")))
        if kind == "translated" and None not in three:
            whole, part, improved = (float(value or 0.0) for value in three)
            if (share := quantities.gap_closed(whole, part, improved)) is not None:
                closed[language, source] = share
    return closed


def part(
    trained: Sequence[SftPolicy], judged: Sequence[TranslatedVerdict], languages: Sequence[str], task: str | None
) -> Part:
    grids = (
        [grid for grid in (_measures(trained), _paper(languages, task), _verdicts(judged)) if grid] if trained else []
    )
    return Part(
        "sft", "SFT policies (Figure 5, Tables 21 to 24)", list(_sentences(trained)), grids=grids,
        files=("sft", "translated_sft"), stages=("sft",), short="SFT",
    )  # fmt: skip


def _sentences(trained: Sequence[SftPolicy]) -> Iterator[str]:
    for (language, source), share in gaps(trained).items():
        yield (
            f"{language_name(language)}: texts that were translated to {language_name(source)} and back close {percent(share)} % "
            "of the gap in ROUGE-L between own and translated texts."
        )


def _measures(trained: Sequence[SftPolicy]) -> Grid | None:
    names = [name for name in SHOWN if any(name in each.metrics for each in trained)]
    rows = [
        [Cell(language_name(each.language)), Cell(each.data),
         *(Cell(SHOWN[name][1].format(each.metrics[name]) if name in each.metrics else "–") for name in names)]
        for each in trained
    ]  # fmt: skip
    columns = ("policy", "demonstrations from", *(SHOWN[name][0] for name in names))
    note = "ROUGE-L: on the validation demonstrations, the mean over data sets, of the checkpoint that was kept."
    return Grid("SFT policies", columns, rows, 2, note) if names else None


def _paper(languages: Sequence[str], task: str | None) -> Grid | None:
    codes = [code for code in languages if code in paper_b.LANGUAGES]
    if not codes or task == "dialog":
        return None
    rows = [
        [Cell(name), *(Cell(f"{row[code]:.1f}" if code in row else "–") for code in codes)]
        for name, row in paper_b.sft_rouge().items()
    ]
    differs = "other models" if task else "other task (summarization) and models"
    return Grid(f"Paper, Table 21, ROUGE-L; {differs}", ("demonstrations", *codes), rows)


def _verdicts(judged: Sequence[TranslatedVerdict]) -> Grid | None:
    """A row for each policy; the paper's win rates are those of its summaries."""
    rates = {(each.language, each.kind, each.source, each.method): each.rate for each in judged}
    methods = [method for method in TABLES if any(each.method == method for each in judged)]
    rows = [
        [Cell(language_name(language)), Cell(f"{KINDS[kind]} {language_name(source)}"),
         *(cell for method in methods
           for cell in (_rate(rates.get((language, kind, source, method))), _published(method, language, kind, source)))]
        for language, kind, source in dict.fromkeys(key[:3] for key in rates)
    ]  # fmt: skip
    columns = [heading for method in methods for heading in TABLES[method][1:]]
    note = (
        "Win rate by the other language's reward model, against the SFT policy of the language's own texts (Figure 5, b and d), "
        "beside the paper's in summarization."
    )
    return (
        Grid("Policies fine-tuned on translations", ("policy", "demonstrations", *columns), rows, 2, note)
        if rows
        else None
    )


def _rate(rate: WinRate | None) -> Cell:
    return Cell(percent(rate.win_rate), f"[{percent_range(rate.estimate)}]") if rate else Cell("–")


def _published(method: str, language: str, kind: Kind, source: str) -> Cell:
    """The paper's win rate; it has those with English on one side."""
    to_english = language == ENGLISH
    row = TO_ENGLISH[kind] if to_english else FROM_ENGLISH[kind]
    known = to_english or source == ENGLISH
    value = paper_b.translated_sft(TABLES[method][0])[row].get(source if to_english else language) if known else None
    return Cell("–" if value is None else f"{value:.1f}")
