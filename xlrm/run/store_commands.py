"""Commands for housekeeping: list what the store holds, and remove what is not needed."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from xlrm import progress
from xlrm.run.output import errors_in_one_line, print_result
from xlrm.store import addresses

if TYPE_CHECKING:
    from xlrm.run.housekeeping import Item, Store


def artifacts(
    stage: Annotated[str | None, typer.Argument(help="List only artifacts of this stage.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line, with all runs and versions.")
    ] = False,
) -> None:
    """List the artifacts of the store, newest first: size, time, and the runs and versions that use each."""
    from xlrm.run import housekeeping

    with errors_in_one_line():
        store = housekeeping.look(addresses.store())
        items = store.of(housekeeping.ARTIFACT)
        rows = [_described(store, item) for item in items if stage in (None, item.name.split("/")[0])]
    rows.sort(key=lambda row: row["made"], reverse=True)
    if as_json:
        for row in rows:
            print_result(json.dumps(row, allow_nan=False))
    elif rows:
        _print([("stage", "size", "made (UTC)", "runs", "registered", "artifact"), *map(_cells, rows)])
    else:
        progress.say(f"no artifacts{f' of {stage}' if stage else ''} in {addresses.store()}")


def _described(store: "Store", item: "Item") -> dict:
    runs, versions = store.used_by(item.name)
    made = store.records[item.name].started.isoformat(timespec="seconds")
    stage, key = item.name.split("/")
    return {
        "stage": stage,
        "key": key,
        "uri": item.uri,
        "size": item.size,
        "made": made,
        "runs": runs,
        "registered": versions,
    }


def _cells(row: dict) -> tuple[str, ...]:
    from xlrm.run.housekeeping import shown_size

    made = f"{datetime.fromisoformat(row['made']).astimezone(UTC):%Y-%m-%d %H:%M}"
    return row["stage"], shown_size(row["size"]), made, _first(row["runs"]), _first(row["registered"]), row["uri"]


def _first(names: list[str]) -> str:
    return "–" if not names else names[0] if len(names) == 1 else f"{names[0]} +{len(names) - 1}"


def gc(
    older_than: Annotated[
        float, typer.Option(min=0, help="Remove a run, or files of no run, this many days after the last change.")
    ] = 30,
    run: Annotated[
        list[str] | None, typer.Option("--run", help="A run to remove regardless of its age; may be repeated.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without this option it is only listed.")] = False,
) -> None:
    """List what no kept run and no registered model uses, in the store and on this machine; --delete removes it."""
    from xlrm.run import housekeeping

    with errors_in_one_line():
        store = housekeeping.look(addresses.store())
        items = housekeeping.plan(store, older_than, run or ())
    going = [item for item in items if item.why]
    if busy := housekeeping.at_work(addresses.home()):
        progress.say(f"{', '.join(busy)}: running in {addresses.home()}; nothing is removed from the store meanwhile")
    _print([("", "kept", "size", "removable", "size"), *_totals(items)])
    if going:
        print_result("")
        _print([(item.kind, item.name, housekeeping.shown_size(item.size), item.why) for item in going])
    if delete:
        with errors_in_one_line():
            housekeeping.remove(store, items)
    size = housekeeping.shown_size(sum(item.size for item in going))
    where = f"from {addresses.shown(addresses.store())} and {addresses.home()}"
    progress.say(f"{size} removed {where}" if delete else f"{size} can be removed {where}; `--delete` removes it")


def _totals(items: "list[Item]") -> list[tuple[str, ...]]:
    from xlrm.run.housekeeping import shown_size

    rows = []
    for kind in dict.fromkeys(item.kind for item in items):
        of = [item for item in items if item.kind == kind]
        split = ([item for item in of if not item.why], [item for item in of if item.why])
        rows.append(
            (kind, *(cell for part in split for cell in (str(len(part)), shown_size(sum(item.size for item in part)))))
        )
    return rows


def _print(rows: list[tuple[str, ...]]) -> None:
    """Prints aligned columns on standard output; the last one is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print_result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


COMMANDS = (artifacts, gc)
