"""Tagger: one of C tags for every token of a sentence.

Dimension key: T time, B batch, E embedding, H hidden, V vocabulary, C tags.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn.metrics import Scheme, allowed_tags, scheme_of
from pyrnn.models._characters import CharacterFeatures
from pyrnn.models._encoder import encode, make_encoder
from pyrnn.models.configs import TaggerConfig
from pyrnn.models.pretrained import Pretrained
from pyrnn.nn import CRF
from pyrnn.ops import crf_viterbi


class Tagger(Pretrained):
    """Scores of every tag for every token, from the whole sentence: p(y_t | x) = softmax(W h_t + b).

    h_t are the outputs of recurrent layers in one direction or both, or of a transformer encoder with rotary
    positions; their input is the vector of each token and, with `characters`, features of its spelling. With
    a conditional random field the scores are those of its emissions. Sources: Graves and Schmidhuber,
    "Framewise phoneme classification with bidirectional LSTM", 2005; Huang et al., "Bidirectional LSTM-CRF
    models for sequence tagging", 2015; Ma and Hovy, "End-to-end sequence labeling via bi-directional
    LSTM-CNNs-CRF", 2016.

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
        self.characters = None if config.characters == "none" else CharacterFeatures(config)
        more = 0 if self.characters is None else config.character_features
        self._encoder_name, encoder, features = make_encoder(config, more=more)
        self.add_module(self._encoder_name, encoder)
        self.projection = nn.Linear(features, config.num_tags)
        self.crf = CRF(config.num_tags) if config.crf else None
        self._scheme: Scheme | None = scheme_of(config.tags) if config.constrained else None

    def forward(
        self, input: Tensor, lengths: Tensor, character: Tensor | None = None, *, tag: Tensor | None = None
    ) -> Tensor:
        """Logits of the tags; or with `tag` and a conditional random field the loss of the sentences.

        Args:
            input: [T, B] int64 ids in [0, V).
            lengths: [B] int64 in [0, T]: tokens of each sentence; what stands beyond is not read.
            character: [T, B, W] int64, the characters of each token, 0 behind them; for a model that has
                `characters`.
            tag: [T, B] int64, the right tags; a model without a conditional random field has no use for them.

        Returns:
            [T, B, C], which beyond a length mean nothing; or [B], -log p of each sentence's tags.

        Raises:
            IndexError: an id outside [0, V).
            ValueError: no characters for a model that reads them.
        """
        vectors = self.embedding(input)
        if self.characters is not None:
            if character is None:
                raise ValueError("this tagger reads the characters of each token, got none")
            vectors = torch.cat((vectors, self.characters(character)), -1)
        vectors = F.dropout(vectors, self.config.input_dropout, self.training)
        output = encode(self.get_submodule(self._encoder_name), vectors, lengths)
        logits = self.projection(F.dropout(output, self.config.dropout, self.training))
        if self.crf is None:
            return logits
        logits = logits.to(self.crf.transitions.dtype)  # autocast left it to others
        return logits if tag is None else self.crf(logits, tag, lengths=lengths, reduction="none")

    def decode(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """The likeliest tags, [T, B] int64; beyond a length they mean nothing.

        Of a conditional random field they are the likeliest path, else the likeliest of each token; of a
        scheme of spans the likeliest path that it allows, unless the sizes say otherwise.

        Args:
            logits: [T, B, C] as of `forward`.
            lengths: [B] in [0, T].
        """
        if self.crf is None and self._scheme is None:
            return logits.argmax(-1)
        C = self.config.num_tags
        if self.crf is None:
            scores = tuple(logits.new_zeros(shape) for shape in ((C, C), (C,), (C,)))
            logits = logits.log_softmax(-1)  # a path's score is the logarithm of its probability
        else:
            scores = self.crf.scores()
        if self._scheme is not None:
            masks = allowed_tags(self.config.tags, self._scheme)
            scores = tuple(
                score.masked_fill(~mask.to(score.device), -torch.inf)
                for score, mask in zip(scores, masks, strict=True)
            )
        return crf_viterbi(logits, *scores, lengths=lengths)[0]
