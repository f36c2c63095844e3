"""Where a token stands: encodings that are added to embeddings, and rotations of queries and keys."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyrnn import ops
from pyrnn._checks import FARTHEST, as_integer, as_number, check_dense
from pyrnn._native_args import accumulation_dtype

# Rows that a table keeps at most; a call beyond them computes its own.
_LONGEST_TABLE = 2**20
_MOST_HEADS = 2**16


def sinusoidal_positions(
    num_positions: int,
    embed_dim: int,
    *,
    start: int = 0,
    base: float = 10000.0,
    device: Any = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """The sinusoids of positions `start` ... `start + num_positions - 1`, as [num_positions, embed_dim].

    PE[p, 2i] = sin(p / base^(2i / E)); PE[p, 2i + 1] = cos(p / base^(2i / E)).

    Computed in float64 and then rounded to `dtype`, because an angle of thousands of radians has no exact
    fraction in float32.

    Source: Vaswani et al., Attention Is All You Need (2017), section 3.5.

    Example:
        >>> import pyrnn.nn
        >>> pyrnn.nn.sinusoidal_positions(1, 4)
        tensor([[0., 1., 0., 1.]])
    """
    num_positions, embed_dim = as_integer("num_positions", num_positions), as_integer("embed_dim", embed_dim)
    start = _as_start(start)
    for name, number, least in (("num_positions", num_positions, 0), ("embed_dim", embed_dim, 1)):
        if not least <= number <= FARTHEST:
            raise ValueError(f"{name} must lie in [{least}, 2**53], got {number}")
    angles = _angles(num_positions, (embed_dim + 1) // 2, embed_dim, start=start, base=base, device=device)
    table = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[:, :embed_dim]
    return table.to(dtype or torch.get_default_dtype())


def alibi_slopes(num_heads: int, *, device: Any = None) -> Tensor:
    """How steeply each head forgets with distance in attention with linear biases, float32 [num_heads].

    For H heads, H a power of two: slope[h] = 2^(-8 (h + 1) / H). Otherwise: those of the power of two below,
    then every second one of the power above. For `alibi_slopes` of `pyrnn.ops.scaled_dot_product_attention`.

    Source: Press et al., Train Short, Test Long: Attention with Linear Biases (2022), section 3, and its
    code.

    Example:
        >>> import pyrnn.nn
        >>> pyrnn.nn.alibi_slopes(4)
        tensor([0.2500, 0.0625, 0.0156, 0.0039])
    """
    num_heads = as_integer("num_heads", num_heads)
    if not 1 <= num_heads <= _MOST_HEADS:
        raise ValueError(
            f"alibi_slopes expects at least one head and at most {_MOST_HEADS}, got num_heads={num_heads}"
        )
    below = 1 << (num_heads.bit_length() - 1)
    exponents = [8 * (h + 1) / below for h in range(below)]
    exponents += [4 * (2 * h + 1) / below for h in range(num_heads - below)]
    return torch.tensor([2.0**-exponent for exponent in exponents], dtype=torch.float32, device=device)


class SinusoidalPositionalEncoding(nn.Module):
    """Add the sinusoids of `sinusoidal_positions` to embeddings: x + PE[start : start + T].

    No parameters and no longest length: the table grows when a sequence asks for more.

    Args:
        embed_dim: E, features of the embeddings.
        batch_first: Embeddings are [B, T, E] instead of [T, B, E]. Unbatched ones are [T, E].
        base: Of the wave lengths, from 2 pi to 2 pi base.

    Raises:
        ValueError: a size is out of range.

    Source: Vaswani et al., Attention Is All You Need (2017), section 3.5.

    Example:
        >>> import torch, pyrnn.nn
        >>> pyrnn.nn.SinusoidalPositionalEncoding(8)(torch.zeros(5, 2, 8)).shape
        torch.Size([5, 2, 8])
    """

    def __init__(self, embed_dim: int, *, batch_first: bool = False, base: float = 10000.0) -> None:
        super().__init__()
        _check_sizes(embed_dim=embed_dim)
        self.embed_dim = embed_dim
        self.batch_first = batch_first
        self.base = base
        self._table = _Table()

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"{self.embed_dim}, batch_first={self.batch_first}, base={self.base}"

    def forward(self, input: Tensor, start: int = 0) -> Tensor:
        """Add the encodings of positions `start` and on to embeddings [T, B, E], [B, T, E] or [T, E].

        Raises:
            ValueError: the embeddings have another number of dimensions or features; `start` is negative.
            TypeError: they are no floating-point numbers.
        """
        start = _as_start(start)
        T = _sequence_length(input, self.embed_dim, start, batch_first=self.batch_first)
        table = self._table.rows(start, T, input.dtype, input.device, self._make)
        return input + _broadcast(table, input, batch_first=self.batch_first)

    def _make(self, start: int, length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        return sinusoidal_positions(
            length, self.embed_dim, start=start, base=self.base, device=device, dtype=dtype
        )


class LearnedPositionalEncoding(nn.Module):
    """Add a learned vector for each position to embeddings: x + weight[start : start + T].

    Args:
        num_positions: The longest sequence. At least 1.
        embed_dim: E, features of the embeddings.
        batch_first: Embeddings are [B, T, E] instead of [T, B, E]. Unbatched ones are [T, E].
        device: Where the parameter lies.
        dtype: Of the parameter.

    Attributes:
        weight: [num_positions, E], drawn from N(0, 0.02^2) as in GPT-2.

    Raises:
        ValueError: a size is out of range.

    Source: Gehring et al., Convolutional Sequence to Sequence Learning (2017), section 3.1.

    Example:
        >>> import torch, pyrnn.nn
        >>> pyrnn.nn.LearnedPositionalEncoding(100, 8)(torch.zeros(5, 2, 8)).shape
        torch.Size([5, 2, 8])
    """

    def __init__(
        self,
        num_positions: int,
        embed_dim: int,
        *,
        batch_first: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(num_positions=num_positions, embed_dim=embed_dim)
        self.batch_first = batch_first
        self.weight = nn.Parameter(torch.empty(num_positions, embed_dim, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vectors anew."""
        nn.init.normal_(self.weight, std=0.02)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}, batch_first={self.batch_first}"

    def forward(self, input: Tensor, start: int = 0) -> Tensor:
        """Add the vectors of positions `start` and on to embeddings [T, B, E], [B, T, E] or [T, E].

        Raises:
            ValueError: the embeddings have another number of dimensions or features, or reach beyond the last
                position; `start` is negative.
            TypeError: the embeddings are no floating-point numbers.
        """
        num_positions, embed_dim = self.weight.shape
        start = _as_start(start)
        T = _sequence_length(input, embed_dim, start, batch_first=self.batch_first)
        if start + T > num_positions:
            raise ValueError(
                f"positions {start} to {start + T - 1} were asked for, and {num_positions} are learned: "
                "shorten the sequence, or make the encoding with more positions"
            )
        return input + _broadcast(self.weight[start : start + T], input, batch_first=self.batch_first)


class RotaryEmbedding(nn.Module):
    """Turn the features of queries and keys by angles that grow with the position.

    For pair i of the first `dim` features and position p, with angle a = p * base^(-2i / dim):

    x'[2i] = x[2i] cos a - x[2i + 1] sin a; x'[2i + 1] = x[2i] sin a + x[2i + 1] cos a.

    The product of a query and a key then depends on the distance of their positions alone. No parameters and
    no longest length. Given to a `pyrnn.nn.MultiheadAttention` as `rotary`, it turns that layer's queries and
    keys.

    Args:
        dim: Features that are turned, even; the rest of a head stays as it is.
        base: Of the wave lengths, from 2 pi to 2 pi base.

    Raises:
        ValueError: `dim` is odd or not positive.

    Source: Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding (2021), eq. 15 and 34.
    Some models pair feature i with i + dim / 2 instead: their query and key weights have to be permuted.

    Example:
        >>> import torch, pyrnn.nn
        >>> rotary = pyrnn.nn.RotaryEmbedding(4)
        >>> query, key = torch.randn(2, 6, 4)
        >>> near = rotary(query)[3] @ rotary(key)[5]
        >>> torch.testing.assert_close(rotary(query, start=100)[3] @ rotary(key, start=100)[5], near)
    """

    def __init__(self, dim: int, *, base: float = 10000.0) -> None:
        super().__init__()
        dim, base = as_integer("dim", dim), as_number("base", base)
        if dim < 2 or dim % 2:
            raise ValueError(f"RotaryEmbedding turns pairs of features: expected an even dim >= 2, got {dim}")
        self.dim = dim
        self.base = base
        self._table = _Table()

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"{self.dim}, base={self.base}"

    def forward(self, input: Tensor, start: int = 0, *, sequence_dim: int = -2) -> Tensor:
        """Turn heads at positions `start` and on.

        Args:
            input: Any shape with the positions at `sequence_dim` and the features D >= dim last; float64,
                float32, or narrower types, which are turned in float32.
            start: The position of the first.
            sequence_dim: Which dimension counts the positions.

        Raises:
            ValueError: there are fewer than `dim` features, or `start` is negative.
        """
        check_dense("input", input)
        if not input.is_floating_point():
            raise TypeError(f"input must be floating point, got {input.dtype}; convert it with input.float()")
        start = _as_start(start)
        if input.dim() < 2 or input.shape[-1] < self.dim or start < 0:
            raise ValueError(
                f"expected at least {self.dim} features behind a dimension of positions, and start >= 0; "
                f"got shape {tuple(input.shape)}, start={start}"
            )
        dtype = accumulation_dtype(input.dtype)
        rows = self._table.rows(start, input.shape[sequence_dim], dtype, input.device, self._make)
        return ops.rotary_embedding(input, rows, sequence_dim=sequence_dim)

    def _make(self, start: int, length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """cos and sin of every angle, [length, dim / 2, 2]."""
        angles = _angles(length, self.dim // 2, self.dim, start=start, base=self.base, device=device)
        return torch.stack((angles.cos(), angles.sin()), dim=-1).to(dtype)


class _Table:
    """Rows for positions from 0 on, made when they are first asked for or the dtype or device changes."""

    def __init__(self) -> None:
        self._rows: Tensor | None = None
        self._like: tuple[torch.dtype, torch.device] | None = None

    def rows(self, start: int, length: int, dtype: torch.dtype, device: torch.device, make: Any) -> Tensor:
        """Rows `start` ... `start + length - 1` of the table that `make(start, length, ...)` computes."""
        if torch.compiler.is_compiling():
            return make(start, length, dtype, device)  # no graph may depend on what earlier calls left here
        rows, end = self._rows, start + length
        if end > _LONGEST_TABLE:
            return make(start, length, dtype, device)
        if rows is None or self._like != (dtype, device) or end > rows.shape[0]:
            with torch.inference_mode(False):  # later calls may train
                rows = make(0, 2 * end, dtype, device)
            if type(rows) is Tensor:  # and not what a tracer put in its place
                self._rows, self._like = rows, (dtype, device)
        return rows[start:end]

    def __reduce__(self) -> Any:
        return _Table, ()  # copies and pickles start without rows


def _angles(length: int, pairs: int, dim: int, *, start: int, base: float, device: Any) -> Tensor:
    """p * base^(-2i / dim) for `length` positions p from `start` on, i < pairs: float64 [length, pairs]."""
    positions = start + torch.arange(length, dtype=torch.float64, device=device)
    steps = base ** (torch.arange(pairs, dtype=torch.float64, device=device) * (-2 / dim))
    return positions[:, None] * steps


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if as_integer(name, size) < 1:
            raise ValueError(f"expected {name} >= 1, got {size}")


def _sequence_length(input: Tensor, embed_dim: int, start: int, *, batch_first: bool) -> int:
    """T, after checking that `input` holds embeddings."""
    check_dense("input", input)
    if not input.is_floating_point():
        raise TypeError(f"embeddings must be floating point, got {input.dtype}")
    if input.dim() not in (2, 3) or input.shape[-1] != embed_dim or start < 0:
        layout = f"[B, T, {embed_dim}]" if batch_first else f"[T, B, {embed_dim}]"
        raise ValueError(
            f"expected embeddings {layout} or [T, {embed_dim}], and start >= 0; "
            f"got shape {tuple(input.shape)}, start={start}"
        )
    return input.shape[1 if batch_first and input.dim() == 3 else 0]


def _as_start(start: Any) -> int:
    """The position of the first row. Those beyond `FARTHEST` have no exact angle."""
    start = as_integer("start", start)
    if not -FARTHEST <= start <= FARTHEST:
        raise ValueError(f"start must lie in [-2**53, 2**53], got {start}")
    return start


def _broadcast(rows: Tensor, input: Tensor, *, batch_first: bool) -> Tensor:
    """Rows [T, E] in the shape that broadcasts over embeddings."""
    return rows if input.dim() == 2 or batch_first else rows[:, None]
