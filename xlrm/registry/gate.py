"""Decides whether a reward model replaces the champion: it must be better than chance, and better than the champion in
a paired comparison on the same benchmark items."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from xlrm import markdown_table
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation import reward_table
from xlrm.evaluation.benchmarks import HELDOUT
from xlrm.evaluation.credit import Ties, by_chance, credit
from xlrm.evaluation.reward_table import CORPUS
from xlrm.evaluation.statistics import AVERAGE, SUBSET, accuracies, intervals
from xlrm.scorers import fingerprints

if TYPE_CHECKING:
    import numpy as np

ALL = "all"
"""Name, in place of a language, of the mean over languages."""


class Rule(BaseModel):
    """Conditions under which a challenger becomes the champion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmarks: tuple[str, ...] = Field((reward_table.CORPUS,), min_length=1)
    """Benchmarks on each of which the challenger must be better: `corpus`, `heldout` for its held-out rows, or labels of
    those in `evaluate.benchmarks`. For a corpus without a benchmark, `corpus` stands for its held-out rows."""
    margin: float = Field(0.02, ge=0, le=1)
    """Largest amount by which the challenger's accuracy may be below the champion's in any language (its average over
    sections) and in any section (its mean over languages). The default, two points, is half the width of the 95 %
    interval of 1,000 items of which the two models differ in 10 % (1.96 sqrt(0.1 / 1,000))."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Confidence level of the bootstrap interval of the mean difference; the challenger is better if the whole interval
    lies above zero."""
    resamples: int = Field(10_000, ge=100)
    """Number of bootstrap draws."""
    seed: int = 0
    min_common_share: float = Field(0.9, gt=0, le=1)
    """Smallest share of the challenger's items on which the champion must have been evaluated too, with the same ids
    and texts."""

    def rule(self) -> dict:
        """The fields of the rule alone, as JSON values."""
        return self.model_dump(mode="json", include=set(Rule.model_fields))


@dataclass(frozen=True)
class Row:
    """Accuracies of both models on the items that both were evaluated on, their difference and its interval."""

    benchmark: str
    language: str
    """A code, or `all` for the mean over languages."""
    section: str
    """Its name, or `average` for the plain mean of the sections."""
    items: int
    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    verdict: str
    """`better` or `not better` for the average over all; `worse` or `ok` for a language or a section; empty for a
    section in one language."""


@dataclass(frozen=True)
class Decision:
    promoted: bool
    reason: str
    champion: str | None
    """Version that was the champion at the time."""
    rule: dict
    rows: tuple[Row, ...] = ()

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Decision":
        return TypeAdapter(cls).validate_json(text)

    def markdown(self, name: str, since: str = "") -> str:
        """The decision as Kubeflow's and MLflow's pages show it. `since`: the present state, for a decision made
        earlier."""
        promoted = "became the champion" if since else "becomes the champion"
        verdict = promoted if self.promoted else "does not become the champion"
        lines = [f"## {name}: {verdict}", "", *([since, ""] if since else [])]
        lines += [f"{self.reason[:1].upper()}{self.reason[1:]}.", ""]
        if self.rows:
            percent = f"{self.rule['confidence']:.0%} interval"
            head = ("benchmark", "language", "section", "items", "champion", "challenger", "difference", percent, "")
            lines += [*markdown_table.head(head), *map(_row_line, self.rows), ""]
        return "\n".join(lines)


def decide(
    champion: Path | None, challenger: Path, version: str | None, rule: Rule, ties: Ties = "lost",
    own: tuple[str, ...] = (),
) -> Decision:  # fmt: skip
    """Compares the challenger's rewards.parquet with the champion's. `champion` is None if there is no such file or no
    champion, `version` is None without a champion. `own`: languages the challenger was trained in, in which it must be
    better than chance; on a benchmark that has none of them, in all its languages.

    Raises ConfigError for a benchmark that the challenger was not evaluated on.
    """
    known = reward_table.benchmarks(challenger)
    rule = _with_heldout(rule, known)
    conditions = rule.rule()
    if missing := [name for name in rule.benchmarks if name not in known]:
        raise ConfigError(
            "the evaluation does not have this benchmark", where="register.benchmarks", value=missing[0],
            hint=f"it has {', '.join(known)}",
        )  # fmt: skip
    if reason := _no_better_than_chance(challenger, rule, ties, own):
        return Decision(False, reason, version, conditions)
    if version is None:
        return Decision(True, "better than chance, and there is no champion yet", None, conditions)
    if champion is None:
        return Decision(False, f"version {version}, the champion, has no rewards to compare with", version, conditions)
    if _by_response(challenger) == _by_response(champion):
        return Decision(False, f"every reward equals that of version {version}, the champion", version, conditions)
    rows: list[Row] = []
    for name in rule.benchmarks:
        ours, theirs = reward_table.read(challenger, name), reward_table.read(champion, name)
        both = _shared(ours, theirs)
        if reason := _incomparable(name, ours, theirs, both, rule):
            return Decision(False, reason, version, conditions)
        rows += _compared(name, both, rule, ties)
    problems = [_problem(row, rule) for row in rows if row.verdict in ("worse", "not better")]
    reason = "; ".join(problems) or f"better than version {version} on {', '.join(rule.benchmarks)}"
    return Decision(not problems, reason, version, conditions, tuple(rows))


def _with_heldout(rule: Rule, known: list[str]) -> Rule:
    """The rule with the corpus's held-out rows in place of its benchmark, if it was evaluated on those alone."""
    if CORPUS in known or HELDOUT not in known:
        return rule
    names = dict.fromkeys(HELDOUT if name == CORPUS else name for name in rule.benchmarks)
    return rule.model_copy(update={"benchmarks": tuple(names)})


def _no_better_than_chance(path: Path, rule: Rule, ties: Ties, own: tuple[str, ...]) -> str | None:
    """Reason to refuse a model: the interval of its average over sections reaches down to what random rewards earn on
    the same items, 0.5 for a pair and 1/n for a best of n, or for single judgments to what the more frequent label earns.
    None if it does not."""
    for name in rule.benchmarks:
        by_language = reward_table.read(path, name)
        for language in [code for code in own if code in by_language] or by_language:
            items = by_language[language]
            earned = credit(items, [(item["chosen"], item["rejected"]) for item in items], ties)
            chance = by_chance(items)
            low, _ = intervals(items, earned - chance, rule.seed, rule.resamples, rule.confidence)[AVERAGE]
            if not low > 0:
                accuracy, by_luck = accuracies(items, earned)[AVERAGE], accuracies(items, chance)[AVERAGE]
                return (
                    f"not better than chance in {language} on {name}: accuracy {accuracy:.3f}, chance {by_luck:.3f}, lower "
                    f"bound of the {rule.confidence:.0%} interval {by_luck + low:.3f}"
                )
    return None


def check_rewards(path: Path) -> None:
    """Raises DataError for a rewards.parquet with a reward that is not finite."""
    for (name, language, item, _, side, number), reward in _by_response(path).items():
        if reward is None or not math.isfinite(reward):
            raise DataError(
                "a finite number is required to register a model",
                where=f"{path}: reward of {item} ({side} {number}, {language}, {name})", value=reward,
            )  # fmt: skip


def check_differences(name: str, path: Path) -> None:
    """Raises DataError for a rewards.parquet in which all rewards are equal, as those of a head of zeros."""
    rewards = set(_by_response(path).values())
    if len(rewards) == 1:
        raise DataError(
            "all rewards are equal; a champion tells responses apart", where=f"{name}: {path.name}", value=rewards.pop()
        )


def same(ours: Path, theirs: Path) -> bool:
    """Whether two rewards.parquet are the same evaluation: of the same items, with the rewards of one model. Another
    precision, batch or machine changes rewards by no more than a fingerprint allows."""
    rewards, others = _by_response(ours), _by_response(theirs)
    if rewards.keys() != others.keys():
        return False
    allowed = fingerprints.TOLERANCE["bfloat16"] * (max(rewards.values()) - min(rewards.values()))
    return all(abs(reward - others[key]) <= allowed + 1e-5 * abs(reward) for key, reward in rewards.items())


def _by_response(path: Path) -> dict[tuple, float]:
    return {
        (name, language, item["id"], item["text"], side, i): reward
        for name in reward_table.benchmarks(path)
        for language, items in reward_table.read(path, name).items()
        for item in items
        for side in ("chosen", "rejected")
        for i, reward in enumerate(item[side])
    }


Pairs = dict[str, list[tuple[dict, dict]]]
"""Language -> the same item with the challenger's and with the champion's rewards."""


def _shared(ours: dict[str, list[dict]], theirs: dict[str, list[dict]]) -> Pairs:
    """Items with the same id and texts in both."""
    both: Pairs = {}
    for language, items in ours.items():
        known = {(item["id"], item["text"]): item for item in theirs.get(language, [])}
        pairs = [(item, known[key]) for item in items if (key := (item["id"], item["text"])) in known]
        if pairs:
            both[language] = pairs
    return both


def _incomparable(name: str, ours: dict, theirs: dict, both: Pairs, rule: Rule) -> str | None:
    """Reason why a benchmark cannot be compared: both models were evaluated on too few of the challenger's items, or on
    none of a section in a language, so that nothing shows that the challenger is not worse there. None if it can."""
    share = sum(map(len, both.values())) / sum(map(len, ours.values()))
    if share < rule.min_common_share:
        return f"the champion was evaluated on {share:.1%} of the items of {name}; {rule.min_common_share:.1%} are required"
    compared = _parts({language: [item for item, _ in pairs] for language, pairs in both.items()})
    if alone := sorted((_parts(ours) | _parts(theirs)) - compared):
        language, section = alone[0]
        return f"no item of {section} in {language} on {name} is in both evaluations, so they cannot be compared there"
    return None


def _parts(items: dict[str, list[dict]]) -> set[tuple[str, str]]:
    """(language, section) of all items."""
    return {(language, row["section"]) for language, rows in items.items() for row in rows}


def _compared(benchmark: str, both: Pairs, rule: Rule, ties: Ties) -> Iterator[Row]:
    """Rows of the mean over languages, then of each language."""
    earned = {language: _credits(pairs, ties) for language, pairs in both.items()}
    for language, items, challenger, champion in [_mean(both, earned), *_each(both, earned)]:
        bounds = intervals(items, challenger - champion, rule.seed, rule.resamples, rule.confidence)
        ours, theirs = accuracies(items, challenger), accuracies(items, champion)
        sections = [name for name in ours if not name.startswith(SUBSET)]
        for section in sorted(sections, key=lambda name: name != AVERAGE):
            difference = ours[section] - theirs[section]
            count = len(items) if section == AVERAGE else sum(item["section"] == section for item in items)
            verdict = _verdict(language, section, difference, bounds[section][0], rule)
            values = (theirs[section], ours[section], difference, *bounds[section])
            yield Row(benchmark, language, section, count, *values, verdict)


def _credits(pairs: list[tuple[dict, dict]], ties: Ties) -> "tuple[np.ndarray, np.ndarray]":
    """Credits of the challenger and of the champion."""
    ours, theirs = ([(item["chosen"], item["rejected"]) for item in side] for side in zip(*pairs, strict=True))
    items = [item for item, _ in pairs]
    return credit(items, ours, ties), credit(items, theirs, ties)


def _each(both: Pairs, earned: dict) -> Iterator[tuple]:
    for language, pairs in both.items():
        yield language, [item for item, _ in pairs], *earned[language]


def _mean(both: Pairs, earned: dict) -> tuple:
    """The mean over languages. An item has the same id in all languages and is drawn with all of them, as they are not
    independent. Its credit is scaled so that a subset's mean is the mean of the languages' means, even if one has fewer
    items."""
    import numpy as np

    items: dict[tuple[str, str], dict] = {}
    sizes: dict[str, Counter] = {}
    for language, pairs in both.items():
        for item, _ in pairs:
            items.setdefault((item["subset"], item["id"]), item)
            sizes.setdefault(item["subset"], Counter())[language] += 1
    places = {key: place for place, key in enumerate(items)}
    wholes = Counter(subset for subset, _ in items)
    means = np.zeros((2, len(items)))
    for language, pairs in both.items():
        at = [places[item["subset"], item["id"]] for item, _ in pairs]
        of = [item["subset"] for item, _ in pairs]
        means[:, at] += earned[language] * np.array(
            [wholes[subset] / sizes[subset][language] / len(sizes[subset]) for subset in of]
        )
    return ALL, list(items.values()), means[0], means[1]


def _verdict(language: str, section: str, difference: float, low: float, rule: Rule) -> str:
    if language == ALL and section == AVERAGE:
        return "better" if low > 0 else "not better"
    if language == ALL or section == AVERAGE:
        return "worse" if difference < -rule.margin - 1e-9 else "ok"
    return ""


def _problem(row: Row, rule: Rule) -> str:
    where = f"{row.section} on {row.benchmark}" if row.language == ALL else f"{row.language} on {row.benchmark}"
    if row.verdict == "worse":
        return f"{where} is worse by {-row.difference:.3f}, more than the margin of {rule.margin:g}"
    interval = f"{row.low:+.3f} to {row.high:+.3f}"
    return f"not better on {row.benchmark}: difference {row.difference:+.3f}, {rule.confidence:.0%} interval {interval}"


def _row_line(row: Row) -> str:
    figures = (f"{row.champion:.3f}", f"{row.challenger:.3f}", f"{row.difference:+.3f}")
    interval = f"{row.low:+.3f} to {row.high:+.3f}"
    return markdown_table.row((row.benchmark, row.language, row.section, row.items, *figures, interval, row.verdict))
