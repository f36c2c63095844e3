"""Train a small character model on a text file, then let it write.

python examples/character_model.py FILE "a prompt"
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from pyrnn.models import LanguageModel, LanguageModelConfig, sample_text
from pyrnn.text import Vocabulary, split_validation
from pyrnn.train import TrainConfig, fit, reporter_for


def main(file: str, prompt: str, *, epochs: int = 5) -> str:
    text = Path(file).read_text(encoding="utf-8")
    vocabulary = Vocabulary.from_text(text)
    train_ids, validation_ids = split_validation(vocabulary.encode(text))
    torch.manual_seed(0)
    model = LanguageModel(LanguageModelConfig(len(vocabulary), hidden_size=128))
    with reporter_for() as reporter:
        config = TrainConfig(epochs=epochs, batch_size=8, validation_window=64)
        fit(model, train_ids, validation_ids, config, reporter=reporter)
    return prompt + sample_text(model, vocabulary, prompt, 300, temperature=0.8)


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2]))
