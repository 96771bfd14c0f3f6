"""Reward models of several runs in one document: a block for each base model, with the paper's figures beside its own
where the paper has them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from xlrm.errors import DataError
from xlrm.evaluation.benchmarks import AVERAGE, SUBSET
from xlrm.evaluation.evaluated import ModelEvaluation
from xlrm.evaluation.results import Result
from xlrm.evaluation.reward_table import CORPUS
from xlrm.reporting.documents import Cell, Document, Grid
from xlrm.reporting.published import paper_tables
from xlrm.reporting.results import SECTIONS, language_name
from xlrm.reporting.tables import Table
from xlrm.reporting.wording import listed, percent, points

_COLUMNS = "base model trained_in benchmark tested_in part items accuracy low high paper_percent"
Block = list[ModelEvaluation]
"""Reward models of one run, trained from one base."""


def document(runs: Sequence[Block]) -> Document:
    """Tables of the runs' reward models. Raises DataError for a model that does not say what language it was trained in."""
    for model in (model for block in runs for model in block):
        if not (model.trained_in and model.results):
            raise DataError("says no training language, or has no results; `--table` needs runs", where=model.name)
    blocks = list(zip(_titles(runs), runs, strict=True))
    grids = [grid for title, block in blocks for grid in _grids(title, block)]
    csv = Table(tuple(_COLUMNS.split()), list(_lines(runs)))
    names = listed([title for title, _ in blocks])
    return Document(
        "Reward models by base model",
        [f"Accuracies of reward models trained from {names}."],
        grids,
        csv,
        notes=_notes(runs),
    )


def _titles(runs: Sequence[Block]) -> list[str]:
    """Name of each run's base model, and of the run if two have the same."""
    bases = [_base(block) for block in runs]
    names = [block[0].name.partition(":")[0] for block in runs]
    return [f"{base} ({name})" if bases.count(base) > 1 else base for base, name in zip(bases, names, strict=True)]


def _base(block: Block) -> str:
    return " and ".join(dict.fromkeys(model.base or "an unknown base" for model in block))


def _published(model: ModelEvaluation) -> str:
    """Name under which the paper has the base model; it may not have it."""
    return model.base.partition("@")[0].rsplit("/", 1)[-1].removesuffix("-Instruct")


def _paper(model: ModelEvaluation, on: str, part: str) -> float | None:
    """The paper's accuracy in %, from Tables 3 to 7."""
    for cell in paper_tables.tables_3_to_7():
        if (cell.reward_model, cell.trained_in, cell.language) == (_published(model), model.trained_in, on):
            return cell.accuracy.get(part)
    return None


def _tested(block: Block) -> list[str]:
    return list(dict.fromkeys(code for model in block for benchmark, code in model.results if benchmark == CORPUS))


def _parts(block: Block) -> list[str]:
    """Sections, those of RewardBench first, and the average."""
    names = dict.fromkeys(name for model in block for result in model.results.values() for name in result.sections)
    return [*(name for name in SECTIONS if name in names), *(name for name in names if name not in SECTIONS), AVERAGE]


def _grids(title: str, block: Block) -> Iterator[Grid]:
    yield _matrix(title, block)
    if len(block) > 1:
        yield _transfer(title, block)


def _matrix(title: str, block: Block) -> Grid:
    """Average accuracies: rows by the language trained in, columns by the language tested in."""
    languages = _tested(block)
    rows = [
        [
            Cell(language_name(model.trained_in)),
            *(replace(_cell(model, on, AVERAGE), tone="own" if on == model.trained_in else "") for on in languages),
        ]
        for model in block
    ]
    columns = ("trained in \\ tested in", *map(language_name, languages))
    return Grid(f"{title}: average accuracy, %", columns, rows)


def _transfer(title: str, block: Block) -> Grid:
    """As Table 1 of the paper: in each language the first model and the language's own, by section."""
    source, *others = block
    parts, rows = _parts(block), []
    for own in others:
        on = own.trained_in
        if (CORPUS, on) not in source.results or (CORPUS, on) not in own.results:
            continue
        for label, model in ((language_name(on), own), ("", source)):
            rows.append(
                [Cell(label), Cell(language_name(model.trained_in)), *(_cell(model, on, part) for part in parts)]
            )
        rows.append([Cell(""), Cell("difference"), *(_difference(source, own, on, part) for part in parts)])
    name = language_name(source.trained_in)
    columns = ("tested in", "trained in", *parts)
    return Grid(f"{title}: {name} reward model against each language's own, %", columns, rows, labels=2)


def _result(model: ModelEvaluation, on: str) -> Result | None:
    return model.results.get((CORPUS, on))


def _cell(model: ModelEvaluation, on: str, part: str) -> Cell:
    result = _result(model, on)
    if not result or part not in result.accuracy:
        return Cell("–")
    low, high = result.interval[part]
    published = _paper(model, on, part)
    beside = "" if published is None else f" · paper {published:.1f}"
    return Cell(percent(result.accuracy[part]), f"[{100 * low:.0f}–{100 * high:.0f}]{beside}")


def _difference(source: ModelEvaluation, own: ModelEvaluation, on: str, part: str) -> Cell:
    ours, theirs = _result(source, on), _result(own, on)
    if not (ours and theirs and part in ours.accuracy and part in theirs.accuracy):
        return Cell("–")
    value = ours.accuracy[part] - theirs.accuracy[part]
    published = [_paper(model, on, part) for model in (source, own)]
    beside = "" if None in published else f"paper {points((published[0] - published[1]) / 100)}"  # type: ignore[operator]
    return Cell(points(value), beside)


def _lines(runs: Sequence[Block]) -> Iterator[tuple]:
    for model in (model for block in runs for model in block):
        for (benchmark, on), result in model.results.items():
            for part, value in result.accuracy.items():
                published = _paper(model, on, part) if benchmark == CORPUS and not part.startswith(SUBSET) else None
                interval = result.interval[part]
                beside = "" if published is None else published
                yield (
                    model.base,
                    model.name,
                    model.trained_in,
                    benchmark,
                    on,
                    part,
                    result.items,
                    value,
                    *interval,
                    beside,
                )


def _notes(runs: Sequence[Block]) -> list[str]:
    notes = [
        "Accuracy in %, with its 95 % bootstrap interval; outlined on the page: the model's own language. The difference is the "
        "first model minus the language's own; `xlrm compare RUN RUN` tests differences on the shared items.",
    ]
    if any(_paper(model, on, AVERAGE) is not None for block in runs for model in block for on in _tested(block)):
        notes.append("paper: Hong et al. 2025, Tables 1 and 3 to 7, for models trained from the same base.")
    if differing := _differing(runs):
        named = ", ".join(map(language_name, differing))
        notes.append(f"The models were not all tested on the same items in {named}, so compare within a block there.")
    return notes


def _differing(runs: Sequence[Block]) -> list[str]:
    """Languages in which not all models were tested on the same items."""
    tests: dict[str, set[frozenset]] = {}
    for model in (model for block in runs for model in block):
        for (benchmark, on), items in model.items.items():
            if benchmark == CORPUS:
                tests.setdefault(on, set()).add(frozenset((item["id"], item["text"]) for item in items))
    return [on for on, sets in tests.items() if len(sets) > 1]
