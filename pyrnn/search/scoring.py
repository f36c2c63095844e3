"""Log-probability of sentences under a language model.

Dimension key: T time, B batch, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pyrnn.losses import IGNORE, sequence_cross_entropy
from pyrnn.search.decoder import Decoder, check_texts, device_of, evaluating, window_steps
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
    with evaluating(model):
        for begin in range(0, len(sequences), batch_size):
            members = longest_first[begin : begin + batch_size]
            sums = _log_probabilities(model, [sequences[i] for i in members])
            for i, log_probability in zip(members, sums.tolist(), strict=True):
                if math.isnan(log_probability):
                    raise ValueError("the model gives NaN: the weights are damaged; did training diverge?")
                scored = sequences[i][1:]
                unknown = 0 if tokenizer.unk_id is None else int((scored == tokenizer.unk_id).sum())
                results[i] = SentenceScore(log_probability, len(scored), unknown)
    return [results[i] for i in range(len(sequences))]


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


def _log_probabilities(model: Decoder, sequences: Sequence[Tensor]) -> Tensor:
    """[B] float64 of sequences whose lengths do not increase: the sum over each but its first token."""
    V, device = model.vocabulary_size, device_of(model)
    lengths = torch.tensor([len(sequence) - 1 for sequence in sequences])
    inputs = pad_sequence([sequence[:-1] for sequence in sequences]).to(device)
    targets = pad_sequence([sequence[1:] for sequence in sequences], padding_value=IGNORE).to(device)
    sums = torch.zeros(len(sequences), dtype=torch.float64, device=device)
    state = model.start()
    begin, T = 0, inputs.shape[0]
    while begin < T:
        live = int((lengths > begin).sum())
        left = lengths[:live] - begin
        steps = min(window_steps(live, V), max(_SHORTEST_WINDOW, int(left[-1])), T - begin)
        window = slice(begin, begin + steps), slice(live)
        options = {"lengths": left.clamp(max=steps).to(device)} if left[-1] < steps else {}
        output = model.step(inputs[window].T, state.select(slice(live)), **options)
        state, logits = output.state, output.logits.transpose(0, 1)
        if logits.dtype != torch.float64:
            logits = logits.float()
        losses = sequence_cross_entropy(logits, targets[window], reduction="none")
        sums[:live] -= losses.double().sum(0)
        begin += steps
    return sums
