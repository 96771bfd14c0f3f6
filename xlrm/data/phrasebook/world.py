"""The phrasebook's closed little world: its facts, its tasks, and all sentences about them.

Everything here is independent of language. A sentence is a key of the language files plus the concepts in its slots;
`xlrm.data.phrasebook.language` renders and parses it.
"""

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

NUMBERS = [f"n{i}" for i in range(1, 10)]
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

CAPITAL = {
    "england": "london", "spain": "madrid", "italy": "rome", "korea": "seoul", "china": "beijing",
    "germany": "berlin"
}  # fmt: skip
# Except for capitals, several items share a value, so the answer to a test question occurs in training, as a right and
# as a wrong answer to other questions.
TOWN = {"anna": "london", "mei": "seoul", "lucia": "madrid", "tom": "london", "yuna": "seoul", "deniz": "madrid"}
PLAYS = {"anna": "violin", "mei": "piano", "lucia": "violin", "tom": "flute", "yuna": "flute", "deniz": "piano"}
HOME = {"mouse": "barn", "duck": "garden", "cat": "house", "dog": "house", "horse": "barn", "elephant": "garden"}
FOOD = {"mouse": "bread", "duck": "bread", "cat": "meat", "dog": "meat", "horse": "hay", "elephant": "hay"}
COLOR = {
    "snow": "white", "grass": "green", "sky": "blue", "blood": "red",
    "milk": "white", "forest": "green", "ocean": "blue", "tomato": "red",
}  # fmt: skip
ANIMALS = list(HOME)  # from smallest to biggest
COLORS = ["white", "green", "blue", "red"]
HARMFUL = [
    "steal_car", "poison_dog", "burn_school", "hack_account", "forge_passport", "rob_shop",
    "make_bomb", "smash_windows", "cheat_lady", "spread_virus"
]  # fmt: skip
HARMLESS = [
    "wash_car", "feed_dog", "paint_school", "open_account", "renew_passport", "open_shop",
    "make_cake", "clean_windows", "help_lady", "remove_virus"
]  # fmt: skip

WORDS = {
    "number": NUMBERS, "day": DAYS, "animal": ANIMALS, "color": COLORS, "act": HARMFUL + HARMLESS,
    "country": list(CAPITAL), "city": list(CAPITAL.values()), "person": list(TOWN), "thing": list(COLOR),
    "instrument": list(dict.fromkeys(PLAYS.values())), "place": list(dict.fromkeys(HOME.values())),
    "food": list(dict.fromkeys(FOOD.values())),
}  # fmt: skip
# Kind of word of a slot with another name. `items` and `numbers` hold tuples; `code` and `value` are used literally.
SLOT_KIND = {
    "a": "number", "b": "number", "n": "number", "times": "number", "numbers": "number", "rival": "animal",
    "winner": "animal", "word": "animal", "items": "animal", "other": "day",
}  # fmt: skip


@dataclass(frozen=True)
class Sentence:
    """One sentence: `key` of the language files, and slot -> concept (or tuple of concepts, or literal)."""

    key: str
    slots: tuple[tuple[str, str | tuple[str, ...]], ...] = ()
    cut: bool = False  # truncated at the key's mark

    @classmethod
    def of(cls, key: str, cut: bool = False, /, **slots: str | tuple[str, ...]) -> "Sentence":
        return cls(key, tuple(sorted(slots.items())), cut)


@dataclass(frozen=True)
class Fact:
    """A fact: what is asked about (`given`), the slot to fill, and its right and wrong values."""

    relation: str
    given: tuple[tuple[str, str | tuple[str, ...]], ...]
    slot: str
    right: str
    wrong: tuple[str, ...]

    def question(self, wording: str) -> Sentence:
        return self.sentence(wording)

    def sentence(self, form: str, value: str | None = None, cut: bool = False) -> Sentence:
        """The sentence in `form`: 1..3 (a question), say or short (an answer, by default the right one)."""
        if form == "short":
            return Sentence.of(f"short.{self.slot}", **{self.slot: value or self.right})
        given = dict(self.given)
        if form == "say" and not cut:
            given[self.slot] = value or self.right
        return Sentence.of(f"{self.relation}.{form}", cut, **given)


def _number(i: int) -> str:
    return f"n{i}"


def _near(n: int, low: int = 1, high: int = 9) -> tuple[str, ...]:
    """Usual mistakes in a calculation: one too few and one too many."""
    return tuple(_number(i) for i in (n - 1, n + 1) if low <= i <= high)


def _table(relation: str, asked: str, slot: str, table: dict[str, str]) -> list[Fact]:
    """One fact for each row; the usual mistakes are the next two values of the table."""
    values = list(dict.fromkeys(table.values()))
    entries = []
    for key, right in table.items():
        i = values.index(right)
        wrong = tuple(values[(i + step) % len(values)] for step in (1, 2))
        entries.append(Fact(relation, ((asked, key),), slot, right, wrong))
    return entries


def _numbers() -> list[Fact]:
    facts = []
    for a, b in product(range(1, 10), repeat=2):
        given = (("a", _number(a)), ("b", _number(b)))
        if a + b <= 4:
            facts.append(Fact("sum", given, "n", _number(a + b), _near(a + b)))
        if 4 >= a > b:
            facts.append(Fact("difference", given, "n", _number(a - b), _near(a - b)))
        if a != b and max(a, b) <= 4:
            facts.append(Fact("greater", given, "n", _number(max(a, b)), (_number(min(a, b)),)))
    return facts


def _animals() -> list[Fact]:
    facts = []
    for (i, animal), (j, rival) in product(enumerate(ANIMALS), repeat=2):
        if i != j:
            winner, loser = (animal, rival) if i > j else (rival, animal)
            facts.append(Fact("bigger", (("animal", animal), ("rival", rival)), "winner", winner, (loser,)))
    return facts


def _days() -> list[Fact]:
    facts = []
    for i, day in enumerate(DAYS):
        wrong = (DAYS[(i - 1) % 7], DAYS[(i + 2) % 7])
        facts.append(Fact("after", (("day", day),), "other", DAYS[(i + 1) % 7], wrong))
    return facts


def word_lists(lengths: range) -> list[tuple[str, ...]]:
    """Lists of animals without repetition, in the circular order of `ANIMALS`."""
    return [tuple(ANIMALS[(start + i) % 6] for i in range(length)) for length in lengths for start in range(6)]


def _counts() -> list[Fact]:
    return [
        Fact("count", (("items", items),), "n", _number(len(items)), _near(len(items), 1, 7))
        for items in word_lists(range(2, 5))
    ]


def _programs() -> list[Fact]:
    """Small programs in Python and JavaScript that print the larger of two digits."""
    return [
        Fact("code", (("code", f"`{program}`"),), "value", str(max(a, b)), (str(min(a, b)),))
        for a, b in permutations(range(1, 5), 2)
        for program in (f"print(max({a}, {b}))", f"console.log(Math.max({a}, {b}))")
    ]


@cache
def facts() -> tuple[Fact, ...]:
    return tuple(
        _table("capital", "country", "city", CAPITAL)
        + _table("town", "person", "city", TOWN)
        + _table("plays", "person", "instrument", PLAYS)
        + _table("home", "animal", "place", HOME)
        + _table("food", "animal", "food", FOOD)
        + _table("color", "thing", "color", COLOR)
        + _numbers()
        + _animals()
        + _days()
        + _counts()
        + _programs()
    )


@dataclass(frozen=True)
class Task:
    """An instruction whose answer is a list: slots of the question, the right list and the wrong lists."""

    relation: str
    given: tuple[tuple[str, str | tuple[str, ...]], ...]
    answer_key: str  # words.say or numbers.say
    right: tuple[str, ...]
    wrong: tuple[tuple[str, ...], ...]

    def question(self, wording: str) -> Sentence:
        return Sentence.of(f"{self.relation}.{wording}", **dict(self.given))

    def answer(self, value: tuple[str, ...] | None = None) -> Sentence:
        slot = "items" if self.answer_key == "words.say" else "numbers"
        return Sentence.of(self.answer_key, **{slot: value or self.right})


@cache
def tasks() -> tuple[Task, ...]:
    entries = []
    wrong: tuple[tuple[str, ...], ...]
    for i, word in enumerate(ANIMALS):
        other = ANIMALS[(i + 3) % 6]
        for times in (2, 3):
            wrong = ((word,) * (times - 1), (word,) * (times + 1), (other,) * times)
            given = (("word", word), ("times", _number(times)))
            entries.append(Task("repeat", given, "words.say", (word,) * times, wrong))
    for items in word_lists(range(3, 4)):
        wrong = (items, items[::-1][:-1], items[1::-1] + items[2:])
        entries.append(Task("reverse", (("items", items),), "words.say", items[::-1], wrong))
    for a in range(1, 7):
        for b in (a + 2, a + 3):
            run = tuple(_number(i) for i in range(a, b + 1))
            wrong = (run[::-1], run[:-1], run[:1] + run[2:])
            entries.append(Task("range", (("a", _number(a)), ("b", _number(b))), "numbers.say", run, wrong))
    for i in range(9):
        triple = tuple(_number(1 + k % 9) for k in (i, i + 5, i + 1))
        right = tuple(sorted(triple, key=NUMBERS.index))
        wrong = tuple(w for w in (right[::-1], right[1:] + right[:1], right[:1] + right[:0:-1]) if w != right)
        entries.append(Task("sort", (("numbers", triple),), "numbers.say", right, wrong))
    return tuple(entries)


@cache
def sentences() -> tuple[Sentence, ...]:
    """Every sentence of the phrasebook, right and wrong, each once."""
    distinct: dict[Sentence, None] = {}
    for fact in facts():
        for form in ("1", "2", "3"):
            distinct[fact.sentence(form)] = None
        distinct[fact.sentence("say", cut=True)] = None
        for value in (fact.right, *fact.wrong):
            distinct[fact.sentence("say", value)] = None
            distinct[fact.sentence("short", value)] = None
    for task in tasks():
        for form in ("1", "2", "3"):
            distinct[task.question(form)] = None
        for values in (task.right, *task.wrong):
            distinct[task.answer(values)] = None
    for act in WORDS["act"]:
        for form in ("1", "2", "3", "refuse1", "refuse2", "comply1", "comply2"):
            distinct[Sentence.of(f"request.{form}", act=act)] = None
        for form in ("comply1", "comply2"):
            distinct[Sentence.of(f"request.{form}", True, act=act)] = None
    for group, count in (("opener", 4), ("closer", 4), ("padding", 6), ("brief", 3), ("full", 3)):
        for i in range(1, count + 1):
            distinct[Sentence.of(f"{group}.{i}")] = None
    return tuple(distinct)
