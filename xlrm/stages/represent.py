"""Shows what training does to representations across languages (paper A, section 3): how alike the hidden states of one
text are, in the base model and in every reward model, and how alike the norms of the languages' token embeddings."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from xlrm import progress
from xlrm.analysis import embedding_norms, hidden_states
from xlrm.analysis.embedding_norms import TokenSets
from xlrm.analysis.hidden_states import Reading, Sameness
from xlrm.data import catalog, parallel_texts
from xlrm.data.parallel_texts import Parallel
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation.statistics import mean_interval
from xlrm.store import hub
from xlrm.store.fields import Sets, counted


class Config(Reading):
    languages: tuple[str, ...] = Field(("en", "es", "it", "ko", "zh"), min_length=2)
    """Languages whose hidden states of one text are stacked (paper A: these five); the first is the source."""
    parallel: Annotated[str | None, Sets] = None
    """A set that comes in these languages, as NAME[=OWNER/NAME][@REVISION], or a .jsonl or .parquet file with a column for
    each (paper A: belebele); none takes the texts that `curate` took and that were translated."""
    texts: int | None = Field(None, ge=1)
    """Texts, at most, sampled by seed; none takes all (the paper does not say how many it took)."""
    token_sets: TokenSets = TokenSets()
    """Which tokens are a language's own, when norms of embeddings are compared."""
    norm_models: tuple[str, ...] = ()
    """Further models to compare norms in, as folders or OWNER/NAME[@REVISION] of the Hub (paper A, figure 2: OLMo-1B,
    SmolLM-1.7B); of these only the embeddings are read."""
    seed: int = 42

    @field_validator("parallel")
    @classmethod
    def _a_set_or_a_file(cls, entry: str | None) -> str | None:
        if entry is not None:
            parallel_texts.check(entry)
        return entry


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": () if config.parallel else tuple(f"{code}/parallel.jsonl" for code in config.languages)}


def files(config: Config) -> str:
    """Digest of the files of this machine that the config names: texts, and models in folders."""
    folders = [hub.model_version(name, None) for name in config.norm_models if Path(name).is_dir()]
    return " ".join([catalog.fingerprint([config.parallel]), *folders])


def fingerprint(config: Config) -> str:
    """Commits of the models on the Hub."""
    names = [name.partition("@") for name in config.norm_models if not Path(name).is_dir()]
    return " ".join(hub.model_commit(repository, revision or None) for repository, _, revision in names)


def run(
    config: Config, *, base: Path, reward_models: list[Path], output: Path, corpora: Path | None = None
) -> dict[str, float]:
    """Reads `corpora` where the config names no texts of its own. Raises ConfigError, DataError or ArtifactError for texts
    or a model that cannot be had."""
    found = _texts(config, corpora)
    norms = _embedding_norms(config, base, found)  # first: a model that cannot be had is said before hours of work
    results, metrics = {}, {}
    for name, path in _names(base, reward_models).items():
        measured = hidden_states.measure(path, found.texts, config, name)
        results[name] = _result(measured)
        metrics[f"singular/{name}"] = results[name]["mean"]
    report = {
        "languages": config.languages, "texts": len(found), "reading": _reading(config), "parallel": found.account,
        "models": results, "token_sets": config.token_sets.model_dump(), "embedding_norms": norms,
    }  # fmt: skip
    (output / "results.json").write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")
    return {"texts": len(found)} | metrics


def _texts(config: Config, corpora: Path | None) -> Parallel:
    if config.parallel:
        return parallel_texts.load(config.parallel, config.languages, config.texts, config.seed)
    if corpora is None:
        raise ConfigError(
            "represent.parallel: none, and no corpora; a set, a file or corpora with parallel.jsonl is allowed"
        )
    return parallel_texts.read_corpora(corpora, config.languages, config.texts, config.seed)


def _names(base: Path, reward_models: list[Path]) -> dict[str, Path]:
    """A reward model goes by its language, or by its folder where it does not say one."""
    found = {"base": base}
    for path in reward_models:
        card = path / "xlrm.json"
        name = json.loads(card.read_text(encoding="utf-8"))["language"] if card.exists() else path.name
        if name in found:
            raise DataError(f"represent: {found[name]} and {path} are both {name!r}; one model of a name is allowed")
        found[name] = path
    return found


def _result(measured: Sameness) -> dict[str, Any]:
    import numpy as np

    mean, low, high = mean_interval(np.array(measured.shares))
    return {
        "mean": mean, "interval": [low, high], "values": [round(value, 6) for value in measured.shares],
        "spectrum": np.round(measured.spectrum, 6).tolist(), "cosine": np.round(measured.cosine, 6).tolist(),
        "truncated": measured.truncated,
    }  # fmt: skip


def _reading(config: Config) -> dict[str, Any]:
    return {name: value for name, value in counted(config).items() if name in Reading.model_fields}


def _embedding_norms(config: Config, base: Path, found: Parallel) -> dict[str, Any]:
    """Model -> norms by language, and their distances from the source's."""
    results = {}
    for name, model in {"base": str(base), **{one: one for one in config.norm_models}}.items():
        norms = embedding_norms.norms(model, found.texts, config.token_sets)
        results[name] = {"norms": norms, "distances": embedding_norms.distances(norms)}
        sizes = ", ".join(f"{language} {len(values)}" for language, values in norms.items())
        progress.say(f"represent: {name}: tokens of one language only: {sizes}")
    return results
