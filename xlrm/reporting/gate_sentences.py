"""Decisions of the gates, in words."""

from xlrm.registry.champion import Registered
from xlrm.registry.gate import Decision
from xlrm.reporting.results import language_name
from xlrm.reporting.wording import PERCENT, listed, names, percent
from xlrm.validation.summary import FileSummary, Summary


def verdict(decision: Decision | None) -> str:
    """The gate's decision on a model."""
    return f"{'accepted' if decision.promoted else 'refused'}: {decision.reason}" if decision else ""


def refused(registered: Registered | None) -> list[str]:
    """A sentence for each model that the gate refused."""
    if not registered:
        return []
    return [
        f"The registry's gate refused {name}, version {registered.versions[name]}: {decision.reason}."
        for name, decision in registered.decisions.items()
        if not decision.promoted
    ]


def validated(summary: Summary) -> str:
    """How many rows passed, and which languages and files the gate refused."""
    several = len(summary.languages.keys() - summary.own.keys()) > 1
    passed = f"{summary.rows_out:,} of {summary.rows_in:,} rows passed{' in every language' if several else ''}."
    if summary.own:
        passed += f" Data in {names(list(summary.own))} was not translated here and is checked by itself."
    if summary.passed:
        return passed
    refused = [
        f"{name.removesuffix('.jsonl')} in {language_name(code)}{_failed(file)}"
        for code, files in summary.languages.items()
        for name, file in files.items()
        if not (file.passed and file.rows_out)
    ]
    what = "translations" if summary.translations or several else "data"
    return f"The gate refused the {what}{f': {listed(refused)}' if refused else ''}. {passed}"


def _failed(file: FileSummary) -> str:
    if file.failed is None or file.expected is None or file.limit is None:
        return ""
    return f" ({percent(file.failed)}{PERCENT} of the rows failed, {percent(file.expected + file.limit)}{PERCENT} are allowed)"
