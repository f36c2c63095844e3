"""Tensors that are not what a kernel expects: other layouts, too little memory, no values."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


class Plain(Tensor):
    """A subclass with memory of its own, and nothing else."""


def _nested(tensor: Tensor, layout: torch.layout) -> Tensor:
    with warnings.catch_warnings():  # of prototypes
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor(list(tensor), layout=layout)


def _csr(tensor: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tensor.to_sparse_csr()


def _quantized(tensor: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.quint8)


#: From a dense float tensor of two dimensions or more.
NOT_DENSE: dict[str, Callable[[Tensor], Tensor]] = {
    "sparse": Tensor.to_sparse,
    "CSR": _csr,
    "oneDNN": Tensor.to_mkldnn,
    "nested": lambda t: _nested(t, torch.strided),
    "jagged": lambda t: _nested(t, torch.jagged),
    "quantized": _quantized,
}

NOT_TENSORS: dict[str, object] = {
    "list": [1.0, 2.0],
    "array": torch.zeros(2).numpy(),
    "number": 1.5,
    "text": "a",
}


def _shrunk(tensor: Tensor) -> Tensor:
    """All but the first number are gone."""
    tensor = tensor.clone(memory_format=torch.contiguous_format)
    tensor.untyped_storage().resize_(tensor.itemsize)
    return tensor


def _one_short(tensor: Tensor) -> Tensor:
    """The last number alone is gone."""
    tensor = tensor.clone(memory_format=torch.contiguous_format)
    tensor.untyped_storage().resize_(tensor.nbytes - tensor.itemsize)
    return tensor


def _offset(tensor: Tensor) -> Tensor:
    """As many bytes as the tensor has, but it starts behind the first of them."""
    memory = tensor.new_zeros(tensor.numel() + 8)
    view = memory[8:].view(tensor.shape)
    memory.untyped_storage().resize_(tensor.nbytes)
    return view


def _strided(tensor: Tensor) -> Tensor:
    """As many bytes as the tensor has, and strides twice as far."""
    memory = tensor.new_zeros(2 * tensor.numel())
    view = memory.as_strided(tensor.shape, [2 * stride for stride in tensor.contiguous().stride()])
    memory.untyped_storage().resize_(tensor.nbytes)
    return view


def _freed(tensor: Tensor) -> Tensor:
    tensor = tensor.clone()
    tensor.untyped_storage().resize_(0)
    return tensor


#: From a tensor of more than one number.
TOO_LITTLE_MEMORY: dict[str, Callable[[Tensor], Tensor]] = {
    "shrunk": _shrunk,
    "one short": _one_short,
    "offset": _offset,
    "strided": _strided,
    "freed": _freed,
}
