"""RNNCell, GRUCell and LSTMCell: one step, drop-in for the cells of torch.nn by the same names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.rnn import RNNCellBase

from pyrnn import ops
from pyrnn._checks import check_dense
from pyrnn._dispatch import autocast_enabled
from pyrnn.nn._states import single_state, two_states
from pyrnn.nn.drop_in import DropIn, forward_of_torch, is_like_tensor
from pyrnn.ops.recurrent import eager_recurrent
from pyrnn.ops.recurrent.eager import STEP


class RecurrentCell(DropIn, RNNCellBase):
    """Abstract base of the cells: checks, and one step of the operator that the layers use."""

    _cell: str  # the operator's name of it

    def check_call(
        self, input: Tensor, hx: Any, weight_ih: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Raise unless a call fits; else rows [1, B, I], h and c [1, B, H] as the operator takes them."""
        states = () if hx is None else two_states(hx) if self._cell == "lstm" else single_state(hx)
        self._check(input, states, self.weight_ih if weight_ih is None else weight_ih)
        batched = input.dim() == 2
        rows, *first = [t.unsqueeze(0) if batched else t[None, None] for t in (input, *states)]
        return rows, first[0] if first else None, first[1] if len(first) == 2 else None

    def why_not_small(self, input: Any, hx: Any) -> str:
        """Why a call is not a single one of C++, in words; empty where it is."""
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        found = eager_recurrent(self._cell, STEP, input, hx, weights, ask=True)
        return found if isinstance(found, str) else ""

    def _step(self, input: Tensor, hx: Any) -> tuple[Tensor, ...]:
        """One step for input [B, I] or [I]; returns h and, for an LSTM, c."""
        # Each is read once: a parametrization computes it, and may count how often.
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        found = eager_recurrent(self._cell, STEP, input, hx, weights)
        if isinstance(found, tuple):
            return found
        if is_like_tensor(input):
            result = forward_of_torch(self, input, hx)
            return result if self._cell == "lstm" else (result,)
        rows, h, c = self.check_call(input, hx, weights[0])
        if not (self.input_size and self.hidden_size):  # torch takes such cells, and no kernel has such sizes
            result: Any = super().forward(input, hx)
            return result if self._cell == "lstm" else (result,)
        result = ops.recurrent(self._cell, rows, h, c, ((*weights, None),))
        lead = 0 if input.dim() == 2 else (0, 1)
        states = (result.h_n, result.c_n) if self._cell == "lstm" else (result.h_n,)
        return tuple(state.squeeze(lead) for state in states)

    def _check(self, input: Tensor, hx: tuple[Tensor, ...], weight_ih: Tensor) -> None:
        name = type(self).__name__
        if not isinstance(input, Tensor):
            raise TypeError(f"{name}: expected input to be a Tensor, got {type(input).__name__}")
        check_dense(f"{name}: input", input)
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {input.shape[-1]} expected {self.input_size}"
            )
        self._check_alike("weight_ih", weight_ih, input)
        for n, state in enumerate(hx):
            label = f"hx[{n}]" if len(hx) == 2 else "hidden"
            if state.dim() not in (1, 2):
                raise ValueError(f"{name}: Expected {label} to be 1D or 2D, got {state.dim()}D instead")
            expected = (*input.shape[:-1], self.hidden_size)
            if state.shape != expected:
                raise RuntimeError(
                    f"{name}: expected {label} of size {expected} for input of size {tuple(input.shape)}, "
                    f"got {tuple(state.shape)}"
                )
            self._check_alike(label, state, input)

    def _check_alike(self, label: str, tensor: Tensor, input: Tensor) -> None:
        """Require the input's device and, unless autocast is to unify them, dtype."""
        same_dtype = tensor.dtype == input.dtype or autocast_enabled(input.device.type)
        if tensor.device != input.device or not same_dtype:
            raise RuntimeError(
                f"{type(self).__name__}: input and {label} must have the same dtype and device, found input "
                f"with {input.dtype} at {input.device} and {label} with {tensor.dtype} at {tensor.device}"
            )


class RNNCell(RecurrentCell, nn.RNNCell):
    """Elman cell, h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or with relu. Drop-in for `torch.nn.RNNCell`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, features of the state.
        bias: Whether the cell has `bias_ih` and `bias_hh`.
        nonlinearity: "tanh" or "relu"; anything else is refused by `forward`, as in torch.
        device: Where the parameters lie.
        dtype: Of the parameters.

    Source: Elman, Finding Structure in Time (1990).

    Example:
        >>> import torch, pyrnn
        >>> pyrnn.RNNCell(3, 4)(torch.randn(2, 3)).shape
        torch.Size([2, 4])
    """

    __constants__ = ["input_size", "hidden_size", "bias", "nonlinearity"]  # noqa: RUF012  torch's own declaration
    nonlinearity: str

    @property
    def _cell(self) -> str:
        return f"rnn_{self.nonlinearity}"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        RNNCellBase.__init__(self, input_size, hidden_size, bias, num_chunks=1, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """One step: input [B, I] or [I] and state [B, H] or [H] (None: zeros) to the next state.

        Raises:
            ValueError: the input or the state is neither 1-D nor 2-D.
            RuntimeError: a size, dtype or device does not fit, or the nonlinearity is unknown.
            TypeError: an argument is not a tensor.
        """
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}; expected 'tanh' or 'relu'")
        return self._step(input, hx)[0]


class GRUCell(RecurrentCell, nn.GRUCell):
    """One step of `pyrnn.GRU`. Drop-in for `torch.nn.GRUCell`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, features of the state.
        bias: Whether the cell has `bias_ih` and `bias_hh`.
        device: Where the parameters lie.
        dtype: Of the parameters.

    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder (2014), eq. 5-8, with the
    reset gate after the recurrent product.

    Example:
        >>> import torch, pyrnn
        >>> pyrnn.GRUCell(3, 4)(torch.randn(2, 3), torch.zeros(2, 4)).shape
        torch.Size([2, 4])
    """

    _cell = "gru"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        RNNCellBase.__init__(self, input_size, hidden_size, bias, num_chunks=3, device=device, dtype=dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """One step: input [B, I] or [I] and state [B, H] or [H] (None: zeros) to the next state.

        Raises:
            ValueError: the input or the state is neither 1-D nor 2-D.
            RuntimeError: a size, dtype or device does not fit.
            TypeError: an argument is not a tensor.
        """
        return self._step(input, hx)[0]


class LSTMCell(RecurrentCell, nn.LSTMCell):
    """One step of `pyrnn.LSTM`. Drop-in for `torch.nn.LSTMCell`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, features of the state.
        bias: Whether the cell has `bias_ih` and `bias_hh`.
        device: Where the parameters lie.
        dtype: Of the parameters.

    Source: Hochreiter and Schmidhuber, Long Short-Term Memory (1997); forget gate: Gers et al. (2000).

    Example:
        >>> import torch, pyrnn
        >>> h, c = pyrnn.LSTMCell(3, 4)(torch.randn(2, 3))
        >>> h.shape, c.shape
        (torch.Size([2, 4]), torch.Size([2, 4]))
    """

    _cell = "lstm"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        RNNCellBase.__init__(self, input_size, hidden_size, bias, num_chunks=4, device=device, dtype=dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """One step: input [B, I] or [I] and (h, c), each [B, H] or [H] (None: zeros), to the next (h, c).

        Raises:
            ValueError: the input or a state is neither 1-D nor 2-D.
            RuntimeError: a size, dtype or device does not fit, or hx does not hold two states.
            TypeError: an argument is not a tensor, or hx no pair.
        """
        h, c = self._step(input, hx)
        return h, c
