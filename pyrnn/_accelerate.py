"""Swap torch's recurrent, attention and Transformer layers inside a model for ours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.rnn import RNNCellBase
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from pyrnn.nn import (
    GRU,
    LSTM,
    RNN,
    GRUCell,
    LSTMCell,
    MultiheadAttention,
    RNNCell,
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from pyrnn.nn.base import RecurrentLayer
from pyrnn.nn.cells import RecurrentCell
from pyrnn.nn.plain import own_method
from pyrnn.ops import Route, attention_route, route

_OURS: dict[type[nn.Module], type[nn.Module]] = {
    nn.RNN: RNN,
    nn.GRU: GRU,
    nn.LSTM: LSTM,
    nn.RNNCell: RNNCell,
    nn.GRUCell: GRUCell,
    nn.LSTMCell: LSTMCell,
    nn.MultiheadAttention: MultiheadAttention,
    nn.TransformerEncoderLayer: TransformerEncoderLayer,
    nn.TransformerDecoderLayer: TransformerDecoderLayer,
    nn.TransformerEncoder: TransformerEncoder,
    nn.TransformerDecoder: TransformerDecoder,
    nn.Transformer: Transformer,
}
_NAMES = frozenset(cls.__name__ for cls in _OURS)
_RECURRENT = (nn.RNNBase, RNNCellBase)
#: What our layers call too, or what no result depends on.
_KEPT_METHODS = frozenset({"_sa_block", "_ff_block", "_mha_block", "flatten_parameters"})


@dataclass(frozen=True)
class LayerReport:
    """What became of one recurrent, attention or Transformer layer."""

    names: tuple[str, ...]  # everywhere that the model uses it; "" for the model itself
    layer: str  # class before, and its sizes
    swapped: bool
    reason: str


@dataclass(frozen=True)
class AccelerateReport:
    """What `accelerate` did, layer by layer in the model's order; `str` gives a table."""

    layers: tuple[LayerReport, ...]

    @property
    def swapped(self) -> tuple[LayerReport, ...]:
        """The layers that are pyrnn's now."""
        return tuple(layer for layer in self.layers if layer.swapped)

    @property
    def kept(self) -> tuple[LayerReport, ...]:
        """The layers left as they were, each with its reason."""
        return tuple(layer for layer in self.layers if not layer.swapped)

    def __str__(self) -> str:
        if not self.layers:
            return "accelerate: the model has no recurrent, attention or Transformer layer"
        rows = [("name", "layer", "result", "why")]
        rows += [
            (
                ", ".join(name or "(the model itself)" for name in layer.names),
                layer.layer,
                "swapped" if layer.swapped else "kept",
                layer.reason,
            )
            for layer in self.layers
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]])
            for row in rows
        ]
        return "\n".join([f"accelerate: {len(self.swapped)} swapped, {len(self.kept)} kept", *lines])


def accelerate(module: nn.Module) -> AccelerateReport:
    """Turn every layer of `module`, itself included, that pyrnn has too into pyrnn's.

    These are torch's RNN, GRU, LSTM and the cells of these, MultiheadAttention, Transformer and its parts.

    The change is in place and keeps each layer's identity: the module object, its parameters, buffers, hooks,
    names, training flag and ties are the same, so that optimizers and whatever else refers to it stay valid.
    Subclasses are left alone, for what they changed is unknown, and so are layers without native kernels and
    those of which a method was replaced that ours would not call. What hangs on a layer's parts, or was put
    in the place of one, is called as before. To keep the original, work on `copy.deepcopy(module)`.

    Args:
        module: Any model, or such a layer.

    Returns:
        Every such layer found, whether it was swapped, and why.

    Raises:
        TypeError: `module` is not an `nn.Module`.

    Example:
        >>> import torch, pyrnn
        >>> model = torch.nn.Sequential(torch.nn.LSTM(3, 4))
        >>> print(pyrnn.accelerate(model))
        accelerate: 1 swapped, 0 kept
        name  layer                result   why
        0     torch.nn.LSTM(3, 4)  swapped  CPU kernels for torch.float32
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"accelerate expects a torch.nn.Module, got {type(module).__name__}")
    names: dict[nn.Module, list[str]] = {}
    for name, layer in module.named_modules(remove_duplicate=False):
        if _is_known(layer):
            names.setdefault(layer, []).append(name)
    return AccelerateReport(tuple(_swap(layer, tuple(where)) for layer, where in names.items()))


def _is_known(module: nn.Module) -> bool:
    if isinstance(module, torch.jit.ScriptModule):
        return module.original_name in _NAMES
    return isinstance(module, (*_RECURRENT, *_OURS)) or _is_quantized(module)


def _is_quantized(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.ao.nn") and type(module).__name__ in _NAMES


def _swap(layer: nn.Module, names: tuple[str, ...]) -> LayerReport:
    before = _describe(layer)
    obstacle = _obstacle(layer)
    if obstacle is not None:
        return LayerReport(names, before, swapped=False, reason=obstacle)
    reason = _route(layer, next(layer.parameters())).reason
    # Our classes need no state that torch's lack: the object itself can change class, and nothing that refers
    # to it, its parameters or its hooks has to be found and changed.
    layer.__class__ = _OURS[type(layer)]
    return LayerReport(names, before, swapped=True, reason=reason)


def _route(layer: nn.Module, parameter: Tensor) -> Route:
    return route(parameter) if isinstance(layer, _RECURRENT) else attention_route(parameter)


def _obstacle(layer: nn.Module) -> str | None:
    """Why this layer must be left as it is; None if it may be swapped."""
    obstacle = _obstacle_of_kind(layer)
    if obstacle is not None:
        return obstacle
    replaced = _replaced_methods(layer)
    if replaced:
        return f"its {replaced} was replaced on the instance, which a swap would undo or leave without effect"
    parameters = list(layer.parameters())
    if not parameters:
        return "it has no parameters"
    if any(is_lazy(parameter) for parameter in parameters):
        return "its parameters are not initialised yet; run the model once first"
    first = parameters[0]
    if any(p.dtype != first.dtype or p.device != first.device for p in parameters):
        return "its parameters differ in dtype or device"
    path, reason = _route(layer, first)
    return None if path == "native" else reason


def _obstacle_of_kind(layer: nn.Module) -> str | None:
    if isinstance(layer, torch.jit.ScriptModule):
        return "scripted by torch.jit: accelerate the model before scripting or tracing it"
    if isinstance(layer, (RecurrentLayer, RecurrentCell, *_OURS.values())):
        return "already pyrnn's"
    if _is_quantized(layer):
        return "quantized: pyrnn has no quantized kernels"
    if is_parametrized(layer):
        return "parametrized: accelerate the model before registering parametrizations"
    if type(layer) not in _OURS:
        bases = [cls.__name__ for cls in type(layer).__mro__ if cls in _OURS]
        return f"a subclass of torch.nn.{bases[0] if bases else 'RNNBase'}, which may compute something else"
    if own_method(type(layer), "forward") is None:
        return f"torch.nn.{type(layer).__name__}.forward was replaced, which a swap would undo"
    return None


def _replaced_methods(layer: nn.Module) -> str:
    """The layer's own methods, not those of every module, that the instance hides and a swap would too."""
    cls = type(layer)
    names = (name for name in vars(layer) if name == "forward" or not hasattr(nn.Module, name))
    hidden = (name for name in names if name not in _KEPT_METHODS and callable(getattr(cls, name, None)))
    return ", ".join(hidden)


def _describe(layer: nn.Module) -> str:
    cls = type(layer)
    if isinstance(layer, torch.jit.ScriptModule):
        return f"torch.jit {layer.original_name}"
    module = "torch.nn" if cls in _OURS else "pyrnn" if cls in _OURS.values() else cls.__module__
    return f"{module}.{cls.__qualname__}({_sizes(layer)})"


def _sizes(layer: nn.Module) -> str:
    """What tells one layer from another of its kind; torch's attention layers do not say it themselves."""
    if isinstance(layer, nn.MultiheadAttention):
        return f"{layer.embed_dim}, {layer.num_heads}"
    if isinstance(layer, nn.Transformer):
        return f"{layer.d_model}, {layer.nhead}"
    if isinstance(layer, nn.TransformerEncoder | nn.TransformerDecoder):
        return f"{len(layer.layers)} layers"
    if isinstance(layer, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        return _sizes(layer.self_attn)
    return layer.extra_repr()
