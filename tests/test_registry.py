"""Registered reward models: what is stored with a version, who is the champion, and the ways to get one back."""

import importlib
import json
import math
import os
import re
import shutil
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from phrasebook_settings import curated, sections
from refusals import refused
from safetensors.torch import load_file, save_file
from test_components import content, launched, pod_folders  # noqa: F401
from typer.testing import CliRunner

from components import _run, _stage, _step
from components.conclude import conclude
from xlrm import progress
from xlrm.cli import app
from xlrm.data import data_card
from xlrm.errors import ArtifactError, DataError, GateError
from xlrm.evaluation import reward_table
from xlrm.evaluation.credit import credit, tied
from xlrm.evaluation.results import EvaluationResults
from xlrm.evaluation.statistics import summary
from xlrm.models import chat_templates, loading, precisions
from xlrm.models.cards import BaseModelCard, RewardModelCard
from xlrm.registry import licence_terms, mlflow_loader, releases
from xlrm.run.experiment import build
from xlrm.run.runner import run_stage
from xlrm.scorers import engines, fingerprints
from xlrm.scorers.engines import TransformersScorer
from xlrm.scorers.interface import Scoring
from xlrm.stages import evaluate, reward
from xlrm.store import addresses, artifacts
from xlrm.store.jsonl import write_jsonl
from xlrm.tracking import mlflow_client, mlflow_registry, version_files
from xlrm.training import model_card

NAME = "xlrm-en"
CHATS = [
    [{"role": "user", "content": "How much is one plus two?"}, {"role": "assistant", "content": "Three."}],
    [{"role": "user", "content": "안녕하세요"}, {"role": "assistant", "content": "네, 안녕하세요! " * 20}],
]
SETTINGS = {"prefix": "xlrm", "resamples": 300}


def published(stage: str, folder, inputs: dict, **config):
    """An artifact in the store, as the runner makes it of what a stage wrote."""
    digest, _ = artifacts.digest_directory(folder)
    uri = f"{addresses.store()}/{stage}/{digest[:24]}"
    artifacts.publish(
        folder, uri, stage=stage, key=digest[:24], config=config, metrics={}, code_version="c", git_commit="0123abc",
        inputs={k: [artifacts.Input(uri=v, digest=artifacts.load(v).digest)] for k, v in inputs.items()}, image=None,
        versions={"python": "3.11.2", "torch": "2.13.0+cpu"}, started=datetime.now(UTC), seconds=1.0, peak_memory_mib=1.0,
        mlflow_run_id=None,
    )  # fmt: skip
    return uri


@pytest.fixture
def corpus(tmp_path) -> str:
    write_jsonl(
        tmp_path / "pairs.jsonl", [{"prompt": f"Say {i}", "chosen": f"{i}!", "rejected": "no"} for i in range(9)]
    )
    config = {
        "benchmark": "phrasebook", "prompts": "phrasebook", "parallel": None,
        "pairs": 32, "benchmark_items": 28, "train_prompts": 8, "eval_prompts": 8,
    }  # fmt: skip
    return run_stage("curate", config | {"preferences": ["phrasebook", str(tmp_path / "pairs.jsonl")]}, {}).uri


@pytest.fixture
def trained(tiny_base, tmp_path, corpus):
    """A reward model with weights of a seed, as the artifact of its training."""

    def made(seed: int) -> tuple[str, object]:
        folder = tmp_path / f"rm{seed}"
        tokenizer = loading.load_tokenizer(tiny_base)
        loading.new_reward_model(tiny_base, tokenizer, seed=seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        config = reward.Config(language="en").model_dump(mode="json")
        model_card.write_reward_model(folder, tiny_base, "en", 32, config, {"train_loss": 0.5})
        return published("reward", folder, {"corpora": corpus}, language="en"), folder

    return made


def evaluated(tmp_path, uri: str, folder, right: int) -> str:
    """An evaluation of a model that is right on `right` of ten items, with its real fingerprint."""
    output = tmp_path / f"evaluation{right}-{folder.name}"
    output.mkdir()
    fingerprints.write(output, engines.load(folder, Scoring()))
    rows = [
        {"id": f"b{i}", "subset": "facts", "section": "Chat", "prompt": f"p{i}", "chosen": "yes", "rejected": "no"}
        for i in range(200)
    ]
    scored = [([1.0], [0.0 if i % 10 < right else 2.0]) for i in range(200)]
    reward_table.write(output / reward_table.FILE, list(reward_table.records(reward_table.CORPUS, "en", rows, scored)))
    results = {"en": summary(rows, credit(rows, scored), tied(scored))}
    EvaluationResults(language="en", tie_policy="lost", results=results, benchmarks={}).write(output)
    return published("evaluate", output, {"model": uri}, language="en")


@pytest.fixture
def register(trained, tmp_path):
    """Registers the model of a seed that is right on so many of ten items."""

    def registered(seed: int, right: int, **config):
        uri, folder = trained(seed)
        inputs = {"reward_models": [uri], "evaluations": [evaluated(tmp_path, uri, folder, right)]}
        return run_stage("register", SETTINGS | config, inputs)

    return registered


def command(*arguments: object):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def aliases() -> dict[str, tuple[str, ...]]:
    return {one.number: one.aliases for one in mlflow_registry.models(NAME)}


def forget(artifact) -> None:
    """The stage's artifact is no more, so that the stage runs again."""
    shutil.rmtree(artifact.uri.removeprefix("file://"))


# What is stored with a version


def test_a_version_says_what_it_is_and_where_it_is_from(register, corpus, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KFP_RUN_ID", "run-1")
    done = register(1, 7)
    (version,) = mlflow_registry.models(NAME)
    tags = version.tags
    assert version.aliases == ("champion",) and version.metrics == {
        "accuracy/en/average": 0.7, "accuracy/en/Chat": 0.7
    }  # fmt: skip
    assert (tags["kfp.pipeline_run_id"], tags["git_commit"], tags["gate"]) == ("run-1", "0123abc", "promoted")
    assert tags["data.source_digest"] == artifacts.load(corpus).digest and tags["data.source_uri"] == corpus
    assert (
        tags["artifact_digest"] == artifacts.load(tags["artifact_uri"]).digest
        and "/evaluate/" in tags["evaluation_uri"]
    )
    assert done.record.metrics["promoted/xlrm-en"] == 1.0
    folder = tmp_path / "pulled"
    assert command("pull", f"models:/{NAME}@champion", folder).exit_code == 0
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: other\n") and "| setting | value |" in card
    for said in (
        "0.700 (0.6",
        "pairs.jsonl (your own): terms known to",
        "phrasebook (apache-2.0)",
        "## Limits",
        "0123abc",
    ):
        assert said in card, said
    assert json.loads((folder / "gate.json").read_text())["promoted"] is True
    assert "\ntorch==2.13.0\n" in (folder / "requirements.txt").read_text(), "a build's name is on no usual index"


def test_a_model_joins_the_run_that_kubeflow_injects(register, monkeypatch) -> None:
    client = mlflow_client.client()
    experiment = client.create_experiment("kubeflow", artifact_location=(addresses.home() / "mlartifacts").as_uri())
    above = client.create_run(
        experiment, tags={"kfp.pipeline_run_id": "kfp-9", "kfp.pipeline_run_url": "/#/runs/details/kfp-9"}
    )
    task = client.create_run(experiment, tags={"mlflow.parentRunId": above.info.run_id})
    monkeypatch.setenv("MLFLOW_RUN_ID", task.info.run_id)
    assert register(1, 7).record.mlflow_run_id == task.info.run_id
    (version,) = mlflow_registry.models(NAME)
    assert version.tags["kfp.pipeline_run_url"] == "/#/runs/details/kfp-9"
    assert client.get_model_version(NAME, version.number).run_id == task.info.run_id
    assert client.get_run(task.info.run_id).data.metrics["promoted/xlrm-en"] == 1.0


@pytest.mark.parametrize(
    ("base", "data", "licence", "said"),
    [
        (
            "Qwen/Qwen2.5-7B-Instruct",
            {"helpsteer2": "cc-by-4.0"},
            "apache-2.0",
            "no stated term forbids commercial use",
        ),
        ("Qwen/Qwen2.5-3B-Instruct", {"helpsteer2": "cc-by-4.0"}, "qwen-research", "not for commercial use"),
        ("Qwen/Qwen2.5-7B-Instruct", {"safe-rlhf": "cc-by-nc-4.0 (assumed)"}, "other", "not for commercial use"),
        ("meta-llama/Llama-3.2-3B-Instruct", {"a": "mit"}, "llama3.2", "no stated term forbids commercial use"),
        ("me/mine", {"a": "mit"}, "other", "no stated term forbids commercial use; terms unknown: me/mine"),
    ],
)
def test_the_licence_follows_from_the_base_and_the_data(base, data, licence, said) -> None:
    found = licence_terms.terms(base, data)
    assert (found.licence, licence_terms.summary(found)) == (licence, said)


def test_what_a_licence_asks_for_is_said() -> None:
    said = licence_terms.terms(
        "meta-llama/Llama-3.2-3B-Instruct", {"magpie": "llama3", "translations": "unknown"}
    ).lines
    assert 'displays "Built with Llama" and puts Llama at the beginning of its name' in said[0]
    assert (
        'displays "Built with Meta Llama 3"' in said[1] and "may be used to improve no large language model" in said[1]
    )
    assert "terms unknown" in said[2]
    (qwen,) = licence_terms.terms("Qwen/Qwen2.5-3B-Instruct", {}).lines
    assert 'not for commercial use; anyone who redistributes the model displays "Built with Qwen"' in qwen


def test_the_card_names_a_translator_whose_terms_nobody_knows_and_a_toy(trained, tmp_path) -> None:
    uri, folder = trained(1)
    toy = {"base_model": BaseModelCard(model="phrasebook-tiny", revision=None), "language": "ko"}
    RewardModelCard.read(folder).model_copy(update=toy).write(folder)
    made = artifacts.load(uri)
    origin = {
        str(i): made.model_copy(update={"stage": "translate", "config": {"language": "ko", "translator": who}})
        for i, who in enumerate(("phrasebook", "x-alma"))
    }
    evaluation = artifacts.fetch(evaluated(tmp_path, uri, folder, 7), addresses.home() / "cache")
    facts = releases.Facts("n", folder, "d", evaluation, origin, {"uri": data_card.card("en", {"preferences": {}}, {})})
    said = releases.card(facts)
    assert "translations by x-alma (unknown)" in said and "translations by phrasebook" not in said
    assert "- For tests of the pipeline only" in said and facts.terms.licence == "other"


def test_every_licence_of_a_known_set_is_understood() -> None:
    from xlrm.data.hub_sets import SOURCES
    from xlrm.models.base_models import BASE_MODELS

    for base in BASE_MODELS:
        assert not licence_terms.terms(base, {name: one.licence for name, one in SOURCES.items()}).unknown


# The gate


def test_a_better_model_becomes_champion_and_a_worse_one_challenger(register) -> None:
    register(1, 7)
    assert register(2, 6).record.metrics["promoted/xlrm-en"] == 0.0
    assert aliases() == {"2": ("challenger",), "1": ("champion",)}
    third = register(3, 9)
    assert aliases() == {"3": ("champion",), "2": (), "1": ()}
    assert third.record.metrics["difference/xlrm-en"] == pytest.approx(0.2)
    refused = mlflow_registry.models(NAME)[1]
    assert (refused.tags["gate"], refused.tags["gate.champion"]) == ("refused", "1")
    assert refused.tags["gate.reason"].startswith("not better on corpus: difference -0.100")
    files = artifacts.fetch(third.uri, addresses.home() / "cache")
    assert "| corpus | en | average | 200 | 0.700 | 0.900 | +0.200 |" in (files / "gate.md").read_text()
    registered = json.loads((files / "registered.json").read_text())
    assert registered["versions"] == {NAME: "3"} and registered["aliases"] == {NAME: ["champion"]}


def test_enforce_fails_after_all_is_stored_and_again_the_same_way(register) -> None:
    register(1, 7)
    with refused(GateError, "register") as raised:
        register(2, 6, gate="enforce")
    assert aliases() == {"2": ("challenger",), "1": ("champion",)}
    run = mlflow_client.client().get_run(_run_of(NAME, "2"))
    assert run.info.status == "FAILED" and run.data.metrics["promoted/xlrm-en"] == 0.0
    assert "xlrm-en version 2: not better on corpus" in raised.value.message
    kept = Path(raised.value.kept.removeprefix("file://"))
    assert json.loads((kept / "registered.json").read_text())["aliases"] == {NAME: ["challenger"]}
    given = [f"--inputs={key}={','.join(uris)}" for key, uris in newest_inputs().items()]
    again = command("stage", "register", "prefix=xlrm", "resamples=300", "gate=enforce", *given)
    assert again.exit_code == 2 and again.stdout == "", again.output
    error, page, remedy = again.stderr.splitlines()[-3:]
    assert error.startswith("error: ") and "xlrm-en version 2: not better on corpus" in error and "file:" not in error
    shown = Path(page.removeprefix("page: "))
    assert (
        shown.name == "gate.md" and shown.is_file() and shown.parents[1] == kept.parent and remedy.startswith("next: ")
    )
    assert aliases() == {"2": ("challenger",), "1": ("champion",)}


@pytest.mark.usefixtures("pod_folders")
def test_a_refusal_ends_the_step_and_its_page_is_at_the_top_of_the_run(register, capsys, monkeypatch) -> None:
    """Kubeflow keeps nothing of a task that failed."""
    register(1, 7)
    register(2, 6)
    monkeypatch.setenv(_run.RUN_ID, "run-1")
    _run.begin(
        _run.Run(
            pipeline="retrain",
            experiment=build({"name": "x", "targets": ["ko"], **sections(register=SETTINGS)}, {}, "test"),
        )
    )
    for label, (uri,) in zip(("reward-en", "evaluate-en"), newest_inputs().values(), strict=True):
        _run.note_made(label, uri)
    with pytest.raises(SystemExit) as ended:
        _step.main("register")
    line = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and re.search(
        "error: register: .*xlrm-en version 2: not better on corpus.*refused", line
    )
    status = {"state": "FAILED", "pipelineTaskName": "x", "pipelineJobResourceName": "x", "error": {}}
    page = content(launched(conclude, {"pipeline": "retrain", "status": status})["decision"])
    assert "does not become the champion" in page and "| corpus | en | average |" in page
    own = SimpleNamespace(path=str(addresses.home() / "page"))
    _stage._show_refused("register", own)
    assert Path(own.path).read_text() == page and page.startswith("# register: refused\n\nregister: not promoted")
    for label in ("curate", "validate"):
        _run.note_made(label, "file:///nothing/of/it/is/read")
    given = _run.inputs(_run.read().step("report"))
    assert artifacts.load(given["registered"]).stage == "register", "a report takes what was refused too"
    report = run_stage("report", {}, {key: given[key] for key in ("evaluations", "registered")}).uri
    (file,) = [one for one in artifacts.load(report).files if one.path == "report.html"]
    written = (artifacts.fetch(report, addresses.home() / "cache", (file,)) / file.path).read_text()
    assert "not better on corpus: difference -0.100" in written


def _run_of(name: str, number: str) -> str:
    return mlflow_client.client().get_model_version(name, number).run_id


def newest_inputs() -> dict:
    model, evaluation = (artifacts.newest(addresses.store(), stage) for stage in ("reward", "evaluate"))
    return {"reward_models": [model], "evaluations": [evaluation]}


def test_the_same_model_again_adds_no_version_and_is_not_compared_with_itself(register, tmp_path) -> None:
    first = register(1, 7)
    inputs = {key: [one.uri for one in many] for key, many in first.record.inputs.items()}
    forget(first)
    again = run_stage("register", SETTINGS, inputs)
    assert aliases() == {"1": ("champion",)} and again.record.metrics == first.record.metrics
    stricter = run_stage("register", SETTINGS | {"margin": 0.0, "gate": "enforce"}, inputs)
    assert stricter.record.metrics["promoted/xlrm-en"] == 1.0 and aliases() == {"1": ("champion",)}


def test_registering_goes_on_where_it_was_cut_off(register, monkeypatch) -> None:
    real = mlflow_registry.set_alias
    monkeypatch.setattr(mlflow_registry, "set_alias", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        register(1, 7)
    assert aliases() == {"1": ()}
    monkeypatch.setattr(mlflow_registry, "set_alias", real)
    run_stage("register", SETTINGS, newest_inputs())
    assert aliases() == {"1": ("champion",)} and mlflow_registry.models(NAME)[0].tags["gate"] == "promoted"


def test_a_rollback_is_one_command_and_stays(register) -> None:
    register(1, 6)
    second = register(2, 9)
    assert aliases() == {"2": ("champion",), "1": ()}
    done = command("promote", f"models:/{NAME}/1")
    assert done.exit_code == 0 and f"is models:/{NAME}/1; it was models:/{NAME}/2" in done.output
    assert aliases() == {"2": (), "1": ("champion",)}
    inputs = {key: [one.uri for one in many] for key, many in second.record.inputs.items()}
    forget(second)
    again = run_stage("register", SETTINGS, inputs)
    assert again.record.metrics["promoted/xlrm-en"] == 0.0 and aliases() == {"2": (), "1": ("champion",)}
    listed = command("models").output.splitlines()
    assert listed[0].startswith(f"models:/{NAME}/2  version 2  gate withdrawn  en/average 0.900")
    assert listed[1].startswith(f"models:/{NAME}@champion  version 1  gate promoted  en/average 0.600")
    assert command("promote", f"models:/{NAME}@champion").exit_code == 0
    assert mlflow_registry.models(NAME)[1].tags["gate"] == "promoted", "the champion does not take its own place"
    wrong = command("promote", f"models:/{NAME}/9")
    assert wrong.exit_code == 2 and "no such registered model" in wrong.output


def test_a_challenger_is_promoted_by_its_alias(register) -> None:
    register(1, 7)
    register(2, 6)
    done = command("promote", f"models:/{NAME}@challenger")
    assert f"models:/{NAME}@champion is models:/{NAME}/2; it was models:/{NAME}/1" in done.output
    assert aliases() == {"2": ("champion",), "1": ()}
    assert [one.tags["gate"] for one in mlflow_registry.models(NAME)] == ["by hand", "withdrawn"]
    assert command("promote", f"models:/{NAME}/1").exit_code == 0
    assert [one.tags["gate"] for one in mlflow_registry.models(NAME)] == ["withdrawn", "by hand"]


def meanwhile(monkeypatch, happens) -> None:
    """`happens` when the next version is stored and nothing is decided of it."""
    real = mlflow_registry.add_version

    def add_version(*arguments):
        number = real(*arguments)
        monkeypatch.setattr(mlflow_registry, "add_version", real)
        happens()
        return number

    monkeypatch.setattr(mlflow_registry, "add_version", add_version)


def test_a_champion_that_changes_while_a_model_is_stored_is_the_one_to_beat(register, monkeypatch) -> None:
    register(1, 6)
    register(2, 9)
    command("promote", f"models:/{NAME}/1")
    meanwhile(monkeypatch, lambda: command("promote", f"models:/{NAME}/2"))
    assert register(3, 8).record.metrics["promoted/xlrm-en"] == 0.0
    assert aliases() == {"3": ("challenger",), "2": ("champion",), "1": ()}
    assert mlflow_registry.models(NAME)[0].tags["gate.champion"] == "2"
    kept = mlflow_registry.download(f"models:/{NAME}/3", addresses.home(), "gate.json")
    assert json.loads(kept.read_text())["champion"] == "2"


def test_of_two_first_versions_at_once_the_better_one_becomes_champion(register, monkeypatch) -> None:
    meanwhile(monkeypatch, lambda: register(2, 9))
    assert register(1, 6).record.metrics["promoted/xlrm-en"] == 0.0
    assert aliases() == {"1": ("challenger",), "2": ("champion",)}


def test_rewards_of_the_champion_that_cannot_be_read_decide_nothing(register) -> None:
    register(1, 6)
    (file,) = (addresses.home() / "mlartifacts").rglob("evaluation/rewards.parquet")
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("nowhere")
    with pytest.raises(ArtifactError) as raised:
        register(2, 9)
    assert raised.value.where.startswith("MLflow, sqlite") and "rewards.parquet" in raised.value.message
    assert aliases() == {"1": ("champion",)}
    file.unlink()
    file.with_name("elsewhere").rename(file)
    run_stage("register", SETTINGS, newest_inputs())
    assert aliases() == {"2": ("champion",), "1": ()}


def test_an_evaluation_of_another_model_is_refused(trained, tmp_path) -> None:
    one, folder = trained(1)
    other, _ = trained(2)
    inputs = {"reward_models": [other], "evaluations": [evaluated(tmp_path, one, folder, 7)]}
    with refused(DataError, "register.evaluations"):
        run_stage("register", SETTINGS, inputs)
    assert mlflow_registry.models(NAME) == []


def changed(tmp_path, change) -> dict:
    """Inputs of the newest model, with its evaluation changed in a copy of its folder by `change`."""
    inputs = newest_inputs()
    folder = tmp_path / f"changed-{change.__name__}"
    shutil.copytree(artifacts.fetch(inputs["evaluations"][0], addresses.home() / "cache"), folder)
    change(folder)
    uri = published("evaluate", folder, {"model": inputs["reward_models"][0]}, language="en", changed=change.__name__)
    return inputs | {"evaluations": [uri]}


def edit(path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def with_a_reward(value: float):
    def change(folder) -> None:
        rows = pyarrow.parquet.read_table(folder / reward_table.FILE).to_pylist()
        reward_table.write(folder / reward_table.FILE, [*rows[:-1], rows[-1] | {"reward": value}])

    return change


def with_equal_rewards(folder) -> None:
    rows = pyarrow.parquet.read_table(folder / reward_table.FILE).to_pylist()
    reward_table.write(folder / reward_table.FILE, [row | {"reward": 0.0} for row in rows])


def without_a_language(folder) -> None:
    edit(folder / "results.json", language=None)


def with_an_infinite_accuracy(folder) -> None:
    results = json.loads((folder / "results.json").read_text())["results"]
    results["en"]["accuracy"]["average"] = float("inf")
    edit(folder / "results.json", results=results)


def with_a_probe_that_is_no_number(folder) -> None:
    edit(folder / fingerprints.Fingerprint.FILE, probes=[{"messages": [], "reward": float("nan")}])


def test_a_model_with_a_weight_that_is_no_number_is_registered_by_no_evaluation(trained, tmp_path) -> None:
    uri, folder = trained(1)
    evaluation = artifacts.fetch(evaluated(tmp_path, uri, folder, 9), addresses.home() / "cache")
    broken, copy = tmp_path / "broken", tmp_path / "evaluation"
    shutil.copytree(folder, broken)
    shutil.copytree(evaluation, copy)
    weights = load_file(broken / "model.safetensors")
    weights["model.embed_tokens.weight"][7] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    edit(copy / "results.json", note="of the other model")
    inputs = {"reward_models": [published("reward", broken, {}, language="en")]}
    inputs["evaluations"] = [published("evaluate", copy, {"model": inputs["reward_models"][0]}, language="en")]
    with pytest.raises(ArtifactError) as raised:
        run_stage("register", SETTINGS, inputs)
    assert raised.value.where.endswith("model.safetensors: model.embed_tokens.weight[7, 0]")
    assert mlflow_registry.models(NAME) == []


def test_a_head_of_zeros_becomes_no_champion(trained, tmp_path) -> None:
    uri, folder = trained(1)
    inputs = {"reward_models": [uri], "evaluations": [evaluated(tmp_path, uri, folder, 9)]}
    done = run_stage("register", SETTINGS, changed(tmp_path, with_equal_rewards))
    assert done.record.metrics["promoted/xlrm-en"] == 0.0 and aliases() == {"1": ("challenger",)}
    assert mlflow_registry.models(NAME)[0].tags["gate.reason"].startswith("not better than chance in en on corpus")
    by_hand = command("promote", f"models:/{NAME}/1")
    assert by_hand.exit_code == 2 and f"models:/{NAME}/1: rewards.parquet=0.0: " in by_hand.stderr
    assert aliases() == {"1": ("challenger",)}
    run_stage("register", SETTINGS, inputs)
    assert aliases() == {"2": ("champion",), "1": ()}


@pytest.mark.parametrize(
    ("change", "place", "value"),
    [
        (with_a_reward(float("nan")), "rewards.parquet: reward of b199 (rejected 0, en, corpus)", "nan"),
        (with_a_reward(float("inf")), "rewards.parquet: reward of b199 (rejected 0, en, corpus)", "inf"),
        (with_an_infinite_accuracy, "results.json: results.en.accuracy.average", "inf"),
        (with_a_probe_that_is_no_number, "fingerprint.json: probes.0.reward", "nan"),
        (without_a_language, "results.json: language", "None"),
    ],
    ids=["nan", "inf", "accuracy", "fingerprint", "language"],
)
def test_an_evaluation_that_says_nothing_registers_nothing(trained, tmp_path, change, place, value) -> None:
    uri, folder = trained(1)
    evaluated(tmp_path, uri, folder, 9)
    with pytest.raises(DataError) as raised:
        run_stage("register", SETTINGS, changed(tmp_path, change))
    assert raised.value.where.endswith(f"/{place}") and str(raised.value.value) == value
    assert "\n" not in str(raised.value) and mlflow_registry.models(NAME) == []


def test_of_several_evaluations_in_a_language_a_model_gets_its_own(trained, tmp_path) -> None:
    (one, first), (other, second) = trained(1), trained(2)
    evaluations = [evaluated(tmp_path, other, second, 9), evaluated(tmp_path, one, first, 7)]
    for inputs in (evaluations, evaluations[::-1]):
        done = run_stage("register", SETTINGS, {"reward_models": [other], "evaluations": inputs})
        assert mlflow_registry.models(NAME)[0].metrics["accuracy/en/average"] == 0.9
        forget(done)
    with refused(DataError, "register.reward_models", "xlrm-en"):
        run_stage("register", SETTINGS, {"reward_models": [one, other], "evaluations": evaluations})


def test_a_model_at_chance_is_a_challenger_and_no_champion(register) -> None:
    assert register(1, 5).record.metrics["promoted/xlrm-en"] == 0.0
    assert aliases() == {"1": ("challenger",)}
    with refused(GateError, "register") as raised:
        register(2, 4, gate="enforce")
    assert "xlrm-en version 2: not better than chance in en on corpus" in raised.value.message
    assert register(3, 7).record.metrics["promoted/xlrm-en"] == 1.0
    assert aliases()["3"] == ("champion",)


def without_lists() -> None:
    """All versions, as they were registered before files were listed."""
    for file in (addresses.home() / "mlartifacts").rglob(version_files.FILES):
        file.unlink()
    for model in mlflow_registry.models():
        mlflow_client.client().delete_model_version_tag(model.name, model.number, version_files.TAG)


def test_a_version_whose_rewards_are_no_numbers_is_not_promoted_by_hand(register) -> None:
    register(1, 7)
    register(2, 6)
    for file in (addresses.home() / "mlartifacts").rglob("evaluation/rewards.parquet"):
        with_a_reward(float("nan"))(file.parent)
    without_lists()
    done = command("promote", f"models:/{NAME}/2")
    assert done.exit_code == 2 and "nan" in done.stderr and aliases() == {"2": ("challenger",), "1": ("champion",)}


def test_rewards_of_the_champion_that_have_changed_decide_nothing(register) -> None:
    register(1, 7)
    (file,) = (addresses.home() / "mlartifacts").rglob("evaluation/rewards.parquet")
    with_a_reward(0.5)(file.parent)
    with refused(ArtifactError, f"models:/{NAME}/1/evaluation/rewards.parquet"):
        register(2, 9)
    assert aliases() == {"1": ("champion",)}


# Getting one back


@pytest.fixture
def registered(register, trained):
    """A registered model: its folder before, and the rewards it gave there."""
    register(1, 7)
    _, folder = trained(1)
    return folder, engines.load(folder, Scoring()).score(CHATS)


def test_pulled_by_mlflow_it_takes_conversations_and_gives_raw_logits(registered) -> None:
    import mlflow

    _, expected = registered
    mlflow.set_tracking_uri(addresses.tracking_uri())  # as MLFLOW_TRACKING_URI does in a new process
    mlflow.set_registry_uri(addresses.tracking_uri())
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    assert model.predict(pd.DataFrame({"messages": CHATS})) == pytest.approx(expected, abs=1e-5)
    assert model.predict([{"messages": chat} for chat in CHATS]) == pytest.approx(expected, abs=1e-5)
    pairs = pd.DataFrame({key: [chat[i]["content"] for chat in CHATS] for i, key in enumerate(("prompt", "response"))})
    assert model.predict(pairs) == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx([1 / (1 + np.exp(-one)) for one in expected], abs=0.1), (
        "the sigmoid is another number"
    )
    kept = [one["reward"] for one in json.loads(_fingerprint(registered))["probes"][:2]]
    assert model.predict(model.input_example) == pytest.approx(kept, abs=1e-5)
    assert [one.name for one in model.metadata.get_input_schema().inputs] == [
        "messages",
        "prompt",
        "response",
        "tools",
        "system",
        "history",
        "chat_template_kwargs",
    ]
    with pytest.raises(Exception, match="row 0: the last message is the one to score"):
        model.predict([{"messages": CHATS[0][:1]}])
    for wrong in (CHATS, ["Three."]):
        with pytest.raises(Exception, match="or lists of messages; there are none of these columns"):
            model.predict(wrong)
    assert list(model.predict(pd.DataFrame({"messages": []}))) == []


def _fingerprint(registered) -> str:
    return (mlflow_registry.cached(f"models:/{NAME}@champion") / fingerprints.Fingerprint.FILE).read_text()


def test_a_pulled_folder_is_a_plain_hugging_face_model(registered, tmp_path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    before, expected = registered
    folder = tmp_path / "pulled"
    assert command("pull", f"models:/{NAME}@champion", folder).exit_code == 0
    assert {one.name for one in before.iterdir()} <= {one.name for one in folder.iterdir()}
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    for chat, reward_before in zip(CHATS, expected, strict=True):
        ids = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            assert float(model.eval()(**ids).logits[0, 0]) == pytest.approx(reward_before, abs=1e-5)


def without_xlrm(monkeypatch: pytest.MonkeyPatch) -> None:
    """No import from xlrm works, of its packages neither, which Python finds by their own names."""
    for name in ["xlrm", *(name for name in sys.modules if name.startswith("xlrm."))]:
        monkeypatch.setitem(sys.modules, name, None)


def test_mlflow_needs_no_xlrm_to_load_it(registered, tmp_path, monkeypatch) -> None:
    """Its folder brings the code it is loaded by, and checks the fingerprint there too."""
    _, expected = registered
    folder = tmp_path / "copy"
    shutil.copytree(mlflow_registry.cached(f"models:/{NAME}@champion"), folder)
    monkeypatch.syspath_prepend(folder / "code")
    loader = importlib.import_module("xlrm_reward_model")
    without_xlrm(monkeypatch)
    assert loader._load_pyfunc(str(folder)).predict([{"messages": chat} for chat in CHATS]) == pytest.approx(
        expected, abs=1e-5
    )
    damage(folder)
    with pytest.raises(ValueError, match=r"model\.safetensors: corrupted"):
        loader._load_pyfunc(str(folder))
    list_files(folder)
    with pytest.raises(ValueError, match="not the model that was registered"):
        loader._load_pyfunc(str(folder))


@pytest.mark.parametrize("engine", ["from xlrm import scoring", "from xlrm.scorers import scorer as scoring"])
def test_a_version_loads_by_the_code_it_was_registered_with(registered, monkeypatch, engine) -> None:
    """Which asked an xlrm of before for its engine, in one of two places, and does without where there is none any more."""
    import mlflow

    _, expected = registered
    (file,) = (addresses.home() / "mlartifacts").rglob("code/xlrm_reward_model.py")
    text = (Path(__file__).parent / "golden" / file.name).read_text().replace("from xlrm import scoring", engine)
    assert engine in text
    file.write_text(text)
    monkeypatch.setattr(sys, "path", [*sys.path])  # MLflow adds the folder of the code
    monkeypatch.setitem(sys.modules, file.stem, None)
    del sys.modules[file.stem]
    mlflow.set_tracking_uri(addresses.tracking_uri())
    mlflow.set_registry_uri(addresses.tracking_uri())
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    assert Path(sys.modules[file.stem].__file__).read_text() == text
    assert model.predict(pd.DataFrame({"messages": CHATS})) == pytest.approx(expected, abs=1e-5)


def test_without_xlrm_a_model_reads_no_more_than_its_positions(tiny_base, tmp_path, monkeypatch) -> None:
    import transformers

    folder, tokenizer = tmp_path / "bert", loading.load_tokenizer(tiny_base)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(
        **shape,
        vocab_size=len(tokenizer),
        max_position_embeddings=48,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    fingerprints.write(folder, scorer := engines.load(folder, Scoring()))
    list_files(folder)
    expected = scorer.score(CHATS)
    without_xlrm(monkeypatch)
    found = mlflow_loader._load_pyfunc(str(folder)).predict([{"messages": chat} for chat in CHATS])
    assert found == pytest.approx(expected, abs=1e-5)


def list_files(folder) -> None:
    """Lists the files of a folder, as registering does."""
    (folder / version_files.FILES).unlink(missing_ok=True)
    listed = version_files.listed([folder])
    version_files.write(folder, (listed[path] for path in listed if path != "registered_model_meta"))


def damage(folder) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["score.weight"][0, :8] *= -1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "evaluation/rewards.parquet"])
def test_a_bit_that_flipped_in_the_registry_is_named_and_nothing_is_scored(registered, tmp_path, name) -> None:
    """Also where no probe of the fingerprint asks for it."""
    (file,) = (addresses.home() / "mlartifacts").rglob(name)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    (tmp_path / "in.jsonl").write_text(json.dumps({"messages": CHATS[0]}) + "\n")
    uri, out = f"models:/{NAME}@champion", tmp_path / "out.jsonl"
    for words in (
        ("score", "--model", uri, "--input", tmp_path / "in.jsonl", "--output", out),
        ("pull", uri, tmp_path / "p"),
    ):
        done = command(*words)
        said = done.stderr.strip().splitlines()[-1]
        assert done.exit_code == 2 and f"{NAME}/1/{name}: corrupted" in said, said
    assert not out.exists()


def test_a_damaged_head_is_refused_whoever_loads_it(registered, tmp_path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(mlflow_registry.cached(f"models:/{NAME}@champion"), folder)
    engines.load(folder, Scoring(precision="bfloat16"))
    damage(folder)
    for precision in ("float32", "bfloat16"):
        with refused(ArtifactError, folder):
            engines.load(folder, Scoring(precision=precision))
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": "p", "response": "r"}) + "\n")
    scored = command("score", "--model", folder, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    errors = [line for line in scored.stderr.splitlines() if not line.startswith(progress.PREFIX)]
    assert scored.exit_code == 2 and len(errors) == 1 and str(folder) in errors[0] and scored.stdout == ""
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("model.safetensors", "half", "cannot be loaded: model.safetensors: 346972 bytes, and by its header 693944"),
        ("model.safetensors", None, "not a model: no weights in safetensors"),
        ("config.json", "{", "not a valid JSON file"),
        ("tokenizer.json", None, "cannot be loaded"),
        ("fingerprint.json", "{", "not a fingerprint: Invalid JSON"),
    ],
)
def test_a_folder_that_is_not_whole_is_one_line(registered, tmp_path, file, content, said) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(mlflow_registry.cached(f"models:/{NAME}@champion"), folder)
    whole = (folder / file).read_bytes()
    (folder / file).unlink()
    if content:
        (folder / file).write_bytes(whole[: len(whole) // 2] if content == "half" else content.encode())
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": "p", "response": "r"}) + "\n")
    scored = command("score", "--model", folder, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert (
        scored.exit_code == 2 and said in scored.stderr and scored.stderr.strip().splitlines()[-1].startswith("error: ")
    )


def test_an_interrupted_pull_goes_into_the_same_folder_again(registered, tmp_path) -> None:
    folder = tmp_path / "pulled"
    (folder / ".part").mkdir(parents=True)
    (folder / ".part" / "model.safetensors").write_text("half")
    assert command("pull", f"models:/{NAME}@champion", folder).exit_code == 0
    assert {one.name for one in registered[0].iterdir()} <= {one.name for one in folder.iterdir()}
    assert not (folder / ".part").exists()
    for taken in (folder, folder / "config.json"):
        again = command("pull", f"models:/{NAME}@champion", taken)
        assert again.exit_code == 2 and f"FOLDER='{taken}': " in again.stderr
    assert (
        command("pull", f"models:/{NAME}@nosuch", tmp_path / "none").exit_code == 2 and not (tmp_path / "none").exists()
    )


def test_a_version_of_the_same_number_in_a_new_registry_is_fetched_again(registered, tmp_path) -> None:
    before = mlflow_registry.cached(f"models:/{NAME}@champion")
    mlflow_registry.tag(NAME, "1", {"digest": "another"})
    assert mlflow_registry.cached(f"models:/{NAME}/1") != before


def test_a_server_that_does_not_answer_is_one_line_without_its_password(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hidden@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for asked in (("models",), ("promote", "models:/m/1"), ("pull", "models:/m@champion", tmp_path / "m")):
        found = command(*asked)
        assert found.exit_code == 2 and len(found.stderr.strip().splitlines()) == 1, found.stderr
        assert "MLflow, http://127.0.0.1:9: " in found.stderr and "does the server run?" in found.stderr
        assert "hidden" not in found.stderr
    with refused(ArtifactError, "MLflow, http://127.0.0.1:9"):
        run_stage("curate", curated(pairs=32, benchmark_items=28, parallel=None).model_dump(mode="json"), {})


def test_a_person_waits_seconds_for_a_server_and_a_stage_minutes(monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "")  # so that it is put back
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    command("stage", "nosuch")
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
    command("models")
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"


def test_a_server_may_be_silent_for_long_while_it_passes_a_file_on(monkeypatch) -> None:
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT as SECONDS

    for said, inside in ((None, 3600), ("7", 7)):
        monkeypatch.delenv(SECONDS.name, raising=False)
        if said:
            monkeypatch.setenv(SECONDS.name, said)
        before = SECONDS.get()
        with mlflow_client.patiently():
            assert SECONDS.get() == inside
        assert SECONDS.get() == before


def test_every_image_of_a_task_can_say_who_it_is_to_mlflow() -> None:
    """Kubeflow's plugin says MLFLOW_TRACKING_AUTH=kubernetes, for which MLflow wants that package."""
    extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for image in ("train", "sample", "pipeline"):
        assert any(one.startswith(("kubernetes", "kfp==")) for one in extras[image]), image


def test_the_tolerance_lies_between_rounding_and_damage(registered) -> None:
    """Shares of the probes' spread, which docs/registry.md prints: `pytest -s -k tolerance tests/test_registry.py`."""
    import torch
    from transformers import AutoModelForSequenceClassification

    folder, _ = registered
    tokenizer = loading.load_tokenizer(folder)
    packed, half = (
        fingerprints.rewards(engines.load(folder, Scoring(precision=precision)), list(fingerprints.PROBES))
        for precision in ("float32", "bfloat16")
    )
    plain = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    one_by_one = [
        float(
            plain(torch.tensor(chat_templates.encode(tokenizer, [chat], fingerprints.MAX_LENGTH))).logits[0, 0].detach()
        )
        for chat in fingerprints.PROBES
    ]
    torch.manual_seed(0)
    head = plain.score.weight.data
    plain.score.weight.data = head + 0.3 * head.std() * torch.randn_like(head)
    plain.to(precisions.device())
    damaged = fingerprints.rewards(TransformersScorer(plain, tokenizer), list(fingerprints.PROBES))
    off = {
        name: np.abs(np.subtract(found, packed)).max() / np.ptp(packed)
        for name, found in (("one by one", one_by_one), ("bfloat16", half), ("a head with 30 % of noise", damaged))
    }
    print(off)
    assert off["one by one"] < fingerprints.TOLERANCE["float32"] / 10
    assert off["bfloat16"] < fingerprints.TOLERANCE["bfloat16"]
    assert off["a head with 30 % of noise"] > fingerprints.TOLERANCE["bfloat16"]


def test_another_chat_template_is_another_model(registered, tmp_path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(mlflow_registry.cached(f"models:/{NAME}@champion"), folder)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "\nassistant:")
    with refused(ArtifactError, folder):
        engines.load(folder, Scoring())


def test_a_model_that_answers_with_no_number_is_refused(registered) -> None:
    folder = mlflow_registry.cached(f"models:/{NAME}@champion")
    scorer = engines.load(folder, Scoring(precision="bfloat16"))
    scorer.network.score.weight.data.fill_(float("nan"))
    with pytest.raises(ArtifactError) as raised:
        fingerprints.check(folder, "bfloat16", scorer)
    assert raised.value.where == "conversation 1: reward" and math.isnan(raised.value.value)


def test_a_fingerprint_is_taken_in_the_precision_of_the_evaluation(trained, tmp_path) -> None:
    """So that no float32 weights are loaded for it; a coarser one is compared by its own tolerance in float32 too."""
    _, folder = trained(1)
    rows = [
        {"id": f"b{i}", "subset": "s", "section": "S", "prompt": "p", "chosen": "yes", "rejected": "no"}
        for i in range(4)
    ]
    write_jsonl(tmp_path / "corpora" / "en" / "benchmark.jsonl", rows)
    for precision in ("float32", "bfloat16"):
        output = tmp_path / precision / "output"
        output.mkdir(parents=True)
        config = evaluate.Config(language="en", precision=precision)
        evaluate.run(config, model=folder, corpora=tmp_path / "corpora", output=output)
        kept = fingerprints.Fingerprint.read(output)
        scorers = {name: engines.load(folder, Scoring(precision=name)) for name in ("float32", "bfloat16")}
        expected = fingerprints.rewards(scorers[precision], list(fingerprints.PROBES))
        assert [probe.reward for probe in kept.probes] == pytest.approx(expected, abs=1e-6) and np.ptp(expected) > 0.05
        assert kept.precision == precision and min(kept.tolerance.values()) == fingerprints.TOLERANCE[precision]
        for name, scorer in scorers.items():
            fingerprints.check(output, name, scorer)


def test_a_mlflow_that_knows_no_such_file_or_model(registered, tmp_path) -> None:
    with refused(ArtifactError, f"models:/{NAME}/1/nosuch.json"):
        mlflow_registry.download(f"models:/{NAME}@champion", tmp_path, "nosuch.json")
    with refused(ArtifactError, f"models:/{NAME}/7") as raised:
        mlflow_registry.download(f"models:/{NAME}/7", tmp_path)
    assert f"models:/{NAME}@champion" in raised.value.hint
