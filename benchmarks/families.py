"""Rewards of models of many families through every door, beside those of plain transformers: one conversation at a time,
without padding, in float32, in the model's own chat template.

    python -m benchmarks.families [--only NAME ...] [--json FILE]

The models are small and random. Each row of the table is a model, each column a door, and each number the largest
difference of a reward. The status is 1 if one is above 2e-5.
"""

import argparse
import functools
import gc
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import record
from benchmarks.family_models import ASKED, FAMILIES, MODELS, Asked, build, plain

TOLERANCE = 2e-5

# Doors: each takes the model's folder, an empty one to work in and what is scored, and returns the rewards of its chats.


def score(folder: Path, work: Path, asked: Asked = ASKED) -> list[float]:
    """The command."""
    from typer.testing import CliRunner

    from xlrm.cli import app
    from xlrm.store.jsonl import read_rows, write_jsonl

    write_jsonl(work / "in.jsonl", [{"messages": chat} for chat in asked.chats])
    options = {
        "--model": folder,
        "--input": work / "in.jsonl",
        "--output": work / "out.jsonl",
        "--precision": asked.precision,
    }
    given = [str(part) for option in options.items() for part in option]
    CliRunner().invoke(app, ["score", *given], catch_exceptions=False)
    return [row["reward"] for row in read_rows(work / "out.jsonl", ("reward",))]


def evaluate(folder: Path, work: Path, asked: Asked = ASKED) -> list[float]:
    """The stage."""
    from xlrm.evaluation import reward_table
    from xlrm.stages import evaluate

    (work / "output").mkdir()
    evaluate.run(
        evaluate.Config(precision=asked.precision), model=folder, corpora=_corpora(work, asked), output=work / "output"
    )
    return _of_table(work / "output" / reward_table.FILE)


def external(folder: Path, work: Path, asked: Asked = ASKED) -> list[float]:
    """The stage."""
    from xlrm.stages import external

    (work / "output").mkdir()
    external.run(
        external.Config(models=(f"m={folder}",), precision=asked.precision),
        corpora=_corpora(work, asked),
        output=work / "output",
    )
    (table,) = (work / "output").rglob("*.parquet")
    return _of_table(table)


def _corpora(work: Path, asked: Asked) -> Path:
    from xlrm.store.jsonl import write_jsonl

    items = [
        {"id": str(i), "prompt": prompt, "chosen": one, "rejected": other, "subset": "s", "section": "S"}
        for i, (prompt, (one, other)) in enumerate(asked.questions.items())
    ]
    write_jsonl(work / "corpora" / "en" / "benchmark.jsonl", items)
    return work / "corpora"


def _of_table(path: Path) -> list[float]:
    from xlrm.evaluation import reward_table

    return [value for item in reward_table.read(path)["en"] for side in ("chosen", "rejected") for value in item[side]]


def rank(folder: Path, work: Path, asked: Asked = ASKED) -> list[float]:
    """The stage."""
    from xlrm.stages import rank
    from xlrm.store.jsonl import read_rows, write_jsonl

    rows = [
        {"id": str(i), "prompt": prompt, "responses": both, "finished": [True, True], "languages": ["en", "en"]}
        for i, (prompt, both) in enumerate(asked.questions.items())
    ]
    write_jsonl(work / "samples" / "0" / "train" / "en.jsonl", rows)
    config = rank.Config(language="en", labelers=("m",), precision=asked.precision)
    rank.run(config, samples=[work / "samples"], reward_models=[folder], output=work / "output")
    rewards: dict[str, float] = {}
    for pair in read_rows(work / "output" / "m.jsonl", ("chosen", "rejected")):
        rewards |= {pair[side]: pair[f"{side}_reward"] for side in ("chosen", "rejected")}
    return [rewards[chat[-1]["content"]] for chat in asked.chats]


def serve(folder: Path, work: Path, asked: Asked = ASKED, path: str = "/v1/rewards") -> list[float]:
    """The server, without a socket."""
    from fastapi.testclient import TestClient
    from transformers import AutoTokenizer

    from xlrm.scorers.interface import Scoring
    from xlrm.serving import web
    from xlrm.serving.service import Service, Settings

    served: Any = Service(str(folder), lambda: folder, Scoring(precision=asked.precision), Settings(wait_ms=0))
    app: Any = web.build(served)
    with TestClient(app) as client:
        end = time.monotonic() + 60
        while client.get("/readyz").status_code != 200:
            if served.life.done():
                served.life.result()  # raises the error of loading
            assert time.monotonic() < end, "not ready within a minute"
            time.sleep(0.01)
        if path == "/get_reward":
            words: Any = AutoTokenizer.from_pretrained(folder)
            texts = words.apply_chat_template(asked.chats, tokenize=False)
            return client.post(path, json={"query": texts}).raise_for_status().json()["rewards"]
        answer = client.post(path, json={"conversations": asked.chats}).raise_for_status().json()
        return [one["reward"] for one in answer["data"]]


def pyfunc(folder: Path, work: Path, asked: Asked = ASKED) -> list[float]:
    """A registered model, where xlrm is installed."""
    from xlrm.registry import mlflow_loader
    from xlrm.store import objects
    from xlrm.tracking import version_files

    registered = Path(shutil.copytree(folder, work / "registered"))
    files = [{"path": path.name, "sha256": objects.sha256_of(path)} for path in registered.iterdir()]
    (registered / version_files.FILES).write_text(json.dumps(files))
    return mlflow_loader._load_pyfunc(str(registered)).predict([{"messages": chat} for chat in asked.chats]).tolist()


def pyfunc_without_xlrm(folder: Path, work: Path, asked: Asked = ASKED) -> list[float]:
    """A registered model with the fingerprint of `evaluate`, where xlrm is not installed."""
    from xlrm.registry import mlflow_loader
    from xlrm.scorers import engines, fingerprints
    from xlrm.scorers.interface import Scoring

    registered = Path(shutil.copytree(folder, work / "registered"))
    fingerprints.write(registered, engines.load(folder, Scoring()))
    return mlflow_loader._plain(registered)(asked.chats)


def card(folder: Path, work: Path, asked: Asked = ASKED) -> list[float]:
    """The lines on the card of a trained model."""
    from xlrm.models import transformers4
    from xlrm.stages import reward
    from xlrm.training import model_card

    trained = Path(shutil.copytree(folder, work / "trained"))
    transformers4.write_older_names(trained)
    config = reward.Config(language="en").model_dump(mode="json")
    model_card.write_reward_model(trained, folder, "en", 8, config, {"train_loss": 0.5})
    return [_by_card(trained, chat) for chat in asked.chats]


def _by_card(folder: Path, chat: list) -> float:
    code = (folder / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    lines = "\n".join(line for line in code.splitlines() if not line.startswith(("folder = ", "messages = ")))
    names = {"folder": folder, "messages": chat}
    exec(lines, names)
    return names["reward"].item()  # type: ignore[attr-defined]


Door = Callable[..., list[float]]
DOORS: dict[str, Door] = {
    "score": score, "evaluate": evaluate, "/v1/rewards": serve,
    "/get_reward": functools.partial(serve, path="/get_reward"), "external": external, "rank": rank, "pyfunc": pyfunc,
    "pyfunc without xlrm": pyfunc_without_xlrm, "card": card,
}  # fmt: skip


def doors(name: str) -> dict[str, Door]:
    """Doors of the model of that name: only a trained one has a card."""
    return {door: opened for door, opened in DOORS.items() if door != "card" or name in FAMILIES}


def differences(name: str, work: Path) -> dict[str, float]:
    """Largest difference of a reward, by door. Raises ValueError for a model that gives the same reward to all."""
    folder = build(work / "model", MODELS[name])
    expected = plain(folder, limit=MODELS[name].limit)
    if max(expected) - min(expected) < 0.01:
        raise ValueError(f"{name}: {expected} show nothing")
    _freeze()
    found = {}
    for number, (door, opened) in enumerate(doors(name).items()):
        (work / str(number)).mkdir()
        rewards = opened(folder, work / str(number))
        found[door] = max(abs(one - other) for one, other in zip(rewards, expected, strict=True))
    return found


@functools.cache
def _freeze() -> None:
    """Leaves what was imported out of the collections at the end of stages, which would take longer than all else."""
    gc.freeze()


def parser() -> argparse.ArgumentParser:
    options = record.parser(__doc__)
    options.add_argument("--only", nargs="+", choices=list(MODELS), default=list(MODELS), metavar="NAME")
    return options


def main(options: argparse.Namespace) -> int:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    table = Table("", *DOORS)
    figures, missed = {}, []
    for name in options.only:
        with tempfile.TemporaryDirectory() as work:
            figures[name] = found = differences(name, Path(work))
        table.add_row(name, *(f"{found[door]:.0e}" if door in found else "" for door in DOORS))
        missed += [f"{name}, {door}: {value:.1e}" for door, value in found.items() if not value <= TOLERANCE]
    Console(width=160).print(table)
    record.write(__spec__.name, options, figures, missed)
    print("\n".join(missed), file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(parser().parse_args()))
