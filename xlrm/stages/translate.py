"""Translates a curated corpus into one language."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from xlrm.errors import ConfigError
from xlrm.rows import read_rows, write_jsonl
from xlrm.translation import TRANSLATORS

TEXT_FIELDS = ("prompt", "chosen", "rejected", "text")


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str
    """Language to translate into."""
    translator: str = "phrasebook"
    """A translator of `xlrm.translation`."""


def run(config: Config, *, corpus: Path, output: Path) -> dict[str, float]:
    """Raises ConfigError for an unknown translator, DataError for a text it cannot translate."""
    if config.translator not in TRANSLATORS:
        raise ConfigError(f"translate.translator: no {config.translator!r}; there are {', '.join(TRANSLATORS)}")
    source = json.loads((corpus / "corpus.json").read_text())["language"]
    texts = 0
    for path in sorted(corpus.glob("*.jsonl")):
        rows = read_rows(path)
        places = [(row, field) for row in rows for field in TEXT_FIELDS if field in row]
        translated = TRANSLATORS[config.translator]([row[field] for row, field in places], source, config.language)
        for (row, field), text in zip(places, translated, strict=True):
            row[field] = text
        write_jsonl(output / path.name, rows)
        texts += len(places)
    (output / "corpus.json").write_text(json.dumps({"language": config.language}))
    return {"texts": texts}
