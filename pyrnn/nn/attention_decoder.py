"""A recurrent layer that attends to another sequence at every step, and what it attends to."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from pyrnn import ops
from pyrnn.ops.attention_decoder.call import cell_of

Attention = Literal["dot", "scaled", "general", "additive", "location", "coverage"]

_GATES = {"rnn": 1, "gru": 3, "lstm": 4}


class Memory(NamedTuple):
    """What a decoder attends to, prepared once for all its steps.

    Args:
        keys: [S, B, A], what queries are compared with.
        values: [S, B, M], what contexts are made of.
        lengths: [B] int64 in [0, S]: positions of each sequence; None: all.
    """

    keys: Tensor
    values: Tensor
    lengths: Tensor | None = None


class AttentionState(NamedTuple):
    """What an `AttentionDecoder` carries from step to step.

    Args:
        h: [B, H].
        c: [B, H] of an LSTM.
        context: [B, M], the last one.
        alignment: [B, S], the last weights, or with "coverage" their sum so far, where the scores ask for it.
    """

    h: Tensor
    c: Tensor | None
    context: Tensor
    alignment: Tensor | None


class AttentionDecoder(nn.Module):
    r"""A recurrent layer over a target, whose state asks at every step for a mean of a source's positions.

      h_t = cell(W_ih x_t + W_context context_{t-1} + b, h_{t-1})
      weights_t = softmax over s of score(h_t, memory_s)
      context_t = sum_s weights_ts memory_s

    The whole target is one call of `pyrnn.ops.attention_decoder`. The scores:

    - "dot": h . m, "scaled": h . m / sqrt(H); both need a memory of H features;
    - "general": h . W m;
    - "additive": v . tanh(W h + U m + b);
    - "location": additive, with a convolution over the weights of the step before inside the tanh;
    - "coverage": additive, with the sum of all weights so far inside, times a vector.

    Sources: Bahdanau et al., "Neural machine translation by jointly learning to align and translate", 2015
    (additive); Luong et al., "Effective approaches to attention-based neural machine translation", 2015 (dot,
    general, order of the step); Vaswani et al., "Attention is all you need", 2017 (scaled); Chorowski et al.,
    "Attention-based models for speech recognition", 2015 (location); See et al., "Get to the point", 2017,
    eq. 11 (coverage).

    Args:
        input_size: I, features of the target.
        hidden_size: H.
        memory_size: M, features of the source.
        cell: "rnn" (tanh), "gru" or "lstm".
        attention: kind of the score.
        attention_size: A, width of additive scores; H unless given.
        input_feeding: whether the context goes into the next step's cell; else it is only returned.
        location_width: how many of the last weights a score of "location" sees, odd.
        device: where the parameters lie.
        dtype: of the parameters.

    Raises:
        ValueError: an unknown cell or score, a width that is even, or a memory of another width than H where
            the score is a product of both.

    Example:
        >>> import torch
        >>> decoder = AttentionDecoder(5, 8, 6, attention="additive")
        >>> memory = decoder.prepare(torch.randn(7, 2, 6), lengths=torch.tensor([7, 4]))
        >>> output, context, weights, state = decoder(torch.randn(3, 2, 5), memory)
        >>> output.shape, context.shape, weights.shape
        (torch.Size([3, 2, 8]), torch.Size([3, 2, 6]), torch.Size([3, 2, 7]))
        >>> weights[:, 1, 4:].abs().sum()
        tensor(0., grad_fn=<SumBackward0>)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        *,
        cell: str = "lstm",
        attention: Attention = "additive",
        attention_size: int | None = None,
        input_feeding: bool = True,
        location_width: int = 11,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        I, H, M = input_size, hidden_size, memory_size  # noqa: E741
        if cell not in _GATES:
            raise ValueError(f"cell must be one of {', '.join(_GATES)}, got {cell!r}")
        if attention not in get_args(Attention):
            raise ValueError(f"attention must be one of {', '.join(get_args(Attention))}, got {attention!r}")
        if attention in ("dot", "scaled") and M != H:
            raise ValueError(
                f"attention {attention!r} multiplies states of {H} features with a memory of {M}: give both "
                "the same, or take 'general'"
            )
        if location_width < 1 or location_width % 2 == 0:
            raise ValueError(f"location_width must be odd and positive, got {location_width}")
        self.input_size, self.hidden_size, self.memory_size = I, H, M
        self.cell, self.attention, self.input_feeding = cell, attention, input_feeding
        A = H if attention_size is None else attention_size

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        gates = _GATES[cell] * H
        self.weight_ih, self.weight_hh = parameter(gates, I), parameter(gates, H)
        self.bias_ih, self.bias_hh = parameter(gates), parameter(gates)
        self.weight_context = parameter(gates, M) if input_feeding else None
        additive = attention in ("additive", "location", "coverage")
        self.weight_query = parameter(A, H) if additive else None
        self.weight_key = parameter(A if additive else H, M) if additive or attention == "general" else None
        self.bias_key = parameter(A) if additive else None
        self.score_weight = parameter(A) if additive else None
        width = {"location": location_width, "coverage": 1}.get(attention)
        self.weight_location = None if width is None else parameter(A, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter evenly from +-1 / sqrt(n), n the hidden size in the cell, else its inputs."""
        for name, p in self.named_parameters():
            in_cell = name.endswith(("_ih", "_hh", "_context"))
            bound = (self.hidden_size if in_cell else max(1, p.shape[-1])) ** -0.5
            nn.init.uniform_(p, -bound, bound)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return (
            f"{self.input_size}, {self.hidden_size}, {self.memory_size}, cell={self.cell!r}, "
            f"attention={self.attention!r}, input_feeding={self.input_feeding}"
        )

    def prepare(self, memory: Tensor, lengths: Tensor | None = None) -> Memory:
        """What to attend to: [S, B, M], of which a sequence has `lengths` [B] positions."""
        keys = memory if self.weight_key is None else ops.linear(memory, self.weight_key, self.bias_key)
        return Memory(keys, memory, lengths)

    def start(self, memory: Memory, h: Tensor | None = None, c: Tensor | None = None) -> AttentionState:
        """The state before the first step: h and c [B, H], zero where not given, and an empty context."""
        S, B, M = memory.values.shape
        zeros = memory.values.new_zeros
        if self.cell == "lstm" and c is None:
            c = zeros(B, self.hidden_size)
        alignment = None if self.weight_location is None else zeros(B, S)
        return AttentionState(zeros(B, self.hidden_size) if h is None else h, c, zeros(B, M), alignment)

    @property
    def _cell(self) -> str:
        """The operators' name of the cell."""
        return cell_of(self.cell, "tanh")

    @property
    def scale(self) -> float:
        """What a dot product is multiplied by."""
        return self.hidden_size**-0.5 if self.attention == "scaled" else 1.0

    def operands(self, input: Tensor, memory: Memory, state: AttentionState) -> tuple[Any, ...]:
        """The tensors of a call, as the operator takes them."""
        return (
            ops.linear(input, self.weight_ih, self.bias_ih),
            state.h,
            state.c,
            state.context,
            memory.keys,
            memory.values,
            self.weight_hh,
            self.bias_hh,
            self.weight_context,
            self.weight_query,
            self.score_weight,
            self.weight_location,
            state.alignment,
        )

    def forward(
        self,
        input: Tensor,
        memory: Memory,
        state: AttentionState | None = None,
        *,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, AttentionState]:
        """Run all steps of a target, or the next ones.

        Args:
            input: [T, B, I].
            memory: as of `prepare`.
            state: what an earlier call or `start` gave, to continue from it.
            lengths: [B] int64 in [0, T]: steps of each sequence.

        Returns:
            h_t [T, B, H], contexts [T, B, M], weights [T, B, S], and the state after the last step. Beyond a
            length they are zero.

        Raises:
            ValueError, TypeError: as of `pyrnn.ops.attention_decoder`.
        """
        state = self.start(memory) if state is None else state
        output, context, weights, h, c, alignment = ops.attention_decoder(
            *self.operands(input, memory, state),
            cell=self.cell,
            scale=self.scale,
            cumulative=self.attention == "coverage",
            source_lengths=memory.lengths,
            lengths=lengths,
        )
        if context.shape[0]:
            last = context[-1] if lengths is None else _last(context, lengths, state.context)
        else:
            last = state.context
        kept = None if self.weight_location is None else alignment
        return output, context, weights, AttentionState(h, c, last, kept)


def _last(rows: Tensor, lengths: Tensor, before: Tensor) -> Tensor:
    """Of rows [T, B, F] each sequence's last, or `before` [B, F] where it has none."""
    lengths = lengths.to(rows.device).view(1, -1, 1)
    index = (lengths - 1).clamp(min=0).expand(1, *rows.shape[1:])
    return torch.where(lengths[0] > 0, rows.gather(0, index)[0], before)
