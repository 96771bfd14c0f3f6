"""The account of a curated corpus: the terms of use of its sources, and how many rows of each were kept."""

from xlrm.data import licences
from xlrm.data.cleaning import REASONS

Origins = dict[str, dict[str, dict[str, str | int]]]
"""Purpose -> entry of the config -> licence and file, or licence, repository, revision and commit."""

_TRAINED_ON = ("preferences", "prompts")


def terms(origins: Origins) -> dict:
    """Licences of the pairs, and whether those of the training data forbid commercial use. A licence that was not
    stated permits nothing: `unknown_terms` names the sources without a known one."""
    trained = {entry: str(origin["licence"]) for use in _TRAINED_ON for entry, origin in origins.get(use, {}).items()}
    return {
        "licences": {entry: origin["licence"] for entry, origin in origins["preferences"].items()},
        "non_commercial": any(map(licences.is_non_commercial, trained.values())),
        "unknown_terms": [entry for entry, licence in trained.items() if not licences.is_known(licence)],
    }


def moving(origins: Origins) -> dict[str, str]:
    """Entries taken from the branch main, whose content may change -> how to pin them."""
    return {
        entry: f"{entry}@{origin.get('commit', 'COMMIT')}"
        for entries in origins.values()
        for entry, origin in entries.items()
        if origin.get("revision") == "main"
    }


def markdown(card: dict) -> str:
    """Rows in, dropped by reason and out for each source, with its terms and origin, in Markdown."""
    parts = [(entry, counts, "preferences") for entry, counts in card["sources"].items()]
    parts += [(entry, counts, "prompts") for entry, counts in card.get("prompts", {}).items()]
    reasons = [reason for reason in REASONS if any(reason in counts["dropped"] for _, counts, _ in parts)]
    head = ["source", "in", *(reason.replace("_", " ") for reason in reasons), "out", "licence", "from"]
    lines = [f"# Corpus in {card['language']}", "", _row(head), _row(["---"] * len(head))]
    for entry, counts, use in parts:
        origin = card["origins"][use][entry]
        dropped = [counts["dropped"].get(reason, 0) for reason in reasons]
        name = entry if use == "preferences" else f"{entry} ({use})"
        lines.append(_row([name, counts["in"], *dropped, counts["out"], origin["licence"], _place(origin)]))
    lines += ["", _terms_line(card)]
    if hits := _hits([counts for _, counts, _ in parts]):
        lines += ["", f"Contaminated rows by what they hit: {hits}."]
    return "\n".join(lines) + "\n"


def _terms_line(card: dict) -> str:
    return f"Terms of the whole: {licences.verdict(card['non_commercial'], card['unknown_terms'])}."


def _hits(parts: list[dict]) -> str:
    totals: dict[str, int] = {}
    for counts in parts:
        for name, count in counts.get("contaminated_by", {}).items():
            totals[name] = totals.get(name, 0) + count
    return ", ".join(f"{name} {count}" for name, count in sorted(totals.items()))


def _place(origin: dict) -> str:
    if "repository" not in origin:
        return origin.get("file", "made here")
    revision = origin.get("commit", origin.get("revision", ""))[:12]
    return f"{origin['repository']}@{revision}" if revision else origin["repository"]


def _row(cells: list) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
