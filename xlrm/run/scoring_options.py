"""The options of all commands that score: the fields of `Scoring`."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError

from xlrm.errors import ConfigError
from xlrm.scorers.interface import Scoring
from xlrm.store.fields import sentences


def scoring_options(*left_out: str) -> Callable[[Callable], Callable]:
    """Gives a command the fields of `Scoring`, except those `left_out`, as options. The command is called with `scoring`:
    the options that were given, by their fields."""
    names = [name for name in Scoring.model_fields if name not in left_out]

    def with_options(command: Callable) -> Callable:
        @functools.wraps(command)
        def called(**given: Any) -> Any:
            options = {name: given.pop(name) for name in names}
            return command(**given, scoring={name: value for name, value in options.items() if value is not None})

        parameters = inspect.signature(command, eval_str=True).parameters.values()
        own = [parameter for parameter in parameters if parameter.name != "scoring"]
        signature = inspect.Signature([*own, *map(_option, names)])
        called.__signature__ = signature  # type: ignore[attr-defined]  # read by typer
        called.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
        return called

    return with_options


def checked(kind: type[BaseModel], given: dict[str, Any], command: str) -> Any:
    """Settings from a command's options. Raises ConfigError, one line that names the option and what is allowed."""
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        hint = f"there are {', '.join(kind.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise ConfigError.invalid(first, f"{command}: ", hint) from error


def _option(name: str) -> inspect.Parameter:
    field = Scoring.model_fields[name]
    allowed = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    shown = typer.Option(
        help=f"{sentences(Scoring)[name]} (default: {field.default})", metavar="|".join(allowed) or None
    )
    kind = int if field.annotation is int else str
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, shown]
    )
