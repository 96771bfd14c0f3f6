"""What the stage reuse_report reads: artifacts of a run whose languages are sources and targets, with chosen numbers."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from xlrm.evaluation.best_of_n import kl_bound
from xlrm.evaluation.best_of_n_results import BestOfNResults
from xlrm.evaluation.observed import ObservedStep
from xlrm.evaluation.policy_gains import PolicyGains
from xlrm.evaluation.results import Estimate, EvaluationResults, JudgedItems, JudgeResults, Result, WinRate
from xlrm.evaluation.statistics import mean_interval
from xlrm.models import samples as sampled
from xlrm.models.base_models import TINY
from xlrm.registry.champion import Registered
from xlrm.stages import reuse_report
from xlrm.store.artifacts import Record
from xlrm.store.jsonl import write_jsonl

LANGUAGES = ("de", "en", "es", "ru", "tr", "vi")
SIZES = (1, 2, 4, 8)


def wins(rate: float, count: int, seed: int) -> np.ndarray:
    """Exactly the share `rate` of `count` prompts won, in random order."""
    won = np.zeros(count)
    won[: round(rate * count)] = 1.0
    return np.random.default_rng(seed).permutation(won)


def verdicts(folder: Path, language: str, rates: dict[str, float], judge: str = "gold", count: int = 100) -> Path:
    """What the stage judge writes for policies by `rates` (labeler -> win rate)."""
    own = {labeler: wins(rate, count, place) for place, (labeler, rate) in enumerate(rates.items())}
    results = {}
    for labeler, values in own.items():
        mean, low, high = mean_interval(values)
        results[labeler] = WinRate(
            win_rate=mean, interval=(low, high), items=count, draws=0, verdicts=2 * count, unreadable=1, first=0.52,
            consistent=0.75, position_bias=0.04, characters=(120.0, 130.0),
        )  # fmt: skip
    JudgedItems(
        ids=tuple(f"{language}{i}" for i in range(count)), wins={n: tuple(v.tolist()) for n, v in own.items()}
    ).write(folder)
    JudgeResults(language=language, judge=judge, reference="sft", results=results).write(folder)
    return folder


def around(value: float, half: float = 0.05) -> Estimate:
    return Estimate(value, value - half, value + half)


def best_of_n(folder: Path, language: str, languages: tuple[str, ...] = LANGUAGES) -> Path:
    increases = {
        labeler: {
            evaluator: [around(k * (1.0 if labeler == evaluator else 0.4) / 4) for k in range(len(SIZES))]
            for evaluator in languages
        }
        for labeler in languages
    }
    BestOfNResults(
        language=language, n=8, prompts=100, labelers=languages, sizes=SIZES, kl_bound={k: kl_bound(k) for k in SIZES},
        increases=increases,
    ).write(folder)  # fmt: skip
    return folder


def gains(folder: Path, language: str, languages: tuple[str, ...] = LANGUAGES) -> Path:
    steps = {
        labeler: [
            ObservedStep(step=step, responses=32, kl=step / 10, rewards=dict.fromkeys(languages, 1.0), increases={
                evaluator: step / 10 * (1.0 if labeler == evaluator else 0.5) for evaluator in languages
            })
            for step in (1, 5, 10, 20)
        ]
        for labeler in languages
    }  # fmt: skip
    PolicyGains(
        language=language, prompts=100, labelers=languages, temperature=1.0,
        increases={labeler: {e: around(0.5 if e == labeler else 0.2) for e in languages} for labeler in languages},
        kl={labeler: around(0.3 + 0.1 * place) for place, labeler in enumerate(languages)},
        characters=dict.fromkeys(languages, 120.0), curves=steps,
    ).write(folder)  # fmt: skip
    return folder


def evaluation(folder: Path, language: str, accuracies: dict[str, float]) -> Path:
    results = {
        on: Result(
            items=200, accuracy={"average": value}, interval={"average": (value - 0.05, value + 0.05)},
            length_baseline={"average": 0.55}, random_baseline={"average": 0.5},
        )
        for on, value in accuracies.items()
    }  # fmt: skip
    EvaluationResults(language=language, results=results).write(folder)
    return folder


def record(stage: str, inputs: tuple[str, ...] = (), metrics: dict | None = None, **config) -> Record:
    return Record(
        stage=stage, key=f"{stage}1", digest="d" * 64, files=({"path": "f", "size": 1, "sha256": "0" * 64},), config=config,
        inputs={"given": [{"uri": uri, "digest": "0" * 64} for uri in inputs]}, metrics=metrics or {}, code_version="c",
        git_commit="0123abc", image=None, versions={"torch": "2.13.0"}, mlflow_run_id="run-7",
        started=datetime(2026, 1, 2, 3, 4, tzinfo=UTC), seconds=3.5, peak_memory_mib=900.0,
    )  # fmt: skip


def lineage(
    languages: tuple[str, ...] = LANGUAGES, model: str = TINY, instruction: str | None = None
) -> dict[str, Record]:
    at = "s3://key:secret@store/xlrm"
    records = {f"{at}/base": record("base", model=model), f"{at}/validate": record("validate")}
    for code in languages:
        metrics = {"demonstrations": 400.0, "heldout_rouge_l": 21.5, "steps": 100.0}
        records[f"{at}/sft/{code}"] = record("sft", (f"{at}/base",), metrics, language=code, instruction=instruction)
    for place, code in enumerate(languages):
        metrics = {"pairs": 500.0 + 10 * place}
        records[f"{at}/reward/{code}"] = record(
            "reward", (f"{at}/sft/{code}", f"{at}/validate"), metrics, language=code
        )
        records[f"{at}/evaluate/{code}"] = record("evaluate", (f"{at}/reward/{code}",), language=code)
    for code in languages:
        models = tuple(f"{at}/reward/{other}" for other in languages)
        records[f"{at}/best_of_n/{code}"] = record("best_of_n", models, language=code)
        records[f"{at}/gains/{code}"] = record("gains", models, language=code)
        records[f"{at}/judge/{code}"] = record("judge", (f"{at}/best_of_n/{code}",), language=code)
    return records


def rate(source: str, target: str, languages: tuple[str, ...] = LANGUAGES) -> float:
    """English 0.7, the own reward model 0.6, others from 0.5 on by their place."""
    return 0.7 if source == "en" else 0.6 if source == target else 0.5 + languages.index(source) / 100


def inputs(folder: Path, languages: tuple[str, ...] = LANGUAGES, **made) -> dict:
    """All that the stage reads."""
    rates = {target: {source: rate(source, target, languages) for source in languages} for target in languages}
    accuracies = {s: {t: 0.75 if s == t else 0.6 for t in languages} for s in languages}
    return {
        "evaluations": [evaluation(folder / f"evaluate-{code}", code, accuracies[code]) for code in languages],
        "best_of_n": [best_of_n(folder / f"best_of_n-{code}", code, languages) for code in languages],
        "gains": [gains(folder / f"gains-{code}", code, languages) for code in languages],
        "verdicts_best_of_n": [verdicts(folder / f"judge-best_of_n-{code}", code, rates[code]) for code in languages],
        "verdicts_rl": [
            verdicts(folder / f"judge-rl-{code}", code, {s: r - 0.05 for s, r in rates[code].items()}) for code in languages
        ],
        "registered": registered(folder / "register", languages),
        "lineage": lineage(languages, **made),
    }  # fmt: skip


def registered(folder: Path, languages: tuple[str, ...]) -> Path:
    Registered(versions={f"demo-{code}": "1" for code in languages}, aliases={"demo-de": ["champion"]}).write(folder)
    return folder


def run(given: dict, output: Path, languages: tuple[str, ...] = LANGUAGES, **config) -> tuple[dict[str, float], str]:
    output.mkdir(parents=True)
    metrics = reuse_report.run(reuse_report.Config(languages=languages, **config), **given, output=output)
    return metrics, (output / "report.html").read_text(encoding="utf-8")


def written_samples(folder: Path, best_of_n: Path, language: str, languages: tuple[str, ...]) -> Path:
    """Responses of 60 prompts, and rewards of them: by the own reward model 1 for each word good, by others chance."""
    rng = np.random.default_rng(0)
    rows, rewards = [], []
    for place in range(60):
        words = [["good" if rng.random() < 0.5 else "bad" for _ in range(6)] for _ in range(3)]
        texts = [" ".join(each) for each in words]
        rows.append(
            {
                "id": f"{language}{place}",
                "prompt": "say",
                "responses": texts,
                "finished": [True] * 3,
                "languages": [language] * 3,
            }
        )
        own = [float(each.count("good")) for each in words]
        given = {code: own if code == language else rng.normal(size=3).tolist() for code in languages}
        rewards.append({"id": f"{language}{place}", "subset": None, "rewards": given})
    path = folder / sampled.file(0, "eval", language)
    path.parent.mkdir(parents=True)
    write_jsonl(path, rows)
    write_jsonl(best_of_n / "rewards.jsonl", rewards)
    return folder
