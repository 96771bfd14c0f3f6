"""What a report leaves out, and how to get it: a sentence for each part that is missing in its inputs."""

from xlrm.evaluation.results import Evaluation
from xlrm.reporting.facts import Facts
from xlrm.reporting.results import External, language_name


def of_inputs(given: dict[str, bool], several: bool) -> list[str]:
    """Sentences for inputs that were left out. `given`: name of the input -> whether it was given; `several`: whether
    there are languages to compare."""
    sentences = _INPUTS if several else _INPUTS | _ONE_LANGUAGE
    return [sentence for name, sentence in sentences.items() if not given[name]]


_INPUTS = {
    "corpora": "Translations and wrongly ranked pairs: no corpora were given (--input corpora=URI, from validate).",
    "evaluations": "Accuracies: no reward model was evaluated (--inputs evaluations=URI,URI,..., from evaluate).",
    "representations": "Representations: they were not measured (curate.parallel or represent.parallel names texts to "
    "measure them on; --input representations=URI, from represent).",
    "registered": "Registered models: none was registered (--input registered=URI, from register).",
}
_ONE_LANGUAGE = {"representations": "Representations: they are compared between languages, and there is only one."}


def of_evaluations(evaluations: list[Evaluation], compared: set[str], has_curves: bool) -> list[str]:
    """Sentences for missing comparisons with the source's model and missing training curves. `compared`: languages with
    a comparison."""
    sentences = []
    if len(evaluations) == 1 and len(evaluations[0].results) > 1:
        sentences.append("Differences between reward models: only one was evaluated.")
    for evaluation in evaluations[1:]:
        if evaluation.language not in compared:
            name, source = language_name(evaluation.language), language_name(evaluations[0].language)
            sentences.append(
                f"{source} against {name}: not compared, because both models must be evaluated in {name} (evaluate.languages)."
            )
    if evaluations and not has_curves:
        sentences.append("Training curves: the models have no curves.jsonl, which trainings of this version write.")
    return sentences


def of_models(external: list[External], judged: bool, facts: Facts) -> list[str]:
    """Sentences for missing models from elsewhere and missing alignment."""
    sentences = []
    if not external:
        sentences.append("External reward models: none was evaluated (set external.models).")
    if judged:
        return sentences
    if facts.aligned:
        policies = "the aligned policy was" if facts.aligned == 1 else f"the {facts.aligned} aligned policies were"
        sentences.append(f"Win rates: {policies} not judged (set judge.judge).")
    elif not facts.has_prompts:
        sentences.append("Alignment: not part of the experiment (set curate.prompts).")
    else:
        sentences.append("Alignment: no policy was aligned and judged (--inputs verdicts=URI,..., from judge).")
    return sentences
