"""The weights that a decoder's last layer gave to the memory: those it used, for who asks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyrnn
from pyrnn.nn import TransformerDecoder, TransformerDecoderLayer


def decoder_of(*, layers: int = 2, **options: Any) -> tuple[Any, Tensor, Tensor, dict[str, Tensor]]:
    """A decoder, what goes into it, a memory, and the padding of that."""
    torch.manual_seed(0)
    layer = TransformerDecoderLayer(8, 2, 16, causal=True, dtype=torch.float64, **options)
    decoder = TransformerDecoder(layer, layers).eval()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.7)
    x, memory = torch.randn(4, 2, 8).double(), torch.randn(5, 2, 8).double()
    return decoder, x, memory, {"memory_key_padding_mask": torch.arange(5) >= torch.tensor([[5], [3]])}


@pytest.mark.parametrize("options", [{}, {"norm_first": True}, {"dropout": 0.5}], ids=str)
def test_they_are_what_the_attention_returns(options: dict[str, Any]) -> None:
    decoder, x, memory, padding = decoder_of(**options)
    told: list[Any] = []
    decoder.layers[-1].multihead_attn.register_forward_hook(lambda _, args, output: told.append(output[1]))
    plain, weights = decoder(x, memory, **padding), list[Tensor]()
    torch.testing.assert_close(decoder(x, memory, **padding, weights=weights), plain)
    assert told[0] is None
    assert len(weights) == 1
    assert weights[0] is told[1]
    assert weights[0].shape == (2, 4, 5)
    torch.testing.assert_close(weights[0].sum(-1), torch.ones(2, 4, dtype=torch.float64))
    assert not weights[0][1, :, 3:].any()


def test_steps_with_a_cache_tell_the_same() -> None:
    decoder, x, memory, padding = decoder_of()
    whole, cache, steps = list[Tensor](), decoder.new_cache(), list[Tensor]()
    with torch.no_grad():
        decoder(x, memory, **padding, weights=whole)
        for token in x.split(1):
            decoder(token, memory, **padding, cache=cache, weights=steps)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole[0])


def test_batch_first_and_unbatched() -> None:
    decoder, x, memory, _ = decoder_of()
    expected, first, single = list[Tensor](), list[Tensor](), list[Tensor]()
    decoder(x, memory, weights=expected)
    other, *_ = decoder_of(batch_first=True)
    other.load_state_dict(decoder.state_dict())
    other(x.transpose(0, 1), memory.transpose(0, 1), weights=first)
    torch.testing.assert_close(first[0], expected[0])
    decoder(x[:, 0], memory[:, 0], weights=single)
    torch.testing.assert_close(single[0], expected[0][0])


def test_gradients_flow_through_them() -> None:
    decoder, x, memory, _ = decoder_of(layers=1)
    weights = list[Tensor]()
    decoder(x, memory.requires_grad_(), weights=weights)
    (gradient,) = torch.autograd.grad(weights[0].square().sum(), memory)
    assert gradient.any()


def test_a_compiled_decoder_tells_them() -> None:
    decoder, x, memory, _ = decoder_of(layers=1)

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        weights: list[Tensor] = []
        return decoder(x, memory, weights=weights), weights[0]

    with torch.no_grad():
        compiled: Any = torch.compile(both, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), both(x))


def test_what_somebody_put_in_the_place_of_the_attention_is_called() -> None:
    """It may tell no weights, and then there are none; the output is what it makes."""
    decoder, x, memory, _ = decoder_of()
    layer, weights = decoder.layers[-1], list[Tensor]()
    layer._mha_block = lambda x, *_, **__: torch.zeros_like(x)
    expected = decoder(x, memory)
    torch.testing.assert_close(decoder(x, memory, weights=weights), expected, rtol=0, atol=0)
    assert weights == []

    class Silent(nn.Module):
        def forward(self, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> tuple[Tensor, None]:
            return query + value.mean(0), None

    del layer._mha_block
    layer.multihead_attn = Silent()
    torch.testing.assert_close(decoder(x, memory, weights=weights), decoder(x, memory), rtol=0, atol=0)
    assert weights == []


def test_torch_s_layers_tell_none() -> None:
    decoder = TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2).eval()
    x = torch.randn(4, 2, 8)
    decoder(x, x)
    with pytest.raises(TypeError, match=r"only pyrnn's layers tell their weights"):
        decoder(x, x, weights=[])


def test_explain_knows_who_is_asked() -> None:
    decoder, x, memory, _ = decoder_of()
    with torch.no_grad():
        plain, asked = (pyrnn.explain(decoder, x, memory, **o) for o in ({}, {"weights": []}))
    why = "weights are needed"
    assert not any(why in layer.small for layer in plain.layers)
    assert [why in layer.small for layer in asked.layers] == [False, False, False, True]
