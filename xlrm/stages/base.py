"""Provides the base model for reward models and policies: downloads it from the Hub, or pretrains the tiny model."""

import shutil
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict

from xlrm.errors import ArtifactError, ConfigError
from xlrm.models.base_models import BASE_MODELS, TINY
from xlrm.store.fields import RevisionOf
from xlrm.training import model_card
from xlrm.training.pretraining import Pretraining


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = TINY
    """Name in `xlrm.models.base_models`, or the Hub id of any causal language model."""
    revision: Annotated[str, RevisionOf("model", made_here=(TINY,))] = "main"
    """Commit, tag or branch on the Hub; a commit makes the run reproducible."""
    pretraining: Pretraining = Pretraining()
    """Settings for pretraining the tiny model; other models ignore them."""


def run(config: Config, *, output: Path) -> dict[str, float]:
    """Raises ArtifactError for a model that cannot be downloaded, and ConfigError for an invalid model id."""
    if config.model == TINY:
        from xlrm.training.pretraining import pretrain

        metrics = pretrain(config.pretraining, output)
    else:
        metrics = fetch(config.model, config.revision, output)
    model_card.write_base_model(output, config.model, None if config.model == TINY else config.revision)
    return metrics


def fetch(name: str, revision: str, output: Path) -> dict[str, float]:
    """Downloads safetensors weights, no code. Raises ConfigError for an invalid id, ArtifactError if it fails."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    files = ["*.safetensors", "*.json", "*.txt", "*.jinja", "tokenizer.model"]
    gated = name in BASE_MODELS and BASE_MODELS[name].gated
    hint = "accept its licence on the Hub and set HF_TOKEN" if gated else "check the id, the revision and the network"
    try:
        snapshot_download(name, revision=revision, local_dir=output, allow_patterns=files)
    except HFValidationError as error:
        raise ConfigError(
            "the id of a model on the Hub, OWNER/NAME, is required", where="base.model", value=name
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ArtifactError(
            f"cannot be downloaded at {revision!r}: {type(error).__name__}", where="base.model", value=name, hint=hint
        ) from error
    shutil.rmtree(
        output / ".cache", ignore_errors=True
    )  # the client's timestamps, and partial downloads of a killed run
    weights = list(output.glob("*.safetensors"))
    if not weights:
        raise ArtifactError(
            f"no weights in safetensors at {revision!r}; other formats are not loaded", where="base.model", value=name
        )
    return {"bytes": float(sum(path.stat().st_size for path in weights))}
