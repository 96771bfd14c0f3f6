"""JSON files that one stage writes and another reads: each is a pydantic model, the one place that names its fields."""

import json
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from xlrm.errors import DataError


class JsonFile(BaseModel):
    """A file with a fixed name in a folder. Fields of other versions are ignored when it is read; fields that were not
    set are left out when it is written. No number is infinite or NaN, because JSON has none such; models in its fields
    say so too."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, protected_namespaces=())

    FILE: ClassVar[str]
    WRITTEN_BY: ClassVar[str]
    """For an error: who writes the file, or what it should contain."""
    INDENT: ClassVar[int | None] = 2
    END: ClassVar[str] = ""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises DataError, which names file, field and value, for a missing file and for one with other content."""
        path = folder / cls.FILE
        if not path.is_file():
            raise DataError(f"no such file; {cls.WRITTEN_BY}", where=path)
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            details = error.errors(include_url=False)[0]
            raise DataError.invalid(details, f"{path}: ", cls.WRITTEN_BY) from error

    @classmethod
    def find(cls, folder: Path | None) -> Self | None:
        """As `read`; None without a folder, and for a folder without the file."""
        return cls.read(folder) if folder and (folder / cls.FILE).is_file() else None

    def write(self, folder: Path) -> None:
        """Writes under a temporary name first, so that the file is complete or absent."""
        folder.mkdir(parents=True, exist_ok=True)
        content = self.model_dump(mode="json", exclude_unset=True, by_alias=True)
        temporary = folder / f"{self.FILE}.part"
        text = json.dumps(content, indent=self.INDENT, ensure_ascii=False, allow_nan=False) + self.END
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(folder / self.FILE)
