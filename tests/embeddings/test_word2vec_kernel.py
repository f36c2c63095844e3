"""The kernels of word2vec against the formulas, drawn numbers included."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn.embeddings import CountedVocabulary, Word2VecKernel
from pyrnn.embeddings.word2vec_kernel import Block, padded
from pyrnn.models import Word2VecConfig
from pyrnn.reference.word2vec import Word2Vec, prediction_loss, random_words
from tests.helpers import assert_as_accurate

V = 13
WORDS = [f"wörd{chr(97 + i)}" for i in range(V)]
COUNTS = [60, 40, 30, 21, 20, 19, 9, 8, 7, 3, 2, 1, 1]
MODES: dict[str, dict[str, Any]] = {
    "skipgram": {},
    "skipgram-shared": {"shared_negatives": True, "window": 7},
    "skipgram-ngrams": {"max_n": 4, "min_n": 3, "buckets": 11},
    "skipgram-ngrams-shared": {"max_n": 4, "min_n": 3, "buckets": 11, "shared_negatives": True},
    "skipgram-hierarchical": {"loss": "hierarchical-softmax"},
    "skipgram-hierarchical-shared": {"loss": "hierarchical-softmax", "shared_negatives": True},
    "cbow": {"model": "cbow"},
    "cbow-ngrams": {"model": "cbow", "max_n": 3, "buckets": 50},
    "cbow-hierarchical": {"model": "cbow", "loss": "hierarchical-softmax", "sample": 0.0},
    "many-negatives": {"negative": 40, "shrink_windows": False},
    "many-negatives-shared": {"negative": 19, "shared_negatives": True, "sample": 1e-2},
    "one-negative": {"negative": 1, "window": 1},
}


def config_of(**settings: Any) -> Word2VecConfig:
    return Word2VecConfig(V, **{"vector_size": 20, "window": 3, "sample": 0.05, **settings})


def vocabulary() -> CountedVocabulary:
    return CountedVocabulary(WORDS, COUNTS)


def text(seed: int = 0) -> Tensor:
    """Sentences of 0 to 19 words."""
    torch.manual_seed(seed)
    lengths = [19, 1, 0, 2, 3, 9]
    weights = torch.tensor(COUNTS, dtype=torch.float64)
    parts = [torch.multinomial(weights, n, replacement=True) if n else torch.zeros(0).long() for n in lengths]
    return torch.cat([torch.cat([part, torch.tensor([V])]) for part in parts]).int()


def matrices(config: Word2VecConfig, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    D = config.vector_size
    return torch.randn(config.input_rows, D) / D**0.5, torch.randn(config.output_rows, D) / D**0.5


def reference_of(kernel: Word2VecKernel, input: Tensor, output: Tensor) -> Word2Vec:
    """The same training by formulas, on its own copies of the matrices, in their dtype."""
    config, codes, noise = kernel.config, kernel.codes, kernel.noise
    paths = bags = None
    if codes is not None:
        spans = list(itertools.pairwise(codes.begin.tolist()))
        paths = [(codes.nodes[b:e].tolist(), codes.signs[b:e].tolist()) for b, e in spans]
    if kernel.bags is not None:
        bags = [kernel.bags.rows[b:e].tolist() for b, e in itertools.pairwise(kernel.bags.begin.tolist())]
    return Word2Vec(
        input.clone(),
        output.clone(),
        window=config.window,
        shrink=config.shrink_windows,
        cbow=config.model == "cbow",
        batched=config.shared_negatives,
        negatives=config.negative,
        keep=None if kernel.keep is None else kernel.keep.tolist(),
        noise=None if noise is None else (noise["threshold"].tolist(), noise["other"].tolist()),
        paths=paths,
        bags=bags,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vector_size", [5, 64])
def test_a_block_is_what_the_formulas_say(mode: str, vector_size: int, isa: str) -> None:
    config = config_of(vector_size=vector_size, **MODES[mode])
    kernel = Word2VecKernel(config, vocabulary(), seed=2**40 + 5)
    ids, rates, random = text(), (0.05, 0.01), (2**40 + 5, 2**35 + 7, 3)
    start = matrices(config)
    ours = [padded(matrix.clone()) for matrix in start]
    sums = kernel.run(Block(ids, random[1], random[2]), *ours, rates=rates)
    results = []
    for dtype in (torch.float32, torch.float64):
        reference = reference_of(kernel, *(matrix.to(dtype) for matrix in start))
        loss, *counts = reference.run(ids.tolist(), random_words(*random), rates=rates)
        assert [sums.predictions, sums.words] == counts
        results.append((reference.input, reference.output, loss))
    (*theirs, _), (*exact, loss) = results
    D = vector_size
    assert_as_accurate((m[:, :D] for m in ours), theirs, exact, names=("input", "output"))
    assert sums.loss == pytest.approx(loss, rel=1e-5)
    assert not any(matrix[:, D:].any() for matrix in ours)


@pytest.mark.parametrize("mode", MODES)
def test_a_loss_alone_changes_nothing(mode: str) -> None:
    config = config_of(**MODES[mode])
    kernel = Word2VecKernel(config, vocabulary(), seed=1)
    ours = [padded(matrix) for matrix in matrices(config)]
    before = [matrix.clone() for matrix in ours]
    found = kernel.run(Block(text()), *ours, updates=False)
    assert all(map(torch.equal, ours, before))
    trained = kernel.run(Block(text()), *ours, rates=(1e-30, 1e-30))
    assert found == trained


@pytest.mark.parametrize("mean", [False, True])
def test_an_update_goes_down_the_gradient(mean: bool) -> None:
    """Of one prediction, and of a mean as far as word2vec's rule goes: it scales the inputs' step."""
    torch.manual_seed(0)
    start = [torch.randn(n, 6, dtype=torch.float64, requires_grad=True) for n in (4, 5)]
    rows, targets, signs = [1, 3], torch.tensor([0, 2, 4]), torch.tensor([1.0, -1, -1], dtype=torch.float64)
    x = start[0][rows].mean(0, keepdim=True) if mean else start[0][rows]
    prediction_loss(x, start[1][targets], signs).backward()
    reference = Word2Vec(start[0].detach().clone(), start[1].detach().clone())
    reference.step(rows, targets, signs, 0.1, mean=mean)
    factors = (len(rows) if mean else 1, 1)
    for matrix, before, factor in zip((reference.input, reference.output), start, factors, strict=True):
        assert before.grad is not None
        torch.testing.assert_close(matrix - before.detach(), -0.1 * factor * before.grad)


@pytest.mark.parametrize("score", [0.0, 1e-3, 1.0, -8.0, 20.0, 87.5, -100.0, 3e4])
def test_scores_of_every_size_have_their_loss(score: float, isa: str) -> None:
    """Two words that predict one another, one as a 0 and one as a 1."""
    config = Word2VecConfig(2, vector_size=1, loss="hierarchical-softmax", sample=0.0)
    kernel = Word2VecKernel(config, CountedVocabulary("ab", [1, 1]), seed=1)
    ours = [padded(torch.full((2, 1), score)), padded(torch.ones(1, 1))]
    sums = kernel.run(Block(torch.tensor([0, 1, 2], dtype=torch.int32)), *ours, updates=False)
    exact = torch.nn.functional.softplus(torch.tensor([score, -score], dtype=torch.float64)).sum()
    assert sums.predictions == 2
    assert sums.loss == pytest.approx(exact.item(), rel=1e-6)
    kernel.run(Block(torch.tensor([0, 1, 2], dtype=torch.int32)), *ours, rates=(0.1, 0.1))
    assert all(matrix.isfinite().all() for matrix in ours)


@pytest.mark.parametrize("mode", ["skipgram", "cbow", "skipgram-hierarchical-shared"])
def test_one_thread_gives_the_same_bits_whatever_came_before(mode: str) -> None:
    config = config_of(**MODES[mode])
    ids = torch.cat([text(seed) for seed in range(300)])  # several tasks
    found = []
    for _ in range(2):
        kernel = Word2VecKernel(config, vocabulary(), seed=1)
        ours = [padded(matrix) for matrix in matrices(config)]
        found.append((kernel.run(Block(ids), *ours, rates=(0.05, 0.0)), *ours))
    assert found[0][0] == found[1][0]
    assert all(map(torch.equal, found[0][1:], found[1][1:]))


def test_several_threads_draw_the_same_and_miss_little(two_threads: None) -> None:
    config = config_of()
    ids = torch.cat([text(seed) for seed in range(300)])
    found: Mapping[int, Any] = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        kernel = Word2VecKernel(config, vocabulary(), seed=1)
        ours = [padded(matrix) for matrix in matrices(config)]
        found = {**found, threads: kernel.run(Block(ids), *ours, rates=(0.05, 0.0))}
    assert found[1][1:] == found[2][1:]
    assert found[2].loss == pytest.approx(found[1].loss, rel=0.02)


@pytest.mark.parametrize("wrong", [-1, V + 1])
def test_an_id_that_is_none_is_refused(wrong: int) -> None:
    kernel = Word2VecKernel(config_of(), vocabulary(), seed=1)
    ours = [padded(matrix) for matrix in matrices(kernel.config)]
    with pytest.raises(ValueError, match=rf"ids must lie in \[0, 13\], got {wrong}"):
        kernel.run(Block(torch.tensor([0, wrong], dtype=torch.int32)), *ours)


def test_tensors_that_the_kernels_cannot_read_are_refused() -> None:
    kernel = Word2VecKernel(config_of(), vocabulary(), seed=1)
    input, output = (padded(matrix) for matrix in matrices(kernel.config))
    with pytest.raises(ValueError, match=r"ids must be a vector of int32 on the CPU, got torch\.int64"):
        kernel.run(Block(text().long()), input, output)
    for wrong in (input[1:], input[:, :16], input.double(), torch.zeros(32, V).T):
        with pytest.raises(ValueError, match=r"input must be a contiguous matrix \[13, 32\] of float32"):
            kernel.run(Block(text()), wrong, output)
    with pytest.raises(ValueError, match=r"output must be a contiguous matrix \[13, 32\] of float32"):
        kernel.run(Block(text()), input, output[1:])
