"""What may come as `hx`, the same for layers and cells."""

from __future__ import annotations

from torch import Tensor

from pyrnn.ops._checks import check_dense


def single_state(hx: Tensor | None) -> tuple[Tensor] | None:
    """The `hx` of an RNN or GRU as a tuple of states; None stands for zeros."""
    if hx is None:
        return None
    if not isinstance(hx, Tensor):
        raise TypeError(f"hx must be a Tensor, the initial state h_0, or None; got {type(hx).__name__}")
    check_dense("hx", hx)
    return (hx,)


def two_states(hx: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor] | None:
    """The `hx` of an LSTM, a pair (h_0, c_0); None stands for zeros."""
    if hx is None:
        return None
    if not isinstance(hx, tuple | list) or not all(isinstance(state, Tensor) for state in hx):
        raise TypeError(f"hx must be a pair of Tensors (h_0, c_0), or None; got {type(hx).__name__}")
    if len(hx) != 2:
        raise RuntimeError(f"lstm expects two hidden states, hx = (h_0, c_0); got {len(hx)}")
    for n, state in enumerate(hx):
        check_dense(f"hx[{n}]", state)
    return hx[0], hx[1]
