"""Log-probabilities and entropies of the tokens of responses, for decoders with TRL's fused head and for encoder-decoders."""

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from xlrm.training.rollouts import Writer


def computed(trainer: type, writer: "Writer") -> type:
    """Subclass of TRL's GRPOTrainer or RLOOTrainer with these log-probabilities and entropies, `batch_size` rows at a time."""
    import torch

    of = of_decoder
    if writer.config.is_encoder_decoder:
        start = writer.config.decoder_start_token_id
        of = partial(of_encoder_decoder, start=start, temperature=writer.decoding.temperature)

    class Computed(trainer):
        def _get_per_token_logps_and_entropies(
            self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, batch_size: int | None = None,
            compute_entropy: bool = False, compute_aux_loss: bool = False, **more: Any,
        ) -> tuple[Any, Any, Any]:  # fmt: skip
            if compute_aux_loss:  # a mixture of experts
                return super()._get_per_token_logps_and_entropies(
                    model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, compute_aux_loss, **more
                )  # fmt: skip
            size, parts = batch_size or len(input_ids), []
            for start in range(0, len(input_ids), size):
                ids, mask = input_ids[start : start + size], attention_mask[start : start + size]
                with self.accelerator.autocast():
                    parts.append(of(model, ids, mask, logits_to_keep))
            probabilities, entropies = (list(each) for each in zip(*parts, strict=True))
            return torch.cat(probabilities), torch.cat(entropies) if compute_entropy else None, None

    return Computed


def of_decoder(model: Any, ids: "torch.Tensor", mask: "torch.Tensor", count: int) -> tuple[Any, Any]:
    """Log-probabilities and entropies (rows, count) of the last `count` tokens, 0 where `mask` is 0, and None for entropies
    that the model's head does not compute. `ids` and `mask`: (rows, width), padded on the left before the prompt, and on the
    right after the response. The head divides logits by the sampling temperature."""
    import torch

    width = ids.shape[1]
    places = torch.arange(width, device=ids.device)[None]
    before = (mask.cumsum(1) == 0).sum(1, keepdim=True)
    turned = (places + before) % width
    ids, mask = ids.gather(1, turned), mask.gather(1, turned)
    first = width - count - before  # of the response
    asked = (places >= first) & (places < first + count) & (mask == 1)
    outputs = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(~asked, -100), fused_lm_head=True)
    back = first - 1 + torch.arange(count, device=ids.device)[None]
    entropies = None if outputs.entropy is None else outputs.entropy.gather(1, back)
    return outputs.log_probs.gather(1, back), entropies


def of_encoder_decoder(
    model: Any, ids: "torch.Tensor", mask: "torch.Tensor", count: int, start: int, temperature: float
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """The same of an encoder-decoder, which reads the prompt in its encoder and begins a response with the token `start`. TRL's
    fused head takes neither, so the logits of a whole pass are in memory: 4 bytes x rows x count x vocabulary, several times."""
    import torch

    width = ids.shape[1] - count
    before = (mask[:, :width].cumsum(1) == 0).sum(1, keepdim=True)
    turned = (torch.arange(width, device=ids.device)[None] + before) % width
    response, written = ids[:, width:], mask[:, width:] == 1
    shifted = torch.cat([torch.full_like(response[:, :1], start), response[:, :-1]], dim=1)
    read, seen = ids[:, :width].gather(1, turned), mask[:, :width].gather(1, turned)
    logits = model(input_ids=read, attention_mask=seen, decoder_input_ids=shifted, use_cache=False).logits.float()
    logs = (logits / temperature).log_softmax(-1)
    with torch.no_grad():
        entropies = torch.stack([-(row.exp() * row).sum(-1) for row in logs])
    chosen = logs.gather(2, response[..., None])[..., 0]
    return chosen.masked_fill(~written, 0), entropies.masked_fill(~written, 0)
