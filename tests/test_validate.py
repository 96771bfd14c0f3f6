import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import refused

import xlrm
from xlrm.errors import DataError, GateError
from xlrm.stages import validate
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.validation import corpus_check, suite
from xlrm.validation.limits import Limits

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
                {"id": f"b{i}", **text, "subset": "facts", "section": "Chat"} for i, text in enumerate(texts[:6])
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
    es[2]["chosen"] = "L'animale che si trova vicino al bosco è una volpe, e dorme tutto il giorno nella sua tana."
    es[5] |= {"chosen": "<b>Zorro</b>, durmiendo junto al agua", "rejected": " <B>zorro</b>, durmiendo junto al agua"}
    en[5] |= {"chosen": "<b>A fox</b>, asleep beside the water", "rejected": "<B>A bear</b>, asleep beside the water"}
    ko[5] |= {"chosen": "<b>여우</b>, 물 옆에서 잠들어 있음", "rejected": "<B>곰</b>, 물 옆에서 잠들어 있음"}
    ko[6]["prompt"] = "Sign 106: `f(6)`"
    es[7]["chosen"] = es[7]["chosen"][:-1] + "".join(f", ni {word}" for word in NOUNS["es"].split() * 2) + "."
    es[8]["prompt"] = en[8]["prompt"]
    ko[9]["prompt"] = ko[9]["prompt"].replace("109", "190")
    es[10]["prompt"] = es[10]["prompt"].replace("f(10)", "f(x)")
    ko[11]["chosen"] = "여우가 굴에서 잔다. " * 5
    en[12]["prompt"] = "112, 방앗간 옆에 서 있는 저 크고 오래된 간판에는 도대체 어떤 글이 적혀 있습니까: `f(12)`?"
    for language in made:  # no defect: a wrong answer may be in a wrong language, if it is so in the source
        made[language]["preferences.jsonl"][13]["rejected"] = ko[13]["rejected"]
    es[14], es[15] = es[15], es[14]
    es.insert(3, {**es[3]})
    es.append({**es[0], "id": "p99", "chosen": "Junto al río hay un zorro que duerme todo el día."})
    del ko[4]
    made["es"]["parallel.jsonl"][2]["text"] = "Un zorro."
    _break_benchmark(*(made[language]["benchmark.jsonl"] for language in made))
    return {
        "p0": ("es", "schema", "chosen"), "p1": ("ko", "schema", "subset"), "p2": ("es", "language", "chosen"),
        "p3": ("es", "unique", "id"), "p4": ("ko", "parity", "id"), "p5": ("es", "pair", "rejected"),
        "p6": ("ko", "script", "prompt"), "p7": ("es", "length", "chosen"), "p8": ("es", "copy", "prompt"),
        "p9": ("ko", "number", "prompt"), "p10": ("es", "code", "prompt"), "p11": ("ko", "loop", "chosen"),
        "p12": ("en", "script", "prompt"), "p14": ("es", "parity", "id"), "p99": ("es", "parity", "id"),
        "t2": ("es", "length", "text"), "b0": ("es", "truncated", "chosen"), "b1": ("ko", "cut", "chosen"),
        "b2": ("es", "untranslated", "chosen"), "b3": ("ko", "placeholder", "prompt"), "b4": ("es", "turns", "prompt"),
    }  # fmt: skip


def _break_benchmark(en: list[dict], es: list[dict], ko: list[dict]) -> None:
    second = {
        "en": "\nNobody who lives in the town has ever seen it awake before the evening.",
        "es": "\nNadie que viva en el pueblo lo ha visto nunca despierto antes de la noche.",
        "ko": "\n마을에 사는 어느 누구도 저녁이 되기 전에 깨어 있는 것을 본 적이 없습니다.",
    }
    for rows, text in zip((en, es, ko), second.values(), strict=True):
        for row in rows:
            row["chosen"] += text
    es[0]["chosen"] = es[0]["chosen"].split("\n")[0]
    ko[1]["chosen"] = ko[1]["chosen"][:-7]
    es[2]["chosen"] = es[2]["chosen"].replace(second["es"], second["en"])
    for rows in (en, es, ko):
        rows[3]["prompt"] += " {name}"
    ko[3]["prompt"] = ko[3]["prompt"].replace("{name}", "{이름}")
    for rows in (en, es, ko):
        rows[4]["prompt"] = [{"role": "user", "content": rows[4]["prompt"], "name": "Ann"}]
    es[4]["prompt"][0]["role"] = "system"


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The defects, the metrics and the output of a validation that lets all of them pass the gate."""
    folder, made = tmp_path_factory.mktemp("planted"), corpora()
    defects = plant(made)
    return defects, run(made, folder, max_reject_share=1), folder / "output"


def test_a_clean_corpus_passes_whole(tmp_path):
    made = corpora(count=10)
    metrics = run(made, tmp_path)
    assert {key: metrics[key] for key in ("rows_in", "rows_out", "reject_share")} == {
        "rows_in": 24, "rows_out": 24, "reject_share": 0,
    }  # fmt: skip
    assert {key for key in metrics if key.startswith("failures/es/")} == {
        f"failures/es/{name}" for name in suite.MEANING
    }
    assert not any(value for key, value in metrics.items() if key.startswith("failures/"))
    for language, files in made.items():
        assert {name: read_rows(tmp_path / "output" / language / name) for name in files} == files
        assert json.loads((tmp_path / "output" / language / "corpus.json").read_text()) == {"language": language}
    assert read_rows(tmp_path / "output" / "rejects.jsonl") == []


def test_each_defect_is_caught_and_nothing_else(planted):
    """What is untranslated is also in the wrong language, and a loop too long; but no other row is at fault."""
    defects, _, output = planted
    rejects = read_rows(output / "rejects.jsonl")
    found = {(r["id"], r["language"], r["expectation"], r["column"]) for r in rejects}
    assert {(row_id, *defect) for row_id, defect in defects.items()} <= found
    assert {(row_id, language, column) for row_id, language, _, column in found} == {
        (row_id, language, column) for row_id, (language, _, column) in defects.items()
    }
    assert set(suite.MEANING) == {r["expectation"] for r in rejects}


def test_rejects_show_the_value_that_failed(planted):
    defects, _, output = planted
    rejects = read_rows(output / "rejects.jsonl")
    values = {r["id"]: r["value"] for r in rejects if r["expectation"] == defects[r["id"]][1]}
    assert values["p4"] == "missing"
    assert values["p14"] == "out of order"
    assert values["p99"] == "not in the source"
    assert values["p6"] == "0.00"
    assert values["p9"] == "lost 109"
    assert values["p10"] == "lost `f(10)`; added `f(x)`"
    assert "여우가 굴에서 잔다." in values["p11"]
    assert re.fullmatch(r"\d\.\d\d times as long, not 0.40 to 3.00", values["p7"])
    assert values["p2"].startswith("it ")
    assert values["b0"] == "1 of 2 lines"
    assert values["b4"] == '{"role": "system", "content": "…", "name": "Ann"}'
    assert values["b3"] == "lost {name}; added {이름}"
    assert max(map(len, values.values())) <= suite.SHOWN_CHARACTERS + 1


def test_each_language_keeps_what_passed_in_it_and_in_the_source(planted):
    defects, metrics, output = planted
    own = {code: {row_id for row_id, (language, _, _) in defects.items() if language in ("en", code)} for code in SAY}
    for language in SAY:
        ids = [row["id"] for row in read_rows(output / language / "preferences.jsonl")]
        assert ids == [f"p{i}" for i in range(16) if f"p{i}" not in own[language]]
    assert len(read_rows(output / "en" / "preferences.jsonl")) == 15, "only what fails in English itself"
    assert [row["id"] for row in read_rows(output / "ko" / "parallel.jsonl")] == ["t0", "t1", "t2", "t3"]
    assert [row["id"] for row in read_rows(output / "es" / "parallel.jsonl")] == ["t0", "t1", "t3"]
    kept = read_rows(output / "es" / "preferences.jsonl")
    assert all(noun("es", int(row["id"][1:])) in row["chosen"] for row in kept if row["id"] != "p11")
    assert (metrics["rows_in"], metrics["rows_out"]) == (30, 10), "rows_out: what is left in every language"
    assert metrics["reject_share"] == 20 / 30
    assert {code: metrics[f"kept/{code}"] for code in SAY} == {"en": 29, "es": 17, "ko": 22}
    assert metrics["failures/en"] == metrics["failures/en/script"] == 1


@pytest.mark.parametrize(
    ("lost", "wanted"),
    [
        ({"es": "q1", "ko": "q0"}, {"en": "q2 q3 q4 q5", "es": "q2 q3 q4 q5", "ko": "q2 q3 q4 q5"}),
        ({"es": "q1 q2", "ko": "q0"}, {"en": "q0 q3 q4 q5", "es": "q0 q3 q4 q5", "ko": "q1 q3 q4 q5"}),
        ({"es": "q0 q1 q2"}, {"en": "q0 q3 q4 q5", "es": "q3 q4 q5", "ko": "q0 q3 q4 q5"}),
    ],
    ids=["enough that passed everywhere", "topped up in each language", "too few"],
)
def test_spare_prompts_take_the_place_of_dropped_ones(tmp_path, lost, wanted):
    """Six prompts for alignment, of which four are asked for, and two for judging, which stay."""
    made = corpora(8)
    for language, say in SAY.items():
        made[language]["prompts.jsonl"] = [
            {"id": f"q{i}", "split": ("train", "eval")[i > 5],
             "prompt": say["prompt"].format(i=i, n=i + 100, noun=noun(language, i))}
            for i in range(8) if f"q{i}" not in lost.get(language, "").split()
        ]  # fmt: skip
    run(made, tmp_path, max_reject_share=1, train_prompts=4)
    for language, ids in wanted.items():
        rows = read_rows(tmp_path / "output" / language / "prompts.jsonl")
        assert [row["id"] for row in rows if row["split"] == "train"] == ids.split()
        assert [row["id"] for row in rows if row["split"] == "eval"] == ["q6", "q7"]


def test_the_summary_counts_by_language_file_and_expectation(planted):
    summary = json.loads((planted[2] / "summary.json").read_text())
    assert summary["passed"] is True
    assert summary["thresholds"]["max_reject_share"] == 1
    assert summary["kept"]["en"] == 29
    korean = summary["languages"]["ko"]["preferences.jsonl"]
    assert {key: korean[key] for key in ("rows_in", "rows_out", "failures")} == {
        "rows_in": 15, "rows_out": 10, "failures": {
            "loop": 1, "number": 1, "parity": 1, "schema": 1, "script": 1,
        },
    }  # fmt: skip
    assert korean["failed"] == 5 / 16
    assert korean["excess"] == pytest.approx(korean["failed"] - korean["expected"])
    prompts = summary["languages"]["es"]["prompts.jsonl"]
    assert (prompts["rows_in"], prompts["rows_out"], prompts["failures"]) == (4, 4, {})


def test_the_data_docs_are_one_file_that_fetches_nothing(planted):
    page = (planted[2] / "data_docs.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|\bsrc\s*=|\bhref\s*=|url\(|@import", page)
    for name in ("English", "Spanish", "Korean", "preferences.jsonl", *suite.MEANING):
        assert name in page
    assert "&lt;B&gt;zorro" in page
    assert "<B>" not in page


def test_too_many_rejects_raise(tmp_path):
    made = corpora(count=10)
    for row in made["ko"]["preferences.jsonl"]:
        row["prompt"] = row["prompt"].replace("근처의 표지판에", "what big old")
    made["es"]["benchmark.jsonl"][0]["rejected"] = made["es"]["benchmark.jsonl"][0]["chosen"]
    for language in made:
        del made[language]["prompts.jsonl"], made[language]["parallel.jsonl"]
    with pytest.raises(GateError) as raised:
        run(made, tmp_path, limits={"min_script_share": 0.65})
    message = str(raised.value)
    assert re.search(
        r"Korean preferences\.jsonl: 100\.0% of 10 rows failed, \d\.\d% expected of correct translations, "
        r"excess \d+\.\d%, limit \d\d\.\d% \(script 10\)",
        message,
    )
    assert "Spanish" not in message, "one of six rows may fail by chance"
    assert "no row of preferences.jsonl passed in ko" in message
    output = tmp_path / "output"
    assert sorted(path.name for path in output.iterdir()) == ["data_docs.html", "rejects.jsonl", "summary.json"]
    assert len(read_rows(output / "rejects.jsonl")) == 11
    page = (output / "data_docs.html").read_text(encoding="utf-8")
    file = json.loads((output / "summary.json").read_text())["languages"]["ko"]["preferences.jsonl"]
    for name in ("failed", "expected", "excess", "limit"):
        assert f">{file[name]:.1%}</td>" in page


def test_pairs_held_out_are_validated_where_there_are_any(tmp_path):
    made = {code: {name: rows[:4] for name, rows in files.items()} for code, files in corpora(count=8).items()}
    for language, files in made.items():
        files["heldout.jsonl"] = [
            row | {"id": f"h{row['id']}"} for row in corpora(8)[language]["preferences.jsonl"][4:]
        ]
    made["ko"]["heldout.jsonl"][1]["rejected"] = made["ko"]["heldout.jsonl"][1]["chosen"]
    run(made, tmp_path)
    kept = {code: [row["id"] for row in read_rows(tmp_path / "output" / code / "heldout.jsonl")] for code in made}
    assert kept["en"] == kept["es"] == ["hp4", "hp5", "hp6", "hp7"] and kept["ko"] == ["hp4", "hp6", "hp7"]


def test_a_corpus_that_cannot_be_read_is_named(tmp_path):
    made = {"en": corpora(count=2)["en"], "es": corpora(count=2)["es"]}
    del made["es"]["parallel.jsonl"]
    with refused(DataError, tmp_path / "es/parallel.jsonl"):
        run(made, tmp_path)
    (tmp_path / "es" / "corpus.json").write_text('{"language": "en"}')
    write_jsonl(tmp_path / "es" / "parallel.jsonl", made["en"]["parallel.jsonl"])
    folders = {"source": tmp_path / "en", "translations": [tmp_path / "es"], "output": tmp_path / "output"}
    with refused(DataError, "validate.translations", "en, en"):
        validate.run(validate.Config(), **folders)
    (tmp_path / "es" / "corpus.json").unlink()
    with refused(DataError, tmp_path / "es/corpus.json"):
        validate.run(validate.Config(), **folders)


def shards(tmp_path: Path, described: list[dict]) -> list[Path]:
    """The Spanish translation in as many folders, the rows of each file dealt out in order, the folders backwards."""
    folders = []
    for number, said in enumerate(described):
        folder = tmp_path / f"shard{number}"
        for name, rows in corpora(count=8)["es"].items():
            step = len(rows) // len(described)
            write_jsonl(folder / name, rows[number * step : (number + 1) * step])
        (folder / "corpus.json").write_text(json.dumps({"language": "es"} | said))
        folders.insert(0, folder)
    return folders


def english(tmp_path: Path) -> Path:
    for name, rows in corpora(count=8)["en"].items():
        write_jsonl(tmp_path / "en" / name, rows)
    (tmp_path / "en" / "corpus.json").write_text('{"language": "en"}')
    return tmp_path / "en"


def test_shards_are_put_together_in_their_order_and_their_repairs_added(tmp_path):
    made = {"tried": 3, "mended": 2, "untranslated": 1}
    who = {"name": "x-alma", "model": "haoranxu/X-ALMA-13B-Group1"}
    translations = shards(
        tmp_path, [{"shard": [1, 2], "repairs": made, "translator": who}, {"shard": [2.0, 2.0], "repairs": made}]
    )
    source, output = english(tmp_path), tmp_path / "output"
    output.mkdir()
    metrics = validate.run(validate.Config(), source=source, translations=translations, output=output)
    assert metrics["repaired/es"] == 4
    assert read_rows(output / "es" / "preferences.jsonl") == corpora(count=8)["es"]["preferences.jsonl"]
    said = json.loads((output / "summary.json").read_text())["translations"]["es"]
    assert said["repairs"] == {"tried": 6, "mended": 4, "untranslated": 2}
    assert said["shards"] == 2
    assert "haoranxu/X-ALMA-13B-Group1" in (output / "data_docs.html").read_text()


@pytest.mark.parametrize(
    ("described", "place", "value"),
    [
        ([{"shard": [1, 3]}, {"shard": [3, 3]}], "shard 2 of 3", "[3, 3], [1, 3]"),
        ([{"shard": [1, 2]}, {"shard": [1, 2]}], "shard 1 of 2", "[1, 2], [1, 2]"),
        ([{"shard": [1, 2]}, {"shard": [2, 4]}], "shard", "[2, 4], [1, 2]"),
        ([{}, {}], "shard 1 of 1", "[1, 1], [1, 1]"),
    ],
)
def test_a_shard_that_is_missing_or_duplicated_is_named(described, place, value, tmp_path):
    with refused(DataError, f"corpus es: {place}", value):
        validate.run(
            validate.Config(), source=english(tmp_path), translations=shards(tmp_path, described), output=tmp_path
        )


def test_chunks_make_no_difference_and_with_parity_all_languages_keep_the_same(tmp_path, monkeypatch):
    defects = plant(made := corpora())
    (tmp_path / "one").mkdir()
    run(made, tmp_path / "one", max_reject_share=1, parity=True)
    monkeypatch.setattr(corpus_check, "CHUNK_ROWS", 7)
    (tmp_path / "many").mkdir()
    run(made, tmp_path / "many", max_reject_share=1, parity=True)
    for name in ("rejects.jsonl", "summary.json", "es/preferences.jsonl", "ko/benchmark.jsonl"):
        assert (tmp_path / "many" / "output" / name).read_text() == (tmp_path / "one" / "output" / name).read_text()
    for language in SAY:
        ids = [row["id"] for row in read_rows(tmp_path / "one" / "output" / language / "preferences.jsonl")]
        assert ids == [f"p{i}" for i in range(16) if f"p{i}" not in defects] == ["p13", "p15"]


def test_a_translator_can_check_its_own_rows():
    made = corpora(count=4)
    source, rows = made["en"]["prompts.jsonl"], made["es"]["prompts.jsonl"]
    rows[2]["prompt"] = source[2]["prompt"]
    found = suite.failures(rows[1:], source, ("id", "prompt", "split"), "es", "en", Limits())
    failed = {(one.expectation.name, row): value for one in found for row, value in one.failed.items()}
    assert failed.keys() == {("copy", 1), ("untranslated", 1), ("language", 1), ("parity", 3)}
    assert failed["copy", 1] == source[2]["prompt"]


def test_great_expectations_and_lingua_open_late():
    package = Path(xlrm.__file__).parent
    heavy = "{'great_expectations', 'lingua', 'pandas'}"
    code = f"import sys, xlrm.stages.validate; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=package.parent, check=False).returncode == 0
