"""The phrasebook: complete and unambiguous in every language, fair between chosen and rejected, strict about the split."""

import itertools
import random
from collections import Counter

import pytest
from refusals import refused

from xlrm.data.catalog import DEMONSTRATIONS, EVAL_PROMPTS, PARALLEL, PHRASEBOOK, PREFERENCES, PROMPTS, Dataset
from xlrm.data.phrasebook import language, questions, world
from xlrm.data.phrasebook.judge import grade, judge
from xlrm.data.phrasebook.language import other_language
from xlrm.data.phrasebook.translator import render, translate
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation.benchmarks import TABLE as BENCHMARKS

NINE = ("de", "en", "es", "it", "ko", "ru", "tr", "vi", "zh")
PAIRS = 700


def test_it_speaks_nine_languages() -> None:
    assert tuple(language.codes()) == NINE


@pytest.mark.parametrize("code", NINE)
def test_every_sentence_is_found_again_from_its_text(code: str) -> None:
    spoken = language.load(code)
    assert len(spoken.index) == len(world.sentences())
    for sentence in world.sentences():
        assert spoken.parse(spoken.render(sentence)) == (sentence,)


@pytest.mark.parametrize("code", NINE)
def test_sentences_use_the_slots_they_have_and_hide_the_answer_before_the_cut(code: str) -> None:
    for fact in world.facts():
        cut = language.load(code).templates[f"{fact.relation}.say"].split("|")[0]
        slots = {match[0] for match in language.SLOT.findall(cut)}
        assert slots == {slot for slot, _ in fact.given}, f"{code}: {fact.relation}.say"


@pytest.mark.parametrize("code", [code for code in NINE if code != "en"])
def test_translation_is_exact_and_comes_back(code: str) -> None:
    rng = random.Random(0)
    english = [render(p.prompt, "en") for p in rng.sample(questions.pairs(3, PAIRS, test=False), 100)]
    there = translate(english, "en", code)
    assert translate(there, code, "en") == english
    assert all(a != b for a, b in zip(english, there, strict=True))


@pytest.mark.parametrize("code", NINE)
def test_a_wrong_language_answer_stays_in_the_wrong_language(code: str) -> None:
    pairs = [p for p in questions.pairs(3, PAIRS, test=True) if p.other_language]
    source = [render(p.rejected, "en", in_other_language=True) for p in pairs]
    found = translate(source, "en", code) if code != "en" else source
    assert found == [render(p.rejected, other_language(code)) for p in pairs]
    for text in found:
        with pytest.raises(DataError):
            language.load(code).parse(text)


def test_text_from_elsewhere_cannot_be_translated() -> None:
    with refused(DataError, "en.yaml", "The moon is made of cheese."):
        translate(["Of course. The moon is made of cheese."], "en", "ko")


def test_a_language_file_must_have_exactly_the_keys_of_english(tmp_path, monkeypatch) -> None:
    text = (language.FOLDER / "es.yaml").read_text(encoding="utf-8").replace("capital.2:", "capitel.2:")
    (tmp_path / "xx.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(language, "FOLDER", tmp_path)
    with refused(ConfigError, "xx.yaml") as raised:
        language.load("xx")
    assert "capital.2" in raised.value.hint and "capitel.2" in raised.value.hint


def test_train_and_test_share_no_question() -> None:
    train = {p.prompt for p in questions.pairs(1, 3000, test=False)} | {
        q.prompt for q in questions.prompts(1, 500, test=False)
    }
    test = {p.prompt for p in questions.pairs(1, 1500, test=True)} | {
        q.prompt for q in questions.prompts(1, 300, test=True)
    }
    assert not train & test
    documents = questions.documents(["en", "ko"], seed=1)
    seen = {next(documents).texts[0] for _ in range(3000)}
    assert seen & train and not seen & test


@pytest.mark.parametrize("careless", [0.0, 0.7])
def test_chats_have_as_many_careless_answers_as_asked_for(careless: float) -> None:
    chats = list(itertools.islice(questions.chats(["en", "ko"], 1, careless), 2000))
    tested = {question.prompt for question in questions.questions() if question.test}
    grades: Counter = Counter()
    for chat in chats:
        code, answer_code = chat.languages
        prompt, answer = (render(text, code) for text in chat.texts)
        assert code == answer_code and chat.texts[0] not in tested
        grades[grade(prompt, answer, code)] += 1
    assert abs(sum(grades[i] for i in (0, 1, 2)) / 2000 - careless) < 0.04 and not grades[0]
    assert abs(grades[2] / 2000 - 0.7 * careless) < 0.1, (
        "most are padded; an answer in the wrong form has this grade too"
    )
    assert Counter(chat.languages[0] for chat in chats)["ko"] / 2000 == pytest.approx(0.5, abs=0.04)


def test_all_that_is_tested_can_be_learned_in_another_wording() -> None:
    def asked_about(question: questions.Question) -> tuple:
        first = question.prompt[0]
        return question.topic, first.key.split(".")[0], first.slots

    learned = {asked_about(question) for question in questions.questions() if not question.test}
    tested = [asked_about(question) for question in questions.questions() if question.test]
    assert tested and set(tested) <= learned


def test_pairs_follow_from_the_seed_alone_and_never_repeat() -> None:
    first = questions.pairs(5, PAIRS, test=False)
    assert first == questions.pairs(5, PAIRS, test=False) != questions.pairs(6, PAIRS, test=False)
    assert questions.pairs(5, 50, test=False) == first[:50]
    assert len(set(first)) == PAIRS


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("code", NINE)
def test_length_does_not_give_the_label_away(code: str, test: bool) -> None:
    longer, items = Counter(), Counter()
    for pair in questions.pairs(7, PAIRS, test):
        chosen, rejected = render(pair.chosen, code), render(pair.rejected, code, pair.other_language)
        assert chosen != rejected
        longer[pair.subset] += len(chosen) > len(rejected)
        items[pair.subset] += 1
    assert set(items) == set(questions.SUBSETS)
    assert longer["padded"] == 0
    for subset in set(questions.SUBSETS) - {"padded"}:
        assert 0.45 <= longer[subset] / items[subset] <= 0.55, (code, subset, longer[subset], items[subset])


@pytest.mark.parametrize("code", ["en", "ko", "zh", "tr"])
def test_the_gold_judge_prefers_what_the_pairs_prefer(code: str) -> None:
    for pair in questions.pairs(9, 300, test=True):
        prompt, chosen = render(pair.prompt, code), render(pair.chosen, code)
        rejected = render(pair.rejected, code, pair.other_language)
        assert grade(prompt, chosen, code) == 3, (prompt, chosen)
        assert judge(prompt, chosen, rejected, code) == 1.0, (pair.subset, prompt, chosen, rejected)
        assert judge(prompt, rejected, chosen, code) == 2.0
        assert judge(prompt, rejected, rejected, code) == 1.5


def test_the_judge_gives_nothing_for_nonsense() -> None:
    prompt = render(questions.prompts(0, 1, test=True)[0].prompt, "en")
    assert grade(prompt, "", "en") == grade(prompt, "asdf qwer", "en") == 0
    with refused(DataError, "en.yaml", "Where is nowhere?"):
        grade("Where is nowhere?", "Of course.", "en")


def test_more_pairs_than_there_are_is_an_error(monkeypatch) -> None:
    question = questions.by_subset(test=True)["lists"][:1]
    monkeypatch.setattr(questions, "by_subset", lambda test: {"lists": question})
    monkeypatch.setattr(questions, "SUBSETS", {"lists": "Chat Hard"})
    with refused(DataError, "curate.pairs", 10_000):
        questions.pairs(0, 10_000, test=True)


@pytest.mark.parametrize("table", (PREFERENCES, PROMPTS, EVAL_PROMPTS, DEMONSTRATIONS, PARALLEL, BENCHMARKS))
def test_ids_are_those_of_translations_with_the_same_seed_alone(table: dict[str, Dataset]) -> None:
    for name in PHRASEBOOK:
        if name in table:
            first, same, other = (
                [row["id"] for row in table[name].rows(*asked)]
                for asked in (("en", 20, 1), ("de", 20, 1), ("de", 20, 2))
            )
            assert len(set(first)) == 20 and first == same and not set(first) & set(other)
