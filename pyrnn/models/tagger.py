"""Tagger: one of C tags for every token of a sentence.

Dimension key: T time, B batch, E embedding, H hidden, V vocabulary, C tags.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn.models._encoder import encode, make_encoder
from pyrnn.models.configs import TaggerConfig
from pyrnn.models.pretrained import Pretrained


class Tagger(Pretrained):
    """Scores of every tag for every token, from the whole sentence: p(y_t | x) = softmax(W h_t + b).

    h_t are the outputs of recurrent layers in one direction or both, or of a transformer encoder with rotary
    positions. Sources: Graves and Schmidhuber, "Framewise phoneme classification with bidirectional LSTM",
    2005; Huang et al., "Bidirectional LSTM-CRF models for sequence tagging", 2015.

    Args:
        config: the sizes.

    Example:
        >>> import torch
        >>> model = Tagger(TaggerConfig(vocabulary_size=50, num_tags=7, architecture="gru"))
        >>> model(torch.zeros(9, 2, dtype=torch.int64), lengths=torch.tensor([9, 4])).shape
        torch.Size([9, 2, 7])
    """

    model_type = "pyrnn-tagger"
    config_class = TaggerConfig
    config: TaggerConfig

    def __init__(self, config: TaggerConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary_size, config.vector_size)
        self._encoder_name, encoder, features = make_encoder(config)
        self.add_module(self._encoder_name, encoder)
        self.projection = nn.Linear(features, config.num_tags)

    def forward(self, input: Tensor, *, lengths: Tensor) -> Tensor:
        """Logits of the tags.

        Args:
            input: [T, B] int64 ids in [0, V).
            lengths: [B] int64 in [0, T]: tokens of each sentence; what stands beyond is not read.

        Returns:
            [T, B, C]. Beyond a length they mean nothing.

        Raises:
            IndexError: an id outside [0, V).
        """
        vectors = F.dropout(self.embedding(input), self.config.input_dropout, self.training)
        output = encode(self.get_submodule(self._encoder_name), vectors, lengths)
        return self.projection(F.dropout(output, self.config.dropout, self.training))
