"""torch's layers beside ours: the same parameters, the same calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import pyrnn

LAYERS = ("RNN", "GRU", "LSTM")
CELLS = ("RNNCell", "GRUCell", "LSTMCell")


def pair(name: str, *args: Any, seed: int = 0, **options: Any) -> tuple[Any, Any]:
    """torch's module called `name` and ours, float64 by default, initialised from the same seed."""
    options.setdefault("dtype", torch.float64)
    modules = []
    for package in (nn, pyrnn):
        torch.manual_seed(seed)
        modules.append(getattr(package, name)(*args, **options))
    return modules[0], modules[1]


def random_state(module: nn.RNNBase, B: int | None, seed: int = 1) -> Any:
    """A random hx for `module`, beside its weights; for unbatched input if B is None."""
    generator = torch.Generator().manual_seed(seed)
    lead = module.num_layers * (2 if module.bidirectional else 1)
    batch = () if B is None else (B,)
    widths = (module.proj_size or module.hidden_size, module.hidden_size)
    weight = module.all_weights[0][0]
    h, c = (
        torch.randn(lead, *batch, width, generator=generator, dtype=weight.dtype).to(weight.device)
        for width in widths
    )
    return (h, c) if module.mode == "LSTM" else h


def tensors_in(result: Any) -> list[Tensor]:
    """Every floating tensor of a layer's result, in order."""
    if isinstance(result, PackedSequence):
        return [result.data]
    if isinstance(result, Tensor):
        return [result]
    return [tensor for part in result for tensor in tensors_in(part)]


def gradients(module: nn.Module, result: Any, *inputs: Tensor, seed: int = 2) -> list[Tensor]:
    """Gradients of a random weighting of everything in `result`, for `inputs` and then the parameters."""
    generator = torch.Generator().manual_seed(seed)
    results = tensors_in(result)
    weightings = [torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t.device) for t in results]
    return list(
        torch.autograd.grad(
            results, [*inputs, *module.parameters()], weightings, retain_graph=True, allow_unused=True
        )
    )


def assert_same(ours: Any, theirs: Any, *, rtol: float = 1e-9, atol: float = 1e-10) -> None:
    """Require two results, or lists of tensors, to agree in structure, shapes, dtypes and values."""
    assert type(ours) is type(theirs)
    torch.testing.assert_close(tensors_in(ours), tensors_in(theirs), rtol=rtol, atol=atol)
