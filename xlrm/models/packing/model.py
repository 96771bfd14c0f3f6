"""Making a model compute packed batches, by means of hooks."""

import os
from typing import TYPE_CHECKING, Any

from xlrm import progress
from xlrm.models import padding
from xlrm.models.packing.attention import capped
from xlrm.models.packing.layout import Layout, lay_out

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FAMILIES = ("gemma", "gemma2", "gemma3", "gemma3_text", "llama", "mistral", "olmo", "olmo2", "qwen2", "qwen3")
"""`config.model_type` of decoders that use transformers' attention interface and whose attention depends only on
queries, keys, values and positions, also within a sliding window and with soft caps. Each is tested; other architectures
fall back to padded batches."""
_ROPE = ("default", "linear", "llama3", "yarn")
"""Types of rotary positions that do not depend on the longest sequence of a batch."""
_NAME = "xlrm_packed"
_BY_TOKEN = ("self_attn.q_proj", "self_attn.o_proj", "mlp")
"""Parts of a layer that process each token separately; in the last layer they process only the tokens that are read."""
_MORE = ("position_ids", "past_key_values", "inputs_embeds", "pixel_values", "token_type_ids", "layout")
"""Arguments with which a batch is not packed."""

Arguments = tuple[tuple, dict]


def enable(model: "PreTrainedModel") -> bool:
    """Makes `model` compute packed batches if its family supports them; logs and returns whether it does.

    Of the last layer, only the states that are read are computed: with a score head, the last token of each sequence;
    with TRL's fused head on a causal model, the tokens before a label; without a head, all tokens.
    """
    reason = _unable(model.base_model.config)
    if reason:
        _say(f"{model.config.model_type}: padded batches ({reason})")
        return False
    _register()
    model.set_attn_implementation(_NAME)
    _Packer(model)
    setattr(model, _NAME, True)
    _say(f"{model.config.model_type}: packed batches, attention by {_kernel(model.config.get_text_config())}")
    return True


def enabled(model: Any) -> bool:
    return getattr(model, _NAME, False)


def _kernel(config: Any) -> str:
    import torch

    if config.model_type == "gemma2" and config.attn_logit_softcapping:
        return "matrix products, with soft caps"
    return "FlashAttention in half precision, else SDPA" if torch.cuda.is_available() else "SDPA"


def _unable(config: Any) -> str | None:
    """Reason why models of this config need padded batches; None if they can be packed."""
    text = config.get_text_config()
    kinds = {rope.get("rope_type", "default") for rope in padding.ropes(text)}
    if config.model_type not in FAMILIES:
        return "a family that is not known to pack"
    if kinds - {*_ROPE}:
        return f"rotary positions of type {', '.join(sorted(kinds - {*_ROPE}))}"
    if getattr(text, "attention_dropout", 0):
        return f"attention_dropout {text.attention_dropout}"
    if getattr(text, "use_bidirectional_attention", False):
        return "attention to later tokens"
    return None


def _say(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        progress.say(f"engine: {text}")


def _register() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, sdpa_mask)


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, layout: Layout | None = None, **more: Any
) -> "tuple[torch.Tensor, torch.Tensor | None]":
    """Attention function for transformers: (1, heads, T, d) -> (1, T, heads, d); without a layout, as its SDPA, which
    leaves out soft caps."""
    cap = more.get("softcap") or None  # 0 is none, as in `loading.attention`
    if layout is None and cap is not None:
        return capped(query, key, value, attention_mask, more["scaling"], cap).transpose(1, 2).contiguous(), None
    if layout is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)
    last = module.layer_idx == module.config.num_hidden_layers - 1
    attention = (layout.last if last else layout.inner).within(more.get("sliding_window"))
    return attention(query, key, value, more["scaling"], cap), None


class _Packer:
    """Hooks on a model and its last layer. The layout of a batch is passed to each layer as the argument `layout`."""

    def __init__(self, model: "PreTrainedModel"):
        decoder: Any = model.base_model
        self.layout: Layout | None = None
        if decoder is model:
            model.register_forward_pre_hook(self._pack_all, with_kwargs=True)
        elif model.get_output_embeddings() is None:
            model.register_forward_pre_hook(self._pack_last, with_kwargs=True)
        else:
            model.register_forward_pre_hook(self._pack_labels, with_kwargs=True)
            model.register_forward_hook(_spread, with_kwargs=True)
        decoder.register_forward_pre_hook(_swap, with_kwargs=True)
        decoder.register_forward_hook(_take, with_kwargs=True)
        layer = model.get_decoder().layers[-1]
        layer.register_forward_pre_hook(self._look, with_kwargs=True)
        for name, module in layer.named_modules():
            if name in _BY_TOKEN:
                module.register_forward_pre_hook(self._trim)
                module.register_forward_hook(self._fill)

    def _pack_all(self, model: Any, args: tuple, kwargs: dict) -> Arguments | None:
        """Packs a batch for a model without a head: all states are read, and returned padded like the batch."""
        sequences, width = self._sequences(args, kwargs)
        return _given(kwargs, lay_out(sequences, None, None, width, model.device)) if sequences else None

    def _pack_last(self, model: Any, args: tuple, kwargs: dict) -> Arguments | None:
        """Packs a batch for a score head, which then sees sequences of one token: the last one that is not padding."""
        sequences, width = self._sequences(args, kwargs)
        if not sequences:
            return None
        ends = [len(sequence) - 1 for sequence in sequences]
        pad = model.config.get_text_config().pad_token_id
        for line, sequence in enumerate(sequences):
            while ends[line] and sequence[ends[line]] == pad:
                ends[line] -= 1
        layout = lay_out(sequences, [(end, end + 1) for end in ends], (len(ends), 1), width, model.device)
        return _given(kwargs, layout, input_ids=layout.taken(layout.ids[0])[:, None])

    def _pack_labels(self, model: Any, args: tuple, kwargs: dict) -> Arguments | None:
        """Packs a batch for TRL's fused head, which takes the states before labels, and the labels, as one sequence."""
        import numpy as np

        sequences, width = self._sequences(args, kwargs) if kwargs.get("fused_lm_head") else (None, 0)
        if not sequences or kwargs.get("labels") is None:
            return None
        labels = kwargs["labels"][:, 1:].cpu()
        labelled = [np.flatnonzero(line) for line in (labels != -100).numpy()]
        spans = [(int(positions[0]), int(positions[-1]) + 1) if len(positions) else (0, 0) for positions in labelled]
        count = sum(stop - first for first, stop in spans)
        if not count:
            return None
        layout = lay_out(sequences, spans, (1, count), width - 1, model.device)
        shifted = labels.reshape(-1)[layout.unpad][None].to(model.device)
        return _given(kwargs, layout, labels=None, shift_labels=shifted)

    def _sequences(self, args: tuple, kwargs: dict) -> tuple[list[list[int]] | None, int]:
        """Sequences of a batch padded on the right, and its width; (None, 0) for a batch that is not to be packed."""
        ids, mask = args[0] if args else kwargs.get("input_ids"), kwargs.get("attention_mask")
        more = len(args) > 1 or kwargs.get("use_cache") or any(kwargs.get(name) is not None for name in _MORE)
        if ids is None or more or (mask is not None and mask.ndim != 2):
            return None, 0
        width = ids.shape[1]
        mask = ids.new_ones(ids.shape, device="cpu") if mask is None else mask.cpu()
        sizes = mask.sum(1).tolist()
        if min(sizes) < 1 or (mask.diff(dim=1) > 0).any():
            return None, 0
        return [row[:size] for row, size in zip(ids.tolist(), sizes, strict=True)], width

    def _look(self, layer: Any, args: tuple, kwargs: dict) -> None:
        """Stores the layout before the last layer runs, also when gradient checkpointing runs it again."""
        self.layout = kwargs.get("layout")

    def _trim(self, module: Any, args: tuple) -> tuple | None:
        if self.layout is None or self.layout.trim is None:
            return None
        return self.layout.trim(args[0][0])[None], *args[1:]

    def _fill(self, module: Any, args: tuple, output: "torch.Tensor") -> "torch.Tensor | None":
        import torch

        if self.layout is None or self.layout.fill is None:
            return None
        return self.layout.fill(torch.cat([output.new_zeros(1, output.shape[2]), output[0]]))[None]


def _given(kwargs: dict, layout: Layout, **more: Any) -> Arguments:
    return (), kwargs | {"attention_mask": None, "use_cache": False, "layout": layout} | more


def _swap(decoder: Any, args: tuple, kwargs: dict) -> Arguments | None:
    """Replaces the decoder's inputs with the packed row. The mask is a placeholder that the attention ignores:
    transformers leaves masks with four dimensions unchanged."""
    layout = kwargs.get("layout")
    if layout is None:
        return None
    unread = layout.positions.new_zeros(1, 1, 1, 1)
    return (), kwargs | {"input_ids": layout.ids, "position_ids": layout.positions, "attention_mask": unread}


def _take(decoder: Any, args: tuple, kwargs: dict, output: Any) -> Any:
    """Keeps the states of the tokens that are read: (*layout.shape, hidden) for a head, else padded like the batch."""
    layout = kwargs.get("layout")
    if layout is None:
        return output
    output.last_hidden_state = _shaped(output.last_hidden_state, layout)
    if output.get("hidden_states") is not None:
        output.hidden_states = tuple(_shaped(states, layout) for states in output.hidden_states)
    return output


def _shaped(states: "torch.Tensor", layout: Layout) -> "torch.Tensor":
    taken = layout.taken(states[0])
    return taken.unflatten(0, layout.shape) if layout.shape else _padded(taken, layout)


def _padded(values: "torch.Tensor", layout: Layout) -> "torch.Tensor":
    """(tokens that are read, ...) -> (lines, width, ...), with zeros for all other tokens."""
    import torch

    places = torch.from_numpy(layout.unpad).to(values.device)
    padded = values.new_zeros(layout.lines * layout.width, *values.shape[1:]).index_copy(0, places, values)
    return padded.unflatten(0, (layout.lines, layout.width))


def _spread(model: Any, args: tuple, kwargs: dict, output: Any) -> Any:
    """Puts the head's outputs for each label back at the label's position in the padded batch."""
    import torch

    if (layout := kwargs.get("layout")) is None:
        return output
    for name, value in output.items():
        if isinstance(value, torch.Tensor) and value.shape[:2] == layout.shape:
            setattr(output, name, _padded(value[0], layout))
    return output
