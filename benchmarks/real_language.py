"""Paper A's transfer matrix on pairs that exist in each language: reward models of each base model, source language and
seed, each evaluated on the held-out pairs of all languages.

    python -m benchmarks.real_language --output FOLDER [--models FOLDER ...] [--data "DIR/xquad_pref_{language}.jsonl.gz"]
        [--languages en es de ru] [--sources en es] [--seeds 1 2 3] [--parallel FILE] [--set stage.field=value ...]

Runs the stages of an experiment, configs/real_small.yaml unless `--experiment` names another. A run continues where an
earlier one with the same FOLDER ended: what is finished is reused, so more models, sources and seeds add to the matrix. After
each reward model FOLDER/results.json and FOLDER/tables.md are written again. Sources are trained in the order given, all models
and seeds of the first one before the next. Without `--data` the experiment's own data is taken, which is on the Hub.

The matrix has 95 % intervals (`benchmarks.transfer_matrix`).
"""

import argparse
import json
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.transfer_matrix import HeldOut, Trained, summary, tables
from xlrm.analysis.representations import Representations
from xlrm.data.corpus_schema import BENCHMARK_ITEMS
from xlrm.data.division import document
from xlrm.errors import XlrmError
from xlrm.evaluation import reward_table
from xlrm.evaluation.results import EvaluationResults
from xlrm.run import experiment
from xlrm.run.runner import Artifact, run_stage
from xlrm.run.sections import CROSS_LINGUAL, Experiment
from xlrm.run.steps import steps
from xlrm.store import addresses, artifacts


@dataclass
class Runs:
    """Runs the steps of experiments, each once."""

    store: str
    made: dict[tuple[str, str], Artifact] = field(default_factory=dict)

    def artifact(self, asked: Experiment, label: str) -> Artifact:
        """The artifact of a step, after those that it reads. Raises the errors of `run_stage`."""
        key = (asked.model_dump_json(), label)
        if key not in self.made:
            step = steps(CROSS_LINGUAL, asked)[label]
            inputs = {
                name: self.artifact(asked, of).uri
                if isinstance(of, str)
                else [self.artifact(asked, each).uri for each in of]
                for name, of in step.inputs.items()
            }
            self.made[key] = run_stage(step.stage, step.config, inputs, self.store, asked.name)
        return self.made[key]

    def folder(self, asked: Experiment, label: str) -> Path:
        return artifacts.fetch(self.artifact(asked, label).uri, addresses.home() / "cache")


def experiment_of(options: argparse.Namespace, model: str, seed: int) -> Experiment:
    """The experiment of one model and seed."""
    raw = experiment.parse(options.experiment.read_bytes(), str(options.experiment))
    languages = options.languages or [raw["source"], *raw["targets"]]
    source, *others = languages
    raw |= {"source": source, "targets": others}
    own = raw.pop("corpora", {})
    raw["corpora"] = {}
    for code in raw["targets"]:
        given = own.get(code, {"preferences": raw["curate"]["preferences"], "benchmark": raw["curate"]["benchmark"]})
        raw["corpora"][code] = given | ({"preferences": [options.data.format(language=code)]} if options.data else {})
    if options.data:
        raw["curate"]["preferences"] = [options.data.format(language=source)]
    settings: dict[str, Any] = {"base.model": model, "reward.seed": seed, "represent.norm_models": []}
    if options.parallel:
        settings["represent.parallel"] = options.parallel
    settings |= dict(map(experiment.assignment, options.settings))
    return experiment.build({"name": options.experiment.stem} | raw, settings, str(options.experiment))


def trained(runs: Runs, asked: Experiment, model: str, source: str, seed: int) -> Trained:
    """Trains and evaluates a reward model, or finds it finished."""
    reward, evaluation = (runs.artifact(asked, f"{stage}-{source}") for stage in ("reward", "evaluate"))
    folder = runs.folder(asked, f"evaluate-{source}")
    table = reward_table.read(folder / reward_table.FILE)
    results = EvaluationResults.read(folder)
    return Trained(
        model, source, seed,
        {code: {row["id"]: float(row["chosen"] > row["rejected"]) for row in rows} for code, rows in table.items()},
        reward.record.seconds, evaluation.record.seconds, reward.record.peak_memory_mib,
        int(reward.record.metrics["pairs"]), reward.record.metrics["train_accuracy"],
        {
            f"{name}, {code}": {part: (result.accuracy[part], *result.interval[part]) for part in result.parts}
            for name, languages in results.benchmarks.items() for code, result in languages.items()
        },
    )  # fmt: skip


def held_out(runs: Runs, asked: Experiment, languages: Sequence[str]) -> HeldOut:
    """What the held-out pairs of all languages are about, in the first language that has each."""
    corpora = runs.folder(asked, "validate")
    rows = {language: {row["id"]: row for row in BENCHMARK_ITEMS.read(corpora / language)} for language in languages}
    about = {item: document(row["prompt"]) for language in reversed(languages) for item, row in rows[language].items()}
    source, *others = languages
    alike = {
        language: {
            item
            for item, row in rows[language].items()
            if item in rows[source] and any(row[side] == rows[source][item][side] for side in ("chosen", "rejected"))
        }
        for language in others
    }
    return HeldOut(about, alike)


def representations(runs: Runs, asked: Experiment, sources: Sequence[str]) -> dict[str, Any]:
    """Similarity across languages of the base's and the reward models' states, and the base's embedding norms."""
    step = steps(CROSS_LINGUAL, asked)["represent"]
    inputs: dict[str, str | list[str]] = {
        "base": runs.artifact(asked, "base").uri,
        "reward_models": [runs.artifact(asked, f"reward-{code}").uri for code in sources],
        "corpora": runs.artifact(asked, "validate").uri,
    }
    made = run_stage(step.stage, step.config, inputs, runs.store, asked.name)
    read = Representations.read(artifacts.fetch(made.uri, addresses.home() / "cache"))
    return {
        "texts": read.texts, "languages": read.languages,
        "similarity": {
            name: {"f": (of.mean, *of.interval), "spectrum": of.spectrum, "cosine": of.mean_cosine}
            for name, of in read.models.items()
        },
        "norms": {
            language: {"tokens": len(values), "mean": float(np.mean(values)), "deviation": float(np.std(values)),
                       **({"relative": near.relative, "ks": near.ks, "shift": near.shift} if near else {})}
            for norms in read.embedding_norms.values() for language, values in norms.norms.items() if values
            for near in [norms.distances.get(language)]
        },
    }  # fmt: skip


def parser() -> argparse.ArgumentParser:
    asked = record.parser(__doc__)
    asked.add_argument("--experiment", type=Path, default=Path(__file__).parents[1] / "configs" / "real_small.yaml")
    asked.add_argument(
        "--models", nargs="+", help="base models, the first one compared with the others (default: the experiment's)"
    )
    asked.add_argument("--data", help="file of pairs, with {language} in its name")
    asked.add_argument(
        "--languages", nargs="+", help="evaluated on, the first one the source (default: the experiment's)"
    )
    asked.add_argument("--sources", nargs="+", help="languages to train on (default: all)")
    asked.add_argument("--seeds", nargs="+", type=int, default=[42])
    asked.add_argument("--parallel", help="file of parallel texts with a column for each language")
    asked.add_argument(
        "--represent", action="store_true", help="compare representations of the first seed's models at the end"
    )
    asked.add_argument("--output", type=Path, required=True, help="folder of the store and of the results")
    asked.add_argument("--set", nargs="+", default=[], dest="settings", metavar="stage.field=value")
    return asked


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Trains and evaluates what is asked for, and writes results after each reward model."""
    runs = Runs((options.output.resolve() / "store").as_uri())
    first = experiment.parse(options.experiment.read_bytes(), str(options.experiment))
    options.models = options.models or [first["base"]["model"]]
    languages = options.languages or [first["source"], *first["targets"]]
    done: list[Trained] = []
    figures: dict[str, Any] = {}
    for source in options.sources or languages:
        for seed in options.seeds:
            for model in options.models:
                asked = experiment_of(options, model, seed)
                done.append(trained(runs, asked, Path(model).name, source, seed))
                figures = summary(done, languages, held_out(runs, asked, languages))
                write(options, figures, languages)
    if options.represent:
        figures["representations"] = {
            Path(model).name: representations(
                runs, experiment_of(options, model, options.seeds[0]), options.sources or languages
            )
            for model in options.models
        }
        write(options, figures, languages)
    return figures


def write(options: argparse.Namespace, figures: Mapping[str, Any], languages: Sequence[str]) -> None:
    (options.output / "results.json").write_text(
        json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )
    (options.output / "tables.md").write_text(tables(figures, languages), encoding="utf-8")


def main() -> None:
    options = parser().parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    try:
        figures = measure(options)
    except XlrmError as error:
        raise SystemExit(f"real_language: {error}") from error
    print((options.output / "tables.md").read_text(encoding="utf-8"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    record.write(
        __spec__.name, options, dict(figures) | {"seconds": time.monotonic() - begun, "peak_memory_gib": memory}
    )


if __name__ == "__main__":
    main()
