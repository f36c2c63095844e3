"""What a model carries from one call to the next: tensors with the sequences along dimension 1.

Whoever runs a model treats its state by these functions alone, whatever the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from pyrnn.nn import CacheList, KeyValueCache

#: h [L, B, H] of an RNN or GRU, (h, c) of an LSTM; a transformer's is described by `CausalTransformer`.
State = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class CachedState:
    """What a transformer has read, for whoever goes on token after token: a value, as every state.

    Args:
        caches: of each layer. A step branches them, so that it writes behind what others hold.
    """

    caches: CacheList

    def select(self, sequences: Tensor | slice) -> CachedState:
        """The state of some of the sequences, as `select_state` does it."""
        caches = self.caches.branch()
        keys = cast(KeyValueCache, caches[0]).keys
        if keys is not None:
            caches.reorder(torch.arange(keys.shape[0], device=keys.device)[sequences])
        return CachedState(caches)


def state_tensors(state: State | None) -> tuple[Tensor, ...]:
    """The tensors of a state, none of None.

    Example:
        >>> h, c = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
        >>> len(state_tensors((h, c))), len(state_tensors(h)), state_tensors(None)
        (2, 1, ())
    """
    return () if state is None else (state,) if isinstance(state, Tensor) else tuple(state)


def state_of(tensors: tuple[Tensor, ...] | None) -> State | None:
    """The state whose `state_tensors` these are.

    Example:
        >>> h, c = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
        >>> state_of((h,)) is h, state_of((h, c)) == (h, c), state_of(())
        (True, True, None)
    """
    if not tensors:
        return None
    return tensors[0] if len(tensors) == 1 else tensors


def detach_state(state: State) -> State:
    """The same state without its history: where truncated BPTT cuts the graph.

    Example:
        >>> h = torch.zeros(1, 2, 3, requires_grad=True)
        >>> detach_state(2 * h).requires_grad
        False
    """
    return state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)


def select_state(state: State, sequences: Tensor | slice) -> State:
    """The state of some of the sequences, in the given order; of [N] int64 indices, some may be repeated.

    Example:
        >>> h = torch.tensor([[[1.0], [2.0], [3.0]]])  # of one layer, three sequences and one unit
        >>> select_state(h, torch.tensor([2, 0, 0])).flatten()
        tensor([3., 1., 1.])
    """
    if isinstance(state, Tensor):
        return select_along(state, 1, sequences)
    return tuple(select_along(part, 1, sequences) for part in state)


def select_along(tensor: Tensor, dim: int, places: Tensor | slice) -> Tensor:
    """tensor[..., places, ...] in dimension `dim`, by the operator that is made for indices.

    It copies whole rows, where torch's general indexing takes several times as long on the CPU.

    Example:
        >>> select_along(torch.tensor([[1, 2, 3]]), 1, torch.tensor([2, 0]))
        tensor([[3, 1]])
    """
    if isinstance(places, Tensor) and places.dtype == torch.int64 and places.device == tensor.device:
        return tensor.index_select(dim, places)
    return tensor[(*[slice(None)] * dim, places)]


@dataclass(frozen=True)
class DecoderState:
    """What a decoder has read of each sequence: a value, which a step leaves as it is.

    Args:
        value: the model's own state; None before the first token.

    Example:
        >>> state = DecoderState(torch.tensor([[[1.0], [2.0]]]))
        >>> state.select(torch.tensor([1])).value
        tensor([[[2.]]])
    """

    value: State | CachedState | None = None

    def select(self, rows: Tensor | slice) -> DecoderState:
        """The state of some of the sequences, in the given order; [N] int64 indices may repeat."""
        if self.value is None:
            return self
        if isinstance(self.value, CachedState):
            return DecoderState(self.value.select(rows))
        return DecoderState(select_state(self.value, rows))


class StepOutput(NamedTuple):
    """What a step of a decoder gives.

    Args:
        logits: of the next token: [N, V] after one token of each sequence, [N, T, V] after each of T.
        state: to go on from; it has a method `select(rows)`.
        attention: weights over the source, [N, S] or [N, T, S], where they are needed and the model attends
            to one; else None.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> model = LanguageModel(LanguageModelConfig(11, hidden_size=8)).eval()
        >>> logits, state, attention = model.step(torch.tensor([3, 7]), model.start())
        >>> logits.shape, attention
        (torch.Size([2, 11]), None)
    """

    logits: Tensor
    state: Any
    attention: Tensor | None = None
