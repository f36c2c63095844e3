"""torch's private API, and what it answers: transforms, modes, autocast, hooks on all modules.

torch says none of this in public, so the private names are fetched here, once, where a torch release that
moved one fails with words.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


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
ExcludeKeys = _private("_C._ExcludeDispatchKeyGuard")
DispatchKey = _private("_C.DispatchKey")
DispatchKeySet = _private("_C.DispatchKeySet")
_interpreter_stack = _private("_C._functorch.get_interpreter_stack")
_Grad = _private("_C._functorch.TransformType.Grad")
functorch_active = _private("_C._are_functorch_transforms_active")
is_functorch_tensor = _private("_C._functorch.is_functorch_wrapped_tensor")
is_batched = _private("_C._functorch.is_legacy_batchedtensor")

_dispatch_keys = _private("_C._dispatch_keys")
dispatch_modes = _private("_C._len_torch_dispatch_stack")
function_modes = _private("_C._len_torch_function_stack")
tracing_state = _private("_C._get_tracing_state")
any_autocast_enabled = _private("_C._is_any_autocast_enabled")
#: Each returns something false as long as nothing but autograd would see an operator's call. Forward mode is
#: not among them: its level is `forward_ad._current_level`.
WATCHERS = (functorch_active, dispatch_modes, function_modes, tracing_state, any_autocast_enabled)
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

#: Whether C++ can look at tensors by DLPack's exchange table: torch 2.8 has none, 2.11 and later have one.
HAS_EXCHANGE_TABLE = hasattr(Tensor, "__dlpack_c_exchange_api__")

#: Classes of tensors that leave their operators to torch.
PLAIN_TYPES = (Tensor, torch.nn.Parameter)


def forward_mode_active() -> bool:
    """Whether a forward-mode derivative is being taken: `dual_level`, `torch.func.jvp`, `jacfwd`."""
    return forward_ad._current_level >= 0


def functorch_differentiates() -> bool:
    """Whether `torch.func.grad`, `vjp` or `jacrev` is active."""
    return functorch_active() and any(level.key() == _Grad for level in _interpreter_stack())


def has_python_dispatch(tensor: Tensor) -> bool:
    """Whether the tensor's class answers for its operators itself: a fake tensor, a wrapper of others."""
    return _dispatch_keys(tensor).has(DispatchKey.Python)


def is_readable(tensor: Tensor) -> bool:
    """Whether the values are at hand: not under fake tensors, tracing, vmap, or on another device.

    That depends on what a tensor is and not on its class: a Parameter has values as any tensor has.
    """
    if not tensor.is_cpu or is_functorch_tensor(tensor):
        return False
    return type(tensor) in PLAIN_TYPES or not has_python_dispatch(tensor)


def current_stream(device: torch.device) -> int:
    """Address of the CUDA stream that torch computes on now; 0 on other devices."""
    if device.type != "cuda" or _raw_stream is None:
        return 0
    return _raw_stream(device.index)


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Make `device` CUDA's current one; nothing on other devices."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def autocast_enabled(device_type: str) -> bool:
    """Whether torch.autocast is on for `device_type`."""
    return device_type in AUTOCAST_DEVICES and torch.is_autocast_enabled(device_type)


def autocast_disabled(device_type: str) -> AbstractContextManager[Any]:
    """Keep torch's own operators from casting what has been cast already."""
    if autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
