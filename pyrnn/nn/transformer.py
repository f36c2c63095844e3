"""TransformerEncoder, TransformerDecoder and Transformer: drop-in for torch.nn's by the same names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn._checks import check_all_dense, check_dense
from pyrnn._dispatch import has_python_dispatch
from pyrnn.nn._few_tokens import run_layers
from pyrnn.nn.cache import CacheList
from pyrnn.nn.decoder_layer import TransformerDecoderLayer
from pyrnn.nn.drop_in import DropIn
from pyrnn.nn.encoder_layer import TransformerEncoderLayer
from pyrnn.nn.parts import SumAndNorm, added_mask, unchanged
from pyrnn.nn.plain import Kind, is_plain, kind_of

_ENCODER_LAYER, _DECODER_LAYER = kind_of(TransformerEncoderLayer), kind_of(TransformerDecoderLayer)


class TransformerEncoder(DropIn, nn.TransformerEncoder):
    """Encoder layers on top of one another: x = layer_n(x) for each of N, then norm(x) if there is one.

    Drop-in for `torch.nn.TransformerEncoder`: the same parameters, arguments and results, except that what
    stands at padding is computed like everything else. torch does so too while training, and writes zeros
    there in evaluation, where it leaves padding out with nested tensors.

    Args:
        encoder_layer: The layer, ours or torch's: the encoder has N copies of it.
        num_layers: N.
        norm: Applied to the last layer's output.
        enable_nested_tensor: Not looked at, for padding is skipped inside the attention.
        mask_check: Not looked at.

    Source: Vaswani et al., Attention Is All You Need (2017), section 3.1.

    Example:
        >>> import torch, pyrnn.nn
        >>> layer = pyrnn.nn.TransformerEncoderLayer(8, 2, 16)
        >>> pyrnn.nn.TransformerEncoder(layer, 3)(torch.randn(5, 2, 8)).shape
        torch.Size([5, 2, 8])
    """

    def __init__(
        self,
        encoder_layer: nn.Module,
        num_layers: int,
        norm: nn.Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        # torch would warn of reasons not to use nested tensors, which this encoder never does.
        layer: Any = encoder_layer
        super().__init__(layer, num_layers, norm, enable_nested_tensor=False, mask_check=mask_check)
        self.enable_nested_tensor = enable_nested_tensor

    def new_cache(self) -> CacheList:
        """Empty caches, one for each layer."""
        return _new_caches(self.layers)

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
        *,
        cache: CacheList | None = None,
    ) -> Tensor:
        """Run the layers in turn. Arguments and errors: see `TransformerEncoderLayer.forward`.

        Args:
            src: the sequences.
            mask: for each layer.
            src_key_padding_mask: for each layer.
            is_causal: for each layer; None: find out whether `mask` is causal.
            cache: what `new_cache` made.
        """
        masked = mask is not None or src_key_padding_mask is not None
        output = self.run_at_once(src, cache, restricted=masked)
        if isinstance(output, Tensor):
            return output
        is_causal = is_causal_mask(mask) if is_causal is None else is_causal
        if masked and not all(is_plain(layer, _ENCODER_LAYER) for layer in self.layers):
            mask, src_key_padding_mask = (
                added_mask(mask, src.dtype),
                added_mask(src_key_padding_mask, src.dtype),
            )
        norms = _norms_behind(self, (src,), cache, _ENCODER_LAYER)
        if norms is not None:
            layers: list[Any] = [*self.layers]
            x = SumAndNorm(src, layers[0].norm1(src))
            for layer, norm in zip(layers, norms, strict=True):
                x = layer.norm_first_parts(x, mask, src_key_padding_mask, is_causal, norm=norm)
            return x.normed
        output = src
        for number, layer in enumerate(self.layers):
            output = layer(
                output,
                src_mask=mask,
                is_causal=is_causal,
                src_key_padding_mask=src_key_padding_mask,
                **_cache_of(number, cache),
            )
        return output if self.norm is None else self.norm(output)

    def run_at_once(
        self, src: Tensor, cache: CacheList | None, *, restricted: bool, ask: bool = False
    ) -> Tensor | str:
        """All layers of a generating model's new tokens by one call of C++, or why they must be called.

        `ask`: see `run_layers`.
        """
        if restricted:
            return "there is a mask"
        return _run_at_once(self, src, cache, _ENCODER_LAYER, ask=ask)


class TransformerDecoder(DropIn, nn.TransformerDecoder):
    """Decoder layers on top of one another: x = layer_n(x, memory) for each of N, then norm(x) if there is
    one.

    Drop-in for `torch.nn.TransformerDecoder`: the same parameters, arguments and results.

    Args:
        decoder_layer: The layer, ours or torch's: the decoder has N copies of it.
        num_layers: N.
        norm: Applied to the last layer's output.

    Source: Vaswani et al., Attention Is All You Need (2017), section 3.1.

    Example:
        >>> import torch, pyrnn.nn
        >>> layer = pyrnn.nn.TransformerDecoderLayer(8, 2, 16, causal=True).eval()
        >>> decoder, memory = pyrnn.nn.TransformerDecoder(layer, 3), torch.randn(7, 2, 8)
        >>> tokens, cache = torch.randn(5, 2, 8), decoder.new_cache()
        >>> steps = [decoder(token, memory, cache=cache) for token in tokens.split(1)]
        >>> torch.testing.assert_close(torch.cat(steps), decoder(tokens, memory))
    """

    def new_cache(self) -> CacheList:
        """Empty caches of every layer: of its self-attention, and of the memory's keys."""
        return _new_caches(self.layers)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
        *,
        cache: CacheList | None = None,
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """Run the layers in turn. Arguments and errors: see `TransformerDecoderLayer.forward`.

        Args:
            tgt: the sequences.
            memory: the encoder's output.
            tgt_mask: for each layer.
            memory_mask: for each layer.
            tgt_key_padding_mask: for each layer.
            memory_key_padding_mask: for each layer.
            tgt_is_causal: for each layer; None: find out whether `tgt_mask` is causal.
            memory_is_causal: for each layer.
            cache: what `new_cache` made.
            weights: for the last layer, which must be ours: a list that gets what it gave to each position of
                the memory.
        """
        hidden = (tgt_mask, memory_mask, tgt_key_padding_mask, weights)
        restricted = any(each is not None for each in hidden) or not isinstance(memory, Tensor)
        found = self.run_at_once(tgt, cache, restricted=restricted)
        if isinstance(found, Tensor):
            return found
        tgt_is_causal = is_causal_mask(tgt_mask) if tgt_is_causal is None else tgt_is_causal
        norms = None if weights is not None else _norms_behind(self, (tgt, memory), cache, _DECODER_LAYER)
        if norms is not None:
            masks = (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
            memory_masks = (memory_mask, memory_key_padding_mask, memory_is_causal)
            layers: list[Any] = [*self.layers]
            x = SumAndNorm(tgt, layers[0].norm1(tgt))
            for layer, norm in zip(layers, norms, strict=True):
                x = layer.norm_first_parts(x, memory, masks, memory_masks, norm=norm)
            return x.normed
        output, last = tgt, len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            output = layer(
                output,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=tgt_is_causal,
                memory_is_causal=memory_is_causal,
                **_cache_of(number, cache),
                **_weights_of(layer, weights if number == last else None),
            )
        return output if self.norm is None else self.norm(output)

    def run_at_once(
        self, tgt: Tensor, cache: CacheList | None, *, restricted: bool, ask: bool = False
    ) -> Tensor | str:
        """All layers of a generating model's new tokens by one call of C++, or why they must be called.

        `restricted`: see `TransformerDecoderLayer.run_at_once`; `ask`: see `run_layers`.
        """
        if restricted:
            return "there is a mask, or weights are asked for"
        return _run_at_once(self, tgt, cache, _DECODER_LAYER, ask=ask)


def _run_at_once(stack: Any, input: Tensor, cache: Any, kind: Kind, *, ask: bool) -> Tensor | str:
    """What `run_layers` makes of a stack whose layers are all plain ones of a kind."""
    if type(cache) is not CacheList:
        return "there is no cache"
    layers: list[Any] = [*stack.layers]
    if len(layers) != len(cache) or not all(is_plain(layer, kind) for layer in layers):
        return "a layer is watched or of another kind, or the caches are not as many"
    if any(layer.replaces_parts() for layer in layers):
        return "attention or network of a layer were replaced"
    return run_layers(layers, stack.norm, input, cache, ask=ask)


def _norms_behind(
    stack: Any, inputs: tuple[Any, ...], cache: CacheList | None, kind: Kind
) -> list[Any] | None:
    """What normalises each layer's output: the next layer, and the stack. None: the layers must be called.

    They need not be where nothing watches them and each normalises first. Then a layer's last sum and the
    normalisation behind it, which is another module's, are computed together.
    """
    layers: list[Any] = [*stack.layers]
    if not layers or cache is not None or not all(is_plain(layer, kind) for layer in layers):
        return None
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
    known = all(
        type(each) is Tensor and each.layout is torch.strided and not each.is_nested for each in inputs
    )
    if recorded or not known or not all(layer.norm_first for layer in layers):
        return None
    return [*(layer.norm1 for layer in layers[1:]), unchanged if stack.norm is None else stack.norm]


class Transformer(DropIn, nn.Transformer):
    """An encoder, and a decoder that attends to its output.

    Drop-in for `torch.nn.Transformer`: the same parameters (names, shapes, initialisation), arguments and
    results. To decode step by step, run `encoder` once, and `decoder` with a cache from
    `decoder.new_cache()`.

    Args:
        d_model: E, features of source, target and output.
        nhead: H, heads of each attention, a divisor of E.
        num_encoder_layers: Layers of the encoder.
        num_decoder_layers: Layers of the decoder.
        dim_feedforward: Features inside the feed-forward networks.
        dropout: Probability of dropping an element, or an attention weight, while training.
        activation: "relu", "gelu" or a function of one tensor.
        custom_encoder: Instead of the encoder.
        custom_decoder: Instead of the decoder.
        layer_norm_eps: Added to the variance in the normalisations.
        batch_first: Tensors are [B, T, E] instead of [T, B, E].
        norm_first: Normalise what goes into each part instead of what comes out.
        bias: Whether linear layers and normalisations have biases.
        device: Where the parameters lie.
        dtype: Of the parameters.

    Source: Vaswani et al., Attention Is All You Need (2017).

    Example:
        >>> import torch, pyrnn.nn
        >>> model = pyrnn.nn.Transformer(8, 2, 2, 2, 16)
        >>> mask = model.generate_square_subsequent_mask(5)
        >>> model(torch.randn(7, 3, 8), torch.randn(5, 3, 8), tgt_mask=mask, tgt_is_causal=True).shape
        torch.Size([5, 3, 8])
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = F.relu,
        custom_encoder: Any | None = None,
        custom_decoder: Any | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options: tuple[Any, ...] = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first,
            bias, device, dtype,
        )  # fmt: skip

        def norm() -> nn.LayerNorm:
            return nn.LayerNorm(d_model, eps=layer_norm_eps, bias=bias, device=device, dtype=dtype)

        # In torch's order, so that the same seed draws the same parameters.
        if custom_encoder is None:
            custom_encoder = TransformerEncoder(TransformerEncoderLayer(*options), num_encoder_layers, norm())
        if custom_decoder is None:
            custom_decoder = TransformerDecoder(TransformerDecoderLayer(*options), num_decoder_layers, norm())
        super().__init__(
            d_model,
            nhead,
            custom_encoder=custom_encoder,
            custom_decoder=custom_decoder,
            batch_first=batch_first,
        )

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Run encoder and decoder. Arguments, result and errors: see `TransformerDecoder.forward`."""
        check_all_dense(("src", "tgt"), (src, tgt), required=2)
        masks = (src_mask, tgt_mask, memory_mask)
        paddings = (src_key_padding_mask, tgt_key_padding_mask, memory_key_padding_mask)
        return super().forward(src, tgt, *masks, *paddings, src_is_causal, tgt_is_causal, memory_is_causal)


def _new_caches(layers: nn.ModuleList) -> CacheList:
    for layer in layers:
        if not hasattr(layer, "new_cache"):
            raise TypeError(
                f"only pyrnn's layers take a cache, not {type(layer).__module__}.{type(layer).__qualname__}; "
                "pyrnn.accelerate(model) turns torch's layers into ours"
            )
    return CacheList(layer.new_cache() for layer in layers)  # type: ignore[operator]


def _cache_of(number: int, cache: CacheList | None) -> dict[str, Any]:
    """The argument `cache` of a layer, which only ours take."""
    if cache is not None and not isinstance(cache, list):
        raise TypeError(f"expected cache to be what new_cache() makes, got {type(cache).__name__}")
    return {} if cache is None else {"cache": cache[number]}


def _weights_of(layer: nn.Module, weights: list[Tensor] | None) -> dict[str, Any]:
    """The argument `weights` of a layer, which only ours take."""
    if weights is not None and not isinstance(layer, TransformerDecoderLayer):
        raise TypeError(
            f"only pyrnn's layers tell their weights, not {type(layer).__module__}."
            f"{type(layer).__qualname__}; pyrnn.accelerate(model) turns torch's layers into ours"
        )
    return {} if weights is None else {"weights": weights}


def is_causal_mask(mask: Tensor | None) -> bool:
    """Whether `mask` forbids exactly what stands behind each query, and does nothing else.

    A compiled or traced graph cannot depend on what a mask holds: there the answer is no, and the mask is
    used as it is.
    """
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
    if mask is not None:
        check_dense("mask", mask)
    if mask is None or recorded or mask.dim() != 2 or mask.shape[0] != mask.shape[1]:
        return False
    if (
        mask.is_meta
        or has_python_dispatch(mask)
        or not (mask.dtype == torch.bool or mask.is_floating_point())
    ):
        return False  # nothing to read, or no mask, which the layers say
    forbidden = True if mask.dtype == torch.bool else -torch.inf
    return torch.equal(mask, torch.full_like(mask, forbidden).triu(1))
