"""Training of GloVe: the trainer, and the whole training in one call.

Dimension key: V vocabulary, D width of a vector, P pairs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrnn._configuration import from_mapping
from pyrnn._tensors import Expected, exactly
from pyrnn.embeddings.cooccurrence import PairBatches, count_cooccurrences
from pyrnn.embeddings.corpus import Words, make_corpus
from pyrnn.embeddings.glove import Glove, GloveConfig
from pyrnn.embeddings.vocabulary import CountedVocabulary
from pyrnn.metrics.base import Metrics, ratio
from pyrnn.models import GloveModel, WordVectorConfig
from pyrnn.text import Source
from pyrnn.train import Batches, StepResult, TrainConfig


class PairLoss(Metrics):
    """Mean loss of a pair: "loss", of "pairs".

    Example:
        >>> scores = PairLoss()
        >>> scores.update(0.5, 4)
        >>> scores.compute()
        {'loss': 0.5, 'pairs': 4.0}
    """

    size = 2

    def update(self, loss: float, pairs: int) -> None:
        """Add so many pairs with this mean."""
        self.sums += torch.tensor([loss * pairs, pairs], dtype=torch.float64)

    def compute(self) -> dict[str, float]:
        """As the class says."""
        return {"loss": ratio(self.sums[0], self.sums[1]), "pairs": self.sums[1].item()}


def pair_loss(model: GloveModel, batches: PairBatches) -> PairLoss:
    """J / P of a model over all pairs, in float64.

    Args:
        model: on any device.
        batches: the pairs.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "pairs.bin")
        ...     pairs = count_cooccurrences([torch.tensor([0, 1, 0])], path, vocabulary_size=2, window=1)
        ...     model = GloveModel(WordVectorConfig(2, model="glove", vector_size=8), seed=1)
        ...     pair_loss(model, PairBatches(pairs, seed=1)).compute()["pairs"]
        2.0
    """
    scores = PairLoss()
    loss = _native_form(model).loss(batches.pairs, _config(model.config, TrainConfig()))
    scores.update(loss, len(batches.pairs))
    return scores


class GloveTrainer:
    """Trains GloVe; a `Trainer`.

    A step is a block of pairs, and the learning rate stays what it is: AdaGrad's steps shrink by themselves.
    With one thread the same seed gives the same bits, also of a run that was stopped.

    Args:
        model: trained in place; its parameters are up to date within `weights` and after `end_epoch`.
        batches: the pairs.
        config: the recipe, of which it takes epochs, max_steps and learning_rate.

    Raises:
        ValueError: the pairs are of another vocabulary, the model is not on the CPU, or a learning rate above
            10.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "pairs.bin")
        ...     pairs = count_cooccurrences([torch.tensor([0, 1, 0])], path, vocabulary_size=2)
        ...     model = GloveModel(WordVectorConfig(2, model="glove", vector_size=8))
        ...     trainer = GloveTrainer(model, PairBatches(pairs, seed=1), TrainConfig(epochs=2))
        ...     trainer.step().weight, trainer.total_steps
        (3.0, 2)
    """

    unit = "pairs"

    def __init__(self, model: GloveModel, batches: PairBatches, config: TrainConfig) -> None:
        if batches.pairs.vocabulary_size != model.config.vocabulary_size:
            raise ValueError(
                f"the pairs are of {batches.pairs.vocabulary_size} words, the model has "
                f"{model.config.vocabulary_size}"
            )
        if any(p.dtype != torch.float32 or p.device.type != "cpu" for p in model.parameters()):
            raise ValueError("word vectors are trained as float32 on the CPU: use --device cpu")
        self.model, self.batches = model, batches
        self.epoch_steps = len(batches)
        self.total_steps = min(config.epochs * len(batches), config.max_steps or sys.maxsize)
        self.steps_done = 0
        self.glove, self._config = _native_form(model), _config(model.config, config)

    @property
    def learning_rate(self) -> float:
        """Of every step."""
        return self._config.learning_rate

    def step(self) -> StepResult:
        """Train on the next block; the loss is the mean of its pairs, each before its step.

        Raises:
            FloatingPointError: the vectors have left the range of numbers.
        """
        batch = self.batches[self.steps_done]
        loss = self.glove.train(batch, self._config)
        self.steps_done += 1
        return StepResult(torch.tensor(loss, dtype=torch.float64), None, float(len(batch["pairs"])))

    def evaluate(self, batches: Batches) -> dict[str, float]:
        """J / P over all pairs, at the vectors as they are."""
        assert isinstance(batches, PairBatches)
        scores = PairLoss()
        scores.update(self.glove.loss(batches.pairs, self._config), len(batches.pairs))
        return scores.compute()

    @contextmanager
    def weights(self) -> Generator[GloveModel, None, None]:
        """The model, brought up to date."""
        self.end_epoch()
        yield self.model

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Bring the model up to date."""
        for parameter, own in zip(self.model.parameters(), self.glove.parts, strict=True):
            parameter.copy_(own)

    def state_dict(self) -> dict[str, Tensor]:
        """The numbers and the sums of their squared gradients: "glove/rows"."""
        return {"glove/rows": self.glove.rows}

    def expected_state(self, steps: int, names: Sequence[str]) -> dict[str, Expected]:
        """What `state_dict` gives, whatever the step."""
        return {"glove/rows": exactly(self.glove.rows)}

    def load_state_dict(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Go on from these numbers."""
        self.steps_done = steps
        self.glove.rows.copy_(state["glove/rows"])
        self.end_epoch()


@torch.no_grad()
def _native_form(model: GloveModel) -> Glove:
    glove = Glove(model.config.vocabulary_size, model.config.vector_size)
    for own, parameter in zip(glove.parts, model.parameters(), strict=True):
        own.copy_(parameter)
    return glove


def _config(model: WordVectorConfig, recipe: TrainConfig) -> GloveConfig:
    return GloveConfig(x_max=model.x_max, alpha=model.alpha, learning_rate=recipe.learning_rate)


@dataclass(frozen=True)
class TrainedGlove:
    """Words with their vectors, and how the training went.

    Args:
        vocabulary: the words.
        model: all matrices.
        losses: J / P after each epoch.

    Example:
        >>> trained = train_glove([["to", "be"]] * 9, vector_size=8, epochs=3)
        >>> trained.word_matrix().shape, len(trained.losses)
        (torch.Size([2, 8]), 3)
    """

    vocabulary: CountedVocabulary
    model: GloveModel
    losses: list[float]

    def word_matrix(self) -> Tensor:
        """The vectors of all words, [V, D]."""
        return glove_matrix(self.model)


def glove_matrix(model: GloveModel) -> Tensor:
    """The vectors of all words, [V, D] float32, combined as the model's `combination` says.

    Example:
        >>> model = GloveModel(WordVectorConfig(3, model="glove", vector_size=8, combination="word"))
        >>> torch.equal(glove_matrix(model), model.words.detach())
        True
    """
    with torch.no_grad():
        return model(torch.arange(model.config.vocabulary_size))


def train_glove(
    source: Source | Iterable[Iterable[str]],
    *,
    words: Words = "words",
    lowercase: bool = False,
    min_count: int = 5,
    max_vocabulary: int | None = None,
    epochs: int = 25,
    learning_rate: float = 0.05,
    memory_mib: float = 512.0,
    seed: int = 1,
    **model: Any,
) -> TrainedGlove:
    """Learn GloVe vectors; `pyrnn train word-vectors --model glove` does the same and keeps all in a folder.

    Args:
        source: files, folders, or sentences in memory, each an iterable of its words.
        words: how a text is cut: "words" or "spaces".
        lowercase: read a text without regard to capitals.
        min_count: words that occur less often are left out.
        max_vocabulary: words to keep; None keeps all.
        epochs: passes over the pairs.
        learning_rate: of AdaGrad.
        memory_mib: for the counts.
        seed: of the first vectors and the order of the pairs.
        model: further fields of `pyrnn.models.WordVectorConfig`; the window is 10 unless given.

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
    settings = {"vocabulary_size": 1, "window": 10, **model, "model": "glove"}
    config = from_mapping(WordVectorConfig, settings, where="train_glove")
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(
            source,
            Path(folder, "ids.bin"),
            words=words,
            lowercase=lowercase,
            min_count=min_count,
            max_vocabulary=max_vocabulary,
        )
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
