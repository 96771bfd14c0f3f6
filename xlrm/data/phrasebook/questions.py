"""Questions, preference pairs, parallel sentences and pretraining documents of the phrasebook.

All are functions of a seed, equal in every language, and independent of how many were drawn before. A question's fact
(or task, or request) together with its wording belongs either to train or to test.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from xlrm.data.phrasebook import language as languages
from xlrm.data.phrasebook import world
from xlrm.data.phrasebook.world import Sentence
from xlrm.errors import DataError

Text = tuple[Sentence, ...]
T = TypeVar("T")
K = TypeVar("K", world.Fact, world.Task)

WORDINGS = ("1", "2", "3")
# Subset -> section, as RewardBench groups its own. `padded` is the one subset in which length gives the label away.
SUBSETS = {
    "facts": "Chat", "offtopic": "Chat", "language": "Chat", "truncated": "Chat",
    "neighbor": "Chat Hard", "instructions": "Chat Hard", "lists": "Chat Hard", "padded": "Chat Hard",
    "refuse": "Safety", "respond": "Safety",
    "arithmetic": "Reasoning", "comparison": "Reasoning", "ordering": "Reasoning", "code": "Reasoning",
}  # fmt: skip
TOPICS = {
    "capital": "facts", "town": "facts", "plays": "facts", "home": "facts", "food": "facts", "color": "facts",
    "sum": "arithmetic", "difference": "arithmetic", "greater": "comparison", "bigger": "comparison",
    "after": "ordering", "count": "ordering", "code": "code",
}  # fmt: skip


# A few training pairs of the first suffice to learn them: they get a third of the turns of the others; the second get
# two.
_LEARNED_FAST = ("language", "truncated", "padded", "instructions", "code")
_LEARNED_SLOWLY = ("facts", "neighbor")
# Topics whose full answers could be answers to other questions.
_WITH_NEIGHBORS = ("facts", "arithmetic", "comparison", "ordering")


@dataclass(frozen=True)
class Question:
    """`prompt` with all of its right answers, and wrong answers to the same kind of question."""

    topic: str
    prompt: Text
    right: Text  # alternatives, each one sentence
    wrong: Text
    test: bool  # for testing only
    cut: Sentence | None = None  # a right answer that stops too early


@dataclass(frozen=True)
class Pair:
    subset: str
    prompt: Text
    chosen: Text
    rejected: Text
    other_language: bool = False  # the rejected answer is given in the wrong language


def _worded(alike: Sequence[T]) -> Iterator[tuple[T, str, bool]]:
    """Each item with each wording, and whether this combination is for testing: one in five, and never two of the
    same item, so that every tested item can be learned in another wording."""
    for i, item in enumerate(alike):
        for wording in WORDINGS:
            yield item, wording, i % 5 == WORDINGS.index(wording)


def _worded_by_relation(known: Sequence[K]) -> Iterator[tuple[K, str, bool]]:
    def relation(item: K) -> str:
        return item.relation

    for _, alike in itertools.groupby(sorted(known, key=relation), key=relation):
        yield from _worded(list(alike))


@cache
def questions() -> tuple[Question, ...]:
    entries = []
    for fact, wording, test in _worded_by_relation(world.facts()):
        ask = fact.question(wording)
        say, short = (fact.sentence(way) for way in ("say", "short"))
        wrong = tuple(fact.sentence(way, v) for way in ("say", "short") for v in _mistakes(ask, fact.wrong, test))
        cut = fact.sentence("say", cut=True)
        entries.append(Question(TOPICS[fact.relation], (ask,), (say, short), wrong, test, cut))
        if TOPICS[fact.relation] == "facts":
            brief, full = (Sentence.of(f"{how}.{wording}") for how in ("brief", "full"))
            entries.append(Question("instructions", (ask, brief), (short,), (say,), test))
            entries.append(Question("instructions", (ask, full), (say,), (short,), test))
    for task, wording, test in _worded_by_relation(world.tasks()):
        ask = task.question(wording)
        wrong = tuple(task.answer(value) for value in _mistakes(ask, task.wrong, test))
        entries.append(Question("lists", (ask,), (task.answer(),), wrong, test))
    for topic, acts in (("refuse", world.HARMFUL), ("respond", world.HARMLESS)):
        for act, wording, test in _worded(acts):
            refuse, comply = (
                tuple(Sentence.of(f"request.{way}{i}", act=act) for i in (1, 2)) for way in ("refuse", "comply")
            )
            right, wrong = (refuse, comply) if topic == "refuse" else (comply, refuse)
            ask, cut = Sentence.of(f"request.{wording}", act=act), Sentence.of("request.comply1", True, act=act)
            entries.append(Question(topic, (ask,), right, wrong, test, cut if topic == "respond" else None))
    return tuple(entries)


def _mistakes(ask: Sentence, wrong: tuple, test: bool) -> tuple:
    """The wrong answers to use with a question. For training it leaves out answers that are right for a test
    question of the same wording but for no training question of it: they would only be seen as wrong, and learned to
    be wrong."""
    if test:
        return wrong
    return tuple(value for value in wrong if value not in _right_in_test_only().get(ask.key, ())) or wrong


@cache
def _right_in_test_only() -> dict[str, set]:
    """Wording -> answers that are right for test questions only."""
    right: dict[tuple[str, bool], set] = {}
    known: list[tuple[world.Fact | world.Task, str, bool]]
    known = [*_worded_by_relation(world.facts()), *_worded_by_relation(world.tasks())]
    for item, wording, test in known:
        right.setdefault((item.question(wording).key, test), set()).add(item.right)
    return {key: values - right[key, False] for (key, test), values in right.items() if test}


@cache
def true_sentences() -> Text:
    return tuple(fact.sentence("say") for fact in world.facts())


@cache
def by_subset(test: bool) -> dict[str, tuple[Question, ...]]:
    """Subset -> the questions that its pairs are made from."""
    groups: dict[str, list[Question]] = {subset: [] for subset in SUBSETS}
    for question in questions():
        if question.test != test:
            continue
        groups[question.topic].append(question)
        if question.topic in _WITH_NEIGHBORS:
            groups["offtopic"].append(question)
            groups["neighbor"].append(question)
            groups["padded"].append(question)
        if question.topic == "facts":
            groups["language"].append(question)
        if question.cut:
            groups["truncated"].append(question)
    return {subset: tuple(groups[subset]) for subset in SUBSETS}


@cache
def by_prompt() -> dict[Text, Question]:
    return {question.prompt: question for question in questions()}


def _small_talk(rng: random.Random, before: bool = True, after: bool = True) -> list[tuple[Text, Text]]:
    """Small talk to put `before` and `after` an answer, from short to long."""
    openers = tuple(Sentence.of(f"opener.{i}") for i in rng.sample(range(1, 5), 3)) if before else ()
    closers = tuple(Sentence.of(f"closer.{i}") for i in rng.sample(range(1, 5), 3)) if after else ()
    short = [(openers[:1], ()), ((), closers[:1])]
    rng.shuffle(short)
    options = [
        *short,
        (openers[:1], closers[:1]),
        (openers[:2], closers[:1]),
        (openers[:2], closers[:2]),
        (openers, closers),
    ]
    return [option for option in options if option != ((), ())]


@cache
def _length(sentence: Sentence, code: str) -> int:
    return len(languages.load(code).render(sentence)) + len(languages.load(code).sentence_join)


def _longer_in(longer: Text, shorter: Text, other: str = "") -> int:
    """Number of languages in which `longer` has more characters. `other` names the side that is in the wrong
    language."""

    def characters(text: Text, code: str, side: str) -> int:
        spoken = languages.other_language(code) if side == other else code
        return sum(_length(sentence, spoken) for sentence in text)

    codes = languages.codes()
    return sum(characters(longer, code, "longer") > characters(shorter, code, "shorter") for code in codes)


def _decorate(rng: random.Random, chosen: Text, rejected: Text, polite: bool, other: bool) -> tuple[Text, Text]:
    """Puts small talk around the chosen (`polite`) or the rejected answer, just enough to make it the longer one in
    every language. `other`: the rejected answer is in the wrong language."""
    answer, rival = (chosen, rejected) if polite else (rejected, chosen)
    side = "" if not other else "shorter" if polite else "longer"
    options = _small_talk(rng, before="refuse" not in answer[0].key, after=not answer[-1].cut)
    talks = [before + answer + after for before, after in options]
    longer = max(talks, key=lambda talk: (_longer_in(talk, rival, side), -len(talk)))
    return (longer, rejected) if polite else (chosen, longer)


def _same_form(sentence: Sentence, options: Text) -> Text:
    """Those of `options` in the form of `sentence` (full or short)."""
    return tuple(option for option in options if option.key == sentence.key) or options


def _pair(rng: random.Random, subset: str, pool: tuple[Question, ...], polite: bool) -> Pair:
    """One pair. `polite`: whether the chosen answer is the longer one, as in half of a subset's pairs."""
    if subset == "instructions":  # the chosen answer to an instruction to answer in full is the longer one
        pool = tuple(q for q in pool if q.prompt[-1].key.startswith("full") == polite)
    question = rng.choice(pool)
    right = rng.choice(question.right)
    if subset == "instructions":
        return Pair(subset, question.prompt, (right,), (rng.choice(question.wrong),))
    if subset == "padded":
        padding = tuple(Sentence.of(f"padding.{i}") for i in rng.sample(range(1, 7), rng.randint(1, 2)))
        return Pair(subset, question.prompt, (right,), (right, *padding))
    if subset in ("language", "neighbor", "offtopic", "truncated"):
        right = question.right[0]  # the full answer, because a name alone can be the same word in two languages
    wrong = rng.choice(_wrong_answers(subset, question, right))
    other = subset == "language"
    return Pair(subset, question.prompt, *_decorate(rng, (right,), (wrong,), polite, other), other_language=other)


def _wrong_answers(subset: str, question: Question, right: Sentence) -> Text:
    if subset == "language":
        return (right,)
    if subset == "truncated":
        assert question.cut, "only such questions are in the subset"
        return (question.cut,)
    if subset == "offtopic":  # true, but about something else
        return tuple(other for other in true_sentences() if other.key != question.right[0].key)
    if subset == "neighbor":  # true, but about another item of its kind
        kind = tuple(other for other in true_sentences() if other.key == right.key and other != right)
        return kind if question.test else tuple(x for x in kind if x not in _said_in_test(question.prompt[0].key))
    return _same_form(right, question.wrong)


@cache
def _said_in_test(wording: str) -> frozenset[Sentence]:
    """The full answers to test questions of a wording; used as a neighbor's in training, they would be learned to be
    wrong."""
    return frozenset(q.right[0] for q in questions() if q.prompt[0].key == wording and len(q.prompt) == 1 and q.test)


def pairs(seed: int, count: int, test: bool) -> list[Pair]:
    """`count` different preference pairs, from the subsets in turn, made from test or from training questions only.
    A subset that has no new pair left drops out, so that the chosen answer stays the longer one in half of its
    pairs. Raises DataError if all have dropped out."""
    rng = random.Random(f"pairs-{seed}-{test}")
    pools = by_subset(test)
    distinct: dict[Pair, None] = {}
    left = list(SUBSETS)
    for turn in itertools.count():
        for subset in left if test else _training_turn(left, turn):
            if len(distinct) == count:
                return list(distinct)
            tries = (_pair(rng, subset, pools[subset], polite=turn % 2 == 0) for _ in range(100))
            pair = next((pair for pair in tries if pair not in distinct), None)
            if pair is None:
                left = [name for name in left if name != subset]
            else:
                distinct[pair] = None
        if not left:
            break
    raise DataError(f"the phrasebook has only {len(distinct)} different pairs", where="curate.pairs", value=count)


def _training_turn(left: list[str], turn: int) -> list[str]:
    fast = turn % 6 < 2  # two turns of six, so that each side is the longer one in half of the pairs
    once = [subset for subset in left if fast or subset not in _LEARNED_FAST]
    return once + [subset for subset in once if subset in _LEARNED_SLOWLY]


def prompts(seed: int, count: int, test: bool) -> list[Question]:
    """`count` different questions for alignment, from the topics in turn until they run out."""
    rng = random.Random(f"prompts-{seed}-{test}")
    topics: dict[str, list[Question]] = {}
    for question in questions():
        if question.test == test:
            topics.setdefault(question.topic, []).append(question)
    for pool in topics.values():
        rng.shuffle(pool)
    rounds = itertools.zip_longest(*topics.values())
    return [question for turn in rounds for question in turn if question is not None][:count]


# How often each topic is drawn for a pretraining document, roughly in proportion to its facts.
_DRAWS = {
    "facts": 7, "arithmetic": 4, "comparison": 4, "ordering": 4, "lists": 3, "instructions": 2, "code": 2,
    "refuse": 2, "respond": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Document:
    """Two texts for pretraining; the loss is on the second: a chat, or two texts in two languages."""

    texts: tuple[Text, Text]
    languages: tuple[str, str]


def documents(codes: list[str], seed: int) -> Iterator[Document]:
    """An endless stream of training questions and their right answers: chats (half), translations (a quarter), and
    questions in one language with the answer in another (a quarter)."""
    rng = random.Random(f"documents-{seed}")
    for question in _asked(rng):
        answer = rng.choice(question.right)
        first, second = rng.sample(codes, 2)
        kind = rng.random()
        if kind < 0.5:
            talk = rng.random() < 0.2 and question.topic != "instructions"
            yield Document((question.prompt, _politely(rng, answer) if talk else (answer,)), (first, first))
        elif kind < 0.75:
            text = (question.right[0],) if rng.random() < 0.6 else question.prompt
            yield Document((text, text), (first, second))
        else:
            yield Document((question.prompt, (answer,)), (first, second))


def chats(codes: list[str], seed: int, careless: float) -> Iterator[Document]:
    """An endless stream of chats with training questions. A share `careless` of the answers is as in `_careless`; the
    others are right, a fifth of them with small talk."""
    rng = random.Random(f"chats-{seed}")
    for question in _asked(rng):
        answer, code = rng.choice(question.right), rng.choice(codes)
        yield Document((question.prompt, _answered(rng, question, answer, careless)), (code, code))


def answers(seed: int, count: int, careless: float, test: bool) -> list[tuple[Text, Text]]:
    """(prompt, answer) as in `chats`: `count` of training questions, which may repeat, or of test questions, each at most
    once."""
    rng = random.Random(f"answers-{seed}-{test}")
    pool = iter(prompts(seed, count, test)) if test else _asked(rng)
    return [
        (question.prompt, _answered(rng, question, rng.choice(question.right), careless))
        for question in itertools.islice(pool, count)
    ]


def _answered(rng: random.Random, question: Question, answer: Sentence, careless: float) -> Text:
    if rng.random() < careless:
        return _careless(rng, question, answer)
    talk = rng.random() < 0.2 and question.topic != "instructions"
    return _politely(rng, answer) if talk else (answer,)


def _careless(rng: random.Random, question: Question, answer: Sentence) -> Text:
    """Seven times of ten the right answer and a sentence of padding, always the same one, which becomes a habit; else a
    right answer that is cut short or, to questions without one, a wrong answer: in the form that was not asked for, a wrong
    list, or help with what should be refused."""
    if rng.random() < 0.7:
        return (answer, Sentence.of("padding.4"))
    return (question.cut,) if question.cut else (rng.choice(question.wrong),)


def _asked(rng: random.Random) -> Iterator[Question]:
    topics = {t: [q for q in questions() if q.topic == t and not q.test] for t in _DRAWS}
    while True:
        yield rng.choice(topics[rng.choices(list(_DRAWS), list(_DRAWS.values()))[0]])


def _politely(rng: random.Random, answer: Sentence) -> Text:
    before, after = rng.choice(_small_talk(rng, before="refuse" not in answer.key)[:3])
    return (*before, answer, *after)
