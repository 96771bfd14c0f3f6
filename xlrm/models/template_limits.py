"""Chat templates compiled so that no operation makes a text or list of more than `SIZE` characters or items, or a number
of more than `_BITS` bits.

An operation runs in C, where neither a time limit nor the watch on memory can stop it.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError
from jinja2.nodes import Concat
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

SIZE = 50_000_000
_BITS = 256
_LISTS = (list, tuple, set, frozenset)
_AS_TEXT = {
    "capitalize", "center", "e", "escape", "forceescape", "format", "indent", "join", "lower", "pprint", "replace", "string",
    "striptags", "sum", "title", "tojson", "trim", "truncate", "upper", "urlencode", "urlize", "wordcount", "wordwrap",
    "xmlattr",
}  # fmt: skip
"""Filters that write their whole input."""


def compiled(template: str) -> Any:
    """The template as transformers compiles it, within the limits."""
    return _environment().from_string(template)


@functools.cache
def _environment() -> "_Limited":
    from transformers.utils import chat_template_utils

    theirs = chat_template_utils._compile_jinja_template("").environment
    extensions = [type(extension) for extension in theirs.extensions.values()]
    made = _Limited(trim_blocks=theirs.trim_blocks, lstrip_blocks=theirs.lstrip_blocks, extensions=extensions)
    made.finalize = _within
    made.globals |= theirs.globals
    made.filters |= {name: _limited(name, function) for name, function in theirs.filters.items()}
    return made


class _Generator(CodeGenerator):
    def visit_Concat(self, node: Concat, frame: Any) -> None:
        """`~`, which jinja2 does not let a sandbox intercept."""
        self.write("environment.concat(environment.texts((")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write(")))")


class _Limited(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "*", "%"))
    code_generator_class = _Generator

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Joins what a template, a block or a macro writes."""
        kept, size = [], 0
        for part in parts:
            kept.append(part)
            size += len(part)
            _check(size)
        return "".join(kept)

    @staticmethod
    def texts(values: Iterable[Any]) -> list[str]:
        return [str(_within(value)) for value in values]

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            _check_product(left, right)
            _check_product(right, left)
        elif operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
            _check(len(left) + len(right))
        elif operator == "%" and isinstance(left, str | bytes):
            _check(_formatted(left, right if isinstance(right, tuple) else (right,)))
        return super().call_binop(context, operator, left, right)

    def call(*arguments: Any, **options: Any) -> Any:  # as jinja2, whose first parameters a template cannot name
        self, context, called, *given = arguments
        method = getattr(called, "__wrapped__", called)  # str.format
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, str | bytes | int) and not isinstance(owner, bool):
            given = [list(each) if name == "join" else each for each in given]
            _check(_made(name, owner, [*given, *options.values()]))
        return ImmutableSandboxedEnvironment.call(self, context, called, *given, **options)


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > _BITS:
            raise SecurityError(f"a number has more than {_BITS} bits")
    elif isinstance(right, int) and hasattr(left, "__len__"):
        _check(len(left) * right)


def _made(name: str, text: Any, given: list[Any]) -> int:
    """Upper bound of the size of what a method of a text makes."""
    numbers = [each for each in given if isinstance(each, int)]
    if name in ("center", "ljust", "rjust", "zfill", "to_bytes"):
        return max(numbers, default=0)
    if name == "expandtabs":
        return len(text) + text.count("\t" if isinstance(text, str) else b"\t") * max(numbers, default=8)
    if name == "replace" and len(given) > 1:
        return len(text) + text.count(given[0]) * len(given[1])
    if name == "translate" and given:
        return len(text) * max([1, *map(_size, given[0].values())]) if isinstance(given[0], Mapping) else 0
    if name == "join" and given:
        return _size(given[0]) + len(text) * len(given[0])
    return _formatted(text, given) if name in ("format", "format_map") else 0


def _formatted(text: Any, given: Iterable[Any]) -> int:
    """Upper bound of the size of a formatted text: each number in the format may be a width."""
    text = text.decode("latin-1") if isinstance(text, bytes) else text
    fields = max(text.count("{"), text.count("%"))
    nested = "*" in text or re.search(r"\{[^{}]*\{", text)
    widths = [abs(each) for each in given if isinstance(each, int)] if nested else []
    return len(text) + sum(map(int, re.findall(r"\d+", text))) + sum(widths) + fields * sum(map(_size, given))


def _limited(name: str, function: Callable) -> Callable:
    """A filter within the limits."""
    if name not in _AS_TEXT and name not in ("batch", "round"):
        return function
    first = 1 if getattr(function, "jinja_pass_arg", None) else 0

    @functools.wraps(function)
    def limited(*given: Any, **options: Any) -> Any:
        before, (value, *others) = given[:first], given[first:]
        if not isinstance(value, (str, Mapping, *_LISTS)) and hasattr(value, "__iter__"):
            value = list(value)
        numbers = [each for each in (*others, *options.values()) if isinstance(each, int)]
        texts = [each for each in (*others, *options.values()) if isinstance(each, str)]
        _check(_of_filter(name, value, others, max([1, *map(abs, numbers), *map(len, texts)])))
        return function(*before, value, *others, **options)

    return limited


def _of_filter(name: str, value: Any, others: list[Any], most: int) -> int:
    """Upper bound of the size of what a filter makes; `most`: its largest number, or the size of its longest text."""
    if name in ("center", "batch", "round"):
        return most + _size(value)
    if name == "replace" and len(others) > 1:
        return _size(value) + str(_within(value)).count(str(others[0])) * len(str(others[1]))
    if name == "join" and isinstance(value, _LISTS):
        return _size(value) + len(value) * most
    if name == "indent":
        return _size(value) + (str(_within(value)).count("\n") + 1) * most
    if name == "tojson":
        return _size(value) * (most + 1)
    return _formatted(str(value), others) if name == "format" else _size(value)


def _within(value: Any) -> Any:
    """The value. Raises SecurityError if its text is too long."""
    _check(_size(value))
    return value


def _check(size: int) -> None:
    if size > SIZE:
        raise SecurityError(f"a single operation makes more than {SIZE:,} characters")


def _size(value: Any) -> int:
    """Characters of a text, or of all that a list or mapping contains, as far as they are within the limit."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Namespace):
        value = value._Namespace__attrs
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    size = 1
    if isinstance(value, _LISTS):
        for each in value:
            size += _size(each)
            if size > SIZE:
                break
    return size
