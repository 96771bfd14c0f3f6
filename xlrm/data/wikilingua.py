"""WikiLingua of GEM 1.1 as published: an archive for each language, with a text on each line of its files.

Files and ids as in TensorFlow Datasets' `gem/wiki_lingua_LANGUAGE_CODE:1.1.0`, whose ids Seahorse has.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xlrm.errors import DataError
from xlrm.languages import LANGUAGES
from xlrm.store import archives

ARCHIVES = "https://storage.googleapis.com/huggingface-nlp/datasets/gem/gem_wikilingua_full"
_SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Split -> its name in files and ids."""


def records(source: str, language: str, split: str) -> list[dict[str, Any]] | None:
    """Records with gem_id, source and target_aligned of a split in a language; None for a folder without such files. `source`:
    the address of the archives, or a folder with them or with their content. Raises ArtifactError for an archive that is
    unavailable, DataError for files of different lengths."""
    name = LANGUAGES[language].name.lower()
    given = f"{source}/{name}.zip"
    unpacked = archives.unpacked(given) if source.startswith("https://") or Path(given).is_file() else Path(source)
    part = _SPLITS[split]
    files = sorted(unpacked.rglob(f"{part}.src.{language}"))
    folders = [
        file.parent for file in files if language == file.suffix[1:] and name in (file.parent.name, unpacked.name)
    ]
    return list(_aligned(folders[0], language, part, name)) if folders else None


def _aligned(folder: Path, language: str, part: str, name: str) -> Iterator[dict[str, Any]]:
    codes = dict.fromkeys((language, "en"))
    texts = {f"{kind}.{code}": _lines(folder / f"{part}.{kind}.{code}") for kind in ("src", "tgt") for code in codes}
    if len({len(lines) for lines in texts.values()}) > 1:
        sizes = ", ".join(f"{len(lines)} in {file}" for file, lines in texts.items())
        raise DataError("files with as many lines are required", where=f"{folder}/{part}", value=sizes)
    for number in range(len(texts[f"src.{language}"])):
        yield {
            "gem_id": f"wiki_lingua_{name}_{language}-{part}-{number}", "source": texts[f"src.{language}"][number],
            "target_aligned": {code: texts[f"tgt.{code}"][number] for code in codes},
        }  # fmt: skip


def _lines(file: Path) -> list[str]:
    """The lines of a file, which alone end with a line feed: a text may have other signs that Python splits lines at."""
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").removesuffix("\n").split("\n")]
    except OSError as error:
        raise DataError("cannot be read", where=file) from error
