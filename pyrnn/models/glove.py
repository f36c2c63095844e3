"""The matrices of GloVe.

Dimension key: V vocabulary, D width of a vector.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pyrnn.models.pretrained import Pretrained
from pyrnn.models.word_configs import WordVectorConfig

Combination = Literal["sum", "mean", "word"]


def combined(words: Tensor, contexts: Tensor, combination: Combination) -> Tensor:
    """Of a word's two vectors what is kept: their sum, their mean, or the first.

    Args:
        words: w.
        contexts: c, of the same shape.
        combination: "sum", "mean" or "word".

    Raises:
        ValueError: another combination.

    Example:
        >>> combined(torch.ones(2), torch.full((2,), 3.0), "mean")
        tensor([2., 2.])
    """
    if combination == "sum":
        return words + contexts
    if combination == "mean":
        return (words + contexts) / 2
    if combination != "word":
        raise ValueError(f"combination must be sum, mean or word, got {combination!r}")
    return words.clone()


class GloveModel(Pretrained):
    """Word and context vectors with a bias each: w_i . c_j + b_i + d_j stands for log X_ij.

    Fresh numbers are uniform in (-0.5, 0.5) / D.
    Source: Pennington, Socher and Manning, "GloVe: Global vectors for word representation", 2014.

    Args:
        config: the sizes.
        seed: of the fresh numbers; None draws them from torch's global generator.

    Attributes:
        words, contexts: [V, D].
        word_biases, context_biases: [V].

    Example:
        >>> model = GloveModel(WordVectorConfig(50, model="glove", vector_size=8))
        >>> model(torch.tensor([3, 4])).shape
        torch.Size([2, 8])
    """

    model_type = "pyrnn-glove"
    config_class = WordVectorConfig
    config: WordVectorConfig

    def __init__(self, config: WordVectorConfig, *, seed: int | None = None) -> None:
        super().__init__()
        self.config = config
        V, D = config.vocabulary_size, config.vector_size
        generator = None if seed is None else torch.Generator().manual_seed(seed)

        def fresh(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-0.5 / D, 0.5 / D, generator=generator))

        self.words, self.contexts = fresh(V, D), fresh(V, D)
        self.word_biases, self.context_biases = fresh(V), fresh(V)

    def forward(self, rows: Tensor) -> Tensor:
        """The vectors of words [...] int64: [..., D].

        Raises:
            IndexError: a word outside [0, V).
        """
        return combined(self.words[rows], self.contexts[rows], self.config.combination)
