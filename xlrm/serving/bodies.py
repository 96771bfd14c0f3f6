"""Bodies of requests, parsed as JSON and validated; large ones in a thread, so that the server answers others meanwhile."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from xlrm.serving import exchange
from xlrm.serving.service import Refused

Asked = TypeVar("Asked", bound=BaseModel)

_LARGE_BYTES = 64 * 2**10
"""Bodies above it are read in the thread. Below, reading takes less than a few milliseconds, and so would the thread."""
_thread = ThreadPoolExecutor(1, "bodies")
"""One, because the more threads compute in Python, the longer the event loop waits for its turn."""


async def read(kind: type[Asked], body: bytes, content_type: str) -> Asked:
    """Raises Refused for a body that is not JSON or not of this kind."""
    if not _is_json(content_type):
        raise Refused(422, exchange.NOT_AN_OBJECT)
    if len(body) <= _LARGE_BYTES:
        return _read(kind, body)
    return await asyncio.get_running_loop().run_in_executor(_thread, _read, kind, body)


def _is_json(content_type: str) -> bool:
    essence = content_type.partition(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))


def _read(kind: type[Asked], body: bytes) -> Asked:
    try:
        return kind.model_validate(json.loads(body))
    except ValidationError as error:
        raise Refused(422, exchange.problem_line(error.errors(include_url=False, include_input=False))) from None
    except json.JSONDecodeError as error:
        raise Refused(422, f"body: not JSON at character {error.pos}") from None
    except (ValueError, RecursionError):
        raise Refused(422, "body: not JSON in UTF-8, or nested too deeply, or a number too long") from None
