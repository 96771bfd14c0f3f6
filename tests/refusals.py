"""An expected error of this project, compared by its class and fields rather than by its sentences."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from xlrm.errors import XlrmError


@contextmanager
def refused(kind: type[XlrmError], where: object, value: object = None) -> Iterator[pytest.ExceptionInfo[XlrmError]]:
    """Asserts that the block raises exactly this class, with this place and value, in one line."""
    with pytest.raises(kind) as raised:
        yield raised
    error = raised.value
    assert (type(error), error.where, error.value) == (kind, str(where), value)
    assert error.message and "\n" not in str(error)
