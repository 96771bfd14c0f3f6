import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import xlrm
from xlrm import expectations
from xlrm.errors import DataError, GateError
from xlrm.rows import read_rows, write_jsonl
from xlrm.stages import validate

NOUNS = {
    "en": "river lake wood hill sea farm town road field rock cave bridge mill beach barn pond",
    "es": "río lago bosque monte mar granja pueblo calle campo roca cueva puente molino playa establo charca",
    "ko": "강 호수 숲 언덕 바다 농장 마을 길 들판 바위 동굴 다리 방앗간 해변 헛간 연못",
}
SAY = {
    "en": {
        "prompt": "Number {n}: what does `f({i})` print on the sign near the {noun}?",
        "chosen": "The animal near the {noun} is a fox, and it sleeps all day long in the den it has dug.",
        "rejected": "The animal near the {noun} is a bear, and it sleeps all day long in the den it has dug.",
    },
    "es": {
        "prompt": "Número {n}: ¿qué imprime `f({i})` en el letrero junto a {noun}?",
        "chosen": "El animal que hay junto a {noun} es un zorro, y duerme todo el día en su madriguera.",
        "rejected": "El animal que hay junto a {noun} es un oso, y duerme todo el día en su madriguera.",
    },
    "ko": {
        "prompt": "번호 {n}: {noun} 근처의 표지판에 `f({i})` 코드는 무엇을 출력합니까?",
        "chosen": "{noun} 근처에 있는 동물은 여우이고, 하루 종일 자기가 판 굴에서 잠을 잡니다.",
        "rejected": "{noun} 근처에 있는 동물은 곰이고, 하루 종일 자기가 판 굴에서 잠을 잡니다.",
    },
}
Corpora = dict[str, dict[str, list[dict]]]


def noun(language: str, i: int) -> str:
    return NOUNS[language].split()[i]


def corpora(count: int = 16) -> Corpora:
    """Language -> file -> rows; in `preferences.jsonl` row i has the id p<i>."""
    made: Corpora = {}
    for language, say in SAY.items():
        texts = [
            {key: text.format(i=i, n=i + 100, noun=noun(language, i)) for key, text in say.items()}
            for i in range(count)
        ]
        made[language] = {
            "preferences.jsonl": [
                {"id": f"p{i}", **text, "subset": "facts", "source": "test"} for i, text in enumerate(texts)
            ],
            "benchmark.jsonl": [
                {"id": f"b{i}", **text, "subset": "facts", "section": "Chat"} for i, text in enumerate(texts[:4])
            ],
            "prompts.jsonl": [
                {"id": f"q{i}", "prompt": text["prompt"], "split": "train"} for i, text in enumerate(texts[:4])
            ],
            "parallel.jsonl": [{"id": f"t{i}", "text": text["chosen"]} for i, text in enumerate(texts[:4])],
        }
    return made


def run(made: Corpora, tmp_path: Path, **config) -> dict[str, float]:
    """Validates `made`, its first language being the source, into tmp_path / "output"."""
    for language, files in made.items():
        for name, rows in files.items():
            write_jsonl(tmp_path / language / name, rows)
        (tmp_path / language / "corpus.json").write_text(json.dumps({"language": language}))
    source, *translations = [tmp_path / language for language in made]
    (tmp_path / "output").mkdir()
    return validate.run(validate.Config(**config), source=source, translations=translations, output=tmp_path / "output")


def plant(made: Corpora) -> dict[str, tuple[str, str, str]]:
    """One defect of each kind, each in a row of its own: id -> language, expectation, column."""
    en, es, ko = (made[language]["preferences.jsonl"] for language in made)
    es[0]["chosen"] = " \n"
    ko[1]["subset"] = 3
    es[5] |= {"chosen": "<b>Zorro</b>, durmiendo junto al agua", "rejected": " <B>zorro</b>, durmiendo junto al agua"}
    ko[6]["prompt"] = "Number 106: what will `f(6)` write on the wall at the town?"
    es[7]["chosen"] += " Nadie sabe" + "".join(f", ni {word}" for word in NOUNS["es"].split() * 3)
    es[8]["prompt"] = en[8]["prompt"]
    ko[9]["prompt"] = ko[9]["prompt"].replace("109", "190")
    es[10]["prompt"] = es[10]["prompt"].replace("f(10)", "f(x)")
    ko[11]["chosen"] = "여우가 굴에서 잔다. " * 5
    en[12]["prompt"] = "질문, 번호 112: 방앗간 근처의 표지판에 `f(12)` 코드는 무엇을 출력합니까?"
    es[13]["rejected"] = ko[13]["rejected"]  # no defect: a wrong answer may be in a wrong language
    es[14], es[15] = es[15], es[14]
    es.insert(3, {**es[3]})
    es.append({**es[0], "id": "p99", "chosen": "Junto al río hay un zorro que duerme todo el día."})
    del ko[4]
    made["es"]["parallel.jsonl"][2]["text"] = "Un zorro."
    return {
        "p0": ("es", "schema", "chosen"), "p1": ("ko", "schema", "subset"), "p3": ("es", "unique", "id"),
        "p4": ("ko", "parity", "id"), "p5": ("es", "pair", "rejected"), "p6": ("ko", "script", "prompt"),
        "p7": ("es", "length", "chosen"), "p8": ("es", "copy", "prompt"), "p9": ("ko", "preserved", "prompt"),
        "p10": ("es", "preserved", "prompt"), "p11": ("ko", "loop", "chosen"), "p12": ("en", "script", "prompt"),
        "p14": ("es", "parity", "id"), "p99": ("es", "parity", "id"), "t2": ("es", "length", "text"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The defects, the metrics and the output of a validation that lets all of them pass the gate."""
    folder, made = tmp_path_factory.mktemp("planted"), corpora()
    defects = plant(made)
    return defects, run(made, folder, max_reject_share=1), folder / "output"


def test_a_clean_corpus_passes_whole(tmp_path):
    made = corpora(count=10)
    metrics = run(made, tmp_path)
    assert metrics == {
        "rows_in": 22, "rows_out": 22, "reject_share": 0, "failures/en": 0, "failures/es": 0, "failures/ko": 0,
    }  # fmt: skip
    for language, files in made.items():
        assert {name: read_rows(tmp_path / "output" / language / name) for name in files} == files
        assert json.loads((tmp_path / "output" / language / "corpus.json").read_text()) == {"language": language}
    assert read_rows(tmp_path / "output" / "rejects.jsonl") == []


def test_each_defect_is_caught_and_nothing_else(planted):
    defects, _, output = planted
    rejects = read_rows(output / "rejects.jsonl")
    assert {(r["id"], r["language"], r["expectation"], r["column"]) for r in rejects} == {
        (row_id, *defect) for row_id, defect in defects.items()
    }
    assert set(expectations.MEANING) == {r["expectation"] for r in rejects}


def test_rejects_show_the_value_that_failed(planted):
    values = {r["id"]: r["value"] for r in read_rows(planted[2] / "rejects.jsonl")}
    assert values["p4"] == "missing"
    assert values["p14"] == "out of order"
    assert values["p99"] == "not in the source"
    assert values["p6"] == "0.00"
    assert values["p9"] == "lost 109"
    assert values["p10"] == "lost `f(10)`; added `f(x)`"
    assert "여우가 굴에서 잔다." in values["p11"]
    assert float(values["p7"]) > 3
    assert max(map(len, values.values())) <= validate.SHOWN_CHARACTERS + 1


def test_a_row_that_fails_in_one_language_is_dropped_in_all(planted):
    defects, metrics, output = planted
    for language in SAY:
        ids = [row["id"] for row in read_rows(output / language / "preferences.jsonl")]
        assert ids == [f"p{i}" for i in range(16) if f"p{i}" not in defects] == ["p2", "p13", "p15"]
        assert [row["id"] for row in read_rows(output / language / "parallel.jsonl")] == ["t0", "t1", "t3"]
    kept = read_rows(output / "es" / "preferences.jsonl")
    assert [noun("es", i) in row["chosen"] for i, row in zip((2, 13, 15), kept, strict=True)] == [True] * 3
    assert (metrics["rows_in"], metrics["rows_out"]) == (28, 14)
    assert metrics["reject_share"] == 0.5
    assert metrics["failures/en"] == 1


def test_the_summary_counts_by_language_file_and_expectation(planted):
    summary = json.loads((planted[2] / "summary.json").read_text())
    assert summary["passed"] is True
    assert summary["thresholds"]["max_reject_share"] == 1
    assert summary["languages"]["ko"]["preferences.jsonl"] == {
        "rows_in": 15, "rows_out": 3, "failures": {"loop": 1, "parity": 1, "preserved": 1, "schema": 1, "script": 1},
    }  # fmt: skip
    assert summary["languages"]["es"]["prompts.jsonl"] == {"rows_in": 4, "rows_out": 4, "failures": {}}


def test_the_data_docs_are_one_file_that_fetches_nothing(planted):
    page = (planted[2] / "data_docs.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|\bsrc\s*=|\bhref\s*=|url\(|@import", page)
    for name in ("English", "Spanish", "Korean", "preferences.jsonl", *expectations.MEANING):
        assert name in page
    assert "&lt;B&gt;zorro" in page
    assert "<B>" not in page


def test_too_many_rejects_raise(tmp_path):
    made = corpora(count=10)
    for row in made["ko"]["preferences.jsonl"]:
        row["prompt"] = row["prompt"].replace("근처의 표지판에", "what will the big old sign in this town show")
    made["es"]["benchmark.jsonl"][0]["rejected"] = made["es"]["benchmark.jsonl"][0]["chosen"]
    for language in made:
        del made[language]["prompts.jsonl"], made[language]["parallel.jsonl"]
    with pytest.raises(GateError) as raised:
        run(made, tmp_path, min_script_share=0.5)
    message = str(raised.value)
    assert "78.6% of 14 rows dropped, max_reject_share is 5.0%" in message
    assert "most fail in Korean (10)" in message
    assert "script 10 in Korean, pair 1 in Spanish" in message
    assert "no row of preferences.jsonl passed" in message
    output = tmp_path / "output"
    assert sorted(path.name for path in output.iterdir()) == ["data_docs.html", "rejects.jsonl", "summary.json"]
    assert len(read_rows(output / "rejects.jsonl")) == 11


def test_a_corpus_that_cannot_be_read_is_named(tmp_path):
    made = {"en": corpora(count=2)["en"], "es": corpora(count=2)["es"]}
    del made["es"]["parallel.jsonl"]
    with pytest.raises(DataError, match=r"es/parallel\.jsonl: no such file"):
        run(made, tmp_path)
    (tmp_path / "es" / "corpus.json").write_text('{"language": "en"}')
    write_jsonl(tmp_path / "es" / "parallel.jsonl", made["en"]["parallel.jsonl"])
    folders = {"source": tmp_path / "en", "translations": [tmp_path / "es"], "output": tmp_path / "output"}
    with pytest.raises(DataError, match="one corpus a language, got en, en"):
        validate.run(validate.Config(), **folders)
    (tmp_path / "es" / "corpus.json").unlink()
    with pytest.raises(DataError, match=r'corpus\.json: no such file; .* \{"language": "es"\}'):
        validate.run(validate.Config(), **folders)


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
    import pandas as pd

    found = expectations.script_share(pd.Series(["", text, "x"]), script)[1]
    assert pd.isna(found) if share is None else found == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "source", "found"),
    [
        ("1.234,5 euros", "1,234.5 euros", None),
        ("２０２４年", "in 2024", None),
        ("사람 2명", "two people", None),
        ("hace 5 años", "7 years ago, 7 times", "lost 7, 7"),
        ("usa `a` y `a`", "use `a`", "added `a`"),
    ],
)
def test_code_and_numbers_are_kept(text, source, found):
    assert expectations.changed(text, source) == found


def test_a_loop_is_found_wherever_it_stands_and_whatever_its_length():
    for chunk in ("0123456789", "the same words again, ", "".join(map(chr, range(1000, 1237)))):
        for before in range(0, 90, 7):
            text = "".join(map(chr, range(500, 500 + before))) + chunk * 5 + "end"
            assert expectations.looped(text, "") is not None
            assert expectations.looped(text, text) is None
            assert expectations.looped(text.replace(chunk * 5, chunk * 4), "") is None


def test_length_bands_scale_with_the_script_of_the_source():
    config = validate.Config()
    assert validate._band(config, "Han", "Latin") == pytest.approx((0.1, 1.2))
    low, high = validate._band(config, "Latin", "Han")
    assert low < 3 < high  # English is about three times as long as Chinese
    with pytest.raises(ValueError, match="Latin: a band is two numbers, 0 < low < high"):
        validate.Config(length_ratio={"Latin": (2, 1)})


def test_great_expectations_has_one_door_and_opens_late():
    package = Path(xlrm.__file__).parent
    door = re.compile(r"^\s*(import|from)\s+great_expectations", re.MULTILINE)
    users = [path.name for path in package.rglob("*.py") if door.search(path.read_text(encoding="utf-8"))]
    assert users == ["expectations.py"]
    code = "import sys, xlrm.stages.validate; sys.exit(bool({'great_expectations', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=package.parent, check=False).returncode == 0
