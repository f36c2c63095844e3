"""The decoder with attention against a loop over a cell of torch.nn and torch's operators, T = S = 25.

Both sides have the parameters of the cell and, with the additive score, those of the query and the score. The
input of a step is a token's vector and the context, H wide each, as are states, keys and values; the result
is [h, context] of every step, what an output layer would read. Operations are those of the products, and
three times that in training; the tanh of the additive score is not among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from pyrnn import ops
from pyrnn.bench import record, report
from pyrnn.bench.comparison import Benchmark
from pyrnn.bench.step import Step

STEPS = 25  # of source and target
GATES = {"gru": 3, "lstm": 4}
NAMES = {f"{cell}-{score}": f"{cell.upper()} {score}" for cell in GATES for score in ("dot", "additive")}
INCLUDES = {
    "infer": "forward without gradients; not: making the data, the output layer",
    "train": "forward, backward with gradients of inputs and all parameters; "
    "not: making the data, the output layer, dropping old gradients",
}

#: (B, H)
SHAPES = tuple((B, H) for H in (256, 512) for B in (1, 16, 64))
VARIANT_SHAPES = {"plain": SHAPES, "lengths": SHAPES}
QUICK_SHAPES = {(1, 256), (16, 512)}


@dataclass(frozen=True)
class Case:
    """One line of the benchmark."""

    kind: str  # cell and score
    dtype: str
    mode: str
    variant: str
    B: int
    H: int

    @property
    def cell(self) -> str:
        """The operator's name of it."""
        return self.kind.partition("-")[0]

    @property
    def additive(self) -> bool:
        """Whether the score is, not a dot product."""
        return self.kind.endswith("additive")

    def deterministic(self) -> Self:
        """Nothing is left to chance."""
        return self

    def source_lengths(self) -> Tensor | None:
        """Uniform in [1, S], unsorted, and the same in every run."""
        if self.variant != "lengths":
            return None
        return torch.randint(1, STEPS + 1, (self.B,), generator=torch.Generator().manual_seed(0))

    def operations(self) -> int:
        """Floating-point operations of the matrix products, a multiply-add being two."""
        step = 3 * GATES[self.cell] * self.H**2 + (self.H**2 if self.additive else 0)
        forward = 2 * STEPS * self.B * (step + 2 * STEPS * self.H)
        return forward * (3 if self.mode == "train" else 1)

    def facts(self) -> record.Row:
        """What a row says of the case beside its fields."""
        return {"T": STEPS, "S": STEPS, "includes": INCLUDES[self.mode]}

    def __str__(self) -> str:
        """For progress and errors."""
        return f"decoder {self.kind} {self.dtype} {self.mode} {self.variant} {self.B}x{self.H}"


def sides(case: Case) -> tuple[Step, Step]:
    """The operator and the loop, on equal inputs and parameters."""
    return _step(case, _operator), _step(case, _loop)


def _operator(case: Case, cell: nn.RNNCellBase, score: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    lengths, H = case.source_lengths(), case.H

    def decode(tokens: Tensor, keys: Tensor, values: Tensor) -> Sequence[Tensor]:
        zeros = tokens.new_zeros(case.B, H)
        found = ops.attention_decoder(
            F.linear(tokens, cell.weight_ih[:, :H], cell.bias_ih),
            zeros,
            zeros if case.cell == "lstm" else None,
            zeros,
            keys,
            values,
            cell.weight_hh,
            cell.bias_hh,
            cell.weight_ih[:, H:],
            *score,
            cell=case.cell,
            source_lengths=lengths,
        )
        return [torch.cat((found.output, found.context), -1)]

    return decode


def _loop(case: Case, cell: nn.RNNCellBase, score: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    lengths, H = case.source_lengths(), case.H
    hidden = None if lengths is None else torch.arange(STEPS) >= lengths[:, None]

    def decode(tokens: Tensor, keys: Tensor, values: Tensor) -> Sequence[Tensor]:
        keys, values = keys.transpose(0, 1).contiguous(), values.transpose(0, 1).contiguous()
        h = c = context = tokens.new_zeros(case.B, H)
        steps = []
        for token in tokens.unbind():
            both = torch.cat((token, context), -1)
            if case.cell == "lstm":
                h, c = cell(both, (h, c))
            else:
                h = cell(both, h)
            if case.additive:
                weight_query, score_weight = score
                scores = torch.tanh(F.linear(h, weight_query).unsqueeze(1) + keys) @ score_weight
            else:
                scores = torch.bmm(keys, h.unsqueeze(-1)).squeeze(-1)
            if hidden is not None:
                scores = scores.masked_fill(hidden, -torch.inf)
            context = torch.bmm(torch.softmax(scores, -1).unsqueeze(1), values).squeeze(1)
            steps.append(torch.cat((h, context), -1))
        return [torch.stack(steps)]

    return decode


def _step(case: Case, side: Callable[..., Callable[..., Sequence[Tensor]]]) -> Step:
    """A step on tokens, keys and values, the same for everybody."""
    torch.manual_seed(1)
    trains, dtype, H = case.mode == "train", getattr(torch, case.dtype), case.H
    kinds: dict[str, Any] = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}
    cell = kinds[case.cell](2 * H, H, dtype=dtype)
    score = [torch.randn(H, H) * H**-0.5, torch.randn(H) * H**-0.5] if case.additive else []
    score = [tensor.to(dtype).requires_grad_(trains) for tensor in score]
    inputs = tuple((0.3 * torch.randn(STEPS, case.B, H)).to(dtype).requires_grad_(trains) for _ in range(3))
    gradient = torch.randn(STEPS, case.B, 2 * H).to(dtype) if trains else None
    parameters = [*cell.parameters(), *score]
    return Step(side(case, cell, score), [inputs], gradient=gradient, parameters=parameters)


LAYOUT = report.Layout(
    "decoder",
    across="kind",
    names=NAMES,
    shape=("B", "H"),
    torch="a loop over a cell of torch.nn",
    variants={"lengths": "source lengths"},
)
BENCHMARK = Benchmark(
    LAYOUT,
    about=__doc__,
    make_case=Case,
    sides=sides,
    shapes=VARIANT_SHAPES,
    quick=QUICK_SHAPES,
    page=record.ROOT / "docs" / "attention.md",
)
main = BENCHMARK.main

if __name__ == "__main__":
    main()
