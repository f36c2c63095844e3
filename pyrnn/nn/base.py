"""What RNN, GRU and LSTM share: checks, states, the stack of layers. The arithmetic is the operator's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from pyrnn import ops
from pyrnn._checks import as_bool
from pyrnn._dispatch import autocast_enabled
from pyrnn._tracers import trace_instances_of
from pyrnn.nn._states import single_state, two_states
from pyrnn.nn.drop_in import DropIn, forward_of_torch, is_like_tensor
from pyrnn.nn.plain import is_replaced
from pyrnn.nn.sequences import Lengths, Sequences, open_sequences
from pyrnn.ops.recurrent import eager_recurrent
from pyrnn.ops.recurrent.call import as_checkpoint
from pyrnn.ops.recurrent.eager import BATCH_FIRST, TIME_FIRST
from pyrnn.reference.recurrent import Weights

#: The operator's name of the cell for each of torch's modes.
CELLS = {"RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu", "GRU": "gru", "LSTM": "lstm"}


class RecurrentLayer(DropIn, torch.nn.RNNBase):
    """Abstract base of the layers: parameters, initialisation and pickling are `torch.nn.RNNBase`'s own.

    A layer is this and torch's layer of the same name, so that whoever asks for torch's class finds it.

    Weights are read by name at each call, so that parametrizations, `torch.func.functional_call` and weights
    assigned later take effect.
    """

    # A class attribute, so that a layer which never met the constructor (an accelerated one) has it too.
    checkpoint_every: int = 0
    locked_dropout: bool = False
    weight_ih_l0: Tensor

    def __init__(
        self, mode: str, *args: Any, checkpoint_every: int = 0, locked_dropout: bool = False, **kwargs: Any
    ) -> None:
        checkpoint_every = as_checkpoint(checkpoint_every)
        locked_dropout = as_bool("locked_dropout", locked_dropout)
        # By name: torch's layer of this kind, which stands between the two, takes other arguments.
        torch.nn.RNNBase.__init__(self, mode, *args, **kwargs)
        self.checkpoint_every = checkpoint_every
        self.locked_dropout = locked_dropout

    @property
    def _cell(self) -> str:
        """The operator's name of this layer's cell."""
        return CELLS[self.mode]

    @property
    def _num_directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def _output_size(self) -> int:
        """P, the width of one direction's output: proj_size, or hidden_size without a projection."""
        return self.proj_size or self.hidden_size

    def _beyond_torch(self) -> str:
        options = {"checkpoint_every": self.checkpoint_every, "locked_dropout": self.locked_dropout}
        return ", ".join(name for name, value in options.items() if value)

    def flatten_parameters(self) -> None:
        """Do nothing: the kernels read every weight where it lies. Present because models call it."""

    def extra_repr(self) -> str:
        """The constructor's arguments that are not the defaults, as torch writes them."""
        own = [f"checkpoint_every={self.checkpoint_every}"] if self.checkpoint_every else []
        own += ["locked_dropout=True"] if self.locked_dropout else []
        return ", ".join([super().extra_repr(), *own])

    def _layer_weights(self, layer: int) -> tuple[Weights, ...]:
        """The weights of stacked layer number `layer`, one group for each direction."""
        suffixes = (f"_l{layer}", f"_l{layer}_reverse")[: self._num_directions]
        return tuple(self._direction_weights(suffix) for suffix in suffixes)

    def _direction_weights(self, suffix: str) -> Weights:
        read, bias = self._weight, self.bias
        return (
            read("weight_ih" + suffix),
            read("weight_hh" + suffix),
            read("bias_ih" + suffix) if bias else None,
            read("bias_hh" + suffix) if bias else None,
            read("weight_hr" + suffix) if self.proj_size else None,
        )

    def _weight(self, name: str) -> Any:
        """The attribute of that name; a plain parameter without torch's detour to it."""
        weight = self._parameters.get(name)
        return getattr(self, name) if weight is None or name in self.__dict__ else weight

    def check_input(self, input: Tensor, batch_sizes: Tensor | None, weight_ih: Tensor | None = None) -> None:
        """Raise if rows [T, B, I] or packed [N, I] do not fit this layer's weights (the first, if known)."""
        # Not torch's cached list of weights, which functional_call leaves stale.
        weight = self.weight_ih_l0 if weight_ih is None else weight_ih
        if input.dtype != weight.dtype and not autocast_enabled(input.device.type):
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({input.dtype})"
            )
        expected_dim = 3 if batch_sizes is None else 2
        if input.dim() != expected_dim:
            raise RuntimeError(f"input must have {expected_dim} dimensions, got {input.dim()}")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, "
                f"got {input.shape[-1]}"
            )
        if input.device != weight.device:
            raise RuntimeError(
                "Input and parameter tensors are not at the same device, found input tensor at "
                f"{input.device} and parameter tensor at {weight.device}"
            )

    def _open(
        self,
        input: Tensor | PackedSequence,
        hx: Any,
        lengths: Lengths | None,
        reset: Tensor | None = None,
        weight_ih: Tensor | None = None,
    ) -> tuple[Sequences, tuple[Tensor | None, Tensor | None]]:
        """Check a call; its sequences, and h_0 [L*D, B, P], c_0 [L*D, B, H] in their order (None: zeros)."""
        sequences = open_sequences(type(self).__name__, input, lengths, reset, batch_first=self.batch_first)
        self.check_input(sequences.rows, sequences.batch_sizes, weight_ih)
        if hx is not None:
            states = two_states(hx) if self.mode == "LSTM" else single_state(hx)
            self._check_states(sequences, states)
            h_0, *c_0 = (sequences.enter_state(state) for state in states)
            return sequences, (h_0, c_0[0] if c_0 else None)
        if sequences.batch_sizes is None:
            return sequences, (None, None)
        # Packed rows do not show the operator the batch size: a first state must.
        shape = (self.num_layers * self._num_directions, sequences.batch_size, self._output_size)
        return sequences, (sequences.rows.new_zeros(shape), None)

    def _check_states(self, sequences: Sequences, hx: tuple[Tensor, ...]) -> None:
        rows, names = sequences.rows, ("hidden",) if len(hx) == 1 else ("hidden[0]", "hidden[1]")
        expected_dim = 2 if sequences.unbatched else 3
        if any(state.dim() != expected_dim for state in hx):
            kind = f"For {'un' * sequences.unbatched}batched {expected_dim}-D input, "
            got = ", ".join(f"{state.dim()}-D" for state in hx)
            if len(hx) == 1:
                raise RuntimeError(f"{kind}hx should also be {expected_dim}-D but got {got} tensor")
            raise RuntimeError(f"{kind}hx and cx should also be {expected_dim}-D but got ({got}) tensors")
        widths = (self._output_size, self.hidden_size)[: len(hx)]
        for name, state, width in zip(names, hx, widths, strict=True):
            if state.device != rows.device:
                raise RuntimeError(
                    "Input and hidden tensors are not at the same device, found input tensor at "
                    f"{rows.device} and hidden tensor at {state.device}"
                )
            if state.dtype != rows.dtype and not autocast_enabled(rows.device.type):
                raise RuntimeError(
                    "Input and hidden tensors are not the same dtype, found input tensor with "
                    f"{rows.dtype} and hidden tensor with {state.dtype}"
                )
            batch = () if sequences.unbatched else (sequences.batch_size,)
            expected = (self.num_layers * self._num_directions, *batch, width)
            self.check_hidden_size(state, expected, f"Expected {name} size {{}}, got {{}}")  # type: ignore[arg-type]

    def why_not_small(
        self, input: Any, hx: Any, lengths: Any, reset: Any, *, return_cells: bool = False
    ) -> str:
        """Why a call is not one of C++ for each stacked layer, in words; empty where it is."""
        if reset is not None and lengths is None:
            hx, reset = self._reset_first(input, hx, reset)
        options = {"return_cells": return_cells, "ask": True}
        found = self._run_eagerly(input, hx, self._layer_weights(0), lengths, reset, **options)
        return found if isinstance(found, str) else ""

    def _run_eagerly(
        self,
        input: Any,
        hx: Any,
        weights: tuple[Weights, ...],
        lengths: Any,
        reset: Any,
        *,
        return_cells: bool,
        ask: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor] | str:
        """`_run` of a small call by `eager_recurrent`, which may be asked alone; or why it is none."""
        if lengths is not None or reset is not None:
            return "it has lengths, or resets inside a sequence"
        if return_cells or self.checkpoint_every or self.proj_size:
            return "it has a projection, checkpoint_every or return_cells"
        if is_replaced(self, "check_input", RecurrentLayer.check_input):
            return "check_input was replaced"
        if self.num_layers > 1 and self.dropout and self.training:
            return "there is dropout between the layers"
        states = self._states_of_layers(hx)
        if states is None:
            return "the states are no plain tensors, or do not fit the layers"
        rows, finals = input, []
        for layer, state in enumerate(states):
            groups = self._layer_weights(layer) if layer else weights
            found = eager_recurrent(
                self._cell,
                BATCH_FIRST if self.batch_first else TIME_FIRST,
                rows,
                state,
                tuple(weight for group in groups for weight in group[:-1]),
                ask=ask,
            )
            if not isinstance(found, tuple):
                return found
            rows, *final = found
            finals.append(final)
        h_n, c_n = finals[0][0], finals[0][-1]
        if len(finals) > 1:
            h_n, c_n = torch.cat([final[0] for final in finals]), torch.cat([final[-1] for final in finals])
        return rows, h_n, c_n, rows

    def _reset_first(self, input: Any, hx: Any, reset: Any) -> tuple[Any, Any]:
        """Of a single step, as an agent takes it: states after the reset, and none that is left to be done.

        What does not fit is handed back as it is: the general way has words for it.
        """
        tensors = (input, reset, *(hx if isinstance(hx, tuple) else () if hx is None else (hx,)))
        if self.bidirectional or any(type(tensor) is not Tensor for tensor in tensors):
            return hx, reset
        steps_dim, batch_dim = (1, 0) if self.batch_first else (0, 1)
        if input.dim() != 3 or input.shape[steps_dim] != 1 or reset.shape != input.shape[:2]:
            return hx, reset
        B, states = input.shape[batch_dim], tensors[2:]
        alike = all(
            state.dim() == 3 and state.shape[1] == B and state.device == reset.device for state in states
        )
        if not alike or reset.dtype is not torch.bool or reset.device != input.device:
            return hx, reset
        cut = [state.masked_fill(reset.view(1, B, 1), 0) for state in states]
        return (tuple(cut) if isinstance(hx, tuple) else cut[0] if cut else None), None

    def _states_of_layers(self, hx: Any) -> list[Any] | None:
        """The part of `hx` for each stacked layer, or None where it does not fall into as many parts."""
        if hx is None or self.num_layers == 1:
            return [hx] * self.num_layers
        D, pair = self._num_directions, self.mode == "LSTM"
        states = hx if pair else (hx,)
        for state in states if isinstance(states, (tuple, list)) else (None,):
            if type(state) is not Tensor or not state.dim() or state.shape[0] != self.num_layers * D:
                return None
        parts = [state.split(D) for state in states]
        return [*zip(*parts, strict=True)] if pair else [*parts[0]]

    def _drop(self, rows: Tensor, sequences: Sequences) -> Tensor:
        """Dropout between two layers."""
        if self.locked_dropout:
            return drop_locked(rows, self.dropout, sequences.batch_sizes)
        return torch.nn.functional.dropout(rows, self.dropout)  # draws what torch's layers draw

    def _run(
        self,
        input: Tensor | PackedSequence,
        hx: Any,
        lengths: Lengths | None,
        reset: Tensor | None,
        *,
        return_cells: bool = False,
    ) -> tuple[Any, Tensor, Tensor, Any]:
        """Run the whole stack; output, h_n, c_n and the last layer's cells, laid out as the input is."""
        # Each weight is read once a call: a parametrization computes it, and may count how often.
        weights = self._layer_weights(0)
        if reset is not None and lengths is None:  # a sequence of length 0 keeps its state
            hx, reset = self._reset_first(input, hx, reset)
        found = self._run_eagerly(input, hx, weights, lengths, reset, return_cells=return_cells)
        if isinstance(found, tuple):
            return found
        options = lengths is not None or reset is not None or return_cells
        if is_like_tensor(input) and not options:
            output, final = forward_of_torch(self, input, hx)
            return output, *(final if self.mode == "LSTM" else (final, final)), output
        sequences, (h_0, c_0) = self._open(input, hx, lengths, reset, weights[0][0])
        rows, cells, reset = sequences.rows, sequences.rows, sequences.reset
        h_n: list[Tensor] = []
        c_n: list[Tensor] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                rows = self._drop(rows, sequences)
            last = layer == self.num_layers - 1
            # Time-major between layers, as inside torch: the same seed then drops the same units.
            batch_first = sequences.batch_first and last
            states = slice(layer * self._num_directions, (layer + 1) * self._num_directions)
            rows, h, c, cells = ops.recurrent(
                self._cell,
                rows.transpose(0, 1) if batch_first else rows,
                None if h_0 is None else h_0[states],
                None if c_0 is None else c_0[states],
                tuple(map(_with_biases_alike, self._layer_weights(layer) if layer else weights)),
                lengths=sequences.lengths,
                batch_sizes=sequences.batch_sizes,
                reset=reset.transpose(0, 1) if reset is not None and batch_first else reset,
                batch_first=batch_first,
                return_cells=return_cells and last,
                checkpoint_every=self.checkpoint_every,
            )
            h_n.append(h)
            c_n.append(c)
        single = self.num_layers == 1
        return (
            sequences.restore(rows),
            sequences.restore_state(
                h_n[0] if single else torch.cat(h_n)
            ),  # L states [D, B, F] as [L*D, B, F]
            sequences.restore_state(c_n[0] if single else torch.cat(c_n)) if self.mode == "LSTM" else c_n[0],
            sequences.restore(cells) if return_cells else cells,
        )


trace_instances_of(RecurrentLayer)


def _with_biases_alike(group: Weights) -> Weights:
    """One direction's weights: float32 biases beside bfloat16 weights, which oneDNN's LSTM takes, rounded."""
    w_ih, w_hh, b_ih, b_hh, w_hr = group
    if w_ih.dtype is not torch.bfloat16 or b_ih is None or b_hh is None:
        return group
    if b_ih.dtype is not torch.float32 or b_hh.dtype is not torch.float32:
        return group
    return w_ih, w_hh, b_ih.to(w_ih.dtype), b_hh.to(w_ih.dtype), w_hr


def drop_locked(input: Tensor, p: float, batch_sizes: Tensor | None = None) -> Tensor:
    """Dropout with one mask for all steps of a sequence: rows [T, B, F], or packed [N, F] with `batch_sizes`.

    Source: Gal and Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural Networks
    (2016).
    """
    if batch_sizes is None:
        return input * torch.nn.functional.dropout(torch.ones_like(input[0]), p)
    sizes = batch_sizes.tolist()
    mask = torch.nn.functional.dropout(torch.ones_like(input[: sizes[0]]), p)
    return input * torch.cat([mask[:size] for size in sizes])
