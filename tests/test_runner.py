"""run_stage: the same work is never done twice, other work never taken for it, and killed work goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import phrasebook_settings as settings
import pytest
from pydantic import BaseModel
from refusals import refused

from xlrm.errors import ArtifactError, ConfigError, DataError, GateError
from xlrm.run import runner, sections
from xlrm.run.experiment import STAGES, Experiment, stage_config, stage_module
from xlrm.run.runner import run_stage
from xlrm.run.sections import CROSS_LINGUAL, REUSE
from xlrm.run.steps import Step, steps
from xlrm.store import addresses, artifacts, fields, objects, provenance
from xlrm.translation import translators

CURATE = settings.CURATE | {
    "pairs": 32, "benchmark_items": 28, "train_prompts": 8, "eval_prompts": 8, "parallel_texts": 8
}  # fmt: skip


def test_a_finished_stage_is_not_run_again(capsys) -> None:
    first = run_stage("curate", CURATE, {})
    assert "curate[en]: finished in" in capsys.readouterr().err
    again = run_stage("curate", CURATE, {})
    assert again == first
    assert "reused" in capsys.readouterr().err


def test_the_key_follows_config_inputs_and_code(monkeypatch) -> None:
    corpus = run_stage("curate", CURATE, {})
    assert run_stage("curate", CURATE | {"seed": 43}, {}).uri != corpus.uri
    spanish = run_stage("translate", {"language": "es", "translator": "phrasebook"}, {"corpus": corpus.uri})
    other = run_stage("curate", CURATE | {"seed": 43}, {})
    assert (
        run_stage("translate", {"language": "es", "translator": "phrasebook"}, {"corpus": other.uri}).uri != spanish.uri
    )
    monkeypatch.setattr(provenance, "code_version", lambda module: "changed")
    assert run_stage("curate", CURATE, {}).uri != corpus.uri


def test_only_the_files_a_stage_reads_count(monkeypatch) -> None:
    """A new benchmark leaves the reward model's inputs, and so the model, as they were."""
    corpora = []
    for items in (28, 42):
        corpus = run_stage("curate", CURATE | {"benchmark_items": items}, {})
        spanish = run_stage("translate", {"language": "es", "translator": "phrasebook"}, {"corpus": corpus.uri})
        inputs = {"source": corpus.uri, "translations": [spanish.uri]}
        corpora.append(run_stage("validate", {}, inputs).uri)
    assert corpora[0] != corpora[1]
    for name, same in (("reward", True), ("evaluate", False)):
        config = runner.stage_config(name, {"language": "es"})
        (first,), (second,) = (runner._given(name, config, {"corpora": uri})["corpora"] for uri in corpora)
        assert (first.digest == second.digest) is same


PLANNED = {("plan", "translate", field) for field in translators.Settings.model_fields} | {
    ("translate", "plan", "shards"), ("translate", "validate", "limits"), ("curate", "sample", "eval_prompts"),
}  # fmt: skip
"""(stage, section, field) where a field of another section counts: an estimate is of the translator, a shard is one of
`plan.shards`, translations are checked with the limits that `validate` has, and a corpus is free of the prompts that policies
are judged by."""
PLANNED_IN = {
    CROSS_LINGUAL: {("judge", "rl", "method")},
    REUSE: {("sample", "best_of_n", "n"), *(
        (stage, "reward", field) for stage in ("best_of_n", "judge") for field in ("bilingual", "translate_train")
    )},
}  # fmt: skip
"""The same for one pipeline: a policy trained online is named by its method; best-of-n has its candidates sampled, and further
reward models choose among them."""
TRIED: dict[str, Any] = {
    "plan.shards": 2,
    "sample.shards": 2,
    "judge.max_usd": 9.0,
    "validate.limits": {"loop_times": 9},
    "best_of_n.n": 8,
    "reward.bilingual": ("en+es",),
    "reward.translate_train": True,
    "sft.translated": ("translated", "round_trip"),
}
"""Values to try, where a pipeline has use for the field."""


def made_by(pipeline: str, sections: dict) -> list[Step]:
    """The steps of an experiment of these sections."""
    given = settings.sections(**{"rl": {}} | sections)
    return list(steps(pipeline, Experiment(name="test", pipeline=pipeline, targets=("es",), stages=given)).values())


MADE = [
    (pipeline, stage) for pipeline in PLANNED_IN for stage in sorted({step.stage for step in made_by(pipeline, {})})
]
"""Each pipeline with the stages that it has."""


def config_of(stage: str, sections: dict, pipeline: str = "") -> BaseModel:
    """The config that a pipeline (without one, the first that has it) gives to a stage, for an experiment of these sections."""
    pipeline = pipeline or next(name for name, other in MADE if other == stage)
    return stage_config(stage, next(step.config for step in made_by(pipeline, sections) if step.stage == stage))


@pytest.mark.parametrize(("pipeline", "stage"), MADE)
def test_no_field_of_another_section_counts(pipeline: str, stage: str) -> None:
    before = fields.counted(config_of(stage, {}, pipeline))
    planned = PLANNED | PLANNED_IN[pipeline]
    for other in set(STAGES) - {stage}:
        for field in stage_module(other).Config.model_fields:
            value = TRIED.get(f"{other}.{field}", "changed")
            changed = fields.counted(config_of(stage, {other: {field: value}}, pipeline))
            assert (changed == before) is ((stage, other, field) not in planned), f"{other}.{field}"


def test_every_stage_is_in_a_pipeline() -> None:
    assert {stage for _, stage in MADE} == set(STAGES)


def changes(config: BaseModel):
    """(field, the config with another value of it), for each number, switch, text and none, of nested settings too; whether
    a config of that value is allowed does not matter here."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            for inner, changed in changes(value):
                yield f"{name}.{inner}", config.model_copy(update={name: changed})
        elif value is None or isinstance(value, int | float | str):
            other = 1 if value is None else not value if isinstance(value, bool) else value + type(value)(1)
            yield name, config.model_copy(update={name: other})


PRICES = {"usd_per_gpu_hour", "max_gpu_hours", "max_usd", "rows", "prompt_tokens", "response_tokens"}
SCORING = {"batch_tokens", "device", "processes"}
ASKING = {"parallel", "retries", "timeout_seconds", "answer_tokens", "max_usd"}
NOT_COUNTED = {
    "align": {"save_steps"}, "best_of_n": SCORING, "evaluate": SCORING, "gains": SCORING, "sft": {"save_steps"},
    "external": {*SCORING, *(f"judge.{one}" for one in ASKING)},
    "judge": {*ASKING, *(f"scoring.{one}" for one in SCORING)},
    "plan": PRICES, "rank": SCORING, "represent": {"batch_tokens"}, "reward": {"save_steps", "translate_train"},
    "rl": {"save_steps", "generation_batch", "reward_patience_seconds"},
    "sample": {"shards", "parallel", "retries", "timeout_seconds", "usd_per_million", "max_usd"},
}  # fmt: skip
"""Fields of speed, patience, prices and estimates, and of what further steps a pipeline has, by stage."""


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("stage", STAGES)
def test_every_field_of_its_own_section_counts_but_those_that_cannot_change_a_result(stage: str) -> None:
    config = config_of(stage, {})
    same = {field for field, changed in changes(config) if fields.counted(changed) == fields.counted(config)}
    assert same == NOT_COUNTED.get(stage, set())


@pytest.mark.parametrize(
    ("stage", "settings", "counts"),
    [
        ("rank", {"precision": "float32"}, False),
        ("rank", {"precision": "bfloat16"}, True),
        ("evaluate", {"precision": "bfloat16"}, True),
        ("external", {"models": ("armorm",)}, True),  # whose row says bfloat16
        ("external", {"models": ("armorm",), "precision": "float32"}, False),
        ("external", {"models": ("org/scalar",)}, False),
        ("external", {"models": ("org/scalar",), "precision": "bfloat16"}, True),
        ("external", {"models": ("gpt-4o",), "precision": "bfloat16"}, False),  # none that is scored in batches
    ],
)
def test_tokens_in_a_batch_count_where_rewards_depend_on_the_batch(stage: str, settings: dict, counts: bool) -> None:
    few, many = (
        fields.counted(config_of(stage, {stage: settings | {"batch_tokens": tokens}})) for tokens in (1024, 4096)
    )
    assert (few != many) is counts


def test_how_often_a_judge_is_asked_at_once_and_for_what_is_no_reason_to_ask_it_again() -> None:
    before, after = (
        config_of("external", {"external": {"judge": {"parallel": parallel, "usd_per_million": {"m": price}}}})
        for parallel, price in ((8, (1.0, 2.0)), (64, (3.0, 4.0)))
    )
    assert before != after and fields.counted(before) == fields.counted(after)
    assert "seed" in fields.counted(before)["judge"]


def stored(files: dict[str, str], folder: Path) -> str:
    """URI of an artifact of these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    key = folder.name
    facts = {"stage": "made", "key": key, "config": {}, "inputs": {}, "metrics": {}, "code_version": "", "versions": {}}
    facts |= {"git_commit": None, "image": None, "started": datetime.now(UTC), "mlflow_run_id": None}
    uri = objects.join(addresses.store(), "made", key)
    artifacts.publish(folder, uri, **facts, seconds=1.0, peak_memory_mib=1.0)
    return uri


@pytest.mark.parametrize("stage", [stage for stage in STAGES if hasattr(stage_module(stage), "reads")])
def test_a_file_that_a_stage_does_not_read_does_not_count(stage: str, tmp_path) -> None:
    config = config_of(stage, {})
    for given, patterns in stage_module(stage).reads(config).items():
        files = dict.fromkeys(patterns, "read") | {"other.txt": "not read"}
        changes = {"same": {}, "unread": {"other.txt": "changed"}, "read": dict.fromkeys(patterns[-1:], "changed")}
        digests = {}
        for name, change in changes.items():
            uri = stored(files | change, tmp_path / f"{given}-{name}")
            (one,) = runner._given(stage, config, {given: uri})[given]
            digests[name] = one.digest
        assert digests["same"] == digests["unread"]
        assert (digests["read"] != digests["same"]) is bool(patterns), "no pattern: it is given for its record alone"


def test_the_code_of_a_stage_is_what_it_imports() -> None:
    assert "ko.yaml" in {path.name for path in provenance.files("xlrm.stages.translate")}
    assert "trl" in provenance.versions("xlrm.stages.reward")


def test_a_file_that_changed_is_curated_again(tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    config = {"preferences": [str(file)], "benchmark": "phrasebook", "benchmark_items": 14}
    uris = []
    for answer in ("a", "c"):
        file.write_text(json.dumps(row | {"chosen": answer}) + "\n")
        uris.append(run_stage("curate", config, {}).uri)
    assert uris[0] != uris[1]


@pytest.mark.parametrize(
    ("name", "config", "inputs", "error", "place", "value"),
    [
        ("nosuch", {}, {}, ConfigError, "stage", "nosuch"),
        ("curate", {"pears": 3}, {}, ConfigError, "curate.pears", 3),
        ("curate", {"pairs": "many"}, {}, ConfigError, "curate.pairs", "many"),
        ("curate", settings.CURATE | {"preferences": ["nosuch"]}, {}, ConfigError, "", "nosuch"),
        ("curate", settings.CURATE | {"benchmark": "gone.jsonl"}, {}, DataError, "gone.jsonl", None),
        (
            "translate",
            {"language": "ko", "translator": "phrasebook"},
            {"corpus": "file:///nosuch/curate/x"},
            ArtifactError,
            "file:///nosuch/curate/x",
            None,
        ),
        (
            "translate",
            {"language": "ko", "translator": "phrasebook"},
            {"corpus": "ftp://host/x"},
            ArtifactError,
            "",
            "ftp://host/x/artifact.json",
        ),
        ("reward", {"language": "ko"}, {"base": "file:///x"}, ConfigError, "reward.corpora", None),
        ("curate", settings.CURATE, {"corpus": "file:///x"}, ConfigError, "curate.corpus", None),
    ],
)
def test_wrong_input_is_one_clear_error_and_leaves_nothing(home, name, config, inputs, error, place, value) -> None:
    with refused(error, place, value):
        run_stage(name, config, inputs)
    assert not (home / "store").exists()


@pytest.mark.parametrize(("old", "new"), sections._RENAMED.items())
def test_a_former_name_of_a_field_is_answered_by_its_name(old: str, new: str) -> None:
    stage, *fields = old.split(".")
    config = 1
    for field in reversed(fields):
        config = {field: config}
    with refused(ConfigError, old, 1) as raised:
        run_stage(stage, config, {})
    assert raised.value.hint.endswith(f" {stage}.{new}")


def test_a_translator_that_is_not_there(home) -> None:
    corpus = run_stage("curate", CURATE, {})
    with refused(ArtifactError, "nosuch"):
        run_stage("translate", {"language": "ko", "translator": "nosuch"}, {"corpus": corpus.uri})


def test_what_a_gate_refuses_is_kept_and_is_no_artifact(home) -> None:
    """Also where the machine that ran it is gone: beside the place of the artifact."""
    corpus = run_stage("curate", CURATE, {})
    other = run_stage(
        "translate",
        {"language": "es", "translator": "phrasebook"},
        {"corpus": run_stage("curate", CURATE | {"seed": 7}, {}).uri},
    )
    for _ in range(2):
        with refused(GateError, "validate.max_reject_share", 0.05) as raised:
            run_stage("validate", {}, {"source": corpus.uri, "translations": [other.uri]})
    where = raised.value.kept
    assert "Spanish" in raised.value.message and str(raised.value).endswith(f"; see {where}")
    assert {uri.removeprefix(f"{where}/") for uri in objects.list_uris(where)} == {
        "data_docs.html", "rejects.jsonl", "summary.json",
    }  # fmt: skip
    assert artifacts.find(artifacts.place(where)) is None
    assert artifacts.load(artifacts.refused(where)).stage == "validate"


def test_a_record_says_how_it_was_made() -> None:
    corpus = run_stage("curate", CURATE, {})
    record = artifacts.load(
        run_stage("translate", {"language": "es", "translator": "phrasebook"}, {"corpus": corpus.uri}).uri
    )
    assert record.stage == "translate" and record.config["language"] == "es"
    assert record.inputs["corpus"][0].uri == corpus.uri
    assert record.metrics["texts"] > 0 and record.seconds > 0 and record.peak_memory_mib > 0
    assert record.mlflow_run_id and record.versions["python"]
    assert list(artifacts.lineage([objects.join(addresses.store(), "translate", record.key)])) == [
        corpus.uri,
        objects.join(addresses.store(), "translate", record.key),
    ]


RUN = """
import sys, time
from xlrm.run.runner import run_stage
from xlrm.stages import curate
real = curate.run
def slow(config, *, output):
    (output / "half.txt").write_text("half")
    print("begun", flush=True)
    time.sleep(float(sys.argv[1]))
    return real(config, output=output)
curate.run = slow
print(run_stage("curate", {"preferences": ["phrasebook"], "pairs": 32, "benchmark": "phrasebook"}, {}).uri, flush=True)
"""


def test_a_killed_stage_leaves_no_artifact_and_goes_on(home) -> None:
    environment = {**os.environ, "XLRM_HOME": str(home)}
    process = subprocess.Popen([sys.executable, "-c", RUN, "60"], stdout=subprocess.PIPE, text=True, env=environment)
    assert any("begun" in line for line in process.stdout)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((home / "store").rglob("artifact.json"))
    assert list((home / "work").rglob("half.txt")), "what the stage had done is kept for the next run"
    again = subprocess.run(
        [sys.executable, "-c", RUN, "0"], capture_output=True, text=True, env=environment, check=True
    )
    assert artifacts.load(again.stdout.split()[-1]).stage == "curate"
    assert not list((home / "work").rglob("half.txt"))


def test_two_runs_of_one_stage_wait_for_each_other(home) -> None:
    environment = {**os.environ, "XLRM_HOME": str(home)}
    command = [sys.executable, "-c", RUN, "2"]
    started = time.monotonic()
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    printed = [process.communicate(timeout=90)[0] for process in both]
    assert printed[0].split()[-1] == printed[1].split()[-1]
    assert sum("begun" in text for text in printed) == 1, "the second one finds what the first one made"
    assert time.monotonic() - started < 90


def test_metrics_that_are_not_numbers_are_a_bug_and_not_an_artifact(home, monkeypatch) -> None:
    from xlrm.stages import curate

    real = curate.run

    def broken(config, *, output: Path) -> dict[str, float]:
        return real(config, output=output) | {"accuracy": float("nan")}

    monkeypatch.setattr(curate, "run", broken)
    with pytest.raises(ValueError, match="accuracy"):
        run_stage("curate", CURATE, {})
    assert not list((home / "store").rglob("artifact.json"))
