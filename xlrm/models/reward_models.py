"""Reward models from elsewhere, one typed row each: paper A's off-the-shelf models (section 5, Table 2) and, on the same terms,
any scalar classifier or served judge. Columns as on the models' cards.

A classifier gives each answer a reward (`xlrm.scorers.classifiers`); a generative one reads both and names the better
(`xlrm.scorers.judges.pairwise`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from xlrm.errors import ConfigError
from xlrm.models.compute import Shape
from xlrm.store import hub

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_NAME = re.compile(r"\w[\w.-]*")
# config.json of meta-llama/Meta-Llama-3-8B and of meta-llama/Llama-3.1-70B.
_LLAMA_8B = Shape(layers=32, hidden=4096, intermediate=14_336, heads=32, kv_heads=8, head_width=128, vocabulary=128_256)
_LLAMA_70B = Shape(
    layers=80, hidden=8192, intermediate=28_672, heads=64, kv_heads=8, head_width=128, vocabulary=128_256
)


@dataclass(frozen=True)
class RewardModel:
    name: str
    """In results and metrics."""
    repository: str
    """Id on the Hub, a folder, or the id a server knows the model by."""
    licence: str
    kind: Literal["classifier", "generative"] = "classifier"
    adapter: Literal["scalar", "armorm"] = "scalar"
    """Of a classifier: how it is loaded and where its reward comes from."""
    prompt: Literal["rewardbench", "self-taught"] = "rewardbench"
    """Of a generative model: a row of `xlrm.scorers.judges.prompts`."""
    engine: Literal["transformers", "vllm", "endpoint"] = "vllm"
    """Of a generative model: what runs it."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of a classifier's weights, as its card loads it."""
    revision: str | None = None
    """Commit, tag or branch, the Hub's newest for none. For a served model, whatever tells its versions apart."""
    folder: str | None = None
    """Where in its repository a model is, if not at the top."""
    usd_per_million: tuple[float, float] | None = None
    """US dollars for a million tokens read and written, where somebody sells it by the token."""
    gated: bool = False
    """True where the Hub asks for an account that has accepted the licence (HF_TOKEN)."""
    shape: Shape | None = None
    """As its config.json has it, for estimates; none where that is not known."""

    def at(self, repository: str | None, revision: str | None) -> "RewardModel":
        """The same model elsewhere, on terms that are then an assumption, or at another revision. Another served id is
        another model: its name follows, and its price is not known."""
        if not repository:
            return replace(self, revision=revision or self.revision)
        served = self.engine == "endpoint" and self.kind == "generative"
        name = _short(repository) if served else self.name
        licence = "unknown" if served else f"{self.licence} (assumed)"
        return replace(self, name=name, repository=repository, revision=revision, licence=licence, usd_per_million=None)

    def version(self) -> str:
        """What tells its weights from others: the commit its revision means now, of a folder a digest of its files."""
        if Path(self.repository).is_dir():
            return hub.model_version(str(hub.whole_model(self.repository, None, self.folder)), None)
        return hub.model_version(self.repository, self.revision)


REWARD_MODELS = {
    row.name: row
    for row in (
        RewardModel("armorm", "RLHFlow/ArmoRM-Llama3-8B-v0.1", "llama3", adapter="armorm", shape=_LLAMA_8B),
        # Its card reads the raw logit of a text-classification pipeline, and leaves BOS to the tokenizer: a scalar model.
        RewardModel("offsetbias", "NCSOFT/Llama-3-OffsetBias-RM-8B", "llama3", shape=_LLAMA_8B),
        RewardModel(
            "self-taught", "facebook/Self-taught-evaluator-llama3.1-70B", "Self-taught Evaluator Research License",
            "generative", prompt="self-taught", folder="dpo_model", gated=True,
            shape=_LLAMA_70B,
        ),
        # Paper A's English 86.7 is what RewardBench's leaderboard has for this one of GPT-4o's versions. OpenAI's list price.
        RewardModel(
            "gpt-4o", "gpt-4o-2024-08-06", "OpenAI's terms of use", "generative", engine="endpoint",
            usd_per_million=(2.5, 10.0),
        ),
        RewardModel("served", "", "unknown", "generative", engine="endpoint"),
    )
}  # fmt: skip
"""By name. `served` is for any other judge behind OPENAI_BASE_URL: served=MODEL_ID."""


def find(entry: str) -> RewardModel:
    """NAME[=REPOSITORY][@REVISION] of the table, or a plain scalar classifier: a folder or OWNER/NAME of the Hub, or
    NAME=either. Raises ConfigError for what is none of these."""
    try:
        name, repository, revision = hub.parse_entry(entry)
    except ConfigError as error:
        raise ConfigError(f"no reward model {entry!r}; {_ALLOWED}") from error
    if row := REWARD_MODELS.get(name):
        if not (repository or row.repository):
            raise ConfigError(f"reward model {entry!r}: say which, as {name}=MODEL_ID")
        return row.at(repository, revision)
    place = repository or name
    shown = name if repository else _short(place)
    if not (_NAME.fullmatch(shown) and (Path(place).is_dir() or _HUB_ID.fullmatch(place))):
        raise ConfigError(f"no reward model {entry!r}; {_ALLOWED}")
    return RewardModel(shown, place, "unknown", dtype="float32", revision=revision)


def find_all(entries: Iterable[str]) -> list[RewardModel]:
    """As `find`. Raises ConfigError for two of one name, too."""
    found: dict[str, RewardModel] = {}
    for entry in entries:
        row = find(entry)
        if row.name in found:
            raise ConfigError(f"reward model {entry!r}: a second one named {row.name!r}; write NAME=REPOSITORY")
        found[row.name] = row
    return list(found.values())


def in_table(entry: str) -> bool:
    """Whether `entry` names a row, and not a folder or address of a model."""
    return re.split("[=@]", entry)[0] in REWARD_MODELS


def _short(repository: str) -> str:
    return repository.rstrip("/").rsplit("/", 1)[-1]


_ALLOWED = (
    f"there are {', '.join(REWARD_MODELS)}, each also as NAME=REPOSITORY@REVISION, and any scalar classifier by its folder "
    "or OWNER/NAME, with a NAME= of letters, digits, _, . and - where you like"
)
