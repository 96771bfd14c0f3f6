"""How much of what is wrong with a translation the row checks find, and how often they find fault with a right one.

    python -m benchmarks.planted_defects [--seeds 5] [--half report] [--json FILE]

Clean rows are made of NTREX-128's human translations: a prompt of one sentence, answers of three that follow, every other
row as paragraphs of their own, every third with code, placeholders and addresses, which stand in NTREX nowhere. Each
class of defect is planted in 5 % of the rows that it can be planted in, five or six classes at a time. Thresholds were
chosen on the first half of the documents; what is printed is of the other half. The data are in $XLRM_SHARED_DATA.
"""

import argparse
import json
import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks import record
from benchmarks.defect_counts import Found, alarm_table
from xlrm.expectations import failures
from xlrm.languages import LANGUAGES
from xlrm.limits import Limits

SHARED_DATA = Path(os.environ.get("XLRM_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
SOURCE, TARGETS = "en", ("es", "it", "ko", "zh", "de", "ru", "tr", "vi")
COLUMNS = ("id", "prompt", "chosen", "rejected", "subset", "source")
TEXTS = ("prompt", "chosen", "rejected")
SHARE = 0.05
CODE = ("`git commit -m {i}`", "`len(items[{i}:])`", "`SELECT name FROM t WHERE id = {i}`")
MARKS = ("{{name}}", "%s", "[[{i}]]", "<x/>", "<b>{i}</b>", "https://example.org/page/{i}?lang=en")
FENCE = "```python\nfor i in range({i}):\n    print(i)  # count up\n```"

Row = dict[str, str]


@dataclass
class Item:
    """One row in all languages, and the sentences its texts are made of."""

    rows: dict[str, Row]
    sentences: dict[str, dict[str, list[str]]]
    """Language -> column -> sentences."""
    joint: dict[str, str]
    """Column -> what stands between them."""


# Clean rows


def items(shared: Path, half: str) -> list[Item]:
    """Rows of the documents of one half: `tune` or `report`."""
    windows = (many[at : at + 7] for many in documents_of(shared, half) for at in range(len(many) - 6))
    return [_item(number, window) for number, window in enumerate(windows)]


def documents_of(shared: Path, half: str) -> list[list[dict]]:
    with (shared / "multilingual" / "ntrex_9way.jsonl").open(encoding="utf-8") as file:
        sentences = [json.loads(line) for line in file]
    documents: dict[str, list[dict]] = defaultdict(list)
    for sentence in sentences:
        documents[sentence["doc"]].append(sentence)
    return [many for number, many in enumerate(documents.values()) if number % 2 == (half == "report")]


def _item(number: int, window: list[dict]) -> Item:
    parts = {"prompt": window[:1], "chosen": window[1:4], "rejected": window[4:]}
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
    """The same in all languages, at the end of a sentence or as a block of its own."""
    code, mark = CODE[number % len(CODE)].format(i=number), MARKS[number % len(MARKS)].format(i=number)
    sentences["prompt"][0] += f" ({code})"
    sentences["chosen"][0] += f" {mark}"
    sentences["rejected"].insert(1, FENCE.format(i=number) if number % 2 else f"({mark}: {code})")


def _joined(sentences: list[str], joint: str, language: str) -> str:
    return ("" if language == "zh" and joint == " " else joint).join(sentences)


# Defects: each makes a row of `language` wrong, and says whether it could


Defect = Callable[[Item, str, random.Random], dict[str, str] | None]


def wrong_language(item: Item, language: str, rng: random.Random) -> Row | None:
    """Right, but in another language: one of the same script, where there is one."""
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
    """A line or sentence of an answer is left as it was: one of five words or more, so no bare name."""
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
    """Stops between three tenths and nine of its last sentence, at any character, as a limit of tokens does."""
    column = rng.choice(TEXTS)
    sentences = list(item.sentences[language][column])
    if item.sentences[SOURCE][column][-1][-1] not in ".!?" or len(sentences[-1]) < 20:
        return None
    sentences[-1] = sentences[-1][: int(rng.uniform(0.3, 0.9) * len(sentences[-1]))].rstrip()
    return {column: _joined(sentences, item.joint[column], language)}


def blown_up(item: Item, language: str, rng: random.Random) -> Row | None:
    """Goes on with as many sentences again that the source does not have, or more."""
    column, other = rng.sample(("chosen", "rejected"), 2)
    more = item.sentences[language][other]
    if len("".join(more)) < len(item.rows[language][column]) or "`" in "".join(more) or "{" in "".join(more):
        return None
    return {column: _joined([*item.sentences[language][column], *more], item.joint[column], language)}


def shrunk(item: Item, language: str, rng: random.Random) -> Row | None:
    """Only half of the source's text or less is left, and it ends with a sentence."""
    column = rng.choice(("chosen", "rejected"))
    sentences, source = (item.sentences[one][column] for one in (language, SOURCE))
    if "\n" in item.joint[column] or 2 * len(source[0]) > len(item.rows[SOURCE][column]):
        return None
    return {column: sentences[0]}


def lost_number(item: Item, language: str, rng: random.Random) -> Row | None:
    """A number is gone, or another stands in its place; one that both have in the same digits, once."""
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
    """Translated, changed, or no longer marked as code."""
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
    """Dropped, translated, spaced out or given another number; an address likewise."""
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
    """What a text ends with comes again and again; of Chinese, two characters are a word."""
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
GROUPS = [list(DEFECTS)[at::3] for at in range(3)]


def measure(
    shared: Path = SHARED_DATA, half: str = "report", seeds: int = 1, targets: tuple[str, ...] = TARGETS
) -> Found:
    found, clean = Found(), items(shared, half)
    source = [item.rows[SOURCE] for item in clean]
    for language in targets:
        count_alarms(found, [item.rows[language] for item in clean], source, language)
        for seed in range(seeds):
            for group in GROUPS:
                _plant(found, clean, source, language, group, random.Random(f"{language} {seed} {group[0].__name__}"))
    return found


def count_alarms(
    found: Found, rows: list[Row], source: list[Row], language: str, columns: tuple[str, ...] = COLUMNS
) -> None:
    failed: set[int] = set()
    for outcome in failures(rows, source, columns, language, SOURCE, Limits()):
        key = (outcome.expectation.name, language)
        found.clean[key] += len(rows)
        found.alarms[key] += len(outcome.failed)
        failed |= outcome.failed.keys()
    found.clean["any", language], found.alarms["any", language] = len(rows), len(failed)


def _failed(rows: list[Row], source: list[Row], language: str) -> dict[str, set[str]]:
    """Id -> the expectations that a row of that id fails."""
    ids = [row["id"] for row in rows]
    ids += [row["id"] for row in source if row["id"] not in set(ids)]
    failed: dict[str, set[str]] = defaultdict(set)
    for outcome in failures(rows, source, COLUMNS, language, SOURCE, Limits()):
        for row in outcome.failed:
            failed[ids[row]].add(outcome.expectation.name)
    return failed


def _plant(
    found: Found, clean: list[Item], source: list[Row], language: str, group: list[Defect], rng: random.Random
) -> None:
    rows = {item.rows[language]["id"]: item.rows[language] for item in clean}
    places, planted = rng.sample(clean, len(clean)), {}
    for defect in group:
        changed = _changed(places, language, defect, rng)
        rows |= {row_id: rows[row_id] | change for row_id, change in changed}
        planted |= dict.fromkeys((row_id for row_id, _ in changed), (defect.__name__, DEFECTS[defect]))
    many = list(rows.values())
    for name, meant in ROW_DEFECTS.items():
        for row_id in _break_rows(many, name, [item.rows[language]["id"] for item in places], rng):
            planted[row_id] = (name, meant)
            places = [item for item in places if item.rows[language]["id"] != row_id]
    failed = _failed(many, source, language)
    for row_id, (name, meant) in planted.items():
        found.planted[name, language] += 1
        found.caught[name, language] += bool(failed.get(row_id, set()) & set(meant))
        found.noticed[name, language] += bool(failed.get(row_id))


def _changed(places: list[Item], language: str, defect: Defect, rng: random.Random) -> list[tuple[str, Row]]:
    """Rows made wrong, taken off `places`: 5 % of those that can be, so that defects do not meet in one row."""
    able = [(item, change) for item in places if (change := defect(item, language, rng))]
    chosen = able[: max(1, round(SHARE * len(able)))]
    for item, _ in chosen:
        places.remove(item)
    return [(item.rows[language]["id"], change) for item, change in chosen]


def _break_rows(rows: list[Row], name: str, free: list[str], rng: random.Random) -> list[str]:
    """Leaves out, doubles or moves back 1 % of the rows; ids of those."""
    movable = {row["id"] for row in rows[:-10]}
    chosen = [row_id for row_id in free if row_id in movable][: max(1, len(rows) // 100)]
    for row_id in chosen:
        at = next(i for i, row in enumerate(rows) if row["id"] == row_id)
        row = rows[at] if name == "double_id" else rows.pop(at)
        if name != "missing_row":
            rows.insert(min(at + rng.randint(2, 9), len(rows)), dict(row))
    return chosen


def table(found: Found) -> str:
    """Markdown: recall by class, by the expectations meant for it and by any; then false alarms by expectation."""
    languages = list(dict.fromkeys(language for _, language in found.clean))
    meant = {defect.__name__: names for defect, names in DEFECTS.items()} | ROW_DEFECTS
    lines = [f"| planted | found by | rows | {' | '.join(languages)} |", f"|---|---|---|{'---|' * len(languages)}"]
    for name, names in meant.items():
        rows = sum(found.planted[name, language] for language in languages)
        cells = " | ".join(_recall(found, name, language) for language in languages)
        lines.append(f"| {name.replace('_', ' ')} | {', '.join(names)} | {rows} | {cells} |")
    return "\n".join([*lines, "", alarm_table(found, "texts")])


def _recall(found: Found, name: str, language: str) -> str:
    planted = found.planted[name, language]
    mine, any_ = (counts[name, language] / planted for counts in (found.caught, found.noticed))
    return f"{mine:.0%}" if mine == any_ else f"{mine:.0%} ({any_:.0%})"


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("--seeds", type=int, default=5)
    found.add_argument("--half", choices=("tune", "report"), default="report")
    return found


def main() -> None:
    given = parser().parse_args()
    found = measure(half=given.half, seeds=given.seeds)
    print(table(found))
    record.write(__spec__.name, given, found.figures())


if __name__ == "__main__":
    main()
