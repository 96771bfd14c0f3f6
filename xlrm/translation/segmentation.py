"""Texts cut into what a translation model reads, one sentence or short paragraph at a time, and put together again.

What is not language (code, formulas, addresses, markup, placeholders) never reaches the model: it stands aside, or
inside a sentence behind a marker such as [[0]], and comes back byte for byte, as do line breaks, list marks and indents.
X-ALMA was trained on up to 256 tokens and its own code keeps the first line of what comes back, so a line is the most
that is asked of it at once.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MARKER = re.compile(r"\[\[\s*(\d+)\s*\]\]")

# What stands aside as a whole, over lines: fenced code, formulas, comments, and elements that hold code.
_BLOCK = re.compile(
    r"""
      ^[ \t]*(?P<fence>`{3,}|~{3,})[^\n]*\n(?:.*?\n)??[ \t]*(?P=fence)[`~]*[ \t]*$
    | ^[ \t]*(?:`{3,}|~{3,})[^\n`]*\n.*\Z                         # a fence that nobody closed
    | \$\$.+?\$\$ | \\\[.+?\\\] | \\begin\{(?P<env>[^}]+)\}.*?\\end\{(?P=env)\}
    | <!--.*?--> | <(?P<tag>pre|code|script|style)\b[^>]*>.*?</(?P=tag)>
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
# What stands behind a marker inside a line.
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
    """What the model reads, literals replaced by markers."""
    literals: tuple[str, ...] = ()
    """What the markers stand for."""

    def restore(self, translation: str) -> str | None:
        """The translation with its literals back; None where a marker is missing or stands twice."""
        places = sorted(int(number) for number in MARKER.findall(translation))
        if places != list(range(len(self.literals))):
            return None
        return MARKER.sub(lambda match: self.literals[int(match[1])], translation)

    def between_markers(self) -> Iterator["str | Segment | Space"]:
        for i, piece in enumerate(MARKER.split(self.text)):
            yield from [self.literals[int(piece)]] if i % 2 else _around(piece, Segment)


@dataclass(frozen=True)
class Space:
    """What stands between two sentences: a language without spaces between words has none there either."""

    text: str


@dataclass(frozen=True)
class Template:
    """A text as what is kept and what is translated, in order."""

    parts: tuple[str | Segment | Space, ...]

    @property
    def segments(self) -> list[Segment]:
        return [part for part in self.parts if isinstance(part, Segment)]

    def without_markers(self) -> "Template":
        """The same, with literals standing aside inside sentences too: for a model that loses markers."""
        parts = [part.between_markers() if isinstance(part, Segment) else (part,) for part in self.parts]
        return Template(tuple(part for many in parts for part in many))

    def fill(self, translations: Iterable[str], spaced: bool = True) -> str:
        """The text with the segments' translations, in order; `spaced` is whether their language writes spaces."""
        following = iter(translations)
        return "".join(_written(part, following, spaced) for part in self.parts)


def _written(part: str | Segment | Space, following: Iterator[str], spaced: bool) -> str:
    if isinstance(part, Segment):
        return next(following)
    if isinstance(part, Space):
        return part.text if spaced or part.text != " " else ""
    return part


def split(text: str, language: str, longest: int) -> Template:
    """`text`, which is in `language` (ISO 639-1), as a template of segments of at most `longest` characters.

    A line is a segment; a longer one is cut between sentences, a longer sentence between clauses or words.
    """
    parts: list[str | Segment | Space] = []
    for piece, is_code in _blocks(text):
        if is_code:
            parts.append(piece)
        else:
            for line in piece.splitlines(keepends=True):
                parts += _line(line, language, longest)
    return Template(tuple(part for part in parts if part))


def without_code(text: str) -> str:
    """The paragraphs and lines that are language, among other things."""
    return "".join(piece for piece, is_code in _blocks(text) if not is_code)


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """Pieces of the text, and whether each is code or the like."""
    end = 0
    for match in _BLOCK.finditer(text):
        yield from _paragraphs(text[end : match.start()])
        yield match[0], True
        end = match.end()
    yield from _paragraphs(text[end:])


def _paragraphs(text: str) -> Iterator[tuple[str, bool]]:
    """Paragraphs with the blank lines after them; one that is mostly lines of code is code without a fence, and so is an
    indented one that follows it."""
    after_code = False
    for paragraph in re.split(r"(?<=\n)(?=[ \t]*\S)(?<=\n\n)|(?<=\n[ \t]\n)", text):
        lines = [line for line in paragraph.splitlines() if line.strip()]
        coded = sum(bool(_CODE_LINE.match(line)) for line in lines)
        inside = [(line[0] in " \t" and not _ITEM.match(line)) or bool(_CLOSED.match(line)) for line in lines]
        opened = len(lines) > 1 and not inside[0] and bool(_CODE_LINE.match(lines[0])) and all(inside[1:])
        after_code = bool(lines) and (2 * coded > len(lines) or opened or (after_code and all(inside)))
        yield from _without_prose(paragraph) if after_code else [(paragraph, False)]


def _without_prose(paragraph: str) -> Iterator[tuple[str, bool]]:
    """A paragraph of code, and apart from it the sentences right above and below."""
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
    head = _LINE_HEAD.match(line).end()
    yield line[:head]
    yield from _around(line[head:], _mask, language, longest)


def _around(text: str, make, language: str = "", longest: int = 0) -> Iterator[str | Segment | Space]:
    """`text` made a segment, or several, without the space around it; what holds no letter is kept as it is."""
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
    """A long segment as several, each of as many sentences as it may hold."""
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
    """A sentence that is too long, cut after the last comma or space that may still belong to a piece."""
    while len(sentence.rstrip()) > longest:
        ends = [match.end() for match in _CLAUSE_END.finditer(sentence, 0, longest) if match.end() > longest // 2]
        end = ends[-1] if ends else _outside_marker(sentence, longest)
        yield sentence[:end]
        sentence = sentence[end:]
    yield sentence


def _outside_marker(text: str, end: int) -> int:
    return next((m.start() for m in MARKER.finditer(text) if 0 < m.start() < end < m.end()), end)


def _numbered(text: str, literals: tuple[str, ...]) -> Iterator[str | Segment | Space]:
    """A piece of a segment as a segment of its own, its markers counted from 0, and the space after it."""
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
