"""Shapes of an experiment's models: from the tables, or from a config.json."""

import json
from pathlib import Path

from xlrm.errors import XlrmError
from xlrm.models.base_models import BASE_MODELS, TINY
from xlrm.models.compute import Shape, shape
from xlrm.models.reward_models import RewardModel
from xlrm.store import hub
from xlrm.training.pretraining import Pretraining


def base_shape(name: str, revision: str, pretraining: Pretraining, fetch: bool = True) -> Shape | str:
    """Shape of a base model, or the reason why it is unknown."""
    if name == TINY:  # as `xlrm.training.pretraining` makes it
        width, heads = pretraining.width, pretraining.width // 32
        return Shape(pretraining.layers, width, 3 * width, heads, heads, 32, pretraining.vocabulary)
    known = BASE_MODELS[name].shape if name in BASE_MODELS else None
    return known or _shape_at(name if Path(name).is_dir() else f"{name}@{revision}", fetch=fetch)


def external_shape(model: RewardModel, fetch: bool) -> Shape | str:
    """Shape of a model from elsewhere, or the reason why it is unknown."""
    if model.shape:
        return model.shape
    name = f"{model.repository}@{model.revision}" if model.revision else model.repository
    return _shape_at(name, model.folder or "", fetch)


def _shape_at(name: str, folder: str = "", fetch: bool = True) -> Shape | str:
    """Shape from the config.json of a folder or of the Hub, or the reason why it is unknown."""
    file = Path(folder, "config.json")
    if not (fetch or Path(name).is_dir()):
        return f"the size of {name} is not known before it is fetched"
    try:
        config = json.loads((hub.model_folder(name, [str(file)]) / file).read_text(encoding="utf-8"))
        return shape(config) or f"{name}: operations of a {config.get('model_type')!r} model are not counted here"
    except (XlrmError, OSError, ValueError, KeyError) as error:
        return f"the size of {name} is not known: {error}"
