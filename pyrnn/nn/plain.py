"""Whether calling a module does what its class does and nothing else: what an operator may take the place of.

Users hang things on modules (hooks, a forward put on the instance, a parametrization, a compiled call) or put
others in their place. Whoever computes a module's result without calling it asks `is_plain` first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from pyrnn._dispatch import (
    global_backward_hooks,
    global_backward_pre_hooks,
    global_forward_hooks,
    global_forward_pre_hooks,
)


class Kind(NamedTuple):
    """A class of modules, and forward and call as they were written; None where somebody replaced them."""

    cls: type[nn.Module]
    forward: Callable[..., Any] | None
    call: Callable[..., Any] | None


def own_method(cls: type[nn.Module], name: str) -> Any:
    """The method that the file of `cls`, or of a class above it, defines there; None if it is from elsewhere.

    A function's globals tell where it was written, also that of a wrapper which took the other's name.
    """
    method = getattr(cls, name)
    home = getattr(method, "__globals__", {}).get("__name__")
    return method if home in {base.__module__ for base in cls.__mro__ if name in vars(base)} else None


def kind_of(cls: type[nn.Module]) -> Kind:
    """`cls` as `is_plain` takes it."""
    return Kind(cls, own_method(cls, "forward"), own_method(nn.Module, "__call__"))


def is_plain(module: Any, kind: Kind) -> bool:
    """Whether `module(...)` runs the forward of `kind` and nothing else.

    Parametrizations and LoRA layers are other classes. A hook on all modules watches this one too.

    Example:
        >>> layer, kind = nn.Linear(2, 2), kind_of(nn.Linear)
        >>> is_plain(layer, kind)
        True
        >>> _ = layer.register_forward_hook(lambda *_: None)
        >>> is_plain(layer, kind)
        False
    """
    cls, forward, call = kind
    if type(module) is not cls or cls.forward is not forward or cls.__call__ is not call:
        return False
    own = module.__dict__
    return not (
        # Not `"forward" in own`, which torch.compile would not guard.
        getattr(module.forward, "__func__", None) is not forward
        or "_call_impl" in own
        or module._compiled_call_impl is not None  # Module.compile()
        or own["_forward_hooks"]
        or own["_forward_pre_hooks"]
        or own["_backward_hooks"]
        or own["_backward_pre_hooks"]
        or global_forward_hooks
        or global_forward_pre_hooks
        or global_backward_hooks
        or global_backward_pre_hooks
    )


def is_replaced(module: nn.Module, name: str, method: Any) -> bool:
    """Whether `module.name` is another method than `method`, by a subclass, on the class or the instance."""
    return name in module.__dict__ or getattr(type(module), name) is not method
