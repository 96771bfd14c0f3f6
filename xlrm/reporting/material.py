"""The material of a report."""

from dataclasses import dataclass, field

from xlrm.analysis.comparisons import Comparison, MeanDifference
from xlrm.analysis.representations import Representations
from xlrm.analysis.transfer import Transfer
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.judged_policies import JudgedPolicies
from xlrm.evaluation.results import Evaluation
from xlrm.registry.champion import Registered
from xlrm.reporting import omissions
from xlrm.reporting.curves import Curves
from xlrm.reporting.facts import Facts
from xlrm.reporting.lineage import Made
from xlrm.reporting.mistakes import Mistake
from xlrm.reporting.responses import Ranked, Responses, Trained
from xlrm.reporting.results import External, JudgedSystem, judged
from xlrm.validation.summary import Summary


@dataclass(frozen=True)
class Material:
    """Parts of a report. Each is empty or None if the inputs do not have it."""

    facts: Facts
    evaluations: list[Evaluation] = field(default_factory=list)
    """Evaluations, the source language's first."""
    comparisons: list[Comparison] = field(default_factory=list)
    mean: MeanDifference | None = None
    """Mean of the comparisons' differences in average accuracy."""
    representations: Representations | None = None
    transfer: Transfer | None = None
    """Correlation of f with accuracy in other languages."""
    alignment: JudgedPolicies | None = None
    """Win rates of policies, in all languages."""
    responses: list[Responses] = field(default_factory=list)
    """Counts of policies' responses to the prompts for judging."""
    rankings: list[Ranked] = field(default_factory=list)
    """How reward models ranked the responses that policies were aligned on."""
    trained: list[Trained] = field(default_factory=list)
    """Policies trained by DPO."""
    validation: Summary | None = None
    registered: Registered | None = None
    artifacts: list[Made] = field(default_factory=list)
    external: list[External] = field(default_factory=list)
    """Reward models from elsewhere."""
    mistakes: dict[str, list[Mistake]] = field(default_factory=dict)
    """Language of a reward model -> pairs that it ranks wrongly."""
    curves: list[Curves] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences on the corpus's datasets: rows that a limit left out, and numbers of rows that differ from the paper's."""

    @property
    def source(self) -> str:
        """Language that the others are compared with; empty without an evaluation."""
        return self.evaluations[0].language if self.evaluations else ""

    @property
    def judged(self) -> list[JudgedSystem]:
        return judged(self.alignment) if self.alignment else []

    @property
    def several(self) -> bool:
        """Whether there is more than one model or language to compare."""
        return len(self.evaluations) > 1 or any(len(evaluation.results) > 1 for evaluation in self.evaluations)

    def left_out(self) -> list[str]:
        """A sentence for each part that is missing."""
        given = {
            "corpora": bool(self.validation or self.mistakes), "evaluations": bool(self.evaluations),
            "representations": bool(self.representations), "registered": bool(self.registered),
        }  # fmt: skip
        compared = {comparison.language for comparison in self.comparisons}
        return [
            *omissions.of_inputs(given, self.several or not self.evaluations),
            *omissions.of_evaluations(self.evaluations, compared, bool(self.curves)),
            *omissions.of_models(self.external, bool(self.alignment), self.facts),
        ]

    def metrics(self) -> dict[str, float]:
        """The comparisons' differences in average accuracy and their mean, and the correlations of f, and of its
        distance from the base model's, with accuracy in other languages."""
        metrics = {"transfer/mean_delta": self.mean.value} if self.mean else {}
        metrics |= {
            f"transfer/{comparison.language}": comparison.deltas[AVERAGE].value for comparison in self.comparisons
        }
        correlations = {"f": self.transfer.share, "moved": self.transfer.moved} if self.transfer else {}
        for name, correlation in correlations.items():
            if correlation:
                metrics[f"correlation/{name}/pearson"], metrics[f"correlation/{name}/spearman"] = (
                    correlation.pearson,
                    correlation.spearman,
                )
        return metrics
