"""What best-of-n gains over the policy that it draws from, as the stage best_of_n writes it."""

from typing import ClassVar

from pydantic import Field

from xlrm.evaluation.results import Estimate
from xlrm.store.json_file import JsonFile


class BestOfNResults(JsonFile):
    FILE: ClassVar[str] = "results.json"
    WRITTEN_BY: ClassVar[str] = "the stage best_of_n writes it"

    language: str
    n: int
    """Responses that each labeler chose from."""
    prompts: int
    subsets: dict[str, int] = Field({})
    """Prompts by subset; empty if they have none."""
    labelers: tuple[str, ...]
    """Reward models, each of which chooses and evaluates."""
    sizes: tuple[int, ...]
    """Numbers k of responses for which there are values: 1, 2, 4, ... and n."""
    kl_bound: dict[int, float]
    """k -> upper bound of the KL divergence of best-of-k from the policy, in nats per response."""
    increases: dict[str, dict[str, list[Estimate]]]
    """Labeler -> evaluator -> for each of `sizes`, by how much the evaluator's reward of the labeler's best of k is above that of
    the policy's response 0; the mean of the subsets' means, with its 95 % interval over prompts."""
    characters: dict[str, float] = Field({})
    """Labeler -> mean length of its choices."""
    reference_characters: float | None = None
    """Mean length of the policy's responses 0."""

    @property
    def metrics(self) -> dict[str, float]:
        """Increases by the best of all n, and the bound of their KL divergence."""
        gains = {
            f"increase/{labeler}/{evaluator}": several[-1].value
            for labeler, of in self.increases.items()
            for evaluator, several in of.items()
        }
        return {"prompts": float(self.prompts), "kl_bound": self.kl_bound[self.sizes[-1]], **gains}
