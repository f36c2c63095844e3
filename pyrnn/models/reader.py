"""Reader: the answer to a question about a story, one of a set of answers.

Dimension key: T time, B batch, E embedding, F features, S sentences, K hops, V vocabulary, C answers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyrnn.models._encoder import encode
from pyrnn.models.classifier import Classifier
from pyrnn.models.configs import ReaderConfig


class Reading(NamedTuple):
    """What a reader makes of questions.

    Args:
        logits: [B, C] of the answers.
        weights: [B, K, S] attention of each hop to the sentences of the story, a sum of one over S; zeros
            where there is no sentence. None of a reader that does not attend.

    Example:
        >>> Reading(torch.zeros(2, 5), None).logits.shape
        torch.Size([2, 5])
    """

    logits: Tensor
    weights: Tensor | None


class Reader(Classifier):
    """A classifier of [story; question]; with "question" pooling one that looks at the story's sentences.

    Then a sentence is the sum of its token vectors, weighted by their places in it; an encoder reads the
    sentences of the story one after another, f_1..f_S; a layer makes the question q of its own sentence; and
    from m^0 = q each hop computes

        a_s = softmax_s(v . tanh(W [f_s o q; f_s o m; |f_s - q|; |f_s - m|] + b))
        m' = relu(U [m; sum_s a_s f_s; q] + d)

    with its own U and d; W, b and v are those of all hops. The answer is softmax(P m^K + e).

    Sources: weights of places: Sukhbaatar et al., "End-to-end memory networks", 2015, section 4.1; attention
    and memory: Xiong, Merity and Socher, "Dynamic memory networks for visual and textual question answering",
    2016, equations 8 to 10 and 13.

    Args:
        config: the sizes.

    Example:
        >>> model = Reader(ReaderConfig(50, architecture="gru", hidden_size=8, num_classes=6))
        >>> token = torch.tensor([[4, 9, 7, 4, 8]]).T  # a sentence of three tokens, a question of two
        >>> sentence = torch.tensor([[1, 1, 1, 0, 0]]).T
        >>> model.read(token, sentence=sentence).weights.shape
        torch.Size([1, 3, 1])
    """

    model_type = "pyrnn-reader"
    config_class = ReaderConfig
    config: ReaderConfig

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__(config)
        if config.pooling != "question":
            return
        F = self.projection.in_features
        self.question = nn.Linear(config.vector_size, F)
        self.hidden, self.score = nn.Linear(4 * F, F), nn.Linear(F, 1, bias=False)
        self.memory = nn.ModuleList(nn.Linear(3 * F, F) for _ in range(config.hops))

    def forward(
        self, input: Tensor, *, lengths: Tensor | None = None, sentence: Tensor | None = None
    ) -> Tensor:
        """Logits of the answers.

        Args:
            input: as of `read`.
            lengths: as of `read`.
            sentence: as of `read`.

        Returns:
            [B, C].

        Raises:
            ValueError: as `read`.
        """
        return self.read(input, lengths=lengths, sentence=sentence).logits

    def read(
        self, input: Tensor, *, lengths: Tensor | None = None, sentence: Tensor | None = None
    ) -> Reading:
        """Logits of the answers, and where the reader looked.

        Args:
            input: [T, B] int64 ids in [0, V): the tokens of the story, then those of the question.
            lengths: [B] int64 in [1, T]: tokens of each; what stands beyond is not read. None: T.
            sentence: [T, B] int64: which sentence each token is of, those of the story counted from 1, the
                question 0. Only "question" pooling reads them.

        Raises:
            ValueError: "question" pooling without sentences.
            IndexError: an id outside [0, V).
        """
        if self.config.pooling != "question":
            return Reading(super().forward(input, lengths=lengths), None)
        if sentence is None:
            raise ValueError("the pooling 'question' needs to know the sentences: give sentence [T, B]")
        assert self.embedding is not None
        vectors = functional.dropout(self.embedding(input), self.config.input_dropout, self.training)
        if lengths is None:
            lengths = torch.full(input.shape[1:], len(input), device=input.device)
        sums, there = _sentence_vectors(vectors, sentence, lengths.to(input.device))
        q = torch.tanh(self.question(sums[0]))
        facts = encode(self.get_submodule(self._encoder_name), sums[1:], there[1:].sum(0))
        facts = functional.dropout(facts, self.config.dropout, self.training)
        return self._look(facts, q, there[1:])

    def _look(self, facts: Tensor, q: Tensor, there: Tensor) -> Reading:
        """Facts [S, B, F], of which `there` [S, B] says which there are, and the question [B, F]."""
        facts = facts.where(there.unsqueeze(2), 0)
        missing = ~there & there.any(0)  # a story of none leaves a softmax of something
        by_question = torch.cat([facts * q, (facts - q).abs()], 2)
        memory, weights = q, []
        for update in self.memory:
            both = torch.cat([by_question, facts * memory, (facts - memory).abs()], 2)
            scores = self.score(torch.tanh(self.hidden(both))).squeeze(2)
            weights.append(scores.masked_fill(missing, -torch.inf).softmax(0).where(there, 0))
            context = (facts * weights[-1].unsqueeze(2)).sum(0)
            memory = torch.relu(update(torch.cat([memory, context, q], 1)))
        memory = functional.dropout(memory, self.config.dropout, self.training)
        return Reading(self.projection(memory), torch.stack(weights).permute(2, 0, 1))


def _sentence_vectors(vectors: Tensor, sentence: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of each sentence's token vectors, weighted by their places.

    Token j of the J of a sentence counts (1 - j/J) - (k/E)(1 - 2j/J) in element k, both counted from 1, so
    that the order of the tokens is not lost.

    Returns:
        [S + 1, B, E], the question first, and [S + 1, B] bool: which of them there are.
    """
    T, _, E = vectors.shape
    read = torch.arange(T, device=vectors.device).unsqueeze(1) < lengths
    most = int(sentence.where(read, 0).max()) if T else 0
    which = torch.arange(max(most, 1) + 1, device=vectors.device).view(-1, 1, 1)
    members = ((sentence == which) & read).to(vectors.dtype)  # [S + 1, T, B]
    counts = members.sum(1)
    place = (members * members.cumsum(1)).sum(0) / (members * counts.unsqueeze(1)).sum(0).clamp(min=1)
    element = torch.arange(1, E + 1, device=vectors.device, dtype=vectors.dtype) / E
    weights = (1 - place).unsqueeze(2) - element * (1 - 2 * place).unsqueeze(2)
    # As products, for sums that are scattered have no fixed order on a GPU.
    sums = torch.einsum("stb,tbe->sbe", members, vectors * weights)
    return sums, counts > 0
