"""The whole training of word vectors in one call, by skip-gram, CBOW or GloVe.

Dimension key: V vocabulary, D width of a vector, P pairs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from pyrnn._configuration import from_mapping
from pyrnn.embeddings.cooccurrence import PairBatches, count_cooccurrences
from pyrnn.embeddings.corpus import Words, make_corpus
from pyrnn.embeddings.glove_training import GloveTrainer, glove_matrix
from pyrnn.embeddings.vectors import WordVectors
from pyrnn.embeddings.vocabulary import CountedVocabulary
from pyrnn.embeddings.word2vec import CorpusBlocks, Word2VecTrainer, word_matrix, word_vectors
from pyrnn.embeddings.word2vec_kernel import Word2VecKernel
from pyrnn.models import GloveModel, Word2VecConfig, Word2VecModel, WordVectorConfig
from pyrnn.text import Source
from pyrnn.train import TrainConfig


@dataclass(frozen=True)
class TextConfig:
    """How the text of a training is read.

    Args:
        words: how it is cut: "words" or "spaces".
        lowercase: read it without regard to capitals.
        min_count: words that occur less often are left out.
        max_vocabulary: words to keep; None keeps all.

    Example:
        >>> TextConfig().min_count
        5
    """

    words: Words = "words"
    lowercase: bool = False
    min_count: int = 5
    max_vocabulary: int | None = None


@dataclass(frozen=True)
class TrainedWord2Vec:
    """Words with their vectors, and how the training went.

    Args:
        vocabulary: the words.
        model: both matrices.
        losses: of each epoch the mean loss of a prediction, made before it was learned.
        kernel: knows the n-grams of the words.

    Example:
        >>> trained = train_word2vec([["to", "be"]] * 9, sample=0.0, vector_size=8, epochs=3)
        >>> trained.word_matrix().shape, len(trained.losses)
        (torch.Size([2, 8]), 3)
    """

    vocabulary: CountedVocabulary
    model: Word2VecModel
    losses: list[float]
    kernel: Word2VecKernel

    def word_matrix(self) -> Tensor:
        """The vectors of all words, [V, D]: with n-grams the means of their rows."""
        return word_matrix(self.model, self.kernel)

    def vectors(self) -> WordVectors:
        """The words with their vectors, to be asked and saved."""
        return word_vectors(self.model, self.kernel, self.vocabulary)


@dataclass(frozen=True)
class TrainedGlove:
    """Words with their vectors, and how the training went.

    Args:
        vocabulary: the words.
        model: all matrices.
        losses: J / P after each epoch.

    Example:
        >>> trained = train_glove([["to", "be"]] * 9, vector_size=8, epochs=3)
        >>> trained.vectors()["be"].shape, len(trained.losses)
        (torch.Size([8]), 3)
    """

    vocabulary: CountedVocabulary
    model: GloveModel
    losses: list[float]

    def word_matrix(self) -> Tensor:
        """The vectors of all words, [V, D]."""
        return glove_matrix(self.model)

    def vectors(self) -> WordVectors:
        """The words with their vectors, to be asked and saved."""
        return WordVectors(self.vocabulary.words, self.word_matrix())


def train_word2vec(
    source: Source | Iterable[Iterable[str]],
    *,
    epochs: int = 5,
    learning_rate: float = 0.025,
    batch_size: int = 100_000,
    seed: int = 1,
    **settings: Any,
) -> TrainedWord2Vec:
    """Learn word vectors; `pyrnn train word-vectors` does the same with a folder that keeps all of it.

    Args:
        source: files, folders, or sentences in memory, each an iterable of its words.
        epochs: passes over the text.
        learning_rate: where the rate begins.
        batch_size: ids of a block; results depend on it only where it cuts a sentence.
        seed: of all that is drawn.
        settings: further fields of `TextConfig` and of `pyrnn.models.Word2VecConfig`.

    Raises:
        ValueError: no words, or a setting that does not fit.
        FileNotFoundError, PermissionError, OSError: as the text's files give them.

    Example:
        >>> sentences = [["the", "king", "rules"], ["the", "queen", "rules"]] * 9
        >>> trained = train_word2vec(sentences, vector_size=16, epochs=2, sample=0.0)
        >>> trained.vocabulary.words, trained.word_matrix().shape, len(trained.losses)
        (('rules', 'the', 'king', 'queen'), torch.Size([4, 16]), 2)
    """
    recipe = from_mapping(
        TrainConfig,
        {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size, "seed": seed},
        where="train_word2vec",
    )
    text, model = _split(settings)
    config = from_mapping(Word2VecConfig, {"vocabulary_size": 1, **model}, where="train_word2vec")
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(source, Path(folder, "ids.bin"), **vars(text))
    made = Word2VecModel(replace(config, vocabulary_size=len(corpus.vocabulary)), seed=seed)
    trainer = Word2VecTrainer(made, CorpusBlocks(corpus.ids, corpus.vocabulary, batch_size), recipe)
    losses: list[float] = []
    for _ in range(epochs):
        steps = [trainer.step() for _ in range(trainer.epoch_steps)]
        total = sum(float(step.loss) * float(step.weight) for step in steps)
        losses.append(total / max(sum(float(step.weight) for step in steps), 1.0))
    trainer.end_epoch()
    return TrainedWord2Vec(corpus.vocabulary, made.eval(), losses, trainer.kernel)


def train_glove(
    source: Source | Iterable[Iterable[str]],
    *,
    epochs: int = 25,
    learning_rate: float = 0.05,
    memory_mib: float = 512.0,
    seed: int = 1,
    **settings: Any,
) -> TrainedGlove:
    """Learn GloVe vectors; `pyrnn train word-vectors --model glove` does the same and keeps all in a folder.

    Args:
        source: files, folders, or sentences in memory, each an iterable of its words.
        epochs: passes over the pairs.
        learning_rate: of AdaGrad.
        memory_mib: for the counts.
        seed: of the first vectors and the order of the pairs.
        settings: further fields of `TextConfig` and of `pyrnn.models.WordVectorConfig`; the window is 10
            unless given.

    Raises:
        ValueError: no words, no pair of them in one sentence, or a setting that does not fit.
        FileNotFoundError, PermissionError, OSError: as the text's files give them, or a disk is full.

    Example:
        >>> sentences = [["the", "king", "rules"], ["the", "queen", "rules"]] * 9
        >>> trained = train_glove(sentences, vector_size=16, epochs=2)
        >>> trained.vocabulary.words, trained.word_matrix().shape, len(trained.losses)
        (('rules', 'the', 'king', 'queen'), torch.Size([4, 16]), 2)
    """
    recipe = from_mapping(
        TrainConfig, {"epochs": epochs, "learning_rate": learning_rate, "seed": seed}, where="train_glove"
    )
    text, model = _split(settings)
    given = {"vocabulary_size": 1, "window": 10, **model, "model": "glove"}
    config = from_mapping(WordVectorConfig, given, where="train_glove")
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(source, Path(folder, "ids.bin"), **vars(text))
        config = replace(config, vocabulary_size=len(corpus.vocabulary))
        pairs = count_cooccurrences(
            corpus.ids.blocks(),
            Path(folder, "pairs.bin"),
            vocabulary_size=config.vocabulary_size,
            window=config.window,
            sides=config.sides,
            weighting=config.weighting,
            memory_mib=memory_mib,
        )
    trainer = GloveTrainer(GloveModel(config, seed=seed), PairBatches(pairs, seed=seed), recipe)
    losses: list[float] = []
    for _ in range(epochs):
        for _ in range(trainer.epoch_steps):
            trainer.step()
        losses.append(trainer.evaluate(trainer.batches)["loss"])
    trainer.end_epoch()
    return TrainedGlove(corpus.vocabulary, trainer.model.eval(), losses)


def _split(settings: Mapping[str, Any]) -> tuple[TextConfig, dict[str, Any]]:
    """How the text is read, and the settings that do not say that."""
    own = {f.name for f in fields(TextConfig)}
    text = {name: value for name, value in settings.items() if name in own}
    others = {name: value for name, value in settings.items() if name not in own}
    return from_mapping(TextConfig, text, where="the text"), others
