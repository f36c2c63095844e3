"""What tracers that go by torch's classes are told of ours: Dynamo, behind torch.compile, and torch.fx.

Dynamo refuses instances of torch's RNN, GRU and LSTM unless its option `allow_rnn` is set, for it cannot
trace what those run. Ours it can. Set for good, the option would have it trace the user's own torch layers as
well: here it holds only while Dynamo looks at a layer of ours. Where a torch release has no place to do this,
nothing is changed, and a compiled model has a graph break at the layer, as with torch's.

torch.fx records a layer of torch.nn as one node of the graph and looks into all others, which for ours ends
at the first question about a shape. Ours are to be nodes too, with whatever hangs on them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from torch import nn
from torch.fx import Tracer

_BUILDER = "torch._dynamo.variables.builder"


def trace_instances_of(cls: type) -> None:
    """Have Dynamo trace the instances of `cls`, now or as soon as it is imported, which takes seconds."""
    builder = sys.modules.get(_BUILDER)
    if builder is not None:
        _allow(builder, cls)
    else:
        sys.meta_path.insert(0, _AfterImport(cls))


def record_instances_of(cls: type) -> None:
    """Have `torch.fx` record the instances of `cls` as nodes."""
    is_leaf_module = Tracer.is_leaf_module

    @wraps(is_leaf_module)
    def is_leaf(self: Tracer, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, cls) or is_leaf_module(self, m, module_qualified_name)

    Tracer.is_leaf_module = is_leaf  # type: ignore[method-assign]


class _AfterImport(MetaPathFinder):
    """Finds Dynamo's builder as Python would, once, and calls `_allow` when its code has run."""

    def __init__(self, cls: type) -> None:
        self._cls = cls

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _BUILDER:
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        loader: Any = spec and spec.loader
        if loader is None:
            return spec
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _allow(module, self._cls)

        loader.exec_module = exec_module
        return spec


def _allow(builder: Any, cls: type) -> None:
    variable_builder: Any = getattr(builder, "VariableBuilder", None)
    config: Any = getattr(builder, "config", None)
    wrap_module = getattr(variable_builder, "wrap_module", None)
    if wrap_module is None or not hasattr(config, "allow_rnn"):
        return

    @wraps(wrap_module)
    def wrap(self: Any, value: Any) -> Any:
        if not isinstance(value, cls):
            return wrap_module(self, value)
        with config.patch(allow_rnn=True):
            return wrap_module(self, value)

    variable_builder.wrap_module = wrap
