"""Trainings whose words begin with vectors that were learned elsewhere."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.embeddings import WordVectors, write_vectors
from pyrnn.embeddings.ngrams import CharacterNgrams
from pyrnn.models import Seq2Seq, Tagger
from pyrnn.tasks import make_job
from pyrnn.train import Job, train
from tests.tasks.test_tagger import sentences, write
from tests.train.small_runs import KillAt, Killed, result_of, resume, small_job

WORDS = ["quick", "brown", "fox", "dog", "unused"]


def vectors_of(folder: Path, words: list[str] = WORDS, dimension: int = 8) -> WordVectors:
    generator = torch.Generator().manual_seed(3)
    vectors = WordVectors.from_arrays(words, torch.randn(len(words), dimension, generator=generator))
    vectors.save(folder / "vectors")
    write_vectors(vectors, folder / "vectors.vec.gz", "word2vec")
    return vectors


def word_job(folder: Path, **settings: Any) -> Job:
    return small_job(folder, level="word", epochs=2, num_layers=1, **settings)


def embedding(run: Any) -> torch.Tensor:
    return run.model.embedding.weight.detach()


@pytest.mark.parametrize("name", ["vectors", "vectors.vec.gz"])
@pytest.mark.parametrize("frozen", [True, False])
def test_known_words_begin_with_their_vectors_and_stay_if_asked(
    name: str, frozen: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = vectors_of(tmp_path)
    job = word_job(tmp_path, vectors=str(tmp_path / name), freeze_vectors=frozen)
    with caplog.at_level(logging.INFO, "pyrnn"):
        run: Any = train(job, tmp_path / "run")
    told = f"4 of 11 words have a vector in {tmp_path / name}; the other 7 begin as without"
    assert [message for message in caplog.messages if told in message]
    assert ("none is trained" in caplog.text) == frozen
    tokens = run.tokenizer.vocabulary.tokens
    rows = [tokens.index(word) for word in WORDS[:4]]
    assert torch.equal(embedding(run)[rows], vectors[WORDS[:4]]) == frozen
    assert (embedding(run)[rows] - vectors[WORDS[:4]]).abs().max() < 1.5  # it learned from there
    torch.manual_seed(job.train.seed)
    fresh = job.task.build(run.job).get_parameter("embedding.weight")
    others = [row for row in range(len(tokens)) if row not in rows]
    assert torch.equal(embedding(run)[others], fresh[others]) == frozen


@pytest.mark.parametrize("frozen", [True, False])
def test_a_killed_run_ends_with_the_same_bits(frozen: bool, tmp_path: Path) -> None:
    vectors_of(tmp_path)
    job = word_job(tmp_path, vectors=str(tmp_path / "vectors"), freeze_vectors=frozen)
    train(job, tmp_path / "whole")
    for again, moment in enumerate((2, 6, 9)):
        with pytest.raises(Killed):
            train(job, tmp_path / "killed", resume=bool(again), reporter=KillAt(moment))
        if again:  # a checkpoint has them
            (tmp_path / "vectors" / "vectors.safetensors").unlink(missing_ok=True)
    resume(tmp_path / "killed")
    assert result_of(tmp_path / "killed") == result_of(tmp_path / "whole")


def test_a_tagger_reads_capitals_as_small_letters_and_unseen_words_by_their_ngrams(tmp_path: Path) -> None:
    words = {"3": "Three", "7": "seven"}
    named = [[(words.get(a, a), tag) for a, tag in sentence] for sentence in sentences(60)]
    ngrams = CharacterNgrams(torch.randn(9, 8), shortest=4, longest=4)
    WordVectors(["three", "5"], torch.randn(2, 8), ngrams=ngrams).save(tmp_path / "vectors")
    vectors = WordVectors.load(tmp_path / "vectors")
    settings = {"text": str(write(tmp_path / "text.tsv", named)), "embedding_size": 8, "hidden_size": 8}
    start = {"vectors": str(tmp_path / "vectors"), "freeze_vectors": True, "max_steps": 1}
    run: Any = train(make_job("tagger", {**settings, **start}), tmp_path / "run")
    assert isinstance(run.model, Tagger)
    tokens = run.words.tokens.tokens
    for word, row in (("Three", vectors["three"]), ("5", vectors["5"]), ("seven", vectors["seven"])):
        assert torch.equal(embedding(run)[tokens.index(word)], row)


def test_a_translator_reads_its_source_with_them(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{a} {b}\t{b} {a}\n" for a in WORDS for b in WORDS))
    vectors = vectors_of(tmp_path)
    settings = {"pairs": str(pairs), "level": "word", "embedding_size": 8, "hidden_size": 8, "max_steps": 1}
    start = {"vectors": str(tmp_path / "vectors"), "freeze_vectors": True, "validation_size": 5}
    with pytest.raises(ValueError, match=r"is embedding\.weight and projection\.weight"):
        train(make_job("translation", {**settings, **start, "tied": "all"}), tmp_path / "tied")
    assert not (tmp_path / "tied").exists()
    run: Any = train(make_job("translation", {**settings, **start, "tied": "target"}), tmp_path / "run")
    assert isinstance(run.model, Seq2Seq)
    table = run.model.get_parameter("source_embedding.weight")
    tokens = run.source_tokenizer.word_list()
    assert torch.equal(table[[tokens.index(word) for word in WORDS]], vectors[WORDS])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"embedding_size": 9}, "have 8 numbers, those of the model 9: set embedding_size to 8"),
        ({"architecture": "transformer", "num_heads": 2}, "those of the model 16: set hidden_size to 8"),
        ({"level": "character"}, "tokens must be words, these are characters: set level to 'word'"),
        ({"input": "one-hot"}, "one-hot input has no vectors"),
        ({"tied": True, "freeze_vectors": True}, "embedding.weight is projection.weight, too"),
        ({"vectors": "gone"}, "gone"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_no_folder(
    settings: dict[str, Any], told: str, tmp_path: Path
) -> None:
    vectors_of(tmp_path)
    given = {"level": "word", "vectors": str(tmp_path / "vectors"), **settings}
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        train(small_job(tmp_path, **given), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_learned_words_is_a_source(tmp_path: Path) -> None:
    first: Any = train(word_job(tmp_path, max_steps=2), tmp_path / "first")
    settings = {"vectors": str(tmp_path / "first"), "freeze_vectors": True, "architecture": "gru", "seed": 2}
    second: Any = train(word_job(tmp_path, max_steps=2, **settings), tmp_path / "second")
    assert torch.equal(embedding(second), embedding(first))


def test_vectors_of_other_words_are_refused(tmp_path: Path) -> None:
    vectors_of(tmp_path, ["rapide", "renard"])
    with pytest.raises(ValueError, match="none of the 11 words of the model has a vector"):
        train(word_job(tmp_path, vectors=str(tmp_path / "vectors")), tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"freeze_vectors": True}, "needs vectors"), ({"vectors": "a", "init_from": "b"}, "choose one")],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        small_job(tmp_path, **settings)
