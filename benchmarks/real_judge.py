"""A small instruct model as the judge of policies, served by vLLM: how much of what it says can be read, how far it
depends on the order, and how often it agrees with people and with the judge that knows the right answers.

    PYTHON -m benchmarks.real_judge MODEL [--prompts alpacaeval dialog ...] [--pairs 100] [--address URL] [--json FILE]

PYTHON has vLLM and this project's dependencies (`make check-vllm` makes such an environment). MODEL is a folder. The stage
`judge` asks it in both orders: about pairs of preferences_en.jsonl that people labelled (response a is the chosen one),
at most `--characters` long, and about pairs of the phrasebook, whose judge is right by construction. A pair on which the
two orders disagree counts by the mean of its probabilities, as in the stage. Intervals are 95 % bootstrap intervals over pairs.
"""

import argparse
import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.defects import SHARED_DATA
from benchmarks.vllm_parity import SERVED, SETTINGS, server

PRICE = (2.5, 10.0)
"""US dollars for a million tokens (read, written): gpt-4o's, for the estimate of what such verdicts would cost."""
Row = dict[str, Any]


def labelled(data: Path, count: int, characters: int) -> list[Row]:
    """`count` pairs that people labelled, those with the smallest digests of their ids."""
    lines = (data / "preferences_en.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["label_by"].startswith("human")]
    texts = ("prompt", "chosen", "rejected")
    short = [row for row in rows if sum(len(row[name]) for name in texts) <= characters]
    short.sort(key=lambda row: hashlib.sha256(row["id"].encode()).digest())
    return [{name: row[name] for name in ("id", *texts)} for row in short[:count]]


def phrasebook(count: int, language: str) -> list[Row]:
    from xlrm.data.catalog import load_pairs

    return load_pairs("phrasebook", language, count, 0).rows


def samples_of(folder: Path, rows: Sequence[Row], side: str, language: str) -> Path:
    """A folder as the stage `sample` writes it, with one side of each pair as the policy's response."""
    from xlrm.models import samples
    from xlrm.store.jsonl import write_jsonl

    written = [
        {
            "id": row["id"],
            "prompt": row["prompt"],
            "responses": [row[side]],
            "finished": [True],
            "languages": [language],
        }
        for row in rows
    ]
    write_jsonl(folder / samples.file(0, "eval", language), written)
    return folder


def verdicts(rows: Sequence[Row], language: str, work: Path, **settings: Any) -> tuple[list[Row], Row]:
    """What the stage `judge` writes: the rows of verdicts.jsonl, and results.json. The reference is the chosen response."""
    from xlrm.stages import judge
    from xlrm.store.jsonl import read_rows

    sides = [samples_of(work / side, rows, side, language) for side in ("chosen", "rejected")]
    config = judge.Config.model_validate({"language": language, "labelers": ["en"], "reference": "chosen"} | settings)
    judge.run(config, reference=sides[:1], candidates=sides[1:], output=work / "output")
    results = json.loads((work / "output" / "results.json").read_text(encoding="utf-8"))
    return list(read_rows(work / "output" / "verdicts.jsonl")), results


def figures(rows: Sequence[Row], results: Row, gold: Sequence[Row] | None = None) -> Row:
    """Shares of verdicts and pairs. `gold`: verdicts of the judge that knows; else the chosen response is right."""
    import numpy as np

    from xlrm.evaluation import statistics

    shown = [verdict for row in rows for verdict in row["verdicts"]]
    read = [row for row in rows if "error" not in row["verdicts"]]
    right = [row["preference"] for row in gold] if gold else [1.0] * len(rows)
    credits = np.array(
        [_credit(row["preference"], truth) for row, truth in zip(rows, right, strict=True) if truth != 1.5]
    )
    chosen = np.array([value == "A" for row in read for value in row["verdicts"]], float)
    flips = np.array([row["verdicts"][0] == row["verdicts"][1] != "tie" for row in read], float)
    (rate,) = results["results"].values()
    return {
        "pairs": len(rows), "verdicts": len(shown), "readable": 1 - shown.count("error") / len(shown),
        "with_logprobs": sum(bool(table) for row in rows for table in row.get("logprobs", ())) / len(shown),
        "first_place": float(chosen.mean()), "position_bias": rate["position_bias"],
        "flips": statistics.mean_interval(flips), "compared": len(credits),
        "agreement": statistics.mean_interval(credits), "cost": results["cost"],
    }  # fmt: skip


def _credit(preference: float | None, right: float) -> float:
    """1 if the preferred response is the right one, 0.5 for a draw or no readable verdict."""
    if preference is None or preference == 1.5:
        return 0.5
    return float((preference < 1.5) == (right < 1.5))


@contextlib.contextmanager
def at_server(options: argparse.Namespace, folder: Path) -> Iterator[None]:
    """OPENAI_BASE_URL is that of a server with the model."""
    if options.address:
        os.environ["OPENAI_BASE_URL"] = options.address
        yield
        return
    # On a CPU a prompt that is split over steps ends vLLM 0.31 if its request has a seed.
    limit = ("--max-model-len", options.context, "--no-enable-chunked-prefill", "--enforce-eager")
    with server(options.model, folder / "server.log", "--dtype", options.dtype, *limit) as address:
        os.environ["OPENAI_BASE_URL"] = f"{address}/v1"
        yield


def measure(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str, Row]]:
    """(prompt, data, figures)."""
    sets = {"people": (labelled(options.data, options.pairs, options.characters), "en")}
    sets |= {f"phrasebook {code}": (phrasebook(options.known, code), code) for code in options.languages}
    asked = {
        "judge": f"served={SERVED}",
        "parallel": options.parallel,
        "usd_per_million": {SERVED: PRICE},
        "max_usd": 100.0,
    }
    for prompt in options.prompts:
        for name, (rows, language) in sets.items():
            few = rows[: options.written] if prompt in ("alpacaeval-1", "rewardbench") else rows
            work = folder / prompt / name.replace(" ", "-")
            since = time.monotonic()
            judged = verdicts(few, language, work, prompt=prompt, **asked)
            gold = verdicts(few, language, work / "gold", judge="phrasebook")[0] if name != "people" else None
            yield prompt, name, figures(*judged, gold) | {"seconds": time.monotonic() - since}


def shown(prompt: str, name: str, of: Row) -> str:
    """A row of the table."""
    agreement, flips = ("{:.2f} ({:.2f} to {:.2f})".format(*of[key]) for key in ("agreement", "flips"))
    cost = of["cost"]
    return (
        f"| `{prompt}` | {name} | {of['pairs']} | {of['readable']:.1%} | {of['with_logprobs']:.1%} | {of['first_place']:.2f} | "
        f"{flips} | {agreement} | {cost['tokens_in']:,.0f} | {cost['estimated_usd']:.2f} / {cost['usd']:.2f} |"
    )


def parser() -> argparse.ArgumentParser:
    options = record.parser(__doc__)
    options.add_argument("model", type=Path, help="instruct model in a folder")
    options.add_argument(
        "--address", help="URL of a server that has the model under the name vllm-parity; else one is started"
    )
    options.add_argument("--prompts", nargs="+", default=["alpacaeval", "dialog", "summarization", "alpacaeval-1"])
    options.add_argument("--pairs", type=int, default=100, help="pairs that people labelled")
    options.add_argument("--known", type=int, default=40, help="pairs of the phrasebook, in each language")
    options.add_argument("--written", type=int, default=20, help="pairs for prompts whose answers are texts")
    options.add_argument("--languages", nargs="+", default=["en", "es"], help="of the phrasebook")
    options.add_argument("--characters", type=int, default=1200, help="longest pair with its prompt")
    options.add_argument("--context", type=int, default=4096)
    options.add_argument("--dtype", default="bfloat16")
    options.add_argument("--parallel", type=int, default=16)
    options.add_argument("--data", type=Path, default=SHARED_DATA, help="folder with preferences_en.jsonl")
    options.add_argument("--home", type=Path, help="folder that keeps verdicts, so that a stopped run continues")
    return options


def main() -> None:
    options = parser().parse_args()
    os.environ |= {name: value for name, value in SETTINGS.items() if name not in os.environ}
    made: list[Row] = []
    print("| prompt | pairs | n | readable | log-probabilities | first place | flips | agreement | tokens read | $ |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        os.environ["XLRM_HOME"] = str(options.home or Path(name) / "home")
        with at_server(options, Path(name)):
            for prompt, data, of in measure(options, Path(name)):
                made.append({"prompt": prompt, "data": data} | of)
                print(shown(prompt, data, of), flush=True)
    record.write(__spec__.name, options, {"measured": made})


if __name__ == "__main__":
    main()
