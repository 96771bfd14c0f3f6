"""`reuse-rewards` from data to the report, with everything small: what its tasks do, in one process; and the process that makes
several steps of a task."""

import csv
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from components import _run, _stage, _step, _warm
from components.form import settle
from xlrm import progress
from xlrm.evaluation.best_of_n_results import BestOfNResults
from xlrm.evaluation.policy_gains import PolicyGains
from xlrm.evaluation.results import EvaluationResults, JudgeResults
from xlrm.models import prompt_limits, samples
from xlrm.models.cards import RewardModelCard
from xlrm.run.steps import Step
from xlrm.scorers import engines
from xlrm.store import addresses, artifacts
from xlrm.store.jsonl import read_rows

TWO = ("en", "de")
FURTHER: dict[str, object] = {
    "targets": ["de"],
    "corpora": {"de": {"preferences": ["phrasebook-judgments"], "benchmark": "phrasebook", "demonstrations": ["phrasebook"],
                       "prompts": "phrasebook", "seed": 2}},
    "reward.bilingual": ["de+en"], "reward.translate_train": True, "sft.translated": ["translated"],
    "translate.translator": "phrasebook", "reward.template": "plain", "reward.max_prompt_length": 24, "reward.max_length": 128,
}  # fmt: skip
"""Two languages with all of paper B's comparisons."""


@pytest.fixture(autouse=True)
def run_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_run.RUN_ID, "reuse-1")
    monkeypatch.setenv(_stage.TRIES, "1")


def configured(folder: Path, *overrides: tuple[str, object]) -> int:
    """Number of steps that are left, as the first task of a run says it."""
    page = SimpleNamespace(path=str(folder / "page" / "view"))
    return int(settle("reuse-rewards", {}, "demo_reuse_short", "", {}, dict(overrides), page).Output)


def folder_of(label: str) -> Path:
    return artifacts.fetch(_run.made(label) or "", addresses.home() / "cache")


def test_what_three_languages_begin_with(tmp_path: Path, home: Path) -> None:
    assert configured(tmp_path) == len(_run.read().steps())
    assert _run.read().experiment.languages == ("en", "de", "tr")


@pytest.mark.slow
def test_every_reward_model_optimises_every_policy_and_the_report_has_them_all(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture
) -> None:
    """With bilingual and translated data, and reward models that read the beginning of a prompt."""
    assert configured(tmp_path, *FURTHER.items()) == len(_run.read().steps())
    for label, step in _run.read().steps().items():
        capsys.readouterr()
        _run.note_made(label, _step.make(step, _run.read()))
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(progress.PREFIX)]
        assert lines[0].endswith(": started")
        assert all(line.startswith((f"{progress.PREFIX}{label}: ", f"{progress.PREFIX}{label}[")) for line in lines)
    for target, other in (TWO, TWO[::-1]):
        check_choices(target, (*TWO, "de+en", f"{other}>{target}"))
        gains = PolicyGains.read(folder_of(f"gains-{target}"))
        assert gains.labelers == TWO and all(estimate.value > 0 for estimate in gains.kl.values()), "policies moved"
        assert {labeler: [step.step for step in steps] for labeler, steps in gains.curves.items()} == {
            code: [1] for code in TWO
        }
        assert set(EvaluationResults.read(folder_of(f"evaluate-{target}")).results) == set(TWO)
        check_verdicts(f"judge-rl-{target}", TWO)
        check_translated(target, other)
    check_trained()
    check_report(folder_of("reuse_report"))
    assert _run.report() == _run.made("reuse_report")
    assert configured(tmp_path, *FURTHER.items()) == 0, "a second run reuses everything"
    assert configured(tmp_path, *FURTHER.items(), ("best_of_n.n", 3)) < len(_run.read().steps()) / 2, (
        "models and policies stay"
    )


def check_choices(target: str, labelers: tuple[str, ...]) -> None:
    """Samples of a target's policy, and the choices of all reward models."""
    chosen = BestOfNResults.read(folder_of(f"best_of_n-{target}"))
    assert (chosen.n, chosen.prompts, chosen.labelers, chosen.sizes) == (4, 12, labelers, (1, 2, 4))
    assert {labeler: set(of) for labeler, of in chosen.increases.items()} == {name: set(labelers) for name in labelers}
    drawn = read_rows(folder_of(f"sample-sft-{target}") / samples.file(0, "eval", target))
    picked = read_rows(folder_of(f"best_of_n-{target}") / samples.file(1, "eval", target))
    assert all(len(row["responses"]) == 5 for row in drawn)
    assert all(pick["responses"][0] in row["responses"][1:] for row, pick in zip(drawn, picked, strict=True))
    check_verdicts(f"judge-best_of_n-{target}", labelers)


def check_verdicts(label: str, systems: tuple[str, ...]) -> None:
    judged = JudgeResults.read(folder_of(label))
    assert tuple(judged.results) == systems and judged.reference == "sft"
    assert all(rate.items == 12 for rate in judged.results.values())


def check_translated(target: str, other: str) -> None:
    """The policy on the other language's demonstrations, by best-of-n and by reinforcement learning."""
    policy = f"{target}-from-{other}"
    theirs = read_rows(folder_of(f"validate-{policy}") / other / "demonstrations.jsonl")
    read = read_rows(folder_of(f"validate-{policy}") / target / "demonstrations.jsonl")
    assert [row["id"] for row in read] == [row["id"] for row in theirs]
    assert not {row["prompt"] for row in read} & {row["prompt"] for row in theirs}, "in the target's words"
    before, after = ((folder_of(f"{stage}-{policy}") / "model.safetensors").read_bytes() for stage in ("sft", "rl"))
    assert before != after
    for method in ("best_of_n", "rl"):
        check_verdicts(f"judge-{method}-{policy}", (f"{other} translated",))


def check_trained() -> None:
    """What the reward models were trained on."""
    pairs = {
        code: RewardModelCard.read(folder_of(f"reward-{code}")).pairs for code in ("en", "de", "de+en", "de-from-en")
    }
    assert pairs["de+en"] == pairs["en"] + pairs["de"], "pooled"
    assert pairs["de-from-en"] == pairs["en"], "translated"
    rows = {code: read_rows(folder_of("validate-en") / code / "preferences.jsonl") for code in TWO}
    assert [(row["id"], row["label"]) for row in rows["de"]] == [(row["id"], row["label"]) for row in rows["en"]]
    assert not {row["prompt"] for row in rows["de"]} & {row["prompt"] for row in rows["en"]}
    limits = {prompt_limits.of(engines.tokenizer_of(folder_of(f"reward-{code}"))) for code in pairs}
    assert limits == {24}


def check_report(report: Path) -> None:
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "xlrm-demo-reuse-short" in page and all(name in page for name in ("English", "German"))
    assert "Policies fine-tuned on translations" in page and "Translate-train (Table 17) is not in this run" not in page
    with (report / "tables" / "translated_sft.csv").open(encoding="utf-8-sig") as file:
        made = {(row["method"], row["language"], row["data"], row["source"]) for row in csv.DictReader(file)}
    assert made == {
        (method, target, "translated", other) for method in ("best_of_n", "rl") for target, other in (TWO, TWO[::-1])
    }


# The process that makes several steps


def test_several_steps_share_a_process_on_machines_without_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_warm, "here", lambda: 1)
    assert _warm.begin([Step("curate"), Step("plan")], {}) is None
    monkeypatch.setattr(_warm, "here", lambda: None)
    assert _warm.begin([Step("curate"), Step("plan")], {}) is None
    monkeypatch.setattr(_warm, "here", lambda: 0)
    assert _warm.begin([Step("curate")], {}) is None


def test_a_training_loads_what_trains_and_a_judge_no_model() -> None:
    assert "trl:RewardTrainer" in _warm.modules([Step("rl", ("de", "en"))]) and "torch" in _warm.modules(
        [Step("evaluate")]
    )
    assert "trl:RewardTrainer" not in _warm.modules([Step("evaluate")]) and "torch" not in _warm.modules(
        [Step("register")]
    )


@pytest.mark.slow
def test_the_copies_make_steps_and_say_how_they_ended(tmp_path: Path, home: Path) -> None:
    configured(tmp_path)
    warm = _warm.Warm((), _stage._environment())
    try:
        assert warm.make("curate") == 0 and _run.made("curate")
        assert warm.make("nowhere") == 2, "an error of the user"
        assert warm.make("curate-de") == 0 and _run.made("curate-de")
        os.kill(warm.process.pid, signal.SIGTERM)
        assert warm.make("curate-tr") == 128 + signal.SIGTERM, "it ends without a step"
        assert _stage._in_process("curate-tr", warm) == 0, "and the task goes on without it"
    finally:
        warm.end()
