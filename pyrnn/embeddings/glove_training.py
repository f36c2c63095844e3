"""Training of GloVe: the trainer, and the whole training in one call.

Dimension key: V vocabulary, D width of a vector, P pairs.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pyrnn._tensors import Expected, exactly
from pyrnn.embeddings.cooccurrence import PairBatches
from pyrnn.embeddings.glove import Glove, GloveConfig
from pyrnn.metrics.base import Metrics, ratio
from pyrnn.models import GloveModel, WordVectorConfig
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
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrnn.embeddings import count_cooccurrences
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
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrnn.embeddings import count_cooccurrences
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


def glove_matrix(model: GloveModel) -> Tensor:
    """The vectors of all words, [V, D] float32, combined as the model's `combination` says.

    Example:
        >>> model = GloveModel(WordVectorConfig(3, model="glove", vector_size=8, combination="word"))
        >>> torch.equal(glove_matrix(model), model.words.detach())
        True
    """
    with torch.no_grad():
        return model(torch.arange(model.config.vocabulary_size))
