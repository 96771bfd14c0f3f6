"""Writes the results of an experiment with reused reward models as one self-contained HTML page, as Markdown and as CSV files."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from xlrm.data import data_card
from xlrm.evaluation.best_of_n_results import BestOfNResults
from xlrm.evaluation.policy_gains import PolicyGains
from xlrm.evaluation.results import EvaluationResults, JudgedItems, JudgeResults
from xlrm.languages import InLanguages
from xlrm.models import samples as sampled
from xlrm.registry.champion import Registered
from xlrm.reporting import reuse_page, reuse_reading, reuse_summary
from xlrm.reporting.reuse_material import Method
from xlrm.store.artifacts import Record
from xlrm.store.fields import NamesFile
from xlrm.validation.summary import Summary


class Config(InLanguages):
    languages: tuple[str, ...] = Field(min_length=1)
    """Sources of the reward models and targets of the policies, in the order of the page."""
    title: str | None = None
    """Heading of the page; null takes the page's own."""
    run: str = ""
    """Name of the run, shown in the title and first line of the page."""
    typology: Annotated[str | None, NamesFile()] = None
    """CSV file with the columns lang, feature_id and value, such as one made of WALS's values.csv: typological features for the
    test of paper B, section 6.2; null leaves it out."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    verdicts = (JudgeResults.FILE, JudgedItems.FILE)
    return {
        "corpora": (Summary.FILE,), "curated": (data_card.DataCard.FILE,), "evaluations": (EvaluationResults.FILE,),
        "samples": tuple(sampled.file(0, "eval", code) for code in config.languages),
        "best_of_n": (BestOfNResults.FILE, reuse_reading.REWARDS), "gains": (PolicyGains.FILE,),
        "verdicts_best_of_n": verdicts, "verdicts_rl": verdicts, "verdicts_translated_best_of_n": verdicts[:1],
        "verdicts_translated_rl": verdicts[:1], "sft": (), "sft_translated": (), "registered": (Registered.FILE,),
    }  # fmt: skip


def files(config: Config) -> str:
    """Digest of the file of typological features."""
    return reuse_reading.digest(config.typology)


def run(
    config: Config, *, lineage: dict[str, Record], output: Path, corpora: Path | None = None, curated: Path | None = None,
    evaluations: list[Path] | None = None, best_of_n: list[Path] | None = None, gains: list[Path] | None = None,
    verdicts_best_of_n: list[Path] | None = None, verdicts_rl: list[Path] | None = None, sft: list[Path] | None = None,
    registered: Path | None = None, samples: list[Path] | None = None, sft_translated: list[Path] | None = None,
    verdicts_translated_best_of_n: list[Path] | None = None, verdicts_translated_rl: list[Path] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Writes report.html, report.md and tables/*.csv. A part without its input is left out, and the page says how to get it.

    All but `corpora`, `curated` and `registered` have an artifact for each language, and several judges' follow each other. Of
    `sft` and `sft_translated` only the records count. Metrics: mean win rates METHOD/own, METHOD/cross and METHOD/difference,
    METHOD being best_of_n or rl; `best_source/METHOD/SOURCE`, targets for which a source is the best; `statements/VERDICT`.
    Raises DataError for results that cannot be read.
    """
    folders: dict[Method, list[Path]] = {"best_of_n": verdicts_best_of_n or [], "rl": verdicts_rl or []}
    translated = {"best_of_n": verdicts_translated_best_of_n or [], "rl": verdicts_translated_rl or []}
    material = reuse_reading.gather(
        config.languages, config.run, lineage, Summary.find(corpora), config.typology,
        evaluations=[EvaluationResults.read(folder) for folder in evaluations or []],
        best_of_n=[BestOfNResults.read(folder) for folder in best_of_n or []],
        gains=[PolicyGains.read(folder) for folder in gains or []], registered=Registered.find(registered),
        judged={of: [(JudgeResults.read(each), JudgedItems.read(each)) for each in own] for of, own in folders.items()},
        notes=data_card.notes(card) if (card := data_card.DataCard.find(curated)) else [],
        agreement=reuse_reading.agreement(best_of_n or []),
        translated={of: [JudgeResults.read(each) for each in own] for of, own in translated.items()},
        words=reuse_reading.words(config.languages, samples or [], best_of_n or []),
    )  # fmt: skip
    reuse_page.write(material, config.title, output)
    return reuse_summary.metrics(material)
