"""What a report leaves out, and how to get it: a sentence for each part that is missing in its inputs."""

from xlrm.evaluation.results import Evaluation
from xlrm.reporting.facts import Facts
from xlrm.reporting.results import AlignedPolicy, External, language_name


def of_inputs(given: dict[str, bool]) -> list[str]:
    """Sentences for inputs that were left out. `given`: name of the input -> whether it was given."""
    return [sentence for name, sentence in _INPUTS.items() if not given[name]]


_INPUTS = {
    "corpora": "Translations and wrongly ranked pairs: no corpora were given (--input corpora=URI, of validate).",
    "evaluations": "Accuracies: no reward model was evaluated (--inputs evaluations=URI,URI,..., of evaluate).",
    "representations": "Representations: they were not measured (--input representations=URI, of represent).",
    "registered": "Registered models: none was registered (--input registered=URI, of register).",
}


def of_evaluations(evaluations: list[Evaluation], compared: set[str], has_curves: bool) -> list[str]:
    """Sentences for missing comparisons with the source's model and missing training curves. `compared`: languages with
    a comparison."""
    sentences = []
    if len(evaluations) == 1:
        sentences.append("Differences between reward models: one alone was evaluated.")
    for evaluation in evaluations[1:]:
        if evaluation.language not in compared:
            name, source = language_name(evaluation.language), language_name(evaluations[0].language)
            sentences.append(
                f"{source} against {name}: both models have to be evaluated in {name} (evaluate.languages) to be compared."
            )
    if evaluations and not has_curves:
        sentences.append("Training curves: the models have no curves.jsonl, which trainings of this version write.")
    return sentences


def of_models(external: list[External], win_rates: list[AlignedPolicy], facts: Facts) -> list[str]:
    """Sentences for missing models from elsewhere and missing alignment."""
    sentences = []
    if not external:
        sentences.append("Reward models off the shelf: none was evaluated (external.models names them).")
    if win_rates:
        return sentences
    if facts.aligned:
        sentences.append(
            f"Win rates: {facts.aligned} policies were aligned and not judged (judge.judge names a judge)."
        )
    elif not facts.has_prompts:
        sentences.append("Alignment: the experiment leaves it out (curate.prompts: null).")
    else:
        sentences.append("Alignment: no policy was aligned and judged (--inputs verdicts=URI,..., of judge).")
    return sentences
