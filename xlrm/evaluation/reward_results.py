"""Published benchmarks beside the corpus's own, what a reward model gives their rows, and the results that follow from it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from xlrm import progress
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation import benchmarks, reward_table
from xlrm.evaluation.credit import Rewards, Ties, credit, tied
from xlrm.evaluation.reward_table import CORPUS
from xlrm.evaluation.statistics import summary
from xlrm.models import loading
from xlrm.scorers import engines, fingerprints
from xlrm.scorers.interface import Scorer, Scoring
from xlrm.scorers.reward_journal import Journal


def published(entries: Sequence[str], languages: Sequence[str]) -> dict[str, dict[str, list[dict]]]:
    """Label -> language -> rows of the benchmarks that `evaluate.benchmarks` names, of each in the languages it exists in; the
    first language is the source's. Raises ConfigError for two of one label, DataError for files of which none is there."""
    names = Counter([CORPUS, *map(benchmarks.label, entries)])
    if double := [name for name, times in names.items() if times > 1]:
        raise ConfigError(
            f"evaluate.benchmarks: more than one is called {', '.join(double)} (the corpus's own: {CORPUS})"
        )
    found: dict[str, dict[str, list[dict]]] = {}
    for entry in entries:
        loaded = {code: benchmarks.load_published(entry, code, languages[0]) for code in languages}
        if absent := [code for code, one in loaded.items() if one is None]:
            if "{language}" in entry and len(absent) == len(loaded):
                raise DataError(f"evaluate.benchmarks: no file {entry} for any of {', '.join(absent)}")
            progress.say(f"evaluate: {entry} is not in {', '.join(absent)}: left out there")
        found[benchmarks.label(entry)] = {code: one.rows for code, one in loaded.items() if one}
    return found


def score_with_fingerprint(folder: Path, rows: list[dict], scoring: Scoring, output: Path) -> list[Rewards]:
    """Rewards of each row's responses, of the chosen ones and of the rejected ones, by the reward model in `folder`, whose
    fingerprint goes to `output`. A run that was killed goes on from the journal beside `output`."""
    try:
        return reward_table.score_items(rows, _load(folder, scoring, output), Journal.beside(output, "rewards"))
    finally:
        loading.free_gpu()


def _load(folder: Path, scoring: Scoring, output: Path) -> Scorer:
    """The model as `scoring` wants it. Its fingerprint is taken in float32, of a model loaded for that where it must be,
    before vLLM takes all of a GPU's memory."""
    exact = scoring.model_copy(update={"precision": "float32", "engine": "transformers"})
    scorer = engines.load(folder, exact)
    fingerprints.write(output, scorer)
    if (scoring.precision, scoring.engine) == (exact.precision, exact.engine):
        return scorer
    del scorer
    loading.free_gpu()
    return engines.load(folder, scoring)


def result(rows: list[dict], scored: list[Rewards], ties: Ties) -> dict:
    """Of a benchmark in one language: what `statistics.summary` says of the rewards' credit."""
    return summary(rows, credit(rows, scored, ties), tied(scored))
