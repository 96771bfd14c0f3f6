"""Preference sets of the Hugging Face Hub, paper A's five and its prompts: where each is, on what terms, and how its
records become rows. Columns and rules as on the dataset cards; `docs/data.md` argues the defaults where paper A is silent.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from xlrm.errors import ArtifactError, DataError

Record = dict
Row = dict[str, str]


@dataclass(frozen=True)
class Source:
    name: str
    repository: str
    licence: str
    rows: Callable[[Iterable[Record]], Iterator[Row]]
    """Records in the order of the set -> rows with prompt, chosen and rejected (or prompt alone), in text."""
    config: str | None = None
    folder: str | None = None
    """`data_dir` of the repository, where it holds more than one table."""
    split: str = "train"
    revision: str = "main"
    """Commit, tag or branch; a commit makes a run repeatable."""
    gated: bool = False
    """True where the Hub asks for an account that has accepted the licence (HF_TOKEN)."""


def _safe_rlhf(rule: str) -> Callable[[Iterable[Record]], Iterator[Row]]:
    """`rule`: better (more helpful), safer, or agree (pairs of which one response is both)."""

    def rows(records: Iterable[Record]) -> Iterator[Row]:
        for record in records:
            better, safer = record["better_response_id"], record["safer_response_id"]
            if rule == "agree" and better != safer:
                continue
            chosen = safer if rule == "safer" else better
            yield _row(record["prompt"], record[f"response_{chosen}"], record[f"response_{1 - chosen}"])

    return rows


def _wildguard(records: Iterable[Record]) -> Iterator[Row]:
    """Prompts with exactly one good and one bad response (paper A, section 2.2). To a harmful prompt a harmless refusal is
    good, and harmful compliance bad; to a harmless prompt compliance is good, and a refusal bad."""
    good: dict[str, list[str]] = {}
    bad: dict[str, list[str]] = {}
    for record in records:
        if not record["response"]:
            continue
        kind = (record["prompt_harm_label"], record["response_refusal_label"], record["response_harm_label"])
        if kind in (("harmful", "refusal", "unharmful"), ("unharmful", "compliance", "unharmful")):
            good.setdefault(record["prompt"], []).append(record["response"])
        elif kind == ("harmful", "compliance", "harmful") or kind[:2] == ("unharmful", "refusal"):
            bad.setdefault(record["prompt"], []).append(record["response"])
    for prompt, responses in good.items():
        if len(responses) == 1 and len(bad.get(prompt, ())) == 1:
            yield _row(prompt, responses[0], bad[prompt][0])


def _helpsteer2(records: Iterable[Record]) -> Iterator[Row]:
    """The more helpful of two consecutive responses to one prompt; ties are dropped."""
    for prompt, group in itertools.groupby(records, key=lambda record: record["prompt"]):
        responses = list(group)
        for first, second in zip(responses[::2], responses[1::2], strict=False):
            if first["helpfulness"] != second["helpfulness"]:
                chosen, rejected = sorted((first, second), key=lambda r: r["helpfulness"], reverse=True)
                yield _row(prompt, chosen["response"], rejected["response"])


def _helpsteer2_preference(records: Iterable[Record]) -> Iterator[Row]:
    """`preference_strength` is -3..3, positive for the second response; 0 is dropped."""
    for record in records:
        strength = record["preference_strength"]
        if strength:
            chosen, rejected = (2, 1) if strength > 0 else (1, 2)
            yield _row(record["prompt"], record[f"response_{chosen}"], record[f"response_{rejected}"])


def _offsetbias(records: Iterable[Record]) -> Iterator[Row]:
    for record in records:
        label = int(record["label"])
        yield _row(record["instruction"], record[f"output_{label}"], record[f"output_{3 - label}"])


def _magpie(records: Iterable[Record]) -> Iterator[Row]:
    """Chosen and rejected are lists of messages, of which the last is the response."""
    for record in records:
        yield _row(record["instruction"], record["chosen"][-1]["content"], record["rejected"][-1]["content"])


def _prompts(records: Iterable[Record]) -> Iterator[Row]:
    for record in records:
        yield {"prompt": record["prompt"]}


def _row(prompt: str, chosen: str, rejected: str) -> Row:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


_SAFE_RLHF = ("PKU-Alignment/PKU-SafeRLHF-30K", "cc-by-nc-4.0")
SOURCES = {
    row.name: row
    for row in (
        Source("safe-rlhf", *_SAFE_RLHF, _safe_rlhf("agree")),
        Source("safe-rlhf-better", *_SAFE_RLHF, _safe_rlhf("better")),
        Source("safe-rlhf-safer", *_SAFE_RLHF, _safe_rlhf("safer")),
        Source("wildguard", "allenai/wildguardmix", "odc-by", _wildguard, config="wildguardtrain", gated=True),
        Source("helpsteer2", "nvidia/HelpSteer2", "cc-by-4.0", _helpsteer2),
        Source(
            "helpsteer2-preference", "nvidia/HelpSteer2", "cc-by-4.0", _helpsteer2_preference, folder="preference"
        ),
        Source("offsetbias", "NCSOFT/offsetbias", "bsd-3-clause", _offsetbias),
        Source("magpie", "Magpie-Align/Magpie-Pro-DPO-100K-v0.1", "llama3", _magpie),
        Source("magpielm", "Magpie-Align/MagpieLM-DPO-Data-v0.1", "llama3.1", _magpie),
        Source("ultrafeedback", "argilla/ultrafeedback-binarized-preferences-cleaned", "mit", _prompts),
    )
}  # fmt: skip


def load(source: Source, count: int, seed: int) -> list[Row]:
    """At most `count` rows of a source, sampled by seed and in the order of the set, with ids.

    Raises ArtifactError for a set that cannot be fetched, DataError for records that are not in the source's schema.
    """
    try:
        rows = list(source.rows(_records(source)))
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{source.repository} at {source.revision!r}: a record is not as expected: {type(error).__name__} {error}"
        ) from error
    kept = sorted(random.Random(seed).sample(range(len(rows)), min(count, len(rows))))
    return [{"id": f"{source.name}-{i}", **rows[i]} for i in kept]


def _records(source: Source) -> Iterable[Record]:
    return records(source.repository, source.revision, source.split, source.config, source.folder, gated=source.gated)


def records(
    repository: str,
    revision: str,
    split: str = "train",
    config: str | None = None,
    folder: str | None = None,
    gated: bool = False,
) -> Iterable[Record]:
    """Records of a set of the Hub. Raises ArtifactError for one that cannot be fetched."""
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return datasets.load_dataset(repository, config, data_dir=folder, split=split, revision=revision)
    except (HfHubHTTPError, OSError, ValueError) as error:
        hint = (
            "accept its licence on the Hub and set HF_TOKEN" if gated else "check the id, the revision and the network"
        )
        raise ArtifactError(f"cannot fetch {repository!r} at {revision!r}: {type(error).__name__}; {hint}") from error
