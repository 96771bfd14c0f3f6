"""Steps of paper B's comparisons with translated data: silver reward models (section 5.1, translate-train) and policies
fine-tuned on translated demonstrations (section 5.3)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from xlrm.data.corpus_schema import Name
from xlrm.languages import LANGUAGES
from xlrm.run.sections import Experiment
from xlrm.run.step import Inputs, Step
from xlrm.translation import chains

ENGLISH = "en"
TRANSLATED, ROUND_TRIP = "translated", "round_trip"
PAIRS: tuple[Name, ...] = ("preferences",)
DEMONSTRATIONS: tuple[Name, ...] = ("demonstrations",)


class TranslatedPolicy(NamedTuple):
    """A policy of a target language that is fine-tuned on translations."""

    target: str
    source: str
    """The other language, whose reward model chooses among its responses."""
    kind: str
    """translated: the other language's demonstrations; round_trip: the target's own, translated there and back."""
    sft: Step

    @property
    def of(self) -> tuple[str, str]:
        return _of(self.kind, self.source)

    @property
    def name(self) -> str:
        """Its name among the systems of a verdict."""
        return f"{self.source} {self.kind}"


def _of(kind: str, source: str) -> tuple[str, str]:
    """What distinguishes steps of such a policy: `from-en` if translated from English, `via-en` if there and back."""
    return ("from" if kind == TRANSLATED else "via", source)


def _curated(experiment: Experiment, language: str) -> str:
    return "curate" if language == experiment.source else f"curate-{language}"


def route(experiment: Experiment, source: str, target: str) -> tuple[str, ...]:
    """Languages of a translation from start to end. Raises ConfigError for a language that the translator does not know."""
    stops = chains.route(translator(experiment, target), LANGUAGES[source], LANGUAGES[target])
    return (source, *(language.code for language in stops))


def translator(experiment: Experiment, target: str) -> str:
    """Translator into a language. Raises ConfigError if the experiment names none."""
    return experiment.config("translate", language=target).translator


def _translations(experiment: Experiment, stops: tuple[str, ...], files: tuple[Name, ...]) -> Iterator[Step]:
    """Steps that translate these tables of the first language's corpus from stop to stop. Their labels name the stops."""
    corpus = _curated(experiment, stops[0])
    tables = "" if files == PAIRS else "sft"
    for end in range(2, len(stops) + 1):
        target = stops[end - 1]
        of = tuple(filter(None, (tables, *stops[:end])))
        added = experiment.more_languages.get(target)
        given: dict[str, Any] = {"language": target, "files": list(files), "limits": experiment.limits}
        given |= {"translator": added.translator} if added and added.translator else {}
        yield (step := Step("translate", of, given, {"corpus": corpus}))
        corpus = step.label


def _limits(experiment: Experiment) -> dict[str, Any]:
    return {"limits": experiment.limits} if experiment.limits else {}


# Silver reward models


def corpora(experiment: Experiment) -> list[Step]:
    """Each language's pairs translated into every other language, checked together: corpora of silver reward models."""
    if not experiment.translate_train:
        return []
    made: dict[str, Step] = {}
    checked = []
    for source in experiment.languages:
        ends = []
        for target in _others(experiment, source):
            parts = list(_translations(experiment, route(experiment, source, target), PAIRS))
            made |= {step.label: step for step in parts}
            ends.append(parts[-1].label)
        inputs: Inputs = {"source": _curated(experiment, source), "translations": tuple(ends)}
        checked.append(Step("validate", (source,), _limits(experiment), inputs))
    return [*made.values(), *checked]


def reward_models(experiment: Experiment) -> list[Step]:
    """A reward model of each target for each other language, trained on pairs translated from it; it starts from the
    target's fine-tuned model."""
    return [
        Step(
            "reward", (target, "from", source), {"language": target},
            {"base": f"sft-{target}", "corpora": f"validate-{source}"},
        )
        for target in experiment.languages
        for source in (_others(experiment, target) if experiment.translate_train else ())
    ]  # fmt: skip


def models_of(experiment: Experiment, target: str) -> list[tuple[str, str]]:
    """(source, label) of the silver reward models of a target."""
    return [(step.of[2], step.label) for step in reward_models(experiment) if step.of[0] == target]


def _others(experiment: Experiment, language: str) -> list[str]:
    return [code for code in experiment.languages if code != language]


# Policies fine-tuned on translations


def policies(experiment: Experiment) -> Iterator[TranslatedPolicy]:
    """These policies, with English as source or target (section 5.3)."""
    for kind in experiment.translated_demonstrations:
        for target, source in _with_english(experiment):
            of = (target, *_of(kind, source))
            inputs: Inputs = {"base": "base", "corpora": "-".join(("validate", *of))}
            yield TranslatedPolicy(target, source, kind, Step("sft", of, {"language": target}, inputs))


def _with_english(experiment: Experiment) -> list[tuple[str, str]]:
    """(target, source) of which one is English."""
    others = _others(experiment, ENGLISH) if ENGLISH in experiment.languages else []
    return [pair for code in others for pair in ((code, ENGLISH), (ENGLISH, code))]


def demonstrations(experiment: Experiment) -> list[Step]:
    """Translations of demonstrations, and a checked corpus of each. A round trip is checked against the text in the middle,
    which both translations share, because a corpus has a language once."""
    made: dict[str, Step] = {}
    checked = []
    for policy in policies(experiment):
        target, source = policy.target, policy.source
        stops = (source, target) if policy.kind == TRANSLATED else (target, source, target)
        parts = list(_translations(experiment, stops, DEMONSTRATIONS))
        made |= {step.label: step for step in parts}
        start = _curated(experiment, source) if policy.kind == TRANSLATED else parts[0].label
        inputs: Inputs = {"source": start, "translations": (parts[-1].label,)}
        checked.append(Step("validate", (target, *policy.of), _limits(experiment), inputs))
    return [*made.values(), *checked]
