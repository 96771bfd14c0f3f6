"""What the report stage reads: artifacts of a run with an English, a Spanish and a Korean reward model."""

import base64
import csv
import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from xlrm.analysis.embedding_norms import EmbeddingNorms, TokenSets, distances
from xlrm.analysis.hidden_states import Reading, Similarity
from xlrm.analysis.representations import Representations
from xlrm.data.parallel_texts import Account
from xlrm.evaluation import reward_table
from xlrm.evaluation.credit import credit, tied
from xlrm.evaluation.results import (
    Cost,
    EvaluationResults,
    ExternalModelResults,
    ExternalResults,
    JudgedItems,
    JudgeResults,
    WinRate,
)
from xlrm.evaluation.results import Difference as PolicyDifference
from xlrm.evaluation.statistics import mean_interval, paired_mean, summary
from xlrm.registry.champion import Registered
from xlrm.stages import report
from xlrm.store.artifacts import Record
from xlrm.store.json_file import JsonFile
from xlrm.validation.summary import FileSummary, Summary

LANGUAGES = ("en", "es", "ko")
SUBSETS = {
    "facts": "Chat", "offtopic": "Chat", "neighbor": "Chat Hard", "padded": "Chat Hard", "refuse": "Safety",
    "respond": "Safety", "truth": "Reasoning", "code-python": "Reasoning",
}  # fmt: skip
MARGIN = {("en", "en"): 1.4, ("en", "es"): 0.5, ("en", "ko"): 0.05, ("es", "es"): 1.2, ("ko", "ko"): 1.0}


def evaluation(
    folder: Path, trained: str, margins: dict[str, list[float]], subsets: list[str], further: tuple[str, ...] = ()
) -> Path:
    """What the evaluate stage writes for a model whose `margins` (language -> items) are chosen minus rejected; on a
    `further` benchmark of that name as on the corpus's own."""
    results, kept = {}, []
    for language, many in margins.items():
        rows = [
            {"id": f"b{i}", "subset": s, "section": SUBSETS[s], "chosen": "yes", "rejected": "no"}
            for i, s in enumerate(subsets)
        ]
        scored = [([margin / 2], [-margin / 2]) for margin in many]
        results[language] = summary(rows, credit(rows, scored), tied(scored))
        for name in (reward_table.CORPUS, *further):
            kept += reward_table.records(name, language, rows, scored)
    benchmarks = dict.fromkeys(further, results)
    EvaluationResults(language=trained, tie_policy="lost", results=results, benchmarks=benchmarks).write(folder)
    reward_table.write(folder / reward_table.FILE, kept)
    return folder


def record(stage: str, inputs: tuple[str, ...] = (), **config) -> Record:
    size = len(inputs)
    return Record(
        stage=stage, key=f"{stage}1", digest="d" * 64, files=({"path": "f", "size": 1, "sha256": "0" * 64},),
        config=config, inputs={"given": [{"uri": uri, "digest": "0" * 64} for uri in inputs]}, metrics={},
        code_version="c", git_commit="0123abc", image=None, versions={"torch": "2.13.0"}, mlflow_run_id="run-7",
        started=datetime(2026, 1, 2, 3, 4, tzinfo=UTC) + timedelta(minutes=size), seconds=3.5 + size,
        peak_memory_mib=900.0,
    )  # fmt: skip


def lineage(languages: tuple[str, ...] = LANGUAGES) -> dict[str, Record]:
    """The artifacts of a run in `languages`, the first one the source."""
    source, *targets = languages
    at = "s3://key:secret@store/xlrm"
    found = {f"{at}/base": record("base", model="tiny"), f"{at}/curate": record("curate", language=source)}
    for one in targets:
        found[f"{at}/translate/{one}"] = record("translate", (f"{at}/curate",), language=one)
    found[f"{at}/validate"] = record("validate", (f"{at}/curate", *(f"{at}/translate/{one}" for one in targets)))
    for one in languages:
        found[f"{at}/reward/{one}"] = record("reward", (f"{at}/base", f"{at}/validate"), language=one, epochs=1)
        found[f"{at}/evaluate/{one}"] = record("evaluate", (f"{at}/reward/{one}",), language=one)
    for one in targets:
        models = (f"{at}/reward/{source}", f"{at}/reward/{one}")
        found[f"{at}/align/{one}"] = record("align", models, language=one, labeler=source, hub="https://me:pw@hub.test")
        found[f"{at}/judge/{one}"] = record("judge", (f"{at}/align/{one}",), language=one)
    models = tuple(f"{at}/reward/{one}" for one in languages)
    for stage in ("represent", "external", "register"):
        found[f"{at}/{stage}"] = record(stage, models if stage != "external" else (f"{at}/validate",))
    return found


def written(folder: Path, content: JsonFile) -> Path:
    content.write(folder)
    return folder


def changed(folder: Path, **fields) -> None:
    """Writes the results of an evaluation again, with other fields."""
    EvaluationResults.read(folder).model_copy(update=fields).write(folder)


def similarity(mean: float, **fields) -> Similarity:
    given = {"values": [mean], "cosine": [[1.0]], "truncated": 0} | fields
    return Similarity(mean=mean, interval=(mean - 0.02, mean + 0.02), spectrum=[mean, 0.3, 0.2], **given)


def representations(languages: tuple[str, ...], rng: np.random.Generator) -> Representations:
    """What the represent stage writes, with the norms of two models; the last language has no tokens of its own."""
    size = len(languages)
    models = {
        name: similarity(
            0.4 + i / 50, truncated=i, values=rng.normal(0.4 + i / 50, 0.05, 60).tolist(),
            cosine=np.full((size, size), 0.3 + i / 10).tolist(),
        )
        for i, name in enumerate(("base", *languages))
    }  # fmt: skip
    norms = {one: rng.normal(1 + i / 10, 0.1, 50).tolist() for i, one in enumerate(languages)} | {languages[-1]: []}
    embeddings = EmbeddingNorms(norms=norms, distances=distances(norms))
    return Representations(
        languages=languages, texts=60, models=models, token_sets=TokenSets(), reading=Reading(),
        parallel=Account(set="belebele", rows=63, incomplete=1, duplicates=2, used=60),
        embedding_norms=dict.fromkeys(("base", "HuggingFaceTB/SmolLM-1.7B"), embeddings),
    )  # fmt: skip


def validation(languages: tuple[str, ...], **failures: int) -> Summary:
    """Summary of a corpus of 2,400 pairs, in which so many failed each expectation."""
    kept = 2400 - sum(failures.values())
    files = {"preferences.jsonl": FileSummary(rows_in=2400, rows_out=kept, failures=failures)}
    return Summary(rows_in=2400, rows_out=kept, languages=dict.fromkeys(languages, files))


WINS = {"base": 0.4, "source": 0.75, "target": 0.7}
"""Role -> share of the prompts that it wins against the reference."""


def judged_language(folder: Path, source: str, language: str, rng: np.random.Generator, count: int = 120) -> Path:
    """What the judge stage writes for the base policy and two aligned ones, against a reference from elsewhere."""
    names = {"base": "base", "source": source, "target": language}
    wins = {names[role]: (rng.random(count) < share).astype(float) for role, share in WINS.items()}
    rates = {}
    for name, own in wins.items():
        mean, low, high = mean_interval(own)
        rates[name] = WinRate(
            win_rate=mean, interval=(low, high), items=count, wins=int(own.sum()), losses=int(count - own.sum()), draws=0,
            discrete=mean, standard_error=0.04, runs=(mean, mean), run_standard_error=0.0, verdicts=240, unreadable=3,
            refused=1, characters=(310.0, 290.0), first=0.52, consistent=0.75, position_bias=0.04,
        )  # fmt: skip
    differences = []
    for first, second in ((source, language), (source, "base"), (language, "base")):
        value, low, high, p = paired_mean(wins[first] - wins[second])
        differences.append(PolicyDifference(first=first, second=second, value=value, low=low, high=high, p=p, p_holm=p))
    ids = tuple(f"p{i}" for i in range(count))
    JudgedItems(ids=ids, wins={name: tuple(own.tolist()) for name, own in wins.items()}).write(folder)
    return written(folder, JudgeResults(
        language=language, judge="gpt-4o", reference="gpt-4-turbo", results=rates, differences=tuple(differences),
        cost=Cost(questions=720, tokens_in=9000, tokens_out=720, usd=1.25, estimated_usd=1.5),
    ))  # fmt: skip


def inputs(folder: Path, languages: tuple[str, ...] = LANGUAGES, count: int = 240) -> dict:
    """All that the report stage reads."""
    rng = np.random.default_rng(0)
    subsets = [name for name in SUBSETS for _ in range(count // len(SUBSETS))]
    evaluations = []
    for trained in languages:
        margins = {on: rng.normal(MARGIN.get((trained, on), 0.1), 1, len(subsets)).tolist() for on in languages}
        evaluations.append(evaluation(folder / f"evaluate-{trained}", trained, margins, subsets, ("m-rewardbench",)))
    represented = representations(languages, rng)
    verdicts = [judged_language(folder / f"judge-{one}", languages[0], one, rng) for one in languages[1:]]
    results = EvaluationResults.read(evaluations[0]).results
    judged = results[languages[0]].model_copy(update={"verdicts": 240, "unreadable": 7})
    external = {
        "a-classifier": ExternalModelResults(kind="classifier", results=results, cost=Cost()),
        "a-judge": ExternalModelResults(kind="generative", results={languages[0]: judged}, cost=Cost()),
    }
    versions = {f"demo-{one}": str(i) for i, one in enumerate(languages, 3)}
    aliases = {one: ["champion"] for one in versions} | {"demo-es": []}
    return {
        "corpora": written(folder / "corpora", validation(languages, length=9)),
        "evaluations": evaluations,
        "representations": written(folder / "represent", represented),
        "verdicts": verdicts,
        "registered": written(folder / "register", Registered(versions=versions, aliases=aliases)),
        "lineage": lineage(languages),
        "external": written(folder / "external", ExternalResults(models=external)),
    }


def run(given: dict, output: Path, **config) -> tuple[dict[str, float], str]:
    output.mkdir()
    metrics = report.run(report.Config(**config), **given, output=output)
    return metrics, (output / "report.html").read_text(encoding="utf-8")


def plain(page: str) -> str:
    """The page's text, white space as one blank."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def section(page: str, name: str) -> str:
    """Text of the section or details with that id."""
    found = page[page.index(f'id="{name}"') :]
    return plain(found[: min(found.index(end) for end in ("</section>", "</details>") if end in found)])


def table(page: str, name: str) -> list[dict[str, str]]:
    """The rows of a file that the page links to."""
    (address,) = set(re.findall(rf'download="{name}\.csv" href="data:text/csv;charset=utf-8;base64,([^"]*)"', page))
    content = base64.b64decode(address)
    assert content.startswith(b"\xef\xbb\xbf"), "by which spreadsheets know UTF-8"
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
