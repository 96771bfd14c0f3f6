"""Findings on aligned policies, in words."""

from xlrm.reporting.results import CHANCE, AlignedPolicy
from xlrm.reporting.wording import listed, unreadable


def wins(policies: list[AlignedPolicy]) -> str:
    """How many aligned policies win and lose against the policy they were trained from: those whose interval excludes
    an even score."""
    better = sum(win.rate.low > CHANCE for win in policies)
    worse = sum(win.rate.high < CHANCE for win in policies)
    kinds = ((better, "better than"), (worse, "worse than"), (len(policies) - better - worse, "level with"))
    counted = [f"{count} {'is' if count == 1 else 'are'} {kind}" for count, kind in kinds if count]
    note = " (level: an even score lies within the interval)" if better + worse < len(policies) else ""
    return f"Of {len(policies)} aligned policies, {listed(counted)} the policy they were trained from{note}."


def judged(policies: list[AlignedPolicy]) -> str:
    """By whom the policies were judged, and how many verdicts could not be read."""
    names = listed(list(dict.fromkeys(policy.judge for policy in policies if policy.judge)))
    lost = unreadable(sum(policy.unreadable for policy in policies), sum(policy.verdicts for policy in policies))
    return f", judged by {names}; {lost}" if names else ""
