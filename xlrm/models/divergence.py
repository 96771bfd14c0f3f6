"""The KL divergence of one policy from another, on responses that the first one wrote."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.models import chat_templates, loading, padding, precisions
from xlrm.models.decoding import Prompt

if TYPE_CHECKING:
    import torch

_TOKENS = 128
"""Tokens of a response whose probabilities of the whole vocabulary are in memory at a time."""

Written = tuple[list[int], list[int]]
"""Token ids of a prompt and of a response to it."""


def per_response(policy: Any, reference: Any, written: Sequence[Written], temperature: float = 1.0) -> list[float]:
    """KL(policy || reference) in nats for each response: the sum over its tokens of the divergence of the two distributions of
    the next token, over the whole vocabulary, after the same tokens before. Its mean over responses that were drawn from the
    policy is an unbiased estimate of the divergence of the distributions of responses, by the chain rule, with less variance
    than log policy - log reference of the tokens drawn (Amini et al. 2025, "Better estimation of the Kullback-Leibler
    divergence between language models").

    `temperature`: that at which the responses were drawn, by which both policies' logits are divided. Each response is
    computed by itself, without padding."""
    return [_divergence(policy, reference, *each, temperature) if each[1] else 0.0 for each in written]


def of_policies(
    reference: Path, policies: Mapping[str, Path], rows: Mapping[str, Sequence[dict]], temperature: float = 1.0
) -> dict[str, list[list[float]]]:
    """For each policy, by its name, `per_response` of all its responses, in rows of `xlrm.models.samples`. All have the same
    tokenizer, and compute in float32. Raises ArtifactError for a folder without a policy."""
    before = _loaded(reference)
    values = {}
    for name, folder in policies.items():
        policy, tokenizer = _loaded(folder), loading.load_tokenizer(folder)
        each = iter(per_response(policy, before, _ids(policy, tokenizer, rows[name]), temperature))
        values[name] = [[next(each) for _ in row["responses"]] for row in rows[name]]
        del policy
        loading.free_gpu()
    return values


def _loaded(folder: Path) -> Any:
    network: Any = loading.load_language_model(folder, loading.load_config(folder))
    return network.to(precisions.device()).eval()


def _ids(policy: Any, tokenizer: Any, rows: Sequence[dict]) -> list[Written]:
    """Token ids of all responses, one row after the other."""
    prompts = [row["prompt"] for row in rows for _ in row["responses"]]
    responses, finished = ([each for row in rows for each in row[field]] for field in ("responses", "finished"))
    return token_ids(tokenizer, prompts, responses, finished, policy.config.is_encoder_decoder)


def _divergence(policy: Any, reference: Any, read: list[int], response: list[int], temperature: float) -> float:
    import torch

    total = 0.0
    with torch.no_grad():
        own, other = (logits(network, read, response) / temperature for network in (policy, reference))
        for start in range(0, len(response), _TOKENS):
            p, q = (each[start : start + _TOKENS].float().log_softmax(-1) for each in (own, other))
            total += (p.exp() * (p - q)).double().sum().item()
    return total


def logits(network: Any, read: list[int], response: list[int]) -> "torch.Tensor":
    """Logits (tokens of the response, vocabulary), each after the prompt and the tokens of the response before."""
    import torch

    def row(ids: list[int]) -> "torch.Tensor":
        return torch.tensor([ids], device=network.device)

    padding.forget_lengths(network)
    if network.config.is_encoder_decoder:
        before = [network.config.decoder_start_token_id, *response[:-1]]
        return network(input_ids=row(read), decoder_input_ids=row(before)).logits[0]
    return network(input_ids=row([*read, *response[:-1]])).logits[0, len(read) - 1 :]


def token_ids(
    tokenizer: Any, prompts: Sequence[Prompt], responses: Sequence[str], finished: Sequence[bool],
    encoder_decoder: bool = False,
) -> list[Written]:  # fmt: skip
    """Token ids of prompts as a policy reads them, and of its responses to them, with the token that ends them if it finished
    them. The texts are tokenised again: a policy that wrote the same text with other tokens, or white space around it, wrote
    other ids. `tokenizer`: the policy's, from `loading.load_tokenizer`."""
    if not prompts:
        return []
    asked, end = chat_templates.as_policies_read(tokenizer, prompts, encoder_decoder), tokenizer.eos_token_id
    if encoder_decoder:
        written = tokenizer(text_target=list(responses), add_special_tokens=False, verbose=False)["input_ids"]
    else:
        written = _continued(tokenizer, prompts, responses, asked)
        end = min(chat_templates.turn_ends(tokenizer), default=end)
    return [
        (ids, [*text, end] if whole else text) for ids, text, whole in zip(asked, written, finished, strict=True)
    ]  # fmt: skip


def _continued(
    tokenizer: Any, prompts: Sequence[Prompt], responses: Sequence[str], asked: Sequence[list[int]]
) -> list[list[int]]:
    """Token ids of responses behind their prompts. Where a tokenizer would join the last characters of a prompt and the first
    of a response, which a policy cannot do, the response is tokenised by itself."""
    begun = [chat_templates.asking(tokenizer, prompt) for prompt in prompts]
    texts = [text + response for text, response in zip(begun, responses, strict=True)]
    whole = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return [
        ids[len(read) :] if ids[: len(read)] == read else tokenizer(response, add_special_tokens=False)["input_ids"]
        for ids, read, response in zip(chat_templates.as_read(tokenizer, whole), asked, responses, strict=True)
    ]  # fmt: skip
