"""A node's checkpoints on the store."""

from pathlib import Path

import pytest
from swift_server import FileStore, S3Store

from xlrm.store import objects, unfinished
from xlrm.training import checkpoints
from xlrm.training.kept_checkpoints import Kept, mark, marked

PART = {"processes": 4, "first": 2}


def checkpoint(folder: Path, step: int, part: dict = PART) -> Path:
    local = folder / f"checkpoint-{step}"
    (local / "global_step").mkdir(parents=True)
    (local / "global_step" / "state.pt").write_bytes(bytes([step]) * 1000)
    (local / "trainer_state.json").write_text(f'{{"step": {step}}}')
    mark(local, part)
    return local


@pytest.mark.parametrize(("nodes", "stay"), [(1, {3}), (2, {2, 3})])
def test_a_checkpoint_comes_back_as_it_was(store: FileStore | S3Store, tmp_path: Path, nodes: int, stay: set) -> None:
    kept = Kept.of_node(objects.join(store.uri, "unfinished/reward/key"), PART, nodes)
    assert kept.steps() == set()
    for step in (1, 2, 3):
        kept.send(checkpoint(tmp_path / "here", step))
    assert kept.steps() == stay
    kept.fetch(3, tmp_path / "there")
    here, there = (tmp_path / where / "checkpoint-3" for where in ("here", "there"))
    files = [path.relative_to(here) for path in sorted(here.rglob("*")) if path.is_file()]
    assert [path.relative_to(there) for path in sorted(there.rglob("*")) if path.is_file()] == files
    assert all((here / file).read_bytes() == (there / file).read_bytes() for file in files)


def test_what_is_half_there_or_of_other_processes_is_no_checkpoint(store: FileStore | S3Store, tmp_path: Path) -> None:
    unfinished_uri = objects.join(store.uri, "unfinished/reward/key")
    kept = Kept.of_node(unfinished_uri, PART, 2)
    kept.send(checkpoint(tmp_path, 1))
    objects.write(objects.join(kept.uri, "checkpoint-2", "trainer_state.json"), b"{")  # the record would be last
    assert kept.steps() == {1}
    assert Kept.of_node(unfinished_uri, PART | {"processes": 8}, 2).steps() == set()
    assert Kept.of_node(unfinished_uri, PART | {"first": 0}, 2).steps() == set()


def test_a_checkpoint_that_another_process_is_sending_is_not_there_yet(tmp_path: Path) -> None:
    kept = Kept.of_node((tmp_path / "store").as_uri(), PART, 2)
    kept.send(checkpoint(tmp_path / "here", 1))
    unsent = objects.local_path(kept.uri) / f"{objects.UNFINISHED}x" / "file"
    unsent.parent.mkdir()
    unsent.write_bytes(b"half")
    assert kept.steps() == {1} and len(objects.list_uris(kept.uri)) == 3
    kept.send(checkpoint(tmp_path / "here", 2))
    assert kept.steps() == {1, 2}


def test_a_file_that_was_cut_off_makes_no_whole_checkpoint(tmp_path: Path) -> None:
    local = checkpoint(tmp_path, 7)
    assert marked(local) == PART
    with (local / "global_step" / "state.pt").open("r+b") as file:
        file.truncate(500)
    assert marked(local) is None


def test_a_spoilt_checkpoint_leaves_the_one_before_it(s3_store: S3Store, tmp_path: Path, capfd) -> None:
    part = {"processes": 1, "first": 0}
    kept = Kept.of_node(s3_store.uri, part, 2)
    for step in (5, 10):
        kept.send(checkpoint(tmp_path / "here", step, part))
    s3_store.overwrite(objects.join(kept.uri, "checkpoint-10", "global_step", "state.pt"), b"x" * 1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "_kept", lambda _: kept)
        found = checkpoints.agreed(tmp_path / "there", "reward[en]", s3_store.uri)
    assert found == tmp_path / "there" / "checkpoint-5" and marked(found) == part
    assert "the checkpoint of step 10 is unusable" in capfd.readouterr().err


def test_what_a_stage_kept_goes_with_its_end(tmp_path: Path) -> None:
    output = tmp_path / "work" / "reward" / "key" / "output"
    Kept.of_node(unfinished.address(output), PART, 1).send(checkpoint(tmp_path, 1))
    other = unfinished.address(output.parents[1] / "other" / "output")
    objects.write(f"{other}/block", b"1")
    unfinished.remove(output)
    assert objects.list_uris(unfinished.address(output)) == [] and len(objects.list_uris(other)) == 1
    unfinished.remove(output)  # there is nothing any more
