"""Log-probability of given outputs: of any decoder, and of sentences under a language model.

Dimension key: T time, B batch, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pyrnn.losses import IGNORE, sequence_cross_entropy
from pyrnn.search.decoder import Decoder, check_ids, check_texts, device_of, evaluating, window_steps
from pyrnn.search.filtering import float_logits
from pyrnn.text import Tokenizer

# A window ends with the shortest sentence in it, but not before so many steps: a call has a cost of its own.
_SHORTEST_WINDOW = 32


@dataclass(frozen=True)
class SentenceScore:
    """What a model says of a sentence.

    Args:
        log_probability: log p(sentence) in nats; -inf for what the model holds impossible.
        tokens: scored tokens, the closing end-of-sentence token included.
        unknown: how many of these stand for something outside the vocabulary.

    Example:
        >>> round(SentenceScore(log_probability=-6.0, tokens=3, unknown=0).perplexity, 2)
        7.39
    """

    log_probability: float
    tokens: int
    unknown: int

    @property
    def per_token(self) -> float:
        """-log p(sentence) / tokens: nats per token."""
        return -self.log_probability / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(per_token); infinite where that overflows."""
        return math.exp(self.per_token) if self.per_token < 700 else math.inf


def score(
    model: Decoder, tokenizer: Tokenizer, sentences: Sequence[str], *, batch_size: int = 32
) -> list[SentenceScore]:
    r"""Score each sentence on its own, log p(x_1..x_N) = sum_t log p(x_t | EOS, x_1..x_{t-1}).

    The model starts without a state and reads EOS first; the closing EOS is the last x_t, unless the sentence
    ends in one already. A tokenizer without EOS leaves nothing to start from and no end to predict: then the
    first token is context only, and the sum runs over the others. Unknown tokens are scored as UNK.

    Sentences of like length share a batch, and one that has ended leaves it: neither padding nor neighbours
    change a score, but for rounding. The logs are the model's, in float32 at least, their sum is float64.

    Args:
        model: runs in evaluation mode and is left in the mode in which it came.
        tokenizer: the one that the model was trained with.
        sentences: at least one.
        batch_size: sentences that are read side by side.

    Returns:
        A score for each sentence, in their order.

    Raises:
        ValueError: no sentences, one with nothing to score, a token that the tokenizer cannot encode, a
            tokenizer of another size than the model, a model that gives NaN, or a batch size below one.
        TypeError: one string instead of a list of sentences.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> from pyrnn.text import train_tokenizer
        >>> text = "to be or not to be\n"
        >>> tokenizer = train_tokenizer(lambda: [text], level="word")
        >>> model = LanguageModel(LanguageModelConfig(len(tokenizer)))
        >>> [result] = score(model, tokenizer, ["to be"])
        >>> result.tokens, result.unknown, result.log_probability < 0
        (3, 0, True)
    """
    check_texts(model, tokenizer, sentences)
    if len(sentences) == 0:
        raise ValueError("there must be at least one sentence to score, got none")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    sequences: list[Tensor] = []
    try:
        sequences.extend(encode_sentence(tokenizer, sentence) for sentence in sentences)
    except ValueError as error:
        raise ValueError(f"sentence {len(sequences) + 1}: {error}") from error
    return score_encoded(model, tokenizer, sequences, batch_size=batch_size)


def score_encoded(
    model: Decoder, tokenizer: Tokenizer, sequences: Sequence[Tensor], *, batch_size: int = 32
) -> list[SentenceScore]:
    """`score` of what `encode_sentence` made.

    Args:
        model: as of `score`.
        tokenizer: as of `score`.
        sequences: [N_i + 1] ids each.
        batch_size: sequences that are read side by side.

    Raises:
        ValueError: the model gives NaN.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> from pyrnn.text import train_tokenizer
        >>> tokenizer = train_tokenizer(lambda: ["to be"], level="word")
        >>> model = LanguageModel(LanguageModelConfig(len(tokenizer), hidden_size=8))
        >>> (found,) = score_encoded(model, tokenizer, [encode_sentence(tokenizer, "to be")])
        >>> found == score(model, tokenizer, ["to be"])[0]
        True
    """
    longest_first = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    results: dict[int, SentenceScore] = {}
    for begin in range(0, len(sequences), batch_size):
        members = longest_first[begin : begin + batch_size]
        targets = pad_sequence([sequences[i] for i in members], batch_first=True)
        lengths = torch.tensor([len(sequences[i]) for i in members])
        sums = score_targets(model, model.start(), targets, lengths)
        for i, log_probability in zip(members, sums.tolist(), strict=True):
            scored = sequences[i][1:]
            unknown = 0 if tokenizer.unk_id is None else int((scored == tokenizer.unk_id).sum())
            results[i] = SentenceScore(log_probability, len(scored), unknown)
    return [results[i] for i in range(len(sequences))]


def score_targets(
    model: Decoder, state: Any, targets: Tensor, lengths: Tensor | None = None, *, context: int = 1
) -> Tensor:
    r"""sum_t log p(y_t | source, y_1..y_{t-1}) over the tokens t > context of given outputs.

    The model reads the true tokens (teacher forcing), window by window, in evaluation mode and without
    gradients; an output that has ended leaves the batch. The logs are the model's, in float32 at least, their
    sum is float64.

    Args:
        model: left in the mode in which it came.
        state: of B sources, what `model.start(source)` gave in evaluation mode; `model.start()` without.
        targets: [B, T] ids y, those that are read before the first that counts included.
        lengths: [B] int64 tokens of each, where they differ; what stands beyond is not looked at.
        context: the first so many tokens are read and not scored, the token for the beginning, say, or a
            prompt.

    Returns:
        [B] float64 on the model's device; -inf for what the model holds impossible.

    Raises:
        ValueError: shapes, ids or lengths that do not fit, an output without a token to score, or a model
            that gives NaN.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> model = LanguageModel(LanguageModelConfig(11, hidden_size=8))
        >>> targets = torch.tensor([[0, 3, 7, 0], [0, 5, 0, 0]])
        >>> score_targets(model, model.start(), targets, torch.tensor([4, 3])).shape
        torch.Size([2])
    """
    if targets.dim() != 2 or targets.shape[0] == 0:
        raise ValueError(f"targets must be [B, T] ids of at least one output, got {list(targets.shape)}")
    B, T = targets.shape
    lengths = torch.full((B,), T) if lengths is None else lengths.cpu()
    if context < 1 or lengths.shape != (B,) or int(lengths.min()) <= context or int(lengths.max()) > T:
        raise ValueError(
            f"expected a context of at least one token and lengths [{B}] above it, at most {T}; got context "
            f"{context} and lengths {lengths.tolist()}"
        )
    there = torch.arange(T) < lengths[:, None]
    outputs = targets.cpu().masked_fill(~there, 0)
    check_ids(outputs[there], model.vocabulary_size, what="targets")
    longest_first = lengths.argsort(descending=True, stable=True)
    with evaluating(model):
        device = device_of(model)
        rows = longest_first.to(device)
        sums = _log_probabilities(
            model,
            state.select(rows),
            outputs.to(device, torch.int64)[rows],
            lengths[longest_first],
            context=context,
        )
    if sums.isnan().any():
        raise ValueError("the model gives NaN: the weights are damaged; did training diverge?")
    return torch.empty_like(sums).index_copy_(0, rows, sums)


def encode_sentence(tokenizer: Tokenizer, sentence: str) -> Tensor:
    """[N + 1] ids of a sentence: what is read first, then the N tokens to score.

    Raises:
        ValueError: a token that the tokenizer cannot encode, or nothing to score.

    Example:
        >>> from pyrnn.text import train_tokenizer
        >>> tokenizer = train_tokenizer(lambda: ["to be"], level="word")
        >>> [tokenizer.token(id) for id in encode_sentence(tokenizer, "be").tolist()]
        ['<eos>', 'be', '<eos>']
    """
    ids = tokenizer.encode(sentence)
    if tokenizer.eos_id is None:
        if len(ids) < 2:
            raise ValueError(
                f"there are {len(ids)} tokens; without an end-of-sentence token the first is context only, "
                "so at least two are needed"
            )
        return ids
    eos = ids.new_tensor([tokenizer.eos_id])
    closing = eos[:0] if len(ids) and ids[-1] == eos else eos
    return torch.cat([eos, ids, closing])


def _log_probabilities(
    model: Decoder, state: Any, outputs: Tensor, lengths: Tensor, *, context: int
) -> Tensor:
    """`score_targets` of outputs [B, T] whose lengths [B] do not increase."""
    V, T = model.vocabulary_size, int(lengths[0]) - 1
    lengths = lengths - 1
    place = torch.arange(1, T + 1)
    ignored = (place > lengths[:, None]) | (place < context)
    inputs = outputs[:, :T]
    targets = outputs[:, 1 : T + 1].masked_fill(ignored.to(outputs.device), IGNORE)
    sums = torch.zeros(len(outputs), dtype=torch.float64, device=outputs.device)
    begin, before = 0, len(outputs)
    while begin < T:
        live = int((lengths > begin).sum())
        left = lengths[:live] - begin
        steps = min(window_steps(live, V), max(_SHORTEST_WINDOW, int(left[-1])), T - begin)
        window = slice(live), slice(begin, begin + steps)
        state = state if live == before else state.select(slice(live))
        # Without lengths, which cost time: what is read behind an end comes after all that counts, and its
        # row goes on in no further window.
        output = model.step(inputs[window], state)
        state, before = output.state, live
        losses = sequence_cross_entropy(
            float_logits(output.logits).transpose(0, 1), targets[window].T, reduction="none"
        )
        sums[:live] -= losses.double().sum(0)
        begin += steps
    return sums
