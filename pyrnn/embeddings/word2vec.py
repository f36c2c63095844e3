"""Word vectors by skip-gram or CBOW: the trainer, and the whole training in one call.

Dimension key: V vocabulary, D width of a vector, R rows of words and n-grams, N ids of a text.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from pyrnn._tensors import Expected, exactly
from pyrnn.data import TokenFile, windows
from pyrnn.embeddings.ngrams import CharacterNgrams
from pyrnn.embeddings.vectors import WordVectors
from pyrnn.embeddings.vocabulary import CountedVocabulary
from pyrnn.embeddings.word2vec_kernel import Block, Sums, Word2VecKernel, padded
from pyrnn.metrics.base import Metrics, ratio
from pyrnn.models import Word2VecModel
from pyrnn.train import Batches, StepResult, TrainConfig

#: Of the random numbers with which a loss is computed: no training has so many epochs.
_JUDGING = (1 << 32) - 1
_JUDGED_IDS, _MOST_ROUNDS = 20_000, 100


class CorpusBlocks:
    """A text of ids in blocks; `pyrnn.train.Batches`.

    Args:
        ids: [N] int32 in [0, V]; V ends a sentence.
        vocabulary: what they mean.
        batch_size: ids of a block, the ends of sentences included.

    Raises:
        ValueError: no ids, or blocks of none.

    Example:
        >>> blocks = CorpusBlocks(torch.tensor([1, 0, 2, 1, 2]), CountedVocabulary("ab", [3, 2]), 3)
        >>> len(blocks), blocks[1]["ids"].tolist(), blocks.words
        (2, [1, 2], 3)
    """

    def __init__(self, ids: Tensor | TokenFile, vocabulary: CountedVocabulary, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not len(ids):
            raise ValueError("the text has no words")
        self.ids, self.vocabulary, self.batch_size = ids, vocabulary, batch_size

    def __len__(self) -> int:
        return -(-len(self.ids) // self.batch_size)

    def __getitem__(self, step: int) -> Mapping[str, Tensor]:
        """Block `step` of all epochs: "ids" [n] int32, and "words", how many of them are no ends."""
        begin = step % len(self) * self.batch_size
        count = min(self.batch_size, len(self.ids) - begin)
        ids = windows(self.ids, torch.tensor([begin]), count).squeeze(1).int()
        # By numpy: torch's threads would wait for each other here, and spin for milliseconds afterwards.
        return {"ids": ids, "words": torch.tensor(np.count_nonzero(ids.numpy() < len(self.vocabulary)))}

    @property
    def words(self) -> int:
        """Of the whole text; all of it is read."""
        return sum(int(self[step]["words"]) for step in range(len(self)))

    def shard(self, rank: int, world: int) -> Self:
        """The whole, for one process alone.

        Raises:
            ValueError: there are several.
        """
        if world > 1:
            raise ValueError(
                f"word vectors are trained by the threads of one process, got {world} parts: start it "
                "without torchrun"
            )
        return self


class PredictionLoss(Metrics):
    """Mean loss of a prediction: "loss", of "predictions".

    Example:
        >>> scores = PredictionLoss()
        >>> scores.update(Sums(6.0, 2, 2))
        >>> scores.compute()
        {'loss': 3.0, 'predictions': 2.0}
    """

    size = 2

    def update(self, sums: Sums) -> None:
        """Add a block's."""
        self.sums += torch.tensor([sums.loss, sums.predictions], dtype=torch.float64)

    def compute(self) -> dict[str, float]:
        """As the class says."""
        return {"loss": ratio(self.sums[0], self.sums[1]), "predictions": self.sums[1].item()}


def prediction_loss(
    kernel: Word2VecKernel, input: Tensor, output: Tensor, batches: CorpusBlocks
) -> PredictionLoss:
    """The loss of a text; windows and noise are drawn alike whatever the kernel's seed, so that models can be
    compared.

    A short text is judged several times, for of frequent words few occurrences are left each time.

    Args:
        kernel: has the loss.
        input: [R, D] float32.
        output: [V, D] float32, or the nodes'.
        batches: the text.

    Example:
        >>> vocabulary = CountedVocabulary(["to", "be"], [2, 1])
        >>> from pyrnn.models import Word2VecConfig
        >>> config = Word2VecConfig(2, vector_size=8, loss="hierarchical-softmax", sample=0.0)
        >>> model, kernel = Word2VecModel(config), Word2VecKernel(config, vocabulary, seed=1)
        >>> blocks = CorpusBlocks(torch.tensor([0, 1, 2]), vocabulary, 100)
        >>> round(prediction_loss(kernel, model.input, model.output, blocks).compute()["loss"], 4)
        0.6931
    """
    scores = PredictionLoss()
    judge = copy(kernel)
    judge.seed = 1
    rounds = min(max(_JUDGED_IDS // len(batches.ids), 1), _MOST_ROUNDS)
    matrices = padded(input.detach().cpu()), padded(output.detach().cpu())
    for step in range(len(batches)):
        ids = batches[step]["ids"]
        for judgement in range(rounds):
            block = Block(ids, step * batches.batch_size, _JUDGING - judgement)
            scores.update(judge.run(block, *matrices, updates=False))
    return scores


class Word2VecTrainer:
    """Trains word vectors by plain stochastic gradient descent, one prediction after another; a `Trainer`.

    A step is a block of the text. The rate falls linearly over all words, from `learning_rate` to
    `min_learning_rate`. Everything that is drawn follows from the seed and the place in the text, so with one
    thread the same seed gives the same bits, also of a run that was stopped. More threads write to the same
    vectors without locks (Recht et al., "Hogwild", 2011): then the vectors, and the last digits of the
    losses, are others each time.

    Args:
        model: trained in place; its parameters are up to date within `weights` and after `end_epoch`.
        batches: the text.
        config: the recipe, of which it takes epochs, max_steps, learning_rate and seed.

    Raises:
        ValueError: the model is for another vocabulary, or its vectors are not float32 on the CPU.

    Example:
        >>> vocabulary = CountedVocabulary(["to", "be"], [2, 1])
        >>> from pyrnn.models import Word2VecConfig
        >>> model = Word2VecModel(Word2VecConfig(2, vector_size=8))
        >>> blocks = CorpusBlocks(torch.tensor([0, 1, 0, 2]), vocabulary, 100)
        >>> trainer = Word2VecTrainer(model, blocks, TrainConfig(epochs=2, learning_rate=0.025))
        >>> trainer.step().work, trainer.total_steps
        (3.0, 2)
    """

    unit = "words"

    def __init__(self, model: Word2VecModel, batches: CorpusBlocks, config: TrainConfig) -> None:
        for parameter in model.parameters():
            if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
                raise ValueError(
                    f"word vectors are trained as float32 on the CPU, got {parameter.dtype} on "
                    f"{parameter.device}: use --device cpu"
                )
        self.model, self.batches, self.config = model, batches, config
        self.kernel = Word2VecKernel(model.config, batches.vocabulary, seed=config.seed)
        self.epoch_steps = len(batches)
        self.total_steps = min(config.epochs * len(batches), config.max_steps or sys.maxsize)
        self.steps_done = 0
        self._predictions = 0
        self._input, self._output = padded(model.input.detach()), padded(model.output.detach())

    def _rate(self, step: int) -> float:
        """At the beginning of a step: linear in the ids before it."""
        first, last = self.config.learning_rate, self.model.config.min_learning_rate
        return first + (min(last, first) - first) * self._ids_before(step) / self._ids_before(
            self.total_steps
        )

    def _ids_before(self, step: int) -> int:
        epoch, block = divmod(step, self.epoch_steps)
        return epoch * len(self.batches.ids) + block * self.batches.batch_size

    @property
    def learning_rate(self) -> float:
        """At the beginning of the next step."""
        return self._rate(self.steps_done)

    def step(self) -> StepResult:
        """Train on the next block; the loss is the mean of its predictions, each before it was learned.

        Raises:
            ValueError: there were none in the whole training.
        """
        step, batch = self.steps_done, self.batches[self.steps_done]
        epoch, block = divmod(step, self.epoch_steps)
        sums = self.kernel.run(
            Block(batch["ids"], block * self.batches.batch_size, epoch),
            self._input,
            self._output,
            rates=(self._rate(step), self._rate(step + 1)),
        )
        self.steps_done += 1
        self._predictions += sums.predictions
        if self.steps_done == self.total_steps and not self._predictions:
            raise ValueError(_nothing_learned(self.model.config.sample))
        mean = torch.tensor(sums.loss / max(sums.predictions, 1), dtype=torch.float64)
        return StepResult(mean, None, float(sums.predictions), float(batch["words"]))

    def evaluate(self, batches: Batches) -> dict[str, float]:
        """The mean loss of a prediction of another text.

        Raises:
            ValueError: there was none, since too many words are left out at random.
        """
        assert isinstance(batches, CorpusBlocks)
        found = prediction_loss(self.kernel, self._input, self._output, batches).compute()
        if not found["predictions"]:
            raise ValueError(
                f"no word of the text to judge on had a neighbour, for sample {self.model.config.sample} "
                "leaves out too many at random: raise it, or set it to 0, which keeps all"
            )
        return {"loss": found["loss"]}

    @contextmanager
    def weights(self) -> Generator[Word2VecModel, None, None]:
        """The model, brought up to date."""
        self.end_epoch()
        yield self.model

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Bring the model up to date."""
        for parameter, rows in self._pairs():
            if rows.data_ptr() != parameter.data_ptr():
                parameter.copy_(rows[:, : parameter.shape[1]])

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        return [(self.model.input, self._input), (self.model.output, self._output)]

    def state_dict(self) -> dict[str, Tensor]:
        """The matrices: "model/input" and "model/output"."""
        self.end_epoch()
        return {f"model/{name}": tensor.detach() for name, tensor in self.model.named_parameters()}

    def expected_state(self, steps: int, names: Sequence[str]) -> dict[str, Expected]:
        """What `state_dict` gives, whatever the step."""
        return {f"model/{name}": exactly(tensor) for name, tensor in self.model.named_parameters()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Go on from these matrices."""
        self.steps_done, self._predictions = steps, steps  # taken for granted of what was trained before
        for name, (parameter, rows) in zip(("input", "output"), self._pairs(), strict=True):
            parameter.copy_(state[f"model/{name}"])
            rows[:, : parameter.shape[1]] = parameter


def _nothing_learned(sample: float) -> str:
    """What to tell of an epoch without predictions."""
    return (
        "no word of the text has a neighbour in its sentence, so nothing can be learned: lower min_count"
        + (f", or sample, which is {sample} and leaves words out at random (0 keeps all)" if sample else "")
        + ", or give a text with longer sentences"
    )


@torch.no_grad()
def word_matrix(model: Word2VecModel, kernel: Word2VecKernel) -> Tensor:
    """The vectors of all words, [V, D] float32: with n-grams each the mean of its rows.

    Example:
        >>> from pyrnn.embeddings import train_word2vec
        >>> trained = train_word2vec([["to", "be"]] * 9, sample=0.0, vector_size=8, max_n=4, buckets=50)
        >>> word_matrix(trained.model, trained.kernel).shape
        torch.Size([2, 8])
    """
    if kernel.bags is None:
        return model.input.detach()
    rows, begin = torch.from_numpy(kernel.bags.rows.copy()).long(), torch.from_numpy(kernel.bags.begin)
    return torch.nn.functional.embedding_bag(rows, model.input, begin[:-1], mode="mean")


def word_vectors(model: Word2VecModel, kernel: Word2VecKernel, vocabulary: CountedVocabulary) -> WordVectors:
    """Trained vectors as `WordVectors`; with n-grams they know words that were never seen, too.

    Example:
        >>> from pyrnn.embeddings import train_word2vec
        >>> trained = train_word2vec([["to", "be"]] * 9, sample=0.0, vector_size=8, max_n=4, buckets=50)
        >>> vectors = word_vectors(trained.model, trained.kernel, trained.vocabulary)
        >>> len(vectors), vectors.vector("unseen").shape
        (2, torch.Size([8]))
    """
    config, ngrams = model.config, None
    if config.max_n:
        rows = model.input.detach()[config.vocabulary_size :]
        ngrams = CharacterNgrams(rows, shortest=config.min_n, longest=config.max_n)
    return WordVectors(vocabulary.words, word_matrix(model, kernel), ngrams=ngrams)
