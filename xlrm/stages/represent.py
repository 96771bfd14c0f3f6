"""Shows what training does to representations across languages: f(x) = sigma_1 / sum(sigma) (paper A, section 3)."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from xlrm.rows import read_rows
from xlrm.statistics import mean_interval


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    languages: tuple[str, ...] = ("en", "es", "it", "ko", "zh")
    """Languages whose hidden states of one text are stacked (paper A: these five)."""
    batch_size: int = Field(64, ge=1)
    """Texts in a forward pass."""
    max_length: int = Field(512, ge=16)
    """Tokens of a text."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": tuple(f"{language}/parallel.jsonl" for language in config.languages)}


def run(config: Config, *, base: Path, reward_models: list[Path], corpora: Path, output: Path) -> dict[str, float]:
    """The hidden state is the last layer's at the last token of the raw text: the paper leaves both open."""
    import numpy as np

    texts = {
        lang: [r["text"] for r in read_rows(corpora / lang / "parallel.jsonl", ("text",))] for lang in config.languages
    }
    results, metrics = {}, {}
    for path in [base, *reward_models]:
        card = path / "xlrm.json"
        name = json.loads(card.read_text())["language"] if card.exists() else "base"
        states = np.stack([_last_states(path, texts[language], config) for language in config.languages], axis=1)
        f = first_singular_share(states)
        mean, low, high = mean_interval(f)
        results[name] = {"mean": mean, "interval": [low, high], "values": [round(v, 6) for v in f.tolist()]}
        metrics[f"singular/{name}"] = mean
    norms = _embedding_norms(base, texts)
    report = {"languages": config.languages, "texts": len(f), "models": results, "embedding_norms": norms}
    (output / "results.json").write_text(json.dumps(report, indent=2))
    return metrics


def first_singular_share(states):
    """f of each text. `states`: (texts, languages, hidden). Returns (texts,), from 1/languages to 1 (collapsed)."""
    import numpy as np

    sigma = np.linalg.svd(states, compute_uv=False)
    return sigma[:, 0] / sigma.sum(axis=1)


def _last_states(path: Path, texts: list[str], config: Config):
    """(texts, hidden): the last layer's state at each text's last token."""
    import numpy as np
    import torch
    from transformers import AutoModel

    from xlrm import models

    tokenizer = models.load_tokenizer(path)
    model = AutoModel.from_pretrained(path, dtype=torch.float32, use_safetensors=True).eval()
    found = []
    for start in range(0, len(texts), config.batch_size):
        batch = tokenizer(
            texts[start : start + config.batch_size], padding=True, padding_side="right", truncation=True,
            max_length=config.max_length, return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            states = model(**batch).last_hidden_state
        last = batch["attention_mask"].sum(dim=1) - 1
        found.append(states[torch.arange(len(last)), last].numpy())
    return np.concatenate(found).astype(np.float64)


def _embedding_norms(base: Path, texts: dict[str, list[str]]) -> dict[str, list[float]]:
    """Language -> norms of the embeddings of the tokens that only its texts use (the paper leaves the sets open)."""
    from xlrm import models

    tokenizer = models.load_tokenizer(base)
    embeddings = models.load_causal_lm(base).get_input_embeddings().weight.detach()
    used = {lang: {i for ids in tokenizer(many)["input_ids"] for i in ids} for lang, many in texts.items()}
    found = {}
    for language, tokens in used.items():
        others = set().union(*(ids for lang, ids in used.items() if lang != language))
        own = sorted(tokens - others)
        found[language] = [round(v, 5) for v in embeddings[own].norm(dim=1).tolist()]
    return found
