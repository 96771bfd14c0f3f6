"""Measures how similar representations are across languages, in the base model and in every reward model (paper A,
section 3): hidden states of the same text, and norms of token embeddings."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from xlrm.analysis import embedding_norms, hidden_states
from xlrm.analysis.embedding_norms import TokenSets
from xlrm.analysis.hidden_states import BASE, Reading, Similarity
from xlrm.analysis.representations import Representations
from xlrm.data import catalog, parallel_texts
from xlrm.data.corpus_schema import PARALLEL_TEXTS
from xlrm.store.fields import Sets, counted
from xlrm.tracking import named_models


class Config(Reading):
    languages: tuple[str, ...] = Field(("en", "es", "it", "ko", "zh"), min_length=2)
    """Languages whose hidden states of the same text are compared, the source language first (paper A: these five)."""
    parallel: Annotated[str | None, Sets] = None
    """Dataset published in all these languages, as NAME[=OWNER/NAME][@REVISION], or a file of rows with a
    column for each language (paper A: belebele); null takes the translated texts of `curate.parallel`."""
    texts: int | None = Field(None, ge=1)
    """Maximum number of texts, sampled with `seed`; null takes all (the paper does not state its number)."""
    token_sets: TokenSets = TokenSets()
    """Rule for which tokens belong to a language when norms of token embeddings are compared."""
    norm_models: tuple[str, ...] = ()
    """Further models whose embedding norms are compared, each OWNER/NAME[@REVISION] of the Hub, a folder, models:/NAME@ALIAS,
    an artifact's URI or s3://bucket/prefix (paper A, figure 2: OLMo-1B, SmolLM-1.7B); only their embeddings are read."""
    seed: int = 42

    @field_validator("parallel")
    @classmethod
    def _a_set_or_a_file(cls, entry: str | None) -> str | None:
        if entry is not None:
            parallel_texts.check(entry)
        return entry


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": () if config.parallel else tuple(f"{code}/{PARALLEL_TEXTS.file}" for code in config.languages)}


def files(config: Config) -> str:
    """Digest of the local files that the config names: texts, and folders of models."""
    folders = [named_models.version(name) for name in config.norm_models if named_models.is_folder(name)]
    return " ".join([catalog.fingerprint([config.parallel]), *folders])


def fingerprint(config: Config) -> str:
    """Versions of the other models in `norm_models`, such as commits on the Hub."""
    return " ".join(named_models.version(name) for name in config.norm_models if not named_models.is_folder(name))


def run(
    config: Config, *, base: Path, reward_models: list[Path], output: Path, corpora: Path | None = None
) -> dict[str, float]:
    """Writes results.json; reads `corpora` if `parallel` is null. Raises ConfigError, DataError or ArtifactError for
    unavailable texts or models."""
    parallel = parallel_texts.gather(config.parallel, corpora, config.languages, config.texts, config.seed)
    # Norms first: an unavailable model fails before hours of work.
    compared = {BASE: str(base), **{name: name for name in config.norm_models}}
    norms = embedding_norms.compare(compared, parallel.texts, config.token_sets)
    results: dict[str, Similarity] = {}
    for name, path in hidden_states.named(base, reward_models).items():
        results[name] = hidden_states.measure(path, parallel.texts, config, name).similarity()
    reading = {name: value for name, value in counted(config).items() if name in Reading.model_fields}
    Representations(
        languages=config.languages, texts=len(parallel), reading=Reading(**reading), parallel=parallel.account,
        models=results, token_sets=TokenSets(**config.token_sets.model_dump()), embedding_norms=norms,
    ).write(output)  # fmt: skip
    return {"texts": len(parallel)} | {f"singular/{name}": result.mean for name, result in results.items()}
