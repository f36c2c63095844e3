"""Decoders with attention to test on, and torch's own loop for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrnn import reference
from pyrnn.ops import attention_decoder
from pyrnn.reference import DecoderOutput
from pyrnn.reference.recurrent import GATES, update

#: Names of the tensors that have a gradient, in order.
NAMES = (
    *("input", "h_0", "c_0", "context_0", "keys", "values", "weight_hh", "bias_hh", "weight_context"),
    *("weight_query", "score_weight", "weight_location", "alignment_0"),
)
SCORES = ("dot", "dot of a product", "additive", "location", "coverage")
CELLS = tuple(GATES)


@dataclass(frozen=True)
class Decoder:
    """Arguments of a call: its tensors by `NAMES`, and its options."""

    tensors: dict[str, Tensor]
    options: dict[str, Any]

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return tuple(self.tensors.values())

    def to(self, dtype: torch.dtype) -> Decoder:
        """A copy whose tensors are leaves."""
        tensors = {name: t.detach().to(dtype, copy=True) for name, t in self.tensors.items()}
        return Decoder({name: t.requires_grad_() for name, t in tensors.items()}, self.options)

    def with_leaves(self, leaves: tuple[Tensor, ...]) -> Decoder:
        return Decoder(dict(zip(self.tensors, leaves, strict=True)), self.options)

    def without(self, *names: str) -> Decoder:
        return Decoder({name: t for name, t in self.tensors.items() if name not in names}, self.options)

    def run(
        self, operator: Callable[..., DecoderOutput] = attention_decoder, **options: Any
    ) -> DecoderOutput:
        tensors: dict[str, Any] = {name: self.tensors.get(name) for name in NAMES}
        return operator(**tensors, **self.options, **options)

    def by_reference(self, **options: Any) -> DecoderOutput:
        own = dict(self.options)
        cell = own.pop("cell")
        cell = f"rnn_{own.pop('nonlinearity')}" if cell == "rnn" else cell
        tensors: dict[str, Any] = {name: self.tensors.get(name) for name in NAMES}
        return reference.attention_decoder(cell, **tensors, **own, **options)


def make_decoder(
    cell: str = "lstm",
    score: str = "dot",
    *,
    T: int = 3,
    B: int = 2,
    S: int = 3,
    H: int = 2,
    A: int = 3,
    V: int = 2,
    W: int = 3,
    feeds: bool = True,
    bias: bool = True,
) -> Decoder:
    """Random numbers in float64 with weights scaled as torch scales them."""
    kind, _, nonlinearity = cell.partition("_")
    rows, scale = GATES[cell] * H, H**-0.5
    A = H if score == "dot" else A
    W = 1 if score == "coverage" else W

    def new(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(shape, dtype=torch.float64) * scale).requires_grad_()

    filters = score in ("location", "coverage")
    made = {
        "input": new(T, B, rows),
        "h_0": new(B, H),
        "c_0": new(B, H) if cell == "lstm" else None,
        "context_0": new(B, V),
        "keys": new(S, B, A),
        "values": new(S, B, V),
        "weight_hh": new(rows, H, scale=scale),
        "bias_hh": new(rows, scale=scale) if bias else None,
        "weight_context": new(rows, V, scale=V**-0.5) if feeds else None,
        "weight_query": new(A, H, scale=scale) if score != "dot" else None,
        "score_weight": new(A, scale=2 * A**-0.5) if filters or score == "additive" else None,
        "weight_location": new(A, W, scale=W**-0.5) if filters else None,
        "alignment_0": new(B, S) if filters else None,
    }
    options: dict[str, Any] = {"cell": kind, "cumulative": score == "coverage"}
    if kind == "rnn":
        options["nonlinearity"] = nonlinearity
    if score.startswith("dot"):
        options["scale"] = A**-0.5
    return Decoder({name: t for name, t in made.items() if t is not None}, options)


def results(out: DecoderOutput) -> tuple[Tensor, ...]:
    return tuple(t for t in out if t is not None)


def gradients(decoder: Decoder, out: DecoderOutput) -> tuple[Tensor, ...]:
    """Of the leaves, from random gradients of all results, alike in every dtype."""
    generator = torch.Generator().manual_seed(1)
    found = results(out)
    cotangents = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t) for t in found]
    pairs = [(t, c) for t, c in zip(found, cotangents, strict=True) if t.requires_grad]
    reached, given = zip(*pairs, strict=True)
    return torch.autograd.grad(reached, decoder.leaves, given, materialize_grads=True)


LENGTHS: dict[str, Any] = {"source_lengths": torch.tensor([1, 3]), "lengths": torch.tensor([2, 1])}


def torch_loop(
    decoder: Decoder, *, source_lengths: Tensor | None = None, lengths: Tensor | None = None
) -> DecoderOutput:
    """What a user writes, in the dtype of the tensors; `lengths` choose the states at the end."""
    get, options = decoder.tensors.get, decoder.options
    cell = f"rnn_{options['nonlinearity']}" if options["cell"] == "rnn" else options["cell"]
    x, h, context, keys, values = (
        decoder.tensors[n] for n in ("input", "h_0", "context_0", "keys", "values")
    )
    c, u, location = get("c_0"), get("score_weight"), get("weight_location")
    T, (S, B) = len(x), keys.shape[:2]
    mask = torch.ones(B, S, dtype=torch.bool)
    if source_lengths is not None:
        mask = torch.arange(S) < source_lengths[:, None]
    alignment = keys.new_zeros(B, S) if get("alignment_0") is None else decoder.tensors["alignment_0"] * mask
    states, steps = [(h, c, alignment)], []
    for t in range(T):
        gates = (
            x[t] if get("weight_context") is None else x[t] + context @ decoder.tensors["weight_context"].T
        )
        h, c = update(cell, gates, F.linear(h, decoder.tensors["weight_hh"], get("bias_hh")), h, c)
        query = h if get("weight_query") is None else h @ decoder.tensors["weight_query"].T
        if u is None:
            scores = torch.einsum("sba,ba->bs", keys, query) * options["scale"]
        else:
            terms = query + keys
            if location is not None:
                seen = F.conv1d(alignment[:, None], location[:, None], padding=location.shape[1] // 2)
                terms = terms + seen.permute(2, 0, 1)
            scores = (torch.tanh(terms) @ u).T
        weights = torch.softmax(scores.masked_fill(~mask, -1e30), -1) * mask
        context = torch.einsum("bs,sbv->bv", weights, values)
        alignment = alignment + weights if options["cumulative"] else weights
        states.append((h, c, alignment))
        steps.append((h, context, weights))
    ends = torch.full((B,), T) if lengths is None else lengths
    live = torch.arange(T)[:, None, None] < ends[:, None]
    found = (torch.stack(each) * live for each in zip(*steps, strict=True))
    last = zip(*states, strict=True)
    rows = torch.arange(B)
    final = (None if each[0] is None else torch.stack(each)[ends, rows] for each in last)  # type: ignore[arg-type]
    return DecoderOutput(*found, *final)  # type: ignore[arg-type]
