"""What the gate says of translations of real sentences by small translators and by people, beside a reader's judgment.

    python -m benchmarks.real_translations [MODEL ...] [--apertium] [--rows 200] [--repaired] [--keep FOLDER] [--json FILE]

Sentences of NTREX-128 are translated into Spanish by the stage `translate`, without repairs (with `--repaired` also
with them), and checked by the stage `validate`. MODEL: folders or Hub ids of translation models, or of language models,
which get X-ALMA's prompt; `--apertium` adds Apertium, a translator by rules, which must be installed with its pair
eng-spa. `translation_marks.csv` has the marks of a reader: 1 for a translation that tells the sentence's facts and leaves
no word but names in English, else 0. 25 sentences were drawn at random (`drawn` is 1); the others are those that
`validate` drops. A mark counts only for the translation whose digest it has.
"""

import argparse
import csv
import hashlib
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.defects import SHARED_DATA, documents_of
from benchmarks.served_translations import serving
from xlrm.data.corpus_schema import Description
from xlrm.errors import GateError
from xlrm.reporting.reuse_outcomes import wilson
from xlrm.stages import translate, validate
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.validation.summary import Summary

SOURCE, TARGET, FILE = "en", "es", "parallel.jsonl"
MARKS = Path(__file__).with_name("translation_marks.csv")


def corpus(rows: list[dict], language: str, folder: Path) -> Path:
    write_jsonl(folder / FILE, ({"id": str(row["id"]), "text": row[language].strip()} for row in rows))
    Description(language=language, files=("parallel",)).write(folder)
    return folder


def translated(source: Path, output: Path, **fields: Any) -> dict[str, Any]:
    """Metrics of the stage `translate`, or its refusal; without repairs it refuses nothing."""
    output.mkdir(parents=True)
    config = translate.Config(language=TARGET, files=("parallel",), **fields)
    try:
        return translate.run(config, corpus=source, output=output)
    except GateError as error:
        return {"refused": str(error)}


def checked(source: Path, translation: Path, output: Path) -> dict[str, Any]:
    """The verdict of the stage `validate`, and for each row that it drops the expectations that fail."""
    output.mkdir(parents=True)
    try:
        validate.run(validate.Config(), source=source, translations=[translation], output=output)
    except GateError as error:
        print(f"{translation.name}: {error}")
    file = Summary.read(output).languages[TARGET][FILE]
    dropped: dict[str, list[str]] = {}
    for reject in read_rows(output / "rejects.jsonl", ("id", "expectation")):
        dropped.setdefault(reject["id"], []).append(reject["expectation"])
    return {"file": file.model_dump(), "dropped": dropped}


@contextmanager
def apertium() -> Iterator[None]:
    """Serves Apertium as a translation model."""

    def answer(text: str, _: dict) -> tuple[str, str]:
        command = ["apertium", "-u", "eng-spa"]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.strip(), "stop"

    with serving(answer) as server:
        os.environ["OPENAI_BASE_URL"] = server.address
        yield


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def marks(translator: str, folder: Path) -> list[dict[str, str]]:
    """Marks of these translations: id, usable and drawn."""
    texts = {row["id"]: row["text"] for row in read_rows(folder / FILE, ("id", "text"))}
    with MARKS.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["translator"] == translator]
    return [row for row in rows if digest(texts.get(row["id"], "")) == row["digest"]]


def judged(marked: list[dict[str, str]], dropped: dict[str, Any]) -> dict[str, int]:
    """Marked rows, by what `validate` does; the shares of bad and usable ones are those of the rows drawn at random."""
    usable = {row["id"]: row["usable"] == "1" for row in marked}
    drawn = [row["id"] for row in marked if row["drawn"] == "1"]
    return {
        "drawn": len(drawn), "bad": sum(not usable[row] for row in drawn),
        "bad and dropped": sum(not usable[row] and row in dropped for row in drawn),
        "usable and dropped": sum(usable[row] and row in dropped for row in drawn),
        "dropped and read": len(dropped.keys() & usable), "of them bad": sum(not usable[row] for row in dropped.keys() & usable),
    }  # fmt: skip


def share(count: int, total: int) -> str:
    """A share with Wilson's interval of 95 %."""
    if not total:
        return "-"
    low, high = wilson(count, total)
    return f"{count} of {total} = {count / total:.0%} ({low:.0%} to {high:.0%})"


def judge(source: Path, name: str, folder: Path, fields: dict[str, Any] | None, repaired: bool) -> dict[str, Any]:
    """Figures of one translator; `fields` are those of `translate`, None for translations that are there."""
    found: dict[str, Any] = {"translator": name}
    for kind, repairs in (("first", 0), ("repaired", 2))[: 1 + (repaired and fields is not None)]:
        place, made = folder / f"{name}-{kind}", {}
        if fields:
            made = found[f"{kind} metrics"] = translated(source, place, repairs=repairs, **fields)
        if "refused" not in made:
            found[kind] = checked(source, place, folder / f"{name}-{kind}-checked")
    found["judged"] = judged(marks(name, folder / f"{name}-first"), found["first"]["dropped"])
    return found


def say(found: dict[str, Any]) -> None:
    print(f"\n{found['translator']}")
    for kind in ("first", "repaired"):
        if kind in found:
            file, failing = (
                found[kind]["file"],
                Counter(name for all in found[kind]["dropped"].values() for name in all),
            )
            print(
                f"  {kind}: {len(found[kind]['dropped'])} of {file['rows_in']} rows dropped {dict(failing)}; excess "
                f"{file['excess']:.1%}, limit {file['limit']:.1%}: {'passes' if file['passed'] else 'refused'}"
            )
        elif f"{kind} metrics" in found:
            print(f"  {kind}: {found[f'{kind} metrics']['refused']}")
    counted = found["judged"]
    print(f"  bad, of those drawn: {share(counted['bad'], counted['drawn'])}")
    print(f"  dropped, of the bad: {share(counted['bad and dropped'], counted['bad'])}")
    print(f"  dropped, of the usable: {share(counted['usable and dropped'], counted['drawn'] - counted['bad'])}")
    print(f"  bad, of those dropped: {share(counted['of them bad'], counted['dropped and read'])}")


def parser() -> argparse.ArgumentParser:
    options = record.parser(__doc__)
    options.add_argument("models", nargs="*", metavar="MODEL")
    options.add_argument("--apertium", action="store_true", help="also with Apertium, if it is installed")
    options.add_argument("--rows", type=int, default=200, help="sentences (200)")
    options.add_argument("--repaired", action="store_true", help="also with two repairs")
    options.add_argument("--new-tokens", type=int, default=256, help="limit on the tokens of a translation (256)")
    options.add_argument("--keep", type=Path, metavar="FOLDER", help="new folder for the translations")
    return options


def main() -> None:
    options = parser().parse_args()
    sentences = [one for many in documents_of(SHARED_DATA, "report") for one in many][: options.rows]
    with nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        source = corpus(sentences, SOURCE, folder / SOURCE)
        corpus(sentences, TARGET, folder / "people-first")
        found = [judge(source, "people", folder, None, False)]
        if options.apertium:
            with apertium():
                found.append(
                    judge(
                        source, "apertium", folder, {"translator": "apertium", "engine": "endpoint"}, options.repaired
                    )
                )
        for model in options.models:
            fields = {"translator": model, "precision": "float32", "max_new_tokens": options.new_tokens}
            found.append(judge(source, Path(model).name.lower(), folder, fields, options.repaired))
        for each in found:
            say(each)
    record.write(__spec__.name, options, {each["translator"]: each for each in found})


if __name__ == "__main__":
    main()
