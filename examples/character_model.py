"""Train a small character model on a text file, then let it write.

python examples/character_model.py FILE FOLDER "a prompt"
"""

from __future__ import annotations

import sys

from pyrnn.search import SamplingConfig, generate_text
from pyrnn.train import LanguageModelJob, reporter_for, train_language_model


def main(file: str, folder: str, prompt: str, *, epochs: int = 5) -> str:
    job = LanguageModelJob().updated({"text": file, "hidden_size": 128, "batch_size": 8, "epochs": epochs})
    with reporter_for() as reporter:
        run = train_language_model(job, folder, reporter=reporter)
    config = SamplingConfig(temperature=0.8, max_symbols=300)
    (passage,) = generate_text(run.model, run.tokenizer, [prompt], config)
    return prompt + passage


if __name__ == "__main__":
    print(main(*sys.argv[1:4]))
