"""What an alignment by DPO was trained on and where it ended, as the stage align writes it."""

from collections.abc import Mapping
from typing import ClassVar

from xlrm.store.json_file import JsonFile


class PairCounts(JsonFile):
    """pairs.json in a training's folder: what became of the pairs. None is dropped."""

    FILE: ClassVar[str] = "pairs.json"
    WRITTEN_BY: ClassVar[str] = "an alignment begins with it"

    pairs: int
    cut: int
    """Pairs with a conversation that was longer than `max_length` and lost its beginning."""
    cut_chosen: int
    """Chosen conversations that lost their beginning."""
    cut_rejected: int
    cut_answers: int
    """Conversations whose response alone is longer than `max_length`: the response lost its beginning too."""
    equal: int
    """Pairs whose two conversations are the same token ids, which teach nothing."""
    dropped: int = 0
    """Pairs that are not trained on."""


class AlignmentResults(PairCounts):
    """alignment.json, beside the aligned policy."""

    FILE: ClassVar[str] = "alignment.json"
    WRITTEN_BY: ClassVar[str] = "the stage align writes it"

    language: str
    labeler: str
    """Reward model that ranked the pairs, named by the language it was trained in."""
    steps: int
    loss: float
    """This and the following: means over the last tenth of the training."""
    accuracy: float
    """Share of the pairs whose chosen response has gained more log-probability than the rejected one."""
    chosen_drift: float
    """Mean change of a chosen response's log-probability since the start, in nats."""
    rejected_drift: float

    @classmethod
    def of(cls, language: str, labeler: str, metrics: Mapping[str, float]) -> "AlignmentResults":
        """Results from the metrics of `xlrm.training.dpo`."""
        values = {name.removeprefix("train_"): value for name, value in metrics.items()}
        return cls(
            language=language, labeler=labeler, **{name: values[name] for name in cls.model_fields if name in values}
        )
