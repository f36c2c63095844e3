"""The `pyrnn` operator library, and what every operator in it needs from torch.

torch has no public door for some of this (which transforms are active, calling an operator below autograd),
so the private names are fetched here, once, where a torch release that moved one fails with words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from pyrnn.ops._memory import with_memory


def _private(path: str) -> Any:
    found: Any = torch
    for name in path.split("."):
        if not hasattr(found, name):
            raise ImportError(
                f"pyrnn's operators use torch.{path}, which torch {torch.__version__} does not have; "
                "install a torch release that this version of pyrnn supports (see its requirements)"
            )
        found = getattr(found, name)
    return found


_private("autograd.forward_ad._current_level")  # read at each call: it is a module global that torch rebinds
BelowAutograd = _private("_C._AutoDispatchBelowAutograd")
_ExcludeKeys = _private("_C._ExcludeDispatchKeyGuard")
_DispatchKey = _private("_C.DispatchKey")
_DispatchKeySet = _private("_C.DispatchKeySet")
_interpreter_stack = _private("_C._functorch.get_interpreter_stack")
_Grad = _private("_C._functorch.TransformType.Grad")
functorch_active = _private("_C._are_functorch_transforms_active")
is_functorch_tensor = _private("_C._functorch.is_functorch_wrapped_tensor")
_is_batched = _private("_C._functorch.is_legacy_batchedtensor")

_dispatch_keys = _private("_C._dispatch_keys")
_dispatch_modes = _private("_C._len_torch_dispatch_stack")
_function_modes = _private("_C._len_torch_function_stack")
_tracing_state = _private("_C._get_tracing_state")
_any_autocast = _private("_C._is_any_autocast_enabled")
_raw_stream = _private("_C._cuda_getCurrentRawStream") if torch.version.cuda else None

#: Hooks on the calls of all modules, by id: torch fills and empties these dictionaries, and rebinds none.
global_forward_hooks = _private("nn.modules.module._global_forward_hooks")
global_forward_pre_hooks = _private("nn.modules.module._global_forward_pre_hooks")
global_backward_hooks = _private("nn.modules.module._global_backward_hooks")
global_backward_pre_hooks = _private("nn.modules.module._global_backward_pre_hooks")

#: Kinds of devices that have autocast. Asked once: Dynamo cannot follow the question before torch 2.12.
AUTOCAST_DEVICES = frozenset(
    kind
    for kind in ("cpu", "cuda", "xpu", "hpu", "mps", "mtia", "xla")
    if torch.amp.is_autocast_available(kind)
)

Operator = Callable[..., Any]

library = torch.library.Library("pyrnn", "DEF")


def define(name: str, signature: str) -> Operator:
    """Add operator `pyrnn::name` with `signature`, "(arguments) -> results", and return it."""
    library.define(name + signature, tags=(torch.Tag.pt2_compliant_tag,))
    return getattr(torch.ops.pyrnn, name).default


def forward_mode_active() -> bool:
    """Whether a forward-mode derivative is being taken: `dual_level`, `torch.func.jvp`, `jacfwd`."""
    return forward_ad._current_level >= 0


def functorch_differentiates() -> bool:
    """Whether `torch.func.grad`, `vjp` or `jacrev` is active."""
    return functorch_active() and any(level.key() == _Grad for level in _interpreter_stack())


def has_python_dispatch(tensor: Tensor) -> bool:
    """Whether the tensor's class answers for its operators itself: a fake tensor, a wrapper of others."""
    return _dispatch_keys(tensor).has(_DispatchKey.Python)


def current_stream(device: torch.device) -> int:
    """Address of the CUDA stream that torch computes on now; 0 on other devices."""
    if device.type != "cuda" or _raw_stream is None:
        return 0
    return _raw_stream(device.index)


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Make `device` CUDA's current one; nothing on other devices."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


_PLAIN_TYPES = (Tensor, torch.nn.Parameter)
_STRIDED = torch.strided


def unwatched(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether nothing but autograd sees a call on these tensors: it may pass the dispatcher by.

    Only then: under a trace, a mode or a transform the raw addresses of the shortcut would be frozen or lost.
    """
    if (
        torch.compiler.is_compiling()
        or functorch_active()
        or forward_mode_active()
        or _dispatch_modes()
        or _function_modes()
        or _tracing_state() is not None
        or _any_autocast()
    ):
        return False
    for t in tensors:
        if t is not None and (
            type(t) not in _PLAIN_TYPES
            or not (t.is_cpu or t.is_cuda)
            or t.layout is not _STRIDED
            or t.is_nested
            or t.is_neg()
        ):
            return False
    return True


def derivative(
    grads: tuple[Tensor | None, ...],
    saved: tuple[Tensor | None, ...],
    *,
    function: type[Function],
    native: Operator,
    operator: Operator,
) -> Operator:
    """Who computes a backward pass: `native` past the dispatcher, `operator`, or a derivable `function`."""
    if torch.is_grad_enabled() or functorch_active():  # a second derivative, or a transform
        return function.apply
    # `is_grads_batched` gives gradients a dimension that only the dispatcher sees.
    batched = any(g is not None and _is_batched(g) for g in grads)
    return native if not batched and unwatched((*grads, *saved)) else operator


def wants_gradient(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether autograd is to record a call on these tensors."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def direct(name: str, function: type[Function], native: Callable[..., Any]) -> type[Function]:
    """`function` for unwatched calls: `native` computes the same, past the dispatcher.

    What makes an autograd.Function transformable costs more than the kernel of a small call.
    """

    def forward(ctx: Any, *args: Any) -> Any:
        output = native(*args)
        function.setup_context(ctx, args, output)
        return output

    methods = {"forward": staticmethod(forward), "backward": staticmethod(function.backward)}
    return type(name, (Function,), methods)


def sign(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the signature of an autograd.Function's forward: torch asks for it at every call."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function


def refuse_gradients(name: str, operator: Operator, instead: str) -> None:
    """Make `pyrnn::name` raise where torch would compute silently wrong derivatives."""

    def kernel(*args: Any) -> Any:
        if torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in args):
            raise RuntimeError(
                f"pyrnn::{name} has no derivative of its own; call {instead}, which has every order"
            )
        with BelowAutograd():
            return operator(*args)

    library.impl(name, kernel, "Autograd")


def is_readable(tensor: Tensor) -> bool:
    """Whether the values are at hand: not under fake tensors, tracing, vmap, or on another device.

    That depends on what a tensor is and not on its class: a Parameter has values as any tensor has.
    """
    if not tensor.is_cpu or is_functorch_tensor(tensor):
        return False
    return type(tensor) in _PLAIN_TYPES or not has_python_dispatch(tensor)


def autocast_enabled(device_type: str) -> bool:
    """Whether torch.autocast is on for `device_type`."""
    return device_type in AUTOCAST_DEVICES and torch.is_autocast_enabled(device_type)


def autocast_disabled(device_type: str) -> AbstractContextManager[Any]:
    """Keep torch's own operators from casting what has been cast already."""
    if autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def autocast(args: tuple[Any, ...], device_type: str) -> tuple[Any, ...]:
    """Cast floating tensors among `args` to autocast's dtype; float64 stays, as in torch.

    Raises:
        ValueError: as `_memory.with_memory`.
    """
    dtype = torch.get_autocast_dtype(device_type)

    def cast(value: Any) -> Any:
        eligible = (
            isinstance(value, Tensor) and value.is_floating_point() and value.dtype is not torch.float64
        )
        if not eligible or value.dtype is dtype:
            return value
        if not torch.compiler.is_compiling() and is_readable(value):
            with_memory(value)  # torch casts what lies behind the storage too
        return value.to(dtype)

    return tuple(cast(value) for value in args)


def register_autocast(name: str, operator: Operator) -> None:
    """Let `pyrnn::name` cast its arguments under torch.autocast on CPU and on CUDA."""

    def register(device_type: str, key: str) -> None:
        keys = _DispatchKeySet(getattr(_DispatchKey, key))

        def kernel(*args: Any) -> Any:
            with _ExcludeKeys(keys):
                return operator(*autocast(args, device_type))

        library.impl(name, kernel, key)

    register("cpu", "AutocastCPU")
    register("cuda", "AutocastCUDA")


def loop_over_samples(operator: Operator) -> Callable[..., tuple[Any, Any]]:
    """The vmap rule that calls `operator` for each sample in turn and stacks what it returns."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        if info.batch_size == 0:
            _raise_empty_vmap(operator)
        samples = [
            operator(
                *(
                    a if d is None or not isinstance(a, Tensor) else a.select(d, n)
                    for a, d in zip(args, in_dims, strict=True)
                )
            )
            for n in range(info.batch_size)
        ]
        outputs = tuple(torch.stack(column) for column in zip(*samples, strict=True))
        return outputs, (0,) * len(outputs)

    return rule


def _raise_empty_vmap(operator: Operator) -> NoReturn:
    raise ValueError(
        f"{operator}: torch.vmap over a dimension of size 0 is not supported here; expected at least 1"
    )
