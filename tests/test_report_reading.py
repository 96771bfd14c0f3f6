"""The page can be read by everyone: contrast, colour as no one's only hint, keyboard, narrow screens, dark mode and paper."""

import math
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from report_inputs import section

LEAST = 4.5
"""Contrast of text that WCAG 2.2, 1.4.3, asks for."""
VOID = {"meta", "br", "input", "img", "hr", "link", "col", "path", "rect", "use", "line", "circle"}


def palettes(page: str) -> dict[str, dict[str, str]]:
    """light and dark -> variable of the style sheet -> its hexadecimal colour."""
    style = page[page.index("<style>") : page.index("</style>")]
    roots = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    light, dark, paper = (dict(re.findall(r"--([\w-]+): (#?[\w.%]+)", root)) for root in roots)
    return {"light": light, "dark": light | dark, "paper": light | paper}


def linear(colour: str) -> tuple[float, float, float]:
    digits = colour.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return red, green, blue


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """WCAG's contrast ratio of two linear colours."""
    lights = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def mixed(one: str, other: str, share: float) -> tuple[float, float, float]:
    """CSS's color-mix(in oklab, one share, other), by the matrices of Ottosson 2020."""
    labs = []
    for r, g, b in (linear(one), linear(other)):
        cones = (
            0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b, 0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b,
            0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b,
        )  # fmt: skip
        long, medium, short = (math.cbrt(cone) for cone in cones)
        labs.append((
            0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
            1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
            0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
        ))  # fmt: skip
    light, a, b = (share * first + (1 - share) * second for first, second in zip(*labs, strict=True))
    long, medium, short = (
        (light + 0.3963377774 * a + 0.2158037573 * b) ** 3, (light - 0.1055613458 * a - 0.0638541728 * b) ** 3,
        (light - 0.0894841775 * a - 1.2914855480 * b) ** 3,
    )  # fmt: skip
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def test_colours_mix_as_in_a_browser() -> None:
    """Half black and half white in oklab is #636363 (CSS Color 5's color-mix)."""
    assert mixed("#000000", "#ffffff", 0.5) == pytest.approx(linear("#636363"), abs=2e-3)
    assert contrast(linear("#777"), linear("#fff")) == pytest.approx(4.48, abs=0.01), "by WebAIM's checker"


@pytest.mark.parametrize("mode", ["light", "dark", "paper"])
def test_text_has_contrast(whole, mode) -> None:
    colours = palettes(whole[2])[mode]
    texts = ("ink", "soft", "source", "target", "right", "wrong")
    for text in texts:
        for ground in ("back", "panel"):
            assert contrast(linear(colours[text]), linear(colours[ground])) >= LEAST, (text, ground)
    assert contrast(linear(colours["note-ink"]), linear(colours["note"])) >= LEAST
    strongest = float(colours["cap"].rstrip("%"))
    for tone in ("right", "wrong"):
        for share in (strongest, strongest / 2):
            ground = mixed(colours[tone], colours["panel"], share)
            assert contrast(linear(colours["ink"]), ground) >= LEAST, (tone, share)


class Tree(HTMLParser):
    """Elements in their order: (name, attributes, text, names and attributes of those around it)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict, list[str]]] = []
        self.found: list[tuple[str, dict, list[str], list[tuple[str, dict]]]] = []
        self.feed(page)

    def handle_starttag(self, name: str, attributes: list) -> None:
        texts: list[str] = []
        self.found.append((name, dict(attributes), texts, [(outer, given) for outer, given, _ in self.open]))
        if name not in VOID:
            self.open.append((name, dict(attributes), texts))

    def handle_startendtag(self, name: str, attributes: list) -> None:
        self.found.append((name, dict(attributes), [], [(outer, given) for outer, given, _ in self.open]))

    def handle_endtag(self, name: str) -> None:
        if name not in VOID:
            opened = self.open.pop()
            assert opened[0] == name, f"</{name}> closes <{opened[0]}>"

    def handle_data(self, data: str) -> None:
        for _, _, texts in self.open:
            texts.append(data)

    def found_with(self, attribute: str) -> list[tuple[str, dict, list[str], list[tuple[str, dict]]]]:
        return [element for element in self.found if attribute in element[1]]

    def all(self, *names: str) -> list[tuple[str, dict, str, list[tuple[str, dict]]]]:
        return [
            (name, given, " ".join("".join(texts).split()), outer)
            for name, given, texts, outer in self.found
            if name in names
        ]


@pytest.fixture(scope="module")
def tree(whole) -> Tree:
    return Tree(whole[2])


def test_no_cell_means_something_by_its_colour_alone(tree) -> None:
    cells = [
        (given, text) for _, given, text, _ in tree.all("td") if {"heat", "sub"} & set(given.get("class", "").split())
    ]
    filled = [text for given, text in cells if "--p" in given.get("style", "")]
    assert len(filled) > 20 and all(re.match(r"\d+", text) for text in filled)
    marked = [
        text for _, given, text, _ in tree.all("td") if set(given.get("class", "").split()) & {"accepted", "refused"}
    ]
    assert all(re.match("accepted|refused|better|worse|not better", text) for text in marked)
    verdicts = [text for _, given, text, _ in tree.all("span") if "verdict" in given.get("class", "").split()]
    assert len(verdicts) == 20 and all(
        re.fullmatch("[✓✗?–] (yes|no|not decided|not measured)", text) for text in verdicts
    )
    signed = [
        text for _, given, text, outer in tree.all("td") if {"source", "target"} & set(given.get("class", "").split())
    ]
    assert signed and all(re.match("[+\u2212]?[0-9]|.* RM", text) for text in signed), (
        "a sign or a name beside the colour"
    )


def test_bars_differ_by_pattern_and_swatches_by_the_same(whole) -> None:
    page = whole[2]
    figure = page[page.index('id="wins"') :]
    figure = figure[figure.index("<svg") : figure.index("</svg>")]
    drawn = r'clip-path="[^"]*" style="fill: (url\(#\w+\)|var\(--\w+\)); stroke: var\(--(base|source|target)\)'
    fills = re.findall(drawn, figure)
    assert {kind: {fill.startswith("url") for fill, role in fills if role == kind} for kind in ("base", "source", "target")} == {
        "base": {False}, "source": {True}, "target": {True},
    }  # fmt: skip
    assert len({fill for fill, role in fills if role != "base"}) == 2, "two patterns"
    for kind in ("base", "source", "target"):
        assert f'class="swatch bar-{kind}"' in page and f".bar-{kind} {{" in page


def test_headings_are_in_order_and_the_page_names_its_language(tree) -> None:
    levels = [int(name[1]) for name, *_ in tree.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert tree.all("html")[0][1]["lang"] == "en"
    texts = [given for _, given, _, _ in tree.all("p") if "text" in given.get("class", "").split()]
    assert all(given.get("lang") for given in texts), "texts of other languages name theirs"


def test_every_figure_has_a_name(tree) -> None:
    figures = tree.all("svg")
    assert len(figures) > 10
    assert all(given["role"] == "img" and len(given["aria-label"]) > 5 for _, given, _, _ in figures)
    assert all(given["viewbox"] for _, given, _, _ in figures)
    inside = [outer for _, _, _, outer in figures if "figure" in [name for name, _ in outer]]
    assert len(tree.all("figcaption")) == len(tree.all("figure")) == len(inside)


def test_a_keyboard_reaches_everything(whole, tree) -> None:
    first = tree.all("a")[0]
    assert first[1] == {"class": "skip", "href": "#results"}
    assert [given["id"] for _, given, _, _ in tree.all("main")] == ["results"]
    regions = [given for _, given, _, _ in tree.all("div") if "scroll" in given.get("class", "").split()]
    assert regions
    for given in regions:
        assert given["tabindex"] == "0" and given["role"] == "region" and given["aria-label"]
    assert all(
        any("scroll" in given.get("class", "").split() for _, given in outer) for _, _, _, outer in tree.all("table")
    )
    assert all(int(given["tabindex"]) <= 0 for _, given, _, _ in tree.found_with("tabindex")), "the order of the page"
    assert ":focus-visible" in whole[2] and "outline: 0" not in whole[2]
    for _, _, _, outer in tree.all("a"):
        assert "summary" not in [name for name, _ in outer], "a control within a control"
    kinds = [given["scope"] for _, given, _, _ in tree.all("th")]
    assert set(kinds) <= {"col", "row", "colgroup", "rowgroup"}


def test_every_link_leads_somewhere_and_every_section_to_its_artifacts(whole, tree) -> None:
    ids = {given["id"] for _, given, _, _ in tree.found_with("id")}
    targets = [given["href"] for _, given, _, _ in tree.all("a") if given["href"].startswith("#")]
    assert {target[1:] for target in targets} <= ids
    numbered = {}
    for _, given, _, outer in tree.all("a"):
        place = next((attributes["id"] for name, attributes in outer if name == "section"), "")
        numbered.setdefault(place, []).append(given["href"])
    for place in ("matrix", "table", "models", "representations", "wins", "validation", "external", "rewards"):
        assert any(re.fullmatch(r"#artifact-\d+", target) for target in numbered[place]), place
    assert all(re.search(r"id=\"artifact-\d+\"", row) and "s3://" in row for row in rows_of(whole[2], "artifacts"))


def rows_of(page: str, name: str) -> list[str]:
    found = page[page.index(f'<details id="{name}"') :]
    return re.findall(r"<tr id.*?</tr>", found[: found.index("</details>")], re.DOTALL)


def test_a_number_s_link_names_the_artifact_it_is_from(whole) -> None:
    """The Korean model's row leads to the evaluation of the Korean model."""
    page, uris = whole[2], list(whole[0]["lineage"])
    number = uris.index("s3://key:secret@store/xlrm/evaluate/ko") + 1
    row = re.search(r"<tr><th[^>]*>Korean (<a.*?</a>)", page[page.index('id="matrix"') :]).group(1)
    assert f'href="#artifact-{number}"' in row and f'title="artifact {number}: evaluate ko"' in row
    judge = uris.index("s3://key:secret@store/xlrm/judge/es") + 1
    assert f"#artifact-{judge}" in page[page.index('id="wins"') :]
    assert f"#{number}" in section(page, "matrix")


def test_the_page_adapts_to_dark_mode_narrow_screens_and_paper(whole) -> None:
    page = whole[2]
    style = page[page.index("<style>") : page.index("</style>")]
    for query in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print", "prefers-reduced-motion"):
        assert query in style
    assert 'name="viewport" content="width=device-width' in page and "color-scheme: light dark" in style
    figures = "".join(re.findall("<svg.*?</svg>", page, re.DOTALL))
    assert not re.search(r"(fill|stroke): #", figures) and "var(--ink)" in figures, "colours of the style sheet alone"
    assert len(page) < 1_000_000
