"""The call of the native kernels that train word2vec, and the tables that they read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrnn import _native
from pyrnn._native_args import check_fields
from pyrnn.embeddings.huffman import HuffmanCodes
from pyrnn.embeddings.sampling import alias_table, keep_thresholds
from pyrnn.embeddings.vocabulary import CountedVocabulary
from pyrnn.models.word_configs import Word2VecConfig

#: Floats of a row are a multiple of this.
ROW_UNIT: int = _native.cpu.word2vec_row_unit


class _Problem(NamedTuple):
    """As csrc/embedding/word2vec.h explains it."""

    V: int
    S: int
    count: int
    position: int
    epoch: int
    seed: int
    window: int
    shrink: int
    cbow: int
    batched: int
    updates: int
    negatives: int
    most_targets: int
    most_rows: int
    rate: float
    last_rate: float
    ids: int
    keep: int
    noise: int
    path_begin: int
    path_nodes: int
    path_signs: int
    bag_begin: int
    bag_rows: int
    input: int
    output: int


check_fields(_native.cpu, "embedding.Word2Vec", _Problem._fields)


class Sums(NamedTuple):
    """What a block came to.

    Args:
        loss: of all its predictions, float64.
        predictions: how many there were.
        words: that were not left out at random.
    """

    loss: float
    predictions: int
    words: int


class Block(NamedTuple):
    """Ids of a text, one after another, and where they stand.

    Args:
        ids: [N] int32 in [0, V]; V ends a sentence.
        position: of the first one in the text.
        epoch: passes over the text before this one.
    """

    ids: Tensor
    position: int = 0
    epoch: int = 0


def padded(matrix: Tensor) -> Tensor:
    """A matrix [R, D] as the kernels take it: [R, S], rows of whole cache lines; itself if it has those."""
    R, D = matrix.shape
    S = -(-D // ROW_UNIT) * ROW_UNIT
    if D == S and matrix.is_contiguous() and matrix.data_ptr() % 64 == 0:
        return matrix
    rows = torch.zeros(R, S)
    _native.cpu.advise_huge_pages(rows.data_ptr(), rows.nbytes)
    rows[:, :D] = matrix
    return rows


class Word2VecKernel:
    """Trains matrices on blocks of a text.

    Args:
        config: the loss and the windows.
        vocabulary: its counts decide what is left out, what noise is, and the Huffman codes; its words have
            the n-grams.
        seed: of all that is drawn.

    Raises:
        ValueError: the vocabulary has another size, or is too small for the loss; an exponent is too large.

    Example:
        >>> vocabulary = CountedVocabulary(["to", "be"], [2, 1])
        >>> kernel = Word2VecKernel(Word2VecConfig(2, vector_size=16), vocabulary, seed=1)
        >>> ids = torch.tensor([0, 1, 2], dtype=torch.int32)
        >>> kernel.run(Block(ids), torch.rand(2, 16), torch.zeros(2, 16)).words <= 2
        True
    """

    def __init__(self, config: Word2VecConfig, vocabulary: CountedVocabulary, *, seed: int) -> None:
        if len(vocabulary) != config.vocabulary_size:
            raise ValueError(
                f"the vocabulary has {len(vocabulary)} words, the model is for {config.vocabulary_size}"
            )
        self.config, self.seed = config, seed
        counts = vocabulary.counts.numpy()
        self.keep = keep_thresholds(counts, config.sample)
        self.noise: NDArray[Any] | None = None
        self.codes: HuffmanCodes | None = None
        if config.loss == "negative-sampling":
            self.noise = alias_table(counts, config.noise_exponent)
            self._most_targets = config.negative + 1
        else:
            self.codes = HuffmanCodes.of(counts)
            self._most_targets = int(np.diff(self.codes.begin).max())
        self.bags = _bags(config, vocabulary) if config.max_n else None

    def run(
        self,
        block: Block,
        input: Tensor,
        output: Tensor,
        *,
        rates: tuple[float, float] = (0.0, 0.0),
        updates: bool = True,
    ) -> Sums:
        """Train on a block, or compute its loss alone.

        Args:
            block: a part of the text.
            input: [R, S] float32, as `padded` gives it; changed in place.
            output: likewise.
            rates: of its first word, and behind its last one; linear in between.
            updates: False changes nothing.

        Raises:
            ValueError: a tensor of another shape or dtype, or an id that is none.
        """
        config = self.config
        self._check(block.ids, input, output)
        ids = block.ids.contiguous()
        problem = _Problem(
            V=config.vocabulary_size,
            S=input.shape[1],
            count=len(ids),
            position=block.position,
            epoch=block.epoch,
            seed=self.seed,
            window=config.window,
            shrink=config.shrink_windows,
            cbow=config.model == "cbow",
            batched=config.shared_negatives,
            updates=updates,
            negatives=config.negative if self.noise is not None else 0,
            most_targets=self._most_targets,
            most_rows=self._most_rows,
            rate=rates[0],
            last_rate=rates[1],
            ids=ids.data_ptr(),
            keep=_address(self.keep),
            noise=_address(self.noise),
            path_begin=_address(self.codes and self.codes.begin),
            path_nodes=_address(self.codes and self.codes.nodes),
            path_signs=_address(self.codes and self.codes.signs),
            bag_begin=_address(self.bags and self.bags.begin),
            bag_rows=_address(self.bags and self.bags.rows),
            input=input.data_ptr(),
            output=output.data_ptr(),
        )
        # Every prediction writes the nodes at the top of the tree: threads would wait for one another's cache
        # lines, and two were measured to be slower than one.
        alone = updates and self.codes is not None
        return Sums(*_native.cpu.word2vec(problem, 1 if alone else _native.num_threads()))

    def _check(self, ids: Tensor, input: Tensor, output: Tensor) -> None:
        if ids.dim() != 1 or ids.dtype != torch.int32 or ids.device.type != "cpu":
            raise ValueError(
                f"ids must be a vector of int32 on the CPU, got {ids.dtype} of shape {list(ids.shape)} on "
                f"{ids.device}"
            )
        S = -(-self.config.vector_size // ROW_UNIT) * ROW_UNIT
        sizes = {"input": self.config.input_rows, "output": self.config.output_rows}
        for (name, rows), matrix in zip(sizes.items(), (input, output), strict=True):
            if (
                matrix.shape != (rows, S)
                or matrix.dtype != torch.float32
                or matrix.device.type != "cpu"
                or not matrix.is_contiguous()
            ):
                raise ValueError(
                    f"{name} must be a contiguous matrix [{rows}, {S}] of float32 on the CPU, as `padded` "
                    f"gives it, got {list(matrix.shape)} of {matrix.dtype} on {matrix.device}"
                )

    @property
    def _most_rows(self) -> int:
        """Of the mean that a prediction has as its input."""
        words = 2 * self.config.window if self.config.model == "cbow" else 1
        return words * (1 if self.bags is None else int(np.diff(self.bags.begin).max()))


class Bags(NamedTuple):
    """Of each word the rows whose mean is its vector: its own, then those of its n-grams.

    Args:
        begin: [V + 1] int64, where each word's rows begin.
        rows: int32.
    """

    begin: NDArray[np.int64]
    rows: NDArray[np.int32]


def _bags(config: Word2VecConfig, vocabulary: CountedVocabulary) -> Bags:
    found, counts = _native.cpu.word_rows(vocabulary.words, config.min_n, config.max_n, config.buckets)
    return Bags(np.concatenate(([0], np.cumsum(counts))).astype(np.int64), np.frombuffer(found, np.int32))


def _address(array: NDArray[Any] | None) -> int:
    return 0 if array is None else array.ctypes.data
