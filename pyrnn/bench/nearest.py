"""Exact nearest neighbours by the cosine against one matrix product with torch.topk; see `--help`.

Both sides look at every row of the same matrix. Ours divides by the rows' lengths, which it has computed
before, and takes the best of each block; theirs is given rows of length 1, multiplies all of them at once and
takes the best of the whole product. "mapped": the matrix is that of a folder, memory-mapped, on both sides.

Dimension key: Q queries, N rows, D features.
"""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import Self

from pyrnn.bench import record, report
from pyrnn.bench.comparison import Benchmark
from pyrnn.bench.step import Step
from pyrnn.embeddings import WordVectors
from pyrnn.embeddings.neighbours import best_rows, unit

#: Results of each query.
RESULTS = 10

SHAPES = {
    "plain": ((64, 1_000_000, 300), (64, 100_000, 300), (1, 1_000_000, 300)),
    "mapped": ((64, 1_000_000, 300),),
}
QUICK_SHAPES = ((64, 100_000, 300),)


@dataclass(frozen=True)
class Case:
    """One line of the benchmark."""

    search: str
    dtype: str
    mode: str
    variant: str
    Q: int
    N: int
    D: int

    def deterministic(self) -> Self:
        """Nothing is left to chance."""
        return self

    def operations(self) -> int:
        """Of the product."""
        return 2 * self.Q * self.N * self.D

    def facts(self) -> record.Row:
        """What a row says of the case beside its fields."""
        return {"results": RESULTS, "includes": "the product and the best rows; lengths were computed before"}

    def meaningful(self) -> bool:
        """Only inference in float32, in which vectors are kept."""
        return self.dtype == "float32" and self.mode == "infer"

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.search} {self.variant} {self.Q}x{self.N}x{self.D}"


@functools.lru_cache(maxsize=1)
def vectors_of(variant: str, N: int, D: int) -> WordVectors:
    """Random unit rows, the same in every run; of the variant "mapped" they lie in a file without a name."""
    generator = torch.Generator().manual_seed(0)
    made = WordVectors(map(str, range(N)), unit(torch.randn(N, D, generator=generator)))
    if variant != "mapped":
        return made
    with tempfile.TemporaryDirectory() as folder:  # a mapped file lives until nobody has it mapped
        made.save(Path(folder))
        return WordVectors.load(Path(folder))


def sides(case: Case) -> tuple[Step, Step]:
    """Ours and torch's on the same rows and queries; the scores are compared."""
    vectors = vectors_of(case.variant, case.N, case.D)
    queries = unit(torch.randn(case.Q, case.D, generator=torch.Generator().manual_seed(1)))
    inverse = vectors.inverse_lengths

    def ours(queries: Tensor) -> list[Tensor]:
        return [best_rows(queries, vectors.matrix, inverse, RESULTS)[0]]

    def theirs(queries: Tensor) -> list[Tensor]:
        return [torch.topk(queries @ vectors.matrix.T, RESULTS, dim=1).values]

    return Step(ours, [(queries,)], gradient=None), Step(theirs, [(queries,)], gradient=None)


LAYOUT = report.Layout(
    "nearest",
    across="search",
    names={"cosine": "cosine"},
    shape=("Q", "N", "D"),
    torch="torch's product of all rows and topk",
    variants={"mapped": "memory-mapped"},
)
BENCHMARK = Benchmark(
    LAYOUT,
    about=__doc__,
    make_case=Case,
    sides=sides,
    shapes=SHAPES,
    quick=QUICK_SHAPES,
    page=record.ROOT / "docs" / "word-vectors.md",
    meaningful=Case.meaningful,
)
main = BENCHMARK.main

if __name__ == "__main__":
    main()
