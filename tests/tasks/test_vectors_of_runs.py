"""Word vectors of trained runs: those of the task itself, and of a language model over a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.tasks import load_run, make_job
from pyrnn.tasks.runs import open_word_vectors
from pyrnn.train import train

TEXT = "the cat sees the dog\nthe dog sees the cat\n" * 40


@pytest.mark.parametrize("model", ["glove", "skipgram"])
def test_vectors_of_a_run_are_those_of_its_words(tmp_path: Path, model: str) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    settings = {"text": str(tmp_path / "text.txt"), "model": model, "vector_size": 8, "epochs": 2}
    run: Any = train(make_job("word-vectors", settings), tmp_path / "run")
    vectors = open_word_vectors(tmp_path / "run")
    assert list(vectors.words) == list(run.vocabulary.words)
    assert torch.equal(vectors["cat"], run.word_matrix()[run.vocabulary.find("cat")])


def test_vectors_of_a_language_model_over_a_window(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    settings = {
        "text": str(tmp_path / "text.txt"),
        "level": "word",
        "architecture": "feedforward",
        "direct_connections": True,
        "hidden_size": 16,
        "embedding_size": 8,
        "batch_size": 4,
        "bptt_steps": 8,
        "epochs": 8,
    }
    run: Any = train(make_job("language-model", settings), tmp_path / "run")
    assert run.epochs[-1].score < 1.0
    again: Any = load_run(tmp_path / "run")
    vectors = open_word_vectors(tmp_path / "run")
    ids = {word: int(again.tokenizer.encode(word)[0]) for word in ("cat", "dog")}
    for word, number in ids.items():
        assert torch.equal(vectors[word], again.model.embedding.weight[number])
