"""What may come as `hx` where it is not None, the same for layers and cells."""

from __future__ import annotations

from torch import Tensor

from pyrnn._checks import check_dense


def single_state(hx: Tensor) -> tuple[Tensor]:
    """The `hx` of an RNN or GRU as a tuple of states."""
    if not isinstance(hx, Tensor):
        raise TypeError(f"hx must be a Tensor, the initial state h_0, or None; got {type(hx).__name__}")
    check_dense("hx", hx)
    return (hx,)


def two_states(hx: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The `hx` of an LSTM, a pair (h_0, c_0)."""
    if not isinstance(hx, (tuple, list)) or not all(isinstance(state, Tensor) for state in hx):
        raise TypeError(f"hx must be a pair of Tensors (h_0, c_0), or None; got {type(hx).__name__}")
    if len(hx) != 2:
        raise RuntimeError(f"lstm expects two hidden states, hx = (h_0, c_0); got {len(hx)}")
    for n, state in enumerate(hx):
        check_dense(f"hx[{n}]", state)
    return hx[0], hx[1]
