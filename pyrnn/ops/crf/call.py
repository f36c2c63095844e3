"""A call on a conditional random field: its arguments and checks, the same on every route."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from pyrnn._checks import (
    bad_shape,
    check_each_like,
    check_lengths,
    private_integers,
)
from pyrnn._native_args import accumulation_dtype

TENSORS = ("emissions", "transitions", "start", "end", "lengths")


class Call(NamedTuple):
    """The tensors of a call."""

    emissions: Tensor
    transitions: Tensor
    start: Tensor | None
    end: Tensor | None
    lengths: Tensor | None

    @classmethod
    def for_kernels(cls, *tensors: Tensor | None) -> Call:
        """A checked call whose lengths nobody else can change."""
        call = cls._make(tensors)  # type: ignore[arg-type]
        call = call._replace(lengths=private_integers(call.lengths))
        call.check()
        return call

    def check(self) -> None:
        """Require shapes, dtypes, devices and lengths that fit."""
        emissions = self.emissions
        if not emissions.is_floating_point():
            raise TypeError(
                f"emissions must be floating point, got {emissions.dtype}; convert them with .float()"
            )
        if emissions.dim() != 3 or emissions.shape[2] == 0:
            bad_shape("emissions", emissions, "[T, B, C] with C at least 1")
        T, B, C = emissions.shape
        others = (self.transitions, self.start, self.end)
        check_each_like(
            TENSORS[1:4], others, ((C, C), (C,), (C,)), emissions, "emissions", ("[C, C]", "[C]", "[C]")
        )
        if self.lengths is not None:
            check_lengths(self.lengths, B, T, emissions, of="emissions", end="T")

    def empty_results(self, *, train: bool) -> tuple[Tensor, Tensor]:
        """log_z [B], and what a backward pass needs [T, B, C] ([0] unless `train`), in the dtype of sums."""
        shapes = self.emissions.shape[1:2], self.emissions.shape if train else (0,)
        dtype = accumulation_dtype(self.emissions.dtype)
        log_z, alpha = (self.emissions.new_empty(shape, dtype=dtype) for shape in shapes)
        return log_z, alpha
