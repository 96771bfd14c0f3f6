"""Parts on variants of the experiment: translate-train, bilingual reward models, (back-)translated SFT data."""

from collections.abc import Iterator

from xlrm.analysis import source_ranking
from xlrm.reporting import reuse_published, reuse_sft
from xlrm.reporting.published import paper_b
from xlrm.reporting.reuse_material import METHOD_NAMES, METHODS, Estimates, Material, Method, values_of
from xlrm.reporting.reuse_parts import Matrix, Part, matrix
from xlrm.reporting.wording import percent, points, points_range

NEEDS = {
    "translate-train": "Translate-train (Table 17) is not in this run: it needs reward models trained on one language's "
                       "data translated "
    "into another, labelled as en>de.",
    "bilingual": "Bilingual reward models (Figure 11, Table 25) are not in this run: they need an SFT and a reward model "
                 "of two languages "
    "together, labelled as de+en.",
    "translated": "(Back-)translated SFT data (Figure 5, Tables 21 to 24) are not in this run: they need SFT policies trained on "
    "demonstrations that were translated from another language, or there and back.",
}  # fmt: skip


def parts(material: Material) -> Iterator[Part]:
    yield _translate_train(material)
    yield _bilingual(material)
    yield reuse_sft.part(material.trained_sft, material.translated, material.languages, material.task)


def missing(material: Material) -> list[str]:
    """A sentence for each variant that the run lacks."""
    lacking = {
        "translate-train": not any(_translated(material, method) for method in METHODS),
        "bilingual": not any(verdicts.further("+") for verdicts in material.verdicts),
        "translated": all(policy.kind == "organic" for policy in material.trained_sft),
    }
    return [NEEDS[name] for name, absent in lacking.items() if absent]


def _translated(material: Material, method: Method) -> Estimates:
    """Source -> target -> win rate of policies by reward models trained on translations into the target language."""
    cells: Estimates = {}
    verdicts = material.of(method)
    for labeler, own in (verdicts.further(">") if verdicts else {}).items():
        source, _, target = labeler.partition(">")
        if target in own:
            cells.setdefault(source, {})[target] = own[target]
    return cells


def _translate_train(material: Material) -> Part:
    shown, sentences = [], []
    for method in METHODS:
        verdicts, cells = material.of(method), _translated(material, method)
        if verdicts and cells:
            shown.append(matrix(f"{_heading(method)}, translate-train", cells, material.languages))
            sentences += _contrast(method, verdicts.cells, cells)
    if shown and (table := reuse_published.table(material, "best_of_n", reward_models="translate-train")):
        shown.append(_published(material, table))
    return Part(
        "translate-train",
        "Translate-train (Table 17)",
        sentences,
        shown,
        files=("win_rates", "paper"),
        stages=("judge",),
    )


def _contrast(method: Method, transferred: Estimates, translated: Estimates) -> list[str]:
    """Transfer against translate-train on the pairs that have both; nothing without such a pair."""
    try:
        result = source_ranking.contrast(values_of(transferred), values_of(translated))
    except ValueError:
        return []
    difference = f"{points(result.difference.value)} points [{points_range(result.difference)}]"
    return [
        f"With {METHOD_NAMES[method]}, reward models that are transferred win {percent(result.first)} %, those trained on "
        "translations "
        f"{percent(result.second)} %: {difference}, above in {result.above} of {result.pairs} pairs."
    ]


def _published(material: Material, table: paper_b.Table) -> Matrix:
    title = reuse_published.title(table, material)
    return matrix(title[0].upper() + title[1:], reuse_published.cells(table, material), material.languages)


def _heading(method: Method) -> str:
    return METHOD_NAMES[method][0].upper() + METHOD_NAMES[method][1:]


def _bilingual(material: Material) -> Part:
    """Figure 11, Table 25: a bilingual reward model beside those of its languages."""
    shown = []
    for method in METHODS:
        verdicts = material.of(method)
        both = verdicts.further("+") if verdicts else {}
        if verdicts and both:
            single = {code for labeler in both for code in labeler.split("+")}
            cells = {source: own for source, own in verdicts.cells.items() if source in single} | both
            shown.append(matrix(f"{_heading(method)}, this run", cells, material.languages))
    if shown and (table := reuse_published.table(material, "best_of_n", reward_models="bilingual")):
        shown.append(_published(material, table))
    return Part(
        "bilingual", "Bilingual reward models (Figure 11, Table 25)", matrices=shown, files=("win_rates", "paper"),
        stages=("judge",), short="Bilingual",
    )  # fmt: skip
