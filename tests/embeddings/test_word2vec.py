"""Word vectors from a text: what is learned, and that it can be repeated."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn.embeddings import (
    CharacterNgrams,
    CorpusBlocks,
    CountedVocabulary,
    Word2VecKernel,
    Word2VecTrainer,
    prediction_loss,
    train_word2vec,
)
from pyrnn.embeddings.word2vec_kernel import Block, padded
from pyrnn.models import Word2VecConfig, Word2VecModel
from pyrnn.train import TrainConfig

TOPICS = ("sun rain wind cloud snow", "king queen crown throne court", "bread cheese soup apple wine")


def sentences(count: int = 600) -> list[list[str]]:
    """Each of one topic, with words that all have in common."""
    rng = random.Random(0)
    return [[*rng.choices(topic.split(), k=5), "the"] for topic in rng.choices(TOPICS, k=count)]


def trained(**settings: Any) -> Any:
    recipe = {"vector_size": 12, "epochs": 20, "learning_rate": 0.1, "sample": 0.0, "batch_size": 500}
    return train_word2vec(sentences(), **{**recipe, **settings})


@pytest.mark.parametrize("model", ["skipgram", "cbow"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "hierarchical-softmax"},
        {"shared_negatives": True},
        {"max_n": 4, "buckets": 1000},
        {"vector_size": 16, "window": 1, "negative": 2},
    ],
    ids=["negative", "hierarchical", "shared", "ngrams", "narrow"],
)
def test_words_of_a_topic_become_neighbours(model: str, settings: dict[str, Any]) -> None:
    result = trained(model=model, **settings)
    unit = torch.nn.functional.normalize(result.word_matrix(), dim=1)
    similar = unit @ unit.T
    similar.fill_diagonal_(-2)
    for topic in TOPICS:
        for word in topic.split():
            place = result.vocabulary.find(word)
            nearest = result.vocabulary.words[int(similar[place].argmax())]
            assert nearest in topic.split(), (word, nearest)
    assert result.losses[-1] < result.losses[0] - 0.05


def test_a_seed_decides_everything() -> None:
    first, again, other = trained(epochs=2), trained(epochs=2), trained(epochs=2, seed=2)
    assert torch.equal(first.word_matrix(), again.word_matrix())
    assert first.losses == again.losses
    assert not torch.equal(first.word_matrix(), other.word_matrix())


def small(vector_size: int = 12, **settings: Any) -> tuple[Word2VecModel, CorpusBlocks]:
    vocabulary = CountedVocabulary("abcd", [9, 7, 5, 3])
    torch.manual_seed(0)
    ids = torch.randint(0, 5, (400,), dtype=torch.int32)
    config = Word2VecConfig(4, vector_size=vector_size, sample=0.0, **settings)
    return Word2VecModel(config, seed=1), CorpusBlocks(ids, vocabulary, 64)


@pytest.mark.parametrize("vector_size", [12, 16])
def test_losses_are_those_of_the_blocks_however_many_there_are(vector_size: int) -> None:
    """Without a rate the vectors stay, and the mean over all steps is that of the whole text at once."""
    model, blocks = small(vector_size)
    torch.nn.init.normal_(model.output)
    trainer = Word2VecTrainer(model, blocks, TrainConfig(epochs=1, learning_rate=1e-30))
    steps = [trainer.step() for _ in range(trainer.epoch_steps)]
    count = sum(float(step.weight) for step in steps)
    total = sum(float(step.loss) * float(step.weight) for step in steps)
    again = [
        trainer.kernel.run(
            Block(blocks[n]["ids"], 64 * n),
            padded(model.input.detach()),
            padded(model.output.detach()),
            updates=False,
        )
        for n in range(len(blocks))
    ]
    assert count == sum(sums.predictions for sums in again)
    assert total == pytest.approx(sum(sums.loss for sums in again), rel=1e-12)
    assert sum(float(step.units) for step in steps) == blocks.words


def test_the_rate_falls_from_the_first_word_to_the_last() -> None:
    model, blocks = small(min_learning_rate=0.01)
    trainer = Word2VecTrainer(model, blocks, TrainConfig(epochs=2, learning_rate=0.05))
    rates = []
    for _ in range(trainer.total_steps):
        rates.append(trainer.learning_rate)
        trainer.step()
    ends = [0, 400, 800]
    expected = [0.05 - 0.04 * (ends[n // 7] + 64 * (n % 7)) / 800 for n in range(14)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("vector_size", [12, 16])
def test_a_state_goes_on_with_the_same_bits(vector_size: int) -> None:
    recipe = TrainConfig(epochs=2, learning_rate=0.05)
    whole = Word2VecTrainer(*small(vector_size), recipe)
    stopped = Word2VecTrainer(*small(vector_size), recipe)
    losses = [float(whole.step().loss) for _ in range(whole.total_steps)]
    for _ in range(5):
        stopped.step()
    state = {name: tensor.clone() for name, tensor in stopped.state_dict().items()}
    resumed = Word2VecTrainer(*small(vector_size), recipe)
    resumed.load_state_dict(state, 5)
    assert [float(resumed.step().loss) for _ in range(5, whole.total_steps)] == losses[5:]
    ours, theirs = resumed.state_dict(), whole.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert resumed.expected_state(5, []).keys() == ours.keys()


def test_a_judgement_is_repeatable_and_of_nothing_is_nan() -> None:
    model, blocks = small()
    trainer = Word2VecTrainer(model, blocks, TrainConfig(epochs=1, learning_rate=0.05))
    first, again = trainer.evaluate(blocks), trainer.evaluate(blocks)
    assert first == again
    alone = CorpusBlocks(torch.tensor([0, 4, 1, 4], dtype=torch.int32), blocks.vocabulary, 64)
    found = prediction_loss(trainer.kernel, model.input, model.output, alone).compute()
    assert found["predictions"] == 0
    assert found["loss"] != found["loss"]
    with pytest.raises(ValueError, match="no word of the text to judge on had a neighbour, for sample"):
        trainer.evaluate(alone)


def test_a_judgement_does_not_depend_on_the_seed_of_the_training() -> None:
    model, blocks = small()
    found = [
        Word2VecTrainer(model, blocks, TrainConfig(epochs=1, seed=seed)).evaluate(blocks) for seed in (1, 2)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"vector_size": 0}, "vector_size must be at least 1, got 0"),
        ({"negative": -1}, "negative must be at least 1, got -1"),
        ({"sample": -1.0}, "sample must not be negative"),
        ({"max_n": 2}, "max_n must be 0, for words alone, or at least min_n, got 2 and min_n 3"),
        ({"model": "glove"}, "model must be one of"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"depth": 3}, "unknown settings depth"),
        ({"max_vocabulary": 1, "loss": "hierarchical-softmax"}, "at least two words"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trained(**settings)


def test_a_model_of_another_vocabulary_or_kind_is_refused() -> None:
    model, blocks = small()
    other = CorpusBlocks(blocks.ids, CountedVocabulary("abc", [3, 2, 1]), 64)
    with pytest.raises(ValueError, match="vocabulary has 3 words, the model is for 4"):
        Word2VecTrainer(model, other, TrainConfig())
    with pytest.raises(ValueError, match=r"float32 on the CPU, got torch\.float64"):
        Word2VecTrainer(model.double(), blocks, TrainConfig())
    with pytest.raises(ValueError, match="threads of one process, got 2"):
        blocks.shard(0, 2)


def test_a_vector_is_the_mean_of_its_rows() -> None:
    result = trained(max_n=4, min_n=3, buckets=50, epochs=1)
    place = result.vocabulary.find("sun")
    begin, end = result.kernel.bags.begin[place : place + 2]
    rows: Tensor = result.model.input[result.kernel.bags.rows[begin:end].tolist()]
    assert end - begin == 1 + len(["<su", "sun", "un>", "<sun", "sun>"])
    torch.testing.assert_close(result.word_matrix()[place], rows.mean(0))


@pytest.mark.parametrize("word", ["a", "été", "日本語", "sun"])
def test_a_word_has_the_ngrams_of_its_characters(word: str) -> None:
    """Those that the kernel trains are those that a query finds."""
    vocabulary = CountedVocabulary(["x", word], [2, 1])
    bags = Word2VecKernel(Word2VecConfig(2, min_n=1, max_n=3, buckets=1000), vocabulary, seed=1).bags
    assert bags is not None
    found = bags.rows[bags.begin[1] : bags.begin[2]].tolist()
    ngrams = CharacterNgrams(torch.zeros(1000, 4), shortest=1, longest=3)
    assert found == [1, *(2 + row for row in ngrams.rows(word))]


def test_a_word_that_was_never_seen_has_a_vector_near_its_kin() -> None:
    vectors = trained(max_n=4, buckets=2000, epochs=40).vectors()
    unseen = vectors.vector("crowns")
    assert vectors.nearest(unseen, 1)[0].word in TOPICS[1].split()
    assert vectors.nearest("crown", 1)[0].word in TOPICS[1].split()
