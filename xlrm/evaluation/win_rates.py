"""Win rates of systems against a reference, from a judge's verdicts (`xlrm.scorers.judges.table`) on their responses to
the same prompts. Response a is the reference's, response b the system's.

The statistics are alpaca_eval's: `src/alpaca_eval/metrics/{winrate,helpers}.py` at v0.6.6.
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from xlrm import progress
from xlrm.errors import DataError, GateError
from xlrm.evaluation import length_control, statistics
from xlrm.evaluation.length_control import HUB, Difficulties
from xlrm.evaluation.results import REFERENCE, Cost, Difference, SubsetRate, WinRate
from xlrm.models import samples
from xlrm.scorers.judges import rewardbench, table
from xlrm.scorers.judges.pairs import Judgement, Pair
from xlrm.scorers.judges.verdicts import vote
from xlrm.store.fields import NamesFile, NotCounted

if TYPE_CHECKING:
    import numpy as np

DRAW = 1.5
"""Preference for neither response: 1 is for the reference's, 2 for the system's. alpaca_eval also reads 0 as a draw."""
ONLINE = ("grpo-", "rloo-")
"""Beginnings of the names of policies trained online; the code of their reward model follows."""


class Settings(table.Settings):
    """How policies are judged: settings of generative judges, and what is computed from the verdicts."""

    runs: int = Field(1, ge=1)
    """Responses of each policy to a prompt that are judged, each in a run of its own (paper A: 5); `sample.runs` generates
    them."""
    max_items: int | None = Field(None, ge=1)
    """Prompts of each data set (`subset` of their rows) that are judged, the same for all systems and chosen by `seed` and
    the prompt's id; null judges all (paper B, appendix D: 1,000 for GPT-4)."""
    length_control: Annotated[str | None, NamesFile(words=(HUB,))] = None
    """Adds AlpacaEval's length-controlled win rate, which is valid in English on AlpacaEval's own prompts: `hub`, or a copy
    of df_gamed.csv of the dataset tatsu-lab/alpaca_eval; null leaves it out."""
    max_usd: Annotated[float | None, NotCounted] = Field(None, ge=0)
    """Budget in US dollars for a judge at an endpoint, in all languages of an experiment together, which have equal parts: the
    stage does not start if its estimate is above its part or the price is unknown, and stops when the cost is above it."""


class HeadToHead(NamedTuple):
    """alpaca_eval's numbers of one system against a reference. Rates are shares; alpaca_eval prints them in percent."""

    win_rate: float
    standard_error: float | None
    """Over the preferences; None for a single one."""
    wins: int
    losses: int
    draws: int
    total: int
    """Preferences that are not missing."""
    discrete: float


def head_to_head(preferences: Sequence[float | None]) -> HeadToHead:
    """`preferences` in [1, 2], or 0 for a draw; None, NaN and other numbers count as missing. Raises DataError if none
    is left."""
    given = [value for value in preferences if value is not None and not math.isnan(value)]
    read = _valid(given)
    if not read:
        raise DataError("at least one preference in [1, 2] is required", where="preferences", value=len(preferences))
    rounded = _valid([0 if value == DRAW else round(value) for value in given])
    wins, losses = sum(value > DRAW for value in read), sum(value < DRAW for value in read)
    return HeadToHead(
        math.fsum(value - 1 for value in read) / len(read), statistics.standard_error(read),
        wins, losses, len(read) - wins - losses, len(read), math.fsum(value - 1 for value in rounded) / len(rounded),
    )  # fmt: skip


def _valid(preferences: Sequence[float]) -> list[float]:
    return [DRAW if value == 0 else value for value in preferences if value == 0 or 1 <= value <= 2]


def pairs(
    reference: Sequence[dict], system: Sequence[dict], runs: int = 1, name: str = "", language: str = ""
) -> list[Pair]:
    """The responses of reference and system to each prompt, `runs` times: run k compares response k of each, and begins
    again with the first where there are fewer. Rows have id, prompt and responses, and perhaps the subset that they are
    from, as `models.samples.read` returns them. Raises DataError for responses to different prompts, and for none."""
    own = {row["id"]: row for row in system}
    if different := own.keys() ^ {row["id"] for row in reference}:
        raise DataError("only one of two policies answers this prompt", where="judge", value=min(different))
    made = []
    for row in reference:
        responses = (row["responses"], own[row["id"]]["responses"])
        if not all(responses):
            raise DataError("at least one response is required", where=f"item {row['id']}: responses", value=[])
        for run in range(runs):
            a, b = (each[run % len(each)] for each in responses)
            pair = Pair.of(row["id"], row["prompt"], a, b, run, language, str(row.get("subset") or ""))
            made.append(dataclasses.replace(pair, system=name))
    return made


def read_pairs(
    reference: Sequence[Path], systems: Sequence[tuple[str, Sequence[Path], int]], language: str, config: Settings
) -> dict[str, list[Pair]]:
    """System -> its pairs with the reference. `systems`: name, folders of `sample` and the number of its policy in them.
    Raises DataError as `pairs` and `samples.read` do."""
    known = samples.read(reference, 0, "eval", language)
    made = {
        name: pairs(known, samples.read(folders, place, "eval", language), config.runs, name, language)
        for name, folders, place in systems
    }
    chosen = {row["id"] for row in at_most(known, config.max_items, config.seed)}
    return {name: [pair for pair in own if pair.id in chosen] for name, own in made.items()}


def at_most(rows: Sequence[dict], count: int | None, seed: int) -> list[dict]:
    """`count` rows of each subset at most, those with the smallest digests of seed and id, in their order; all for None."""
    if count is None:
        return list(rows)
    subsets: dict[str, list[str]] = {}
    for row in rows:
        subsets.setdefault(str(row.get("subset") or ""), []).append(row["id"])
    taken = {name for own in subsets.values() for name in sorted(own, key=lambda name: _digest(seed, name))[:count]}
    return [row for row in rows if row["id"] in taken]


def _digest(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


class Judged(NamedTuple):
    """A system's pairs with the verdicts on them."""

    pairs: Sequence[Pair]
    judgements: Sequence[Judgement]

    def shares(self) -> "np.ndarray":
        """Share of a win (preference - 1) of each prompt in each run (prompts, runs); NaN without a readable verdict."""
        import numpy as np

        runs = 1 + max((pair.run for pair in self.pairs), default=0)
        preferences = [vote(judgement) for judgement in self.judgements]
        return np.array([math.nan if value is None else value - 1 for value in preferences]).reshape(-1, runs)

    def items(self) -> dict[str, float | None]:
        """Prompt's id -> its share of a win, the mean over runs; None without a readable verdict."""
        ids = dict.fromkeys(pair.id for pair in self.pairs)
        means = statistics.mean_of_rows(self.shares())
        return {name: None if math.isnan(mean) else float(mean) for name, mean in zip(ids, means, strict=True)}

    def subsets(self) -> dict[str, str]:
        """Prompt's id -> the subset that it is from, in the order of `shares`."""
        return {pair.id: pair.subset for pair in self.pairs}


def by_system(pairs: Mapping[str, Sequence[Pair]], judgements: Sequence[Judgement]) -> dict[str, Judged]:
    """`judgements` of the pairs of all systems, one system after the other."""
    left = iter(judgements)
    return {name: Judged(own, [next(left) for _ in own]) for name, own in pairs.items()}


def win_rate(judged: Judged, control: Difficulties | None = None) -> WinRate:
    """With prompts of several subsets the rates are means over the subsets (paper B: over data sets). `control`: for a
    length-controlled rate too. Raises GateError if no verdict is readable, of a subset too: a rate of nothing is none;
    DataError for prompts that are not AlpacaEval's if `control` is given."""
    import numpy as np

    shares, judgements = judged.shares(), judged.judgements
    labels = list(judged.subsets().values())
    by_subset = statistics.by_label(shares, labels)
    for subset, own in by_subset.items():
        if np.isnan(own).all():
            text = next((answer.text for judgement in judgements for answer in judgement.answers), "")
            of = f" on the prompts of {subset}" if len(by_subset) > 1 else ""
            raise GateError(f"no verdict of the judge{of} is readable", where="judge.judge", value=text[:200])
    parts = {subset: head_to_head([1 + share for share in own[~np.isnan(own)]]) for subset, own in by_subset.items()}
    items = {subset: _readable(statistics.mean_of_rows(own)) for subset, own in by_subset.items()}
    mean, low, high = statistics.macro_interval(list(items.values()))
    rates = [_macro(statistics.by_label(run, labels)) for run in shares.T if not np.isnan(run).all()]
    lengths = np.array([(len(pair.a), len(pair.b)) for pair in judged.pairs])
    prompts = list({pair.id: pair.prompt for pair in judged.pairs}.values())
    controlled = control and length_control.win_rate(control, prompts, shares, lengths.reshape(*shares.shape, 2))
    return WinRate(
        win_rate=mean, interval=(low, high), items=sum(map(len, items.values())), wins=sum(each.wins for each in parts.values()),
        losses=sum(each.losses for each in parts.values()), draws=sum(each.draws for each in parts.values()),
        discrete=statistics.mean([each.discrete for each in parts.values()]),
        standard_error=statistics.macro_standard_error(list(items.values())), runs=tuple(rates),
        run_standard_error=statistics.standard_error(rates), dropped=int(np.isnan(shares).sum()),
        verdicts=sum(len(judgement.verdicts) for judgement in judgements),
        unreadable=sum(judgement.unreadable for judgement in judgements),
        refused=sum(bool(answer.refused) for judgement in judgements for answer in judgement.answers),
        characters=(float(lengths[:, 0].mean()), float(lengths[:, 1].mean())), length_controlled=controlled,
        **_bias(judgements), **({"subsets": {name: _rate(own) for name, own in items.items()}} if len(items) > 1 else {}),
    )  # fmt: skip


def _readable(values: "np.ndarray") -> "np.ndarray":
    import numpy as np

    return values[~np.isnan(values)]


def _macro(by_subset: "Mapping[str, np.ndarray]") -> float:
    """Mean over the subsets, of those with a readable verdict, of the mean share."""
    return statistics.mean([float(own.mean()) for values in by_subset.values() if len(own := _readable(values))])


def _rate(items: "np.ndarray") -> SubsetRate:
    mean, low, high = statistics.mean_interval(items)
    return SubsetRate(win_rate=mean, interval=(low, high), items=len(items))


def _bias(judgements: Sequence[Judgement]) -> dict[str, float | None]:
    """Position bias, as in `WinRate`, over the pairs that the judge was asked about, which equal responses may not be;
    nothing for a judge that was shown no order, such as one that knows the answers."""
    asked = [judgement for judgement in judgements if judgement.answers]
    if len({first for judgement in asked for first in judgement.a_first}) < 2:
        return {}
    shares = rewardbench.bias([judgement.record() for judgement in asked])
    return {name: shares[name] for name in ("first", "consistent", "position_bias") if name in shares}


def comparisons(systems: Sequence[str], language: str) -> list[tuple[str, str]]:
    """Pairs of systems to compare. `systems`: first the policy by the source's reward model, perhaps after `base`. The
    source's against the target's, each against the base policy, and a policy trained online (`grpo-en`) against the one
    by the same reward model and against the base policy."""
    own = [name for name in systems if name != REFERENCE]
    by_rewards = [name for name in own if not name.startswith(ONLINE)]
    wanted = [(first, second) for first in by_rewards for second in by_rewards if second == language != first]
    wanted += [(name, name.partition("-")[2]) for name in own if name not in by_rewards]
    wanted += [(name, REFERENCE) for name in own]
    return [(first, second) for first, second in wanted if second in systems]


def differences(
    items: Mapping[str, Mapping[str, float | None]],
    language: str,
    reference: str = REFERENCE,
    subsets: Mapping[str, str] | None = None,
) -> tuple[Difference, ...]:
    """Paired by prompt. `items`: system -> prompt's id -> share of a win against the reference, as `Judged.items` returns
    it; the reference itself, if that is `base`, wins half of everything, and another one is not compared with. Prompts
    without a readable verdict on either system are left out. `subsets`: prompt's id -> subset; of several a difference is the
    mean over them, as the win rates are."""
    import numpy as np

    of = subsets or {}

    if REFERENCE not in items and reference == REFERENCE:
        items = {**items, REFERENCE: {name: 0.5 for own in items.values() for name in own}}
    tested = []
    for first, second in comparisons(list(items), language):
        both = [(of.get(name, ""), share, items[second].get(name)) for name, share in items[first].items()]
        known = [(label, share - other) for label, share, other in both if share is not None and other is not None]
        if known:
            strata = statistics.by_label(np.array([value for _, value in known]), [label for label, _ in known])
            tested.append((first, second, statistics.paired_macro(list(strata.values()))))
    adjusted = statistics.holm([paired.p for _, _, paired in tested])
    return tuple(
        Difference(first=first, second=second, **paired._asdict(), p_holm=p_holm)
        for (first, second, paired), p_holm in zip(tested, adjusted, strict=True)
    )


def metrics(results: Mapping[str, WinRate], cost: Cost | None) -> dict[str, float]:
    """Flat metrics: win rate, standard errors and unreadable verdicts by system, and the cost in US dollars if it is
    known."""
    flat: dict[str, float] = {}
    for name, result in results.items():
        flat |= {f"win_rate/{name}": result.win_rate, f"unreadable/{name}": float(result.unreadable or 0)}
        errors = {"standard_error": result.standard_error, "run_standard_error": result.run_standard_error}
        flat |= {f"{label}/{name}": value for label, value in errors.items() if value is not None}
    return flat if cost is None or cost.usd is None else flat | {"usd": cost.usd}


def say(language: str, reference: str, results: Mapping[str, WinRate]) -> None:
    """Logs the rates, and that a rate of 0 or 1 cannot show a difference."""
    rates = (f"{name} {r.win_rate:.1%} ({r.interval[0]:.1%} to {r.interval[1]:.1%})" for name, r in results.items())
    progress.say(f"judge[{language}]: win rates against {reference}: {', '.join(rates)}")
    if results and all(rate.win_rate in (0, 1) for rate in results.values()):
        progress.say(f"judge[{language}]: one side won every time; compare with a reference of more equal quality")


def records(judged: Mapping[str, Judged]) -> list[dict]:
    """Rows of verdicts.jsonl: one for each system, prompt and run."""
    return [
        {
            "id": pair.id, "system": system, "run": pair.run, "prompt": pair.prompt, "reference": pair.a,
            "response": pair.b, "preference": vote(judgement), "reference_first": list(judgement.a_first),
        } | judgement.record()
        for system, own in judged.items()
        for pair, judgement in zip(own.pairs, own.judgements, strict=True)
    ]  # fmt: skip
