"""One recurrent layer, one or both directions, one step at a time, straight from the equations.

Used by the tests as the float64 oracle, and by second derivatives, forward-mode differentiation and functorch
transforms, which differentiate it as ordinary torch code. It imports nothing but torch.

Dimension key: T time, B batch, I input, H hidden, P output (P = H without projection), D directions, N
tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

#: Gates of each cell, in torch's order: GRU r, z, n; LSTM i, f, g, o.
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}

#: (w_ih [G*H, I], w_hh [G*H, P], b_ih [G*H] or None, b_hh [G*H] or None, w_hr [P, H] or None)
Weights = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]


class RecurrentOutput(NamedTuple):
    """What one recurrent layer returns; `c_n` and `cells` have shape [0] where they do not apply.

    Example:
        >>> import torch, pyrnn
        >>> weights = ((torch.ones(2, 3), torch.zeros(2, 2), None, None, None),)
        >>> output, h_n, *_ = pyrnn.ops.recurrent("rnn_relu", torch.ones(4, 1, 3), None, None, weights)
        >>> output[-1], h_n
        (tensor([[3., 3.]]), tensor([[[3., 3.]]]))
    """

    output: Tensor  # [T, B, D*P]; [B, T, D*P] if batch_first; [N, D*P] if packed
    h_n: Tensor  # [D, B, P]
    c_n: Tensor  # [D, B, H] for an LSTM, else [0]
    cells: Tensor  # like output with H for P, for an LSTM asked for them, else [0]


def step(cell: str, x: Tensor, h: Tensor, c: Tensor | None, weights: Weights) -> tuple[Tensor, Tensor | None]:
    """One time step for `x` [B, I], `h` [B, P], `c` [B, H] (LSTM only); returns the new (h, c).

    Example:
        >>> weights = (torch.eye(2), torch.eye(2), None, None, None)
        >>> step("rnn_relu", torch.tensor([[1.0, -3.0]]), torch.ones(1, 2), None, weights)
        (tensor([[2., 0.]]), None)
    """
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    h, c = update(cell, linear(x, w_ih, b_ih), linear(h, w_hh, b_hh), h, c)
    return (h if w_hr is None else linear(h, w_hr)), c


def update(cell: str, gx: Tensor, gh: Tensor, h: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The new (h, c) from the gates' parts by the input and by the state, `gx` and `gh` [B, G*H].

    Example:
        >>> update("rnn_relu", torch.tensor([[1.0, -3.0]]), torch.ones(1, 2), torch.ones(1, 2), None)
        (tensor([[2., 0.]]), None)
    """
    if cell == "rnn_tanh":
        return torch.tanh(gx + gh), None
    if cell == "rnn_relu":
        return torch.relu(gx + gh), None
    if cell == "gru":  # the reset gate acts after the recurrent product, as in cuDNN and torch
        x_r, x_z, x_n = gx.chunk(3, -1)
        h_r, h_z, h_n = gh.chunk(3, -1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        return (1 - z) * n + z * h, None
    assert c is not None, "a step of an LSTM needs its cell state"
    i, f, g, o = (gx + gh).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def recurrent(
    cell: str,
    input: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: tuple[Weights, ...],
    *,
    lengths: Tensor | None = None,
    batch_sizes: Tensor | None = None,
    reset: Tensor | None = None,
    batch_first: bool = False,
    return_cells: bool = False,
) -> RecurrentOutput:
    """Run one layer over a whole sequence.

    Args:
        cell: "rnn_tanh", "rnn_relu", "gru" or "lstm".
        input: [T, B, I]; [B, T, I] if `batch_first`; [N, I] with `batch_sizes`.
        h0: [D, B, P] or None for zeros. Required with `batch_sizes`.
        c0: [D, B, H] or None for zeros (LSTM only).
        weights: one group per direction.
        lengths: [B] integers in [0, T]: steps at or beyond a sequence's length leave its state alone and
            output zero; the reverse direction starts at each sequence's own end.
        batch_sizes: [T] as in `torch.nn.utils.rnn.PackedSequence`; rows are sorted by decreasing length.
        reset: bool, shaped as the input without its features: true at the first step of a new sequence.
            Nothing passes between it and the step before, in either direction.
        batch_first: whether input, output and cells have the batch before the time.
        return_cells: also return the cell state of every step (LSTM only).

    Example:
        >>> import torch
        >>> from pyrnn.reference import recurrent
        >>> group = (torch.randn(4, 3), torch.randn(4, 4), None, None, None)
        >>> recurrent("rnn_tanh", torch.randn(5, 2, 3), None, None, (group,)).output.shape
        torch.Size([5, 2, 4])
    """
    if batch_sizes is not None:
        assert h0 is not None, "packed input needs h0, which alone says how many sequences there are"
        input, lengths = _unpack(input, batch_sizes, h0.shape[1])
        if reset is not None:
            reset = _unpack(reset.unsqueeze(-1), batch_sizes, h0.shape[1])[0].squeeze(-1)
        batch_first = False
    x_tbi = input.transpose(0, 1) if batch_first else input
    if reset is not None and batch_first:
        reset = reset.transpose(0, 1)
    sequences, cell_sequences, h_n, c_n = [], [], [], []
    for d, group in enumerate(weights):
        h = None if h0 is None else h0[d]
        c = None if c0 is None else c0[d]
        ys, cs, h, c = _direction(cell, x_tbi, h, c, group, lengths, reset, reverse=d == 1)
        sequences.append(ys)
        cell_sequences.append(cs)
        h_n.append(h)
        c_n.append(c)

    def joined(directions: list[list[Tensor]], features: int) -> Tensor:
        """Both directions' steps, side by side, in the layout of the input."""
        if not directions[0]:
            shape = (x_tbi.shape[1], 0) if batch_first else (0, x_tbi.shape[1])
            steps = x_tbi.new_zeros(*shape, features * len(directions))
        else:
            steps = torch.cat([torch.stack(each, int(batch_first)) for each in directions], -1)
        return steps if batch_sizes is None else _pack(steps, batch_sizes)

    is_lstm = cell == "lstm"
    return RecurrentOutput(
        joined(sequences, h_n[0].shape[-1]),
        torch.stack(h_n),
        torch.stack(c_n) if is_lstm else x_tbi.new_zeros(0),
        joined(cell_sequences, c_n[0].shape[-1]) if is_lstm and return_cells else x_tbi.new_zeros(0),
    )


def group_weights(flat: tuple[Tensor | None, ...]) -> tuple[Weights, ...]:
    """The flat tuple of 5*D weights as one group per direction.

    Example:
        >>> w_ih, w_hh = torch.zeros(2, 3), torch.zeros(2, 2)
        >>> len(group_weights((w_ih, w_hh, None, None, None) * 2))
        2
    """
    return tuple(flat[start : start + 5] for start in range(0, len(flat), 5))  # type: ignore[misc]


def _direction(
    cell: str,
    x_tbi: Tensor,
    h: Tensor | None,
    c: Tensor | None,
    weights: Weights,
    lengths: Tensor | None,
    reset: Tensor | None,
    *,
    reverse: bool,
) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """One direction: the outputs and cell states of every step in order of time, and the final h and c.

    Cells without a cell state carry an empty one along.
    """
    w_hh = weights[1]
    T, B = x_tbi.shape[:2]
    h = x_tbi.new_zeros(B, w_hh.shape[1]) if h is None else h
    c = x_tbi.new_zeros(B, w_hh.shape[0] // GATES["lstm"] if cell == "lstm" else 0) if c is None else c
    ys, cs = [], []
    for t in reversed(range(T)) if reverse else range(T):
        later = t + 1 if reverse else t  # of the two steps between which the state passes now
        if reset is not None and later < T:
            cut = reset[later] if lengths is None else reset[later] & (lengths > later).to(x_tbi.device)
            # Chosen, not multiplied by 0: the state of a sequence that has ended may be infinite.
            h, c = (torch.where(cut.unsqueeze(-1), torch.zeros_like(state), state) for state in (h, c))
        if lengths is None:
            h, c_new = step(cell, x_tbi[t], h, c, weights)
            c = c if c_new is None else c_new
            ys.append(h)
            cs.append(c)
        else:
            active = (lengths > t).to(x_tbi.device).unsqueeze(-1)
            # Padding is replaced, not only masked afterwards: a NaN in it would reach the weights' gradients.
            x = torch.where(active, x_tbi[t], torch.zeros_like(x_tbi[t]))
            y, c_new = step(cell, x, h, c, weights)
            c_new = c if c_new is None else c_new
            h, c = torch.where(active, y, h), torch.where(active, c_new, c)
            ys.append(torch.where(active, y, torch.zeros_like(y)))
            cs.append(torch.where(active, c_new, torch.zeros_like(c_new)))
    if reverse:
        ys.reverse()
        cs.reverse()
    return ys, cs, h, c


def _unpack(data: Tensor, batch_sizes: Tensor, B: int) -> tuple[Tensor, Tensor]:
    """[N, I] to ([T, B, I], lengths [B])."""
    sizes = batch_sizes.tolist()
    rows = [
        torch.nn.functional.pad(x, (0, 0, 0, B - n))
        for x, n in zip(data.split(sizes) if sizes else (), sizes, strict=True)
    ]
    x_tbi = torch.stack(rows) if rows else data.new_zeros(0, B, data.shape[-1])
    lengths = (batch_sizes.unsqueeze(1) > torch.arange(B, device=batch_sizes.device)).sum(0)
    return x_tbi, lengths


def _pack(x_tbh: Tensor, batch_sizes: Tensor) -> Tensor:
    """[T, B, H] to [N, H]."""
    sizes = batch_sizes.tolist()
    return (
        torch.cat([x_tbh[t, :n] for t, n in enumerate(sizes)])
        if sizes
        else x_tbh.new_zeros(0, x_tbh.shape[-1])
    )
