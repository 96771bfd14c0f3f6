"""The `xlrm` command."""

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperCommand

from xlrm import __version__, installation
from xlrm.errors import ArtifactError, ConfigError, within
from xlrm.run import compare_command, scoring_commands, sheet_command, store_commands, training_commands
from xlrm.run.output import console, empty_table, errors, errors_in_one_line, print_result, quiet_libraries
from xlrm.run.scoring_options import checked, scoring_options
from xlrm.scorers.interface import Scoring
from xlrm.store import addresses, outputs

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False
) -> None:
    """Cross-lingual reward models: train in one language, score, evaluate and align in others."""
    if context.invoked_subcommand != "stage":
        # Seconds instead of MLflow's four minutes: a stage should survive a server's restart, a person can try again.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    quiet_libraries()
    if version:
        print_result(__version__)
        raise typer.Exit


for command in (
    *training_commands.COMMANDS,
    *scoring_commands.COMMANDS,
    *compare_command.COMMANDS,
    *sheet_command.COMMANDS,
):
    app.command()(command)


class StageCommand(TyperCommand):
    """Shows a stage's own help for `xlrm stage NAME --help`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        from xlrm.run import reference

        if args and args[0] in reference.STAGES and "--help" in args:
            Console().print(reference.help_of(args[0]))
            ctx.exit()
        return super().parse_args(ctx, args)


@app.command(cls=StageCommand)
def stage(
    name: Annotated[
        str, typer.Argument(help="Name of the stage; `xlrm stage NAME --help` shows its inputs and fields.")
    ],
    fields: Annotated[list[str] | None, typer.Argument(help="Settings of the stage, as field=value.")] = None,
    inputs: Annotated[list[str] | None, typer.Option("--input", help="name=URI of an artifact, or name=MODEL.")] = None,
    list_inputs: Annotated[
        list[str] | None, typer.Option("--inputs", help="name=URI,URI,... for an input that is a list.")
    ] = None,
    experiment: Annotated[str, typer.Option(help="Name of the MLflow experiment.")] = "xlrm",
) -> None:
    """Run one stage, or find its finished artifact, and print the artifact's URI."""
    from xlrm.processes.signals import ended_by_signals
    from xlrm.run.experiment import override, parse_value
    from xlrm.run.runner import run_stage

    with errors_in_one_line(), ended_by_signals():
        config: dict[str, Any] = {}
        for key, text in map(_assignment, fields or []):
            override(config, key, parse_value(key, text))
        given: dict[str, str | list[str]] = dict(map(_assignment, inputs or []))
        given |= {key: uris.split(",") for key, uris in map(_assignment, list_inputs or [])}
        made = run_stage(name, config, given, experiment=experiment)
    print_result(made.uri)


@app.command()
def estimate(
    config: Annotated[Path, typer.Argument(help="An experiment, as in configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings that replace those of the file, as stage.field=value.")
    ] = None,
    mfu: Annotated[
        list[str] | None,
        typer.Option(
            help="Share of a GPU's peak that is reached, as training=, scoring= or decoding=SHARE; may be repeated."
        ),
    ] = None,
) -> None:
    """Curate an experiment's corpus, unless that is already done, and estimate the GPU work of every stage."""
    from xlrm.run import assumptions, experiment, forecast, reuse_forecast, steps, workloads
    from xlrm.run.runner import run_stage
    from xlrm.store import artifacts
    from xlrm.translation import workload

    with errors_in_one_line():
        shares = assumptions.utilisation(mfu or ())
        loaded = experiment.load(config, tuple(overrides or ()))
        curated = run_stage("curate", steps.steps(loaded.of_pipeline, loaded)["curate"].config, {})
        corpus = artifacts.fetch(curated.uri, addresses.home() / "cache")
        section, wanted = loaded.stages.get("translate", {}), loaded.translated
        translated = workload.estimates(corpus, wanted, section, wanted, with_memory=True)
        rows = reuse_forecast.rows(
            loaded, workloads.read(corpus), forecast.read_published(loaded), translated, loaded.of_pipeline
        )
    terminal = console()
    terminal.print(_estimate_table(loaded.name, rows, shares))
    for why in dict.fromkeys(row.why for row in rows if row.why):
        stages = ", ".join(dict.fromkeys(row.stage for row in rows if row.why == why))
        terminal.print(f"– {stages}: {why}", markup=False, highlight=False)
    for line in (assumptions.FORMULA, *assumptions.sentences(shares)):
        terminal.print(line, style="dim", markup=False, highlight=False)


def _estimate_table(name: str, rows: list, shares: dict[str, float]) -> Table:
    from xlrm.run.budget import figure

    table = empty_table(
        ["stage", "what", "work"],
        ["tokens", "PFLOP", "A100-\nhours"],
        f"{name}: estimated work of its stages on GPUs",
    )
    for row in rows:
        figures = (row.tokens, row.flop and row.flop / 1e15, row.hours(shares))
        table.add_row(escape(row.stage), escape(row.what), f"{row.work}, {row.precision}", *map(figure, figures))
    known = [row for row in rows if row.flop is not None]
    total = (sum(row.flop for row in known) / 1e15, sum(row.hours(shares) for row in known))
    left_out = f"without {len(rows) - len(known)} unknown" if len(known) < len(rows) else ""
    table.add_section()
    table.add_row("total", left_out, "", "", *map(figure, total))
    return table


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError("NAME=VALUE is required", value=text)
    return key, value


@app.command()
@scoring_options("processes")
def serve(
    model: Annotated[str, typer.Argument(help="A model, named as for `xlrm score`.")],
    fields: Annotated[
        list[str] | None, typer.Argument(help="setting=value: limits and batching, see docs/serving.md.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 also accepts other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 chooses a free one.", min=0, max=65535)] = 8000,
    *,
    scoring: dict[str, Any],
) -> None:
    """Serve one model's rewards over HTTP. If XLRM_SERVE_TOKEN is set, requests must send it as a bearer token."""
    from xlrm.run.experiment import parse_value
    from xlrm.scorers import engines

    with errors_in_one_line():
        serving = _serving()
        given = {key: parse_value(key, text) for key, text in map(_assignment, fields or [])}
        chosen, settings = checked(Scoring, scoring, "xlrm serve"), checked(serving.Settings, given, "xlrm serve")
        engines.check_machine(chosen)
        serving.serve(
            serving.Service(model, lambda: scoring_commands.model_folder(model), chosen, settings), host, port
        )


def _serving() -> Any:
    try:
        from xlrm.serving import server
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed", where="xlrm serve", hint=installation.command("serve")
        ) from error
    return server


@app.command()
def models() -> None:
    """List the registered versions, newest first, with the gate's decision and average accuracies.

    Each line begins with models:/NAME@ALIAS, or with models:/NAME/VERSION for a version without an alias."""
    from xlrm.tracking import mlflow_registry

    with errors_in_one_line():
        versions = mlflow_registry.models()
    if not versions:
        errors.print(f"no registered models in {addresses.shown(addresses.tracking_uri())}; `make demo` registers some")
    for model in versions:
        shown = [f"{k.removeprefix('accuracy/')} {v:.3f}" for k, v in model.metrics.items() if k.endswith("/average")]
        gate = [f"gate {model.tags['gate']}"] if "gate" in model.tags else []
        for uri in [f"models:/{model.name}@{alias}" for alias in model.aliases] or [model.uri]:
            print_result("  ".join([uri, f"version {model.number}", *gate, *shown]))


@app.command()
def promote(
    uri: Annotated[
        str, typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS, as `xlrm models` lists them.")
    ],
) -> None:
    """Make a registered version the champion by hand: to roll back, or to overrule the gate."""
    from xlrm.registry import champion

    with errors_in_one_line():
        now, before = champion.promote(uri)
    print_result(f"models:/{now.name}@{champion.CHAMPION} is {now.uri}; it was {before.uri if before else 'none'}")


@app.command()
def pull(
    uri: Annotated[str, typer.Argument(help="models:/NAME@ALIAS or models:/NAME/VERSION.")],
    folder: Annotated[Path, typer.Argument(help="An empty or new folder for the Hugging Face model.")],
) -> None:
    """Download a registered reward model as a plain Hugging Face folder."""
    from xlrm.tracking import mlflow_registry

    with errors_in_one_line():
        part = folder / ".part"  # left by an interrupted pull
        if folder.exists() and not (folder.is_dir() and set(folder.iterdir()) <= {part}):
            raise ConfigError("an empty or new folder is required", where="FOLDER", value=str(folder))
        outputs.check_folder(folder, "FOLDER")
        shutil.rmtree(part, ignore_errors=True)
        for path in mlflow_registry.download(uri, part).iterdir():
            path.rename(folder / path.name)
        part.rmdir()
    print_result(folder)


@app.command()
def report(
    output: Annotated[
        Path,
        typer.Argument(help="File to write to: .html for the page, .md or .tex for its tables in Markdown or LaTeX."),
    ] = Path("report.html"),
    artifact: Annotated[
        str | None, typer.Option(help="URI of a report artifact (default: the newest in the store).")
    ] = None,
) -> None:
    """Copy a run's report out of the store: the newest, or a given one."""
    from xlrm.run import pages
    from xlrm.store import artifacts

    with errors_in_one_line():
        outputs.check_file(output, "OUTPUT")
        file = pages.report_file(output)
        if artifact and "://" not in artifact:
            hint = "`xlrm artifacts report` lists them"
            raise ConfigError("the URI of an artifact is required", where="--artifact", value=artifact, hint=hint)
        uri = artifact or artifacts.newest(addresses.store(), "report")
        with within("--artifact: " if artifact else ""):
            folder = artifacts.fetch(uri, addresses.home() / "cache")
            if not (folder / file).is_file():
                raise ArtifactError(f"an artifact of {artifacts.load(uri).stage}, which has no {file}", where=uri)
        shutil.copyfile(folder / file, output)
    print_result(output)


@app.command()
def doctor() -> None:
    """Check this machine: what is installed, reachable or missing, and what to do about it.

    `python -m pipelines doctor` checks a cluster too.
    """
    from xlrm.run.doctor import checks, show

    with errors_in_one_line():
        results = list(checks())
    raise typer.Exit(0 if show(results) else 2)


for command in store_commands.COMMANDS:
    app.command()(command)

if __name__ == "__main__":
    app()
