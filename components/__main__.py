"""`python -m components kfp.dsl.executor_main --function_to_execute NAME --executor_input JSON`: a component, as the command of
its container. KFP's own command carries the function's source, of which a run's status would keep eight copies a task."""

import logging
import os
import runpy
import sys
from pathlib import Path

os.environ["_KFP_RUNTIME"] = "true"  # as KFP's own command does: without what only a compiler needs

from kfp import dsl


def main() -> None:
    dsl.component = lambda **_: lambda function: function  # KFP strips it from the source it carries
    module, *arguments = sys.argv[1:]
    name = arguments[arguments.index("--function_to_execute") + 1]
    path = Path(__file__).with_name(f"{name}.py")
    logging.disable(logging.INFO)  # by which KFP's executor shows all of its JSON, above what the task has to say
    sys.argv = [module, "--component_module_path", str(path), *arguments]
    runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    main()
