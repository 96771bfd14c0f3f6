"""The tables of docs/paper_b.md, in Markdown: `python -m xlrm.reporting.reuse_claims_page docs/paper_b.md` writes them again."""

import sys
from collections.abc import Sequence
from pathlib import Path

from xlrm import markdown_table
from xlrm.reporting import reuse_claims
from xlrm.reporting.published import paper_b
from xlrm.reporting.results import language_name
from xlrm.reporting.reuse_claims import CheckedClaim


def statements(claims: Sequence[CheckedClaim]) -> str:
    """Statements with what the tables say of them."""
    rows = [
        (number, f"{each.claim.sentence} ({each.claim.where})", each.finding.text, f"**{each.finding.verdict}**")
        for number, each in enumerate(claims, 1)
    ]
    return _table(("", "the paper says", "its tables say", "verdict"), rows)


def without_numbers() -> str:
    """Statements that cannot be derived from the tables."""
    rows = [(f"{each.sentence} ({each.where})", each.lacks) for each in paper_b.without_numbers()]
    return _table(("the paper says", "it does not print"), rows)


def counts() -> str:
    """Instances for training and validation, Tables 1 to 4."""
    parts: dict[str, dict[str, paper_b.Count]] = {
        "summarization: SFT and reward optimization (Table 1)": {
            f"{language_name(language)}, {name}": count
            for language, sets in paper_b.counts_sft().items()
            for name, count in sets.items()
        },
        "summarization: judgments for reward models (Table 2)": _named(paper_b.counts_rewards()),
        "dialog: SFT and reward optimization (Table 3)": _named(paper_b.counts_dialog_sft()),
        "dialog: pairs for reward models (Table 4)": _named(paper_b.counts_dialog_rewards()),
    }
    rows = [
        (purpose, name, f"{count.train:,}", f"{count.validation:,}")
        for purpose, own in parts.items()
        for name, count in own.items()
    ]
    return _table(("data for", "language", "train", "validation"), rows)


def write(page: str) -> str:
    """The page with its tables, which stand between `<!-- NAME -->` and `<!-- end -->`, written again."""
    claims = reuse_claims.of_tables()
    parts = {
        "summary": reuse_claims.summary(claims),
        "statements": statements(claims),
        "without numbers": without_numbers(),
        "counts": counts(),
    }
    for name, text in parts.items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        page = f"{before}{mark}{text}\n{end}{after}"
    return page


def _named(counts: dict[str, paper_b.Count]) -> dict[str, paper_b.Count]:
    return {language_name(language): count for language, count in counts.items()}


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return "\n".join([*markdown_table.head(names), *map(markdown_table.row, rows)])


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(write(path.read_text(encoding="utf-8")), encoding="utf-8")
