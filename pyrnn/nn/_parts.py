"""Linear layers and dropouts of a Transformer layer, by our operators where they are plain torch modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn import ops
from pyrnn.ops.dropout import Activation


def apply_linear(module: Any, input: Tensor) -> Tensor:
    """`module(input)`."""
    return ops.linear(input, module.weight, module.bias) if _is_plain(module, nn.Linear) else module(input)


def apply_dropout(
    module: Any,
    input: Tensor,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """`residual + module(activation(input))`, in one pass over memory where all parts are known."""
    name = _name_of(activation)
    if activation is not None and name is None:
        input = activation(input)
    if _is_plain(module, nn.Dropout):
        return ops.dropout(input, module.p, module.training, residual=residual, activation=name)
    output = module(input if name is None or activation is None else activation(input))
    return output if residual is None else residual + output


def feed_forward(layer: Any, input: Tensor, dropout: nn.Module, *, residual: Tensor) -> Tensor:
    """`residual + dropout(linear2(layer.dropout(activation(linear1(input)))))` of a Transformer layer."""
    first, inner, name = layer.linear1, layer.dropout, _name_of(layer.activation)
    drops = inner.training and getattr(inner, "p", 1) > 0
    if name is not None and not drops and _is_plain(first, nn.Linear) and _is_plain(inner, nn.Dropout):
        hidden = ops.linear(input, first.weight, first.bias, name)
    else:
        hidden = apply_dropout(inner, apply_linear(first, input), activation=layer.activation)
    return apply_dropout(dropout, apply_linear(layer.linear2, hidden), residual=residual)


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether calling `module` does what `kind` does, and nothing else."""
    hooks = (
        module._forward_pre_hooks,
        module._forward_hooks,
        module._backward_pre_hooks,
        module._backward_hooks,
    )
    return type(module) is kind and not any(hooks)


def _name_of(activation: Any) -> Activation | None:
    """The operators' name of an activation that they know."""
    if activation is F.relu or activation is torch.relu or type(activation) is nn.ReLU:
        return "relu"
    if activation is F.gelu:
        return "gelu"
    if type(activation) is nn.GELU:
        return "gelu" if activation.approximate == "none" else "gelu_tanh"
    return None
