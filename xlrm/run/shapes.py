"""Shapes of the models of an experiment, from the tables, or from the config.json of those that are in none."""

from xlrm.errors import XlrmError
from xlrm.models import base_models
from xlrm.models.base_models import TINY
from xlrm.models.compute import Shape, shape
from xlrm.models.reward_models import RewardModel
from xlrm.tracking import named_models
from xlrm.training.pretraining import Pretraining


def base_shape(name: str, revision: str, pretraining: Pretraining, fetch: bool = True) -> Shape | str:
    """Shape of a base model, or the reason why it is unknown."""
    if name == TINY:  # as `xlrm.training.pretraining` makes it
        width, heads = pretraining.width, pretraining.width // 32
        return Shape(pretraining.layers, width, 3 * width, heads, heads, 32, pretraining.vocabulary)
    row = base_models.find(name)
    return (row and row.shape) or _shape_at(name, revision, fetch=fetch)


def external_shape(model: RewardModel, fetch: bool) -> Shape | str:
    if model.shape:
        return model.shape
    return _shape_at(model.repository, model.revision, model.folder, fetch)


def _shape_at(name: str, revision: str | None, folder: str | None = None, fetch: bool = True) -> Shape | str:
    """Shape from the model's config.json, or the reason why it is unknown."""
    shown = f"{name}@{revision}" if revision and named_models.is_on_hub(name) and "@" not in name else name
    if not (fetch or named_models.is_folder(name)):
        return f"the size of {shown} is unknown until it is downloaded"
    try:
        config = named_models.config(name, revision, folder)
        return shape(config) or f"{name}: the operations of a {config.get('model_type')!r} model cannot be counted"
    except (XlrmError, OSError, ValueError, KeyError) as error:
        return f"the size of {shown} is unknown: {error}"
