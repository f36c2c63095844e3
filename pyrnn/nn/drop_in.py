"""What all layers have that take the place of torch's: the way back, for tools that know torch alone."""

from __future__ import annotations

import copy
import warnings
from typing import Any

from torch import Tensor, nn

from pyrnn._tracers import record_instances_of


class DropIn(nn.Module):
    """Abstract base of our layers: each is this and torch's layer of the same name, or a subclass of that."""

    def _beyond_torch(self) -> str:
        """Which of the layer's options torch's has not, "" if none is set."""
        return ""

    def __prepare_scriptable__(self) -> nn.Module:
        """The layer that `torch.jit.script` compiles in place of this one: torch's, with the same parameters.

        Raises:
            RuntimeError: torch's layer could not do what this one does.
        """
        obstacle = obstacle_to_torch(self)
        name = type(self).__name__
        if obstacle:
            raise RuntimeError(
                f"torch.jit.script compiles torch's layers, and this pyrnn {name} cannot become one: "
                f"{obstacle}. torch.jit.trace and torch.export take it as it is"
            )
        warnings.warn(
            f"torch.jit.script compiles torch's {name} in place of pyrnn's. It also leaves torch's in the "
            "model that it was given: pyrnn.accelerate(model) brings ours back, scripting a copy keeps them",
            stacklevel=2,
        )
        twin = copy.copy(self)
        twin._modules = dict(self._modules)
        return as_torch(twin)


record_instances_of(DropIn)


def torch_class(cls: type[nn.Module]) -> type[nn.Module]:
    """The class that the layer had, or would have, without us: torch's, or the user's subclass of it.

    Example:
        >>> import pyrnn
        >>> torch_class(pyrnn.LSTM)
        <class 'torch.nn.modules.rnn.LSTM'>
    """
    return next(base for base in cls.__mro__ if not issubclass(base, DropIn))


def obstacle_to_torch(layer: nn.Module) -> str:
    """Why `layer`, one of ours, could not become torch's, in words; "" if it can."""
    cls = type(layer)
    if not (cls.__module__.startswith("pyrnn.") or vars(cls).get("_accelerated")):
        return f"{cls.__qualname__} is a class of its own, parametrized, wrapped or derived from pyrnn's"
    for name, part in layer.named_modules():
        beyond = part._beyond_torch() if isinstance(part, DropIn) else ""
        if beyond:
            return f"torch's has no {beyond}" + (f", which its {name} uses" if name else "")
    return ""


def as_torch(layer: nn.Module) -> nn.Module:
    """`layer` itself, as an instance of torch's class; what it is made of stays as it is."""
    layer.__class__ = torch_class(type(layer))
    if isinstance(layer, nn.RNNBase):
        layer._init_flat_weights()  # what torch's kernels are given, which ours neither read nor keep
    return layer


def is_like_tensor(*arguments: Any) -> bool:
    """Whether one of them is no tensor, but an object that has its own idea of torch's functions."""
    return any(
        not isinstance(argument, Tensor) and hasattr(type(argument), "__torch_function__")
        for argument in arguments
    )


def forward_of_torch(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """What torch's layer with the same parameters makes of objects that are asked about torch's functions.

    Raises:
        TypeError: torch's layer could not do what this one does.
    """
    obstacle = obstacle_to_torch(layer)
    if obstacle:
        name = type(layer).__name__
        raise TypeError(
            f"{name}: expected tensors, got objects that only torch's {name} takes; and {obstacle}"
        )
    twin = copy.copy(layer)
    twin._modules = dict(layer._modules)
    return as_torch(twin).forward(*args, **kwargs)
