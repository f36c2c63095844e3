"""The transformer backbone by itself: what a step sees, and that pieces, lengths and states do not matter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.models import LanguageModel, LanguageModelConfig, detach_state, select_state
from pyrnn.models._transformer import CausalTransformer
from pyrnn.nn import alibi_slopes


def _backbone(
    *, width: int = 8, num_layers: int = 2, num_heads: int = 2, context: int = 5, dropout: float = 0.0
) -> CausalTransformer:
    torch.manual_seed(0)
    backbone = CausalTransformer(
        width=width, num_layers=num_layers, num_heads=num_heads, context=context, dropout=dropout
    )
    for (
        parameter
    ) in backbone.parameters():  # larger than a fresh one's, so that attention is far from uniform
        torch.nn.init.normal_(parameter, std=0.5)
    return backbone.double()


def _input(T: int, B: int, width: int = 8) -> Tensor:
    return torch.randn(T, B, width, generator=torch.Generator().manual_seed(1)).double()


def test_one_layer_is_the_formula() -> None:
    backbone, x = _backbone(num_layers=1, context=3).eval(), _input(7, 1)
    weights = {name.removeprefix("encoder.layers.0."): p.detach() for name, p in backbone.named_parameters()}

    def norm(name: str, rows: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(rows, (8,), weights[f"{name}.weight"], weights[f"{name}.bias"])

    def linear(name: str, rows: Tensor) -> Tensor:
        return rows @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    rows = x[:, 0]
    qkv = norm("norm1", rows) @ weights["self_attn.in_proj_weight"].T + weights["self_attn.in_proj_bias"]
    q, k, v = qkv.unflatten(-1, (3, 2, 4)).permute(1, 2, 0, 3)
    distance = torch.arange(7).unsqueeze(1) - torch.arange(7)
    scores = q @ k.mT / 2 - alibi_slopes(2).double().view(2, 1, 1) * distance
    scores = scores.masked_fill((distance < 0) | (distance > 3), -torch.inf)
    rows = rows + linear("self_attn.out_proj", (scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
    rows = rows + linear("linear2", torch.nn.functional.gelu(linear("linear1", norm("norm2", rows))))
    end = backbone.encoder.norm
    assert end is not None
    torch.testing.assert_close(backbone(x)[0][:, 0], end(rows))


@pytest.mark.parametrize(("num_layers", "context"), [(1, 1), (1, 4), (3, 2)])
def test_a_step_sees_context_steps_back_in_each_layer(num_layers: int, context: int) -> None:
    backbone, x = _backbone(num_layers=num_layers, context=context), _input(12, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(backbone(x)[0][-1].sum() + backbone(x)[0][-1, 0, 0], x)
    seen = gradient.abs().sum(dim=(1, 2)) > 0
    assert seen.tolist() == [t >= 11 - num_layers * context for t in range(12)]


@settings(max_examples=60)
@given(
    context=st.integers(1, 9),
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    further=st.integers(1, 5),
)
def test_sequences_of_any_lengths_in_any_pieces(
    context: int, lengths: list[int], cuts: list[int], further: int
) -> None:
    B, T = len(lengths), 20
    backbone, x = _backbone(context=context).eval(), _input(T + further, B)
    state, outputs, begin, number = None, [], 0, 0
    while begin < T:
        piece = x[begin : min(begin + cuts[number % len(cuts)], T)]
        left = (torch.tensor(lengths) - begin).clamp(0, len(piece))
        output, state = backbone(piece, state, lengths=left)
        outputs.append(output)
        begin, number = begin + len(piece), number + 1
    last, _ = backbone(x[T:], state)
    for b, length in enumerate(lengths):
        own = torch.cat([x[:length, b : b + 1], x[T:, b : b + 1]])
        expected, _ = backbone(own)
        torch.testing.assert_close(torch.cat(outputs)[:length, b], expected[:length, 0])
        torch.testing.assert_close(last[:, b], expected[length:, 0])


def test_what_stands_beyond_a_length_is_not_read() -> None:
    backbone, x = _backbone().eval(), _input(6, 2)
    lengths = torch.tensor([6, 2])
    _, state = backbone(x, lengths=lengths)
    spoiled = x.clone()
    spoiled[2:, 1] = torch.nan
    output, spoiled_state = backbone(spoiled, lengths=lengths)
    assert output[:2, 1].isfinite().all()
    further = _input(3, 2)
    torch.testing.assert_close(backbone(further, spoiled_state)[0], backbone(further, state)[0])


def test_a_state_may_be_continued_in_several_ways() -> None:
    backbone, x = _backbone().eval(), _input(9, 2)
    with torch.no_grad():
        _, state = backbone(x[:6])
        kept = [part.clone() for part in state]
        first = backbone(x[6:], state)[0]
        backbone(-x[6:], state)
        assert all(torch.equal(part, copy) for part, copy in zip(state, kept, strict=True))
        assert torch.equal(backbone(x[6:], state)[0], first)


def test_gradients_stop_where_the_state_is_detached() -> None:
    backbone, x = _backbone(), _input(8, 2).requires_grad_()
    for detached in (False, True):
        _, state = backbone(x[:4])
        output, _ = backbone(x[4:], detach_state(state) if detached else state)
        (gradient,) = torch.autograd.grad(output.square().sum(), x)
        assert gradient[4:].abs().sum() > 0
        assert (gradient[:4].abs().sum() == 0) == detached
    whole = torch.autograd.grad(backbone(x)[0][4:].square().sum(), x)[0]
    _, state = backbone(x[:4])
    pieces = torch.autograd.grad(backbone(x[4:], state)[0].square().sum(), x)[0]
    torch.testing.assert_close(pieces, whole)


def test_hundreds_of_cached_steps_give_the_tokens_of_none() -> None:
    torch.manual_seed(0)
    config = LanguageModelConfig(13, architecture="transformer", hidden_size=16, num_layers=3, context=24)
    model = LanguageModel(config).eval()
    for parameter in model.transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ids = torch.randint(13, (5, 2))
    tokens, state = ids, None
    with torch.no_grad():
        for _ in range(300):
            cached, state = model(ids, state)
            whole = model(tokens)[0][-1]
            torch.testing.assert_close(cached[-1], whole, rtol=1e-4, atol=1e-4)
            ids = cached[-1:].argmax(-1)
            assert torch.equal(ids[0], whole.argmax(-1))
            tokens = torch.cat([tokens, ids])
    assert len(tokens[:, 0].unique()) > 3


def test_sequences_can_leave_a_ragged_state() -> None:
    backbone, x = _backbone().eval(), _input(7, 3)
    _, state = backbone(x, lengths=torch.tensor([7, 2, 4]))
    further = _input(2, 3)
    together = backbone(further, state)[0]
    order = torch.tensor([1, 1, 0])
    torch.testing.assert_close(backbone(further[:, order], select_state(state, order))[0], together[:, order])


def test_a_fresh_residual_stream_keeps_its_size() -> None:
    torch.manual_seed(0)
    backbone = CausalTransformer(width=64, num_layers=6, num_heads=4, context=8)
    weights = dict(backbone.encoder.named_parameters())
    assert weights["layers.0.linear1.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert weights["layers.5.linear2.weight"].std().item() == pytest.approx(0.02 / 12**0.5, rel=0.05)
    assert not torch.equal(weights["layers.0.linear1.weight"], weights["layers.1.linear1.weight"])
    assert weights["layers.0.self_attn.in_proj_bias"].abs().max() == 0
