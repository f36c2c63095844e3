"""Recurrent layers fed piece by piece: audio, sensors, tokens that arrive."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyrnn._checks import check_dense
from pyrnn.nn.frozen import frozen_weights


class Stream:
    """Many streams through one recurrent layer, in pieces of any length, with the state carried along.

    Each call goes on where the one before ended: the outputs, put together, have the bits of one call on the
    whole sequences (but in bfloat16, where a state is rounded when it is handed over). No gradient is
    recorded, and weights are packed once, as by `frozen_weights`: make another stream after they changed.

    Args:
        layer: called as `layer(input, state) -> (output, state)`: an RNN, GRU or LSTM of one direction, ours
            or torch's (whose bits may depend on the pieces), or a module around some that hands their states
            on as they do. Its mode is left alone: call `layer.eval()` first where it drops out.
        state: to begin with, as the layer takes it; None: zeros.

    Attributes:
        state: of all streams, as the layer gave it; None before the first piece.

    Raises:
        ValueError: the layer reads its input backwards too.

    Example:
        >>> import torch, pyrnn
        >>> layer, x = pyrnn.LSTM(3, 4, num_layers=2), torch.randn(20, 5, 3)
        >>> stream = pyrnn.nn.Stream(layer)
        >>> pieces = [stream(piece) for piece in x.split([8, 1, 11])]
        >>> torch.equal(torch.cat(pieces), layer(x)[0])
        True
        >>> stream.select(torch.tensor([4, 0]))  # of the five streams, these two go on
        >>> stream(torch.randn(1, 2, 3)).shape
        torch.Size([1, 2, 4])
    """

    def __init__(self, layer: nn.Module, state: Any = None) -> None:
        backwards = [name or "the layer" for name, part in layer.named_modules() if _is_bidirectional(part)]
        if backwards:
            raise ValueError(
                f"a stream has no end to read backwards from: expected layers of one direction, got a "
                f"bidirectional one: {', '.join(backwards)}"
            )
        self.layer = layer
        self.state = state
        self._frozen = frozen_weights(layer)

    def __call__(self, input: Tensor) -> Tensor:
        """The output for the next piece, of one step or more, laid out as the layer takes it."""
        with torch.no_grad(), self._frozen:
            output, self.state = self.layer(input, self.state)
        return output

    def select(self, rows: Tensor | list[int]) -> None:
        """Let stream `rows[n]` be stream n from now on: some end, some are copied.

        Args:
            rows: [N] integers, or bool [B], True for those that go on.
        """
        index = self._rows(rows)
        if self.state is not None:
            self.state = _of_each(self.state, lambda part: part[:, index.to(part.device)])

    def reset(self, rows: Tensor | list[int] | None = None) -> None:
        """Let streams begin anew, from zeros.

        Args:
            rows: [N] integers, or bool [B]; None: all.
        """
        if rows is None:
            self.state = None
        elif self.state is not None:
            index = self._rows(rows)

            def cleared(part: Tensor) -> Tensor:
                part = part.clone()  # what the caller may hold of the state stays as it is
                part[:, index.to(part.device)] = 0
                return part

            self.state = _of_each(self.state, cleared)

    def _rows(self, rows: Any) -> Tensor:
        index = torch.as_tensor(rows)
        check_dense("rows", index)
        integers = not (index.is_floating_point() or index.is_complex())
        if index.dim() != 1 or not (integers or index.numel() == 0):
            raise ValueError(
                f"rows must be a vector of integers or bool, got {index.dtype} of shape {list(index.shape)}"
            )
        return index if index.numel() else index.long()


def _is_bidirectional(part: nn.Module) -> bool:
    return isinstance(part, nn.RNNBase) and part.bidirectional


def _of_each(state: Any, change: Any) -> Any:
    """The state with all its tensors [L, B, H] changed."""
    if isinstance(state, Tensor):
        if state.dim() < 3:
            raise ValueError(
                "there is one stream only: give the layer input with a batch, [T, B, I]; got a state of "
                f"shape {list(state.shape)}"
            )
        return change(state)
    return type(state)(_of_each(part, change) for part in state)
