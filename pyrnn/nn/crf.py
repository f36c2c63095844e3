"""A linear-chain conditional random field as the last layer of a tagger.

Dimension key: T steps, B batch, C tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pyrnn._checks import as_integer, bad_shape, check_dense, lengths_tensor
from pyrnn.ops import crf_log_partition, crf_viterbi


class CRF(nn.Module):
    """Probabilities of whole paths of tags, from scores of each tag and of each pair of neighbours.

    p(y | x) = exp(s(x, y)) / sum_y' exp(s(x, y')), s(x, y) = start[y_1] + sum_t emissions[t, y_t] +
    sum_{t > 1} transitions[y_{t-1}, y_t] + end[y_L].

    Args:
        num_tags: C, at least 1.
        batch_first: emissions are [B, T, C] and tags [B, T], instead of time first.
        allowed: which transitions may be, and which tags may begin and end a sequence: bool [C, C], [C] and
            [C], as `pyrnn.metrics.allowed_tags` gives them for a scheme of spans. A path with any other has
            probability 0. None: all.
        device: of the parameters.
        dtype: of the parameters.

    Attributes:
        transitions: [C, C], from the tag of the row to that of the column.
        start, end: [C].

    Raises:
        ValueError: `num_tags` below 1, or masks of another shape.
        TypeError: masks that are not bool.

    Source: Lafferty, McCallum and Pereira, Conditional Random Fields (2001); as the last layer of a recurrent
    tagger: Huang, Xu and Yu, Bidirectional LSTM-CRF models for sequence tagging (2015).

    Example:
        >>> import torch
        >>> from pyrnn.nn import CRF
        >>> crf, emissions = CRF(4), torch.randn(5, 2, 4)
        >>> loss = crf(emissions, torch.randint(4, (5, 2)), lengths=[5, 3])
        >>> loss.backward()
        >>> crf.decode(emissions, lengths=[5, 3]).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        num_tags: int,
        *,
        batch_first: bool = False,
        allowed: tuple[Tensor, Tensor, Tensor] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_tags, self.batch_first = as_integer("num_tags", num_tags), batch_first
        if self.num_tags < 1:
            raise ValueError(f"num_tags must be at least 1, got {num_tags}")
        C = self.num_tags
        self.transitions = nn.Parameter(torch.empty(C, C, device=device, dtype=dtype))
        self.start = nn.Parameter(torch.empty(C, device=device, dtype=dtype))
        self.end = nn.Parameter(torch.empty(C, device=device, dtype=dtype))
        for name, parameter, mask in zip(
            ("transitions", "start", "end"), self.parameters(), allowed or (None,) * 3, strict=True
        ):
            if mask is not None and mask.dtype is not torch.bool:
                raise TypeError(f"allowed {name} must be bool, got {mask.dtype}")
            if mask is not None and mask.shape != parameter.shape:
                raise ValueError(
                    f"allowed {name} must have shape {list(parameter.shape)}, got {list(mask.shape)}"
                )
            self.register_buffer(
                f"forbidden_{name}", None if mask is None else ~mask.to(device), persistent=False
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every score uniformly from [-0.1, 0.1]."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def forward(
        self,
        emissions: Tensor,
        tags: Tensor,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        reduction: Literal["none", "sum", "mean"] = "mean",
    ) -> Tensor:
        """The negative logarithm of the probability of paths, -log p(y | x).

        Args:
            emissions: [T, B, C].
            tags: [T, B] int64 in [0, C); what stands behind a length is not looked at.
            lengths: [B] in [0, T], or None: all T.
            reduction: "none" gives [B], "sum" their sum, "mean" that divided by B.

        Raises:
            ValueError: a shape, a length or the reduction does not fit, or a tag outside [0, C).
            TypeError: tags that are not int64.
        """
        if reduction not in ("none", "sum", "mean"):
            raise ValueError(f"reduction must be 'none', 'sum' or 'mean', got {reduction!r}")
        check_dense("tags", tags)
        if tags.dim() != 2:
            bad_shape("tags", tags, "[B, T]" if self.batch_first else "[T, B]")
        emissions, tags = self._time_first(emissions), tags.transpose(0, 1) if self.batch_first else tags
        loss = self.log_partition(emissions, lengths=lengths) - self._score(emissions, tags, lengths)
        if reduction == "none":
            return loss
        return loss.sum() / (loss.numel() if reduction == "mean" else 1)

    def decode(self, emissions: Tensor, *, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
        """The likeliest paths, [T, B] int64 ([B, T] with `batch_first`), 0 behind lengths.

        Args:
            emissions: [T, B, C].
            lengths: [B] in [0, T], or None: all T.
        """
        tags, _ = crf_viterbi(self._time_first(emissions), *self.scores(), lengths=lengths)
        return tags.transpose(0, 1) if self.batch_first else tags

    def log_partition(self, emissions: Tensor, *, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
        """log sum_y exp(s(x, y)), [B]; the emissions are time first. See `pyrnn.ops.crf_log_partition`.

        Args:
            emissions: [T, B, C].
            lengths: [B] in [0, T], or None: all T.
        """
        return crf_log_partition(emissions, *self.scores(), lengths=lengths)

    def scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Transitions, start and end, with -inf for what is not allowed."""
        found = []
        for name, parameter in (("transitions", self.transitions), ("start", self.start), ("end", self.end)):
            forbidden: Tensor | None = getattr(self, f"forbidden_{name}")
            found.append(parameter if forbidden is None else parameter.masked_fill(forbidden, -torch.inf))
        return tuple(found)  # type: ignore[return-value]

    def extra_repr(self) -> str:
        """What a representation of the module shows."""
        return f"{self.num_tags}" + (", batch_first=True" if self.batch_first else "")

    def _time_first(self, emissions: Tensor) -> Tensor:
        check_dense("emissions", emissions)
        if emissions.dim() != 3:
            bad_shape("emissions", emissions, "[B, T, C]" if self.batch_first else "[T, B, C]")
        if torch.is_autocast_enabled(emissions.device.type):
            emissions = emissions.to(self.transitions.dtype)
        return emissions.transpose(0, 1) if self.batch_first else emissions

    def _score(self, emissions: Tensor, tags: Tensor, lengths: Tensor | Sequence[int] | None) -> Tensor:
        """s(x, y), [B], in the dtype of sums."""
        if tags.dtype is not torch.int64:
            raise TypeError(f"tags must be int64, got {tags.dtype}; convert them with tags.long()")
        T, B, C = emissions.shape
        if tags.shape != (T, B):
            raise ValueError(
                f"tags must have the shape {[T, B]} of the emissions' steps, got {list(tags.shape)}"
            )
        steps = torch.arange(T, device=tags.device).unsqueeze(1)
        ends = torch.full((B,), T) if lengths is None else lengths_tensor(lengths)
        ends = ends.to(tags.device)
        alive = steps < ends
        tags = tags.where(alive, 0)
        if not torch.compiler.is_compiling() and bool(((tags < 0) | (tags >= C)).any()):
            raise ValueError(f"tags must lie in [0, {C}), got {int(tags.min())} to {int(tags.max())}")
        transitions, start, end = self.scores()
        wide = torch.promote_types(emissions.dtype, torch.float32)
        zero = torch.zeros((), dtype=wide, device=emissions.device)
        given = emissions.gather(2, tags.unsqueeze(2)).squeeze(2).to(wide)
        score = given.where(alive, zero).sum(0)
        if T == 0:
            return score
        pairs = transitions.to(wide)[tags[:-1], tags[1:]]
        score = score + pairs.where(alive[1:], zero).sum(0)
        last = tags.gather(0, (ends - 1).clamp(min=0).long().unsqueeze(0)).squeeze(0)
        return score + (start.to(wide)[tags[0]] + end.to(wide)[last]).where(ends > 0, zero)
