"""What an experiment's settings go through on their way to a component: KFP's local runner takes no null in a parameter."""

from typing import Any

_NULL = "null"


def pack(value: Any) -> Any:
    """The settings with the word null for null."""
    return _each(value, lambda one: _NULL if one is None else one)


def unpack(value: Any) -> Any:
    """What `pack` was given."""
    return _each(value, lambda one: None if one == _NULL else one)


def _each(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {key: _each(one, change) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_each(one, change) for one in value]
    return change(value)
