"""RNN, GRU and LSTM: drop-in for the layers of torch.nn by the same names."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from pyrnn.nn.base import RecurrentLayer
from pyrnn.nn.sequences import Lengths

#: Input and output have the same layout: a PackedSequence comes back as one.
AnySequence = TypeVar("AnySequence", Tensor, PackedSequence)

_MODES = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}


class RNN(RecurrentLayer, nn.RNN):
    """Elman network of one or more layers, h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), or with relu.

    Drop-in for `torch.nn.RNN`: the same parameters (names, shapes, initialisation), arguments and results.

    Args:
        input_size: I, features of the input. At least 1.
        hidden_size: H, features of the state. At least 1.
        num_layers: L, layers stacked on one another.
        nonlinearity: "tanh" or "relu".
        bias: Whether the layers have `b_ih` and `b_hh`.
        batch_first: Input and output are [B, T, F] instead of [T, B, F]. States stay [L*D, B, H].
        dropout: Probability of zeroing an output element between layers while training.
        bidirectional: Add a reverse direction: D = 2.
        device: Where the parameters lie.
        dtype: Of the parameters. float32, float64, bfloat16, on CUDA float16 too, have kernels.
        checkpoint_every: 0 keeps every gate for the backward pass; k > 0 keeps the state of every k-th step
            and computes the gates again: less memory, one more forward pass. May be changed at any time.
        locked_dropout: Dropout keeps one mask for all steps of a sequence instead of drawing one a step (Gal
            and Ghahramani, 2016). May be changed at any time.
        proj_size: Not an option of this layer: named only to refuse it as torch does.

    Raises:
        ValueError: a size, dropout or nonlinearity is out of range.
        TypeError: an argument has another type.

    Source: Elman, Finding Structure in Time (1990).

    Example:
        >>> import torch, pyrnn
        >>> rnn = pyrnn.RNN(3, 4, num_layers=2, nonlinearity="relu")
        >>> output, h_n = rnn(torch.randn(5, 2, 3), lengths=[5, 3])
        >>> output.shape, h_n.shape
        (torch.Size([5, 2, 4]), torch.Size([2, 2, 4]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        checkpoint_every: int = 0,
        locked_dropout: bool = False,
        proj_size: int | None = None,
    ) -> None:
        _refuse_projection(proj_size)
        if nonlinearity not in _MODES:
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        self.nonlinearity = nonlinearity
        super().__init__(
            _MODES[nonlinearity], input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, device=device, dtype=dtype, checkpoint_every=checkpoint_every,
            locked_dropout=locked_dropout,
        )  # fmt: skip

    def forward(
        self,
        input: AnySequence,
        hx: Tensor | None = None,
        *,
        lengths: Lengths | None = None,
        reset: Tensor | None = None,
    ) -> tuple[AnySequence, Tensor]:
        """Run the layers over whole sequences. Arguments, results and errors: see `GRU.forward`."""
        output, h_n, _, _ = self._run(input, hx, lengths, reset)
        return output, h_n


class GRU(RecurrentLayer, nn.GRU):
    """Gated recurrent unit of one or more layers.

    r, z = sigmoid(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh);
    n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn));
    h_t = (1 - z) * n + z * h_{t-1}.

    Drop-in for `torch.nn.GRU`: the same parameters (names, shapes, gate order r, z, n, initialisation),
    arguments and results.

    Args:
        input_size: I, features of the input. At least 1.
        hidden_size: H, features of the state. At least 1.
        num_layers: L, layers stacked on one another.
        bias: Whether the layers have `b_ih` and `b_hh`.
        batch_first: Input and output are [B, T, F] instead of [T, B, F]. States stay [L*D, B, H].
        dropout: Probability of zeroing an output element between layers while training.
        bidirectional: Add a reverse direction: D = 2.
        device: Where the parameters lie.
        dtype: Of the parameters. float32, float64, bfloat16, on CUDA float16 too, have kernels.
        checkpoint_every: 0 keeps every gate for the backward pass; k > 0 keeps the state of every k-th step
            and computes the gates again: less memory, one more forward pass. May be changed at any time.
        locked_dropout: Dropout keeps one mask for all steps of a sequence instead of drawing one a step (Gal
            and Ghahramani, 2016). May be changed at any time.
        proj_size: Not an option of this layer: named only to refuse it as torch does.

    Raises:
        ValueError: a size or dropout is out of range.
        TypeError: an argument has another type.

    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder (2014), eq. 5-8, with the
    reset gate after the recurrent product.

    Example:
        >>> import torch, pyrnn
        >>> gru = pyrnn.GRU(3, 4, bidirectional=True, batch_first=True)
        >>> output, h_n = gru(torch.randn(2, 5, 3))
        >>> output.shape, h_n.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 2, 4]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        checkpoint_every: int = 0,
        locked_dropout: bool = False,
        proj_size: int | None = None,
    ) -> None:
        _refuse_projection(proj_size)
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype, checkpoint_every=checkpoint_every, locked_dropout=locked_dropout,
        )  # fmt: skip

    def forward(
        self,
        input: AnySequence,
        hx: Tensor | None = None,
        *,
        lengths: Lengths | None = None,
        reset: Tensor | None = None,
    ) -> tuple[AnySequence, Tensor]:
        """Run the layers over whole sequences.

        Args:
            input: [T, B, I], [B, T, I] if batch_first, unbatched [T, I], or a PackedSequence; T is at
                least 1.
            hx: Initial state [L*D, B, H], [L*D, H] if unbatched; None for zeros.
            lengths: [B] integers in [0, T], a tensor or a list, in any order; not with a PackedSequence.
                Output beyond a length is zero, `h_n` is each sequence's own last state, and the reverse
                direction starts at each sequence's own end. A length of 0 gives h_n = h_0.
            reset: bool [T, B], [B, T] if batch_first, unbatched [T]: true at each step that is the first of a
                new sequence, as an agent's next episode is in its rollout. Every layer starts it from zeros,
                step 0 too, whatever hx is; neither states nor gradients pass between it and the step before,
                in either direction. Not with a PackedSequence; nothing is reset beyond a length.

        Returns:
            output, laid out as the input is, with D*H features (forward direction first); h_n, shaped as hx.

        Raises:
            RuntimeError: the input's or the state's size, or the state's dtype or device, does not fit.
            ValueError: the input's dimensions or dtype, the lengths, or the shape of reset, do not fit.
            TypeError: an argument has another type, reset another than bool.

        Example:
            >>> import torch, pyrnn
            >>> gru, x = pyrnn.GRU(3, 4), torch.randn(6, 1, 3)
            >>> starts = torch.tensor([False, False, True, False, False, False]).unsqueeze(1)
            >>> output, h_n = gru(x, reset=starts)
            >>> torch.allclose(output[2:], gru(x[2:])[0], atol=1e-6)
            True
        """
        output, h_n, _, _ = self._run(input, hx, lengths, reset)
        return output, h_n


class LSTM(RecurrentLayer, nn.LSTM):
    """Long short-term memory of one or more layers, with an optional projection.

    i, f, o = sigmoid(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh); g = tanh(likewise);
    c_t = f * c_{t-1} + i * g; h_t = o * tanh(c_t), or W_hr (o * tanh(c_t)) with a projection.

    Drop-in for `torch.nn.LSTM`: the same parameters (names, shapes, gate order i, f, g, o, initialisation),
    arguments and results.

    Args:
        input_size: I, features of the input. At least 1.
        hidden_size: H, features of the cell state. At least 1.
        num_layers: L, layers stacked on one another.
        bias: Whether the layers have `b_ih` and `b_hh`.
        batch_first: Input and output are [B, T, F] instead of [T, B, F]. States stay [L*D, B, F].
        dropout: Probability of zeroing an output element between layers while training.
        bidirectional: Add a reverse direction: D = 2.
        proj_size: P, features of the projected output, less than H; 0 for no projection (P = H).
        device: Where the parameters lie.
        dtype: Of the parameters. float32, float64, bfloat16, on CUDA float16 too, have kernels.
        checkpoint_every: 0 keeps every gate for the backward pass; k > 0 keeps the state of every k-th step
            and computes the gates again: less memory, one more forward pass. May be changed at any time.
        locked_dropout: Dropout keeps one mask for all steps of a sequence instead of drawing one a step (Gal
            and Ghahramani, 2016). May be changed at any time.

    Raises:
        ValueError: a size or dropout is out of range.
        TypeError: an argument has another type.

    Source: Hochreiter and Schmidhuber, Long Short-Term Memory (1997); forget gate: Gers et al. (2000).
    Projection: Sak et al., Long Short-Term Memory Based Recurrent Neural Network Architectures (2014).

    Example:
        >>> import torch, pyrnn
        >>> lstm = pyrnn.LSTM(3, 4)
        >>> output, (h_n, c_n), cells = lstm(torch.randn(5, 2, 3), return_cells=True)
        >>> output.shape, c_n.shape, cells.shape
        (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]), torch.Size([5, 2, 4]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        checkpoint_every: int = 0,
        locked_dropout: bool = False,
    ) -> None:
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size,
            device=device, dtype=dtype, checkpoint_every=checkpoint_every, locked_dropout=locked_dropout,
        )  # fmt: skip

    def forward(
        self,
        input: AnySequence,
        hx: tuple[Tensor, Tensor] | None = None,
        *,
        lengths: Lengths | None = None,
        reset: Tensor | None = None,
        return_cells: bool = False,
    ) -> tuple[AnySequence, tuple[Tensor, Tensor]] | tuple[AnySequence, tuple[Tensor, Tensor], AnySequence]:
        """Run the layers over whole sequences.

        Args:
            input: See `GRU.forward`.
            hx: (h_0 [L*D, B, P], c_0 [L*D, B, H]), without B if unbatched; None for zeros.
            lengths: See `GRU.forward`; a length of 0 also gives c_n = c_0.
            reset: See `GRU.forward`.
            return_cells: Also return the last layer's cell state at every step.

        Returns:
            (output, (h_n, c_n)), or (output, (h_n, c_n), cells) with `return_cells`. Output, laid out as the
            input is, has D*P features; cells, laid out likewise, D*H. (h_n, c_n) are shaped as hx.

        Raises:
            As `GRU.forward`, and RuntimeError if hx does not hold two states.
        """
        output, h_n, c_n, cells = self._run(input, hx, lengths, reset, return_cells=return_cells)
        return (output, (h_n, c_n), cells) if return_cells else (output, (h_n, c_n))


def _refuse_projection(proj_size: int | None) -> None:
    if proj_size is not None:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
