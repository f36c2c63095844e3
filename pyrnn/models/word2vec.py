"""The matrices of word vectors that predict words.

Dimension key: V vocabulary, D width of a vector, R rows of words and n-grams.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrnn.models.pretrained import Pretrained
from pyrnn.models.word_configs import Word2VecConfig, WordVectorConfig


class Word2VecModel(Pretrained):
    """Input vectors of words, and of n-grams where there are any, and output vectors to hold them against.

    A fresh one has input vectors from U(-1/(2D), 1/(2D)), and output vectors of zeros.
    Source: Mikolov et al., "Efficient estimation of word representations in vector space", 2013, and the
    program word2vec.

    Args:
        config: the sizes.
        seed: of the input vectors; None draws them from torch's global generator.

    Attributes:
        input: [R, D], R = V, or with n-grams V + buckets.
        output: [V, D], of hierarchical softmax [V - 1, D]: of the nodes, the root first.

    Example:
        >>> model = Word2VecModel(Word2VecConfig(50, vector_size=8))
        >>> model(torch.tensor([3, 4])).shape
        torch.Size([2, 8])
    """

    model_type = "pyrnn-word2vec"
    config_class = WordVectorConfig  # that of runs
    config: Word2VecConfig

    def __init__(self, config: Word2VecConfig, *, seed: int | None = None) -> None:
        super().__init__()
        self.config = config
        D = config.vector_size
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        self.input = nn.Parameter(torch.empty(config.input_rows, D))
        with torch.no_grad():
            self.input.uniform_(-0.5 / D, 0.5 / D, generator=generator)
        self.output = nn.Parameter(torch.zeros(config.output_rows, D))

    def forward(self, rows: Tensor) -> Tensor:
        """The input vectors of rows [...] int64: [..., D].

        Raises:
            IndexError: a row outside [0, R).
        """
        return self.input[rows]
