"""The frame of every native operator: all that follows from its specification.

A `Spec` says what an operator computes and by which kernels. An `Operator` makes of it:

- `pyrnn::NAME`, the public operator; `_NAME_fwd`, which also returns what a backward pass needs of the
  forward one; `_NAME_bwd`, the gradients. All have fake kernels, vmap rules and refusals in words;
- the fast path, past torch's dispatcher, for calls that nothing but autograd watches;
- the dispatcher path for all others: compiled, traced, under a mode, a transform or autocast;
- derivatives of every order (`_derivatives.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from pyrnn import _dispatch, _native
from pyrnn._checks import check_all_dense, refuse_derivative
from pyrnn._native_args import require_storage
from pyrnn.ops._derivatives import as_tuple, make_backward_function, make_fast_function, make_function
from pyrnn.ops._library import (
    Kernel,
    VmapRule,
    count_flops,
    define,
    library,
    loop_over_samples,
    names_of,
    refuse_gradients,
    refuse_other_layouts,
)

Part = Literal["call", "forward", "backward"]  #: which of an operator's three


class Route(NamedTuple):
    """Who computes a call, and why.

    Example:
        >>> from pyrnn.ops import dropout_route
        >>> dropout_route(torch.ones(3)).path
        'native'
    """

    path: Literal["native", "reference"]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Spec:
    """An operator: its mathematics and its kernels.

    The tensors of a call come first, at their head the one that decides on device and dtype, then options.
    The first result always applies to a call; one of the others that does not is a new tensor of shape [0].

    Attributes:
        name: NAME.
        tensors: schema of the tensors of a call, "Tensor input, Tensor? h0".
        options: schema of its other arguments, if it has any.
        results: schema of its results, "Tensor output, Tensor h_n".
        saved: further results of `forward`, which only `backward` reads.
        differentiable: positions of the tensors that have a gradient.
        devices: kinds of devices that the kernels serve, of "cpu" and "cuda".
        autocasts: whether torch.autocast casts the differentiable tensors.
        unfit: (backend, tensors) -> why its kernels do not take tensors of such sizes, in words; empty where
            they do. None: they take all.
        infer: (tensors, options) -> results, by a kernel.
        forward: the same -> results and `saved`.
        backward: (gradients of the results, or None; tensors; saved results; options; needs, a bool for each
            gradient) -> gradients of the differentiable tensors, by a kernel; any tensor where not needed.
        reference: like `infer` by plain torch, differentiable any number of times; checks as the kernels do.
        fake_forward: like `forward`, for shapes, strides and dtypes alone.
        fake_backward: like `backward`, likewise.
        saved_results: positions among `results` and `saved` of those that `backward` reads.
        followed: how many of `saved_results`, from the first, second derivatives pass through, beside the
            kept tensors: results of which all else that `backward` reads is a function.
        stand_ins: {position among `saved`: position of the result that is kept where it does not apply}.
        kept: schema of the tensors of the call that `backward` reads, if not all as they are; then also
        keep: (tensors, options) -> those tensors, and
        restore: (gradients of the results, kept tensors and followed results) -> tensors at which the
            reference is derived.
        passed_through: {position of a tensor: position of a result}, where the gradient of the one is that of
            the other; `backward` does not return it.
        vmap: (part, its operator) -> its rule, or None for one call a sample.
        flops: (part, the arguments of its operator, a shape for each tensor) -> operations of the products of
            matrices, as `torch.utils.flop_counter` counts them for torch's operators; None if there are none.
    """

    name: str
    tensors: str
    options: str = ""
    results: str
    saved: str = ""
    differentiable: tuple[int, ...]
    devices: tuple[str, ...]
    autocasts: bool
    infer: Kernel
    forward: Kernel
    backward: Kernel
    reference: Kernel
    fake_forward: Kernel
    fake_backward: Kernel
    saved_results: tuple[int, ...] = ()
    followed: int = 0
    stand_ins: Mapping[int, int] = field(default_factory=dict)
    kept: str = ""
    keep: Callable[[Any, Any], tuple[Tensor | None, ...]] = lambda tensors, options: tensors
    restore: Callable[[Any, Any], tuple[Tensor | None, ...]] = lambda grads, kept: kept
    passed_through: Mapping[int, int] = field(default_factory=dict)
    unfit: Callable[[str, tuple[Tensor | None, ...]], str] | None = None
    vmap: Callable[[Part, Kernel], VmapRule | None] = lambda part, operator: None
    flops: Callable[[Part, tuple[Any, ...]], int] | None = None


class Operator:
    """A specification as a callable operator.

    Attributes:
        spec: what it follows from.
        tensors: names of the tensors of a call.
        results: names of its results.
        kept: names of the tensors that the backward pass reads.
        derived: positions of the tensors whose gradients the backward pass computes.
        call_op: `pyrnn::NAME`.
        forward_op: `pyrnn::_NAME_fwd`.
        backward_op: `pyrnn::_NAME_bwd`.
        function: a call as an autograd.Function that torch.func can transform.
        fast_function: the same for the fast path.
        backward_function: the backward pass as such a function.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec, name = spec, spec.name
        self.tensors, self.results = names_of(spec.tensors), names_of(spec.results)
        self.kept = names_of(spec.kept or spec.tensors)
        self.derived = tuple(n for n in spec.differentiable if n not in spec.passed_through)
        self._count = len(self.tensors)
        arguments = ", ".join(filter(None, (spec.tensors, spec.options)))
        everything = f"{spec.results}, {spec.saved}" if spec.saved else spec.results
        kind = "Tensor?" if len(self.results) > 1 else "Tensor"
        grads = [f"{kind} g_{result}" for result in self.results]
        saved = [everything.split(", ")[n] for n in spec.saved_results]
        needs = f"bool[{len(self.derived)}] needs"
        self.call_op = define(name, arguments, spec.results)
        self.forward_op = define(f"_{name}_fwd", arguments, everything)
        self.backward_op = define(
            f"_{name}_bwd",
            ", ".join(filter(None, (*grads, spec.kept or spec.tensors, *saved, spec.options, needs))),
            ", ".join(f"Tensor d_{self.tensors[n]}" for n in self.derived),
        )
        self.backward_function: Any = make_backward_function(self)
        self.function: Any = make_function(self)
        self.fast_function: Any = make_fast_function(self)
        self._register()

    # ------------------------------------------------------------------------------------------- calls

    def __call__(self, *args: Any) -> Any:
        """The results of a call, by the shortest path that serves it; one result comes by itself."""
        tensors = args[: self._count]
        first = tensors[0]
        if first is not None and can_bypass_dispatcher(tensors):
            if self.unsupported_reason(first.device.type, first.dtype) or self.unfit_reason(tensors):
                return self.call_op(*args)
            if not wants_gradient(tensors):
                return self.spec.infer(*args)
            return self._only_results(self.fast_function.apply(*args))
        check_all_dense(self.tensors, tensors, required=1)
        # The operator cannot be differentiated by torch.func, which knows no operator's backward: it is given
        # the autograd.Function itself, whose backward it can transform in turn.
        if not torch.compiler.is_compiling() and _dispatch.functorch_differentiates():
            device_type = args[0].device.type
            if self.spec.autocasts and _dispatch.autocast_enabled(device_type):
                args = self._autocast(args, device_type)
            return self._differentiably(args)
        return self.call_op(*args)

    def route(self, tensor: Tensor, *others: Tensor | None) -> Route:
        """Who computes a call whose first tensors these are, under the transforms and autocast active now."""
        device_type, dtype = tensor.device.type, tensor.dtype
        casts = self.spec.autocasts and dtype is not torch.float64
        if casts and _dispatch.autocast_enabled(device_type):
            dtype = torch.get_autocast_dtype(device_type)
        reason = self.unsupported_reason(device_type, dtype) or self.unfit_reason((tensor, *others))
        if not reason and _dispatch.forward_mode_active():
            reason = "a forward-mode derivative is being taken, and the kernels have none"
        if reason:
            return Route("reference", reason)
        return Route("native", f"{str(self.backend_of(device_type)).upper()} kernels for {dtype}")

    def backend_of(self, device_type: str) -> Literal["cpu", "cuda"] | None:
        """Whose kernels serve tensors of this kind of device; on meta, only their shapes are asked for."""
        has_cuda = "cuda" in self.spec.devices
        if device_type == "cpu":
            return "cuda" if has_cuda and _native.emulated_cuda is not None else "cpu"
        if device_type == "cuda":
            return "cuda" if has_cuda and not _native.why_no_cuda() else None
        return "cpu" if device_type == "meta" else None

    def unsupported_reason(self, device_type: str, dtype: torch.dtype) -> str:
        """Why no kernel computes calls of this kind of device and dtype, in words; empty where one does."""
        backend = self.backend_of(device_type)
        if backend is None:
            knows = device_type == "cuda" and "cuda" in self.spec.devices
            why = f": {_native.why_no_cuda()}" if knows else ""
            return f"there is no native kernel for device type {device_type!r}{why}"
        native = _native.DTYPES[backend]
        if dtype in native:
            return ""
        return (
            f"the native {backend.upper()} kernels compute in {', '.join(map(str, native))}, not in {dtype}"
        )

    def unfit_reason(self, tensors: tuple[Tensor | None, ...]) -> str:
        """Why the kernels for the first tensor's device do not take such sizes; empty where they do."""
        first = tensors[0]
        if self.spec.unfit is None or first is None:
            return ""
        return self.spec.unfit(self.backend_of(first.device.type) or "", tensors)

    def select_backward(self, tensors: tuple[Tensor | None, ...]) -> Kernel:
        """Who computes a backward pass: the kernel past the dispatcher, the operator, or a function.

        `tensors` are the gradients of the results and what was saved.
        """
        if torch.is_grad_enabled() or _dispatch.functorch_active():  # a second derivative, or a transform
            return self.backward_function.apply
        # `is_grads_batched` gives gradients a dimension that only the dispatcher sees.
        grads = tensors[: len(self.results)]
        batched = any(grad is not None and _dispatch.is_batched(grad) for grad in grads)
        return self.spec.backward if not batched and can_bypass_dispatcher(tensors) else self.backward_op

    def _differentiably(self, args: tuple[Any, ...]) -> Any:
        """A call that autograd or torch.func records."""
        if self.route(*args[: self._count]).path == "reference":
            return self.spec.reference(*args)
        return self._only_results(self.function.apply(*args))

    def _only_results(self, found: Any) -> Any:
        """Without what is saved for the backward pass; one result by itself."""
        if not isinstance(found, tuple):
            return found
        return found[: len(self.results)] if len(self.results) > 1 else found[0]

    def _autocast(self, args: tuple[Any, ...], device_type: str) -> tuple[Any, ...]:
        """Cast the differentiable tensors to autocast's dtype."""
        cast = list(args)
        for position in self.spec.differentiable:
            cast[position] = cast_tensor(args[position], device_type)
        return tuple(cast)

    # -------------------------------------------------------------------------------------- registration

    def _register(self) -> None:
        spec, name = self.spec, self.spec.name
        parts: tuple[tuple[Part, str, Kernel, Kernel, Kernel], ...] = (
            ("call", name, self.call_op, self._kernel, self._fake),
            ("forward", f"_{name}_fwd", self.forward_op, spec.forward, spec.fake_forward),
            ("backward", f"_{name}_bwd", self.backward_op, spec.backward, spec.fake_backward),
        )
        for part, title, operator, kernel, fake in parts:
            for device in spec.devices:
                library.impl(title, kernel, device.upper())
            torch.library.register_fake(f"pyrnn::{title}", fake, lib=library)
            rule = spec.vmap(part, operator) or loop_over_samples(operator)
            torch.library.register_vmap(f"pyrnn::{title}", rule, lib=library)
            refuse_other_layouts(operator)
            if spec.flops is not None:
                count_flops(title, partial(spec.flops, part))
            if part != "call":
                refuse_gradients(title, operator, f"pyrnn::{name}")
        library.impl(name, self._reference_in_layout, "CompositeExplicitAutograd")
        library.impl(name, self._autograd_kernel, "Autograd")
        if spec.autocasts:
            for device_type in ("cpu", "cuda"):
                key = f"Autocast{device_type.upper()}"
                library.impl(name, partial(self._autocast_kernel, device_type, key), key)

    def _kernel(self, *args: Any) -> Any:
        unsupported = self.unsupported_reason(args[0].device.type, args[0].dtype)
        if unsupported or self.unfit_reason(args[: self._count]):
            return self._reference_in_layout(*args)
        return self.spec.infer(*args)

    def _fake(self, *args: Any) -> Any:
        return self._only_results(self.spec.fake_forward(*args))

    def _reference_in_layout(self, *args: Any) -> Any:
        """The reference's results, laid out as the kernels would lay them out."""
        results = self.spec.reference(*args)
        declared = as_tuple(self._fake(*args))
        found = tuple(
            result if result.stride() == like.stride() else like.copy_(result)
            for result, like in zip(as_tuple(results), declared, strict=True)
        )
        return found if isinstance(results, tuple) else found[0]

    def _autograd_kernel(self, *args: Any) -> Any:
        tensors = args[: self._count]
        for position, tensor in enumerate(tensors):
            if position not in self.spec.differentiable:
                refuse_derivative(self.tensors[position], tensor)
        if _dispatch.forward_mode_active() or _dispatch.functorch_differentiates():
            return self.spec.reference(*args)
        if not wants_gradient(tensors):
            with _dispatch.BelowAutograd():
                return self.call_op(*args)
        return self._differentiably(args)

    def _autocast_kernel(self, device_type: str, key: str, *args: Any) -> Any:
        with _dispatch.ExcludeKeys(_dispatch.DispatchKeySet(getattr(_dispatch.DispatchKey, key))):
            return self.call_op(*self._autocast(args, device_type))


def can_bypass_dispatcher(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether nothing but autograd sees a call on these tensors: it may take the fast path.

    Only then: under a trace, a mode or a transform the raw addresses of that path would be frozen or lost.
    """
    # Dynamo knows the first question, and must not come to the second.
    return not torch.compiler.is_compiling() and _native.cpu.can_bypass_dispatcher(tensors)


def wants_gradient(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether autograd is to record a call on these tensors."""
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor is not None and tensor.requires_grad:
                return True
    return False


def cast_tensor(tensor: Any, device_type: str) -> Any:
    """A floating tensor in autocast's dtype; float64, as in torch, and whatever else comes, as it is.

    Raises:
        ValueError: the storage does not hold the tensor.
    """
    dtype = torch.get_autocast_dtype(device_type)
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        return tensor
    if tensor.dtype is torch.float64 or tensor.dtype is dtype:
        return tensor
    if not torch.compiler.is_compiling() and _dispatch.is_readable(tensor):
        require_storage(tensor)  # torch casts what lies behind the storage too
    return tensor.to(dtype)
