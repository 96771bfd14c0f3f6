"""Whether KFP's runner of containers tells a task that fails from one that does not. Ends with status 1 when it does not.

A runner that calls a failed task a success makes every green run meaningless, and KFP's own is one, now and then: see
docs/images.md. So a failing task is run several times.
"""

import sys
import tempfile
import time
from pathlib import Path

from kfp import dsl, local

from components import image
from pipelines import containers, local_tasks


@dsl.component(base_image=image("data"), install_kfp_package=False)
def ends_with(status: int, seconds: float) -> str:
    """Ends the task with a status, after a while."""
    import sys
    import time

    time.sleep(seconds)
    if status:
        sys.exit(status)
    return "well"


def reported(status: int, seconds: float) -> str:
    """What the runner says of a task that ends so."""
    try:
        return "success" if ends_with(status=status, seconds=seconds).output == "well" else "nothing"
    except RuntimeError:
        return "failure"
    except AttributeError:  # there is no output
        return "success with nothing made"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        failing = [(1, 0.0, "failure"), (1, 1.0, "failure")] * 4
        for status, seconds, right in (*failing, (0, 0.0, "success")):
            log = local_tasks.Log(Path(folder, "log"), lambda line: None)
            local.init(containers.runner(local_tasks.Tasks(log)), pipeline_root=folder)  # one that has seen no failure
            started = time.monotonic()
            said = reported(status, seconds)
            print(
                f"sentinel: status {status} was reported as {said} after {time.monotonic() - started:.1f} s", flush=True
            )
            if said != right:
                sys.exit(1)


if __name__ == "__main__":
    main()
