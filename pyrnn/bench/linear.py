"""Linear layers against torch.nn.functional.linear: the products of transformers and language models.

Operations are those of the products: 2*N*I*O forward, and three times that with the gradients of input and
weight. The last of the shapes is the layer before a softmax over 8,000 words.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Self

from pyrnn import ops
from pyrnn.bench import record, report
from pyrnn.bench.comparison import Benchmark
from pyrnn.bench.step import Step
from pyrnn.ops.dropout import Activation
from pyrnn.ops.linear import Product

LAYERS = {"plain": "linear", "gelu": "linear and GELU"}
INCLUDES = {
    "infer": "forward without gradients; not: making the data",
    "train": "forward, backward with gradients of input, weight and bias; not: making the data, dropping old "
    "gradients",
}
ROWS = (1, 8, 32, 128, 512, 2048, 4096)
FEATURES = ((64, 64), (256, 256), (256, 1024), (512, 512), (512, 2048), (2048, 512), (512, 8000))

#: (N, I, O)
SHAPES = tuple((N, *features) for features, N in itertools.product(FEATURES, ROWS))
QUICK_SHAPES = {(1, 64, 64), (128, 256, 1024)}


@dataclass(frozen=True)
class Case:
    """One line of the benchmark."""

    layer: str
    dtype: str
    mode: str
    variant: str
    N: int
    I: int  # noqa: E741
    O: int  # noqa: E741

    @property
    def activation(self) -> Activation | None:
        """What follows the product."""
        return "gelu" if self.layer == "gelu" else None

    def deterministic(self) -> Self:
        """Nothing is left to chance."""
        return replace(self)

    def operations(self) -> int:
        """Floating-point operations of the matrix products, a multiply-add being two."""
        return 2 * self.N * self.I * self.O * (3 if self.mode == "train" else 1)

    def facts(self) -> record.Row:
        """What a row says of the case beside its fields: who computes the product, and each gradient."""
        input, weight, _ = _tensors(self)
        forward: Product = "activated" if self.activation else "forward"
        trained: tuple[Product, ...] = (forward, "input_gradient", "weight_gradient")
        products = trained if self.mode == "train" else (forward,)
        with torch.set_grad_enabled(self.mode == "train"):
            routes = {product: ops.linear_route(input, weight, product).path for product in products}
        return {"routes": routes, "includes": INCLUDES[self.mode]}

    def meaningful(self) -> bool:
        """In training the activation is an operation of its own, which is not of the linear layer."""
        return self.layer == "plain" or self.mode == "infer"

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{LAYERS[self.layer]} {self.dtype} {self.mode} {self.N}x{self.I}x{self.O}"


def sides(case: Case) -> tuple[Step, Step]:
    """Ours and torch's on equal tensors."""

    def torchs(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        output = F.linear(input, weight, bias)
        return output if case.activation is None else F.gelu(output)

    def ours(*tensors: Tensor) -> Tensor:
        return ops.linear(*tensors, activation=case.activation)

    return _step(case, ours), _step(case, torchs)


def _tensors(case: Case) -> tuple[Tensor, ...]:
    """Input [N, I], weight [O, I] and bias [O], the same for everybody."""
    generator = torch.Generator().manual_seed(1)
    made = (
        torch.randn(shape, generator=generator) for shape in ((case.N, case.I), (case.O, case.I), (case.O,))
    )
    return tuple(t.to(getattr(torch, case.dtype)).requires_grad_(case.mode == "train") for t in made)


def _step(case: Case, layer: Callable[..., Any]) -> Step:
    def output(*tensors: Tensor) -> Sequence[Tensor]:
        return [layer(*tensors)]

    gradient = None
    if case.mode == "train":
        gradient = torch.randn(case.N, case.O, generator=torch.Generator().manual_seed(2))
        gradient = gradient.to(getattr(torch, case.dtype))
    return Step(output, [_tensors(case)], gradient=gradient)


LAYOUT = report.Layout(
    "linear",
    across="layer",
    names=LAYERS,
    shape=("N", "I", "O"),
    torch="torch.nn.functional.linear",
)
BENCHMARK = Benchmark(
    LAYOUT,
    about=__doc__,
    make_case=Case,
    sides=sides,
    shapes={"plain": SHAPES},
    quick=QUICK_SHAPES,
    page=record.ROOT / "docs" / "attention.md",
    meaningful=Case.meaningful,
    processor_time=True,
)
main = BENCHMARK.main

if __name__ == "__main__":
    main()
