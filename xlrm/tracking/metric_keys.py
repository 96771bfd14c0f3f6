"""Keys of metrics and tags in MLflow, for any names of sections, models and languages."""

import hashlib
import re

LONGEST = 250
"""Characters of a key (MAX_ENTITY_KEY_LENGTH in mlflow/utils/validation.py)."""


def key(name: str) -> str:
    """The key of a metric or tag: `name`, in which what MLflow refuses (validate_param_and_metric_name, path_not_unique
    and MAX_ENTITY_KEY_LENGTH in mlflow/utils/validation.py) is written as `:HEX:`, such as `Q:26:A` for `Q&A`. A key
    above LONGEST is cut and ends in a digest, so that different names have different keys."""
    parts = [re.sub(r"[^\w.\- ]", _escaped, part) for part in name.split("/")]
    parts = [re.sub(r"^\.{1,2}$", lambda dots: ":2e:" * len(dots[0]), part) or "::" for part in parts]
    escaped = "/".join(parts)
    if len(escaped) <= LONGEST:
        return escaped
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{escaped[: LONGEST - 18]}::{digest}"


def _escaped(character: re.Match[str]) -> str:
    return f":{ord(character[0]):x}:"
