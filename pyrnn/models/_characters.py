"""Features of a word by its characters: what a tagger knows of words that its vocabulary lacks.

Dimension key: N words, W characters of a word, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import pyrnn.nn
from pyrnn.models.configs import TaggerConfig

_WINDOW = 3  # characters that a filter sees


class CharacterFeatures(nn.Module):
    """Ids of characters [..., W], 0 behind a word, to features [..., F].

    "cnn": the largest response of each of F filters over windows of three characters. "lstm": the last states
    of an LSTM from both ends, F / 2 units each.

    Args:
        config: of the tagger.

    Source: Ma and Hovy, End-to-end sequence labeling via bi-directional LSTM-CNNs-CRF (2016), section 2.1;
    Lample et al., Neural architectures for named entity recognition (2016), section 4.1.
    """

    def __init__(self, config: TaggerConfig) -> None:
        super().__init__()
        E, F = config.character_size, config.character_features
        self.embedding = nn.Embedding(config.num_characters, E, padding_idx=0)
        self.cnn: nn.Conv1d | None = None
        self.lstm: pyrnn.nn.LSTM | None = None
        if config.characters == "cnn":
            self.cnn = nn.Conv1d(E, F, _WINDOW, padding=_WINDOW // 2)
        else:
            self.lstm = pyrnn.nn.LSTM(E, F // 2, bidirectional=True)

    def forward(self, character: Tensor) -> Tensor:
        """Features of each word; those of no characters mean nothing, and are finite.

        Args:
            character: [..., W] int64.
        """
        words = character.flatten(0, -2)
        lengths = (words != 0).sum(1)
        vectors = self.embedding(words)
        if self.cnn is not None:
            found = self.cnn(vectors.transpose(1, 2))
            behind = torch.arange(words.shape[1], device=words.device) >= lengths.clamp(min=1).unsqueeze(1)
            features = found.masked_fill(behind.unsqueeze(1), -torch.inf).amax(2)
        else:
            assert self.lstm is not None
            _, (h_n, _) = self.lstm(vectors.transpose(0, 1), lengths=lengths)
            features = h_n.transpose(0, 1).flatten(1)
        return features.unflatten(0, character.shape[:-1])
