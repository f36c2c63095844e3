"""The benchmark of word vectors: what is compared is alike."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyrnn.bench import word_vectors
from pyrnn.bench.word_vectors import MISSING, main, stream_of, trainer_of
from pyrnn.bench.word_vectors_quality import spread

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("gensim") is None, reason="gensim is not installed"
)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_vectors.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="needs gensim"):
        main(["--no-record"])
    assert "pip install gensim==" in MISSING


@pytest.mark.parametrize("name", ["text", "zipf"])
def test_streams_have_the_words_that_are_asked_for(name: str, tmp_path: Path) -> None:
    stream = stream_of(name, 20_000, [], tmp_path)
    assert stream.corpus.words + stream.corpus.left_out == pytest.approx(20_000, rel=0.02)
    assert len(stream.lines.read_text().split()) == stream.corpus.words + stream.corpus.left_out


def test_a_mean_has_an_interval() -> None:
    pytest.importorskip("scipy")
    found = spread([1.0, 2.0, 3.0])  # 2 +- 4.3027 / sqrt 3, of two degrees of freedom
    assert found["mean"] == 2
    assert found["interval"] == pytest.approx([2 - 2.48414, 2 + 2.48414], abs=1e-5)


@needs_package
@pytest.mark.filterwarnings("ignore")
def test_both_sides_train_on_the_same_words(tmp_path: Path) -> None:
    stream = stream_of("text", 20_000, [], tmp_path)
    theirs = word_vectors.gensim_of("skipgram", stream, 8, workers=1)
    assert sorted(theirs.wv.key_to_index) == sorted(stream.corpus.vocabulary.words)
    ours = trainer_of("skipgram", stream.corpus, 8, epochs=1)
    counts = [theirs.wv.get_vecattr(word, "count") for word in stream.corpus.vocabulary.words]
    assert counts == stream.corpus.vocabulary.counts.tolist()
    kept = [theirs.wv.get_vecattr(w, "sample_int") / 2**32 for w in stream.corpus.vocabulary.words]
    assert ours.kernel.keep is not None
    np.testing.assert_allclose(ours.kernel.keep / 2**32, kept, rtol=1e-5)


@needs_package
@pytest.mark.filterwarnings("ignore")
def test_a_row_is_printed(capsys: pytest.CaptureFixture[str], two_threads: None) -> None:
    few: list[Any] = ["--words", "5000", "--rounds", "1", "--dimension", "8", "--workers", "1", "--no-record"]
    main([*map(str, few), "--stream", "text", "--mode", "cbow"])
    row = json.loads(capsys.readouterr().out)
    assert row["ratio"] > 0
    assert row["words_per_second"].keys() == {"pyrnn", "gensim"}
    assert torch.get_num_threads() == 1


@needs_package
@pytest.mark.filterwarnings("ignore")
def test_both_sides_are_judged_with_every_seed(capsys: pytest.CaptureFixture[str]) -> None:
    few: list[Any] = ["--dimension", "8", "--epochs", "1", "--seeds", "2", "--mode", "cbow", "--no-record"]
    main(["--quality", "--text", "shakespeare", *few])
    row = json.loads(capsys.readouterr().out)
    assert row["seeds"] == [1, 2]
    assert row["scores"].keys() >= {"simlex999", "gram7-past-tense", "held_out_loss"}
    for score in row["scores"].values():
        for side in ("pyrnn", "gensim"):
            low, high = score[side]["interval"]
            assert low <= score[side]["mean"] <= high
    assert row["scores"]["simlex999"]["pairs"] < row["scores"]["simlex999"]["unknown"]
