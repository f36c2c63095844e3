"""What a model carries from one call to the next: tensors with the sequences along dimension 1.

Whoever runs a model treats its state by these functions alone, whatever the model.
"""

from __future__ import annotations

from torch import Tensor

#: h [L, B, H] of an RNN or GRU, (h, c) of an LSTM; a transformer's is described by `CausalTransformer`.
State = Tensor | tuple[Tensor, ...]


def state_tensors(state: State | None) -> tuple[Tensor, ...]:
    """The tensors of a state, none of None."""
    return () if state is None else (state,) if isinstance(state, Tensor) else tuple(state)


def detach_state(state: State) -> State:
    """The same state without its history: where truncated BPTT cuts the graph."""
    return state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)


def select_state(state: State, sequences: Tensor | slice) -> State:
    """The state of some of the sequences, in the given order; of [N] int64 indices, some may be repeated."""
    return state[:, sequences] if isinstance(state, Tensor) else tuple(part[:, sequences] for part in state)
