"""What is said about one text beside its source."""

import json

import pytest

from xlrm.expectations import failures
from xlrm.expectations.identification import Identifier
from xlrm.expectations.lengths import fit
from xlrm.expectations.loops import looped
from xlrm.expectations.measures import script_share
from xlrm.expectations.numbers import lost
from xlrm.expectations.texts import (
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
from xlrm.limits import Limits

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


def test_copies_and_what_is_left_untranslated():
    source = "The fox sleeps in its den all day."
    assert copied(3)(Pair(source, source)) == source
    assert copied(3)(Pair("New York", "New York")) is None
    assert untranslated(5)(Pair(f"Un animal. {source}", f"An animal. {source}")) == "animal. The fox sleeps in"
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


@pytest.mark.parametrize(
    ("text", "source", "is_cut"),
    [
        ("El zorro duerme en su", "The fox sleeps in its den.", True),
        ("El zorro duerme", "The fox", False),
        ("狐狸睡在它的洞里。", "The fox sleeps.", False),
        ("«El zorro duerme»", '"The fox sleeps."', False),
        ('Dijo: "El zorro', 'He said: "The fox sleeps."', True),
        ("Usa `f(x)`", "Use `f(x)`", False),
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
