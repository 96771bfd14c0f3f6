"""Checkpoints of a training whose nodes share no disk. Each node keeps the part of its own processes, and the training
resumes from the newest checkpoint that is complete on all nodes. The first process makes the choice.

transformers' `save_on_each_node` does not help: DeepSpeed ZeRO-3 gathers the full weights in the first process only
(`_zero3_consolidated_16bit_state_dict`), and only that process writes `latest` (`save_checkpoint`).
"""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm import progress
from xlrm.errors import ArtifactError
from xlrm.processes.launch import Nodes
from xlrm.store.unfinished import Sender
from xlrm.training import heldout
from xlrm.training.kept_checkpoints import WHOLE, Kept, mark, marked

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerState

_OF_THE_FIRST = ("trainer_state.json", "scheduler.pt", "latest")
"""Files that transformers and DeepSpeed write in the first process only but read in every process."""


def agreed(folder: Path, label: str, unfinished: str) -> Path | None:
    """Path of the newest checkpoint that is complete on every node, or None. All processes must call it. A node whose
    `folder` lacks that checkpoint downloads it from the store below `unfinished`; if the download fails, the one before
    is tried. Each node removes its other checkpoints."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    here = PartialState()
    _say_what_does_not_fit(folder, label)
    each = [steps for steps in gather_object([_steps_of_node(folder, unfinished)]) if steps is not None]
    steps = _by_the_first(sorted(set.intersection(*each)))
    while steps and not _on_every_node(_is_here(steps[-1], folder, label, unfinished)):
        steps.pop()
    step = steps[-1] if steps else 0
    _remove_others(folder, step)
    here.wait_for_everyone()
    if here.is_main_process and any(each):
        progress.say(
            f"{label}: "
            + (f"continues from step {step}" if step else "starts from the beginning: no checkpoint is on every node")
        )
    return _checkpoint(folder, step) if step else None


def _is_here(step: int, folder: Path, label: str, unfinished: str) -> bool:
    """Whether this node has the checkpoint; if not, its first process tries to download it from the store."""
    if not _is_first_of_node() or step in whole_steps(folder, _own_part()):
        return True
    progress.say(f"{label}: downloading the checkpoint of step {step} from the store")
    try:
        _kept(unfinished).fetch(step, folder)
    except ArtifactError as error:
        progress.say(f"{label}: the checkpoint of step {step} is unusable: {error}")
        return False
    return True


def _steps_of_node(folder: Path, unfinished: str) -> set[int] | None:
    """Steps of the checkpoints that this node has or can download; None in all but its first process."""
    if not _is_first_of_node():
        return None
    return whole_steps(folder, _own_part()) | _kept(unfinished).steps()


def _kept(unfinished: str) -> Kept:
    return Kept.of_node(unfinished, _own_part(), Nodes.from_environment().count)


def _say_what_does_not_fit(folder: Path, label: str) -> None:
    """Logs, on each node, the checkpoints that another division into processes wrote: they are discarded."""
    from accelerate import PartialState

    if not PartialState().is_local_main_process:
        return
    own = _own_part()
    for checkpoint in sorted(folder.glob("checkpoint-*")):
        if (part := marked(checkpoint)) and part != own:
            was, now = (f"{each['processes']} process(es), this node's from {each['first']} on" for each in (part, own))
            progress.say(f"{label}: {checkpoint.name} is removed: it was written by {was}, and this training has {now}")


def keeper(unfinished: str) -> "TrainerCallback":
    """Callback for transformers' Trainer that completes each checkpoint on every node and then removes older ones, so
    that every node always has the newest one that is complete on all. Each node uploads its part to the store below
    `unfinished` in the background; a checkpoint is not uploaded while a node still uploads an earlier one."""
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):
        def __init__(self) -> None:
            self.sender = Sender()

        def on_train_begin(self, args: Any, state: "TrainerState", control: Any, **kwargs: Any) -> None:
            state.save_steps = args.save_steps  # else a resumed training keeps the checkpoint's value

        def on_save(self, args: Any, state: "TrainerState", control: Any, **kwargs: Any) -> None:
            folder, step = Path(args.output_dir), state.global_step
            if state.is_world_process_zero:
                heldout.copy_best(folder.parent, _checkpoint(folder, step))
            _finish(folder, step)
            if _on_every_node(self.sender.idle) and step < state.max_steps and _is_first_of_node():
                self.send(_checkpoint(folder, step))

        def send(self, checkpoint: Path) -> None:
            kept, copy = _kept(unfinished), checkpoint.parents[1] / "sending" / checkpoint.name
            shutil.rmtree(copy.parent, ignore_errors=True)
            shutil.copytree(checkpoint, copy, copy_function=os.link)  # hard links survive the removal of the checkpoint
            self.sender.start(f"checkpoint {checkpoint.name}", lambda: kept.send(copy))

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.sender.wait()

    return Keeper()


def _is_first_of_node() -> bool:
    from accelerate import PartialState

    return PartialState().is_local_main_process


def whole_steps(folder: Path, part: dict[str, int]) -> set[int]:
    """Steps of the checkpoints in `folder` that are complete for this `part` of the processes."""
    return {int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*") if marked(path) == part}


def _finish(folder: Path, step: int) -> None:
    from accelerate import PartialState

    here, checkpoint = PartialState(), _checkpoint(folder, step)
    names = [name for name in _OF_THE_FIRST if (checkpoint / name).exists()]
    files = _by_the_first({name: (checkpoint / name).read_bytes() for name in names})
    if here.is_local_main_process and not here.is_main_process:
        for name, content in files.items():
            (checkpoint / name).write_bytes(content)
    here.wait_for_everyone()
    if here.is_local_main_process:
        mark(checkpoint, _own_part())
    here.wait_for_everyone()
    _remove_others(folder, step)


def _own_part() -> dict[str, int]:
    from accelerate import PartialState

    here = PartialState()
    return {"processes": here.num_processes, "first": here.process_index - here.local_process_index}


def _on_every_node(here: bool) -> bool:
    from accelerate.utils import gather_object

    return _by_the_first(all(gather_object([here])))


def _by_the_first(value: Any) -> Any:
    """Value of the first process, broadcast to every process."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value], from_process=0)[0]


def _remove_others(folder: Path, step: int) -> None:
    from accelerate import PartialState

    if PartialState().is_local_main_process:
        for other in set(folder.glob("checkpoint-*")) - {_checkpoint(folder, step)}:
            (other / WHOLE).unlink(missing_ok=True)  # first, so that a half-removed one is incomplete
            shutil.rmtree(other)


def _checkpoint(folder: Path, step: int) -> Path:
    return folder / f"checkpoint-{step}"
