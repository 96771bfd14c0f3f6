"""What goes of a store and a home, and what never does."""

import dataclasses
import fcntl
import json
import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from refusals import refused
from typer.testing import CliRunner

from xlrm.cli import app
from xlrm.errors import ConfigError
from xlrm.run import housekeeping
from xlrm.store import addresses, artifacts, objects
from xlrm.tracking import mlflow_registry, mlflow_runs

ROOT = Path(__file__).parents[1]
LOST = "was/elsewhere"
"""Where the store was when MLflow's tags and the records were written."""


def command(*words: object):
    return CliRunner().invoke(app, [str(one) for one in words])


def made(name: str, inputs: tuple[str, ...] = (), run: str | None = None) -> str:
    """The artifact `name`, stage/key, of one small file."""
    folder = addresses.home() / "made" / name
    folder.mkdir(parents=True)
    (folder / "file.txt").write_text(name)
    uri, (stage, key) = objects.join(addresses.store(), name), name.split("/")
    given = {"from": [artifacts.Input(uri=f"file:///{LOST}/{one}", digest="0" * 64) for one in inputs]}
    artifacts.publish(
        folder, uri, stage=stage, key=key, config={}, metrics={}, inputs=given, code_version="c", git_commit=None, image=None,
        versions={}, started=datetime.now(UTC), seconds=1.0, peak_memory_mib=1.0, mlflow_run_id=run,
    )  # fmt: skip
    return uri


def noted(run: str, *names: str, ended: bool = True) -> None:
    folder = objects.join(addresses.store(), "runs", run)
    objects.write(objects.join(folder, "run.json"), b"{}")
    for name in names:
        objects.write(
            objects.join(folder, "made", name.replace("/", "-")), objects.join(addresses.store(), name).encode()
        )
    if ended:
        objects.write(objects.join(folder, "end", "20260101T000000.000000Z-SUCCEEDED"), b"")


def registered(folder: Path, **tags: str) -> None:
    with mlflow_runs.run("xlrm", "register", {}, {}) as run:
        mlflow_registry.add_version("xlrm-en", [folder], tags, "", run)


@pytest.fixture
def house(store, monkeypatch) -> str:
    """A store with a registered model, a run that used it, a run beside it, an artifact of none, and what else there is."""
    monkeypatch.setenv("XLRM_STORE", store.uri)
    for name, inputs in {
        "curate/c": (), "reward/r": ("curate/c",), "evaluate/e": ("reward/r",), "sample/s": ("curate/c",),
        "align/a": ("reward/r",), "judge/j": ("align/a",), "rank/alone": (),
    }.items():  # fmt: skip
        made(name, inputs)
    (addresses.home() / "made" / "reward" / "r" / "config.json").write_text("{}")
    registered(
        addresses.home() / "made" / "reward" / "r",
        artifact_uri=f"file:///{LOST}/reward/r",
        evaluation_uri=f"file:///{LOST}/evaluate/e",
    )
    noted("kept", "curate/c", "reward/r", "sample/s")
    noted("beside", "curate/c", "reward/r", "align/a", "judge/j")
    for where in ("unfinished/reward/k/step", "images/0123abc/image", "answers/model/identity.json", "align/half/file"):
        objects.write(objects.join(store.uri, where), b"1")
    return store.uri


def names(kind: str | None = None) -> set[str]:
    return {one.name for one in housekeeping.look(addresses.store()).items if kind in (None, one.kind)}


def whole(uri: str) -> None:
    """Each artifact there is has its files, and all it was made from."""
    store = housekeeping.look(uri)
    for item in store.of(housekeeping.ARTIFACT):
        artifacts.fetch(item.uri, addresses.home() / "cache")
    assert store.lineage(store.records) == set(store.records)


def test_only_what_nothing_kept_uses_goes_and_only_when_asked(house) -> None:
    before = objects.list_uris(house)
    assert "0 B can be removed" in command("gc").output
    shown = command("gc", "--run", "beside")
    going = {"align/a", "judge/j", "runs/beside"}
    assert shown.exit_code == 0 and all(f"  {one} " in shown.output for one in going), shown.output
    assert objects.list_uris(house) == before, "shown, not removed"
    everything = names()
    assert command("gc", "--run", "beside", "--delete").exit_code == 0
    assert names() == everything - going
    whole(house)


def test_an_uploaded_file_stays_while_a_run_or_an_artifact_names_it(house) -> None:
    inputs = {name: f"{house}/inputs/{name * 64}/pairs.jsonl" for name in "abc"}
    for uri in inputs.values():
        objects.write(uri, b"{}")
    objects.write(objects.join(house, "runs", "kept", "run.json"), json.dumps({"curate": [inputs["a"]]}).encode())
    folder = addresses.home() / "made" / "curate" / "c"
    artifacts.publish(
        folder, objects.join(house, "curate", "uses"), stage="curate", key="uses", config={"preferences": [inputs["b"]]},
        metrics={}, inputs={}, code_version="c", git_commit=None, image=None, versions={}, started=datetime.now(UTC),
        seconds=1.0, peak_memory_mib=1.0, mlflow_run_id=None,
    )  # fmt: skip
    noted("third", "curate/uses")
    uploaded = {name: f"inputs/{name * 64}" for name in "abc"}
    assert {*uploaded.values()} == names(housekeeping.INPUT)
    assert command("gc", "--delete").exit_code == 0 and {*uploaded.values()} == names(housekeeping.INPUT), "all are new"
    assert command("gc", "--run", "third", "--delete").exit_code == 0

    def going(days: float) -> set[str]:
        items = housekeeping.plan(housekeeping.look(house), days)
        return {item.name for item in items if item.kind == housekeeping.INPUT and item.why}

    assert going(30) == set()
    assert going(0) == {*uploaded.values()}, "with every run"
    old = time.time() - 40 * housekeeping.DAY
    store = housekeeping.look(house)
    store.items = [
        dataclasses.replace(item, changed=old) if item.kind == housekeeping.INPUT else item for item in store.items
    ]
    left = {item.name for item in housekeeping.plan(store, 30) if item.kind == housekeeping.INPUT and not item.why}
    assert left == {uploaded["a"]}, "the run that named b, and its artifact, are gone"


def test_what_is_registered_stays_whatever_its_age_and_so_do_answers(house) -> None:
    assert command("gc", "--older-than", 0, "--delete").exit_code == 0
    assert names() == {"curate/c", "reward/r", "evaluate/e", "answers/model"}
    whole(house)
    assert mlflow_registry.download("models:/xlrm-en/1", addresses.home() / "pulled").is_dir()


def test_a_removal_that_was_cut_off_leaves_whole_artifacts_and_is_gone_on_with(house, monkeypatch) -> None:
    """Each time in the middle of the first folder it comes to."""
    place = type(objects._at(house))

    def cut_off(self) -> None:
        files = [one for one in objects.list_uris(self.uri) if not one.endswith(artifacts.RECORD)]
        objects._at(files[0]).remove()
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(place, "remove_below", cut_off)
            assert command("gc", "--run", "beside", "--delete").exit_code != 0
        whole(house)
    assert command("gc", "--run", "beside", "--delete").exit_code == 0
    assert not names() & {"align/a", "judge/j", "runs/beside"} and {"sample/s", "runs/kept"} <= names()


@pytest.mark.parametrize("store", ["file"], indirect=True)
def test_a_run_that_was_removed_in_part_is_removed_again(house) -> None:
    """Though the note of its end is gone."""
    objects._at(f"{house}/runs/beside/run.json").remove()
    objects.remove_directory(f"{house}/runs/beside/end")
    assert command("gc", "--run", "beside", "--delete").exit_code == 0 and "runs/beside" not in names()


@pytest.mark.parametrize("store", ["file"], indirect=True)
def test_a_run_is_named_right_and_has_ended(house) -> None:
    noted("going", "align/a", ended=False)
    for name, hint in (("going", ""), ("nosuch", "there are beside, going, kept")):
        with refused(ConfigError, "--run", name) as raised:
            housekeeping.plan(housekeeping.look(house), 30, [name])
        assert raised.value.hint == hint


def aged(path: Path, days: float) -> Path:
    for one in [*path.rglob("*"), path]:
        os.utime(one, (time.time() - days * housekeeping.DAY,) * 2)
    return path


def local(*parts: str) -> Path:
    """A file of the home, forty days old, in its folder."""
    path = addresses.home().joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1")
    return aged(path, 40)


def test_the_home_is_rid_of_what_can_be_made_again(home) -> None:
    digest, models = "a" * 64, "cache/models/1/xlrm-en/2/3"
    made("reward/done")
    going = [
        local("work", "align", "old", "checkpoint"), local("work", "reward", "done", "left"), local("cache", digest, "f"),
        local(*models.split("/"), "f"), local("kfp", "demo-1", "page"), local("logs", "demo-1.log"),
    ]  # fmt: skip
    staying = [
        local("cache", "translation_memory", "a.sqlite"), local("reports", "demo.html"), local("mlartifacts", "m", "f"),
        local("work", "align", "young", "checkpoint"), local("logs", "demo-2.log"),
    ]  # fmt: skip
    aged(home / "work" / "align" / "old", 40), aged(home / "work" / "align" / "young", 2), aged(staying[-1], 2)
    assert command("gc").exit_code == 0 and all(one.exists() for one in going + staying)
    assert command("gc", "--delete").exit_code == 0
    assert [one for one in going if one.exists()] == [] and all(one.exists() for one in staying)


def test_nothing_a_stage_at_work_may_have_taken_goes(home) -> None:
    made("rank/alone"), local("work", "align", "old", "checkpoint"), local("cache", "a" * 64, "f")
    other = local("work", "align", "other", "checkpoint")
    with (home / "work" / "align" / "old.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = command("gc", "--older-than", 0, "--delete")
        assert "align/old: running" in done.output and names() == {"rank/alone"}
        assert (home / "work" / "align" / "old" / "checkpoint").exists() and (
            home / "cache" / ("a" * 64) / "f"
        ).exists()
    assert not other.exists()
    assert command("gc", "--older-than", 0, "--delete").exit_code == 0 and names() == set()


def test_what_another_mlflow_has_registered_stays(home) -> None:
    """One that this address does not lead to: its tags cannot be read here."""
    made("curate/c"), made("reward/r", ("curate/c",)), made("register/there", ("reward/r",), "0123")
    with mlflow_runs.run("xlrm", "register", {}, {}) as run:
        pass
    made("reward/x"), made("register/here", ("reward/x",), run.id)  # whose version was deleted
    assert command("gc", "--older-than", 0, "--delete").exit_code == 0
    assert names() == {"curate/c", "reward/r", "register/there"}


@pytest.mark.parametrize("store", ["file"], indirect=True)
def test_artifacts_says_what_uses_each(house) -> None:
    rows = {one["key"]: one for one in map(json.loads, command("artifacts", "--json").stdout.splitlines())}
    assert set(rows) == {"c", "r", "e", "s", "a", "j", "alone"}
    assert (rows["r"]["runs"], rows["r"]["registered"]) == (["beside", "kept"], ["models:/xlrm-en/1"])
    assert (rows["c"]["registered"], rows["a"]["registered"], rows["alone"]["runs"]) == (["models:/xlrm-en/1"], [], [])
    item = next(one for one in housekeeping.look(house).items if one.name == "reward/r")
    assert (rows["r"]["uri"], rows["r"]["size"]) == (f"{house}/reward/r", item.size) and item.size > len("reward/r")
    table = command("artifacts", "reward").stdout.splitlines()
    assert table[0].split()[0] == "stage" and len(table) == 2 and "beside +1" in table[1]


def test_make_clean_leaves_models_and_runs() -> None:
    removed = subprocess.run(
        ["make", "--dry-run", "clean"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert ".venv" in removed and ".xlrm" not in removed
