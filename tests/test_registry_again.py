"""A registration that is finished is never judged anew, in whatever way it comes again."""

# ruff: noqa: F811

import json
import shutil
from pathlib import Path

import pytest
import refusals
from test_registry import (  # noqa: F401
    NAME,
    SETTINGS,
    aliases,
    command,
    corpus,
    evaluated,
    forget,
    newest_inputs,
    published,
    register,
    trained,
)

from xlrm.errors import GateError
from xlrm.evaluation import reward_table
from xlrm.run import runner
from xlrm.run.runner import run_stage
from xlrm.store import addresses, artifacts, provenance
from xlrm.tracking import mlflow_client, mlflow_registry


def registry() -> list:
    """All that MLflow keeps of the versions: tags, aliases, times of change, and the files with theirs."""
    client = mlflow_client.client()
    versions = [dict(client.get_model_version(NAME, one.number)) for one in mlflow_registry.models(NAME)]
    files = sorted(path for path in (addresses.home() / "mlartifacts").rglob("*") if path.is_file())
    return [versions, aliases(), [(str(path), path.stat().st_mtime_ns) for path in files]]


def inputs_of(artifact) -> dict[str, list[str]]:
    return {key: [one.uri for one in many] for key, many in artifact.record.inputs.items()}


# What had become of the version, each with whether it was promoted


def champion(register):
    return register(1, 7), 1.0


def followed_by_a_better_one(register):
    first = register(1, 6)
    register(2, 9)
    return first, 1.0


def refused(register):
    register(1, 7)
    return register(2, 6), 0.0


def refused_as_the_next_one_was(register):
    again = refused(register)
    register(3, 5)
    return again


def refused_by_a_champion_that_was_rolled_back(register):
    register(1, 6)
    register(2, 8)
    third = register(3, 7)
    command("promote", f"models:/{NAME}/1")
    return third, 0.0


def withdrawn(register):
    register(1, 6)
    second = register(2, 9)
    command("promote", f"models:/{NAME}/1")
    return second, 0.0


def promoted_by_hand(register):
    second, _ = refused(register)
    command("promote", f"models:/{NAME}/2")
    return second, 1.0


def promoted_by_hand_and_followed_by_a_better_one(register):
    again = promoted_by_hand(register)
    register(3, 9)
    return again


# How it comes again


def found_in_the_store(patch, inputs, tmp_path):
    return {}


def found_no_more(patch, inputs, tmp_path):
    for uri in sorted((addresses.home() / "store" / "register").iterdir()):
        shutil.rmtree(uri)
    return {}


def after_a_change_of_the_code(patch, inputs, tmp_path):
    patch.setattr(provenance, "code_version", lambda module: "another")
    return {}


def with_other_libraries(patch, inputs, tmp_path):
    patch.setattr(provenance, "versions", lambda module: {"python": "3.11.99"})
    return {}


def with_a_gate_that_lets_more_pass(patch, inputs, tmp_path):
    return {"margin": 1.0, "confidence": 0.51, "min_common_share": 0.1}


def with_a_gate_that_lets_less_pass(patch, inputs, tmp_path):
    return {"margin": 0.0, "confidence": 0.999}


def with_enforce(patch, inputs, tmp_path):
    return {"gate": "enforce"}


def by_another_address_of_mlflow(patch, inputs, tmp_path):
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{addresses.home()}/./mlflow.db")
    return {}


def in_another_run_of_kubeflow(patch, inputs, tmp_path):
    client = mlflow_client.client()
    experiment = client.create_experiment("again", artifact_location=(addresses.home() / "mlartifacts").as_uri())
    patch.setenv("MLFLOW_RUN_ID", client.create_run(experiment).info.run_id)
    patch.setenv("KFP_RUN_ID", "another")
    return found_no_more(patch, inputs, tmp_path)


def evaluated_on_another_machine(patch, inputs, tmp_path):
    inputs["evaluations"] = [evaluated_anew(inputs, tmp_path, lambda one: one | {"reward": one["reward"] * 1.001})]
    return {}


def evaluated_anew(inputs: dict, tmp_path: Path, change) -> str:
    """The same evaluation with each row of rewards.parquet changed."""
    import pyarrow.parquet

    (before,) = inputs["evaluations"]
    folder = tmp_path / "anew"
    shutil.copytree(artifacts.fetch(before, addresses.home() / "cache"), folder)
    rows = [change(one) for one in pyarrow.parquet.read_table(folder / reward_table.FILE).to_pylist()]
    reward_table.write(folder / reward_table.FILE, rows)
    return published("evaluate", folder, {"model": inputs["reward_models"][0]}, language="en", anew=True)


STATES = (
    champion, followed_by_a_better_one, refused, refused_as_the_next_one_was, refused_by_a_champion_that_was_rolled_back,
    withdrawn, promoted_by_hand, promoted_by_hand_and_followed_by_a_better_one,
)  # fmt: skip
WAYS = (
    found_in_the_store, found_no_more, after_a_change_of_the_code, with_other_libraries, with_a_gate_that_lets_more_pass,
    with_a_gate_that_lets_less_pass, with_enforce, by_another_address_of_mlflow, in_another_run_of_kubeflow,
    evaluated_on_another_machine,
)  # fmt: skip


@pytest.mark.parametrize("state", STATES, ids=lambda one: one.__name__)
def test_a_finished_registration_stays_as_it_is(state, register, tmp_path) -> None:
    first, promoted = state(register)
    before = registry()
    changed = {}
    for way in WAYS:
        inputs = inputs_of(first)
        with pytest.MonkeyPatch.context() as patch:
            config = SETTINGS | way(patch, inputs, tmp_path)
            try:
                found = run_stage("register", config, inputs).record.metrics["promoted/xlrm-en"]
            except GateError:
                found = 0.0
        if way is not found_in_the_store and found != promoted:  # whose artifact says what was decided then
            changed[way.__name__] = found
        if registry() != before:
            changed[way.__name__] = aliases()
            before = registry()
    assert changed == {}


@pytest.mark.parametrize("state", [champion, followed_by_a_better_one, refused, withdrawn])
def test_its_page_and_aliases_say_where_it_stands_now(state, register) -> None:
    first, _ = state(register)
    forget(first)
    again = run_stage("register", SETTINGS, inputs_of(first))
    files = artifacts.fetch(again.uri, addresses.home() / "cache")
    number, now = f"{again.record.metrics['version/xlrm-en']:.0f}", aliases()
    assert json.loads((files / "registered.json").read_text())["aliases"] == {NAME: list(now[number])}
    best = next(one for one in now if "champion" in now[one])
    for page in (files / "gate.md", files / NAME / "gate.md"):
        said = page.read_text()
        assert f"as version {number}; current champion: version {best}." in said and "becomes the champion" not in said


@pytest.mark.parametrize("state", [refused, withdrawn])
def test_with_enforce_a_refusal_is_one_each_time(state, register) -> None:
    first, _ = state(register)
    for _ in range(2):
        with refusals.refused(GateError, "register") as raised:
            run_stage("register", SETTINGS | {"gate": "enforce"}, inputs_of(first))
        assert "xlrm-en version 2: " in raised.value.message


def asked_of_others(one: dict) -> dict:
    return one | {"id": f"new-{one['id']}", "text": f"new-{one['text']}"}


@pytest.mark.parametrize("state", [followed_by_a_better_one, refused])
def test_a_model_that_was_asked_other_items_is_another_version(state, register, tmp_path) -> None:
    first, _ = state(register)
    before = registry()[0]
    inputs = inputs_of(first) | {"evaluations": [evaluated_anew(inputs_of(first), tmp_path, asked_of_others)]}
    assert run_stage("register", SETTINGS, inputs).record.metrics["version/xlrm-en"] == 3.0
    new, *old = mlflow_registry.models(NAME)
    assert new.tags["gate"] == "refused" and "0.0% of the items" in new.tags["gate.reason"]
    assert [one.tags for one in old] == [one["tags"] for one in before] and new.aliases == ("challenger",)
    kept = registry()
    forget(run_stage("register", SETTINGS, inputs))
    assert run_stage("register", SETTINGS, inputs).record.metrics["version/xlrm-en"] == 3.0 and registry() == kept


@pytest.mark.parametrize("state", [champion, withdrawn])
def test_a_champion_and_a_withdrawn_model_stay_whatever_they_are_asked(state, register, tmp_path) -> None:
    first, promoted = state(register)
    before = registry()
    inputs = inputs_of(first) | {"evaluations": [evaluated_anew(inputs_of(first), tmp_path, asked_of_others)]}
    assert run_stage("register", SETTINGS, inputs).record.metrics["promoted/xlrm-en"] == promoted
    assert registry() == before


def test_of_versions_of_one_model_the_champion_counts(register, tmp_path) -> None:
    first, _ = followed_by_a_better_one(register)
    inputs = inputs_of(first) | {"evaluations": [evaluated_anew(inputs_of(first), tmp_path, asked_of_others)]}
    third = run_stage("register", SETTINGS, inputs)
    command("promote", f"models:/{NAME}/1")
    forget(third)
    before = registry()
    metrics = run_stage("register", SETTINGS | {"gate": "enforce"}, inputs).record.metrics
    assert (metrics["version/xlrm-en"], metrics["promoted/xlrm-en"]) == (1.0, 1.0) and registry() == before


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_registration_cut_off_before_its_last_tag_is_gone_on_with(calls, register, monkeypatch) -> None:
    from mlflow import MlflowClient

    real, left = MlflowClient.set_model_version_tag, [None] * calls

    def cut_off(*arguments):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return real(*arguments)

    register(1, 7)
    monkeypatch.setattr(MlflowClient, "set_model_version_tag", cut_off)
    with pytest.raises(KeyboardInterrupt):
        register(2, 6)
    monkeypatch.setattr(MlflowClient, "set_model_version_tag", real)
    run_stage("register", SETTINGS, newest_inputs())
    tags = mlflow_registry.models(NAME)[0].tags
    assert (tags["gate"], tags["gate.champion"]) == ("refused", "1") and tags["gate.reason"].startswith("not better on")
    assert aliases() == {"2": ("challenger",), "1": ("champion",)}


def test_what_was_decided_is_read_from_the_tags_where_its_file_is_gone(register) -> None:
    first, _ = refused(register)
    for path in (addresses.home() / "mlartifacts").rglob("gate.json"):
        path.unlink()
    forget(first)
    before = registry()
    again = run_stage("register", SETTINGS, inputs_of(first))
    assert again.record.metrics["promoted/xlrm-en"] == 0.0 and registry() == before


def one_version_is_deleted(client) -> None:
    client.delete_model_version(NAME, "1")


def the_model_is_deleted(client) -> None:
    client.delete_registered_model(NAME)


def its_number_is_anothers(client) -> None:
    client.set_model_version_tag(NAME, "1", "digest", "another")


@pytest.mark.parametrize("loss", [one_version_is_deleted, the_model_is_deleted, its_number_is_anothers])
def test_a_version_that_is_gone_is_registered_again_and_found_by_then(loss, register) -> None:
    first = register(1, 7)
    loss(mlflow_client.client())
    given = inputs_of(first)
    again = run_stage("register", SETTINGS, given)
    assert again.uri != first.uri
    (version,) = (
        one
        for one in mlflow_registry.models(NAME)
        if one.tags["digest"] == artifacts.load(given["reward_models"][0]).digest
    )
    assert f"{again.record.metrics['version/xlrm-en']:.0f}" == version.number
    kept = registry()
    found = run_stage("register", SETTINGS, given)  # the first one, where the new version got its number
    assert found.record.metrics == again.record.metrics and runner.address("register", SETTINGS, given) == found.uri
    assert registry() == kept
