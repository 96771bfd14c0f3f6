"""What is registered is what was made: its files are listed, checked where they are stored, and checked by all who read."""

import json
import random
import shutil
from pathlib import Path

import pytest
from refusals import refused
from safetensors import safe_open
from test_registry import NAME, SETTINGS, command, corpus, newest_inputs, register, registered, trained, without_lists  # noqa: F401

from xlrm.errors import ArtifactError
from xlrm.models import loading
from xlrm.registry import mlflow_loader
from xlrm.run.runner import run_stage
from xlrm.store import addresses, artifacts
from xlrm.tracking import mlflow_client, mlflow_registry, version_files

# ruff: noqa: F811
URI = f"models:/{NAME}@champion"
WEIGHTS = "model.safetensors"


@pytest.fixture
def stored(registered) -> Path:
    """Folder of the registered model's files in MLflow's store."""
    (file,) = (addresses.home() / "mlartifacts").rglob(WEIGHTS)
    return file.parent


def flip(file: Path, bit: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(bit // 8)
        byte = opened.read(1)[0]
        opened.seek(bit // 8)
        opened.write(bytes([byte ^ 1 << bit % 8]))


def bits(folder: Path) -> list[int]:
    """Numbers of 24 bits of the weights: 16 anywhere in tensors, 8 in rows of the embedding that no probe reads."""
    draw = random.Random(0)
    header = int.from_bytes((folder / WEIGHTS).read_bytes()[:8], "little")
    size, start = 8 * (folder / WEIGHTS).stat().st_size, 8 * (8 + header)
    described = json.loads((folder / WEIGHTS).read_bytes()[8 : 8 + header])["model.embed_tokens.weight"]
    (token,) = loading.load_tokenizer(folder).encode("하", add_special_tokens=False)
    row = start + 8 * (described["data_offsets"][0] + token * described["shape"][1] * 4)
    return [draw.randrange(start, size) for _ in range(16)] + [draw.randrange(row, row + 2048) for _ in range(8)]


def refused_everywhere(tmp_path: Path, stored: Path, name: str) -> None:
    """Every way to get the model ends in an error that names the file."""
    for left in (addresses.home() / "cache", tmp_path / "download"):
        shutil.rmtree(left, ignore_errors=True)
    with refused(ArtifactError, f"models:/{NAME}/1/{name}"):
        mlflow_registry.download(URI, tmp_path / "download")
    with refused(ArtifactError, f"models:/{NAME}/1/{name}"):
        mlflow_registry.cached(URI)
    with pytest.raises(ValueError, match=f"{stored / name}: "):
        mlflow_loader._load_pyfunc(str(stored))


def test_no_bit_of_the_weights_flips_unseen(stored, tmp_path) -> None:
    flipped = bits(stored)
    assert len(flipped) == 24
    for bit in flipped:
        flip(stored / WEIGHTS, bit)
        with refused(ArtifactError, f"models:/{NAME}/1/{WEIGHTS}"):
            mlflow_registry.cached(URI)
        with pytest.raises(ValueError, match=f"{WEIGHTS}: corrupted"):
            mlflow_loader._check_files(stored)
        flip(stored / WEIGHTS, bit)
    with safe_open(mlflow_registry.cached(URI) / WEIGHTS, "pt") as weights:
        assert weights.keys()


def test_no_bit_of_any_file_flips_unseen(stored, tmp_path) -> None:
    paths = [path for path in sorted(stored.rglob("*")) if path.is_file()]
    names = {path.relative_to(stored).as_posix() for path in paths}
    assert {"files.json", "gate.json", "evaluation/rewards.parquet", "code/xlrm_reward_model.py"} <= names
    for path in paths:
        bit = 4 * path.stat().st_size
        flip(path, bit)
        with refused(ArtifactError, f"models:/{NAME}/1/{path.relative_to(stored)}"):
            mlflow_registry.cached(URI)
        flip(path, bit)
    assert mlflow_registry.cached(URI).is_dir()


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json"])
def test_a_file_that_is_cut_or_missing_is_named(stored, tmp_path, name) -> None:
    whole = (stored / name).read_bytes()
    (stored / name).write_bytes(whole[: len(whole) // 2])
    refused_everywhere(tmp_path, stored, name)
    (stored / name).unlink()
    refused_everywhere(tmp_path, stored, name)


def test_an_added_file_is_refused_unless_no_loader_reads_it(stored, tmp_path) -> None:
    (stored / ".DS_Store").write_text("a")
    (stored / "code" / "__pycache__").mkdir()
    (stored / "code" / "__pycache__" / "xlrm_reward_model.pyc").write_text("a")
    assert mlflow_registry.cached(URI).is_dir()
    mlflow_loader._check_files(mlflow_registry.cached(URI))  # with MLflow's registered_model_meta
    (stored / "adapter_config.json").write_text("{}")
    refused_everywhere(tmp_path, stored, "adapter_config.json")
    with refused(ArtifactError, f"models:/{NAME}/1/adapter_config.json"):
        mlflow_registry.download(URI, tmp_path, "adapter_config.json")


def test_a_list_that_fits_other_files_is_not_that_of_the_version(stored, tmp_path) -> None:
    flip(stored / WEIGHTS, bits(stored)[0])
    entries = version_files.listed([stored])
    del entries[version_files.FILES]
    version_files.write(stored, entries.values())
    for file in ("", "evaluation/rewards.parquet", version_files.FILES):
        with refused(ArtifactError, f"models:/{NAME}/1/files.json"):
            mlflow_registry.download(URI, tmp_path / "download", file)
    (stored / version_files.FILES).unlink()
    refused_everywhere(tmp_path, stored, version_files.FILES)


def test_a_cached_model_that_has_changed_is_fetched_again(stored, capsys) -> None:
    folder = mlflow_registry.cached(URI)
    before = (folder / WEIGHTS).read_bytes()
    inode = folder.stat().st_ino
    assert mlflow_registry.cached(URI).stat().st_ino == inode, "downloaded once"
    flip(folder / WEIGHTS, 8 * len(before) - 3)
    assert mlflow_registry.cached(URI) == folder and (folder / WEIGHTS).read_bytes() == before
    assert f"{folder}: fetched again: models:/{NAME}/1/{WEIGHTS}: corrupted" in capsys.readouterr().err


def test_versions_from_before_there_were_lists_load_with_a_line_of_warning(stored, tmp_path, capsys) -> None:
    without_lists()
    version_files.say_unchecked.cache_clear()
    for _ in range(2):
        assert (mlflow_registry.cached(URI) / WEIGHTS).is_file()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "files.json" in line]
    assert f"models:/{NAME}/1: registered without files.json" in line
    mlflow_registry.add_files(mlflow_registry.version(URI), stored / "evaluation")
    assert mlflow_registry.download(URI, tmp_path / "again").is_dir(), "and stay without one"


def test_files_that_are_added_by_registering_are_listed_too(stored, tmp_path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "gate.md").write_text("another decision")
    before = mlflow_registry.version(URI)
    for _ in range(2):
        mlflow_registry.add_files(before, tmp_path / "more")
    assert (mlflow_registry.download(URI, tmp_path / "again") / "gate.md").read_text() == "another decision"
    assert mlflow_registry.version(URI).tags[version_files.TAG] != before.tags[version_files.TAG]


def cut_uploads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if the store kept half of the weights that it was sent."""
    kind = type(mlflow_client.client())
    real = kind.log_model_artifacts

    def cut(client, model_id: str, folder: str) -> None:
        real(client, model_id, folder)
        if (file := Path(folder, WEIGHTS)).is_file():
            half = tmp_path / "half"
            half.mkdir(exist_ok=True)
            (half / WEIGHTS).write_bytes(file.read_bytes()[: file.stat().st_size // 2])
            real(client, model_id, str(half))

    monkeypatch.setattr(kind, "log_model_artifacts", cut)


def test_an_upload_that_was_cut_makes_no_version(register, monkeypatch, tmp_path) -> None:
    with monkeypatch.context() as patch:
        cut_uploads(patch, tmp_path)
        with pytest.raises(ArtifactError) as raised:
            register(1, 7)
    assert raised.value.where.endswith(f"/artifacts/{WEIGHTS}") and "not stored as it was sent" in raised.value.hint
    assert mlflow_registry.models(NAME) == []
    run_stage("register", SETTINGS, newest_inputs())
    assert mlflow_registry.models(NAME)[0].aliases == ("champion",)


@pytest.mark.parametrize("left", [(), ("README.md", "MLmodel")])
def test_a_version_without_a_model_names_the_address(stored, tmp_path, left) -> None:
    without_lists()
    for path in list(stored.iterdir()):
        if path.name not in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tmp_path / "in.jsonl").write_text('{"prompt": "p", "response": "r"}\n')
    for words in (
        ("pull", URI, tmp_path / "p"),
        ("score", "--model", URI, "--input", tmp_path / "in.jsonl", "--output", "o"),
    ):
        done = command(*words)
        line = done.stderr.strip().splitlines()[-1]
        assert done.exit_code == 2 and line.startswith("error: ") and str(stored) in line, done.stderr


def test_a_file_added_to_an_artifact_is_refused(stored) -> None:
    uri = newest_inputs()["reward_models"][0]
    folder = artifacts.fetch(uri, addresses.home() / "cache")
    (folder / ".nfs1").write_text("a")
    assert artifacts.fetch(uri, addresses.home() / "cache") == folder
    (folder / "adapter_config.json").write_text("{}")
    with refused(ArtifactError, (folder / "adapter_config.json").as_uri()):
        artifacts.fetch(uri, addresses.home() / "cache")
