"""Word vectors by skip-gram or CBOW in plain torch: prediction after prediction, as the formulas stand.

Sources: Mikolov et al., "Efficient estimation of word representations in vector space", 2013, and
"Distributed representations of words and phrases and their compositionality", 2013.

Dimension key: V vocabulary, D width of a vector, R rows of words and n-grams, C inputs and K targets of a
step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pyrnn.reference.philox import philox

#: Predictions of a window that are one step, where they are.
_GROUP = 8
_ALL = 0xFFFFFFFF


def random_words(seed: int, stream: int, epoch: int) -> Iterator[int]:
    """Uniform words of 32 bits: those of Philox's counters (n, stream, stream's upper half, epoch).

    Example:
        >>> words = random_words(0, 0, 0)
        >>> hex(next(words))
        '0x5f6fb709'
    """
    others = [torch.tensor(number) for number in (stream & _ALL, stream >> 32, epoch)]
    block = 0
    while True:
        blocks = torch.arange(block, block + 64)
        drawn = philox(torch.tensor(seed), (blocks, others[0], others[1], others[2]))
        yield from torch.stack(drawn, 1).flatten().tolist()
        block += 64


def prediction_loss(x: Tensor, targets: Tensor, signs: Tensor) -> Tensor:
    """The loss sum_t log(1 + exp(-s_t x . u_t)) of inputs [C, D], targets [K, D] and signs [K].

    Example:
        >>> prediction_loss(torch.zeros(1, 4), torch.zeros(2, 4), torch.tensor([1.0, -1.0]))
        tensor(1.3863)
    """
    return -F.logsigmoid(signs * (x @ targets.T)).sum()


@dataclass
class Word2Vec:
    """One task of a training: its sentences, one after another.

    Args:
        input: [R, D], trained in place.
        output: [V, D] or the nodes', trained in place.
        window: the largest one.
        shrink: whether windows are drawn.
        cbow: whether a word is predicted from the mean of the others.
        batched: whether the predictions of a window are one step.
        negatives: noise words.
        keep: [V], how many of 2^32 occurrences are kept; None keeps all.
        noise: the alias table's thresholds [V] and others [V]; None for hierarchical softmax.
        paths: of each word its nodes and signs.
        bags: of each word its rows of `input`; None: its own.
    """

    input: Tensor
    output: Tensor
    window: int = 5
    shrink: bool = True
    cbow: bool = False
    batched: bool = False
    negatives: int = 5
    keep: Sequence[int] | None = None
    noise: tuple[Sequence[int], Sequence[int]] | None = None
    paths: Sequence[tuple[Sequence[int], Sequence[float]]] | None = None
    bags: Sequence[Sequence[int]] | None = None

    def run(
        self, ids: Sequence[int], random: Iterator[int], *, rates: tuple[float, float] = (0.0, 0.0)
    ) -> tuple[float, int, int]:
        """Loss, predictions and words of ids in [0, V], of which V ends a sentence.

        Args:
            ids: of at most a task.
            random: as `random_words` gives them.
            rates: at the first id and behind the last.
        """
        V = self._vocabulary_size
        loss, predictions, words, begin = 0.0, 0, 0, 0
        while begin < len(ids):
            end = next((i for i in range(begin, len(ids)) if ids[i] == V), len(ids))
            rate = rates[0] + (rates[1] - rates[0]) * begin / len(ids)
            sentence = [word for word in ids[begin:end] if self._is_kept(word, random)]
            words += len(sentence)
            for place in range(len(sentence)) if len(sentence) > 1 else ():
                for inputs, mean, targets, signs in self._steps(sentence, place, random):
                    loss += self.step(inputs, targets, signs, rate, mean=mean)
                    predictions += 1 if mean else len(inputs)
            begin = end + 1
        return loss, predictions, words

    @property
    def _vocabulary_size(self) -> int:
        return len(self.paths) if self.noise is None and self.paths is not None else len(self.output)

    def _is_kept(self, word: int, random: Iterator[int]) -> bool:
        return self.keep is None or self.keep[word] == _ALL or next(random) < self.keep[word]

    def _steps(
        self, sentence: Sequence[int], place: int, random: Iterator[int]
    ) -> Iterator[tuple[list[int], bool, Tensor, Tensor]]:
        """Of one word: rows of the input, whether their mean is it, rows of the targets, their signs."""
        size = self.window - (next(random) * self.window >> 32) if self.shrink else self.window
        around = range(max(place - size, 0), min(place + size + 1, len(sentence)))
        others = [sentence[other] for other in around if other != place]
        word = sentence[place]
        if self.cbow:
            targets = self._targets(word, random)
            yield [row for other in others for row in self._rows(other)], True, *targets
            return
        targets = None
        count = _GROUP if self.batched and self.bags is None else 1
        for begin in range(0, len(others), count):
            if targets is None or not self.batched:
                targets = self._targets(word, random)
            if self.bags is None:
                yield others[begin : begin + count], False, *targets
            else:
                yield self._rows(others[begin]), True, *targets

    def _rows(self, word: int) -> list[int]:
        return [word] if self.bags is None else list(self.bags[word])

    def _targets(self, word: int, random: Iterator[int]) -> tuple[Tensor, Tensor]:
        if self.noise is None:
            assert self.paths is not None
            nodes, signs = self.paths[word]
            return torch.tensor(nodes), torch.tensor(signs, dtype=self.input.dtype)
        thresholds, others = self.noise
        found = [word]
        for _ in range(self.negatives):
            column = next(random) * len(thresholds) >> 32
            drawn = column if next(random) < thresholds[column] else others[column]
            found += [drawn] if drawn != word else []
        signs = torch.full((len(found),), -1.0, dtype=self.input.dtype)
        signs[0] = 1
        return torch.tensor(found), signs

    def step(
        self, inputs: Sequence[int], targets: Tensor, signs: Tensor, rate: float, *, mean: bool = False
    ) -> float:
        """Predict, and update both matrices: u_t += a_t x, x += sum_t a_t u_t, a_t = -rate dloss/d(x . u_t).

        The rows of a mean take the whole sum each, which is word2vec's rule. Of a target that comes twice the
        second sees what was added to the first.

        Args:
            inputs: rows of `input`.
            targets: [K] rows of `output`.
            signs: [K], 1 for what is to be likely and -1 for what is not.
            rate: 0 changes nothing.
            mean: whether the input is their mean; else each is one.

        Returns:
            The loss before the update.
        """
        rows = torch.tensor(inputs)
        x = self.input[rows].mean(0, keepdim=True) if mean else self.input[rows].clone()
        scores = x @ self.output[targets].T
        loss = prediction_loss(x, self.output[targets], signs)
        slopes = rate * signs * torch.sigmoid(-signs * scores)
        change = torch.zeros_like(x)
        for k, target in enumerate(targets.tolist()):
            u = self.output[target].clone()
            change += slopes[:, k : k + 1] * u
            self.output[target] += slopes[:, k] @ x
        for c, row in enumerate(inputs):
            self.input[row] += change[0 if mean else c]
        return float(loss)
