"""Cutting texts into segments for a translation model, each at most one line, and joining the translations.

Literals (code, formulas, addresses, markup, placeholders) never reach the model. They are kept aside or, inside a
sentence, replaced by a marker such as [[0]], and are restored byte for byte, as are line breaks, list marks and
indents. X-ALMA was trained on up to 256 tokens, and its own code keeps only the first line of the output, so a segment
is at most one line.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

MARKER = re.compile(r"\[\[\s*(\d+)\s*\]\]")

# Blocks that are kept aside, possibly of several lines: fenced code, formulas, comments, and elements with code.
_BLOCK = re.compile(
    r"""
      ^[ \t]*(?P<fence>`{3,}|~{3,})[^\n]*\n(?:.*?\n)??[ \t]*(?P=fence)[`~]*[ \t]*$
    | ^[ \t]*(?:`{3,}|~{3,})[^\n`]*\n.*\Z                         # a fence that nobody closed
    | \$\$.+?\$\$ | \\\[.+?\\\] | \\begin\{(?P<env>[^}]+)\}.*?\\end\{(?P=env)\}
    | <!--.*?--> | <(?P<tag>pre|code|script|style)\b[^>]*>.*?</(?P=tag)>
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
# Literals inside a line, which are replaced by markers.
_LITERAL = re.compile(
    r"""
      (?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`)
    | \[\[\s*\d+\s*\]\]                                            # what looks like a marker of ours
    | (?:https?|ftp)://[^\s<>"'`)\]}，。；、）】」』]*[^\s<>"'`)\]}.,;:!?，。；、）】」』！？]
    | \bwww\.[^\s<>"'`)\]}]*[^\s<>"'`)\]}.,;:!?]
    | \b[\w.+-]+@[\w-]+(?:\.[\w-]+)+
    | \\\(.+?\\\) | \$(?=[^$\n]*[\\^_{}=+])[^\s$](?:[^$\n]*[^\s$])?\$(?!\d)
    | \\[a-zA-Z]+(?:\{[^{}\n]*\})*
    | </?[a-zA-Z][^<>\n]*> | &(?:[a-zA-Z]+|\#\d+);
    | !?\[(?=[^\[\]\n]*\]\([^()\s]*\)) | (?<=[^\s\[])\]\([^()\s]*\)  # both sides of a Markdown link
    | \$?\{\{?[\w.]+\}?\} | %\(\w+\)[sdif] | %(?:\d+\$)?[sd]\b
    | \b\w+(?:\.\w+)*\(\) | \b[A-Za-z]\w*_\w+\b                    # call(), snake_case
    """,
    re.VERBOSE,
)
_LINE_END = re.compile(r"\r\n?|\n")
_LINE_HEAD = re.compile(r"\s*(?:(?:[-*+•–>]|\#{1,6}|\(?(?:\d+|[a-zA-Z])[)]|\d+\.)\s+)*")
_CELLS = re.compile(r"(?<!\\)\|")
_LETTER = re.compile(r"[^\W\d_]")
_CLAUSE_END = re.compile(r"[,;:，；：、]\s*|\s+")

_CODE_LINE = re.compile(
    r"""
      .*[{}]\s*$ | .*\)\s*:\s*$ | \s*[\])}]+[,;]?\s*$ | \s*(?://|/\*|\*/|@\w+)
    | (?!(?:\W?[\w'’-]+[,)]?\s+){6}).*;\s*$                      # not the end of a clause: six words make it one
    | \s*\#\s*(?:include|define|if|ifdef|ifndef|endif|pragma)\b
    | (?!\s*(?:[\w'’-]+,?\s+){6} | .*(?:[^\W\d_]+\s+){2}[^\W\d_]+[.!?]?\s*$)\s*
      (?:def|class|return|import|from|for|while|if|elif|else|try|except|with|public|private|static|func|fn|let|const|var
        |package|using|namespace)\b.*(?:[(){}\[\];:=]|\bimport\b).*$
    | \s*(?:SELECT|INSERT|UPDATE|CREATE)\b.*(?:[(;=]|\bFROM\b|\bINTO\b|\bSET\b).*$
    | \s*from\s+[\w.]+\s+import\s.*$
    | \s*(?:import|package|using|return|break|continue|pass)(?:\s+[\w.:*"<>/-]+)?;?\s*$
    | \s*['"][^'"\n]*['"]\s*:\s*\S+,?\s*$
    | (?!.*(?:[^\W\d_]{2,}\s+){4})\s*[\w.\[\]*&>-]+\s*(?:[-+*/%|&]?=|\+\+|--|:=|<<)\s*\S.*$
    | \s*[\w.:]+\([^)]*\)[;,]?\s*$
    """,
    re.VERBOSE,
)
_CLOSED = re.compile(r"[\])}]+[,;]?\s*$")
_ITEM = re.compile(r"\s*(?:-|\d+[.)])\s+\w")
_PROSE_LINE = re.compile(r"(?:[^\w\s]{0,2}[\w'’-]+[,;:.)\"”]*\s+){3,}\S*\s*$")


@dataclass(frozen=True)
class Segment:
    text: str
    """Text for the model, with literals replaced by markers."""
    literals: tuple[str, ...] = ()
    """The literals, in the order of their markers' numbers."""

    def restore(self, translation: str) -> str | None:
        """The translation with literals restored; None if a marker is missing, unknown or duplicated."""
        places = sorted(int(number) for number in MARKER.findall(translation))
        if places != list(range(len(self.literals))):
            return None
        return MARKER.sub(lambda match: self.literals[int(match[1])], translation)

    def between_markers(self) -> Iterator["str | Segment | Space"]:
        for i, piece in enumerate(MARKER.split(self.text)):
            yield from [self.literals[int(piece)]] if i % 2 else _around(piece, Segment)


@dataclass(frozen=True)
class Space:
    """White space between two sentences; a single space is dropped in languages without spaces between words."""

    text: str


@dataclass(frozen=True)
class Template:
    """A text as a sequence of kept strings, white space and segments to translate."""

    parts: tuple[str | Segment | Space, ...]

    @property
    def segments(self) -> list[Segment]:
        return [part for part in self.parts if isinstance(part, Segment)]

    def without_markers(self) -> "Template":
        """The template with literals kept aside also inside sentences, for models that lose markers."""
        parts = [part.between_markers() if isinstance(part, Segment) else (part,) for part in self.parts]
        return Template(tuple(part for pieces in parts for part in pieces))

    def fill(self, translations: Iterable[str], spaced: bool = True) -> str:
        """The text with `translations` for its segments, in order; `spaced`: the target language writes spaces."""
        following = iter(translations)
        return "".join(_written(part, following, spaced) for part in self.parts)


def _written(part: str | Segment | Space, following: Iterator[str], spaced: bool) -> str:
    if isinstance(part, Segment):
        return next(following)
    if isinstance(part, Space):
        return part.text if spaced or part.text != " " else ""
    return part


def split(text: str, language: str, longest: int, code: bool = False) -> Template:
    """Template of `text` in `language` (ISO 639-1), with segments of at most `longest` characters.

    A line is one segment. A longer line is cut between sentences, and a longer sentence between clauses or words. Lines
    end with \\n, \\r\\n or \\r, which the template keeps. With `code`, lines of code are segments too, without markers.
    """
    parts: list[str | Segment | Space] = []
    for piece, is_code in _blocks(line_feeds(text)):
        if is_code and not code:
            parts.append(piece)
        elif is_code:
            for line in piece.splitlines(keepends=True):
                parts += _around(line, Segment, language, longest)
        else:
            for line in piece.splitlines(keepends=True):
                parts += _line(line, language, longest)
    if "\r" in text:  # a segment is within a line, so all line ends are in kept strings
        ends = iter(_LINE_END.findall(text))
        parts = [re.sub("\n", lambda _: next(ends), part) if isinstance(part, str) else part for part in parts]
    return Template(tuple(part for part in parts if part))


def line_feeds(text: str) -> str:
    """The text with \\n at the end of each line, for rules about lines."""
    return _LINE_END.sub("\n", text) if "\r" in text else text


def without_code(text: str) -> str:
    """The text without blocks of code, formulas and comments; literals inside lines remain. Its lines end with \\n."""
    return "".join(piece for piece, is_code in _blocks(line_feeds(text)) if not is_code)


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """Pieces of the text, each with whether it is code or another block to keep aside."""
    end = 0
    for match in _BLOCK.finditer(text):
        yield from _paragraphs(text[end : match.start()])
        yield match[0], True
        end = match.end()
    yield from _paragraphs(text[end:])


def _paragraphs(text: str) -> Iterator[tuple[str, bool]]:
    """Paragraphs with the blank lines after them, each with whether it is code without a fence: mostly lines of code, a
    line of code followed by indented ones, or an indented paragraph after code."""
    after_code = False
    for paragraph in re.split(r"(?<=\n)(?=[ \t]*\S)(?<=\n\n)|(?<=\n[ \t]\n)", text):
        lines = [line for line in paragraph.splitlines() if line.strip()]
        coded = sum(bool(_CODE_LINE.match(line)) for line in lines)
        inside = [(line[0] in " \t" and not _ITEM.match(line)) or bool(_CLOSED.match(line)) for line in lines]
        opened = len(lines) > 1 and not inside[0] and bool(_CODE_LINE.match(lines[0])) and all(inside[1:])
        after_code = bool(lines) and (2 * coded > len(lines) or opened or (after_code and all(inside)))
        yield from _without_prose(paragraph) if after_code else [(paragraph, False)]


def _without_prose(paragraph: str) -> Iterator[tuple[str, bool]]:
    """Splits a paragraph of code into the sentences directly above it, the code, and the sentences directly below."""
    lines = paragraph.splitlines(keepends=True)
    first, last = 0, len(lines)
    while first < last and _is_prose(lines[first]):
        first += 1
    while last > first and (_is_prose(lines[last - 1]) or not lines[last - 1].strip()):
        last -= 1
    yield "".join(lines[:first]), False
    yield "".join(lines[first:last]), True
    yield "".join(lines[last:]), False


def _is_prose(line: str) -> bool:
    return bool(_PROSE_LINE.match(line)) and not _CODE_LINE.match(line)


def _line(line: str, language: str, longest: int) -> Iterator[str | Segment | Space]:
    if line.count("|") >= 2 and line.lstrip().startswith("|"):
        for i, cell in enumerate(_CELLS.split(line)):
            yield from ("|",) if i else ()
            yield from _around(cell, _mask)
        return
    head = _LINE_HEAD.match(line)
    assert head, "it may be empty"
    yield head[0]
    yield from _around(line[head.end() :], _mask, language, longest)


def _around(
    text: str, make: Callable[[str], Segment], language: str = "", longest: int = 0
) -> Iterator[str | Segment | Space]:
    """Segments of `text` without surrounding white space; text without letters is kept unchanged."""
    inner = text.strip()
    if not inner:
        yield text
        return
    segment = make(inner)
    yield text[: text.index(inner)]
    if not _LETTER.search(MARKER.sub("", segment.text)):
        yield inner
    elif longest and len(segment.text) > longest:
        yield from _sentences(segment, language, longest)
    else:
        yield segment
    yield text[text.index(inner) + len(inner) :]


def _mask(text: str) -> Segment:
    literals: list[str] = []

    def marker(match: re.Match) -> str:
        literals.append(match[0])
        return f"[[{len(literals) - 1}]]"

    return Segment(_LITERAL.sub(marker, text), tuple(literals))


def _sentences(segment: Segment, language: str, longest: int) -> Iterator[str | Segment | Space]:
    """Splits a long segment into several, each with as many sentences as fit into `longest` characters."""
    import sentencex

    held = ""
    for sentence in sentencex.segment(language, segment.text):
        for piece in _clauses(sentence, longest):
            if held and len((held + piece).rstrip()) > longest:
                yield from _numbered(held, segment.literals)
                held = ""
            held += piece
    yield from _numbered(held, segment.literals)


def _clauses(sentence: str, longest: int) -> Iterator[str]:
    """Cuts a sentence that is too long after the last comma or space at which a piece is not too long."""
    while len(sentence.rstrip()) > longest:
        ends = [match.end() for match in _CLAUSE_END.finditer(sentence, 0, longest) if match.end() > longest // 2]
        end = ends[-1] if ends else _outside_marker(sentence, longest)
        yield sentence[:end]
        sentence = sentence[end:]
    yield sentence


def _outside_marker(text: str, end: int) -> int:
    return next((m.start() for m in MARKER.finditer(text) if 0 < m.start() < end < m.end()), end)


def _numbered(text: str, literals: tuple[str, ...]) -> Iterator[str | Segment | Space]:
    """A piece of a segment as a separate segment, with markers renumbered from 0, and the white space after it."""
    inner = text.rstrip()
    numbers = [int(number) for number in MARKER.findall(inner)]
    counted = iter(range(len(numbers)))
    renumbered = MARKER.sub(lambda _: f"[[{next(counted)}]]", inner)
    own = tuple(literals[number] for number in numbers)
    if _LETTER.search(MARKER.sub("", inner)):
        yield Segment(renumbered, own)
    else:
        yield MARKER.sub(lambda match: literals[int(match[1])], inner)
    if inner != text:
        yield Space(text[len(inner) :])
