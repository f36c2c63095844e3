"""How the gradient of a loss at the last step shrinks or grows on its way back through time.

Dimension key: T time, B batch, I input, H hidden, P output (P = H without projection), L layers, K lags,
V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn.diagnostics._positions import batch_comes_first, layer_inputs, position_norms
from pyrnn.diagnostics._states import stepwise

if TYPE_CHECKING:
    from pyrnn.models import LanguageModel, LanguageModelConfig

Verdict = Literal["vanishing", "stable", "exploding"]

#: A factor a step below the first loses nine tenths of a gradient within a hundred steps, or more; one above
#: the second makes it ten times as large.
VANISHING_BELOW, EXPLODING_ABOVE = 0.1**0.01, 10**0.01


@dataclass(frozen=True)
class GradientFlow:
    """Norms of a loss's gradient for the states before it; `gradient_flow` measures them.

    All norms are geometric means over the batch, one for each lag; a sequence whose gradient is exactly zero
    makes its mean zero.

    Args:
        lags: K steps back from the last one, ascending.
        norms: |dL/dh_{T-k}| over the units of all layers; of a transformer h_t is what its layers take in at
            position t.
        layer_norms: the same for each layer alone, the first layer first: L rows of K.
        cell_norms: |dL/dc_{T-k}| of an LSTM's layers, L rows of K; None of other cells.
        underflow: the smallest normal number of the dtype that the gradients were computed in. Norms below
            it have lost digits, or are zero, and have no say in `rate`.
        sequences: B, how many the means are of.

    Example:
        >>> halves = GradientFlow((0, 1, 2), (1.0, 0.5, 0.25), ((1.0, 0.5, 0.25),), None, underflow=1e-38)
        >>> round(halves.rate, 6), halves.verdict
        (0.5, 'vanishing')
    """

    lags: tuple[int, ...]
    norms: tuple[float, ...]
    layer_norms: tuple[tuple[float, ...], ...]
    cell_norms: tuple[tuple[float, ...], ...] | None
    underflow: float
    sequences: int = 1

    @property
    def rate(self) -> float:
        """r in |dL/dh_{T-k}| = a r^k: the factor a step.

        It belongs to the line of least squares through the norms' logarithms, over the lags whose norm is
        finite and above `underflow`. With fewer than two of those it is 0 where the gradient was lost at
        once, infinite where it overflowed at once.
        """
        points = [
            (lag, math.log(norm))
            for lag, norm in zip(self.lags, self.norms, strict=True)
            if math.isfinite(norm) and norm > self.underflow
        ]
        if len(points) < 2:
            return 0.0 if math.isfinite(self.norms[-1]) else math.inf
        mean_lag, mean_log = (math.fsum(values) / len(points) for values in zip(*points, strict=True))
        covariance = math.fsum((lag - mean_lag) * (log - mean_log) for lag, log in points)
        return math.exp(covariance / math.fsum((lag - mean_lag) ** 2 for lag, _ in points))

    @property
    def verdict(self) -> Verdict:
        """`verdict_of` the rate."""
        return verdict_of(self.rate)


def verdict_of(rate: float) -> Verdict:
    """What a factor a step does to a gradient over a hundred steps.

    "vanishing": 0.9772 (0.1^(1/100)) or less, which leaves at most a tenth. "exploding": 1.0233 (10^(1/100))
    or more. "stable": between them.

    Example:
        >>> verdict_of(0.9), verdict_of(1.0), verdict_of(1.1)
        ('vanishing', 'stable', 'exploding')
    """
    if rate <= VANISHING_BELOW:
        return "vanishing"
    return "exploding" if rate >= EXPLODING_ABOVE else "stable"


def gradient_flow(
    model: nn.Module,
    input: Tensor,
    *,
    targets: Tensor | None = None,
    lags: Sequence[int] | None = None,
) -> GradientFlow:
    """Measure |dL/dh_{T-k}| for a loss L at the last step T: what a step learns of an error k steps later.

    dL/dh_{T-k} = dL/dh_T prod_{t=T-k+1..T} dh_t/dh_{t-1}: a product of k Jacobians, whose norm goes as the
    k-th power of a factor. It is below one where gradients vanish, above where they explode.

    A transformer has no such product: between two positions there is a path for each way of looking back. Of
    it the norms are those for the inputs of its layers at position T-k, which count all of them.

    A recurrent layer is run a step at a time in plain torch, from the layer's own equations, so that each
    state is a tensor of the graph and its derivative a total one: it counts every path to the loss, through
    time and through the layers above. Nothing is changed: dropout is off meanwhile, `grad` fields stay as
    they are. The norms hold for this input; those of a trained network belong to text that is like its own.

    Args:
        model: a recurrent layer, pyrnn's or torch's, or a model with exactly one inside, of any number of
            stacked layers, in one direction; or a `TransformerEncoder`, or a model with exactly one.
        input: what the model takes: [T, B, I] floating point for a layer ([B, T, I] if `batch_first`),
            [T, B] int64 ids for a `pyrnn.models.LanguageModel`. T is at least 2. The model returns
            [T, B, F] ([B, T, F] if the layer is `batch_first`) or [B, F], alone or first in a tuple.
        targets: [B] int64 class ids: L_b is the cross-entropy of the model's last output [B, V] with them.
            None: L_b = u_b . (last output), with random directions u_b of length one, the same in each call.
        lags: steps back, distinct, each in [0, T); None takes all of them. At least two. A gated cell loses
            more in the first steps than later on: `range(5, T)` shows the rate of its long memory alone.

    Returns:
        The norms in ascending order of lags. In float32 they underflow at 1e-38; `model.double()` goes
        further.

    Raises:
        ValueError: the model has no recurrent layer or several, calls it twice, with lengths or in two
            directions; a shape, target or lag does not fit; or the gradient of the first lag is not finite.
        TypeError: the model's output is not a tensor, or a tuple that starts with one.

    Source: Bengio et al., "Learning long-term dependencies with gradient descent is difficult", 1994;
    Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, eq. 5.

    Example:
        >>> import pyrnn
        >>> flow = gradient_flow(pyrnn.RNN(8, 32), torch.randn(50, 4, 8), lags=range(0, 40, 5))
        >>> flow.verdict
        'vanishing'
    """
    layer = _only_layer(model)
    with _evaluating(model), torch.enable_grad():
        if isinstance(layer, nn.TransformerEncoder):
            measured = _of_positions(model, layer, input, targets, lags)
        else:
            measured = _of_states(model, layer, input, targets, lags)
    chosen, (hidden, *cells), dtype = measured
    flow = GradientFlow(
        lags=chosen,
        norms=_means(hidden.norm(dim=1)),
        layer_norms=tuple(map(_means, hidden.unbind(1))),
        cell_norms=tuple(map(_means, cells[0].unbind(1))) if cells else None,
        underflow=torch.finfo(dtype).tiny,
        sequences=hidden.shape[2],
    )
    if not math.isfinite(flow.norms[0]):
        raise ValueError(
            f"the gradient {chosen[0]} steps before the loss is {flow.norms[0]}: look for NaN or inf in the "
            "input and the weights, or begin with a smaller lag"
        )
    return flow


def compare_cells(
    models: Mapping[str, nn.Module],
    input: Tensor,
    *,
    targets: Tensor | None = None,
    lags: Sequence[int] | None = None,
) -> dict[str, GradientFlow]:
    """`gradient_flow` of several models on the same input, by the models' names.

    Args:
        models: names to models: those of `fresh_cells`, or trained ones.
        input: as in `gradient_flow`.
        targets: as in `gradient_flow`.
        lags: as in `gradient_flow`.

    Raises:
        As `gradient_flow`.

    Example:
        >>> from pyrnn.models import LanguageModelConfig
        >>> ids = torch.arange(60).view(30, 2) % 7
        >>> models = fresh_cells(LanguageModelConfig(7, hidden_size=16, num_layers=1))
        >>> flows = compare_cells(models, ids[:-1], targets=ids[-1])
        >>> {name: flow.verdict for name, flow in flows.items()}
        {'RNN': 'vanishing', 'GRU': 'vanishing', 'LSTM': 'vanishing'}
    """
    return {name: gradient_flow(model, input, targets=targets, lags=lags) for name, model in models.items()}


def fresh_cells(
    config: LanguageModelConfig, *, recurrent_gain: float = 1.0, seed: int = 0
) -> dict[str, LanguageModel]:
    """Untrained language models named RNN, GRU and LSTM, otherwise of the same sizes.

    Args:
        config: the sizes; its architecture is left aside.
        recurrent_gain: multiplies the recurrent weights W_hh. With one they are as the layers draw them,
            uniform in +-H^(-1/2), with singular values up to about 1.15; gradients of an RNN vanish then, and
            explode from a gain of about three on.
        seed: of the weights; torch's own random state stays as it is.

    Raises:
        ValueError: a gain that is negative or not finite.

    Example:
        >>> from pyrnn.models import LanguageModelConfig
        >>> list(fresh_cells(LanguageModelConfig(11, hidden_size=8)))
        ['RNN', 'GRU', 'LSTM']
    """
    from pyrnn.models import LanguageModel

    if not 0 <= recurrent_gain < math.inf:
        raise ValueError(f"recurrent_gain must be a finite number of at least 0, got {recurrent_gain}")
    models = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for cell in ("rnn", "gru", "lstm"):
            torch.manual_seed(seed)
            model = models[cell.upper()] = LanguageModel(replace(config, architecture=cell))
            for name, parameter in model.recurrent.named_parameters():
                if name.startswith("weight_hh"):
                    parameter.mul_(recurrent_gain)
    return models


#: Lags, norms [K, L, B] (of h, and of c where there is one), and the dtype of the gradients.
_Measured = tuple[tuple[int, ...], Sequence[Tensor], torch.dtype]


def _of_states(
    model: nn.Module, layer: nn.RNNBase, input: Tensor, targets: Tensor | None, lags: Sequence[int] | None
) -> _Measured:
    """The norms for the states of a recurrent layer."""
    with stepwise(layer) as trace:
        output = _last_output(model(input), batch_first=layer.batch_first)
        if not trace.hidden:
            raise ValueError("the model did not call its recurrent layer: there are no states to look at")
    chosen = _checked_lags(lags, T=len(trace.hidden))
    states = [kind[-1 - lag] for kind in (trace.hidden, trace.cells) if kind for lag in chosen]
    gradients = torch.autograd.grad(
        _loss(output, targets), [state for layers in states for state in layers], materialize_grads=True
    )
    # In float64, for the square of a small float32 number is zero long before the number is.
    norms = torch.stack([gradient.double().norm(dim=-1) for gradient in gradients])
    return chosen, norms.view(-1, len(chosen), layer.num_layers, norms.shape[1]).unbind(), gradients[0].dtype


def _of_positions(
    model: nn.Module,
    encoder: nn.TransformerEncoder,
    input: Tensor,
    targets: Tensor | None,
    lags: Sequence[int] | None,
) -> _Measured:
    """The norms for the inputs of a transformer's layers."""
    batch_first = batch_comes_first(encoder)
    with layer_inputs(encoder) as inputs:
        output = _last_output(model(input), batch_first=batch_first)
    if not inputs:
        raise ValueError("the model did not call its transformer: there are no positions to look at")
    chosen = _checked_lags(lags, T=inputs[0].shape[1 if batch_first else 0])
    norms = position_norms(inputs, _loss(output, targets), chosen, batch_first=batch_first)
    return chosen, [norms], inputs[0].dtype


def _last_output(result: Any, *, batch_first: bool) -> Tensor:
    """[B, F] of what a model returned."""
    output = result[0] if isinstance(result, tuple) else result
    if not isinstance(output, Tensor):
        raise TypeError(
            f"the model must return a tensor, or a tuple that starts with one, got {type(output).__name__}"
        )
    return output if output.dim() != 3 else output[:, -1] if batch_first else output[-1]


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None, None, None]:
    """Within, the model is in evaluation mode."""
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, flag in training.items():
            module.training = flag


def _only_layer(model: nn.Module) -> nn.RNNBase | nn.TransformerEncoder:
    """The recurrent layer of a model, or its transformer."""
    layers = [module for module in model.modules() if isinstance(module, (nn.RNNBase, nn.TransformerEncoder))]
    if len(layers) != 1:
        raise ValueError(
            "expected a recurrent layer (RNN, GRU, LSTM), a TransformerEncoder, or a model with exactly one, "
            f"got {len(layers)} in {type(model).__name__}; pass the layer itself, with the input it is given"
        )
    if getattr(layers[0], "bidirectional", False):
        raise ValueError(
            "a bidirectional layer's last output has no single direction of time to look back along; "
            "give a layer in one direction"
        )
    return layers[0]


def _checked_lags(lags: Sequence[int] | None, *, T: int) -> tuple[int, ...]:
    """The lags in ascending order."""
    if T < 2:
        raise ValueError(f"the input must have at least 2 steps to look back along, got {T}")
    chosen = tuple(range(T) if lags is None else sorted(lags))
    if len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise ValueError(f"lags must be at least two distinct numbers of steps, got {list(chosen)}")
    if chosen[0] < 0 or chosen[-1] >= T:
        raise ValueError(
            f"lags must lie in [0, {T}), for the input has {T} steps, got {chosen[0]} to {chosen[-1]}"
        )
    return chosen


def _loss(last: Tensor, targets: Tensor | None) -> Tensor:
    """Sum over the batch of each sequence's loss on its last output [B, F]: rows do not mix."""
    if last.dim() != 2:
        raise ValueError(f"the last output must have shape [B, F], got {list(last.shape)}")
    if targets is None:
        directions = torch.randn(last.shape, generator=torch.Generator().manual_seed(0))
        return (F.normalize(directions, dim=1).to(last) * last).sum()
    B, V = last.shape
    if targets.shape != (B,) or targets.dtype is not torch.int64:
        raise ValueError(f"targets must be [B] = [{B}] int64, got {list(targets.shape)} {targets.dtype}")
    if bool(((targets < 0) | (targets >= V)).any()):
        raise ValueError(
            f"targets must be class ids in [0, {V}), got {targets.min().item()} to {targets.max().item()}; "
            "a sequence without a target at its last step has no loss to look back from"
        )
    return F.cross_entropy(last, targets, reduction="sum")


def _means(norms: Tensor) -> tuple[float, ...]:
    """Geometric means over the batch of norms [K, B]; zero where one sequence's is."""
    return tuple(norms.log().mean(-1).exp().tolist())
