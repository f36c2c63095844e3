"""A linear layer, and what computes each of its three products: torch's libraries or our kernel."""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from pyrnn import _native
from pyrnn._checks import check_all_dense
from pyrnn._dispatch import any_autocast_enabled, autocast_disabled, autocast_enabled
from pyrnn._native_args import DTYPES
from pyrnn.machine import processor
from pyrnn.ops._operator import can_bypass_dispatcher, cast_tensor, wants_gradient
from pyrnn.ops.dropout import Activation, dropout
from pyrnn.ops.dropout.call import ACTIVATIONS, CODES, as_activation

_TENSORS = ("input", "weight", "bias")

Product = Literal["forward", "activated", "input_gradient", "weight_gradient"]

#: How oneDNN calls the activations: name and algorithm.
_FUSED = {None: ("none", ""), "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh")}
_MOST_BYTES = 2**30  # of an input or output, in csrc/rows/eager.cpp too
_LARGE = 2**25  # multiply-adds of a product from which choosing a library gains more than it costs
#: The same of our kernel in training, beside an autograd function in Python; float32 in narrow vectors, for
#: which MKL is faster than in wide ones, needs more.
_TRAINED = {torch.float32: 2**20, torch.bfloat16: 2**17}
_TRAINED_NARROW = 2**24
_PRODUCTS: tuple[Product, ...] = ("forward", "input_gradient", "weight_gradient")


class LinearRoute(NamedTuple):
    """What computes a product, and why.

    Example:
        >>> import torch
        >>> from pyrnn.ops import linear_route
        >>> path, reason = linear_route(torch.zeros(1, 4), torch.zeros(3, 4))
        >>> reason
        'a call without derivatives that is one of C++'
    """

    path: Literal["native", "onednn", "torch"]
    reason: str


def linear(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, activation: Activation | None = None
) -> Tensor:
    """Apply a linear map and an activation: y = activation(x W^T + b).

    The numbers are those of `torch.nn.functional.linear` up to rounding; what differs is who multiplies.
    Without derivatives there is a kernel: few rows, a step of a generating model, read the weights where they
    lie, and on AMD's processors more rows share panels of them. There it also computes what training takes:
    this product, the gradient of the input g W, and in one pass those of weight and bias, g^T x and the sums
    of g. For the rest, torch takes MKL for float32, which is not fast on every vendor's processors;
    `linear_route` says what takes each product, and oneDNN does where it is faster. The kernel's bits do not
    depend on the number of threads. Compiled code, torch.func, forward mode and derivatives above the first
    are left to torch.

    Args:
        input: [..., I], any floating dtype and device.
        weight: [O, I].
        bias: [O], or None.
        activation: "relu", "gelu", "gelu_tanh", or None.

    Returns:
        [..., O].

    Raises:
        TypeError: a tensor is none or is not dense; a dtype differs from the others or is not floating
            point.
        ValueError: a shape does not fit, or the activation is unknown.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units (2016), for the activations.

    Example:
        >>> import torch
        >>> from pyrnn.ops import linear
        >>> linear(torch.ones(2, 3), torch.eye(3), torch.tensor([-2.0, 0.0, 1.0]), "relu")
        tensor([[0., 1., 2.],
                [0., 1., 2.]])
    """
    code = 0 if activation is None else CODES[as_activation(activation)]
    if not torch.compiler.is_compiling():
        output = _native.cpu.linear_of_rows(input, weight, bias, code, _native.num_threads())
        if isinstance(output, Tensor):
            return output
    if _casts(input):
        tensors = (input, weight, bias)
        check_all_dense(_TENSORS, tensors, required=2)
        device_type = input.device.type
        input, weight, bias = (cast_tensor(tensor, device_type) for tensor in tensors)
        with autocast_disabled(device_type):
            return linear(input, weight, bias, activation)
    required: tuple[Any, Any] = (input, weight)  # whatever it is that a caller gave
    given = required[0] is not None and required[1] is not None
    unwatched = given and can_bypass_dispatcher((input, weight, bias))  # then they are dense tensors
    if not unwatched or not _fits(input, weight, bias):
        _check(input, weight, bias)
    least = _TRAINED.get(input.dtype, _LARGE)
    if input.numel() * weight.shape[0] < least or not unwatched or not input.is_cpu:
        output = F.linear(input, weight, bias)
        return output if activation is None else _activate(output, activation)
    return _by_route(input, weight, bias, activation)


def linear_route(input: Tensor, weight: Tensor, product: Product = "forward") -> LinearRoute:
    """What computes a product of `linear`, and why.

    The rules were fitted by hand to products of the shapes of `dev.py bench linear`, of which no record
    stands yet, on an AMD processor with AVX-512 BF16, and on the same one held to AVX2; on other vendors'
    processors torch's own choice stands.

    Args:
        input: [..., I]; autocast and the grad mode are those of the moment.
        weight: [O, I].
        product: "forward" (x W^T), "activated" (the same with an activation after it, where no derivative is
            prepared), "input_gradient" (g W) or "weight_gradient" (g^T x).

    Example:
        >>> import torch
        >>> from pyrnn.ops import linear_route
        >>> linear_route(torch.zeros(2, 4), torch.zeros(3, 4)).path
        'native'
        >>> linear_route(torch.zeros(20, 4), torch.zeros(3, 4, requires_grad=True)).path
        'torch'
    """
    if _casts(input):
        device_type = input.device.type
        cast = cast_tensor(input, device_type), cast_tensor(weight, device_type)
        with autocast_disabled(device_type):
            return linear_route(*cast, product)
    if product in ("forward", "activated"):
        found = _native.cpu.linear_of_rows(input, weight, None, 0, _native.cpu.asked)
        if isinstance(found, Tensor):
            return LinearRoute("native", "a call without derivatives that is one of C++")
        if not wants_gradient((input, weight)):
            path, reason = _library_route(input, _sizes(input, weight), product)
            return LinearRoute(path, f"{reason}; not our kernel: {found}")
    if input.is_cpu and not can_bypass_dispatcher((input, weight)):
        return LinearRoute("torch", "something watches the call that knows torch's operators alone")
    return _route(input, _sizes(input, weight), product)


class _Sizes(NamedTuple):
    """Rows, features of each, and features of its output."""

    rows: int
    inputs: int
    outputs: int

    @property
    def work(self) -> int:
        """Multiply-adds."""
        return self.rows * self.inputs * self.outputs


def _sizes(input: Tensor, weight: Tensor) -> _Sizes:
    I = input.shape[-1]  # noqa: E741
    return _Sizes(input.numel() // max(I, 1), I, weight.shape[0])


def _route(like: Tensor, sizes: _Sizes, product: Product) -> LinearRoute:
    """Who computes a product of training that nothing but autograd watches, or a library's of inference.

    `like` is any of its operands, for the dtype and the device.
    """
    missing = _why_no_kernel(like, sizes, product)
    if not missing:
        return LinearRoute("native", f"its kernel is faster than torch's choice on {processor()[0]}")
    path, reason = _library_route(like, sizes, product)
    return LinearRoute(path, f"{reason}; not our kernel: {missing}")


def _why_no_kernel(like: Tensor, sizes: _Sizes, product: Product) -> str:
    """Why our kernel is not the one for a product of training, in words; empty where it is."""
    dtype, set_in_use = like.dtype, _native.isa()
    if not like.is_cpu or dtype not in (torch.float32, torch.bfloat16):
        return "it trains in float32 and bfloat16 on the CPU"
    if processor()[0] != "AuthenticAMD" or set_in_use == "baseline":
        return f"it was not compared on {processor()[0]} with {set_in_use}"
    if dtype is torch.bfloat16 and set_in_use == "avx512_bf16":
        return "torch's bfloat16 is as fast where the processor has dot products of it"
    least = _TRAINED[dtype]
    if dtype is torch.float32 and set_in_use == "avx2":
        least = max(least, _TRAINED_NARROW)
    if sizes.work < least:
        return f"below {least} multiply-adds the choice costs more than it gains"
    most = _native.cpu.most_rows(DTYPES[dtype])
    if product != "weight_gradient" and sizes.rows > most:
        return f"there are more than {most} rows"
    if product == "forward" and sizes.rows * max(sizes.inputs, sizes.outputs) * like.itemsize > _MOST_BYTES:
        return "input or output are above 1 GB"
    return ""


def _library_route(like: Tensor, sizes: _Sizes, product: Product) -> LinearRoute:
    """Which library computes a product, and why."""
    dtype = like.dtype
    missing = _why_no_onednn(like.device.type, dtype)
    if missing:
        return LinearRoute("torch", missing)
    if sizes.work < _LARGE:
        return LinearRoute("torch", f"below {_LARGE} multiply-adds the choice costs more than it gains")
    if product == "activated":
        return LinearRoute("onednn", "it applies gelu to what is still in registers; relu costs little")
    if dtype is torch.bfloat16:
        return LinearRoute("torch", "torch itself takes oneDNN for bfloat16")
    if product == "weight_gradient" and sizes.inputs <= sizes.outputs:
        I, O = sizes.inputs, sizes.outputs  # noqa: E741
        return LinearRoute("torch", f"oneDNN is slow at g^T x with I <= O, here {I} and {O}")
    return LinearRoute("onednn", f"it is faster than MKL on {processor()[0]}")


def _by_route(input: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation | None) -> Tensor:
    """A large call on the CPU that nothing but autograd watches."""
    rows = input.reshape(-1, input.shape[-1])
    if not wants_gradient((input, weight, bias)):
        output = _by_library(rows, weight, bias, activation)
    elif _gains(rows, weight):
        output = _activate(_Linear.apply(rows, weight, bias), activation)  # type: ignore[arg-type]
    else:
        output = _activate(F.linear(rows, weight, bias), activation)
    return output.view(*input.shape[:-1], weight.shape[0])


def _gains(rows: Tensor, weight: Tensor) -> bool:
    """Whether some product of training is not torch's own, beside which another choice costs nothing."""
    sizes = _sizes(rows, weight)
    return any(_route(rows, sizes, product).path != "torch" for product in _PRODUCTS)


class _Linear(Function):
    """input [N, I], weight and bias to x W^T + b, with who computes each product chosen."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # Each is kept for the other's gradient alone: what is not kept may be changed, and need not live.
        needs = ctx.needs_input_grad
        ctx.save_for_backward(input if needs[1] else None, weight if needs[0] else None)
        if _route(input, _sizes(input, weight), "forward").path == "native":
            output = _native.cpu.linear_of_rows(input, weight, bias, 0, _native.num_threads())
            if isinstance(output, Tensor):
                return output
        return _by_library(input, weight, bias, None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (input, weight), needs = grads, ctx.saved_tensors, ctx.needs_input_grad
        d_input = input_gradient(grad, weight) if needs[0] else None
        if needs[1]:
            return d_input, *weight_gradients(grad, input, with_bias=needs[2])
        return d_input, None, grad.sum(0) if needs[2] else None


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """g W, where both are matrices."""
    sizes = _Sizes(grad.shape[0], weight.shape[1], weight.shape[0])
    path = _derived_route(grad, weight, sizes, "input_gradient")
    if path == "native":
        found = _native.cpu.linear_input_gradient(grad, weight, _native.num_threads())
        if isinstance(found, Tensor):
            return found
    return _onednn(grad, weight.t(), None, None) if path == "onednn" else grad @ weight


def weight_gradients(grad: Tensor, input: Tensor, *, with_bias: bool) -> tuple[Tensor, Tensor | None]:
    """g^T x, the gradient of the weight, and the sums of g, that of the bias."""
    sizes = _Sizes(input.shape[0], input.shape[1], grad.shape[1])
    path = _derived_route(grad, input, sizes, "weight_gradient")
    if path == "native":
        found = _native.cpu.linear_weight_gradient(grad, input, with_bias, _native.num_threads())
        if isinstance(found, tuple):
            return found
    d_weight = _onednn(grad.t(), input.t(), None, None) if path == "onednn" else grad.t() @ input
    return d_weight, grad.sum(0) if with_bias else None


def _derived_route(grad: Tensor, other: Tensor, sizes: _Sizes, product: Product) -> str:
    """Torch where a second derivative is prepared, or a transform followed: it derives its own products."""
    if torch.is_grad_enabled() or _left_to_torch((grad, other)):
        return "torch"
    return _route(other, sizes, product).path


def _by_library(input: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation | None) -> Tensor:
    product: Product = "activated" if activation else "forward"
    if _library_route(input, _sizes(input, weight), product).path == "onednn":
        return _onednn(input, weight, bias, activation)
    return _activate(F.linear(input, weight, bias), activation)


def _onednn(input: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation | None) -> Tensor:
    if activation == "relu":  # oneDNN's own makes 0 of NaN
        return _onednn(input, weight, bias, None).relu_()
    name, algorithm = _FUSED[activation]
    bias = None if bias is None else bias.contiguous()  # it is read so, whatever its strides are
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, name, [], algorithm)


def _activate(output: Tensor, activation: Activation | None) -> Tensor:
    if activation == "gelu_tanh":  # which torch has no vector code for
        return dropout(output, 0.0, activation=activation)
    return ACTIVATIONS[activation or "none"](output)


def _left_to_torch(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether somebody follows the call who knows torch's own operators alone, or it is not for the CPU."""
    return not tensors[0].is_cpu or not can_bypass_dispatcher(tensors)  # type: ignore[union-attr]


def _casts(input: Any) -> bool:
    """Whether autocast has the say in a call on `input`."""
    return any_autocast_enabled() and isinstance(input, Tensor) and autocast_enabled(input.device.type)


@functools.cache
def _mkl_suits() -> bool:
    """Whether the products are MKL's own processors', or those of a library that nobody compared."""
    return processor()[0] != "AuthenticAMD" or not torch.backends.mkl.is_available()


def _why_no_onednn(device_type: str, dtype: torch.dtype) -> str:
    """Why oneDNN does not come into question, in words; empty where it does."""
    if device_type != "cpu":
        return f"oneDNN is for the CPU, the input is on {device_type!r}"
    if dtype not in (torch.float32, torch.bfloat16):
        return f"oneDNN multiplies torch.float32 and torch.bfloat16, not {dtype}"
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return "this torch has no oneDNN, or it is switched off (torch.backends.mkldnn)"
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return f"torch {torch.__version__} does not offer oneDNN's linear layer"
    if _mkl_suits():
        return f"torch's own choice was not found slower on {processor()[0]}"
    if dtype is torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "oneDNN has no bfloat16 on this processor"
    return ""


def _fits(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether `_check` would pass dense tensors on the CPU; if not, it has words for it, or passes others."""
    shape = weight.shape
    return (
        len(shape) == 2
        and input.dim() > 0
        and input.shape[-1] == shape[1]
        and input.is_cpu
        and weight.is_cpu
        and weight.dtype == input.dtype
        and input.is_floating_point()
        and (bias is None or (bias.is_cpu and bias.dtype == input.dtype and bias.shape == shape[:1]))
    )


def _check(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    check_all_dense(_TENSORS, (input, weight, bias), required=2)
    if not input.is_floating_point():
        raise TypeError(f"input must be floating point, got {input.dtype}; convert it with input.float()")
    if weight.dim() != 2 or input.dim() == 0 or input.shape[-1] != weight.shape[1]:
        raise ValueError(
            "expected input [..., I] and weight [O, I] with the same I, got "
            f"{list(input.shape)} and {list(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape [O] = {list(weight.shape[:1])}, got {list(bias.shape)}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != input.dtype:
            raise TypeError(
                f"{name} must have the input's dtype {input.dtype}, got {tensor.dtype}; convert one of them"
            )
        if tensor is not None and tensor.device != input.device:
            raise ValueError(f"{name} must be on the input's device {input.device}, got {tensor.device}")
