"""pyrnn.nn against torch.nn: attention and Transformer layers, inference and training.

Layers have E/64 heads and a feed-forward part 4*E wide. Operations are those of the matrix products: for
linear layers 2*N*M*K forward and three times that in training, for attention as in `bench attention`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

import pyrnn.nn
from pyrnn.bench import attention, record, report
from pyrnn.bench.comparison import Benchmark
from pyrnn.bench.step import Step

LAYERS = {
    "attention": "MultiheadAttention",
    "encoder": "TransformerEncoderLayer",
    "decoder": "TransformerDecoderLayer",
}
DROPOUT = 0.1
HEAD_SIZE = 64
FEED_FORWARD = 4  # times E
INCLUDES = {
    "infer": "forward without gradients, in eval mode; not: making the data",
    "train": "forward, backward with gradients of the inputs and all parameters; "
    "not: making the data, dropping old gradients",
}

#: (T, B, E)
SHAPES = tuple((T, B, E) for E in (256, 512) for T, B in ((128, 16), (512, 4), (32, 64)))
VARIANT_SHAPES = {
    "plain": SHAPES,
    "dropout": SHAPES,
    "weights": SHAPES,
    "batch-first": SHAPES,
}
QUICK_SHAPES = {(128, 16, 256), (32, 64, 256)}


@dataclass(frozen=True)
class Case:
    """One line of the benchmark."""

    layer: str
    dtype: str
    mode: str
    variant: str
    T: int
    B: int
    E: int
    activation: str = "relu"  # between the linear layers

    @property
    def dropout(self) -> float:
        """The layer's probability of dropout."""
        return DROPOUT if self.variant == "dropout" else 0.0

    def deterministic(self) -> Self:
        """Without dropout, and smooth where gradients are compared."""
        smooth = "relu" if self.layer == "attention" or self.mode == "infer" else "gelu"
        return replace(self, variant="plain" if self.dropout else self.variant, activation=smooth)

    def operations(self) -> int:
        """Floating-point operations of the matrix products, a multiply-add being two."""
        tokens, trains = self.T * self.B, self.mode == "train"
        projections = 8 * tokens * self.E**2  # of query, key, value and output
        linear = {
            "attention": projections,
            "encoder": projections + 4 * FEED_FORWARD * tokens * self.E**2,
            "decoder": 2 * projections + 4 * FEED_FORWARD * tokens * self.E**2,
        }[self.layer]
        masks = {"attention": ("full",), "encoder": ("full",), "decoder": ("causal", "full")}[self.layer]
        sizes = (self.B, self.E // HEAD_SIZE, self.T, self.T, HEAD_SIZE)
        return linear * (3 if trains else 1) + sum(
            attention.Case(mask, self.dtype, self.mode, "plain", *sizes).operations() for mask in masks
        )

    def facts(self) -> record.Row:
        """What a row says of the case beside its fields."""
        return {"heads": self.E // HEAD_SIZE, "dropout": self.dropout, "includes": INCLUDES[self.mode]}

    def meaningful(self) -> bool:
        """Only attention returns weights, only training drops, and only inference has torch's fast path."""
        if self.variant == "weights":
            return self.layer == "attention"
        return self.mode == {"dropout": "train", "batch-first": "infer"}.get(self.variant, self.mode)

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.layer} {self.dtype} {self.mode} {self.variant} {self.T}x{self.B}x{self.E}"


def sides(case: Case) -> tuple[Step, Step]:
    """Our layer and torch's with the same parameters, on the same inputs."""
    theirs, ours = _layer(case, nn), _layer(case, pyrnn.nn)
    ours.load_state_dict(theirs.state_dict())
    return _step(case, ours), _step(case, theirs)


def _layer(case: Case, library: Any) -> nn.Module:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "dropout": case.dropout,
        "batch_first": case.variant == "batch-first",
        "dtype": getattr(torch, case.dtype),
    }
    if case.layer != "attention":
        options |= {"dim_feedforward": FEED_FORWARD * case.E, "activation": case.activation}
    layer = getattr(library, LAYERS[case.layer])(case.E, case.E // HEAD_SIZE, **options)
    return layer.train(case.mode == "train")


def _step(case: Case, layer: nn.Module) -> Step:
    """A step on input, or target and memory, [T, B, E]; the decoder sees its target causally."""
    generator = torch.Generator().manual_seed(1)
    trains, dtype = case.mode == "train", getattr(torch, case.dtype)
    shape = (case.B, case.T, case.E) if case.variant == "batch-first" else (case.T, case.B, case.E)

    def random() -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    inputs = tuple(random().requires_grad_(trains) for _ in range(2 if case.layer == "decoder" else 1))
    return Step(
        _forward(case, layer),
        [inputs],
        gradient=random() if trains else None,
        parameters=[*layer.parameters()],
    )


def _forward(case: Case, layer: nn.Module) -> Callable[..., Sequence[Tensor]]:
    """Calls the layer; the results are the output, and the weights where they are wanted."""
    if case.layer == "attention":
        weighted = case.variant == "weights"

        def attend(x: Tensor) -> Sequence[Tensor]:
            output, weights = layer(x, x, x, need_weights=weighted)
            return [output, weights] if weighted else [output]

        return attend
    if case.layer == "encoder":
        return lambda x: [layer(x)]
    mask = nn.Transformer.generate_square_subsequent_mask(case.T, dtype=getattr(torch, case.dtype))
    return lambda target, memory: [layer(target, memory, tgt_mask=mask, tgt_is_causal=True)]


LAYOUT = report.Layout(
    "transformer",
    across="layer",
    names=LAYERS,
    shape=("T", "B", "E"),
    variants={"dropout": f"dropout {DROPOUT}", "weights": "weights returned", "batch-first": "batch first"},
)
BENCHMARK = Benchmark(
    LAYOUT,
    about=__doc__,
    make_case=Case,
    sides=sides,
    shapes=VARIANT_SHAPES,
    quick=QUICK_SHAPES,
    page=record.ROOT / "docs" / "attention.md",
    meaningful=Case.meaningful,
)
main = BENCHMARK.main

if __name__ == "__main__":
    main()
