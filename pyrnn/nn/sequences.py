"""The layouts of a layer's sequences (batched, unbatched, packed), brought to the operator's and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from pyrnn._checks import check_dense, lengths_tensor

#: Lengths of a batch's sequences, in any order.
Lengths = Tensor | Iterable[int]


class Sequences(NamedTuple):
    """A layer's input as the operator takes it, and what is needed to hand the results back as they came."""

    rows: Tensor  # [T, B, I], a view of the input; or the packed rows [N, I]
    batch_size: int
    lengths: Tensor | None = None  # [B] int64
    reset: Tensor | None = None  # [T, B], a view of the layer's; the operator checks its dtype and device
    batch_sizes: Tensor | None = None  # [T], only if packed
    sorted_indices: Tensor | None = None  # [B], only if packed from unsorted sequences
    unsorted_indices: Tensor | None = None
    unbatched: bool = False
    batch_first: bool = False

    def restore(self, rows: Tensor) -> Tensor | PackedSequence:
        """Operator rows ([T, B, F] or [B, T, F], packed [N, F]) in the layout of the layer's input."""
        if self.batch_sizes is not None:
            return PackedSequence(rows, self.batch_sizes, self.sorted_indices, self.unsorted_indices)
        return rows.squeeze(1) if self.unbatched else rows

    def enter_state(self, state: Tensor) -> Tensor:
        """A caller's state, [S, B, F] or [S, F], as the operator's [S, B, F] in the order of the rows."""
        if self.unbatched:
            return state.unsqueeze(1)
        return state if self.sorted_indices is None else state.index_select(1, self.sorted_indices)

    def restore_state(self, state: Tensor) -> Tensor:
        """Inverse of `enter_state`."""
        if self.unbatched:
            return state.squeeze(1)
        return state if self.unsorted_indices is None else state.index_select(1, self.unsorted_indices)


def open_sequences(
    layer_name: str,
    input: Tensor | PackedSequence,
    lengths: Lengths | None,
    reset: Tensor | None = None,
    *,
    batch_first: bool,
) -> Sequences:
    """Bring a layer's input to the operator's layout.

    Args:
        layer_name: For error messages.
        input: [T, B, I], [B, T, I] if `batch_first`, unbatched [T, I], or a PackedSequence.
        lengths: [B] integers, for batched tensors only.
        reset: [T, B], [B, T] if `batch_first`, unbatched [T]; not for packed input.
        batch_first: Ignored for unbatched and packed input, as in torch.

    Raises:
        TypeError: `input` is neither a tensor nor a PackedSequence, `lengths` are not integers, or `reset` is
            no dense tensor.
        ValueError: `input` has neither 2 nor 3 dimensions, or `lengths` or `reset` do not go with it.
        RuntimeError: there is not a single time step.
    """
    if isinstance(input, PackedSequence):
        if lengths is not None:
            raise ValueError(
                f"{layer_name}: lengths and a PackedSequence exclude each other, for packed data carries its "
                "own lengths; pass the padded tensor with lengths, or the PackedSequence alone"
            )
        if reset is not None:
            raise ValueError(
                f"{layer_name}: reset does not go with a PackedSequence; pass the padded tensor with lengths "
                "and reset"
            )
        rows, batch_sizes, sorted_indices, unsorted_indices = input
        check_dense(f"{layer_name}: packed data", rows)
        if batch_sizes.shape[0] == 0:
            _raise_no_steps()
        # The indices, where there are any, tell the batch size without reading a tensor's value, which would
        # break a compiled graph.
        B = int(batch_sizes[0]) if sorted_indices is None else sorted_indices.shape[0]
        return Sequences(rows, B, None, None, batch_sizes, sorted_indices, unsorted_indices)
    if not isinstance(input, Tensor):
        raise TypeError(
            f"{layer_name}: expected input to be a Tensor or a PackedSequence, got {type(input).__name__}"
        )
    check_dense(f"{layer_name}: input", input)
    if input.dim() not in (2, 3):
        raise ValueError(f"{layer_name}: Expected input to be 2D or 3D, got {input.dim()}D instead")
    if reset is not None:
        _check_reset(layer_name, reset, input)
    if input.dim() == 2:
        if lengths is not None:
            raise ValueError(f"{layer_name}: lengths need batched 3-D input, got 2-D; cut it instead")
        if input.shape[0] == 0:
            _raise_no_steps()
        reset = None if reset is None else reset.unsqueeze(1)
        return Sequences(input.unsqueeze(1), 1, reset=reset, unbatched=True)
    rows = input.transpose(0, 1) if batch_first else input
    reset = reset.transpose(0, 1) if reset is not None and batch_first else reset
    T, B = rows.shape[:2]
    if T == 0:
        _raise_no_steps()
    lengths = None if lengths is None else _as_lengths(layer_name, lengths, B, input.device)
    return Sequences(rows, B, lengths, reset, batch_first=batch_first)


def _raise_no_steps() -> NoReturn:
    raise RuntimeError("Expected sequence length to be larger than 0 in RNN")


def _check_reset(layer_name: str, reset: Tensor, input: Tensor) -> None:
    check_dense(f"{layer_name}: reset", reset)
    if reset.shape != input.shape[:-1]:
        raise ValueError(
            f"{layer_name}: expected reset to have the input's shape without its features, "
            f"{tuple(input.shape[:-1])}, got {tuple(reset.shape)}"
        )


def _as_lengths(layer_name: str, lengths: Lengths, B: int, device: torch.device) -> Tensor:
    """[B] int64, on the CPU or beside the input. The operator checks their range, where it can read them."""
    tensor = lengths_tensor(lengths)
    if tensor.shape != (B,):
        raise ValueError(
            f"{layer_name}: expected one length for each sequence, shape ({B},), got {tuple(tensor.shape)}"
        )
    # From the CPU the operator takes them itself: once they are on another device, no range is checked. Those
    # without values cannot be moved, and it refuses them.
    stays = tensor.is_cpu or tensor.is_meta
    return tensor.to(device=tensor.device if stays else device, dtype=torch.int64)
