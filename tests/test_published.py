"""Published tables: transcribed whole, and what they say of one another."""

from collections import Counter

import pytest

from xlrm.reporting import paper_sentences
from xlrm.reporting.published import paper_tables
from xlrm.reporting.published.paper_tables import figure_3, table_1, table_2, tables_3_to_7
from xlrm.store import provenance

LANGUAGES = ("en", "es", "it", "ko", "zh")
SECTIONS = ("Chat", "Chat Hard", "Safety", "Reasoning")


def mean(accuracy: dict[str, float]) -> float:
    return sum(accuracy[name] for name in SECTIONS) / 4


def test_every_average_of_tables_3_to_7_is_the_plain_mean_of_its_sections() -> None:
    cells = tables_3_to_7()
    assert len(cells) == 80
    for cell in cells:
        assert abs(mean(cell.accuracy) - cell.accuracy["average"]) <= 0.075 + 1e-9, cell


def test_tables_3_to_7_are_whole() -> None:
    cells = tables_3_to_7()
    assert Counter(cell.table for cell in cells) == dict.fromkeys(range(3, 8), 16)
    assert {(cell.table, cell.language) for cell in cells} == set(enumerate(LANGUAGES, 3))
    trained = Counter((cell.reward_model, cell.trained_in) for cell in cells)
    bases = ("Llama-3.2-3B", "Qwen2.5-3B", "Qwen2.5-7B")
    assert trained == dict.fromkeys([("ArmoRM-8B", ""), *((one, code) for one in bases for code in LANGUAGES)], 5)


def test_table_1_is_the_matching_rows_of_tables_4_to_7() -> None:
    cells = {(cell.reward_model, cell.language, cell.trained_in): cell.accuracy for cell in tables_3_to_7()}
    compared = 0
    for model, languages in table_1().items():
        for language, rows in languages.items():
            assert rows["target"] == cells[model, language, language]
            assert rows["english"] == cells[model, language, "en"]
            compared += 2
    assert compared == 16


def test_armorm_has_the_same_averages_in_table_2() -> None:
    armo = {cell.language: cell.accuracy["average"] for cell in tables_3_to_7() if cell.reward_model == "ArmoRM-8B"}
    assert table_2()["ArmoRM-8B"]["average"] == armo
    assert [one["kind"] for one in table_2().values()] == ["classifier", "classifier", "generative", "generative"]
    assert all(tuple(one["average"]) == LANGUAGES for one in table_2().values())


def test_figure_3_is_what_the_text_says_of_it() -> None:
    assert {one.language: one.points for one in figure_3()} == {"es": 9.3, "zh": None, "mean": 9.5}
    for one in figure_3():
        assert one.points is None or f"{one.points}%" in one.sentence


def test_a_table_that_changes_makes_another_report() -> None:
    read = {path.relative_to(provenance.PACKAGE).as_posix() for path in provenance.files("xlrm.stages.report")}
    assert {
        f"reporting/published/paper_a_{name}.csv" for name in ("table_1", "table_2", "tables_3_to_7", "figure_3")
    } <= read


@pytest.mark.parametrize("name", ["paper_a_table_1", "paper_a_table_2", "paper_a_tables_3_to_7", "paper_a_figure_3"])
def test_a_published_table_names_its_source(name: str) -> None:
    path = paper_tables.Path(paper_tables.__file__).with_name(f"{name}.csv")
    assert "arXiv:2410.18027" in path.read_text(encoding="utf-8").splitlines()[0]


def test_what_is_said_of_the_papers_tables_follows_from_their_cells() -> None:
    """Computed here from Tables 4 to 7 alone: the page takes Reasoning's share from Table 1."""
    cells = {(c.reward_model, c.language, c.trained_in): c.accuracy for c in paper_tables.tables_3_to_7()}
    targets = ("es", "it", "ko", "zh")
    for model in ("Llama-3.2-3B", "Qwen2.5-3B", "Qwen2.5-7B"):
        apart = [cells[model, on, "en"]["average"] - cells[model, on, on]["average"] for on in targets]
        assert paper_sentences.mean_difference(model) == pytest.approx(sum(apart) / 4)
    assert round(paper_sentences.mean_difference("Qwen2.5-7B"), 2) in (0.42, 0.43)
    for model, share in paper_sentences.reasoning_shares().items():
        points = {
            name: sum(cells[model, on, "en"][name] - cells[model, on, on][name] for on in targets)
            for name in ("Chat", "Chat Hard", "Safety", "Reasoning")
        }
        assert share == pytest.approx(100 * points["Reasoning"] / sum(points.values()), abs=2) and 70 < share < 78
    assert paper_sentences.sizes().endswith("the Spanish one is the best in Spanish, Italian and Chinese.")
