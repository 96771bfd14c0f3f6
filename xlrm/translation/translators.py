"""Translators, each behind the same door: segments of text in, as many translations out, in order."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from xlrm.errors import ConfigError
from xlrm.languages import LANGUAGES, Language
from xlrm.models import generation
from xlrm.models.decoding import Completion, Decoding, Precision
from xlrm.models.generation import EngineName
from xlrm.models.loading import Context
from xlrm.store import hub, provenance

# As X-ALMA's code builds it (utils/utils.py); its README also has "into". The code's is what the model was trained on.
PROMPT = "Translate this from {source} to {target}:\n{source}: {text}\n{target}:"
X_ALMA = "haoranxu/X-ALMA-13B-Group{group}"
X_ALMA_PARAMETERS = 13.0e9  # Llama 2 13B
MEMORY = "translation_memory"  # where translations are kept on the store


class Settings(BaseModel):
    """What makes a translator; the fields of it that change a translation are its identity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    translator: str = "phrasebook"
    """phrasebook (exact, for the demo's texts), x-alma (the model of the language's group, paper A), or a model's Hub id,
    folder or served name: a causal model is asked with X-ALMA's prompt, a sequence-to-sequence model reads the text."""
    engine: EngineName = "transformers"
    """What runs the model: transformers here (GPU or CPU), vllm here (GPUs), or the endpoint at OPENAI_BASE_URL."""
    revisions: dict[str, str] = {}
    """Commit, by model id; the Hub's newest where it has none. For a served model, whatever tells its versions apart."""
    max_new_tokens: int = Field(768, ge=16)
    """Tokens a segment's translation may have; one that is not finished by then is tried again, never used. X-ALMA's
    command line allows 256, for sentences; scripts that Llama 2 spells byte by byte need more."""
    longest_segment: int = Field(400, ge=40)
    """Characters of a segment; a longer line is cut between sentences. 400 of English are some 100 of the 256 tokens
    X-ALMA was trained on."""
    precision: Precision = "bfloat16"
    """Of the model (X-ALMA's README), with transformers and vLLM."""
    context: int = Field(4096, ge=256)
    """Tokens of prompt and translation together, with vLLM; no more than the model reads. 4096 is Llama 2's."""
    batch_size: int = Field(16, ge=1)
    """Segments at once, with transformers."""

    @property
    def segmented(self) -> bool:
        """Whether segments are translated, with markers in place of literals; the phrasebook reads whole texts."""
        return self.translator != "phrasebook"


Told = Callable[[int, Completion], None]
"""(place of a segment, its translation)."""


@dataclass(frozen=True)
class Translator:
    identity: dict[str, object]
    """All that a translation depends on but the text and the attempt: what a memory of translations is kept by."""
    attempts: int
    """Ways it can decode: greedily first, then otherwise, for what came out wrong."""
    block: int
    """Segments it is best given at once."""
    complete: Callable[[list[str], int, Told], list[Completion]]
    """(segments, attempt, who is told of each as it comes) -> translations, in order."""
    close: Callable[[], None] = lambda: None
    """Ends its engine."""

    def translate(
        self, texts: list[str], attempt: int, keep: Callable[[str, str | None], None] = lambda text, translation: None
    ) -> dict[str, str | None]:
        """None for a text that did not come back whole. `keep` is told of each as it comes."""

        def each(place: int, completion: Completion) -> None:
            keep(texts[place], _whole(completion))

        made = self.complete(texts, attempt, each)
        return {text: _whole(one) for text, one in zip(texts, made, strict=True)}


def load(settings: Settings, source: Language, target: Language) -> Translator:
    """Nothing heavy is loaded before the first text. Raises ConfigError and ArtifactError for what cannot be had."""
    if settings.translator == "phrasebook":
        return _phrasebook(source, target)
    name = model_name(settings, source, target)
    revision = settings.revisions.get(name)
    if settings.engine != "endpoint":
        revision = hub.model_version(name, revision)
    model = generation.Model(name, None if Path(name).is_dir() else revision)
    engine = _engine(settings, model, (source, target))
    attempts = _attempts(settings)

    def complete(texts: list[str], attempt: int, each: Told) -> list[Completion]:
        prompts = [_prompt(settings, engine, text, source, target) for text in texts]
        made = engine.complete(prompts, 1, attempts[attempt], lambda place, _, completion: each(place, completion))
        return [completion for (completion,) in made]

    identity = {
        "translator": name, "revision": revision, "engine": settings.engine, "precision": settings.precision,
        "prompt": PROMPT, "source": source.code, "target": target.code, "attempts": [asdict(decoding) for decoding in attempts],
    }  # fmt: skip
    return Translator(identity, len(attempts), engine.block, complete, engine.close)


def _whole(completion: Completion) -> str | None:
    """A line is asked for, and lines that come back make one."""
    return " ".join(completion.text.split("\n")).strip() or None if completion.whole else None


def language(code: str, field: str) -> Language:
    """Of the language table. Raises ConfigError, naming the config's field."""
    if code not in LANGUAGES:
        raise ConfigError(f"{field}: no language {code!r}; there are {', '.join(LANGUAGES)}")
    return LANGUAGES[code]


def revision(settings: Settings, target: Language) -> str:
    """What the translator is at now: the commit of its model, of a folder a digest; a served model's is in its settings."""
    if settings.translator == "phrasebook" or settings.engine == "endpoint":
        return ""
    names = _x_alma_models(target) if settings.translator == "x-alma" else [settings.translator]
    return " ".join(hub.model_version(name, settings.revisions.get(name)) for name in names)


def _x_alma_models(target: Language) -> list[str]:
    """That may translate into a language: its group's or, into English, which has none, any, as the source says."""
    groups = {language.x_alma_group for language in ([target] if target.x_alma_group else LANGUAGES.values())}
    return [X_ALMA.format(group=group) for group in sorted(groups - {None})]


def model_name(settings: Settings, source: Language, target: Language) -> str:
    return x_alma_model(source, target) if settings.translator == "x-alma" else settings.translator


def parameters(settings: Settings, source: Language, target: Language) -> float | None:
    """Of the model, where it is known, to estimate its work by."""
    return X_ALMA_PARAMETERS if "X-ALMA-13B" in model_name(settings, source, target) else None


def x_alma_model(source: Language, target: Language) -> str:
    """The model for a pair of languages of which one is English, or both are of one group. Raises ConfigError."""
    groups = {language.x_alma_group for language in (source, target)} - {None}
    if len(groups) != 1:
        raise ConfigError(f"translate.translator: X-ALMA has no model for {source.name} to {target.name}")
    return X_ALMA.format(group=groups.pop())


def _phrasebook(source: Language, target: Language) -> Translator:
    from xlrm.data.phrasebook import translator

    def complete(texts: list[str], attempt: int, each: Told) -> list[Completion]:
        made = [Completion(text, True) for text in translator.translate(texts, source.code, target.code)]
        for place, completion in enumerate(made):
            each(place, completion)
        return made

    revision = provenance.code_version(translator.__name__)
    identity = {"translator": "phrasebook", "revision": revision, "source": source.code, "target": target.code}
    return Translator(identity, attempts=1, block=4096, complete=complete)


def _engine(settings: Settings, model: generation.Model, languages: tuple[Language, Language]) -> generation.Engine:
    if settings.engine == "vllm":
        return generation.Vllm(model, Context.of(settings, "translate.context"), settings.precision)
    if settings.engine == "endpoint":
        return generation.Endpoint(model)
    return generation.Transformers(model, settings.batch_size, languages, settings.precision)


def _attempts(settings: Settings) -> tuple[Decoding, ...]:
    """Greedy; then X-ALMA's own decoding (README: beams of 5 where the engine has beams, temperature 0.6, top-p 0.9)."""
    longest = settings.max_new_tokens
    if settings.engine == "transformers":
        second = Decoding(longest, beams=5)
    else:
        second = Decoding(longest, temperature=0.6, top_p=0.9, seed=1)
    return Decoding(longest), second, Decoding(longest, temperature=0.6, top_p=0.9, seed=2)


def _prompt(settings: Settings, engine: generation.Engine, text: str, source: Language, target: Language) -> str:
    if isinstance(engine, generation.Transformers) and engine.config.is_encoder_decoder:
        return text
    return PROMPT.format(source=source.name, target=target.name, text=text)
