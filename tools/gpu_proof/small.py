"""Small steps forward and backward on the device, launched in every way: what the sanitizers watch."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import torch
from torch import Tensor

import pyrnn
from pyrnn import _native
from pyrnn.ops import dropout, scaled_dot_product_attention
from pyrnn.ops.attention import cuda as attention
from pyrnn.ops.attention.call import Call
from pyrnn.ops.recurrent.cuda import recurrence

#: (T, B, I, H): several blocks, with tails in units and batch. Few cases, for watched kernels are slow.
SHAPE = (5, 9, 7, 49)
DTYPES = (torch.float32, torch.bfloat16)  # both kinds of product

#: (T, S, D): several blocks of queries and keys with tails in all three, and keys that blocks share.
MANY, SHARED = (70, 83, 24), (1, 1500, 16)
BATCH, HEADS = 1, 2
SEED = torch.tensor(3)

#: Shape and options of each step of attention; "forbidden" and "bias" stand for masks.
ATTENTION: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "plain causal": (MANY, {"is_causal": True}),
    "masked with dropout": (MANY, {"attn_mask": "forbidden", "dropout_p": 0.2, "seed": SEED}),
    "shared keys": (SHARED, {}),
    "returned weights": (MANY, {"return_weights": "full"}),
    "gradient of a mask": (MANY, {"attn_mask": "bias"}),
}


def run(cell: str, dtype: torch.dtype) -> None:
    """One training step, with lengths."""
    T, B, width, H = SHAPE
    layer = getattr(pyrnn, cell)(width, H, bidirectional=True, device="cuda", dtype=dtype)
    input = torch.randn(T, B, width, device="cuda").to(dtype).requires_grad_()
    lengths = torch.arange(B, device="cuda") % (T + 1)
    output, _ = layer(input, lengths=lengths)
    output.sum().backward()


def operands(shape: tuple[int, int, int], dtype: torch.dtype, device: str) -> list[Tensor]:
    """Query, key and value, as leaves."""
    T, S, D = shape
    shapes = [(BATCH, HEADS, length, D) for length in (T, S, S)]
    return [torch.randn(each, device=device).to(dtype).requires_grad_() for each in shapes]


def attend(name: str, dtype: torch.dtype, device: str) -> list[Tensor]:
    """One training step of attention: its outputs, and the gradients of all that has one."""
    shape, options = ATTENTION[name]
    query, key, value = leaves = operands(shape, dtype, device)
    mask, (T, S, _) = options.get("attn_mask"), shape
    if mask == "forbidden":
        options = {**options, "attn_mask": torch.rand(T, S, device=device) < 0.7}
    if mask == "bias":  # one for all heads: its gradient is a sum
        leaves.append(torch.randn(1, 1, T, S, device=device).to(dtype).requires_grad_())
        options = {**options, "attn_mask": leaves[-1]}
    results = scaled_dot_product_attention(query, key, value, **options)
    outputs = [results] if isinstance(results, Tensor) else [*results]
    gradients = torch.autograd.grad(outputs, leaves, [torch.randn_like(each) for each in outputs])
    return [*outputs, *gradients]


def drop(dtype: torch.dtype, device: str) -> list[Tensor]:
    """One training step of dropout behind an activation and before a sum, with a tail."""
    input, residual = (torch.randn(3, 683, device=device).to(dtype).requires_grad_() for _ in range(2))
    out = dropout(input, 0.3, residual=residual, activation="gelu", seed=SEED)
    return [out, *torch.autograd.grad(out, [input, residual], torch.randn_like(out))]


def attention_and_dropout(device: str) -> int:
    """Each step of attention and one of dropout in each dtype; how many these are."""
    for dtype in DTYPES:
        for name in ATTENTION:
            attend(name, dtype, device)
        drop(dtype, device)
    return len(DTYPES) * (len(ATTENTION) + 1)


def splits(dtype: torch.dtype, device: str) -> int:
    """Blocks that share the keys of the same queries in the step that is there for them."""
    query, key, value = operands(SHARED, dtype, device)
    options = (0.0, False, None, 0, -1, -1, 0.0, "none")
    return attention.plan(Call(query, key, value, None, None, None, None, None, *options)).splits


def main() -> int:
    """All combinations; the sanitizer around this process judges."""
    if why := _native.why_no_cuda():
        print(f"pyrnn has no CUDA kernels in this process: {why}", flush=True)
        return 1
    clusters = ("cluster",) if torch.cuda.get_device_capability() >= (9, 0) else ()
    count = 0
    for engine, cell, dtype in itertools.product(
        (*clusters, "persistent", "step"), ("GRU", "LSTM", "RNN"), DTYPES
    ):
        recurrence.forced_engine = engine
        run(cell, dtype)
        count += 1
    count += attention_and_dropout("cuda")
    torch.cuda.synchronize()
    print(f"{count} training steps", flush=True)
    if any(splits(dtype, "cuda") < 2 for dtype in DTYPES):
        print("blocks shared no keys: sums of their parts were not watched", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
