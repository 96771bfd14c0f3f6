"""The paper's tables and figures as tables of a run's numbers beside the published ones, for Markdown and LaTeX."""

from collections.abc import Iterator

from xlrm.analysis.hidden_states import BASE
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.results import Estimate, Evaluation
from xlrm.reporting import alignment_sentences, claims, lineage, sentences
from xlrm.reporting.documents import Cell, Document, Grid
from xlrm.reporting.material import Material
from xlrm.reporting.published.paper_tables import table_1, table_2
from xlrm.reporting.results import (
    SECTIONS,
    JudgedSystem,
    language_name,
    model_name,
    paper_cells,
    paper_delta,
    sections,
    system_name,
    tested,
)
from xlrm.reporting.tables import Table
from xlrm.reporting.wording import p_value, percent, percent_range, points, points_range, share, shown, signed

_PAPER = (*SECTIONS, AVERAGE)


def document(material: Material, title: str) -> Document:
    """The whole report in tables, with the sentences of the page's first lines."""
    grids = [
        *_claims(material), *_table_1(material), *_table_2(material), *_tables_3_to_7(material), *_figure_1(material),
        *_figure_2(material), *_figure_3(material), *_agreement(material), *_responses(material), *_artifacts(material),
    ]  # fmt: skip
    notes = ["Accuracies and win rates in %, differences in points, each with its 95 % interval; #: artifact."]
    if material.source == "en":
        notes.append("The paper: Hong et al. 2025, arXiv:2410.18027; its models and its test items are others.")
    return Document(title, lead(material), grids, Table((), []), notes=[*notes, *material.left_out()])


def lead(material: Material) -> list[str]:
    """The findings, a sentence each."""
    findings = [
        " · ".join(sentences.about(material.facts)),
        sentences.headline(material.evaluations, material.comparisons, material.mean, material.facts),
        alignment_sentences.answer(material.alignment, material.source) if material.alignment else "",
        claims.summary(claims.test(material)),
    ]
    return [sentence for sentence in findings if sentence]


def _claims(material: Material) -> Iterator[Grid]:
    rows = [
        [
            Cell(tested_claim.claim.sentence, f"({tested_claim.claim.where})"),
            *map(Cell, (tested_claim.outcome.verdict, tested_claim.outcome.measured, tested_claim.paper)),
        ]
        for tested_claim in claims.test(material)
    ]
    if rows:
        yield Grid("The paper's claims", ("claim", "holds here", "this run", "the paper's own tables"), rows, labels=4)


def _table_1(material: Material) -> Iterator[Grid]:
    parts = [*sections(material.evaluations), AVERAGE]
    paper = table_1() if material.source == "en" else {}
    rows = []
    for comparison in material.comparisons:
        on = comparison.language
        for name, evaluation in (
            ("target", comparison.own),
            ("English" if paper else material.source, comparison.source),
        ):
            rows.append([Cell(language_name(on)), Cell(name), *_accuracies(evaluation, on, parts)])
        deltas = [comparison.deltas.get(part) for part in parts]
        cells = [Cell(points(delta.value), f"[{points_range(delta, 0)}]") if delta else Cell("–") for delta in deltas]
        rows.append([Cell(language_name(on)), Cell("difference"), *cells])
        cells = [Cell(p_value(delta.p)) if delta else Cell("–") for delta in deltas]
        rows.append([Cell(language_name(on)), Cell("adjusted (Holm)"), *cells])
        for model in paper:
            published = [paper_delta(model, on, part) if part in _PAPER else None for part in parts]
            if any(value is not None for value in published):
                cells = [Cell("–" if value is None else signed(value)) for value in published]
                rows.append([Cell(language_name(on)), Cell(f"difference, the paper's {model}"), *cells])
    if rows:
        note = _from(material, "evaluate")
        yield Grid(
            _named("Table 1", "the source's reward model and each language's own", material),
            ("tested in", "reward model", *parts),
            rows,
            2,
            note,
        )


def _table_2(material: Material) -> Iterator[Grid]:
    languages = list(tested(material.evaluations)) or list(
        dict.fromkeys(c for m in material.external for c in m.averages)
    )
    rows = [
        [Cell(model.name), Cell(model.kind), *(_cell(model.averages.get(on)) for on in languages)]
        for model in material.external
    ]
    if not rows:
        return
    for name, row in table_2().items() if material.source == "en" else ():
        values = [Cell(f"{row['average'][on]:.1f}" if on in row["average"] else "–") for on in languages]
        rows.append([Cell(f"{name}, the paper's"), Cell(row["kind"]), *values])
    columns = ("model", "kind", *map(language_name, languages))
    yield Grid(
        _named("Table 2", "reward models from elsewhere", material), columns, rows, 2, _from(material, "external")
    )


def _tables_3_to_7(material: Material) -> Iterator[Grid]:
    parts = [*sections(material.evaluations), AVERAGE]
    numbers = {"en": 3, "es": 4, "it": 5, "ko": 6, "zh": 7}
    for on in tested(material.evaluations):
        rows = []
        for evaluation in material.evaluations:
            if evaluation.accuracy(on):
                name = language_name(evaluation.language)
                rows.append([Cell(name), Cell("this run"), *_accuracies(evaluation, on, parts)])
                for base, cell in (paper_cells(on, evaluation.language) if material.source == "en" else {}).items():
                    values = [Cell(f"{cell.accuracy[part]:.1f}" if part in cell.accuracy else "–") for part in parts]
                    rows.append([Cell(name), Cell(f"the paper's {base}"), *values])
        number = f"Table {numbers[on]}" if on in numbers else "Test"
        title = _named(number, f"accuracy in {language_name(on)}", material)
        yield Grid(title, ("trained in", "models", *parts), rows, 2, _from(material, "evaluate"))


def _figure_1(material: Material) -> Iterator[Grid]:
    representations = material.representations
    if not representations:
        return
    base = representations.models[BASE].mean
    rows = [
        [
            Cell(model_name(name)), Cell(f"{similarity.mean:.3f}", "[{:.3f}–{:.3f}]".format(*similarity.interval)),
            Cell("–" if name == BASE else signed(similarity.mean - base, 3)), Cell(signed(similarity.mean_cosine, 3)),
        ]
        for name, similarity in representations.models.items()
    ]  # fmt: skip
    title = _named("Figure 1", "share f of the largest singular value", material)
    yield Grid(title, ("model", "f", "minus base", "mean cosine"), rows, 1, _from(material, "represent"))


def _figure_2(material: Material) -> Iterator[Grid]:
    models = material.representations.embedding_norms if material.representations else {}
    rows = []
    for name, norms_of in models.items():
        for language, norms in norms_of.norms.items():
            away = norms_of.distances.get(language)
            values = ("–",) * 2 if away is None else (f"{away.wasserstein:.4f}", f"{away.ks:.2f}")
            rows.append(
                [Cell(model_name(name)), Cell(language_name(language)), Cell(str(len(norms))), *map(Cell, values)]
            )
    if rows:
        columns = ("model", "language", "tokens", "Wasserstein-1", "Kolmogorov–Smirnov")
        title = _named("Figure 2", "norms of token embeddings, distances from the source's", material)
        yield Grid(title, columns, rows, 2, _from(material, "represent"))


def _figure_3(material: Material) -> Iterator[Grid]:
    systems = material.judged
    if not systems or not material.alignment:
        return
    rows = [[Cell(language_name(entry.language)), Cell(system_name(entry.system)), *_rate(entry)] for entry in systems]
    title = _named("Figure 3", f"win rates against {alignment_sentences.reference(systems)}", material)
    columns = ("language", "policy", "win rate", "standard error", "draws", "unreadable", "characters")
    yield Grid(title, columns, rows, 2, _from(material, "judge"))
    differences = [
        [Cell(language_name(results.language)), Cell(f"{system_name(entry.first)} − {system_name(entry.second)}"),
         Cell(points(entry.value), f"[{points_range(entry.estimate)}]"), Cell(p_value(entry.p_holm))]
        for results in material.alignment.languages for entry in results.differences
    ]  # fmt: skip
    if differences:
        compared = ("language", "policies", "difference", "p, adjusted (Holm)")
        yield Grid("Differences of win rates", compared, differences, 2, _from(material, "judge"))


def _rate(system: JudgedSystem) -> list[Cell]:
    rate = system.rate
    lengths = "–" if rate.characters is None else f"{rate.characters[0]:.0f} → {rate.characters[1]:.0f}"
    texts = (share(rate.standard_error), str(rate.draws), f"{rate.unreadable or 0} of {rate.verdicts or 0}", lengths)
    return [_cell(rate.estimate), *map(Cell, texts)]


def _agreement(material: Material) -> Iterator[Grid]:
    rows = [
        [Cell(language_name(ranked.ranking.language)), Cell(f"{language_name(each.first)}, {language_name(each.second)}"),
         *map(Cell, (share(each.same_best), share(each.same_pair), share(each.ordered_alike))),
         *(Cell("–" if value is None else signed(value, 2)) for value in (each.kendall_tau, each.pearson))]
        for ranked in material.rankings for each in ranked.ranking.agreements
    ]  # fmt: skip
    if rows:
        columns = (
            "responses in",
            "reward models",
            "same best",
            "same pair",
            "ordered alike",
            "Kendall's tau",
            "Pearson",
        )
        yield Grid("Agreement of the reward models before training", columns, rows, 2, _from(material, "rank"))


def _responses(material: Material) -> Iterator[Grid]:
    names = ("distinct_share", "cut_share", "empty_share", "other_language_share")
    rows = [
        [Cell(language_name(answers.language)), Cell(system_name(answers.policy)), Cell(f"{answers.counts.responses:,}"),
         *(Cell(percent(answers.shares[name])) for name in names), Cell(f"{answers.counts.mean_characters:.0f}")]
        for answers in material.responses
    ]  # fmt: skip
    if rows:
        columns = ("language", "policy", "responses", "distinct", "cut", "empty", "another language", "mean characters")
        yield Grid("Responses before and after alignment", columns, rows, 2, _from(material, "sample"))


def _artifacts(material: Material) -> Iterator[Grid]:
    rows = [
        [*map(Cell, (f"#{made.number}", made.record.stage, made.label, made.record.digest[:12], shown(made.uri)))]
        for made in material.artifacts
    ]
    if rows:
        yield Grid("Artifacts", ("#", "stage", "run", "digest", "URI"), rows, labels=5)


def _from(material: Material, stage: str) -> str:
    """The artifacts that a table is from."""
    numbers = [
        f"#{made.number}{f' ({made.label})' if made.label else ''}" for made in lineage.of(material.artifacts, stage)
    ]
    return f"From {stage} {', '.join(numbers)}." if numbers else ""


def _named(number: str, title: str, material: Material) -> str:
    return f"{number}: {title}" if material.source == "en" else f"{title[0].upper()}{title[1:]}"


def _accuracies(evaluation: Evaluation, on: str, parts: list[str]) -> list[Cell]:
    return [_cell(evaluation.accuracy(on, part)) for part in parts]


def _cell(estimate: Estimate | None) -> Cell:
    return Cell(percent(estimate.value), f"[{percent_range(estimate)}]") if estimate else Cell("–")
