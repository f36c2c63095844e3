"""Swap torch's recurrent, attention and Transformer layers inside a model for ours, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.rnn import RNNCellBase
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from pyrnn._dispatch import HAS_EXCHANGE_TABLE
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
from pyrnn.nn.drop_in import DropIn, as_torch, obstacle_to_torch
from pyrnn.nn.plain import own_method
from pyrnn.ops import Route, attention_route, route
from pyrnn.swap.report import LayerReport, SwapReport, layers_by_name
from pyrnn.swap.subclass import KEPT_METHODS, accelerated, obstacle_to_subclass

#: Our class for each of torch's.
OURS: dict[type[nn.Module], type[nn.Module]] = {
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
_NAMES = frozenset(cls.__name__ for cls in OURS)
_RECURRENT = (nn.RNNBase, RNNCellBase)
_NOTE = (
    "Tools that look for torch's classes alone, as quantize_dynamic does, want pyrnn.restore(model) first."
)


def accelerate(module: nn.Module) -> SwapReport:
    """Turn every layer of `module`, itself included, that pyrnn has too into pyrnn's.

    These are torch's RNN, GRU, LSTM and the cells of these, MultiheadAttention, Transformer and its parts.

    The change is in place and keeps each layer's identity: the module object, its parameters, buffers, hooks,
    names, training flag and ties are the same, so that optimizers and whatever else refers to it stay valid.
    It stays an instance of torch's class. A layer of a subclass is swapped, and stays an instance of the
    subclass, if its forward and all that this calls are torch's own. Others are left alone, and so are layers
    without native kernels and those of which a method was replaced that ours would not call. What hangs on a
    layer's parts, or was put in the place of one, is called as before. To keep the original, work on
    `copy.deepcopy(module)`; `pyrnn.restore` is the way back.

    What is called for one step at a time, a cell or a layer whose input has T = 1, may be slower than torch's
    where torch is too old for eager calls (docs/small-calls.md); the report says so of cells.

    `torch.ao.quantization.quantize_dynamic` looks for torch's classes alone and leaves ours in float, without
    a word: restore the model first.

    Args:
        module: Any model, or such a layer.

    Returns:
        Every such layer found, whether it was swapped, and why.

    Raises:
        TypeError: `module` is not an `nn.Module`.

    Example:
        >>> import torch, pyrnn
        >>> model = torch.nn.Sequential(torch.nn.LSTM(3, 4))
        >>> report = pyrnn.accelerate(model)
        >>> report.swapped[0].layer, report.swapped[0].reason
        ('torch.nn.LSTM(3, 4)', 'CPU kernels for torch.float32')
    """
    layers = _layers("accelerate", module)
    swaps = tuple(_swap(layer, names) for layer, names in layers.items())
    return SwapReport("accelerate", swaps, _NOTE if any(swap.swapped for swap in swaps) else "")


def restore(module: nn.Module) -> SwapReport:
    """Turn every layer of `module`, itself included, that is pyrnn's into torch's again.

    It undoes `accelerate`, for export, quantization and machines without pyrnn, and gives a model that was
    built of pyrnn's layers torch's. The change is in place and keeps each layer's identity, as there. A layer
    with an option that torch's has not stays as it is. A model that calls its layers with such arguments
    (`lengths`, `reset`, `cache`, `return_cells`) can be restored, and torch's layers will refuse them.

    Args:
        module: Any model, or such a layer.

    Returns:
        Every layer of these kinds, whether it was swapped, and why.

    Raises:
        TypeError: `module` is not an `nn.Module`.

    Example:
        >>> import torch, pyrnn
        >>> model = torch.nn.Sequential(pyrnn.LSTM(3, 4), pyrnn.LSTM(3, 4, checkpoint_every=8))
        >>> print(pyrnn.restore(model))
        restore: 1 swapped, 1 kept
        name  layer                                result   why
        0     pyrnn.LSTM(3, 4)                     swapped  torch.nn.LSTM computes the same
        1     pyrnn.LSTM(3, 4, checkpoint_every=8)  kept     torch's has no checkpoint_every
    """
    layers = _layers("restore", module)
    # All obstacles first: a layer's parts are layers too, and tell more as long as they are ours.
    obstacles = {layer: _obstacle_to_restore(layer) for layer in layers}
    return SwapReport(
        "restore", tuple(_restore(layer, names, obstacles[layer]) for layer, names in layers.items())
    )


def _layers(function: str, module: nn.Module) -> dict[nn.Module, tuple[str, ...]]:
    if not isinstance(module, nn.Module):
        raise TypeError(f"{function} expects a torch.nn.Module, got {type(module).__name__}")
    return layers_by_name(module, _is_known)


def _is_known(module: nn.Module) -> bool:
    if isinstance(module, torch.jit.ScriptModule):
        return module.original_name in _NAMES
    return isinstance(module, (*_RECURRENT, *OURS)) or _is_quantized(module)


def _is_quantized(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.ao.nn") and type(module).__name__ in _NAMES


def _swap(layer: nn.Module, names: tuple[str, ...]) -> LayerReport:
    before, theirs = _describe(layer), _torch_class(layer)
    obstacle = _obstacle(layer, theirs)
    if obstacle or theirs is None:
        return LayerReport(names, before, swapped=False, reason=obstacle)
    reason = _route(layer, next(layer.parameters())).reason
    if issubclass(theirs, RNNCellBase) and not HAS_EXCHANGE_TABLE:
        reason += f"; one step a call, where torch's may be the faster one on torch {torch.__version__}"
    # Our classes need no state that torch's lack: the object itself can change class, and nothing that refers
    # to it, its parameters or its hooks has to be found and changed.
    ours = OURS[theirs]
    instance: Any = layer  # type checkers keep an object's class to its subclasses
    instance.__class__ = ours if type(layer) is theirs else accelerated(type(layer), ours)
    return LayerReport(names, before, swapped=True, reason=reason)


def _restore(layer: nn.Module, names: tuple[str, ...], obstacle: str) -> LayerReport:
    before = _describe(layer)
    if obstacle:
        return LayerReport(names, before, swapped=False, reason=obstacle)
    as_torch(layer)
    return LayerReport(names, before, swapped=True, reason=f"{_name(type(layer))} computes the same")


def _obstacle_to_restore(layer: nn.Module) -> str:
    return obstacle_to_torch(layer) if isinstance(layer, DropIn) else "not pyrnn's"


def _torch_class(layer: nn.Module) -> type[nn.Module] | None:
    """The layer's class in torch, of those that we have too."""
    return next((cls for cls in type(layer).__mro__ if cls in OURS), None)


def _route(layer: nn.Module, parameter: Tensor) -> Route:
    return route(parameter) if isinstance(layer, _RECURRENT) else attention_route(parameter)


def _obstacle(layer: nn.Module, theirs: type[nn.Module] | None) -> str:
    """Why this layer must be left as it is; "" if it may be swapped."""
    obstacle = _obstacle_of_kind(layer, theirs)
    if obstacle:
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
    return "" if path == "native" else reason


def _obstacle_of_kind(layer: nn.Module, theirs: type[nn.Module] | None) -> str:
    if isinstance(layer, torch.jit.ScriptModule):
        return "scripted by torch.jit, which compiles torch's layers: accelerate the model before tracing it"
    if isinstance(layer, DropIn):
        return "already pyrnn's"
    if _is_quantized(layer):
        return "quantized: pyrnn has no quantized kernels"
    if is_parametrized(layer):
        return "parametrized: accelerate the model before registering parametrizations"
    if theirs is None:
        return "a subclass of torch.nn.RNNBase, which may compute something else"
    if own_method(theirs, "forward") is None:
        return f"torch.nn.{theirs.__name__}.forward was replaced, which a swap would undo"
    return obstacle_to_subclass(type(layer), theirs)


def _replaced_methods(layer: nn.Module) -> str:
    """The layer's own methods, not those of every module, that the instance hides and a swap would too."""
    cls = type(layer)
    names = (name for name in vars(layer) if name == "forward" or not hasattr(nn.Module, name))
    hidden = (name for name in names if name not in KEPT_METHODS and callable(getattr(cls, name, None)))
    return ", ".join(hidden)


def _describe(layer: nn.Module) -> str:
    if isinstance(layer, torch.jit.ScriptModule):
        return f"torch.jit {layer.original_name}"
    return f"{_name(type(layer))}({_sizes(layer)})"


def _name(cls: type[nn.Module]) -> str:
    module = "torch.nn" if cls in OURS else "pyrnn" if cls in OURS.values() else cls.__module__
    return f"{module}.{cls.__qualname__}"


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
