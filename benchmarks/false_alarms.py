"""How often the row checks find fault with a right translation, each sentence or block being a row of its own.

python -m benchmarks.false_alarms
"""

import gzip
import json
from itertools import islice
from pathlib import Path

from benchmarks.planted_defects import (
    SHARED_DATA,
    SOURCE,
    TARGETS,
    Found,
    alarm_table,
    count_alarms,
    documents_of,
)


def alarms_of_sentences(shared: Path = SHARED_DATA, half: str = "report") -> Found:
    """False alarms where each sentence is a row of its own, and so counts once."""
    found = Found()
    sentences = [sentence for many in documents_of(shared, half) for sentence in many]
    rows = {
        language: [{"id": f"s{i}", "prompt": one[language].strip()} for i, one in enumerate(sentences)]
        for language in (SOURCE, *TARGETS)
    }
    for language in TARGETS:
        count_alarms(found, rows[language], rows[SOURCE], language, ("id", "prompt"))
    return found


def alarms_of_documentation(shared: Path = SHARED_DATA, wanted: int = 3000) -> Found:
    """Alarms on text of another kind, which no threshold was chosen by: software documentation, mostly machine-translated
    and corrected by nobody here, so that some alarms are right."""
    with gzip.open(shared / "text" / "parallel5_cppdocs_sample.jsonl.gz", "rt", encoding="utf-8") as file:
        blocks = [json.loads(line) for line in islice(file, wanted)]
    found = Found()
    for language in ("es", "it", "ko", "zh"):
        rows, source = (
            [{"id": str(i), "text": block[one]} for i, block in enumerate(blocks)] for one in (language, SOURCE)
        )
        count_alarms(found, rows, source, language, ("id", "text"))
    return found


if __name__ == "__main__":
    print(alarm_table(alarms_of_sentences(), "sentences"), end="\n\n")
    print(alarm_table(alarms_of_documentation(), "blocks"))
