"""Artifacts passed between Kubeflow components through a real S3 server; secrets stay where they belong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xlrm import artifacts, storage
from xlrm.errors import ArtifactError
from xlrm.runner import run_stage

CURATE = {"pairs": 32, "benchmark_items": 28, "train_prompts": 8, "eval_prompts": 8, "parallel_texts": 8}
PIPELINE = f"""
import sys
from kfp import dsl, local
from components.curate import curate
from components.plan import plan
from components.translate import translate
from components.validate import validate

@dsl.pipeline(name="data-only")
def data_only(experiment: dict, targets: list) -> dsl.Artifact:
    corpus = curate(experiment=experiment, language="en").outputs["corpus"]
    parts = plan(experiment=experiment, targets=targets, corpus=corpus).outputs["Output"]
    with dsl.ParallelFor(parts) as part:
        translated = translate(experiment=experiment, language=part.language, shard=part.shard, corpus=corpus)
    checked = validate(
        experiment=experiment, source=corpus, translations=dsl.Collected(translated.outputs["translation"])
    )
    return checked.outputs["corpora"]

local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1])
experiment = {{"name": "s3", "stages": {{"curate": {CURATE!r}, "plan": {{"shards": 3}}}}}}
print("URI", data_only(experiment=experiment, targets=["es", "ko"]).outputs["Output"].metadata["artifact"])
"""


def run_pipeline(home: Path, s3_store: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "XLRM_HOME": str(home), "XLRM_STORE": s3_store}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-c", PIPELINE, str(home / "kfp")]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[1], check=False
    )


@pytest.mark.slow
def test_components_pass_their_artifacts_through_s3(home, s3_store, s3_server) -> None:
    done = run_pipeline(home, s3_store.uri)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    uri = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("URI"))
    assert uri.startswith(f"{s3_store.uri}/validate/")
    record = artifacts.load(uri)
    lineage = artifacts.lineage([uri])
    assert sorted(r.stage for r in lineage.values()) == ["curate", *["translate"] * 6, "validate"]
    assert all(found.startswith(s3_store.uri) for found in lineage)
    assert {f.path for f in record.files} >= {"en/preferences.jsonl", "es/preferences.jsonl", "ko/preferences.jsonl"}
    again = run_pipeline(home, s3_store.uri)
    assert again.returncode == 0 and again.stdout.count("reused") == 9, "nothing is made twice"
    folder = artifacts.fetch(uri, home / "cache")
    ids = [
        [json.loads(line)["id"] for line in (folder / code / "preferences.jsonl").open()] for code in ("en", "es", "ko")
    ]
    assert ids[0] == ids[1] == ids[2] and len(ids[0]) == 32, "three shards, put together in order"

    secrets = (s3_server.secret_key,)
    texts = [done.stdout, done.stderr, json.dumps([r.model_dump(mode="json") for r in lineage.values()])]
    texts += [path.read_text(errors="replace") for path in home.rglob("*") if path.is_file()]
    assert not [text[:200] for text in texts for secret in secrets if secret in text]


@pytest.mark.slow
def test_a_corrupted_or_missing_input_is_named(home, s3_store, s3_server, monkeypatch) -> None:
    monkeypatch.setenv("XLRM_STORE", s3_store.uri)
    corpus = run_stage("curate", CURATE, {})
    file = next(f for f in corpus.record.files if f.path == "preferences.jsonl")
    where = storage.join(corpus.uri, corpus.record.digest[:16], file.path)
    good = storage.read_bytes(where)
    s3_store.overwrite(where, good[:-1] + b"X")
    with pytest.raises(ArtifactError, match=file.path) as corrupted:
        run_stage("translate", {"language": "es"}, {"corpus": corpus.uri})
    assert where in str(corrupted.value)
    s3_store.delete(where)
    with pytest.raises(ArtifactError) as missing:
        run_stage("translate", {"language": "ko"}, {"corpus": corpus.uri})
    assert where in str(missing.value)
    s3_server.client.put_object(Bucket="lab", Key=where.removeprefix("s3://lab/"), Body=good)
    assert run_stage("translate", {"language": "ko"}, {"corpus": corpus.uri}).record.metrics["texts"] > 0
