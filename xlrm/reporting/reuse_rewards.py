"""Parts on the reward models: their accuracy in other languages, and the increases of reward over the SFT policy."""

from collections.abc import Iterator

from xlrm.reporting import reuse_published
from xlrm.reporting.published import paper_b
from xlrm.reporting.reuse_material import METHOD_NAMES, METHODS, Estimates, Material, Method, baselines
from xlrm.reporting.reuse_parts import Matrix, Part, matrix
from xlrm.reporting.wording import names

TESTED = "model of ↓ tested in →"
EVALUATED = "evaluated by ↓ policy in →"


def parts(material: Material) -> Iterator[Part]:
    yield _accuracy(material)
    yield _increases(material)
    yield _by_sources(material)


def _accuracy(material: Material) -> Part:
    """Figure 7, Tables 18 and 19: accuracy with the majority and the length baseline."""
    cells = dict(material.accuracies.items())
    if not cells:
        return Part("accuracy", "Accuracy of the reward models in each language (Figure 7)")
    feet = baselines(material)
    middles = feet.get("majority") or feet.get("chance") or 0.5
    shown = [
        matrix(
            "This run, validation data of the reward models",
            cells,
            material.languages,
            middle=middles,
            feet=feet,
            corner=TESTED,
        )
    ]
    if table := reuse_published.table(material, "reward_modeling"):
        shown.append(_published_accuracy(material, table))
    return Part(
        "accuracy",
        "Accuracy of the reward models in each language (Figure 7)",
        [sentence for name, row in feet.items() if (sentence := _above(cells, name, row))],
        shown,
        notes=["Without colour: at the majority baseline (single judgments), else at chance. Dashed: the interval includes "
               "it. Majority: the more frequent label. "
               "Length: the direction, and of single judgments the threshold, that are best on the training data."],
        files=("accuracy", "paper"),
        stages=("evaluate",),
        short="Accuracy",
    )  # fmt: skip


def _published_accuracy(material: Material, table: paper_b.Table) -> Matrix:
    rows = {"majority": paper_b.majority()} if table.number == 18 else {}
    rows["length"] = paper_b.length(18 if table.number == 18 else 19)
    feet = {
        name: {target: value / 100 for target, value in row.items() if target in material.languages}
        for name, row in rows.items()
    }
    cells = reuse_published.cells(table, material)
    title = reuse_published.title(table, material)
    return matrix(
        title[0].upper() + title[1:],
        cells,
        material.languages,
        middle=feet.get("majority", 0.5),
        feet=feet,
        corner=TESTED,
    )


def _above(cells: Estimates, name: str, row: dict[str, float]) -> str:
    crossed = [
        (estimate, row[target])
        for source, own in cells.items()
        for target, estimate in own.items()
        if source != target and target in row
    ]
    if not crossed:
        return ""
    above = sum(estimate.low > level for estimate, level in crossed)
    higher = sum(estimate.value > level for estimate, level in crossed)
    return (
        f"Reward models of another language are above the {name} baseline in {higher} of {len(crossed)} cells, in {above} by the "
        "whole 95 % interval."
        if name != "chance"
        else f"Reward models of another language are above chance in {above} of {len(crossed)} cells by the whole 95 % interval."
    )


def _increases(material: Material) -> Part:
    """Figure 3: increase of the target language's own reward model."""
    shown, sentences = [], []
    for method in METHODS:
        cells = {source: own for source, own in material.increases(method).items() if set(own)}
        if cells:
            shown.append(matrix(_title(material, method), cells, material.languages, unit="difference", middle=0.0))
            crossed = [e for source, own in cells.items() for target, e in own.items() if source != target]
            higher = sum(estimate.low > 0 for estimate in crossed)
            sentences.append(
                f"With {METHOD_NAMES[method]}, the target language's reward model gives policies by another language's "
                "reward model a higher "
                f"reward than the SFT policy in {higher} of {len(crossed)} pairs (whole 95 % interval above 0)."
            )
            exceeding = [
                target
                for target, own in _by_target(cells).items()
                if target in own and max(own, key=own.__getitem__) != target
            ]
            if crossed and exceeding:
                sentences.append(
                    f"In {names(exceeding)} a reward model of another language raises it more than its own."
                )
    return Part(
        "increases", "Increase of the target language's reward (Figure 3)", sentences, shown,
        notes=["In units of the reward model of the column, the mean over prompts: cells of different columns cannot be "
               "compared. The target's own reward model is "
               "optimised and evaluated by itself in the framed cells."] if shown else [],
        files=("increases",), stages=("best_of_n", "gains"), short="Reward increase",
    )  # fmt: skip


def _title(material: Material, method: Method) -> str:
    if method == "rl":
        return "RL, final policy"
    return f"Best of {material.best_of_n[0].n}" if material.best_of_n else "Best-of-n"


def _by_target(cells: Estimates) -> dict[str, dict[str, float]]:
    columns: dict[str, dict[str, float]] = {}
    for source, own in cells.items():
        for target, estimate in own.items():
            columns.setdefault(target, {})[source] = estimate.value
    return columns


def _by_sources(material: Material) -> Part:
    """Figure 10: increases that other languages' reward models give to policies by the target's own."""
    shown, sentences = [], []
    for method in METHODS:
        cells = {
            source: row
            for source, own in material.increases_by_sources(method).items()
            if (row := {target: estimate for target, estimate in own.items() if target != source})
        }
        if cells:
            shown.append(
                matrix(
                    _title(material, method), cells, material.languages, unit="difference", middle=0.0, corner=EVALUATED
                )
            )
            numbers = [estimate for own in cells.values() for estimate in own.values()]
            higher = sum(estimate.value > 0 for estimate in numbers)
            whole = sum(estimate.low > 0 for estimate in numbers)
            sentences.append(
                f"With {METHOD_NAMES[method]}, reward models of other languages give the policies by the target's own "
                "reward model a higher reward than the SFT "
                f"policy in {higher} of {len(numbers)} pairs, in {whole} by the whole 95 % interval."
            )
    return Part(
        "by-sources", "Reward of other languages' models for the own model's policies (Figure 10)", sentences, shown,
        notes=["In units of the reward model of the row: cells of different rows cannot be compared."] if shown else [],
        files=("increases",), stages=("best_of_n", "gains"), short="Other languages' rewards",
    )  # fmt: skip
