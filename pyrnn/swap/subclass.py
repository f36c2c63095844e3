"""A user's subclass of one of torch's layers, computed by our kernels: `class Tuned(torch.nn.LSTM): ...`.

The class that such a layer gets derives from the user's first and then from ours: what the user wrote stays
in force, and torch's forward, which the user's class had inherited, is ours. No import finds that class,
hence pickles name the user's.
"""

from __future__ import annotations

from abc import ABCMeta
from functools import cache
from types import FunctionType, new_class
from typing import Any

from torch import nn

#: Methods that a subclass may replace: ours call them as torch's do, or no result depends on them.
KEPT_METHODS = frozenset(
    {
        "_ff_block",
        "_mha_block",
        "_replicate_for_data_parallel",
        "_reset_parameters",
        "_sa_block",
        "all_weights",
        "flatten_parameters",
        "generate_square_subsequent_mask",
        "reset_parameters",
    }
)


def obstacle_to_subclass(cls: type[nn.Module], theirs: type[nn.Module]) -> str:
    """Why `cls`, a subclass of torch's `theirs`, may not be swapped, in words; "" if it may.

    It may if whatever torch's forward runs is torch's own: methods that the user added change nothing.
    """
    subclass = f"a subclass of torch.nn.{theirs.__name__}"
    if type(cls) not in (type, ABCMeta):
        return f"{subclass} with a metaclass"
    for base in cls.__mro__[: cls.__mro__.index(theirs)]:
        if "__init_subclass__" in vars(base):
            return f"{subclass} that follows its own subclasses (__init_subclass__)"
        if vars(base).get("__slots__"):
            return f"{subclass} with __slots__"
        for name, value in vars(base).items():
            if name == "_flat_weights" or (name not in KEPT_METHODS and _replaces(value, theirs, name)):
                return f"{subclass} whose {name} is its own, which may compute something else"
    return ""


def _replaces(value: Any, theirs: type[nn.Module], name: str) -> bool:
    """Whether `value` takes the place of a method of torch's layer, other than those of every module."""
    is_method = isinstance(value, (FunctionType, classmethod, staticmethod, property)) or callable(value)
    if name.startswith("__") and name.endswith("__"):
        return False  # of every class: torch's forward calls none of them
    return is_method and hasattr(theirs, name) and (name == "forward" or not hasattr(nn.Module, name))


@cache
def accelerated(cls: type[nn.Module], ours: type[nn.Module]) -> type[nn.Module]:
    """The class of `cls` layers that compute by `ours`."""

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        reduced = super(made, self).__reduce_ex__(protocol)
        if isinstance(reduced, str):
            return reduced
        make, args, *rest = reduced
        args = tuple(cls if arg is type(self) else arg for arg in args)
        return (_rebuild, (ours, make, args), *rest)

    own = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "__reduce_ex__": __reduce_ex__,
        "_accelerated": True,
    }
    made = new_class(cls.__name__, (cls, ours), exec_body=lambda namespace: namespace.update(own))
    return made


def _rebuild(ours: type[nn.Module], make: Any, args: tuple[Any, ...]) -> Any:
    """What `pickle` and `copy` begin with: an object of the user's class, turned to ours."""
    layer = make(*args)
    layer.__class__ = accelerated(type(layer), ours)
    return layer
