"""Cards of models for stages: which model a base model is, and what a reward model was trained from."""

from typing import ClassVar, Literal

from xlrm.store.json_file import JsonFile


class BaseModelCard(JsonFile):
    """base.json: name and revision of a base model."""

    FILE: ClassVar[str] = "base.json"
    WRITTEN_BY: ClassVar[str] = "the stage base writes it"
    END: ClassVar[str] = "\n"

    model: str
    revision: str | None = None


class RewardModelCard(JsonFile):
    """xlrm.json of a reward model."""

    FILE: ClassVar[str] = "xlrm.json"
    WRITTEN_BY: ClassVar[str] = "the stage reward writes it"
    END: ClassVar[str] = "\n"

    kind: Literal["reward model"] = "reward model"
    language: str
    """Codes of the languages it was trained in, joined by +."""
    pairs: int
    """Rows it was trained on."""
    base_model: BaseModelCard
    chat_template_sha256: str

    @property
    def languages(self) -> list[str]:
        return self.language.split("+")
