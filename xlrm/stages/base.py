"""Provides the base model for reward models and policies: copies a named one, or pretrains the tiny model."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xlrm.errors import XlrmError
from xlrm.models import loading
from xlrm.models.base_models import TINY
from xlrm.models.cards import BaseModelCard
from xlrm.store.fields import RevisionOf, conflict
from xlrm.tracking import named_models
from xlrm.training import model_card
from xlrm.training.pretraining import Pretraining, Tuning


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field(examples=["Qwen/Qwen2.5-3B-Instruct"])
    """Base model or reward model: OWNER/NAME[@REVISION] of the Hub, a folder, models:/NAME@ALIAS or models:/NAME/VERSION,
    an artifact's URI or s3://bucket/prefix; or phrasebook-tiny, which is pretrained here."""
    revision: Annotated[str, RevisionOf("model", made_here=(TINY,))] = "main"
    """Commit, tag or branch of a model of the Hub; a commit makes the run reproducible."""
    pretraining: Pretraining = Pretraining()
    """Settings for pretraining the tiny model; other models ignore them."""
    tuning: Tuning | None = None
    """In the section policy: chats that the tiny model of the section base is tuned on to become the policy; null for none."""

    @model_validator(mode="after")
    def _one_revision(self) -> "Config":
        if self.revision != "main" and (not named_models.is_on_hub(self.model) or "@" in self.model):
            raise conflict(
                "revision", self.revision, "needs a model of the Hub, OWNER/NAME, without a revision in its name"
            )
        if self.tuning and self.model != TINY:
            raise conflict("model", self.model, f"has no tuning; only {TINY} can be tuned on chats")
        return self


def files(config: Config) -> str:
    """Digest of the model's folder on this machine, so that a changed one is copied again."""
    return _version(config) if named_models.is_folder(config.model) else ""


def fingerprint(config: Config) -> str:
    """Commit on the Hub, registered version, or digest of the files at a URI."""
    return "" if config.model == TINY or named_models.is_folder(config.model) else _version(config)


def _version(config: Config) -> str:
    try:
        return named_models.version(config.model, config.revision)
    except XlrmError as error:
        error.within("base.model: ")
        raise


def run(config: Config, *, output: Path, start: Path | None = None) -> dict[str, float]:
    """`start`: the pretrained model to tune. Raises ArtifactError for a model that is unavailable or incomplete, and
    ConfigError for a name that is not allowed, or for a tuning without `start`."""
    if config.model == TINY:
        from xlrm.training import pretraining

        metrics = pretraining.make(config.pretraining, config.tuning, start, output)
        model_card.write_base_model(output, config.model, None)
        return metrics
    try:
        name, revision = named_models.pinned(config.model, config.revision)
        named_models.copy(name, revision, output)
        loading.load_config(output)
        loading.own_tokenizer(output)
    except XlrmError as error:
        error.where, error.message = (text.replace(str(output), config.model) for text in (error.where, error.message))
        error.within("base.model: ")
        raise
    if BaseModelCard.find(output) is None:  # else a copy of what this stage made, with its first name
        model_card.write_base_model(output, name, revision if named_models.is_on_hub(name) else None)
    return {"bytes": float(sum(path.stat().st_size for path in output.glob("*.safetensors")))}
