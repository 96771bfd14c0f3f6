"""A home that was moved, renamed or copied works as before; who only looks leaves nothing; a pull of nothing is an error."""

# ruff: noqa: F811

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from refusals import refused
from test_registry import (  # noqa: F401
    CHATS,
    NAME,
    SETTINGS,
    aliases,
    command,
    corpus,
    evaluated,
    newest_inputs,
    published,
    register,
    trained,
)

from xlrm.errors import ArtifactError
from xlrm.run.runner import run_stage
from xlrm.store import addresses, artifacts, objects
from xlrm.tracking import mlflow_registry, mlflow_runs, moved_home


def at(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XLRM_HOME", str(home))
    return home


def renamed(home: Path, target: Path) -> None:
    home.rename(target)


def copied(home: Path, target: Path) -> None:
    """Beside which the first one is still there, with a model that only it has."""
    shutil.copytree(home, target)
    with mlflow_runs.run("xlrm", "later", {}, {}) as run:
        mlflow_registry.add_version("only-there", [home / "logs"], {}, "", run)


def better(tmp_path: Path) -> dict:
    """Inputs of `register`: the model of seed 1 by other bytes, and a better evaluation of it."""
    folder = tmp_path / "another"
    shutil.copytree(tmp_path / "rm1", folder)
    (folder / "notes.txt").write_text("another")
    uri = published("reward", folder, {}, language="en")
    return {"reward_models": [uri], "evaluations": [evaluated(tmp_path, uri, folder, 9)]}


@pytest.mark.parametrize("how", [renamed, copied])
def test_a_home_that_was_moved_works_as_before(how, register, tmp_path, monkeypatch) -> None:
    register(1, 7)
    before = addresses.home()
    (before / "logs").mkdir()
    (before / "logs" / "a.log").write_text("a")
    now = tmp_path / "another place" / "home"
    now.parent.mkdir()
    how(before, now)
    kept = sorted(before.rglob("*"))
    at(now, monkeypatch)
    assert command("models").stdout.startswith(f"models:/{NAME}@champion  version 1  gate promoted")
    assert command("pull", f"models:/{NAME}@champion", tmp_path / "pulled").exit_code == 0
    assert (tmp_path / "pulled" / "model.safetensors").is_file()
    (tmp_path / "in.jsonl").write_text(json.dumps({"messages": CHATS[0]}) + "\n")
    scored = command("score", "--model", f"models:/{NAME}@champion", "--input", tmp_path / "in.jsonl", "--output",
                     tmp_path / "out.jsonl")  # fmt: skip
    assert scored.exit_code == 0, scored.stderr
    made = [one for one in objects.list_uris(addresses.store()) if one.endswith("artifact.json")]
    again = run_stage("register", SETTINGS, newest_inputs())
    assert again.uri == artifacts.newest(addresses.store(), "register") and aliases() == {"1": ("champion",)}
    assert [one for one in objects.list_uris(addresses.store()) if one.endswith("artifact.json")] == made, (
        "none is made anew"
    )
    assert all(uri.startswith(addresses.store()) for uri in artifacts.lineage([again.uri]))
    run_stage("register", SETTINGS, better(tmp_path))
    assert aliases() == {"2": ("champion",), "1": ()} and sorted(before.rglob("*")) == kept, "nothing is written there"


def test_another_homes_database_is_left_alone(register, tmp_path, monkeypatch) -> None:
    """As where one database is used from two homes, and the other's disk is away."""
    register(1, 7)
    home, away = addresses.home(), tmp_path / "away"
    other = at(tmp_path / "other", monkeypatch)
    other.mkdir()
    shutil.copyfile(home / "mlflow.db", other / "mlflow.db")
    home.rename(away)
    before = _locations(other / "mlflow.db")
    assert command("models").exit_code == 0
    assert _locations(other / "mlflow.db") == before == [(home / "mlartifacts").as_uri()]


def _locations(database: Path) -> list[str]:
    with sqlite3.connect(database) as connection:
        found = connection.execute("select artifact_location from experiments where artifact_location like 'file:%'")
        return sorted(one for (one,) in found)


def test_a_pull_that_gives_nothing_is_an_error(register, tmp_path) -> None:
    register(1, 7)
    shutil.rmtree(addresses.home() / "mlartifacts" / "models")
    done = command("pull", f"models:/{NAME}@champion", tmp_path / "pulled")
    assert (
        done.exit_code == 2
        and f"error: models:/{NAME}/1: " in done.stderr
        and not list((tmp_path / "pulled").glob("*.json"))
    )
    with refused(ArtifactError, f"models:/{NAME}/1") as raised:
        mlflow_registry.cached(f"models:/{NAME}@champion")
    assert "mlartifacts/models" in raised.value.message


@pytest.mark.parametrize(
    "words",
    [
        ("models",),
        ("pull", "models:/a@champion", "out"),
        ("promote", "models:/a/1"),
        ("report",),
        ("artifacts",),
        ("gc",),
    ],
    ids=lambda words: words[0],
)
def test_who_only_looks_leaves_nothing_and_says_where_it_looked(words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XLRM_HOME")
    done = command(*words)
    assert list(tmp_path.iterdir()) == [] and done.exit_code == (2 if words[0] in ("pull", "promote", "report") else 0)
    assert str(tmp_path / ".xlrm") in done.output


def test_a_database_that_cannot_be_opened_is_an_error_of_the_user(tmp_path: Path) -> None:
    with refused(ArtifactError, tmp_path):
        moved_home.follow(tmp_path, tmp_path)
