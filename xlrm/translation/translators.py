"""Translators with a common interface: a list of segments to their translations, in order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm.errors import ConfigError
from xlrm.languages import LANGUAGES, Language
from xlrm.models import generation
from xlrm.models.decoding import Completion, Decoding, Precision
from xlrm.models.generation import EngineName
from xlrm.models.loading import Context
from xlrm.store import hub, provenance
from xlrm.translation import segmentation
from xlrm.translation.segmentation import Segment, Template

# From X-ALMA's code (utils/utils.py), which the model was trained with; its README also has "into".
PROMPT = "Translate this from {source} to {target}:\n{source}: {text}\n{target}:"
X_ALMA = "haoranxu/X-ALMA-13B-Group{group}"
X_ALMA_PARAMETERS = 13.0e9  # Llama 2 13B
X_ALMA_CONTEXT = 4096  # max_position_embeddings in its config.json
MEMORY = "translation_memory"  # name of the translation memory on the store


class Settings(BaseModel):
    """Settings of a translator; those that can change the translation of a segment are part of
    `Translator.identity`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    translator: str = Field(examples=["x-alma", "Helsinki-NLP/opus-mt-en-es"])
    """phrasebook (exact, for the demo's texts), x-alma (the model of the language's group, paper A), or a model's Hub
    id, folder or served name: a causal model reads X-ALMA's prompt, a sequence-to-sequence model the plain text."""
    engine: EngineName = "transformers"
    """Engine of the model: transformers (GPU or CPU), vllm (GPUs), or the endpoint at OPENAI_BASE_URL."""
    revisions: dict[str, str] = {}
    """Commit by model id; the Hub's newest for others. For a served model, any text that identifies its version."""
    max_new_tokens: int = Field(768, ge=16)
    """Limit on the tokens of a segment's translation; one that is cut off is translated again, never used. X-ALMA's
    command line allows 256, for sentences; scripts that Llama 2 encodes byte by byte need more."""
    longest_segment: int = Field(400, ge=40)
    """Limit on the characters of a segment; a longer line is cut between sentences. 400 characters of English are about
    100 of the 256 tokens that X-ALMA was trained on."""
    precision: Precision = "bfloat16"
    """Number format of the model (X-ALMA's README), with transformers and vLLM."""
    context: int = Field(4096, ge=256)
    """Limit on the tokens of prompt and translation, with transformers and vLLM; at most what the model can read.
    Llama 2 reads 4096."""
    batch_size: int = Field(16, ge=1)
    """Segments in a batch, with transformers."""
    code: Literal["keep", "translate"] = "keep"
    """What happens to blocks of code, formulas and markup: keep leaves them as they are; translate gives their lines to the
    model like any other text (paper A)."""

    @property
    def segmented(self) -> bool:
        """Whether texts are cut into segments with markers for literals; the phrasebook translates whole texts."""
        return self.translator != "phrasebook"

    def template(self, text: str, language: str) -> Template:
        """The text, in the language of this code, as what is translated and what is kept."""
        if not self.segmented:
            return Template((Segment(text),))
        return segmentation.split(text, language, self.longest_segment, self.code == "translate")


OnCompletion = Callable[[int, Completion], None]
"""Callback (index of a segment, its translation)."""


@dataclass(frozen=True)
class Translator:
    identity: Mapping[str, object]
    """Everything that a translation depends on except the text and the attempt; identifies the translation memory."""
    attempts: int
    """Number of ways to decode: first greedy, then others for segments whose translation failed."""
    block: int
    """Recommended number of segments per call."""
    complete: Callable[[list[str], int, OnCompletion], list[Completion]]
    """(segments, attempt, callback for each translation as it arrives) -> translations, in order."""
    close: Callable[[], None] = lambda: None
    """Frees the engine."""

    def translate(
        self, texts: list[str], attempt: int, keep: Callable[[str, str | None], None] = lambda text, translation: None
    ) -> dict[str, str | None]:
        """Text -> its translation, None if incomplete. Calls `keep` with each text and translation as it arrives."""

        def each(place: int, completion: Completion) -> None:
            keep(texts[place], _whole(completion))

        made = self.complete(texts, attempt, each)
        return {text: _whole(completion) for text, completion in zip(texts, made, strict=True)}


def load(settings: Settings, source: Language, target: Language) -> Translator:
    """Translator of a pair of languages, whose model is loaded at the first text. Raises ConfigError or ArtifactError
    if it is unavailable."""
    if settings.translator == "phrasebook":
        return _phrasebook(source, target)
    name = model_name(settings, source, target)
    revision = settings.revisions.get(name)
    if settings.engine != "endpoint":
        revision = hub.model_version(name, revision)
    model = generation.Model(name, None if Path(name).is_dir() else revision)
    context = Context.of(settings, "translate.context")
    engine = generation.make_engine(
        settings.engine, model, context, settings.precision, settings.batch_size, (source, target)
    )
    attempts = _attempts(settings)

    def complete(texts: list[str], attempt: int, each: OnCompletion) -> list[Completion]:
        prompts = [_prompt(engine, text, source, target) for text in texts]
        made = engine.complete(prompts, 1, attempts[attempt], lambda place, _, completion: each(place, completion))
        return [completion for (completion,) in made]

    identity = {
        "translator": name, "revision": revision, "engine": settings.engine, "precision": settings.precision,
        "prompt": PROMPT, "source": source.code, "target": target.code, "attempts": [decoding.identity for decoding in attempts],
    }  # fmt: skip
    return Translator(identity, len(attempts), engine.block, complete, engine.close)


def _whole(completion: Completion) -> str | None:
    """The translation with its lines joined, as a segment is one line; None if it is incomplete or blank."""
    return " ".join(completion.answer.splitlines()).strip() or None if completion.whole else None


def into(settings: Settings, target: Language) -> Settings:
    """The settings of translations into a language, which may have a translator of its own."""
    return settings.model_copy(update={"translator": target.translator}) if target.translator else settings


def revision(settings: Settings, target: Language) -> str:
    """Current version of the translator: the commits of its models, or the digest of a folder. Empty for the phrasebook
    and for served models, whose version is in the settings."""
    if settings.translator == "phrasebook" or settings.engine == "endpoint":
        return ""
    names = _x_alma_models(target) if settings.translator == "x-alma" else [settings.translator]
    return " ".join(hub.model_version(name, settings.revisions.get(name)) for name in names)


def _x_alma_models(target: Language) -> list[str]:
    """Ids of the X-ALMA models that may translate into a language: its group's, or all for English (no group)."""
    groups = {language.x_alma_group for language in ([target] if target.x_alma_group else LANGUAGES.values())}
    return [X_ALMA.format(group=group) for group in sorted(group for group in groups if group is not None)]


def model_name(settings: Settings, source: Language, target: Language) -> str:
    return x_alma_model(source, target) if settings.translator == "x-alma" else settings.translator


def parameters(settings: Settings, source: Language, target: Language) -> float | None:
    """Number of parameters of the model, for estimates; None if unknown."""
    return X_ALMA_PARAMETERS if "X-ALMA-13B" in model_name(settings, source, target) else None


def x_alma_model(source: Language, target: Language) -> str:
    """Id of the X-ALMA model for English and another language, or for two languages of a group. Raises ConfigError for
    other pairs."""
    if not has_x_alma(source, target):
        raise ConfigError(
            f"X-ALMA has no model for {source.name} to {target.name}", where="translate.translator",
            hint=f"translate into English first, and that corpus into {target.name}",
        )  # fmt: skip
    return X_ALMA.format(group=target.x_alma_group or source.x_alma_group)


def has_x_alma(source: Language, target: Language) -> bool:
    """Whether X-ALMA has a model for two languages."""
    groups = {language.x_alma_group for language in (source, target) if language.code != "en"}
    return len(groups) == 1 and None not in groups


def _phrasebook(source: Language, target: Language) -> Translator:
    from xlrm.data.phrasebook import translator

    def complete(texts: list[str], attempt: int, each: OnCompletion) -> list[Completion]:
        made = [Completion(text, True) for text in translator.translate(texts, source.code, target.code)]
        for place, completion in enumerate(made):
            each(place, completion)
        return made

    revision = provenance.code_version(translator.__name__)
    identity = {"translator": "phrasebook", "revision": revision, "source": source.code, "target": target.code}
    return Translator(identity, attempts=1, block=4096, complete=complete)


def _attempts(settings: Settings) -> tuple[Decoding, ...]:
    """Decoding by attempt: greedy, then X-ALMA's (README: 5 beams if supported, temperature 0.6, top-p 0.9)."""
    longest = settings.max_new_tokens
    if settings.engine == "transformers":
        second = Decoding(longest, beams=5)
    else:
        second = Decoding(longest, temperature=0.6, top_p=0.9, seed=1)
    return Decoding(longest), second, Decoding(longest, temperature=0.6, top_p=0.9, seed=2)


def _prompt(engine: generation.Engine, text: str, source: Language, target: Language) -> str:
    if isinstance(engine, generation.Transformers) and engine.config.is_encoder_decoder:
        return text
    return PROMPT.format(source=source.name, target=target.name, text=text)
