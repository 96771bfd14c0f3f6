"""Plans the translation of a corpus: estimates the work, and divides each language into shards."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from xlrm import progress
from xlrm.data import corpus_schema
from xlrm.data.corpus_schema import Description, Name
from xlrm.errors import GateError
from xlrm.languages import InLanguages
from xlrm.store.fields import NotCounted
from xlrm.translation import effort, workload
from xlrm.translation.effort import FILES


class Config(InLanguages):
    targets: tuple[str, ...] = ("es", "it", "ko", "zh")
    """Languages to translate into."""
    shards: int = Field(1, ge=1, le=1000)
    """Shards per target language; they are translated in parallel if there are enough GPUs."""
    translate: dict[str, Any] = Field({})
    """Section `translate` of the experiment; only the translator's settings in it are used."""
    files: dict[str, tuple[Name, ...]] = Field({})
    """Language -> tables of the corpus that are translated into it; all of them for other languages."""
    usd_per_gpu_hour: Annotated[float | None, NotCounted] = Field(None, ge=0)
    """US dollars per A100 hour, for the estimate; null shows no costs. Prices vary too much for a default."""
    max_gpu_hours: Annotated[float | None, NotCounted] = Field(None, ge=0)
    """Maximum estimated A100 hours of a run; a run that is estimated higher, or has no estimate, does not start."""
    max_usd: Annotated[float | None, NotCounted] = Field(None, ge=0)
    """Maximum estimated cost of a run in US dollars, GPUs and endpoints together; needs usd_per_gpu_hour."""
    rows: Annotated[int, NotCounted] = Field(10_000, ge=1)
    """Assumed rows of a dataset whose number is unknown before it is downloaded, for the estimate before that."""
    prompt_tokens: Annotated[int, NotCounted] = Field(100, ge=1)
    """Assumed tokens of an English prompt or passage, for the estimate before the corpus exists."""
    response_tokens: Annotated[int, NotCounted] = Field(300, ge=1)
    """Assumed tokens of an English response, for the same estimate."""

    @field_validator("translate")
    @classmethod
    def _what_makes_a_translator(cls, section: dict[str, Any]) -> dict[str, Any]:
        return workload.of_translator(section)


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    names = {name for code in config.targets for name in config.files.get(code, FILES)}
    return {"corpus": (Description.FILE, *corpus_schema.files(name for name in corpus_schema.TABLES if name in names))}


def run(config: Config, *, corpus: Path, output: Path) -> dict[str, float]:
    """Writes plan.json: the estimated work for each language, and its shards. Raises ConfigError for invalid settings,
    DataError for an unreadable corpus, and GateError if the translation alone exceeds a limit."""
    jobs = workload.estimates(corpus, config.targets, config.translate, config.files)
    for code, job in jobs.items():
        progress.say(f"plan[{code}]: {job}")
    numbers = range(1, config.shards + 1)
    parts = [workload.Part(language=code, shard=f"{n}/{config.shards}") for code in config.targets for n in numbers]
    workload.Plan(languages=jobs, parts=parts, assumptions=effort.assumptions()).write(output)
    hours = [job.gpu_hours for job in jobs.values() if job.gpu_hours is not None]
    _check_limits(config, sum(hours))
    return {
        "segments": sum(job.segments for job in jobs.values()), "tokens": sum(job.tokens for job in jobs.values()),
    } | ({"gpu_hours": sum(hours)} if hours else {})  # fmt: skip


def _check_limits(config: Config, hours: float) -> None:
    usd = hours * (config.usd_per_gpu_hour or 0)
    for field, value, limit in (("max_gpu_hours", hours, config.max_gpu_hours), ("max_usd", usd, config.max_usd)):
        if limit is not None and value > limit:
            raise GateError(
                f"less than the {value:,.3g} that translating this corpus alone takes",
                where=f"plan.{field}",
                value=limit,
            )
