"""Claims on representations, tested on a run (section 3 of Hong et al. 2025)."""

from xlrm.analysis import preservation
from xlrm.analysis.hidden_states import BASE, Similarity
from xlrm.reporting.material import Material
from xlrm.reporting.outcomes import Outcome, Verdict, above, every, missing
from xlrm.reporting.results import language_name, model_name
from xlrm.reporting.wording import p_value, signed

KOREAN = "ko"
_ABSENT = missing("Representations were not measured, or of too few models.")


def _models(material: Material) -> dict[str, Similarity]:
    """Models on the same texts; empty if there are none."""
    models = material.representations.models if material.representations else {}
    return models if len({len(model.values) for model in models.values()}) == 1 else {}


def nearest(material: Material) -> Outcome:
    models, source = _models(material), material.source
    others = [name for name in models if name not in (BASE, source)]
    if source not in models or not others:
        return _ABSENT
    away = {name: preservation.farther(models, name, source) for name in others}
    return Outcome(every(above(distance) for distance in away.values()), _moved(models), "representations")


def farthest(material: Material) -> Outcome:
    models = _models(material)
    others = [name for name in models if name not in (BASE, KOREAN)]
    if KOREAN not in models or not others:
        return missing("No Korean reward model.") if models else _ABSENT
    away = [preservation.farther(models, KOREAN, name) for name in others]
    return Outcome(every(above(distance) for distance in away), _moved(models), "representations")


def collapse(material: Material) -> Outcome:
    """f of the other languages' reward models is above the base model's, and above the source's."""
    models, source = _models(material), material.source
    others = [name for name in models if name not in (BASE, source)]
    if source not in models or not others:
        return _ABSENT
    shifts = {name: preservation.shift(models, name) for name in (source, *others)}
    verdicts = [above(preservation.shift(models, name, than)) for name in others for than in (BASE, source)]
    shown = [
        f"{model_name(name)} {signed(shift.value, 3)} [{signed(shift.low, 3)}, {signed(shift.high, 3)}]"
        for name, shift in shifts.items()
    ]
    return Outcome(every(verdicts), f"f minus the base model's: {'; '.join(shown)}.", "representations")


def _moved(models: dict[str, Similarity]) -> str:
    away = {name: abs(preservation.shift(models, name).value) for name in models if name != BASE}
    shown = [f"{language_name(name)} {away[name]:.3f}" for name in sorted(away, key=away.__getitem__)]
    return f"|f − base|, by training language: {', '.join(shown)}."


def correlation(material: Material) -> Outcome:
    moved = material.transfer.moved if material.transfer else None
    if not moved:
        return missing("Fewer than three reward models with an f and an accuracy in another language.")
    if not moved.interval:
        return Outcome(
            "not decided",
            f"{signed(moved.pearson, 2)} over {moved.n} models, too few for an interval.",
            "representations",
        )
    low, high = moved.interval
    verdict: Verdict = "yes" if high < 0 else "no" if low > 0 else "not decided"
    measured = (
        f"Correlation of |f − base| with the accuracy in other languages {signed(moved.pearson, 2)} "
        f"[{signed(low, 2)}, {signed(high, 2)}], {p_value(moved.p)}, over {moved.n} models."
    )
    return Outcome(verdict, measured, "representations")


def norms(material: Material) -> Outcome:
    """By the Kolmogorov-Smirnov distance of each language's norms from the source's."""
    models = material.representations.embedding_norms if material.representations else {}
    far = {name: [away.ks for away in model.distances.values()] for name, model in models.items()}
    largest = {name: max(distances) for name, distances in far.items() if distances}
    own, others = largest.pop(BASE, None), largest
    if own is None:
        return missing("No norms of the base model in several languages.")
    shown = f"Largest Kolmogorov–Smirnov distance from {language_name(material.source)}: base model {own:.2f}"
    if not others:
        return Outcome(
            "not measured", f"{shown}; no monolingual model beside it (represent.norm_models).", "representations"
        )
    beside = ", ".join(f"{name} {value:.2f}" for name, value in others.items())
    verdict: Verdict = "yes" if own < min(others.values()) else "no"
    return Outcome(verdict, f"{shown}, {beside}.", "representations")
