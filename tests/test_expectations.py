"""What is said about one text beside its source."""

import json

import pytest

from xlrm.validation.frame import script_share
from xlrm.validation.language_id import Identifier
from xlrm.validation.lengths import fit
from xlrm.validation.limits import Limits
from xlrm.validation.loops import looped
from xlrm.validation.numbers import lost
from xlrm.validation.suite import failures
from xlrm.validation.texts import (
    Pair,
    changed_code,
    changed_placeholders,
    copied,
    cut,
    off_band,
    prose,
    truncated,
    untranslated,
)

LINES = "The fox sleeps in its den all day.\nNobody has seen it awake.\nIt comes out at night to hunt."
LÍNEAS = "El zorro duerme en su madriguera todo el día.\nNadie lo ha visto despierto.\nSale por la noche a cazar."


@pytest.mark.parametrize(
    ("text", "script", "share"),
    [
        ("안녕 abcd", "Hangul", 2 / 6),
        ("答案是 `print(x)` 。", "Han", 1),
        ("привет", "Latin", 0),
        ("Straße, già, được", "Latin", 1),
        ("12 + 3", "Latin", None),
    ],
)
def test_script_share(text, script, share):
    import numpy as np

    found = script_share(["", prose(text), "x"], script)[1]
    assert np.isnan(found) if share is None else found == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "source", "language", "found"),
    [
        ("1.234,5 euros", "1,234.5 euros", "es", []),
        ("２０２４年", "in 2024", "zh", []),
        ("hace 5 años", "7 years ago, 7 times", "es", ["7", "7"]),
        ("共有250万人", "2.5 million people", "zh", []),
        ("6억 4900만 명", "649 million people", "ko", []),
        ("35만 달러", "$350,000", "ko", []),
        ("valorado en 2000 millones", "worth $2bn", "es", []),
        ("2000 mil millones", "worth $3bn", "es", ["3"]),
        ("380 тысяч человек", "380,000 people", "ru", []),
        ("las 19:00", "7 p.m.", "es", []),
        ("오후 7시 30분", "at 19:30", "ko", []),
        ("a 72 chilometri", "45 miles away", "it", []),
        ("a 90 chilometri", "45 miles away", "it", ["45"]),
        ("nel XIX secolo", "in the 19th century", "it", []),
        ("los años 80", "the 1980s", "es", []),
        ("十九世纪", "the 19th century", "zh", []),
        ("돼지 열 다섯 마리", "15 pigs", "ko", []),
        ("zwei Tage", "2 days", "de", []),
        ("1.000 Personen", "1 person", "de", ["1"]),
    ],
)
def test_numbers_are_compared_by_value(text, source, language, found):
    assert lost(text, source, language, "en") == found


RIGHT_NUMBERS = [
    ("1/3 of it", "三分之一", "zh"),
    ("The 1st and 2nd place.", "El primer y segundo lugar.", "es"),
    ("the 1st", "der erste", "de"),
    ("1st", "primo", "it"),
    ("1st", "первый", "ru"),
    ("1st", "birinci", "tr"),
    ("1st", "thứ nhất", "vi"),
    ("1st", "첫 번째", "ko"),
    ("1st", "第一", "zh"),
    ("1/3", "un tercio", "es"),
    ("1/3", "un terzo", "it"),
    ("1/3", "ein Drittel", "de"),
    ("1/3", "одна треть", "ru"),
    ("1/3", "üçte bir", "tr"),
    ("1/3", "một phần ba", "vi"),
    ("1/3", "3분의 1", "ko"),
    ("1/3", "삼분의 일", "ko"),
    ("1/2", "la mitad", "es"),
    ("3/4", "tres cuartos", "es"),
    ("2½ cups, 3 eggs", "2,5 tazas, 3 huevos", "es"),
    ("½ cup and 3", "media taza y 3", "es"),
    ("½ cup and 3", "半杯和3", "zh"),
    ("25 people", "fünfundzwanzig Leute", "de"),
    ("225", "zweihundertfünfundzwanzig", "de"),
    ("25", "venticinque", "it"),
    ("13-year-old", "un tredicenne", "it"),
    ("25", "hai mươi lăm", "vi"),
    ("1,500", "mil quinientos", "es"),
    ("250", "iki yüz elli", "tr"),
    ("2,500", "две тысячи пятьсот", "ru"),
    ("20 years", "이십 년", "ko"),
    ("21st century", "이십일 세기", "ko"),
    ("30 to 50 thousand", "30 000 a 50 000", "es"),
    ("300,000 to 500,000", "30~50万", "zh"),
    ("300,000 to 500,000", "30~50만", "ko"),
    ("3 to 5 million", "3 bis 5 Millionen", "de"),
    ("03/04/2024", "4 de marzo de 2024", "es"),
    ("2024-03-05", "5 марта 2024 г.", "ru"),
    ("1 October", "十月一日", "zh"),
    ("Category 1", "一级飓风", "zh"),
    ("by 1 p.m.", "a la una de la tarde", "es"),
    ("in the 80s (temperatures)", "26 ºC", "it"),
    ("-5 degrees", "-5 grados", "es"),
    ("−5", "－5", "zh"),
    ("It is -5 degrees", "零下5度", "zh"),
    ("-5 degrees", "영하 5도", "ko"),
    ("-5 degrees", "5 grados bajo cero", "es"),
    ("-5", "minus fünf", "de"),
    ("5-10 people", "5 a 10 personas", "es"),
    ("5–10 people", "5 bis 10", "de"),
    ("pages 5 -10", "5 10", "es"),
    ("-$5", "-5 $", "es"),
    ("-$5", "−$5", "es"),
    ("the COVID-19", "COVID 19", "es"),
    ("(-3, 4)", "(-3, 4)", "ru"),
    ("-5°C", "âm 5°C", "vi"),
    ("6'2\" tall", "Mide 1,88 m", "es"),
    ("CO2 and 7", "dióxido de carbono y 7", "es"),
    ("{0,1}", "{0, 1}", "es"),
    ("760 mm (2 ft 6 in) gauge", "de 760 mm", "es"),
    ("5 km² area", "5 平方公里", "zh"),
    ("the 1990s", "los años noventa", "es"),
    ("10⁵ cells", "10^5 células", "es"),
    ("3:1 ratio", "razón de 3 a 1", "es"),
    ("50%", "50 por ciento", "es"),
    ("10,000", "一万", "zh"),
    ("15,000", "1만 5000", "ko"),
    ("2:30 p.m.", "las dos y media 14:30", "es"),
    ("9/11 attacks", "atentados del 11 de septiembre", "es"),
    ("35", "treinta y cinco", "es"),
    ("12.5 million", "1250万", "zh"),
]
WRONG_NUMBERS = [
    ("-5", "5", "es"),
    ("−5", "5", "es"),
    ("–5", "5", "es"),
    ("－5", "5", "es"),
    ("It is -5 degrees outside.", "Hace 5 grados afuera.", "es"),
    ("-5 degrees", "5도", "ko"),
    ("−5°C", "5°C", "zh"),
    ("(-3, 4)", "(3, 4)", "de"),
    ("x = -2", "x = 2", "ru"),
    ("-$50 today", "50 $ hoy", "es"),
    ("from -5 to 10", "de 5 a 10", "es"),
    ("1/3", "un quinto", "es"),
    ("1/3", "五分之一", "zh"),
    ("1st", "segundo", "es"),
    ("25", "fünfunddreißig", "de"),
    ("-1.5", "1,5", "vi"),
    ("-1.5", "1,5", "tr"),
    ("The answer is 3.14.", "La respuesta es 314.", "es"),
    ("The rate is 0.5%.", "La tasa es 5%.", "es"),
    ("10^5 cells", "105 células", "es"),
    ("10⁵ cells", "105 células", "es"),
]


@pytest.mark.parametrize(("source", "text", "language"), RIGHT_NUMBERS)
def test_a_number_may_be_written_in_another_way(source, text, language):
    assert lost(text, source, language, "en") == []


@pytest.mark.parametrize(("source", "text", "language"), WRONG_NUMBERS)
def test_another_number_or_a_lost_minus_sign_is_found(source, text, language):
    assert lost(text, source, language, "en")


@pytest.mark.parametrize(
    ("text", "source", "found"),
    [
        ("usa `a` y `a`", "use `a`", "added `a`"),
        ("```\nx\n```", "```\nx\n```", None),
        ("```\nx", "```\nx\n```", "lost ```\nx\n```; added ```\nx"),
        ("it`s and don`t", "it`s and don`t\nwon`t", None),
    ],
)
def test_code_is_kept(text, source, found):
    assert changed_code(Pair(text, source)) == found


@pytest.mark.parametrize(
    ("text", "source", "found"),
    [
        ("Hola, {name}: %s", "Hi {name}: %s", None),
        ("Hola, {nombre}", "Hi {name}", "lost {name}; added {nombre}"),
        ("[[ 0]] <x/>", "[[0]] <x/>", "lost [[0]]"),
        ("véase https://a.org/b。", "see https://a.org/b.", None),
        ("véase https://a.org/c", "see https://a.org/b", "lost https://a.org/b; added https://a.org/c"),
        ("100 % seguro, a<b y c>d", "100% sure, a<b and c>d", None),
    ],
)
def test_placeholders_and_addresses_are_kept(text, source, found):
    assert changed_placeholders(Pair(text, source)) == found


NAMES = {
    "es": [("iPhone 15 Pro Max",) * 2, ("Longwood Medical and Academic Area",) * 2, ("Il faut bien le faire.",) * 2],
    "ko": [("iPhone 15 Pro Max",) * 2, ("BTS and BLACKPINK", "BTS와 BLACKPINK")],
    "zh": [("iPhone 15 Pro Max",) * 2, ("C++ and Rust", "C++ 和 Rust"),
           ("BBC Scotland's Alasdair Lamont at the Arena", "BBC Scotland 的 Alasdair Lamont 在 Arena")],
    "ru": [("Ogród Saski",) * 2, ("Omnicare, Kindred Healthcare and PharMerica", "Omnicare, Kindred Healthcare и PharMerica")],
}  # fmt: skip
UNTRANSLATED = [
    "How do I write a letter to my landlord?",
    "Chris Leslie is MP for Nottingham East",
    "WHAT IS THE CAPITAL OF FRANCE?",
]


@pytest.mark.parametrize("language", NAMES)
def test_names_may_stay_as_they_are_and_sentences_may_not(language):
    pairs = NAMES[language] + [(text, text) for text in UNTRANSLATED]
    sources, rows = ([{"id": str(i), "prompt": pair[side]} for i, pair in enumerate(pairs)] for side in (0, 1))
    found = failures(rows, sources, ("id", "prompt"), language, "en", Limits())
    failed = {row for outcome in found for row in outcome.failed}
    assert failed == set(range(len(NAMES[language]), len(pairs)))


def test_copies_and_what_is_left_untranslated():
    source = "The fox sleeps in its den all day."
    assert copied(3)(Pair(source, source)) == source
    assert copied(3)(Pair("New York", "New York")) is None
    assert (
        untranslated(5)(Pair(f"Un animal. {source}", f"An animal. {source}"))
        == "animal. The fox sleeps in its den all day"
    )
    names = "Rome, Paris, Madrid, Oslo, Bern, Kyiv"
    assert untranslated(5)(Pair(names, names)) is None
    assert (
        untranslated(5)(Pair("Answer: 这个句子没有翻译过来。", "答案：这个句子没有翻译过来。"))
        == "这个句子没有翻译过来"
    )


def test_truncation_needs_fewer_lines_and_the_length_of_the_first():
    import numpy as np

    band = fit(np.full(300, 110), np.full(300, 100), (0.4, 3), Limits())
    first, *rest = LÍNEAS.split("\n")
    assert truncated(band)(Pair(LÍNEAS, LINES)) is None
    assert truncated(band)(Pair(first, LINES)) == "1 of 3 lines"
    assert truncated(band)(Pair(" ".join([first, *rest]), LINES)) is None  # the lines joined
    assert truncated(band)(Pair(first, LINES.replace("\n", " "))) == "1 of 3 sentences"
    assert truncated(band)(Pair(f"{first}\n`x`\n`y`", LINES)) is None, "a line of code counts as one"


def test_a_refrain_is_no_loop():
    assert looped("rema, rema, rema, rema, rema, rema tu bote", "Row, row, row, row, row, row your boat", 5) is None


def test_code_in_a_sentence_is_not_untranslated():
    source = (
        "The signature must be bool pred(const T& arg);, where T is a type; see is_invocable, is_invocable_r, v141_xp."
    )
    text = "La firma debe ser bool pred(const T& arg);, donde T es un tipo; vea is_invocable, is_invocable_r, v141_xp."
    assert untranslated(5)(Pair(text, source)) is None


@pytest.mark.parametrize(
    ("text", "source", "is_cut"),
    [
        ("El zorro duerme en su", "The fox sleeps in its den.", True),
        ("El zorro duerme", "The fox", False),
        ("狐狸睡在它的洞里。", "The fox sleeps.", False),
        ("«El zorro duerme»", '"The fox sleeps."', False),
        ('Dijo: "El zorro', 'He said: "The fox sleeps."', True),
        ("Usa `f(x)`", "Use `f(x)`", False),
        ("ropa interior", "water-cooled undergarment.", False),
        ("말했습니다. '고려하지 않고 있습니다'", "A spokesman said: 'It is not being considered.'", False),
    ],
)
def test_a_cut_end(text, source, is_cut):
    assert bool(cut(Pair(text, source))) is is_cut


def test_a_band_is_fitted_from_enough_plausible_rows():
    import numpy as np

    rng = np.random.default_rng(0)
    references = rng.integers(50, 500, 400)
    lengths = (references * np.exp(rng.normal(0.1, 0.1, 400))).astype(int)
    lengths[:20] //= 3  # one in twenty is cut down, which does not widen the band
    band = fit(lengths, references, (0.4, 3.0), Limits())
    assert band.mean == pytest.approx(1.1, abs=0.03)
    low, high = band.around(400)
    assert 0.5 < low < 0.85 < 1.3 < high < 2.2
    assert (
        sum(
            bool(off_band(band, 30)(Pair("x" * int(n), "y" * int(m)))) for n, m in zip(lengths, references, strict=True)
        )
        >= 18
    )
    assert fit(lengths[:100], references[:100], (0.4, 3.0), Limits()).around(400) == (0.4, 3.0)
    assert fit(lengths // 4, references, (0.4, 3.0), Limits()).around(400) == (0.4, 3.0)  # all wrong: not believed


def test_a_language_is_identified_from_enough_letters():
    spanish = Identifier("es", 25, 0.05)
    italian, right, short = texts = [
        "Il gatto dorme tutto il giorno sul divano di casa.", "El gato duerme todo el día en el sofá.", "Il gatto",
    ]  # fmt: skip
    doubts = {text: doubt for text, doubt in zip(texts, spanish.doubts(texts), strict=True) if doubt}
    assert italian in doubts
    assert short not in doubts
    assert spanish.foreign({italian: "it", right: "it"})[right] is None
    assert spanish.foreign({italian: "it", right: "it"})[italian].startswith("it ")


@pytest.mark.parametrize("chunk", ["0123456789", "the same words again, ", "".join(map(chr, range(1000, 1237)))])
def test_a_loop_is_found_wherever_it_stands_and_whatever_its_length(chunk):
    for before in range(0, 90, 7):
        text = "".join(map(chr, range(500, 500 + before))) + chunk * 5 + "end"
        assert looped(text, "", 5) is not None
        assert looped(text, text, 5) is None
        assert looped(text.replace(chunk * 5, chunk * 4), "", 5) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("El zorro duerme duerme duerme duerme duerme duerme", True),
        ("狐狸睡觉睡觉睡觉睡觉睡觉睡觉", True),
        ("no, no, no", False),
        ("Aaaaaaaaaaaaaaaaaaaaaaah", True),
        ("--------------------------------------", False),
        (("Una frase que se repite mucho. Otra. ") * 5, True),
    ],
)
def test_short_loops(text, found):
    assert bool(looped(text, "", 5)) is found


def test_length_bands_scale_with_the_script_of_the_source():
    limits = Limits()
    assert limits.band("Han", "Latin") == pytest.approx((0.1, 1.2))
    low, high = limits.band("Latin", "Han")
    assert low < 3 < high  # English is about three times as long as Chinese
    with pytest.raises(ValueError, match="Latin: a band is two numbers, 0 < low < high"):
        Limits(length_ratio={"Latin": (2, 1)})


@pytest.mark.parametrize("language", ["es", "ko"])
def test_an_answer_that_is_code_may_stay_as_it_is(language: str, shared_data) -> None:
    """Functions without a fence, as RewardBench has them: a translator leaves them alone, and so do the checks."""
    lines = (shared_data / "rewardbench_mini_en.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["subset"].startswith("hep-")]
    rows = [{"id": str(i), "chosen": row["chosen"], "rejected": row["rejected"]} for i, row in enumerate(rows)]
    found = failures(rows, rows, ("id", "chosen", "rejected"), language, "en", Limits())
    failed = {row for outcome in found if outcome.expectation.name != "pair" for row in outcome.failed}
    assert len(rows) > 600 and len(failed) <= 2
