"""Calls an operator on a CUDA module made for the host, under eight schedules, and looks at the results.

Run in a process of its own, because a faulty kernel may bring it down.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrnn import _checks, _native
from pyrnn.ops import recurrent
from pyrnn.ops.attention import cuda as attention
from pyrnn.ops.recurrent.cuda import recurrence
from pyrnn.reference import recurrent as reference
from tests.attention.checking import of_kernel, of_reference
from tests.helpers import gradients, make_layer
from tools.gpu_proof import rehearsal

LENGTHS = torch.tensor([3, 0, 4, 1, 2, 4, 4, 1, 3])
RESET = (torch.arange(36) % 5 == 0).view(4, 9)
SEEDS = range(8)


def recurrent_is_right(choose: Callable[[int], None], *, outside: bool) -> bool:
    """An LSTM forward and backward; with `outside` one length is larger than T."""
    layer = make_layer("lstm", T=4, B=9, H=18, D=2, dtype=torch.float32, requires_grad=True)
    exact = layer.to(torch.float64, requires_grad=True)
    expected = exact.run(reference, lengths=LENGTHS, reset=RESET)
    results = [*expected[:3], *gradients(exact, expected)]
    lengths = LENGTHS.clone()
    if outside:
        lengths[2] += 1  # what the operator refuses where it may read them
        _checks.is_readable = lambda tensor: False
    for engine, seed in itertools.product(("persistent", "cluster"), SEEDS):
        recurrence.forced_engine = engine
        choose(seed)
        out = layer.run(recurrent, lengths=lengths, reset=RESET)
        if not close([*out[:3], *gradients(layer, out)], results, 1e-4):
            sys.stdout.write(f"wrong on the {engine} engine under schedule {seed}\n")
            return False
    return True


def attention_calls() -> dict[str, tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any]]]:
    """Two heads share keys of two; D and V fill no tile, and neither do queries and keys."""
    torch.manual_seed(0)

    def operands(T: int, S: int) -> tuple[Tensor, Tensor, Tensor]:
        shapes = ((1, 4, T, 24), (1, 2, S, 24), (1, 2, S, 20))
        query, key, value = (torch.randn(shape).to(torch.float16) for shape in shapes)
        return query * 3, key, value

    mask = torch.randn(21, 70).to(torch.float16)
    mask[:, [5, 40]] = -torch.inf
    query, key, value = operands(21, 70)
    value[:, :, 5] = torch.nan
    masked = {"attn_mask": mask, "dropout_p": 0.3, "seed": torch.tensor(3), "lengths": torch.tensor([61])}
    return {
        "causal": (operands(21, 40), {"is_causal": True, "query_start": 19, "return_weights": "full"}),
        "whole": (operands(21, 64), {}),  # nothing is hidden, so no value is asked whether it is a number
        "masked": ((query, key, value), masked),
        "split": (operands(3, 270), {"window": (150, -1), "query_start": 260}),
    }


def hopper_calls() -> dict[str, tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any]]]:
    """Rings that go round several times, pieces of work that a block does one after another."""
    calls = attention_calls()
    torch.manual_seed(1)

    def operands(T: int, S: int, B: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        shapes = ((B, 4, T, 24), (B, 2, S, 24), (B, 2, S, 20))
        query, key, value = (torch.randn(shape).to(torch.float16) for shape in shapes)
        return query * 3, key, value

    (query, key, value), padding = operands(21, 330), torch.arange(330)[None] % 7 == 2
    for place in (9, 303):  # which are padding
        key[:, :, place] = value[:, :, place] = torch.nan
    dropped = {"dropout_p": 0.3, "seed": torch.tensor(3), "lengths": torch.tensor([304]), "softcap": 9.0}
    causal, whole = calls["causal"], operands(70, 330)
    return {
        "causal": causal,
        "whole": (whole, {}),
        "padded": ((query, key, value), {"key_padding_mask": padding, "alibi_slopes": torch.ones(4) / 8}),
        "dropped": ((query, key, value), {**dropped, "key_padding_mask": padding}),
        "many": (operands(9, 20, B=67), {"is_causal": True, "query_start": 11}),
    }


def attention_is_right(choose: Callable[[int], None], calls: dict[str, Any]) -> bool:
    """Forward, with the weights, which are made from the stored statistics."""
    for name, (qkv, options) in calls.items():
        wide = {n: x.double() if n == "attn_mask" else x for n, x in options.items()}
        expected = of_reference(*(x.double() for x in qkv), **wide)
        for seed in SEEDS if len(qkv[0]) == 1 else SEEDS[:2]:  # a whole device takes its time
            choose(seed)
            with torch.no_grad():
                found = of_kernel(*qkv, enable_gqa=True, **options)
            if not close(found, expected, 1e-2):
                sys.stdout.write(f"wrong where it is {name} under schedule {seed}\n")
                return False
    return True


def attention_gradient_is_right(choose: Callable[[int], None]) -> bool:
    """Gradients of query, key, value and mask, with those of returned weights."""
    calls = attention_calls()
    hidden, few = calls["masked"], calls["split"][0]
    calls["masked"] = hidden[0], {**hidden[1], "softcap": 4.0, "return_weights": "mean"}
    key = hidden[0][1].clone()
    key[:, :, 65] = torch.nan  # behind the length
    calls["not seen"] = (
        (hidden[0][0], key, calls["causal"][0][2].repeat(1, 1, 2, 1)[:, :, :70]),
        {"attn_mask": torch.arange(70) != 65},
    )
    calls["split"] = few, {"is_causal": True, "query_start": 267}
    for name, (qkv, options) in calls.items():
        expected = gradients_of(of_reference, [x.double() for x in qkv], options)
        for seed in SEEDS:
            choose(seed)
            if not close(gradients_of(of_kernel, [*qkv], options), expected, 3e-2):
                sys.stdout.write(f"wrong where it is {name} under schedule {seed}\n")
                return False
    return True


def gradients_of(function: Any, qkv: list[Tensor], options: dict[str, Any]) -> tuple[Tensor, ...]:
    """Of the sum of all results, each number times another whole one."""
    leaves = [x.detach().requires_grad_() for x in qkv]
    mask = options.get("attn_mask")
    if mask is not None and mask.is_floating_point():
        leaves.append(mask.detach().to(qkv[0].dtype).requires_grad_())
        options = {**options, "attn_mask": leaves[3]}
    results = function(*leaves[:3], enable_gqa=True, **options)
    weights = [(torch.arange(x.numel()) % 5 - 2).view(x.shape).to(x.dtype) for x in results]
    return torch.autograd.grad(results, leaves, weights)


def close(found: Any, expected: Any, tolerance: float) -> bool:
    """Whether all results are near what they should be."""
    return all(
        torch.allclose(ours.double(), theirs, rtol=tolerance, atol=tolerance / 10)
        for ours, theirs in zip(found, expected, strict=True)
    )


def main(subject: str, module: Path, said: Path, *, fault: int = 0, outside: bool = False) -> None:
    """Put what is said into a file, "right" where all is; exits with 0 then. `fault`: its number, or 0."""
    with said.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills new memory with NaN
    _native.emulated_cuda = rehearsal.emulated(module)
    library = ctypes.CDLL(str(module))
    if fault:
        ctypes.c_int.in_dll(library, "pyrnn_fault").value = fault
    choose = library.pyrnn_emulate_seed
    choose.argtypes, choose.restype = [ctypes.c_uint64], None
    attention.forced_kernel = "hopper" if subject == "attention_hopper" else "ampere"
    if subject == "recurrent":
        right = recurrent_is_right(choose, outside=outside)
    elif subject == "attention":
        right = attention_is_right(choose, attention_calls())
    elif subject == "attention_hopper":
        right = attention_is_right(choose, hopper_calls())
    else:
        right = attention_gradient_is_right(choose)
    if right:
        sys.stdout.write("right\n")
    sys.stdout.flush()
    sys.exit(0 if right else 1)
