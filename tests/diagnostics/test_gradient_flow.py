from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import pyrnn
from pyrnn.diagnostics import GradientFlow, compare_cells, fresh_cells, gradient_flow, verdict_of
from pyrnn.models import LanguageModel, LanguageModelConfig

T, B, I, H, V = 7, 3, 4, 5, 6  # noqa: E741

LAYERS: dict[str, Callable[..., nn.RNNBase]] = {
    "tanh": pyrnn.RNN,
    "relu": lambda *args, **kwargs: pyrnn.RNN(*args, nonlinearity="relu", **kwargs),
    "gru": pyrnn.GRU,
    "lstm": pyrnn.LSTM,
    "lstm, projected": lambda *args, **kwargs: pyrnn.LSTM(*args, proj_size=3, **kwargs),
    "torch's tanh": nn.RNN,
    "torch's gru": nn.GRU,
    "torch's lstm": nn.LSTM,
}


def make(name: str, num_layers: int = 1, **options: Any) -> nn.RNNBase:
    return LAYERS[name](I, H, num_layers, dtype=torch.float64, **options)


def sequence(T: int = T) -> Tensor:
    return torch.randn(T, B, I, dtype=torch.float64)


def scaled_identity(factor: float, *, size: int = 4, dtype: torch.dtype = torch.float64) -> nn.RNNBase:
    """A linear recurrence h' = factor h + x, as long as everything is positive."""
    layer = pyrnn.RNN(size, size, nonlinearity="relu", bias=False, dtype=dtype)
    layer.load_state_dict({"weight_ih_l0": torch.eye(size), "weight_hh_l0": torch.eye(size) * factor})
    return layer


# ---- against recurrences written by hand ---------------------------------------------------------


def by_hand(
    layer: nn.RNNBase, x: Tensor, name: str, loss: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """|dL/dh| and |dL/dc| at every step: [T, L, B] each."""
    W: dict[str, Tensor] = dict(layer.named_parameters())
    P = layer.proj_size or H
    states = [(torch.zeros(B, P).double(), torch.zeros(B, H).double()) for _ in range(layer.num_layers)]
    kept_h, kept_c = [], []
    for t in range(len(x)):
        below = x[t]
        for n, (h, c) in enumerate(states):
            a = below @ W[f"weight_ih_l{n}"].T + W[f"bias_ih_l{n}"]
            b = h @ W[f"weight_hh_l{n}"].T + W[f"bias_hh_l{n}"]
            if "gru" in name:
                r = torch.sigmoid((a + b)[:, :H])
                z = torch.sigmoid((a + b)[:, H : 2 * H])
                h = z * h + (1 - z) * torch.tanh(a[:, 2 * H :] + r * b[:, 2 * H :])
            elif "lstm" in name:
                i, f, g, o = ((a + b)[:, k * H : (k + 1) * H] for k in range(4))
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                c.retain_grad()
                kept_c.append(c)
                h = torch.sigmoid(o) * torch.tanh(c)
                h = h @ W[f"weight_hr_l{n}"].T if layer.proj_size else h
            else:
                h = (a + b).relu() if "relu" in name else (a + b).tanh()
            h.retain_grad()
            kept_h.append(h)
            states[n] = (h, c)
            below = h
    loss(below).backward()
    return tuple(  # type: ignore[return-value]
        torch.stack([s.grad.norm(dim=1) for s in kept]).view(len(x), -1, B) if kept else torch.empty(0)
        for kept in (kept_h, kept_c)
    )


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_norms_are_those_of_the_written_recurrence(name: str, num_layers: int) -> None:
    layer, x = make(name, num_layers), sequence()
    head = nn.Linear(layer.proj_size or H, V, dtype=torch.float64)
    targets = torch.randint(V, (B,))

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = layer, head

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(x)[0][-1])

    h, c = by_hand(layer, x, name, lambda last: F.cross_entropy(head(last), targets, reduction="sum"))
    flow = gradient_flow(Classifier(), x, targets=targets, lags=[0, 1, 4, 6])

    def means(norms: Tensor) -> Any:
        return pytest.approx(norms.flip(0)[[0, 1, 4, 6]].log().mean(-1).exp().tolist(), rel=1e-9)

    assert flow.lags == (0, 1, 4, 6)
    assert flow.norms == means(h.square().sum(1).sqrt())
    assert len(flow.layer_norms) == num_layers
    for n, norms in enumerate(flow.layer_norms):
        assert norms == means(h[:, n])
    assert (flow.cell_norms is not None) == ("lstm" in name)
    for n, norms in enumerate(flow.cell_norms or ()):
        assert norms == means(c[:, n])


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_language_model_on_ids(cell: Any) -> None:
    """The gradient for the state that a first call hands to a second one, with the model's own layers."""
    model = LanguageModel(LanguageModelConfig(V, architecture=cell, hidden_size=H, num_layers=1)).double()
    ids, targets = torch.randint(V, (T, B)), torch.randint(V, (B,))
    flow = gradient_flow(model, ids, targets=targets)
    model.eval()
    for lag in (1, 4):
        _, state = model(ids[: T - lag])
        h, *c = (s.detach().requires_grad_() for s in (state if cell == "lstm" else (state,)))
        logits, _ = model(ids[T - lag :], (h, *c) if c else h)
        F.cross_entropy(logits[-1], targets, reduction="sum").backward()
        assert h.grad is not None
        assert flow.norms[lag] == pytest.approx(h.grad[0].norm(dim=1).log().mean().exp().item(), rel=1e-9)


# ---- rate and verdict ----------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "verdict"), [(0.5, "vanishing"), (1.0, "stable"), (1.5, "exploding")])
def test_rate_of_a_linear_recurrence(factor: float, verdict: str) -> None:
    flow = gradient_flow(scaled_identity(factor), torch.rand(30, 2, 4, dtype=torch.float64) + 0.1)
    assert flow.norms == pytest.approx([factor**lag for lag in range(30)])
    assert flow.rate == pytest.approx(factor)
    assert flow.verdict == verdict


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_float32_underflow_and_overflow_do_not_bend_the_rate(factor: float) -> None:
    x = torch.rand(60, 2, 4) * (1e-3 if factor < 1 else 1e-38) + 1e-39
    flow = gradient_flow(scaled_identity(factor, dtype=torch.float32), x)
    assert flow.norms[-1] in (0.0, math.inf) or math.isnan(flow.norms[-1])
    assert flow.rate == pytest.approx(factor, rel=1e-4)


@given(rate=st.floats(0.1, 3), scale=st.floats(1e-3, 1e3), step=st.integers(1, 7))
def test_rate_of_a_geometric_series(rate: float, scale: float, step: int) -> None:
    lags = tuple(range(0, 20 * step, step))
    norms = tuple(scale * rate**lag for lag in lags)
    flow = GradientFlow(lags, norms, (norms,), None, underflow=1e-300)
    assert flow.rate == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize(
    ("last", "rate"), [(0.0, 0.0), (1e-40, 0.0), (math.inf, math.inf), (math.nan, math.inf)]
)
def test_rate_where_a_single_norm_is_left(last: float, rate: float) -> None:
    assert GradientFlow((0, 1), (1.0, last), ((1.0, last),), None, underflow=1e-38).rate == rate


@pytest.mark.parametrize(
    ("rate", "verdict"),
    [
        (0.0, "vanishing"),
        (0.977, "vanishing"),
        (0.978, "stable"),
        (1.0, "stable"),
        (1.023, "stable"),
        (1.024, "exploding"),
        (math.inf, "exploding"),
    ],
)
def test_verdicts(rate: float, verdict: str) -> None:
    assert verdict_of(rate) == verdict


def test_forget_gates_that_stay_open_carry_the_gradient() -> None:
    layer = pyrnn.LSTM(I, 16, dtype=torch.float64)
    before = gradient_flow(layer, sequence(40), lags=range(5, 40))
    with torch.no_grad():
        dict(layer.named_parameters())["bias_hh_l0"][16:32] = 6.0
    after = gradient_flow(layer, sequence(40), lags=range(5, 40))
    assert before.verdict == "vanishing"
    assert after.verdict == "stable"


# ---- nothing is changed --------------------------------------------------------------------------


def test_the_model_is_left_as_it_was() -> None:
    model = LanguageModel(LanguageModelConfig(V, hidden_size=H, dropout=0.5))
    model.projection.eval()
    flags = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()
    ids = torch.randint(V, (T, B), generator=torch.Generator().manual_seed(1))
    first, second = (gradient_flow(model, ids, targets=ids[0]) for _ in range(2))
    assert first == second, "dropout or a random direction moved"
    assert [module.training for module in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.recurrent._forward_hooks


def test_an_error_within_leaves_the_model_as_it_was() -> None:
    layer = make("gru")
    with pytest.raises(ValueError, match="lags must lie"):
        gradient_flow(layer, sequence(), lags=[1, 99])
    assert layer.training
    assert not layer._forward_hooks


@pytest.mark.parametrize("name", ["tanh", "lstm"])
def test_batch_first_frozen_weights_and_no_grad(name: str) -> None:
    layer, x = make(name, 2), sequence()
    expected = gradient_flow(layer, x)
    transposed = make(name, 2, batch_first=True)
    transposed.load_state_dict(layer.state_dict())
    transposed.requires_grad_(False)
    with torch.no_grad():
        flow = gradient_flow(transposed, x.transpose(0, 1))
    assert flow.norms == pytest.approx(expected.norms)


def test_an_initial_state_is_used() -> None:
    layer, x = make("lstm"), sequence()

    _, state = layer(x[:3])
    whole = gradient_flow(layer, x, lags=[0, 1, 2, 3])

    class Rest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, rest: Tensor) -> Any:
            return self.layer(rest, state)

    assert gradient_flow(Rest(), x[3:]).norms == pytest.approx(whole.norms)


# ---- several cells -------------------------------------------------------------------------------


def test_fresh_cells_differ_in_the_cell_alone_and_repeat() -> None:
    config = LanguageModelConfig(V, architecture="gru", hidden_size=H, num_layers=2)
    random_state = torch.get_rng_state()
    models, again = (fresh_cells(config, seed=3) for _ in range(2))
    scaled = fresh_cells(config, seed=3, recurrent_gain=2.0)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert list(models) == ["RNN", "GRU", "LSTM"]
    for name, model in models.items():
        assert model.config == dataclasses.replace(config, architecture=name.lower())  # type: ignore[arg-type]
        others = dict(again[name].named_parameters())
        for key, parameter in model.named_parameters():
            assert torch.equal(parameter, others[key])
            factor = 2 if "weight_hh" in key else 1
            assert torch.equal(parameter * factor, dict(scaled[name].named_parameters())[key])


def test_an_rnn_explodes_and_gates_hold_it_back_longer() -> None:
    ids = torch.randint(V, (41, 8))
    config = LanguageModelConfig(V, hidden_size=64, num_layers=1)
    flows = compare_cells(fresh_cells(config, recurrent_gain=4.0), ids[:-1], targets=ids[-1])
    assert flows["RNN"].verdict == "exploding"
    assert flows["GRU"].rate < flows["RNN"].rate
    at_start = compare_cells(fresh_cells(config), ids[:-1], targets=ids[-1], lags=[0, 39])
    assert {flow.verdict for flow in at_start.values()} == {"vanishing"}
    assert at_start["RNN"].lags == (0, 39)


@pytest.mark.parametrize("gain", [-1.0, math.inf, math.nan])
def test_a_senseless_gain_is_refused(gain: float) -> None:
    with pytest.raises(ValueError, match=f"at least 0, got {gain}"):
        fresh_cells(LanguageModelConfig(V), recurrent_gain=gain)


# ---- misuse --------------------------------------------------------------------------------------


class _Odd(nn.Module):
    """A model around one layer whose forward is a given function."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.layer = make("gru")
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self.layer, x)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(I, H), "exactly one, got 0 in Linear"),
        (nn.ModuleList([make("gru"), make("tanh")]), "got 2 in ModuleList"),
        (make("gru", bidirectional=True), "bidirectional"),
        (_Odd(lambda layer, x: layer(x, lengths=[7, 7, 2])), "a 3-D tensor and lengths"),
        (_Odd(lambda layer, x: layer(x[:, 0])), "got a 2-D tensor$"),
        (_Odd(lambda layer, x: layer(nn.utils.rnn.pack_sequence([x[:, 0]]))), "got a PackedSequence"),
        (_Odd(lambda layer, x: (layer(x), layer(x))[0]), "more than once"),
        (_Odd(lambda layer, x: x), "did not call its recurrent layer"),
        (_Odd(lambda layer, x: layer(x[:1])), "at least 2 steps .* got 1"),
        (_Odd(lambda layer, x: layer(x)[0].unsqueeze(0)), r"shape \[B, F\], got \[1, 7, 3, 5\]"),
        (_Odd(lambda layer, x: layer(x)[0] * math.nan), "0 steps before the loss is nan"),
    ],
)
def test_models_that_have_no_flow(model: nn.Module, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gradient_flow(model, sequence())


def test_a_model_without_a_tensor() -> None:
    with pytest.raises(TypeError, match="got dict"):
        gradient_flow(_Odd(lambda layer, x: {"output": layer(x)}), sequence())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"lags": [3]}, "two distinct numbers of steps, got \\[3\\]"),
        ({"lags": [2, 2]}, "distinct"),
        ({"lags": [-1, 2]}, r"\[0, 7\), for the input has 7 steps, got -1 to 2"),
        ({"lags": [0, 7]}, "got 0 to 7"),
        ({"targets": torch.zeros(B)}, r"\[B\] = \[3\] int64, got \[3\] torch.float32"),
        ({"targets": torch.zeros(B + 1).long()}, r"got \[4\] torch.int64"),
        ({"targets": torch.tensor([0, -100, H])}, r"\[0, 5\), got -100 to 5; a sequence without a target"),
    ],
)
def test_misuse(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gradient_flow(make("gru"), sequence(), **arguments)


# ---- transformers: the inputs of the layers, by position ------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("module", [pyrnn.nn, nn])
def test_a_transformer_against_gradients_by_hand(module: Any, batch_first: bool) -> None:
    options: dict[str, Any] = {"dropout": 0.1, "norm_first": True, "batch_first": batch_first}
    layer = module.TransformerEncoderLayer(4, 2, 8, dtype=torch.float64, **options)
    encoder = module.TransformerEncoder(layer, 2, enable_nested_tensor=False).requires_grad_(
        requires_grad=False
    )
    x = sequence()
    flow = gradient_flow(encoder, x.transpose(0, 1) if batch_first else x)
    assert encoder.training
    encoder.eval()
    first = (x.transpose(0, 1) if batch_first else x).clone().requires_grad_()
    second = encoder.layers[0](first)
    out = encoder.layers[1](second)
    last = out[:, -1] if batch_first else out[-1]
    directions = torch.randn(last.shape, generator=torch.Generator().manual_seed(0))
    loss = (F.normalize(directions, dim=1).to(last) * last).sum()
    for row, gradient in zip(flow.layer_norms, torch.autograd.grad(loss, [first, second]), strict=True):
        by_time = gradient.norm(dim=-1).T if batch_first else gradient.norm(dim=-1)
        assert row == pytest.approx(by_time.flip(0).log().mean(1).exp().tolist())
    assert (flow.sequences, flow.cell_norms, flow.lags) == (B, None, tuple(range(T)))


def test_a_transformer_sees_no_further_than_its_context() -> None:
    config = LanguageModelConfig(
        V, architecture="transformer", hidden_size=8, num_layers=2, num_heads=2, context=2
    )
    ids = torch.randint(V, (T + 1, B))
    flow = gradient_flow(LanguageModel(config).double(), ids[:-1], targets=ids[-1])
    reach = [sum(norm > 0 for norm in row) for row in flow.layer_norms]
    assert reach == [1 + 2 * 2, 1 + 2]  # lag 0, and `context` more for each layer that looks back
