"""Train a small character model on a text file, then let it write.

python examples/character_model.py FILE FOLDER "a prompt"
"""

from __future__ import annotations

import sys

from pyrnn.search import SamplingConfig, generate_text
from pyrnn.tasks import make_job
from pyrnn.tasks.language_model import TextRun
from pyrnn.train import reporter_for, train


def main(file: str, folder: str, prompt: str, *, epochs: int = 5) -> str:
    settings = {"text": file, "hidden_size": 128, "batch_size": 8, "epochs": epochs}
    with reporter_for() as reporter:
        run = train(make_job("language-model", settings), folder, reporter=reporter)
    config = SamplingConfig(temperature=0.8, max_tokens=300)
    assert isinstance(run, TextRun)
    (passage,) = generate_text(run.model, run.tokenizer, [prompt], config)
    return prompt + passage


if __name__ == "__main__":
    print(main(*sys.argv[1:4]))
