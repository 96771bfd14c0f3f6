"""Base models, one typed row each: what reward models and policies start from."""

from dataclasses import dataclass

TINY = "phrasebook-tiny"


@dataclass(frozen=True)
class BaseModel:
    name: str
    """Id on the Hugging Face Hub, or the tiny model's own name."""
    licence: str
    gated: bool = False
    """True where the Hub asks for an account that has accepted the licence (HF_TOKEN)."""


BASE_MODELS = {
    row.name: row
    for row in (
        BaseModel(TINY, "Apache-2.0"),
        # Paper A, section 2.2 and appendix B.
        BaseModel("meta-llama/Llama-3.2-3B-Instruct", "llama3.2", gated=True),
        BaseModel("Qwen/Qwen2.5-3B-Instruct", "qwen-research"),
        BaseModel("Qwen/Qwen2.5-7B-Instruct", "apache-2.0"),
    )
}
