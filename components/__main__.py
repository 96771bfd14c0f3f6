"""`python -m components kfp.dsl.executor_main --function_to_execute NAME --executor_input JSON`: the command of a
component's container. KFP's own command contains the function's source, and a run's status would hold eight copies
of it for each task."""

import logging
import os
import runpy
import sys
from pathlib import Path

os.environ["_KFP_RUNTIME"] = "true"  # as KFP's own command does: skips what only the compiler needs

from kfp import dsl


def main() -> None:
    dsl.component = lambda **_: lambda function: function  # KFP's own command carries the source without this decorator
    module, *arguments = sys.argv[1:]
    name = arguments[arguments.index("--function_to_execute") + 1]
    path = Path(__file__).with_name(f"{name}.py")
    logging.disable(logging.INFO)  # KFP's executor logs all of its JSON at INFO, above the task's own lines
    sys.argv = [module, "--component_module_path", str(path), *arguments]
    runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    main()
