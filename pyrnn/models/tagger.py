"""Tagger: one of C tags for every token of a sentence.

Dimension key: T time, B batch, E embedding, H hidden, V vocabulary, C tags.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn.models._transformer import EXPANSION
from pyrnn.models.backbones import recurrent_class
from pyrnn.models.configs import TaggerConfig
from pyrnn.models.pretrained import Pretrained
from pyrnn.nn import RotaryEmbedding, TransformerEncoder, TransformerEncoderLayer


class Tagger(Pretrained):
    """Scores of every tag for every token, from the whole sentence: p(y_t | x) = softmax(W h_t + b).

    h_t are the outputs of recurrent layers in one direction or both, or of a transformer encoder with rotary
    positions. Sources: Graves and Schmidhuber, "Framewise phoneme classification with bidirectional LSTM",
    2005; Huang et al., "Bidirectional LSTM-CRF models for sequence tagging", 2015.

    Args:
        config: the sizes.

    Example:
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
        H, E = config.hidden_size, config.vector_size
        self.embedding = nn.Embedding(config.vocabulary_size, E)
        self.recurrent: nn.Module | None = None
        self.transformer: TransformerEncoder | None = None
        features = H
        if config.architecture == "transformer":
            self.transformer = _encoder(config)
        else:
            dropout = config.dropout if config.num_layers > 1 else 0.0  # torch warns about a single layer's
            layers = recurrent_class(config.architecture)
            self.recurrent = layers(
                E, H, config.num_layers, dropout=dropout, bidirectional=config.bidirectional
            )
            features = 2 * H if config.bidirectional else H
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
        p, vectors = self.config.dropout, self.embedding(input)
        vectors = F.dropout(vectors, self.config.input_dropout, self.training)
        if self.recurrent is not None:
            output, _ = self.recurrent(vectors, lengths=lengths)
        else:
            assert self.transformer is not None
            time = torch.arange(len(input), device=input.device)
            padding = time >= lengths.to(input.device).unsqueeze(1)
            # A sentence of no tokens would leave a softmax without a key.
            output = self.transformer(vectors, src_key_padding_mask=padding & (time > 0))
        return self.projection(F.dropout(output, p, self.training))


def _encoder(config: TaggerConfig) -> TransformerEncoder:
    H = config.hidden_size
    layer = TransformerEncoderLayer(
        H,
        config.num_heads,
        EXPANSION * H,
        config.dropout,
        "gelu",
        norm_first=True,
        rotary=RotaryEmbedding(H // config.num_heads),
    )
    return TransformerEncoder(layer, config.num_layers, nn.LayerNorm(H))
