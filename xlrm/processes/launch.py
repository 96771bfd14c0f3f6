"""Work in one process or in many: a function `module:name` of a folder, called here, or by `accelerate launch` in every
process. A training has DeepSpeed ZeRO-3 around it, on this node or on several; scoring has several processes on one node.

On several nodes the same stage is run on each, by a Kubeflow TrainJob or anything else that sets the variables of
torchrun: PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR, PET_MASTER_PORT.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError, XlrmError

METRICS = "metrics.json"
"""File in a training's folder after its end, on each node: the metrics on the first node, {} on the others."""
PATIENCE_S = 1800
"""Seconds that a process waits for the others; the first one writes a whole model in that time."""
_REASON = "error.txt"
"""File with the error of the first process of a node that failed."""


@dataclass(frozen=True)
class Nodes:
    """The nodes of a training, from torchrun's variables; a single node without them."""

    count: int = 1
    rank: int = 0
    address: str = "127.0.0.1"
    port: int = 29500

    @classmethod
    def from_environment(cls) -> "Nodes":
        """Raises ConfigError for variables that contradict each other."""
        names = ("PET_NNODES", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT")
        count, rank, address, port = (
            os.environ.get(n) or str(v) for n, v in zip(names, (1, 0, cls.address, cls.port), strict=True)
        )
        if not (count.isdigit() and rank.isdigit() and port.isdigit() and int(rank) < int(count)):
            raise ConfigError(
                "whole numbers are required, with the rank below the number of nodes",
                where="PET_NNODES, PET_NODE_RANK, PET_MASTER_PORT", value=(count, rank, port),
            )  # fmt: skip
        return cls(int(count), int(rank), address, int(port))


def processes(wanted: int) -> int:
    """Processes on this node: `wanted`, or for 0 one per GPU, or one without GPUs. Raises ConfigError for more
    processes than GPUs."""
    import torch

    gpus = torch.cuda.device_count()
    if gpus and wanted > gpus:
        raise ConfigError(
            f"this node has {gpus} GPU(s)",
            where="processes",
            value=wanted,
            hint=f"0 (one process for each) to {gpus} are allowed",
        )
    return wanted or max(1, gpus)


def world(wanted: int) -> int:
    """Number of processes on all nodes."""
    return processes(wanted) * Nodes.from_environment().count


def split_batch(batch_size: int, device_batch_size: int, processes: int) -> tuple[int, int]:
    """(rows in a forward pass of a process, passes in a step): the most rows that fit `device_batch_size` and divide
    the batch. `processes` is their number on all nodes. Raises ConfigError for a batch that they cannot share."""
    share, rest = divmod(batch_size, processes)
    if rest or not share:
        near = max(share, 1) * processes
        raise ConfigError(
            f"a multiple of the {processes} processes that share it (one for each GPU of all nodes) is required",
            where="batch_size", value=batch_size, hint=f"such as {near} or {near + processes}",
        )  # fmt: skip
    device_batch = next(size for size in range(min(device_batch_size, share), 0, -1) if share % size == 0)
    return device_batch, share // device_batch


def launch(function: str, folder: Path, wanted: int, precision: str, sharded: bool = True) -> dict[str, float]:
    """Calls `function` ("module:name") with `folder` in every process, unless it has already ended there, and returns
    the metrics it left. The processes see as many GPUs as there are processes on this node, and no others. `sharded`: whether
    several share the weights by ZeRO-3; otherwise each has all of them. Raises ArtifactError if a process fails."""
    ended = folder / METRICS
    if not ended.exists():
        with _gpus(processes(wanted)):
            if world(wanted) == 1:
                _call(function, folder)
            else:
                _accelerate(function, folder, processes(wanted), Nodes.from_environment(), precision, sharded)
    return json.loads(ended.read_text()) if ended.exists() else {}


def start(function: str, folder: Path, count: int, on_cpu: bool, log: IO[str]) -> subprocess.Popen:
    """Starts `accelerate launch`, which calls `function` ("module:name") with `folder` in `count` processes of this node,
    without DeepSpeed. What they print goes to `log`. All end when one fails, or this process ends. The cores are shared
    evenly."""
    config = {
        "compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU", "use_cpu": on_cpu, "mixed_precision": "no",
        "num_machines": 1, "machine_rank": 0, "num_processes": count, "main_process_port": _free_port(),
        "rdzv_backend": "static", "same_network": True,
    }  # fmt: skip
    cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    return subprocess.Popen(
        _command(function, folder, config), env=_environment() | {"OMP_NUM_THREADS": str(max(1, cores // count))},
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,
    )  # fmt: skip


def join() -> None:
    """Creates the group of a training's processes on CPUs, with the time limit `PATIENCE_S`, which accelerate cannot
    set. Call it before transformers' arguments, which create the group on GPUs, with their `ddp_timeout`."""
    import torch
    from torch import distributed

    if torch.cuda.is_available() or "LOCAL_RANK" not in os.environ or distributed.is_initialized():
        return
    distributed.init_process_group("gloo", timeout=timedelta(seconds=PATIENCE_S))
    if importlib.util.find_spec("deepspeed"):
        from deepspeed import ops

        # Used for inference only. Its compilation waits for a lock file, for ever if a killed process left one.
        ops.__compatible_ops__["deepspeed_shm_comm"] = False


@contextlib.contextmanager
def together(what: str) -> Iterator[None]:
    """Context for what all processes do together. Raises ArtifactError if another process does not arrive, or is
    gone."""
    try:
        yield
    except RuntimeError as error:
        if not _of_the_group(error):
            raise
        who = f"process {os.environ.get('RANK', 0)} of {os.environ.get('WORLD_SIZE', 1)}"
        who += f", on node {Nodes.from_environment().rank}"
        raise ArtifactError(
            f"another process has ended, or did not arrive within {PATIENCE_S} s: {str(error).splitlines()[0]}",
            where=f"{who}: {what}",
        ) from error


def accelerate_config(nodes: Nodes, each: int, precision: str, on_cpu: bool, sharded: bool = True) -> dict[str, Any]:
    """Configuration for `accelerate launch`: ZeRO-3 (paper A, appendix B), one whole model saved, batch sizes from
    the trainer; torch's DistributedDataParallel if not `sharded`. `gradient_accumulation_steps` is left out, because accelerate
    refuses one that differs from the trainer's."""
    common = {
        "compute_environment": "LOCAL_MACHINE", "use_cpu": on_cpu,
        "mixed_precision": "bf16" if precision == "bfloat16" else "no",
        "num_machines": nodes.count, "machine_rank": nodes.rank, "num_processes": nodes.count * each,
        "main_process_ip": nodes.address, "main_process_port": nodes.port, "rdzv_backend": "static", "same_network": True,
    }  # fmt: skip
    if not sharded:
        return common | {"distributed_type": "MULTI_GPU"}
    return common | {
        "distributed_type": "DEEPSPEED",
        "deepspeed_config": {
            "zero_stage": 3, "zero3_init_flag": True, "zero3_save_16bit_model": True,
            "offload_optimizer_device": "none", "offload_param_device": "none", "gradient_clipping": 1.0,
            "deepspeed_multinode_launcher": "standard",
        },
    }  # fmt: skip


def _accelerate(function: str, folder: Path, each: int, nodes: Nodes, precision: str, sharded: bool) -> None:
    import torch

    if nodes.count == 1:
        nodes = replace(nodes, port=_free_port())  # another training may use the default port
    config = accelerate_config(nodes, each, precision, not torch.cuda.is_available(), sharded)
    command = _command(function, folder, config)
    (folder / _REASON).unlink(missing_ok=True)
    progress.say(
        f"training with {'DeepSpeed ZeRO-3' if sharded else 'whole copies'} in {each} processes on each of {nodes.count} node(s)"
    )
    status = subprocess.call(command, env=_environment(), preexec_fn=die_with_parent)
    if status:
        reason = folder / _REASON
        why = reason.read_text() if reason.exists() else "the log above says why"
        raise ArtifactError(f"ended with status {status}: {why}", where=f"training in {nodes.count * each} processes")


def _command(function: str, folder: Path, config: dict[str, Any]) -> list[str]:
    """The command `accelerate launch` with this configuration, which is written to `folder`."""
    file = folder / "accelerate.json"
    file.write_text(json.dumps(config, indent=2, allow_nan=False))
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file)]
    return [*accelerate, "-m", __name__, function, str(folder)]


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # DeepSpeed calls ninja
    return {"PYTHONWARNINGS": "ignore::FutureWarning", **os.environ, "PATH": path}


@contextlib.contextmanager
def _gpus(count: int) -> Iterator[None]:
    """Context that hides all but `count` of the visible GPUs: transformers would use torch's DataParallel in a
    process with several, which multiplies the batch. Has no effect once CUDA has been used in this process."""
    import torch

    name = "CUDA_VISIBLE_DEVICES"
    given = os.environ.get(name)
    if torch.cuda.device_count() > count:
        os.environ[name] = ",".join((given.split(",") if given else [str(i) for i in range(count)])[:count])
    try:
        yield
    finally:
        if given is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = given


def _of_the_group(error: RuntimeError) -> bool:
    """Whether an error comes from torch's group of processes or its creation. Gloo's errors have no type of their
    own."""
    from torch import distributed

    gloo = "/gloo/" in str(error) or "caused pair closure" in str(error)
    return gloo or isinstance(error, distributed.DistError)


def _free_port() -> int:
    """A free port below those that Linux gives to outgoing connections, one of which could take it before the training does."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def die_with_parent() -> None:
    """Ends this process when its parent ends, so that a killed stage leaves no process that still writes its
    checkpoints (Linux: PR_SET_PDEATHSIG is 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _call(function: str, folder: Path) -> None:
    module, name = function.split(":")
    getattr(importlib.import_module(module), name)(folder)


def _leave() -> None:
    """Leaves the group of processes together with the others. Otherwise its threads would outlive the interpreter
    and sometimes abort a process whose work is done (pytorch/pytorch#190489)."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def _work(function: str, folder: Path) -> None:
    """Runs one process of several. The line of an error that the user can fix, or of the environment, is kept for
    the stage to end with."""
    die_with_parent()  # ends this process too if the launcher is killed
    try:
        _call(function, folder)
        with together("leaving"):
            _leave()
    except XlrmError as error:
        progress.say(f"error: {error}")
        with contextlib.suppress(FileExistsError), (folder / _REASON).open("x") as file:
            file.write(str(error))
        sys.exit(2)


if __name__ == "__main__":
    _work(sys.argv[1], Path(sys.argv[2]))
