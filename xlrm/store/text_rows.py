"""Rows of JSON lines, a JSON array, CSV or TSV, one at a time, from text that is checked to be in its encoding."""

import codecs
import csv
import io
from collections.abc import Iterator
from typing import IO, Any

from xlrm.errors import DataError
from xlrm.store.json_values import DECODER, FINITE, LONGEST, NotFinite, check, check_depth, parse_line

Numbered = tuple[int, dict | DataError]
"""Line (row of an array) and the row there, or why there is none."""
JSON_CELLS = ("messages", "margin", "label", "weight", "reward", "chosen_reward", "rejected_reward")
"""Columns of CSV and TSV whose cells are numbers, truth values or lists; all other cells are text."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BLOCK = 1 << 16
_HINT = "give its encoding, as --encoding latin-1 or curate.encoding=latin-1"
_TOO_LONG = f"a row has at most {LONGEST:,} characters"


class Text:
    """Characters of a file in UTF-8, in what its byte order mark says, or else in `encoding`. Errors name the line."""

    def __init__(self, content: IO[bytes], encoding: str | None, newline: str | None = None):
        head = content.peek(4)[:4]  # type: ignore[attr-defined]
        self.codec = next((codec for mark, codec in _BOMS if head.startswith(mark)), encoding or "utf-8")
        self.number = 0
        """Lines read."""
        # Bytes that are not UTF-8 become characters that cannot be encoded, so that the line that has them is known.
        wrong = "surrogateescape" if self.codec.startswith("utf-8") else "strict"
        self.file = io.TextIOWrapper(content, self.codec, wrong, newline)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Each line with its number. Raises DataError for one that is longer than a row may be."""
        while line := self._checked(self.file.readline, LONGEST + 2):
            self.number += 1
            if len(line) > LONGEST + 1:
                raise DataError(_TOO_LONG, where=str(self.number))
            yield self.number, line

    def block(self, size: int = _BLOCK) -> str:
        """The next characters, empty at the end."""
        block = self._checked(self.file.read, size)
        self.number += block.count("\n")
        return block

    def _checked(self, read: Any, size: int) -> str:
        try:
            text: str = read(size)
            text.encode()
        except UnicodeDecodeError as error:
            byte = f"byte 0x{error.object[error.start]:02x} at {error.start + 1}"
            raise DataError(f"not {self.codec.upper()}: {byte}", where=str(self.number + 1), hint=_HINT) from error
        except UnicodeEncodeError as error:
            raise self._not_utf8(text, error.start) from error
        return text

    def _not_utf8(self, text: str, place: int) -> DataError:
        before = text[:place]
        start = before.rfind("\n") + 1
        offset = len(before[start:].encode("utf-8", "surrogateescape")) + 1
        byte = text[place].encode("utf-8", "surrogateescape").hex()
        return DataError(
            f"not UTF-8: byte 0x{byte} at byte {offset} of the line",
            where=str(self.number + before.count("\n") + 1), hint=_HINT,
        )  # fmt: skip


def json_lines(text: Text) -> Iterator[Numbered]:
    """The object on each line that is not blank."""
    for number, line in text.lines():
        if line.strip():
            yield number, _row(line)


def _row(line: str) -> dict | DataError:
    try:
        return parse_line(line)
    except DataError as error:
        if line.lstrip().startswith("["):
            error.hint = error.hint or "a file that is one array ends in .json"
        return error


def is_array(text: Text) -> bool:
    """Whether the first character that is not white space is [."""
    while (block := text.block()) and not block.strip():
        pass
    return block.lstrip().startswith("[")


def json_array(text: Text) -> Iterator[Numbered]:
    """The objects of an array, which is read in blocks. Raises DataError, with the row's number, for other JSON. The
    text is known to begin with [."""
    array = _Array(text)
    while array.more():
        yield array.number, array.element()


class _Array:
    def __init__(self, text: Text):
        self.text = text
        self.buffer, self.place = "", 0
        self.number = 0
        """Elements begun."""
        self._next()
        self.place += 1

    def more(self) -> bool:
        """Whether there is another element; `place` is then where it begins."""
        mark = self._next()
        if self.number and mark == ",":
            self.place += 1
            mark = self._next()
        elif self.number and mark != "]":
            raise self._error("a comma or the end of the array is required")
        self.number += 1
        if mark == "]":
            self.place += 1
            if self._next():
                raise self._error("something follows the array")
            return False
        if not mark:
            raise self._error("the array is not closed")
        return True

    def element(self) -> dict | DataError:
        while True:
            try:
                row, end = DECODER.raw_decode(self.buffer, self.place)
                break
            except DataError as error:
                raise error.within(f"{self.number}: ") from None
            except NotFinite as error:
                raise DataError(FINITE, where=str(self.number), value=str(error)) from error
            except (ValueError, RecursionError) as error:
                if len(self.buffer) - self.place > LONGEST:
                    raise DataError(_TOO_LONG, where=str(self.number)) from error
                if not self._grow():
                    raise self._error(f"not JSON ({error})") from error
        source = self.buffer[self.place : end]
        self.place = end
        try:
            check_depth(source)
            return check(row, source)
        except DataError as error:
            return error

    def _next(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            while self.place < len(self.buffer) and self.buffer[self.place] in " \t\n\r":
                self.place += 1
            if self.place < len(self.buffer):
                return self.buffer[self.place]
            if not self._grow():
                return ""

    def _grow(self) -> bool:
        """Doubles what is left of the buffer, so that the parts of a long row are not parsed too often."""
        rest = self.buffer[self.place :]
        block = self.text.block(max(_BLOCK, len(rest)))
        self.buffer, self.place = rest + block, 0
        return bool(block)

    def _error(self, message: str) -> DataError:
        return DataError(message, where=str(self.number))


def cells(text: Text, delimiter: str) -> Iterator[Numbered]:
    """The rows below the header of a CSV or TSV file. Raises DataError for a header with the same name twice and for
    quotes that do not match."""
    csv.field_size_limit(LONGEST)
    lines = _Records(text)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for values in reader:
            number = lines.begin()
            if header is None and values:
                header = _header(values, number, delimiter)
            elif values and header:
                yield number, _named(header, values)
    except csv.Error as error:
        raise DataError(f"not CSV ({error})", where=str(lines.first)) from error


class _Records:
    """Lines for csv.reader, which takes as many as a record has."""

    def __init__(self, text: Text):
        self.lines = text.lines()
        self.first = 1
        """Line on which the record begins."""
        self.taken = self.size = 0

    def __iter__(self) -> "_Records":
        return self

    def __next__(self) -> str:
        number, line = next(self.lines)
        self.taken += 1
        if self.taken == 1:
            self.first = number
        self.size += len(line)
        if self.size > LONGEST:
            raise DataError(_TOO_LONG, where=str(self.first))
        return line

    def begin(self) -> int:
        """The line on which the finished record begins; the next line begins another."""
        self.taken = self.size = 0
        return self.first


def _header(names: list[str], number: int, delimiter: str) -> list[str]:
    others = [mark for mark in ";\t,|" if mark in names[0] and mark != delimiter]
    if len(names) == 1 and others:
        hint = "a table with tabs ends in .tsv" if others[0] == "\t" else ""
        raise DataError(
            f"cells are separated by {delimiter!r}, not {others[0]!r}", where=str(number), value=names[0], hint=hint
        )
    for name in names:
        if names.count(name) > 1:
            raise DataError("duplicated column", where=str(number), value=name)
    return names


def _named(header: list[str], values: list[str]) -> dict | DataError:
    if len(values) != len(header):
        return DataError(f"{len(values)} cells in a table of {len(header)} columns")
    try:
        return {name: _cell(name, value) for name, value in zip(header, values, strict=True)}
    except DataError as error:
        return error


def _cell(name: str, value: str) -> Any:
    if name not in JSON_CELLS:
        return value
    if not value.strip():
        return None
    try:
        return DECODER.decode(value.lower() if value.lower() in ("true", "false") else value)
    except (ValueError, RecursionError, NotFinite, DataError) as error:
        raise DataError("a number, true, false or a JSON list is required", where=name, value=value) from error
