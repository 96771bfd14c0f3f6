"""Fine-tunes a policy on demonstrations in one language, or in several together."""

from pathlib import Path

from xlrm.languages import InLanguages, JoinedLanguages
from xlrm.training import demonstrations
from xlrm.training.comparisons import SftComparisons
from xlrm.training.recipes import SftTraining


class Config(SftTraining, SftComparisons, InLanguages):
    """Settings of the training; defaults follow paper B, appendices A and B, except `precision`."""

    language: JoinedLanguages
    """Language of the demonstrations, or several joined by +, such as de+en, whose demonstrations are pooled."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": tuple(f"{language}/{demonstrations.FILE}" for language in config.language.split("+"))}


def run(config: Config, *, base: Path, corpora: Path, output: Path) -> dict[str, float]:
    """Raises DataError for unreadable demonstrations, or none to train on, and ConfigError for a batch size or length that is not
    possible."""
    from xlrm.training import sft

    splits = demonstrations.read(corpora, config.language.split("+"))
    validation = demonstrations.sample(splits["validation"], config.validation_rows, config.seed)
    return sft.train_sft(base, splits["train"], validation, config, output)
