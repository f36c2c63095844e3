"""pyrnn.nn against torch.nn where a call is over soon: a step, a token, a short sequence.

Times are of one call, from many in a row: a decoder's, an agent's or a stream's. The C library keeps what is
freed, on both sides alike: whether it hands memory back to the system between two steps would otherwise
decide many rows. Operations are those of the matrix products, as in the other benchmarks.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

import pyrnn.nn
from pyrnn.bench import record, report
from pyrnn.bench.comparison import Benchmark
from pyrnn.bench.harness import Candidate
from pyrnn.bench.recurrent import GATES
from pyrnn.bench.step import Step

HEADS = 4
AGENT_STEPS = 16
INCLUDES = {
    "infer": "a call without gradients; not: making the data",
    "train": "a call, its backward pass with gradients of the input and all parameters, dropping them; not: "
    "making the data",
}

#: (T, B, H): steps, or tokens, of a call; the batch; features of input and state.
VARIANT_SHAPES = {
    "cell": tuple((1, B, H) for H in (8, 32, 128, 512) for B in (1, 4, 16, 64)),
    "layer": tuple((T, B, H) for H in (8, 64, 512) for T, B in ((1, 1), (1, 16), (2, 4), (8, 1), (8, 16))),
    "agent": ((1, 1, 64), (1, 8, 256)),
    "tokens": ((1, 1, 64), (1, 8, 256), (4, 1, 256), (32, 1, 64)),
    "cached": ((16, 1, 64), (128, 1, 256), (512, 6, 256)),  # T: tokens in the cache before
}
QUICK_SHAPES = {(1, 4, 32), (1, 1, 64), (8, 1, 8), (16, 1, 64)}
RECURRENT = ("rnn", "gru", "lstm")


@dataclass(frozen=True)
class Case:
    """One line of the benchmark."""

    module: str
    dtype: str
    mode: str
    variant: str
    T: int
    B: int
    H: int

    @property
    def trains(self) -> bool:
        """Whether a step has a backward pass."""
        return self.mode == "train"

    @property
    def calls(self) -> int:
        """Calls in a row, of one timing."""
        return 5 if self.operations() > 10**8 else 20

    def deterministic(self) -> Self:
        """The case itself: nothing is left to chance."""
        return self

    def operations(self) -> int:
        """Of one call."""
        if self.module == "attention":
            tokens, keys = (1, self.T + 1) if self.variant == "cached" else (self.T, self.T)
            forward = self.B * tokens * (8 * self.H**2 + 4 * keys * self.H)
        else:
            forward = 4 * self.T * self.B * GATES[self.module] * self.H**2
        return forward * (3 if self.trains else 1)

    def facts(self) -> record.Row:
        """What a row says of the case beside its fields."""
        return {"calls": self.calls, "includes": INCLUDES[self.mode]}

    def meaningful(self) -> bool:
        """Cells and layers recur, tokens attend; an agent and a generating model do not train here."""
        attends = self.variant in ("tokens", "cached")
        return attends == (self.module == "attention") and not (
            self.trains and self.variant in ("agent", "cached")
        )

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.module} {self.dtype} {self.mode} {self.variant} {self.T}x{self.B}x{self.H}"


class Calls(Step):
    """Makes the calls of a case in a row; `start` runs before them, outside the clock."""

    def __init__(self, case: Case, start: Callable[[], None] = lambda: None, **options: Any) -> None:
        super().__init__(**options)
        self._calls, self._start = case.calls, start

    def run(self) -> None:
        """All calls."""
        with torch.set_grad_enabled(self.gradient is not None):
            for _ in range(self._calls):
                if self.gradient is not None:
                    self.drop_gradients()
                self.results = [*self.forward(*self.inputs)]
                if self.gradient is not None:
                    self.results[0].backward(self.gradient)

    def candidate(self) -> Candidate:
        """For the harness."""
        return Candidate(self.run, self._start, self._calls)


def sides(case: Case) -> tuple[Calls, Calls]:
    """Our module and torch's with the same parameters, on the same inputs."""
    _keep_freed_memory()
    torch.manual_seed(0)
    make = {"attention": _attention, "cell": _cell, "layer": _layer, "agent": _layer}
    modules = [
        make["attention" if case.module == "attention" else case.variant](case, library).train(case.trains)
        for library in (pyrnn.nn, nn)
    ]
    modules[0].load_state_dict(modules[1].state_dict())
    ours, theirs = (_calls(case, module) for module in modules)
    return ours, theirs


def _cell(case: Case, library: Any) -> nn.Module:
    name = f"{case.module.upper()}Cell"
    return getattr(library, name)(case.H, case.H, dtype=getattr(torch, case.dtype))


def _layer(case: Case, library: Any) -> nn.Module:
    return getattr(library, case.module.upper())(case.H, case.H, dtype=getattr(torch, case.dtype))


def _attention(case: Case, library: Any) -> nn.Module:
    return library.MultiheadAttention(case.H, HEADS, dtype=getattr(torch, case.dtype), batch_first=True)


def _calls(case: Case, module: nn.Module) -> Calls:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(getattr(torch, case.dtype))

    T, B, H = case.T, case.B, case.H
    if case.module == "attention":
        shape = (B, 1 if case.variant == "cached" else T, H)
    else:
        shape = (B, H) if case.variant == "cell" else (T, B, H)
    x = random(*shape).requires_grad_(case.trains)
    gradient = random(*shape) if case.trains else None
    options: dict[str, Any] = {"inputs": [(x,)], "gradient": gradient, "parameters": [*module.parameters()]}
    if case.variant == "cached":
        return _cached(case, module, random(B, T, H), options)
    if case.module == "attention":
        return Calls(case, forward=lambda x: [module(x, x, x, need_weights=False)[0]], **options)
    state_shape = (B, H) if case.variant == "cell" else (1, B, H)
    state: Any = random(*state_shape)
    if case.module == "lstm":
        state = (state, random(*state_shape))
    if case.variant == "agent":
        return Calls(case, forward=_agent(module, state, case), **options)
    return Calls(case, forward=lambda x: _flat(module(x, state)), **options)


def _flat(results: Any) -> list[Tensor]:
    if isinstance(results, Tensor):
        return [results]
    return [tensor for part in results for tensor in _flat(part)]


def _agent(layer: nn.Module, first: Any, case: Case) -> Callable[[Tensor], Sequence[Tensor]]:
    """A step of an agent after another, whose state starts anew where an episode has ended."""
    going_on = torch.ones(1, case.B, 1).to(getattr(torch, case.dtype))

    def walk(x: Tensor) -> list[Tensor]:
        state = first
        for _ in range(AGENT_STEPS):
            if isinstance(state, tuple):
                state = (state[0] * going_on, state[1] * going_on)
            else:
                state = state * going_on
            output, state = layer(x, state)
        return [output, *_flat(state)]

    return walk


def _cached(case: Case, module: nn.Module, prompt: Tensor, options: dict[str, Any]) -> Calls:
    """A token after another behind `prompt`: ours with its cache, torch's with one by hand."""
    held: list[Any] = []

    if isinstance(module, pyrnn.nn.MultiheadAttention):

        def start() -> None:
            with torch.no_grad():
                cache = module.new_cache()
                module(prompt, prompt, prompt, need_weights=False, cache=cache)
                held[:] = [cache]

        def forward(x: Tensor) -> list[Tensor]:
            return [module(x, x, x, need_weights=False, cache=held[0])[0]]

    else:
        attention: Any = module

        def heads(x: Tensor) -> list[Tensor]:
            projected = nn.functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
            return [p.unflatten(2, (HEADS, -1)).transpose(1, 2) for p in projected.chunk(3, dim=-1)]

        def start() -> None:
            with torch.no_grad():
                held[:] = heads(prompt)[1:]

        def forward(x: Tensor) -> list[Tensor]:
            q, k, v = heads(x)
            held[:] = [torch.cat([held[0], k], dim=2), torch.cat([held[1], v], dim=2)]
            out = nn.functional.scaled_dot_product_attention(q, *held)
            return [attention.out_proj(out.transpose(1, 2).flatten(2))]

    return Calls(case, start, forward=forward, **options)


def _keep_freed_memory() -> None:
    """Let glibc neither map large blocks one by one nor give the top of the heap back."""
    if sys.platform == "linux":
        set_option = getattr(ctypes.CDLL(None), "mallopt", None)
        trim_threshold, map_threshold = -1, -3
        if set_option is not None:
            set_option(trim_threshold, 2**30)
            set_option(map_threshold, 2**30)


def below_one(rows: Sequence[record.Row]) -> str:
    """The rows in which torch was faster, by processor time, and what the others come to."""
    slower = [row for row in rows if row["cpu_ratio"] < 1]
    if not slower:
        return f"By processor time none of the {len(rows)} rows is below 1."
    names = ", ".join(
        f"{row['module']} {row['dtype']} {row['mode']} {LAYOUT.case_name(row)} {row['cpu_ratio']:.2f}"
        for row in sorted(slower, key=lambda row: row["cpu_ratio"])
    )
    return f"By processor time {len(slower)} of {len(rows)} rows are below 1: {names}."


LAYOUT = report.Layout(
    "overhead",
    across="module",
    names={**{cell: cell.upper() for cell in RECURRENT}, "attention": "attention"},
    shape=("T", "B", "H"),
    variants={
        "cell": "cell",
        "layer": "layer",
        "agent": f"agent, {AGENT_STEPS} steps",
        "tokens": "tokens",
        "cached": "token after T cached",
    },
    remark=below_one,
)
BENCHMARK = Benchmark(
    LAYOUT,
    about=__doc__,
    make_case=Case,
    sides=sides,
    shapes=VARIANT_SHAPES,
    quick=QUICK_SHAPES,
    page=record.ROOT / "docs" / "small-calls.md",
    meaningful=Case.meaningful,
    threads=1,
    processor_time=True,
)
main = BENCHMARK.main

if __name__ == "__main__":
    main()
