"""Rows of human translations, and defects of translations to plant in them.

Clean rows are made from NTREX-128: a prompt of one sentence, and answers of several consecutive sentences. In every
other row the sentences are separate paragraphs; every third row contains code, placeholders and addresses, which NTREX
itself does not have. The data are in $XLRM_SHARED_DATA.
"""

import json
import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from xlrm.languages import LANGUAGES

SHARED_DATA = Path(os.environ.get("XLRM_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
SOURCE, TARGETS = "en", ("es", "it", "ko", "zh", "de", "ru", "tr", "vi")
TEXTS = ("prompt", "chosen", "rejected")
CODE = ("`git commit -m {i}`", "`len(items[{i}:])`", "`SELECT name FROM t WHERE id = {i}`")
MARKS = ("{{name}}", "%s", "[[{i}]]", "<x/>", "<b>{i}</b>", "https://example.org/page/{i}?lang=en")
FENCE = "```python\nfor i in range({i}):\n    print(i)  # count up\n```"

Row = dict[str, str]


@dataclass
class Item:
    """One row in all languages, and the sentences of its texts."""

    rows: dict[str, Row]
    sentences: dict[str, dict[str, list[str]]]
    """Language -> column -> sentences."""
    joint: dict[str, str]
    """Column -> separator between its sentences."""


# Clean rows


def items(shared: Path, half: str, sentences: int = 3, across: bool = False) -> list[Item]:
    """Rows from the documents of one half, `tune` or `report`, with answers of `sentences` sentences; with `across`,
    a row may contain the end of one document and the beginning of the next."""
    documents, length = documents_of(shared, half), 1 + 2 * sentences
    documents = [list(chain.from_iterable(documents))] if across else documents
    windows = (many[at : at + length] for many in documents for at in range(len(many) - length + 1))
    return [_item(number, window, sentences) for number, window in enumerate(windows)]


def documents_of(shared: Path, half: str) -> list[list[dict]]:
    with (shared / "multilingual" / "ntrex_9way.jsonl").open(encoding="utf-8") as file:
        sentences = [json.loads(line) for line in file]
    documents: dict[str, list[dict]] = defaultdict(list)
    for sentence in sentences:
        documents[sentence["doc"]].append(sentence)
    return [many for number, many in enumerate(documents.values()) if number % 2 == (half == "report")]


def _item(number: int, window: list[dict], per_answer: int) -> Item:
    parts = {"prompt": window[:1], "chosen": window[1 : 1 + per_answer], "rejected": window[1 + per_answer :]}
    joint = dict.fromkeys(TEXTS, "\n\n" if number % 2 else " ")
    rows, sentences = {}, {}
    for language in (SOURCE, *TARGETS):
        sentences[language] = {column: [one[language].strip() for one in many] for column, many in parts.items()}
        if number % 3 == 0:
            _add_code(sentences[language], number)
        rows[language] = {"id": f"n{number}", "subset": "news", "source": "ntrex"}
        for column, many in sentences[language].items():
            rows[language][column] = _joined(many, joint[column], language)
    return Item(rows, sentences, joint)


def _add_code(sentences: dict[str, list[str]], number: int) -> None:
    """Adds code, the same in all languages, at the end of a sentence or as a separate block."""
    code, mark = CODE[number % len(CODE)].format(i=number), MARKS[number % len(MARKS)].format(i=number)
    sentences["prompt"][0] += f" ({code})"
    sentences["chosen"][0] += f" {mark}"
    sentences["rejected"].insert(1, FENCE.format(i=number) if number % 2 else f"({mark}: {code})")


def _joined(sentences: list[str], joint: str, language: str) -> str:
    return ("" if language == "zh" and joint == " " else joint).join(sentences)


# Defects: each breaks a row of `language`, or returns None if it cannot


Defect = Callable[[Item, str, random.Random], dict[str, str] | None]


def wrong_language(item: Item, language: str, rng: random.Random) -> Row | None:
    """A correct text in another language, with the same script if possible."""
    others = [one for one in TARGETS if one != language]
    same = [one for one in others if LANGUAGES[one].script == LANGUAGES[language].script]
    return _from(item, rng.choice(same or others), rng)


def wrong_script(item: Item, language: str, rng: random.Random) -> Row | None:
    return _from(item, rng.choice([one for one in TARGETS if LANGUAGES[one].script != LANGUAGES[language].script]), rng)


def untranslated_copy(item: Item, language: str, rng: random.Random) -> Row | None:
    return _from(item, SOURCE, rng)


def _from(item: Item, language: str, rng: random.Random) -> Row:
    column = rng.choice(TEXTS)
    return {column: item.rows[language][column]}


def one_sentence_untranslated(item: Item, language: str, rng: random.Random) -> Row | None:
    """A line or sentence of an answer stays untranslated; it has five words or more, so that it is not only a name."""
    column = rng.choice(("chosen", "rejected"))
    source, sentences = item.sentences[SOURCE][column], list(item.sentences[language][column])
    places = [i for i, one in enumerate(source) if len(one.split()) >= 5 and "`" not in one]
    if not places:
        return None
    at = rng.choice(places)
    sentences[at] = source[at]
    return {column: _joined(sentences, item.joint[column], language)}


def first_line_only(item: Item, language: str, rng: random.Random) -> Row | None:
    column = rng.choice(("chosen", "rejected"))
    return {column: item.sentences[language][column][0]} if "\n" in item.joint[column] else None


def cut_short(item: Item, language: str, rng: random.Random) -> Row | None:
    """The last sentence is cut at any character between 30 % and 90 % of its length, as a limit of tokens does."""
    column = rng.choice(TEXTS)
    sentences = list(item.sentences[language][column])
    if item.sentences[SOURCE][column][-1][-1] not in ".!?" or len(sentences[-1]) < 20:
        return None
    sentences[-1] = sentences[-1][: int(rng.uniform(0.3, 0.9) * len(sentences[-1]))].rstrip()
    return {column: _joined(sentences, item.joint[column], language)}


def blown_up(item: Item, language: str, rng: random.Random) -> Row | None:
    """Sentences that the source does not have are appended, at least as long as the text itself."""
    column, other = rng.sample(("chosen", "rejected"), 2)
    more = item.sentences[language][other]
    if len("".join(more)) < len(item.rows[language][column]) or "`" in "".join(more) or "{" in "".join(more):
        return None
    return {column: _joined([*item.sentences[language][column], *more], item.joint[column], language)}


def shrunk(item: Item, language: str, rng: random.Random) -> Row | None:
    """At most half of the source's text is left, up to the end of a sentence."""
    column = rng.choice(("chosen", "rejected"))
    sentences, source = (item.sentences[one][column] for one in (language, SOURCE))
    if "\n" in item.joint[column] or 2 * len(source[0]) > len(item.rows[SOURCE][column]):
        return None
    return {column: sentences[0]}


def lost_number(item: Item, language: str, rng: random.Random) -> Row | None:
    """A number is deleted or replaced; only numbers that occur once, with the same digits, in source and
    translation."""
    for column in rng.sample(TEXTS, 3):
        text, source = (item.rows[one][column] for one in (language, SOURCE))
        both = [number for number in _numbers(source) if _numbers(source)[number] == _numbers(text)[number] == 1]
        if both:
            number = rng.choice(both)
            return {
                column: re.sub(rf"(?<![\d.,]){re.escape(number)}(?![\d.,]?\d)", _another(number, source, rng), text)
            }
    return None


def _numbers(text: str) -> Counter[str]:
    prose = re.sub(r"```.*?```|`[^`]*`|https?:\S+|\[\[.*?\]\]|<.*?>", " ", text, flags=re.DOTALL)
    return Counter(re.findall(r"(?<![\d.,])\d+(?![\d.,]?\d)", prose))


def _another(number: str, source: str, rng: random.Random) -> str:
    if rng.random() < 0.5:
        return ""
    other = (str(rng.randrange(1, 10 ** len(number))) for _ in count())
    return next(one for one in other if one not in source)


def broken_code(item: Item, language: str, rng: random.Random) -> Row | None:
    """Code is changed, deleted, or no longer marked as code."""
    column = rng.choice([name for name in TEXTS if "`" in item.rows[SOURCE][name]] or [""])
    if not column:
        return None
    text = item.rows[language][column]
    broken = rng.choice([
        lambda: text.replace("`", "", 1), lambda: text.replace("`", ""), lambda: re.sub(r"(`[^`]*)[a-z]{2}", r"\1", text),
        lambda: re.sub(r"(`+)(\w+)", r"\1 \2", text), lambda: re.sub(r"\s*\(?`+[^`]+`+\)?", "", text),
    ])()  # fmt: skip
    return {column: broken} if broken != text else None


def broken_placeholder(item: Item, language: str, rng: random.Random) -> Row | None:
    """A placeholder is deleted, translated, spaced out or renumbered; addresses are treated the same way."""
    marks = re.compile(r"\{\w+\}|%s|\[\[\d+\]\]|</?\w+/?>|https?:\S+[\w/]")
    column = rng.choice([name for name in TEXTS if marks.search(item.rows[SOURCE][name])] or [""])
    if not column:
        return None
    text = item.rows[language][column]
    mark = rng.choice(marks.findall(text))
    broken = rng.choice([
        "", mark[:1] + " " + mark[1:], mark[:-1], re.sub(r"[a-z]+", "nombre", mark), re.sub(r"\d", "7", mark),
    ])  # fmt: skip
    return {column: text.replace(mark, broken, 1)} if broken != mark else None


def loop_of_a_word(item: Item, language: str, rng: random.Random) -> Row | None:
    return _loop(item, language, rng, 1, rng.randint(5, 40))


def loop_of_a_phrase(item: Item, language: str, rng: random.Random) -> Row | None:
    return _loop(item, language, rng, rng.randint(2, 6), rng.randint(5, 30))


def loop_of_a_sentence(item: Item, language: str, rng: random.Random) -> Row | None:
    return _loop(item, language, rng, 1000, rng.randint(4, 15))


def _loop(item: Item, language: str, rng: random.Random, words: int, times: int) -> Row | None:
    """The end of a text is repeated many times; in Chinese, two characters count as a word."""
    column = rng.choice(TEXTS)
    *_, last = item.sentences[language][column]
    if "`" in last:
        return None
    ends = '.!?。！？…”"» '
    text, last = item.rows[language][column].rstrip(ends), last.rstrip(ends)
    if words == 1000:
        text, chunk = item.rows[language][column], item.sentences[language][column][-1]
    else:
        chunk = last[-2 * words :] if language == "zh" else " ".join(last.split()[-words:])
    return {column: text + (("" if language == "zh" else " ") + chunk) * times}


def equal_pair(item: Item, language: str, rng: random.Random) -> Row | None:
    return {"rejected": item.rows[language]["chosen"]}


def blank(item: Item, language: str, rng: random.Random) -> Row | None:
    return {rng.choice(TEXTS): rng.choice(("", " \n"))}


DEFECTS: dict[Defect, tuple[str, ...]] = {
    wrong_language: ("language", "script"),
    wrong_script: ("script", "language"),
    untranslated_copy: ("copy", "untranslated"),
    one_sentence_untranslated: ("untranslated",),
    first_line_only: ("truncated",),
    cut_short: ("cut",),
    blown_up: ("length",),
    shrunk: ("length", "truncated"),
    lost_number: ("number",),
    broken_code: ("code",),
    broken_placeholder: ("placeholder",),
    loop_of_a_word: ("loop",),
    loop_of_a_phrase: ("loop",),
    loop_of_a_sentence: ("loop",),
    equal_pair: ("pair",),
    blank: ("schema",),
}
"""Defect of a text -> the expectations that are meant for it."""
ROW_DEFECTS = {"missing_row": ("parity",), "double_id": ("unique",), "out_of_order": ("parity",)}
