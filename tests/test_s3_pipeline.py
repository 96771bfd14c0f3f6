"""Artifacts passed between Kubeflow components through a real S3 server; secrets stay where they belong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import phrasebook_settings as settings
import pytest
from refusals import refused

from xlrm.errors import ArtifactError
from xlrm.run.runner import run_stage
from xlrm.store import artifacts, objects
from xlrm.store.jsonl import read_rows, write_jsonl

CURATE = settings.CURATE | {
    "pairs": 32, "benchmark_items": 28, "train_prompts": 8, "eval_prompts": 8, "parallel_texts": 8
}  # fmt: skip
EXPERIMENT = {
    "name": "s3", "targets": ["es", "ko"], "curate": CURATE, "translate": {"translator": "phrasebook"}, "plan": {"shards": 2},
    "base": {
        "model": "phrasebook-tiny",
        "pretraining": {
            "languages": ["en", "es", "ko"], "documents": 200, "layers": 2, "width": 64, "vocabulary": 1024,
            "batch_tokens": 2048,
        },
    },
    "reward": {
        "learning_rate": 5e-4, "batch_size": 8, "device_batch_size": 8, "gradient_checkpointing": False, "epochs": 10,
    },
    "register": {"prefix": "mine", "gate": "report", "benchmarks": ["learned"]},
}  # fmt: skip
PIPELINE = f"""
import os, sys, yaml
from kfp import local
from pipelines import placement
from pipelines.retrain import build

os.environ["KFP_RUN_ID"] = sys.argv[2]
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1])
experiment = {EXPERIMENT!r} | {{"evaluate": {{"benchmarks": [sys.argv[3]]}}}}
build(placement.load("local"))(experiment=yaml.safe_dump(experiment))
"""


def write_learned(home: Path, corpus: str) -> None:
    """The pairs that a model is trained on, as a benchmark: so small a model is better than chance on no others."""
    pairs = read_rows(artifacts.fetch(corpus, home / "cache") / "preferences.jsonl", ("prompt",))
    write_jsonl(home / "learned.jsonl", pairs)


def run_pipeline(home: Path, s3_store: str, run: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "XLRM_HOME": str(home), "XLRM_STORE": s3_store, "XLRM_TRIES": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-c", PIPELINE, str(home / "kfp" / run), run, str(home / "learned.jsonl")]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[1], check=False
    )


def made(store: str, run: str) -> dict[str, str]:
    """Label -> URI of what a run made or found."""
    folder = objects.join(store, "runs", run, "made")
    return {uri.rsplit("/", 1)[1]: objects.read_bytes(uri).decode() for uri in objects.list_uris(folder)}


@pytest.mark.slow
def test_tasks_find_each_others_artifacts_in_s3_and_a_finished_run_starts_none(
    home, s3_store, s3_server, monkeypatch
) -> None:
    write_learned(home, run_stage("curate", CURATE, {}, s3_store.uri).uri)
    done = run_pipeline(home, s3_store.uri, "one")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    uris = made(s3_store.uri, "one")
    shards = [f"translate-{code}-{number}of2" for code in ("es", "ko") for number in (1, 2)]
    assert set(uris) == {
        "curate",
        "plan",
        *shards,
        "validate",
        "base",
        "reward-en",
        "evaluate-en",
        "register",
        "report",
    }
    lineage = artifacts.lineage([uris["register"]])
    stages = ["base", "curate", "evaluate", "register", "reward", *["translate"] * 4, "validate"]
    assert sorted(r.stage for r in lineage.values()) == stages
    assert all(found.startswith(s3_store.uri) for found in lineage)
    record = lineage[uris["register"]]
    assert record.config["gate"] == "enforce" and record.metrics["version/mine-en"] == 1, "whatever the experiment says"
    folder = artifacts.fetch(uris["validate"], home / "cache")
    ids = [
        [json.loads(line)["id"] for line in (folder / code / "benchmark.jsonl").open()] for code in ("en", "es", "ko")
    ]
    assert ids[0] == ids[1] == ids[2] and len(ids[0]) == 28, "two shards, put together in order"
    assert [path.parent.name for path in folder.glob("*/preferences.jsonl")] == ["en"], "the only language it trains in"

    again = run_pipeline(home, s3_store.uri, "two")
    assert again.returncode == 0 and "configure: 12 of 12 steps were already finished" in again.stdout
    begun = {uri.split("/")[-2] for uri in objects.list_uris(objects.join(s3_store.uri, "runs", "two", "tasks"))}
    assert begun == {"configure"} and made(s3_store.uri, "two") == uris, "no other task was started"
    decision = next((home / "kfp" / "two").rglob("conclude/decision")).read_text()
    assert "promoted" in decision or "champion" in decision, "which a finished run still shows"

    secrets = (s3_server.secret_key,)
    texts = [done.stdout, done.stderr, json.dumps([r.model_dump(mode="json") for r in lineage.values()])]
    texts += [path.read_text(errors="replace") for path in home.rglob("*") if path.is_file()]
    assert not [text[:200] for text in texts for secret in secrets if secret in text]


@pytest.mark.slow
def test_a_corrupted_or_missing_input_is_named(home, s3_store, s3_server, monkeypatch) -> None:
    monkeypatch.setenv("XLRM_STORE", s3_store.uri)
    corpus = run_stage("curate", CURATE, {})
    file = next(f for f in corpus.record.files if f.path == "preferences.jsonl")
    where = objects.join(corpus.uri, corpus.record.digest[:16], file.path)
    good = objects.read_bytes(where)
    s3_store.overwrite(where, good[:-1] + b"X")
    with refused(ArtifactError, where):
        run_stage("translate", {"language": "es", "translator": "phrasebook"}, {"corpus": corpus.uri})
    s3_store.delete(where)
    with refused(ArtifactError, where):
        run_stage("translate", {"language": "ko", "translator": "phrasebook"}, {"corpus": corpus.uri})
    s3_server.client.put_object(Bucket="lab", Key=where.removeprefix("s3://lab/"), Body=good)
    assert (
        run_stage("translate", {"language": "ko", "translator": "phrasebook"}, {"corpus": corpus.uri}).record.metrics[
            "texts"
        ]
        > 0
    )
