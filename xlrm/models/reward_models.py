"""Reward models from elsewhere, one typed row each: paper A's off-the-shelf models (section 5, Table 2), and any other
scalar classifier or served judge. Columns are named as on model cards.

A classifier gives each response a reward (`xlrm.scorers.classifiers`); a generative model reads both responses and
names the better one (`xlrm.scorers.judges.pairwise`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from xlrm.errors import ConfigError
from xlrm.models.compute import Shape
from xlrm.tracking import named_models

_LABELLED = re.compile(r"(?P<label>\w[\w.-]*)=(?P<place>.+)")
_NAME = re.compile(r"\w[\w.-]*")
# From config.json of meta-llama/Meta-Llama-3-8B and of meta-llama/Llama-3.1-70B.
_LLAMA_8B = Shape(layers=32, hidden=4096, intermediate=14_336, heads=32, kv_heads=8, head_width=128, vocabulary=128_256)
_LLAMA_70B = Shape(
    layers=80, hidden=8192, intermediate=28_672, heads=64, kv_heads=8, head_width=128, vocabulary=128_256
)


@dataclass(frozen=True)
class RewardModel:
    name: str
    """Name in results and metrics."""
    repository: str
    """Name of the model as in `xlrm.tracking.named_models`, or its id at a server."""
    licence: str
    kind: Literal["classifier", "generative"] = "classifier"
    adapter: Literal["scalar", "armorm"] = "scalar"
    """For a classifier: how it is loaded and how its reward is computed."""
    prompt: Literal["rewardbench", "self-taught"] = "rewardbench"
    """For a generative model: key of `JUDGE_PROMPTS` in `xlrm.scorers.judges.prompts`, for the items of benchmarks. The
    responses of policies are judged with it too if it is the model's own (`pairwise.Settings.prompt`)."""
    engine: Literal["transformers", "vllm", "endpoint"] = "vllm"
    """For a generative model: the engine that runs it."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of a classifier's weights, as loaded in its card's example."""
    revision: str | None = None
    """Commit, tag or branch; None for the Hub's newest. For a served model, any text that identifies its version."""
    folder: str | None = None
    """Folder of the model in its repository; None for the top level."""
    usd_per_million: tuple[float, float] | None = None
    """Price in US dollars of a million tokens (read, written); None if unknown or not sold by the token."""
    gated: bool = False
    """Whether a download needs the token (HF_TOKEN) of an account that accepted the licence on the Hub."""
    shape: Shape | None = None
    """Dimensions from config.json, used by estimates; None if unknown."""

    def at(self, repository: str | None, revision: str | None) -> "RewardModel":
        """This row with another repository or revision. Another repository has no known price and is assumed to have
        the same licence; at a server it is a different model, named by its id, with an unknown licence."""
        if not repository:
            return replace(self, revision=revision or self.revision)
        served = self.engine == "endpoint" and self.kind == "generative"
        name = _short(repository) if served else self.name
        licence = "unknown" if served else f"{self.licence} (assumed)"
        return replace(self, name=name, repository=repository, revision=revision, licence=licence, usd_per_million=None)

    def version(self) -> str:
        """Identifies the weights that the name and revision now stand for."""
        return named_models.version(self.repository, self.revision, self.folder)


REWARD_MODELS = {
    row.name: row
    for row in (
        RewardModel("armorm", "RLHFlow/ArmoRM-Llama3-8B-v0.1", "llama3", adapter="armorm", shape=_LLAMA_8B),
        # Scalar: its card uses the raw logit of a text-classification pipeline, with the BOS of the tokenizer.
        RewardModel("offsetbias", "NCSOFT/Llama-3-OffsetBias-RM-8B", "llama3", shape=_LLAMA_8B),
        RewardModel(
            "self-taught", "facebook/Self-taught-evaluator-llama3.1-70B", "Self-taught Evaluator Research License",
            "generative", prompt="self-taught", folder="dpo_model", gated=True,
            shape=_LLAMA_70B,
        ),
        # The version of GPT-4o with 86.7 on RewardBench's leaderboard, paper A's figure for English. OpenAI's list price.
        RewardModel(
            "gpt-4o", "gpt-4o-2024-08-06", "OpenAI's terms of use", "generative", engine="endpoint",
            usd_per_million=(2.5, 10.0),
        ),
        RewardModel("served", "", "unknown", "generative", engine="endpoint"),
    )
}  # fmt: skip
"""Rows by name. `served` stands for any other judge at OPENAI_BASE_URL: served=MODEL_ID."""


def find(entry: str) -> RewardModel:
    """The model of `entry`: NAME[=REPOSITORY][@REVISION] with a name of the table, or a scalar classifier by its name
    in `xlrm.tracking.named_models`, optionally with NAME= before it. Raises ConfigError for anything else."""
    labelled = None if named_models.is_folder(entry) else _LABELLED.fullmatch(entry)
    label, place = (labelled["label"], labelled["place"]) if labelled else ("", entry)
    repository, revision = named_models.split(place)
    if row := REWARD_MODELS.get(label or repository):
        if not (label or row.repository):
            raise ConfigError(f"name the served model, as {repository}=MODEL_ID", value=entry)
        if label and row.engine != "endpoint":  # a server's ids have any form
            _check_form(place, entry)
        return row.at(repository if label else None, revision)
    _check_form(place, entry)
    shown = label or _short(repository)
    if not _NAME.fullmatch(shown):
        raise ConfigError("no such reward model", value=entry, hint=_ALLOWED)
    return RewardModel(shown, repository, "unknown", precision="float32", revision=revision)


def _check_form(place: str, entry: str) -> None:
    try:
        named_models.check_form(place)
    except ConfigError as error:
        raise ConfigError("no such reward model", value=entry, hint=_ALLOWED) from error


def find_all(entries: Iterable[str]) -> list[RewardModel]:
    """Applies `find` to each entry. Raises ConfigError also if two models have the same name."""
    by_name: dict[str, RewardModel] = {}
    for entry in entries:
        row = find(entry)
        if row.name in by_name:
            raise ConfigError(
                f"another reward model is already named {row.name!r}", value=entry, hint="write NAME=REPOSITORY"
            )
        by_name[row.name] = row
    return list(by_name.values())


def in_table(entry: str) -> bool:
    """Whether `entry` begins with a name of the table, rather than with a folder or repository."""
    return re.split("[=@]", entry)[0] in REWARD_MODELS


def _short(repository: str) -> str:
    """The last part of a name; NAME-ALIAS or NAME-VERSION of a registered model."""
    if repository.startswith(named_models.REGISTERED):
        return re.sub("[/@]", "-", repository.removeprefix(named_models.REGISTERED))
    return repository.rstrip("/").rsplit("/", 1)[-1]


_ALLOWED = (
    f"there are {', '.join(REWARD_MODELS)}, each also as NAME=REPOSITORY@REVISION; of scalar classifiers, "
    f"{named_models.ALLOWED}, with a NAME= of letters, digits, _, . and - where you like"
)
