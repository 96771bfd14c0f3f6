"""Check of files of single judgments before a run: a loss of pairs cannot use them."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from xlrm.data import catalog
from xlrm.data.corpus_schema import is_judgment
from xlrm.errors import ConfigError
from xlrm.store.row_files import Reading
from xlrm.training import columns


def problems(loss: str, curated: Iterable[Any]) -> Iterator[ConfigError]:
    """An error for each file of this machine in `preferences` of these configs of `curate` that the loss cannot use."""
    for config in curated:
        for entry in config.preferences:
            if catalog.is_file(entry) and os.path.isfile(entry):
                first = catalog.first_row(entry, Reading(config.columns, config.encoding))
                try:
                    columns.check_loss(loss, is_judgment(first), entry)
                except ConfigError as error:
                    yield error
