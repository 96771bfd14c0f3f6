"""Compares our judge's prompts and verdicts with those of the rewardbench package, which need not be installed.

python -m benchmarks.judge_parity PATH/TO/rewardbench/generative.py PAIRS.jsonl [--json FILE]
"""

import argparse
import ast
import json
import random
from pathlib import Path

from benchmarks import record
from xlrm.scorers.judges.prompts import JUDGE_PROMPTS, parse

WANTED = ("format_judge_answers", "process_judgement")
PIECES = ("[[A]]", "[[B]]", "[[C]]", "[[a]]", "[A]", "[[A", "B]]", "A ", "so ", "\n", '"', "$ERROR$")


def reference(path: Path) -> dict:
    """The package's two functions and their prompts, without the API clients that its module imports."""
    found: dict = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        texts = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.Dict | ast.JoinedStr)
        if texts or (isinstance(node, ast.FunctionDef) and node.name in WANTED):
            exec(compile(ast.Module([node], []), str(path), "exec"), found)
    return found


def measure(path: Path, pairs: list[dict], answers: int) -> dict[str, str]:
    theirs, ours = reference(path), JUDGE_PROMPTS["rewardbench"]
    same = 0
    for pair in pairs:
        a, b = ([{}, {"content": pair[side]}] for side in ("chosen", "rejected"))
        messages = ours.messages(pair["prompt"], pair["chosen"], pair["rejected"])
        same += tuple(message["content"] for message in messages) == theirs["format_judge_answers"](
            pair["prompt"], a, b
        )
    draw = random.Random(0)
    said = ["".join(draw.choices(PIECES, k=draw.randint(0, 5))) for _ in range(answers)]
    agree = sum(parse(one) == theirs["process_judgement"](one, None) for one in said)
    return {"prompts equal": f"{same} of {len(pairs)}", "verdicts equal": f"{agree} of {answers}"}


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("generative", type=Path, help="rewardbench/generative.py of the package")
    found.add_argument("pairs", type=Path, help="a .jsonl file with prompt, chosen and rejected")
    return found


def main() -> None:
    options = parser().parse_args()
    with options.pairs.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    found = measure(options.generative, [row for row in rows if isinstance(row["prompt"], str)], 2000)
    for key, value in found.items():
        print(f"{key:15} {value}")
    record.write(__spec__.name, options, found)


if __name__ == "__main__":
    main()
