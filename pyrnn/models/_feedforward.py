"""A feed-forward network over a window of tokens, called as a recurrent layer is: with a state.

Dimension key: T time, B batch, E embedding, W window, H hidden, L layers.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn.models.state import State
from pyrnn.nn.parts import apply_linear


class FeedForward(nn.Module):
    r"""The vectors of the last W tokens, one after another, through hidden layers of tanh.

    x_t = [v_{t-W+1}, ..., v_t], h_t = tanh(W_1 x_t + b_1), and with direct connections the output is
    [h_t, x_t] instead of h_t. So a linear layer and softmax behind it are y = b + U h + W x, the model of
    Bengio et al., "A neural probabilistic language model", 2003, equation 1, which has one hidden layer.
    Before the first token stand zeros.

    Args:
        features: E.
        hidden_size: H.
        window: W, tokens that an output depends on; n - 1 of a model of n-grams.
        num_layers: L; each layer above the first takes the output of the one below it.
        direct: whether x_t stands beside h_t in the output.
        dropout: probability of zeroing an element between two layers.

    Example:
        >>> backbone = FeedForward(4, 16, window=3, direct=True)
        >>> output, state = backbone(torch.randn(5, 2, 4))
        >>> output.shape, state.shape
        (torch.Size([5, 2, 28]), torch.Size([2, 2, 4]))
    """

    def __init__(
        self,
        features: int,
        hidden_size: int,
        *,
        window: int,
        num_layers: int = 1,
        direct: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.window, self.direct, self.dropout = window, direct, dropout
        widths = [window * features] + [hidden_size] * num_layers
        self.layers = nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(widths))
        self.output_size = hidden_size + direct * window * features

    def forward(
        self, input: Tensor, state: State | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run the network at every step.

        Args:
            input: [T, B, E].
            state: what an earlier call returned, to continue from it.
            lengths: [B] int64 in [0, T]: steps of each sequence; what stands beyond is not read.

        Returns:
            output [T, B, H], with direct connections [T, B, H + W E], which means nothing beyond a length;
            and the last W - 1 vectors of each sequence, [W - 1, B, E].
        """
        T, B, E = input.shape
        before = input.new_zeros(self.window - 1, B, E) if state is None else state
        assert isinstance(before, Tensor)
        vectors = torch.cat([before.to(input.dtype), input])
        x = torch.cat([vectors[n : n + T] for n in range(self.window)], -1)
        h = x
        for n, layer in enumerate(self.layers):
            h = torch.tanh(apply_linear(layer, F.dropout(h, self.dropout, self.training and n > 0)))
        return torch.cat([h, x], -1) if self.direct else h, self._last(vectors, T, lengths)

    def _last(self, vectors: Tensor, T: int, lengths: Tensor | None) -> Tensor:
        """What the next steps still read: of a sequence those before its end."""
        if lengths is None:
            return vectors[T:]
        places = torch.arange(self.window - 1, device=vectors.device).unsqueeze(1) + lengths
        return vectors.take_along_dim(places.unsqueeze(-1), 0)
