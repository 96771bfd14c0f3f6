"""Commands that compute rewards with one model: of a file of conversations, and of a benchmark."""

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer
from rich.table import Table

from xlrm import languages
from xlrm.errors import ConfigError
from xlrm.evaluation.credit import Ties
from xlrm.processes import locks
from xlrm.processes.signals import ended_by_signals
from xlrm.run.output import console, empty_table, errors, errors_in_one_line, print_file, print_result
from xlrm.run.scoring_options import checked, scoring_options
from xlrm.scorers.interface import Scoring
from xlrm.store import outputs
from xlrm.store.local_copies import STDIN

if TYPE_CHECKING:
    from xlrm.evaluation.results import Result

ModelOption = Annotated[
    str,
    typer.Option(
        help="A reward model: folder, models:/NAME@ALIAS, URI, s3://bucket/prefix or OWNER/NAME\\[@REVISION]."
    ),
]
ColumnsOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=COLUMN,...", help="Columns of the file that have another name, as prompt=question."),
]
EncodingOption = Annotated[
    str | None, typer.Option(help="Encoding of a text file without a byte order mark (default: UTF-8).")
]


@scoring_options()
def score(
    model: ModelOption,
    input_file: Annotated[
        str,
        typer.Option(
            "--input",
            help="Rows with messages, or prompt and response: JSONL, JSON, CSV, TSV or Parquet, also .gz or .zst, also "
            "s3://bucket/key; - is standard input.",
        ),
    ],
    output_file: Annotated[
        str,
        typer.Option(
            "--output",
            help="The same rows with reward, in the same order and in the format of the name; - prints JSONL.",
        ),
    ],
    columns: ColumnsOption = None,
    encoding: EncodingOption = None,
    *,
    scoring: dict[str, Any],
) -> None:
    """Score conversations with a reward model. After an interruption, the same command continues where it stopped."""
    from xlrm.data import reading
    from xlrm.scorers.score_file import score_file

    to_stdout = output_file == STDIN
    with tempfile.TemporaryDirectory(prefix="xlrm-score-") if to_stdout else contextlib.nullcontext("") as folder:
        output = Path(folder, "rewards.jsonl") if to_stdout else Path(output_file)
        with errors_in_one_line(), contextlib.nullcontext() if to_stdout else ended_by_signals():
            chosen, read = checked(Scoring, scoring, "xlrm score"), reading.of_options(columns or (), encoding)
            scored = score_file(lambda: model_folder(model), input_file, output, chosen, read)
        errors.print(f"{scored.rows} rewards in {output_file}", highlight=False)
        if to_stdout:
            print_file(output)
        else:
            print_result(output_file)


@scoring_options()
def evaluate(
    model: Annotated[
        str,
        typer.Option(
            help="A model as for `xlrm score`, or a published one: armorm, offsetbias, gpt-4o, served=ID, ..."
        ),
    ],
    benchmark: Annotated[
        str,
        typer.Option(
            help="Name of a benchmark, or a file of pairs, judgments or best-of-n lists; {language} in its path is the code."
        ),
    ],
    output: Annotated[
        Path, typer.Option(help="Folder for the results, each in a folder MODEL--BENCHMARK--LANGUAGE with the rewards.")
    ],
    language: Annotated[str, typer.Option(help="Language to evaluate in, or several: en,ko.")] = "en",
    items: Annotated[int | None, typer.Option(help="Number of items, drawn by a seed (default: all).")] = None,
    ties: Annotated[str, typer.Option(help="How a pair with equal rewards counts: lost or half.")] = "lost",
    log: Annotated[str | None, typer.Option(help="MLflow experiment to log the accuracies to.")] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE,...", help="Settings of a judge, as in external.judge: prompt=dialog,orders=both."
        ),
    ] = None,
    columns: ColumnsOption = None,
    encoding: EncodingOption = None,
    *,
    scoring: dict[str, Any],
) -> None:
    """Evaluate a reward model on a benchmark: accuracies by section with 95 % intervals."""
    from xlrm.data import reading
    from xlrm.evaluation import single
    from xlrm.scorers import engines

    with errors_in_one_line(), ended_by_signals(), contextlib.ExitStack() as stack:
        policy = ties_of(ties)
        engines.check_machine(checked(Scoring, scoring, "xlrm evaluate"))
        chosen = codes(language)
        if items is not None and items < 1:
            raise ConfigError("at least 1 item is required", where="--items", value=items)
        read = reading.of_options(columns or (), encoding)
        outputs.check_folder(output)
        quiet_transformers()
        if judge:
            scoring |= {"judge": _asked(model, judge)}
        tables = single.read_items(benchmark, chosen, items, read)
        stack.enter_context(locks.alone(output / ".lock", f"evaluate: {output}"))
        results = list(single.evaluate_all(model, tables, scoring, policy, output))
        for table, result, _ in results if log else ():
            params = {"model": model, "benchmark": benchmark, "language": table.language, "ties": ties}
            _logged(log or "", params, result)
    for table, result, folder in results:
        console().print(_results_table(_title(benchmark, table.language, result, ties), result))
        errors.print(f"written to {folder}", highlight=False)


def _asked(model: str, options: Sequence[str]) -> dict[str, str]:
    """Settings of a judge from `FIELD=VALUE,...`. Raises ConfigError for another form, for what `external.judge` does not
    allow, and for a model that is no judge."""
    from xlrm.evaluation import single
    from xlrm.scorers.judges import pairwise

    parts = [part.partition("=") for option in options for part in option.split(",")]
    if not all(equals for _, equals, _ in parts):
        raise ConfigError("FIELD=VALUE,... is required", where="--judge", value=",".join(options))
    if not single.is_judge(model):
        raise ConfigError("for judges only; it is a reward model", where="--judge", value=model)
    fields = {name: value for name, _, value in parts}
    checked(pairwise.Settings, fields, "xlrm evaluate --judge")
    return fields


def codes(option: str) -> list[str]:
    """Languages of an option, separated by commas. Raises ConfigError for what is no code, and for one that is repeated."""
    names = option.split(",")
    for code in names:
        languages.check_code(code, "--language")
    if len(set(names)) < len(names):
        raise ConfigError("each language once is allowed", where="--language", value=option)
    return names


def ties_of(ties: str, where: str = "--ties") -> Ties:
    """The rule for equal rewards. Raises ConfigError, with the place of the text, for one that does not exist."""
    if ties not in get_args(Ties):
        raise ConfigError(
            "no such rule for ties", where=where, value=ties, hint=f"there are {' and '.join(get_args(Ties))}"
        )
    return cast(Ties, ties)


def _title(benchmark: str, language: str, result: "Result", ties: str) -> str:
    note = "" if result.ties is None else f", {result.ties} with equal rewards ({ties})"
    if result.cut:
        note += f", {result.cut} conversations cut"
    if result.unreadable is not None:
        note += f", {result.unreadable} of {result.verdicts} verdicts unreadable (0.5 each)"
    return f"{benchmark}, {language}, {result.items} items{note}"


def _logged(experiment: str, params: dict[str, str], result: "Result") -> None:
    from xlrm.tracking import mlflow_runs

    with mlflow_runs.run(experiment, f"evaluate {params['benchmark']}", params, {}) as run:
        run.log({f"accuracy/{params['language']}/{name}": value for name, value in result.accuracy.items()})
        if result.cut is not None:
            run.log({f"cut/{params['language']}": float(result.cut)})
        if result.unreadable is not None:
            run.log({f"unreadable/{params['language']}": result.unreadable})


def _results_table(title: str, result: "Result") -> Table:
    table = empty_table([""], ["accuracy", "95 %\ninterval", "longest\nresponse", "chance"], title)
    for name, value in result.accuracy.items():
        low, high = result.interval[name]
        baselines = (f"{baseline[name]:.3f}" for baseline in (result.length_baseline, result.random_baseline))
        table.add_row(name, f"{value:.3f}", f"{low:.3f} – {high:.3f}", *baselines)
    return table


def model_folder(model: str) -> Path:
    """The model's folder on this machine, downloaded if necessary. Silences the messages and bars of transformers."""
    from xlrm.tracking import named_models

    quiet_transformers()
    return named_models.folder(model)


def quiet_transformers() -> None:
    """Silences the messages and progress bars of transformers."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


COMMANDS = (score, evaluate)
