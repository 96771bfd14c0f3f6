"""Texts cut for translation: what is not language stays byte for byte, and nothing is lost."""

import json

import pytest

from xlrm.languages import LANGUAGES
from xlrm.translation.segmentation import Segment, Space, split


def cut(text: str, language: str = "en", longest: int = 400) -> list[str]:
    return [segment.text for segment in split(text, language, longest).segments]


def round_trip(text: str, language: str = "en", longest: int = 400, change=str) -> str:
    template = split(text, language, longest)
    restored = [segment.restore(change(segment.text)) for segment in template.segments]
    assert None not in restored
    return template.fill(restored)


DOCUMENT = """\
# A title

Some *text* with `code`, a [link](https://example.org/a_b?c=1) and {name}.
Second line, cost: $5 and $x^2 + 1$.

1. First step
   - nested, see https://example.org/x.

| head one | head two |
|----------|:--------:|
| cell     | 3        |

```python
def f(x):  # a comment stays
    return "text"
```

\\[ E = mc^2 \\]

> Quoted <b>text</b>, 50% &amp; more: %s.
Write to me@example.org, call run_stage() or `a`b`.
"""


def test_only_language_is_translated_and_the_rest_comes_back_byte_for_byte() -> None:
    assert cut(DOCUMENT) == [
        "A title",
        "Some *text* with [[0]], a [[1]]link[[2]] and [[3]].",
        "Second line, cost: $5 and [[0]].",
        "First step",
        "nested, see [[0]].",
        "head one", "head two", "cell",
        "Quoted [[0]]text[[1]], 50% [[2]] more: [[3]].",
        "Write to [[0]], call [[1]] or [[2]]b`.",
    ]  # fmt: skip
    assert round_trip(DOCUMENT) == DOCUMENT
    shouted = round_trip(DOCUMENT, change=str.upper)
    assert shouted.count("\n") == DOCUMENT.count("\n")
    for literal in ("`code`", "](https://example.org/a_b?c=1)", "{name}", "$x^2 + 1$", "<b>", "%s", "run_stage()",
                    'def f(x):  # a comment stays\n    return "text"\n', "\\[ E = mc^2 \\]", "|----------|:--------:|",
                    "1. ", "   - ", "> ", "me@example.org"):  # fmt: skip
        assert literal in shouted


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\n", "```\nnever closed\n\ntext", "a\r\nb\r\n", "\tTabs\tinside ", "...", "12 + 3 = 15", "[[0]] as text [[7]]",
     "`a` `b` ``c`d``", "a | b | c", "| |\n|-|\n", "\\begin{align}x\n\\end{align} then words", "$$a\nb$$", "Ends in space \n"],
)  # fmt: skip
def test_nothing_is_lost(text: str) -> None:
    assert round_trip(text) == text
    assert split(text, "en", 400).without_markers().fill(cut_without_markers(text)) == text


def cut_without_markers(text: str) -> list[str]:
    segments = split(text, "en", 400).without_markers().segments
    assert not any(segment.literals for segment in segments)
    return [segment.text for segment in segments]


def test_code_without_a_fence_is_code_and_the_sentences_around_it_are_not() -> None:
    code = "public int divide(int a, int b) {\n    int c = a / b;\n\n    return c;\n}\n"
    assert cut(f"Please make this method safer.\n{code}\nThank you for your help.") == [
        "Please make this method safer.", "Thank you for your help.",
    ]  # fmt: skip
    assert not cut(
        'import math\n\n\ndef add(a, b):\n    """\n    Returns the sum of the two numbers.\n    """\n    return a + b\n'
    )
    assert cut("x = 1;\n\n  - first take the sum\n  - then wait\n") == ["first take the sum", "then wait"]
    for prose in ("x = 5 and y = 3. Find the value of z here.", "if you want it: take a (big) bag with you",
                  "c) Hire any employee of the company, or of another one;", "For the rest (see below), wait."):  # fmt: skip
        assert cut(prose), prose


def test_code_is_translated_line_by_line_on_request() -> None:
    """As the model is given any other text: whole lines, without markers for what is in them."""
    text = "Try this:\n```python\n    total = add(a_b, 2)  # the sum\n\n```\nIt works.\n"
    template = split(text, "en", 400, code=True)
    said = [segment.text for segment in template.segments]
    assert said == ["Try this:", "```python", "total = add(a_b, 2)  # the sum", "It works."]
    assert not any(segment.literals for segment in template.segments) and template.fill(said) == text
    assert [segment.text for segment in split(text, "en", 400).segments] == ["Try this:", "It works."]


def test_real_answers_come_back_whole_and_their_code_is_not_translated(shared_data) -> None:
    lines = [
        line for name in ("preferences_en", "rewardbench_mini_en")
        for line in (shared_data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]  # fmt: skip
    code_characters = literal = 0
    for row in map(json.loads, lines):
        for field in ("prompt", "chosen", "rejected"):
            template = split(row[field], "en", 400)
            assert template.fill([segment.restore(segment.text) for segment in template.segments]) == row[field]
            assert all(len(segment.text) <= 400 and "\n" not in segment.text for segment in template.segments)
            if row.get("subset", "").startswith("hep-") and field != "prompt":  # functions without a fence
                code_characters += len(row[field])
                literal += sum(len(part) for part in template.parts if isinstance(part, str))
    assert literal / code_characters > 0.999


LONG = {
    "en": "Dr. Smith paid 3.5 million. \"Why?\" he asked. It was cold, e.g. in May. ",
    "es": "El Sr. Gómez pagó 3,5 millones. ¿Por qué? Hacía frío. ",
    "it": "Il sig. Rossi ha pagato 3,5 milioni. Perché? Faceva freddo. ",
    "ko": "그는 집에 있었다. 왜? 날씨가 3.5도로 추웠다. ",
    "zh": "他付了350万。为什么？天气很冷！",
    "de": "Dr. Schmidt zahlte 3,5 Millionen. Warum? Es war kalt. ",
    "ru": "Он заплатил 3,5 миллиона. Почему? Было холодно. ",
    "tr": "Dr. Ahmet 3,5 milyon ödedi. Neden? Hava soğuktu. ",
    "vi": "Ông ấy đã trả 3,5 triệu. Tại sao? Trời lạnh. ",
}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_long_paragraph_is_cut_between_sentences(language: str) -> None:
    text = (LONG[language] * 12).rstrip()
    segments = cut(text, language, longest=60)
    assert len(segments) > 2 and all(len(segment) <= 60 for segment in segments)
    assert all(segment[-1] in '.?!。？！"' for segment in segments)
    assert round_trip(text, language, longest=60) == text


def test_a_long_sentence_is_cut_at_clauses_and_keeps_its_literals() -> None:
    text = "First, " + ", ".join(f"we call `f{i}` and then wait for number {i}" for i in range(30)) + ", and end"
    segments = split(text, "en", 100).segments
    assert all(len(segment.text) <= 100 for segment in segments)
    assert [literal for segment in segments for literal in segment.literals] == [f"`f{i}`" for i in range(30)]
    assert round_trip(text, longest=100) == text
    blob = "A" * 950
    assert round_trip(blob, longest=100) == blob and max(map(len, cut(blob, longest=100))) == 100


def test_sentences_of_a_language_without_spaces_are_not_spaced() -> None:
    template = split("One is here. Two is there.", "en", 15)
    assert [part for part in template.parts if isinstance(part, Space)] == [Space(" ")]
    assert template.fill(["一。", "二。"], spaced=False) == "一。二。"
    assert template.fill(["Uno.", "Dos."]) == "Uno. Dos."


@pytest.mark.parametrize(
    ("translation", "restored"),
    [("Usa [[0]] y [[1]]", "Usa `a` y `b`"), ("[[1]] usa [[ 0 ]]", "`b` usa `a`"), ("Usa [[0]]", None),
     ("Usa [[0]] [[1]] [[1]]", None), ("Usa [[0]] y [[2]]", None), ("Usa a y b", None)],
)  # fmt: skip
def test_a_translation_has_each_literal_once_or_is_none(translation: str, restored: str | None) -> None:
    assert Segment("Use [[0]] and [[1]]", ("`a`", "`b`")).restore(translation) == restored


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_lines_may_end_as_elsewhere(end: str) -> None:
    other = DOCUMENT.replace("\n", end)
    assert cut(other) == cut(DOCUMENT)
    assert round_trip(other) == other
    assert round_trip(other, change=str.upper) == round_trip(DOCUMENT, change=str.upper).replace("\n", end)
    mixed = "One line.\r\nAnother line.\n```\r\nx = 1\n```\r\rThe last line."
    assert cut(mixed) == ["One line.", "Another line.", "The last line."] and round_trip(mixed) == mixed


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_code_without_a_fence_is_kept_whatever_ends_its_lines(end: str) -> None:
    lines = ["Run this:", "", "def f(x):", "    return x + 1", "", "It adds one to the number."]
    assert cut(end.join(lines)) == cut("\n".join(lines)) == ["Run this:", "It adds one to the number."]
