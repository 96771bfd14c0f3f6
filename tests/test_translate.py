"""The translate stage with a served model: documents come back whole, faults are mended, a killed run goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from refusals import refused

from benchmarks.served_translations import Server, serving
from xlrm.data.corpus_schema import Description
from xlrm.errors import ConfigError, DataError, GateError
from xlrm.run.experiment import build
from xlrm.run.steps import steps
from xlrm.stages import translate, validate
from xlrm.stages.translate import Config
from xlrm.store.jsonl import read_rows, write_jsonl

ENGLISH = "The house on the hill is very old and nobody has lived there for {} years."
SPANISH = "La casa de la colina es muy antigua y nadie ha vivido en ella desde hace {} años."
CODE = "```python\nprint('the house')\n```"


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Forty pairs with code in their answers, and a benchmark of ten."""
    folder = tmp_path / "corpus"

    def pair(i: int) -> dict:
        texts = {
            "prompt": ENGLISH.format(i),
            "chosen": f"1. {ENGLISH.format(i + 100)}\n\n{CODE}\n\nUse `f{i}()`: {ENGLISH.format(i + 200)}",
            "rejected": ENGLISH.format(i + 300),
        }
        return {"id": f"p{i}", **texts, "subset": "all", "source": "made"}

    write_jsonl(folder / "preferences.jsonl", map(pair, range(40)))
    write_jsonl(folder / "benchmark.jsonl", ({**pair(i), "id": f"b{i}", "section": "all"} for i in range(40, 50)))
    Description(language="en").write(folder)
    return folder


def spanish(text: str) -> str:
    """The made text in Spanish, its number and whatever stands around it kept."""
    before, _, rest = text.partition("The house")
    number = rest.split(" for ")[1].split(" years")[0]
    return f"{before.replace('Use', 'Usa')}{SPANISH.format(number)}"


def run(server: Server, monkeypatch, corpus: Path, output: Path, **fields) -> dict[str, float]:
    monkeypatch.setenv("OPENAI_BASE_URL", server.address)
    output.mkdir(exist_ok=True)
    config = Config(language="es", translator="served", engine="endpoint", **fields)
    return translate.run(config, corpus=corpus, output=output)


def test_documents_come_back_in_the_language_and_in_their_form(monkeypatch, corpus, tmp_path) -> None:
    with serving(lambda text, _: (spanish(text), "stop")) as server:
        metrics = run(server, monkeypatch, corpus, tmp_path / "es")
    source, found = (read_rows(folder / "preferences.jsonl") for folder in (corpus, tmp_path / "es"))
    assert [row["id"] for row in found] == [row["id"] for row in source]
    assert found[3] == source[3] | {
        "prompt": SPANISH.format(3),
        "chosen": f"1. {SPANISH.format(103)}\n\n{CODE}\n\nUsa `f3()`: {SPANISH.format(203)}",
        "rejected": SPANISH.format(303),
    }
    assert len(read_rows(tmp_path / "es" / "benchmark.jsonl")) == 10
    assert metrics["segments"] == metrics["segments_made"] == len(server.asked) == 200
    assert metrics["repairs_tried"] == metrics["untranslated"] == 0
    assert all(request["temperature"] == 0 for request in server.requests), "greedy"


@pytest.mark.parametrize("printed", ["print('the house')", "imprimir('la casa')"], ids=["kept", "changed"])
def test_code_is_sent_and_taken_as_it_comes_if_it_is_to_be_translated(printed, monkeypatch, corpus, tmp_path) -> None:
    """The numbers are those of the estimate too; what was translated before with `keep` is not asked again."""
    asked = build(
        {"name": "x", "source": "en", "targets": ["es"], "base": {"model": "a/b"}, "translate": {"translator": "served",
         "engine": "endpoint", "code": "translate"}, "curate": {"preferences": ["phrasebook"], "benchmark": "phrasebook"}},
        {}, "x.yaml",
    )  # fmt: skip
    wired = steps("cross-lingual-transfer", asked)

    def answer(text: str, _: dict) -> tuple[str, str]:
        code = {"print('the house')": printed, "```python": "```python", "```": "```"}
        return code.get(text) or spanish(text), "stop"

    with serving(answer) as server:
        run(server, monkeypatch, corpus, tmp_path / "keep")
        assert not any("print" in text for text in server.asked)
        server.asked.clear()
        fields = {name: wired["translate-es"].config[name] for name in ("code", "limits")}
        metrics = run(server, monkeypatch, corpus, tmp_path / "es", **fields)
    assert {"```python", "print('the house')"} <= server.asked.keys()
    assert metrics["segments"] == metrics["segments_known"] + metrics["segments_made"]
    assert sum(server.asked.values()) == metrics["segments_made"]
    assert metrics["repairs_tried"] == metrics["untranslated"] == 0
    chosen = f"1. {SPANISH.format(103)}\n\n```python\n{printed}\n```\n\nUsa `f3()`: {SPANISH.format(203)}"
    assert read_rows(tmp_path / "es" / "preferences.jsonl")[3]["chosen"] == chosen
    config = validate.Config(**wired["validate"].config)
    validate.run(config, source=corpus, translations=[tmp_path / "es"], output=tmp_path / "checked")
    assert len(read_rows(tmp_path / "checked" / "es" / "preferences.jsonl")) == 40


def test_what_was_translated_before_is_not_asked_again(monkeypatch, corpus, tmp_path) -> None:
    with serving(lambda text, _: (spanish(text), "stop")) as server:
        run(server, monkeypatch, corpus, tmp_path / "first")
        server.asked.clear()
        metrics = run(server, monkeypatch, corpus, tmp_path / "again")
        assert not server.asked and metrics["segments_known"] == 200
        added = read_rows(corpus / "preferences.jsonl")
        added.append(added[0] | {"id": "new", "prompt": ENGLISH.format(999)})
        write_jsonl(corpus / "preferences.jsonl", added)
        run(server, monkeypatch, corpus, tmp_path / "added")
    assert dict(server.asked) == {ENGLISH.format(999): 1}
    assert (tmp_path / "first" / "benchmark.jsonl").read_bytes() == (
        tmp_path / "added" / "benchmark.jsonl"
    ).read_bytes()


def test_shards_make_the_whole_in_order(monkeypatch, corpus, tmp_path) -> None:
    with serving(lambda text, _: (spanish(text), "stop")) as server:
        run(server, monkeypatch, corpus, tmp_path / "whole")
        for n in (3, 1, 2):
            run(server, monkeypatch, corpus, tmp_path / f"part{n}", shard=f"{n}/3")
    for name in ("preferences.jsonl", "benchmark.jsonl"):
        together = b"".join((tmp_path / f"part{n}" / name).read_bytes() for n in (1, 2, 3))
        assert together == (tmp_path / "whole" / name).read_bytes()
    assert json.loads((tmp_path / "part2" / "corpus.json").read_text())["shard"] == [2, 3]


def loops(text: str) -> tuple[str, str]:
    return "casa " * 60, "length"


def loses_a_marker(text: str) -> tuple[str, str]:
    return spanish(text).replace("[[0]]", "código"), "stop"


def stays_english(text: str) -> tuple[str, str]:
    return text, "stop"


def stops_halfway(text: str) -> tuple[str, str]:
    return spanish(text)[: len(spanish(text)) // 2], "stop"


def changes_the_number(text: str) -> tuple[str, str]:
    return spanish(text).replace("10", "77"), "stop"


def first_time(fault: Callable[[str], tuple[str, str]], number: int) -> Callable[[str, dict], tuple[str, str]]:
    """The fault in the greedy answer about `number`, none when asked otherwise."""

    def answer(text: str, request: dict) -> tuple[str, str]:
        wrong = f" {number} years" in text and request["temperature"] == 0
        return fault(text) if wrong else (spanish(text), "stop")

    return answer


@pytest.mark.parametrize("fault", [loops, loses_a_marker, stays_english, stops_halfway, changes_the_number])
def test_a_fault_is_mended_by_another_way_to_decode(fault, monkeypatch, corpus, tmp_path) -> None:
    with serving(lambda text, _: (spanish(text), "stop")) as server:
        run(server, monkeypatch, corpus, tmp_path / "right")
    number = 210  # in an answer with code, after a marker
    with serving(first_time(fault, number)) as server:
        metrics = run(server, monkeypatch, corpus, tmp_path / "mended", revisions={"served": fault.__name__})
    assert (metrics["repairs_tried"], metrics["repairs_mended"], metrics["untranslated"]) == (1, 1, 0)
    for name in ("preferences.jsonl", "benchmark.jsonl"):
        assert (tmp_path / "mended" / name).read_bytes() == (tmp_path / "right" / name).read_bytes()
    assert json.loads((tmp_path / "mended" / "corpus.json").read_text())["repairs"]["mended"] == 1


def test_a_model_that_never_keeps_markers_is_given_the_pieces_between(monkeypatch, corpus, tmp_path) -> None:
    def answer(text: str, _: dict) -> tuple[str, str]:
        if text == "Use":
            return "Usa", "stop"
        return spanish(text).replace("[[0]]", ""), "stop"

    with serving(answer) as server:
        metrics = run(server, monkeypatch, corpus, tmp_path / "es", max_repair_share=1.0)
    assert metrics["untranslated"] == 0
    assert read_rows(tmp_path / "es" / "preferences.jsonl")[3]["chosen"] == (
        f"1. {SPANISH.format(103)}\n\n{CODE}\n\nUsa `f3()`: {SPANISH.format(203)}"
    )


def test_what_stays_wrong_is_not_taken_for_mended(monkeypatch, tmp_path) -> None:
    """Held to what 300 other texts fit, though it is looked at alone the second time."""
    folder = tmp_path / "corpus"
    write_jsonl(
        folder / "prompts.jsonl",
        (
            {"id": f"q{i}", "prompt": "\n".join(ENGLISH.format(i + line) for line in (0, 1000, 2000)), "split": "train"}
            for i in range(300)
        ),
    )
    Description(language="en").write(folder)

    def answer(text: str, _: dict) -> tuple[str, str]:
        number = int(text.split(" for ")[1].split()[0])
        return ("La casa " + spanish(text) * 2 if number % 1000 == 7 else spanish(text)), "stop"

    with serving(answer) as server:
        metrics = run(server, monkeypatch, folder, tmp_path / "es")
    assert (metrics["repairs_tried"], metrics["repairs_mended"]) == (1, 0)


def test_what_never_comes_whole_is_left_blank_and_listed(monkeypatch, corpus, tmp_path) -> None:
    def answer(text: str, _: dict) -> tuple[str, str]:
        return loops(text) if " 7 years" in text else (spanish(text), "stop")

    with serving(answer) as server:
        metrics = run(server, monkeypatch, corpus, tmp_path / "es")
    assert metrics["untranslated"] == 1 and metrics["repairs_mended"] == 0
    assert read_rows(tmp_path / "es" / "preferences.jsonl")[7]["prompt"] == ""
    assert read_rows(tmp_path / "es" / "untranslated.jsonl") == [
        {"file": "preferences.jsonl", "id": "p7", "column": "prompt"}
    ]


def test_a_translator_that_is_mostly_wrong_stops_the_stage(monkeypatch, corpus, tmp_path) -> None:
    refusal = refused(GateError, "translate.max_repair_share", 0.3)
    with serving(lambda text, _: (text, "stop")) as server, refusal as raised:
        run(server, monkeypatch, corpus, tmp_path / "es")
    assert "120 of the first 120" in raised.value.message
    assert not (tmp_path / "es" / "preferences.jsonl").exists()
    assert all(request["temperature"] == 0 for request in server.requests), "nothing was tried again"


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_shard_that_is_none(shard: str) -> None:
    with pytest.raises(ValueError, match="NUMBER/OF"):
        Config(language="es", translator="phrasebook", shard=shard)


def test_languages_that_cannot_be(corpus, tmp_path) -> None:
    with refused(ConfigError, "translate.language", "xx"):
        translate.run(Config(language="xx", translator="phrasebook"), corpus=corpus, output=tmp_path)
    (corpus / "corpus.json").unlink()
    with refused(DataError, corpus / "corpus.json"):
        translate.run(Config(language="es", translator="phrasebook"), corpus=corpus, output=tmp_path)


def test_a_killed_run_translates_the_rest() -> None:
    from benchmarks.resume import measure

    found = measure(rows=120, share=0.5)
    assert found["asked before"] >= 0.4 * found["segments"]
    assert found["asked after"] <= found["segments"] - found["asked before"] + found["under way"]
    assert found["asked after"] > 0 and found["same as in one go"]
