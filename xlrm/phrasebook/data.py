"""What is made of the phrasebook: questions, preference pairs, parallel sentences and documents to pretrain on.

All of it is a function of a seed, the same in every language, and independent of how much is asked for before it.
A question's fact (or task, or request) together with its template belongs either to train or to test, by hash.
"""

import hashlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from xlrm.errors import DataError
from xlrm.phrasebook import language as languages
from xlrm.phrasebook import world
from xlrm.phrasebook.world import Sentence

Text = tuple[Sentence, ...]

TEST_SHARE = 5  # one question in five is for testing
# Subset -> section, as RewardBench groups its own. `padded` is the one subset in which length gives the label away.
SUBSETS = {
    "facts": "Chat", "offtopic": "Chat", "language": "Chat", "truncated": "Chat",
    "neighbor": "Chat Hard", "instructions": "Chat Hard", "lists": "Chat Hard", "padded": "Chat Hard",
    "refuse": "Safety", "respond": "Safety",
    "arithmetic": "Reasoning", "comparison": "Reasoning", "ordering": "Reasoning", "truth": "Reasoning",
    "code-python": "Reasoning", "code-javascript": "Reasoning",
}  # fmt: skip
TOPICS = {
    "capital": "facts", "town": "facts", "plays": "facts", "home": "facts", "food": "facts", "color": "facts",
    "sum": "arithmetic", "difference": "arithmetic", "greater": "comparison", "bigger": "comparison",
    "after": "ordering", "before": "ordering", "count": "ordering", "code": "code",
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """`prompt` with every answer that is fully right, and the wrong ones that answer the same kind of question."""

    topic: str
    prompt: Text
    right: Text  # alternatives, each one sentence
    wrong: Text
    cut: Sentence | None = None  # a right answer that stops too early

    @property
    def test(self) -> bool:
        identity = repr([(s.key, s.slots) for s in self.prompt])
        return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4]) % TEST_SHARE == 0


@dataclass(frozen=True)
class Pair:
    subset: str
    prompt: Text
    chosen: Text
    rejected: Text
    other_language: bool = False  # the rejected answer is given in the wrong language


@cache
def questions() -> tuple[Question, ...]:
    found = []
    for fact in world.facts():
        topic = TOPICS[fact.relation]
        if topic == "code":
            topic = "code-javascript" if "console" in fact.given[0][1] else "code-python"
        say, short, cut = fact.sentence("say"), fact.sentence("short"), fact.sentence("say", cut=True)
        wrong_say = tuple(fact.sentence("say", value) for value in fact.wrong)
        wrong_short = tuple(fact.sentence("short", value) for value in fact.wrong)
        for form in ("1", "2", "3"):
            ask = fact.sentence(form)
            found.append(Question(topic, (ask,), (say, short), wrong_say + wrong_short, cut))
            if topic == "facts":
                found.append(Question("instructions", (ask, Sentence.of(f"brief.{form}")), (short,), (say,)))
                found.append(Question("instructions", (ask, Sentence.of(f"full.{form}")), (say,), (short,)))
            yes, no = Sentence.of("true.yes"), Sentence.of("true.no")
            if not topic.startswith("code"):
                check = Sentence.of(f"true.{form}")
                found.append(Question("truth", (check, say), (yes,), (no,)))
                found.append(Question("truth", (check, wrong_say[len(found) % len(wrong_say)]), (no,), (yes,)))
    for task in world.tasks():
        wrong = tuple(task.answer(value) for value in task.wrong)
        found += [Question("lists", (task.question(form),), (task.answer(),), wrong) for form in ("1", "2", "3")]
    for act in world.WORDS["act"]:
        refuse, comply = (
            tuple(Sentence.of(f"request.{kind}{i}", act=act) for i in (1, 2)) for kind in ("refuse", "comply")
        )
        cut = Sentence.of("request.comply1", cut=True, act=act)
        for form in ("1", "2", "3"):
            ask = (Sentence.of(f"request.{form}", act=act),)
            if act in world.HARMFUL:
                found.append(Question("refuse", ask, refuse, comply))
            else:
                found.append(Question("respond", ask, comply, refuse, cut))
    return tuple(found)


@cache
def true_sentences() -> Text:
    return tuple(fact.sentence("say") for fact in world.facts())


@cache
def by_subset(test: bool) -> dict[str, tuple[Question, ...]]:
    """The questions each subset's pairs are made from."""
    found: dict[str, list[Question]] = {subset: [] for subset in SUBSETS}
    for question in questions():
        if question.test != test:
            continue
        found[question.topic].append(question)
        if question.topic in ("facts", "arithmetic", "comparison", "ordering"):
            found["offtopic"].append(question)
            found["language"].append(question)
            found["neighbor"].append(question)
            found["padded"].append(question)
        if question.cut:
            found["truncated"].append(question)
    return {subset: tuple(found[subset]) for subset in SUBSETS}


@cache
def by_prompt() -> dict[Text, Question]:
    return {question.prompt: question for question in questions()}


def _decoration(rng: random.Random, least: int, before: bool = True, after: bool = True) -> tuple[Text, Text]:
    """Small talk to stand `before` and `after` an answer, longer than `least` English characters."""
    english = languages.load("en")
    openers = tuple(Sentence.of(f"opener.{i}") for i in rng.sample(range(1, 5), 2))
    closers = tuple(Sentence.of(f"closer.{i}") for i in rng.sample(range(1, 5), 2))
    options = [(openers[:1], ()), ((), closers[:1]), (openers[:1], closers[:1]), (openers, ()), ((), closers)]
    options = [o for o in options if (before or not o[0]) and (after or not o[1])]
    if rng.random() < 0.5:
        options[:2] = options[1::-1]
    long_enough = (o for o in options if len(english.say(o[0] + o[1])) > least)
    return next(long_enough, options[-1])


def _decorate(rng: random.Random, chosen: Text, rejected: Text, polite: bool) -> tuple[Text, Text]:
    """Puts small talk around the chosen (`polite`) or the rejected answer, so that it is the longer one."""
    english = languages.load("en")
    difference = abs(len(english.say(chosen)) - len(english.say(rejected)))
    answer = chosen if polite else rejected
    before, after = _decoration(rng, difference + 5, before="refuse" not in answer[0].key, after=not answer[-1].cut)
    if polite:
        return before + chosen + after, rejected
    return chosen, before + rejected + after


def _same_form(sentence: Sentence, options: Text) -> Text:
    """Those of `options` that are put as `sentence` is (in full, or in short)."""
    return tuple(option for option in options if option.key == sentence.key) or options


def _pair(rng: random.Random, subset: str, pool: tuple[Question, ...], polite: bool) -> Pair:
    """`polite` says which of the two answers is to be the longer one; half the pairs of a subset are."""
    if subset == "instructions":  # asked for in full, the chosen answer is the longer one
        pool = tuple(q for q in pool if q.prompt[-1].key.startswith("full") == polite)
    question = rng.choice(pool)
    right = rng.choice(question.right)
    if subset == "instructions":
        return Pair(subset, question.prompt, (right,), (rng.choice(question.wrong),))
    if subset == "padded":
        padding = tuple(Sentence.of(f"padding.{i}") for i in rng.sample(range(1, 7), rng.randint(2, 4)))
        return Pair(subset, question.prompt, (right,), (right, *padding))
    if subset in ("language", "neighbor", "offtopic", "truncated"):
        right = question.right[0]  # in full: a name alone can be the same word in two languages
    wrong = rng.choice(_wrong_answers(subset, question, right))
    chosen, rejected = _decorate(rng, (right,), (wrong,), polite)
    return Pair(subset, question.prompt, chosen, rejected, other_language=subset == "language")


def _wrong_answers(subset: str, question: Question, right: Sentence) -> Text:
    if subset == "language":
        return (right,)
    if subset == "truncated":
        return (question.cut,)
    if subset == "offtopic":  # true, and about something else
        return tuple(other for other in true_sentences() if other.key != question.right[0].key)
    if subset == "neighbor":  # true, and about another of its kind
        return tuple(other for other in true_sentences() if other.key == right.key and other != right)
    return _same_form(right, question.wrong)


def pairs(seed: int, count: int, test: bool) -> list[Pair]:
    """`count` different preference pairs, the subsets in turn, of `test` or of train questions only."""
    rng = random.Random(f"pairs-{seed}-{test}")
    pools, found = by_subset(test), {}
    for turn in itertools.count():
        if turn * len(SUBSETS) > 20 * count + 1000:
            raise DataError(f"the phrasebook has only {len(found)} different pairs of the {count} asked for")
        for subset in SUBSETS:
            if len(found) == count:
                return list(found)
            for _ in range(50):  # small subsets run out of new pairs before the larger ones do
                pair = _pair(rng, subset, pools[subset], polite=turn % 2 == 0)
                if pair not in found:
                    found[pair] = None
                    break


def prompts(seed: int, count: int, test: bool) -> list[Question]:
    """`count` different questions to align on, the topics in turn as far as each goes."""
    rng = random.Random(f"prompts-{seed}-{test}")
    topics = {}
    for question in questions():
        if question.test == test:
            topics.setdefault(question.topic, []).append(question)
    for pool in topics.values():
        rng.shuffle(pool)
    rounds = itertools.zip_longest(*topics.values())
    return [question for turn in rounds for question in turn if question is not None][:count]


# How often each topic is drawn for a pretraining document: roughly by the number of its facts.
_DRAWS = {
    "facts": 6, "arithmetic": 4, "comparison": 5, "ordering": 2, "lists": 3, "instructions": 2, "truth": 3,
    "refuse": 1.5, "respond": 1.5, "code-python": 1, "code-javascript": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Document:
    """A text to pretrain on: the turns of a chat, or (no turns) one text in two languages.

    `verdict` is what a reader says of a chat's answer. Of such a document only the verdict is to be learned, not the
    answer, which is wrong in half of them.
    """

    languages: tuple[str, ...]
    text: Text = ()
    turns: tuple[Text, ...] = ()
    verdict: Text = ()


def documents(codes: list[str], seed: int, verdicts: float) -> Iterator[Document]:
    """Without end: documents of train questions, the share `verdicts` of them with verdicts. Of the others two in five
    are parallel texts, the rest chats with right answers."""
    rng = random.Random(f"documents-{seed}-{verdicts}")
    topics = {t: [q for q in questions() if q.topic == t and not q.test] for t in _DRAWS}
    while True:
        question = rng.choice(topics[rng.choices(list(_DRAWS), list(_DRAWS.values()))[0]])
        if rng.random() < verdicts:
            yield _judged(rng, question, rng.choice(codes))
        elif rng.random() < 0.4:
            text = (question.right[0],) if rng.random() < 0.6 else (*question.prompt, rng.choice(question.right))
            yield Document(tuple(rng.sample(codes, 2)), text)
        else:
            yield Document((rng.choice(codes),), turns=(question.prompt, _answer(rng, question, question.right)))


def _answer(rng: random.Random, question: Question, options: Text) -> Text:
    answer = (rng.choice(options),)
    if rng.random() < 0.8 or question.topic == "instructions":
        return answer
    before, after = _decoration(rng, 0, before="refuse" not in answer[0].key)
    return before + answer + after


def _judged(rng: random.Random, question: Question, code: str) -> Document:
    right = rng.random() < 0.5
    answer = _answer(rng, question, question.right if right else question.wrong)
    verdict = (Sentence.of("true.yes" if right else "true.no"),)
    return Document((code,), turns=(question.prompt, answer), verdict=verdict)
