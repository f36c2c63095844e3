"""Classifier: one of C classes for a whole text, or for a list of numbers.

Dimension key: T time, B batch, E embedding, H hidden, F features, V vocabulary, C classes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn.models._encoder import encode, make_encoder
from pyrnn.models._pooling import AttentionPooling, last_step, max_step, mean_step
from pyrnn.models.configs import ClassifierConfig
from pyrnn.models.pretrained import Pretrained


class Classifier(Pretrained):
    """Scores of every class for a text: p(y | x_1..x_T) = softmax(W s + b).

    s is, by the architecture, the mean of the token vectors, also behind layers of ReLU ("average"); what
    recurrent layers or a transformer encoder with rotary positions make of the tokens, pooled over time; or
    layers of ReLU over numbers instead of tokens ("feedforward").

    Sources: the mean: Iyyer et al., "Deep unordered composition rivals syntactic methods for text
    classification", 2015, and Joulin et al., "Bag of tricks for efficient text classification", 2017; the
    largest output: Conneau et al., "Supervised learning of universal sentence representations from natural
    language inference data", 2017; attention: Yang et al., "Hierarchical attention networks for document
    classification", 2016.

    Args:
        config: the sizes.

    Example:
        >>> model = Classifier(ClassifierConfig(vocabulary_size=50, num_classes=3, architecture="gru"))
        >>> model(torch.zeros(9, 2, dtype=torch.int64), lengths=torch.tensor([9, 4])).shape
        torch.Size([2, 3])
    """

    model_type = "pyrnn-classifier"
    config_class = ClassifierConfig
    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding: nn.Embedding | None = None
        self._encoder_name = ""
        if config.architecture == "feedforward":
            features = config.num_features
        else:
            self.embedding = nn.Embedding(config.vocabulary_size, config.vector_size)
            features = config.vector_size
        if config.architecture in ("average", "feedforward"):
            widths = [features] + [config.hidden_size] * config.num_layers
            self.layers = nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(widths))
            features = widths[-1]
        else:
            self._encoder_name, encoder, features = make_encoder(config)
            self.add_module(self._encoder_name, encoder)
            if config.pooling == "attention":
                self.pooling = AttentionPooling(features)
        self.projection = nn.Linear(features, config.num_classes)

    def forward(self, input: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """Logits of the classes.

        Args:
            input: [T, B] int64 ids in [0, V); of "feedforward" [B, F] floating point.
            lengths: [B] int64 in [0, T]: tokens of each text; what stands beyond is not read. None: T.

        Returns:
            [B, C].

        Raises:
            IndexError: an id outside [0, V).
        """
        p = self.config.dropout
        if self.embedding is None:
            return self.projection(self._through_layers(input))
        vectors = F.dropout(self.embedding(input), self.config.input_dropout, self.training)
        if lengths is None:
            lengths = torch.full(input.shape[1:], len(input), device=input.device)
        lengths = lengths.to(input.device)
        if not self._encoder_name:
            return self.projection(self._through_layers(mean_step(vectors, lengths)))
        states = encode(self.get_submodule(self._encoder_name), vectors, lengths)
        return self.projection(F.dropout(self._pooled(states, lengths), p, self.training))

    def _through_layers(self, rows: Tensor) -> Tensor:
        for layer in self.layers:
            rows = F.dropout(torch.relu(layer(rows)), self.config.dropout, self.training)
        return rows

    def _pooled(self, states: Tensor, lengths: Tensor) -> Tensor:
        """[T, B, F] -> [B, F]."""
        kind = self.config.pooling
        if kind == "last":
            both = self._encoder_name == "recurrent" and self.config.bidirectional
            return last_step(states, lengths, bidirectional=both)
        if kind == "attention":
            return self.pooling(states, lengths)
        return mean_step(states, lengths) if kind == "mean" else max_step(states, lengths)
