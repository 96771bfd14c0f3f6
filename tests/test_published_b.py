"""The tables of Wu et al. 2024: transcribed whole."""

import re
from pathlib import Path

import pytest

from xlrm.reporting.published import paper_b

LANGUAGES = ("de", "en", "es", "ru", "tr", "vi")
DIALOG = ("en", "es", "ru")
PUBLISHED = Path(paper_b.__file__).parent


def printed(shared: Path, table: int) -> list[list[str]]:
    """Numbers of a table's lines in the paper's text, which stand before its caption."""
    path = shared.parent / "papers" / "paper_b_wu2024.txt"
    if not path.is_file():
        pytest.skip("the paper's text is not there")
    lines = path.read_text(encoding="utf-8").splitlines()
    captions = {int(match[1]): at for at, line in enumerate(lines) if (match := re.match(r"Table (\d+): ", line))}
    begin = captions.get(table - 1, captions[1] - 15)
    heads = [at for at in range(begin, captions[table]) if re.search(r"(Tgt|Lg\.) (De|En) ", lines[at])]
    begin = heads[0] if heads else begin  # the axes of a figure stand before Table 6
    rows = [
        re.search(r"(?:(?<= )|^)((?:[\d.]+%?|–)(?: (?:[\d.]+%?|–))+)$", line) for line in lines[begin : captions[table]]
    ]
    return [row[1].replace("%", "").split() for row in rows if row]


@pytest.mark.parametrize("table", range(5, 26))
def test_every_number_is_the_papers(shared_data: Path, table: int) -> None:
    rows = [
        line.split(",") for line in (PUBLISHED / "paper_b_tables_5_to_25.csv").read_text(encoding="utf-8").splitlines()
    ]
    ours = [[cell for cell in row[2:] if cell] for row in rows if row[0] == str(table)]
    assert ours == [[cell for cell in row if cell != "–"] for row in printed(shared_data, table)]
    assert all(len(row) >= 2 for row in ours) and len(ours) >= 2


@pytest.mark.parametrize("table", range(1, 5))
def test_every_count_is_the_papers(shared_data: Path, table: int) -> None:
    rows = [
        line.split(",") for line in (PUBLISHED / "paper_b_tables_1_to_4.csv").read_text(encoding="utf-8").splitlines()
    ]
    assert [row[3:] for row in rows if row[0] == str(table)] == printed(shared_data, table)


def test_matrices_have_the_printed_rows_and_columns() -> None:
    for table in (6, 8, 10, 12, 18, 20):
        assert {source: tuple(row) for source, row in paper_b.matrix(table).items()} == dict.fromkeys(
            LANGUAGES, LANGUAGES
        )
    for table in (7, 9, 11, 13, 19):
        assert {source: tuple(row) for source, row in paper_b.matrix(table).items()} == dict.fromkeys(DIALOG, DIALOG)
    for table in (14, 15):
        assert {source: tuple(row) for source, row in paper_b.matrix(table).items()} == dict.fromkeys(
            LANGUAGES, ("en", "es")
        )
    assert paper_b.matrix(16) == {"en": {"en": 67.6, "es": 52.0}, "es": {"en": 71.4, "es": 56.4}}
    for source, row in paper_b.matrix(17).items():
        assert set(row) == set(LANGUAGES) - {source}
    assert list(paper_b.matrix(25)) == ["de", "en", "de+en"]
    assert {each.number for each in paper_b.MATRICES} == {*range(6, 21), 25}
    with pytest.raises(KeyError):
        paper_b.matrix(21)


def test_baselines_are_rows_of_their_own() -> None:
    assert paper_b.majority() == {"de": 52.9, "en": 59.5, "es": 63.1, "ru": 55.1, "tr": 56.2, "vi": 67.9}
    assert paper_b.length(18)["tr"] == 55.2 and paper_b.length(19) == {"en": 66.1, "es": 68.1, "ru": 71.1}


def test_single_cells_stand_where_the_paper_prints_them() -> None:
    """Read off the paper by eye."""
    cells = {
        (6, "vi", "de"): 46.5, (7, "es", "ru"): 57.6, (8, "vi", "es"): 65.2, (9, "ru", "en"): 51.2, (10, "tr", "ru"): 69.5,
        (11, "en", "ru"): 60.6, (12, "de", "vi"): 62.4, (13, "es", "ru"): 52.5, (14, "es", "es"): 69.0, (15, "vi", "en"): 66.2,
        (17, "vi", "de"): 42.0, (18, "tr", "tr"): 73.2, (19, "es", "ru"): 77.0, (20, "vi", "vi"): 4.37, (25, "de+en", "vi"): 64.1,
    }  # fmt: skip
    for (table, source, target), value in cells.items():
        assert paper_b.matrix(table)[source][target] == value


def test_tables_that_repeat_cells_agree() -> None:
    best_of_n, rl = paper_b.matrix(6), paper_b.matrix(8)
    assert {name: paper_b.matrix(25)[name] for name in ("de", "en")} == {name: best_of_n[name] for name in ("de", "en")}
    others = [code for code in LANGUAGES if code != "en"]
    for table, cells in ((22, best_of_n), (24, rl)):
        assert paper_b.translated_sft(table)["organic lg>en"] == {code: cells[code]["en"] for code in others}
        assert paper_b.translated_sft(table)["organic en>lg"] == {code: cells["en"][code] for code in others}
    assert {code: each.comparisons for code, each in paper_b.judge_accuracy()["dialog"].items()} == {
        code: count.validation for code, count in paper_b.counts_dialog_sft().items()
    }


def test_means_that_the_paper_states() -> None:
    for table, stated in ((6, 58.8), (17, 57.5)):
        cells = [
            value for source, row in paper_b.matrix(table).items() for target, value in row.items() if source != target
        ]
        assert len(cells) == 30 and round(sum(cells) / 30, 1) == stated


def test_rows_of_translated_sft() -> None:
    rows = ["translated lg>en", "translated en>lg", "back-translated en>lg>en", "back-translated lg>en>lg"]
    assert list(paper_b.sft_rouge()) == ["organic", *rows]
    assert paper_b.sft_rouge()["organic"]["en"] == 38.9 and "en" not in paper_b.sft_rouge()["translated en>lg"]
    for table in (22, 23, 24):
        assert list(paper_b.translated_sft(table)) == ["organic lg>en", "organic en>lg", *rows]
    assert paper_b.translated_sft(22)["translated en>lg"]["de"] == 14.4
    assert paper_b.translated_sft(23)["back-translated lg>en>lg"]["vi"] == 61.4
    assert paper_b.translated_sft(24)["translated lg>en"]["vi"] == 19.2


def test_counts() -> None:
    count = paper_b.Count
    assert {language: list(sets) for language, sets in paper_b.counts_sft().items()} == {
        "de": ["MLSum", "WikiLingua"], "en": ["XSum", "XL-Sum", "WikiLingua"], "es": ["XL-Sum", "MLSum", "WikiLingua"],
        "ru": ["XL-Sum", "WikiLingua"], "tr": ["XL-Sum", "WikiLingua"], "vi": ["XL-Sum", "WikiLingua"],
    }  # fmt: skip
    assert paper_b.counts_sft()["tr"]["WikiLingua"] == count(3148, 194)
    assert sum(each.train for each in paper_b.counts_rewards().values()) == 54539
    assert paper_b.counts_rewards()["en"] == count(14031, 2071)
    assert paper_b.counts_dialog_sft()["ru"] == count(1884, 99)
    assert paper_b.counts_dialog_rewards()["en"] == count(22076, 1026)


def test_judge_accuracy() -> None:
    assert paper_b.judge_accuracy()["summarization"]["vi"] == paper_b.JudgeAccuracy(78.2, 349)
    assert list(paper_b.judge_accuracy()["dialog"]) == list(DIALOG)


def test_figure_6_ranks_every_source() -> None:
    for table in (6, 8):
        for target in LANGUAGES:
            assert sorted(row[target] for row in paper_b.figure_6(table).values()) == [1, 2, 3, 4, 5, 6]
    assert paper_b.figure_6(6)["tr"] == {"de": 2, "en": 2, "es": 3, "ru": 3, "tr": 5, "vi": 3}
    assert paper_b.figure_6(9)["es"] == {"en": 3, "es": 3, "ru": 3}


@pytest.mark.parametrize("name", ["tables_1_to_4", "tables_5_to_25", "figure_6"])
def test_a_published_table_names_its_source(name: str) -> None:
    assert "arXiv:2404.12318" in (PUBLISHED / f"paper_b_{name}.csv").read_text(encoding="utf-8").splitlines()[0]
