"""What sampling, searching and scoring ask of a model: one protocol for recurrent states and caches of keys.

Dimension key: N sequences, T tokens read at once, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from pyrnn.models import StepOutput
from pyrnn.text import Tokenizer

#: Logits N*T*V that one call of a model may make: 64 MiB in float32, whatever the vocabulary and the text.
LOGITS_AT_ONCE = 1 << 24


class Decoder(Protocol):
    """A model that reads tokens and says what may come next; `pyrnn.models.LanguageModel` is one.

    A state is a value: a step returns another one, and one state may be continued in several ways. It has a
    method `select(rows)` that gives the state of some of its sequences, in any order, some of them more than
    once; a strategy that keeps, drops or copies sequences needs nothing else. A state of sources may also
    have `select_within(rows)`: the same for as many rows, each of which keeps its source, so that nothing of
    the source need be copied, and the host need not look which do.

    A step gives attention weights only to who asks for them with `need_weights`, since most kernels are
    faster without. A model that attends to nothing takes the word and gives None.

    `tests/search/test_decoder.py` holds every model to this.

    Attributes:
        vocabulary_size: V.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> model: Decoder = LanguageModel(LanguageModelConfig(11, hidden_size=8)).eval()
        >>> logits, state, _ = model.step(torch.tensor([3]), model.start())
        >>> twice = state.select(torch.tensor([0, 0]))  # one sequence goes on in two ways
        >>> model.step(torch.tensor([4, 5]), twice).logits.shape
        torch.Size([2, 11])
    """

    @property
    def vocabulary_size(self) -> int:
        """V."""
        ...

    def start(self, source: Any = None) -> Any:
        """The state before the first token: of what is to be translated, transcribed or described, if
        anything.
        """
        ...

    def step(
        self, tokens: Tensor, state: Any, *, lengths: Tensor | None = None, need_weights: bool = False
    ) -> StepOutput:
        """Read tokens [N], or [N, T] with the lengths [N] of each; reading a prompt is a step with T > 1.

        Attention weights come where they are needed and the model attends to a source.
        """
        ...


def device_of(model: Decoder) -> torch.device:
    """Where the model lies."""
    return next(module_of(model).parameters()).device


def module_of(model: object) -> nn.Module:
    """The model as what it is beside a decoder."""
    assert isinstance(model, nn.Module)
    return model


def window_steps(sequences: int, vocabulary_size: int) -> int:
    """Tokens T, at least one, that a call on so many sequences may read within `LOGITS_AT_ONCE`.

    Example:
        >>> window_steps(32, 50_000), window_steps(1, 65)
        (10, 258111)
    """
    return max(1, LOGITS_AT_ONCE // max(1, sequences * vocabulary_size))


def prefill(
    model: Decoder, tokens: Tensor, state: Any, lengths: Tensor | None = None, *, need_weights: bool = False
) -> StepOutput:
    """Read [N, T] tokens, T >= 1, for what follows each sequence's last one: logits [N, V], attention [N, S].

    Long ones are read window by window, for the logits of all their steps are not wanted.

    Args:
        model: in evaluation mode.
        tokens: [N, T] ids.
        state: to go on from.
        lengths: [N] int64 in [1, T] where they differ.
        need_weights: whether to return attention.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> model = LanguageModel(LanguageModelConfig(11, hidden_size=8)).eval()
        >>> ids, lengths = torch.tensor([[4, 2, 9], [7, 0, 0]]), torch.tensor([3, 1])
        >>> prefill(model, ids, model.start(), lengths).logits.shape
        torch.Size([2, 11])
    """
    N, T = tokens.shape
    steps = window_steps(N, model.vocabulary_size)
    row = torch.arange(N, device=tokens.device)
    last: StepOutput | None = None
    for begin in range(0, T, steps):
        window = tokens[:, begin : begin + steps]
        left = None if lengths is None else (lengths - begin).clamp(0, window.shape[1])
        output = model.step(window, state, lengths=left, need_weights=need_weights)
        state = output.state
        place: Any = -1 if left is None else (left - 1).clamp(min=0)
        logits = output.logits[row, place]
        attention = None if output.attention is None else output.attention[row, place]
        if last is not None and left is not None:
            here = left.unsqueeze(1) > 0
            logits = torch.where(here, logits, last.logits)
            if attention is not None and last.attention is not None:
                attention = torch.where(here, attention, last.attention)
        last = StepOutput(logits, state, attention)
    assert last is not None
    return last


@contextmanager
def evaluating(model: object) -> Generator[None, None, None]:
    """Evaluation mode without gradients; afterwards the model is in the mode in which it came.

    A generator must leave this block before it yields: gradients are off for the whole thread, the caller's
    code included.

    Example:
        >>> model = nn.Dropout(0.5)
        >>> with evaluating(model):
        ...     model(torch.ones(4))
        tensor([1., 1., 1., 1.])
        >>> model.training
        True
    """
    module = module_of(model)
    was_training = module.training
    if was_training:
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if was_training:
            module.train()


def pad_prompts(model: Decoder, prompts: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Prompts [B, T] int64 on the model's device and, where they differ, their lengths [B].

    Args:
        model: whose vocabulary they are of.
        prompts: B vectors of integers, at least one each.

    Raises:
        ValueError: no prompts, one that is empty or no vector of integers, or ids outside [0, V).

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> model = LanguageModel(LanguageModelConfig(11, hidden_size=8))
        >>> pad_prompts(model, [torch.tensor([4, 2]), torch.tensor([7])])
        (tensor([[4, 2],
                [7, 0]]), tensor([2, 1]))
    """
    if len(prompts) == 0:
        raise ValueError("there must be at least one prompt, got none")
    for prompt in prompts:
        if prompt.dim() != 1 or prompt.shape[0] == 0:
            raise ValueError(
                f"a prompt must be a vector of at least one token, got shape {list(prompt.shape)}"
            )
        check_ids(prompt, model.vocabulary_size, what="prompts")
    device = device_of(model)
    padded = pad_sequence([prompt.to(device, torch.int64) for prompt in prompts]).T
    counts = [prompt.shape[0] for prompt in prompts]
    return padded, torch.tensor(counts, device=device) if len(set(counts)) > 1 else None


def check_texts(model: Decoder, tokenizer: Tokenizer, texts: object) -> None:
    """Refuse a tokenizer of another vocabulary than the model's, and a string where a list of them is due.

    Raises:
        ValueError: the sizes differ.
        TypeError: `texts` is one string, whose characters would pass for texts.
    """
    if isinstance(texts, str):
        raise TypeError(f"expected a list of texts, got one string, {texts[:40]!r}; put it in a list")
    if len(tokenizer) != (V := model.vocabulary_size):
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens and the model {V}: give the tokenizer that the "
            "model was trained with"
        )


def check_ids(ids: Tensor, vocabulary_size: int, *, what: str) -> None:
    """Refuse all but vectors of integers in [0, vocabulary_size)."""
    if ids.is_floating_point() or ids.dtype == torch.bool or ids.dim() != 1:
        raise ValueError(f"{what} must be a vector of integers, got {ids.dtype} of shape {list(ids.shape)}")
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= vocabulary_size):
        raise ValueError(
            f"{what} must lie in [0, {vocabulary_size}), got {int(ids.min())} to {int(ids.max())}; "
            "encode with the vocabulary that the model was trained with"
        )
