"""Layers around attention on the CUDA kernels: torch's results, training as on the CPU, caches, graphs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyrnn.nn
from pyrnn.models import LanguageModel, LanguageModelConfig
from pyrnn.ops.attention import cuda
from pyrnn.ops.attention.layout import NativeSizes, layout_of
from tests.attention.cases import operands
from tests.attention.checking import of_kernel
from tests.cuda.cases import captured_in_a_graph, on_cpu

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="what CUDA alone has; there is no GPU")

WIDTH, HEADS, T, B = 24, 3, 9, 2
PADDING = torch.tensor([[False] * 9, [False] * 6 + [True] * 3])


@pytest.mark.parametrize("name", ["TransformerEncoderLayer", "TransformerDecoderLayer"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_layers_are_those_of_torch(name: str, norm_first: bool, device: str) -> None:
    options: dict[str, Any] = {"dropout": 0.0, "norm_first": norm_first, "batch_first": True}
    theirs = getattr(nn, name)(WIDTH, HEADS, 40, **options, dtype=torch.float64, device=device)
    ours = getattr(pyrnn.nn, name)(WIDTH, HEADS, 40, **options, dtype=torch.float64, device=device)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(B, T, WIDTH, dtype=torch.float64).to(device)
    padding, causal = PADDING.to(device), nn.Transformer.generate_square_subsequent_mask(T).to(device)
    if name == "TransformerEncoderLayer":
        arguments: dict[str, Any] = {"src_mask": causal.double(), "src_key_padding_mask": padding.double()}
        inputs = (x,)
    else:
        arguments, inputs = {"tgt_mask": causal.double(), "memory_key_padding_mask": padding}, (x, x.cos())
    results = []
    for layer in (ours, theirs):
        leaves = [t.detach().clone().requires_grad_() for t in inputs]
        out = layer(*leaves, **arguments)
        results.append((out, *torch.autograd.grad(out.sin().sum(), [*leaves, *layer.parameters()])))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-11)
    assert pyrnn.explain(ours, *inputs, **arguments).layers[0].path == "native"


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 10, "vdim": 12}], ids=str)
def test_weights_are_those_of_torch(options: dict[str, Any], average: bool, device: str) -> None:
    theirs = nn.MultiheadAttention(WIDTH, HEADS, **options, batch_first=True, device=device)
    ours = pyrnn.nn.MultiheadAttention(WIDTH, HEADS, **options, batch_first=True, device=device)
    ours.load_state_dict(theirs.state_dict())
    query = torch.randn(B, 4, WIDTH, device=device)
    key = torch.randn(B, T, options.get("kdim", WIDTH), device=device)
    value = torch.randn(B, T, options.get("vdim", WIDTH), device=device)
    given: dict[str, Any] = {"key_padding_mask": PADDING.to(device), "average_attn_weights": average}
    torch.testing.assert_close(ours(query, key, value, **given), theirs(query, key, value, **given))


def test_a_language_model_trains_as_on_the_cpu(device: str) -> None:
    torch.manual_seed(0)
    config = LanguageModelConfig(
        30, architecture="transformer", hidden_size=WIDTH, num_heads=HEADS, dropout=0.0, tied=True
    )
    model = LanguageModel(config)
    other = copy.deepcopy(model).to(device)
    tokens = torch.randint(30, (T + 1, B))

    def losses(model: LanguageModel, tokens: Tensor) -> list[float]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        found = []
        for _ in range(3):
            logits = model(tokens[:-1])[0]
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    ours = losses(other, tokens.to(device))
    assert ours == pytest.approx(on_cpu(lambda _: losses(model, tokens)), rel=1e-5)


def test_explain_asks_for_the_features_of_a_head(device: str) -> None:
    for heads, path in ((8, "native"), (2, "reference")):
        layer = pyrnn.nn.MultiheadAttention(640, heads, device=device)
        (told,) = pyrnn.explain(layer, *(torch.zeros(3, 1, 640, device=device),) * 3).layers
        assert told.path == path
        assert ("at most 256 features" in told.reason) == (path == "reference")


def test_a_cache_gives_what_the_whole_gives(device: str) -> None:
    layer = pyrnn.nn.MultiheadAttention(WIDTH, HEADS, causal=True, batch_first=True, device=device).eval()
    x = torch.randn(B, T, WIDTH, device=device)
    with torch.no_grad():
        whole = layer(x, x, x, need_weights=False)[0]
        cache = pyrnn.nn.KeyValueCache()
        parts = [
            layer(piece, piece, piece, need_weights=False, cache=cache)[0]
            for piece in x.split([3, 1, 1, 4], 1)
        ]
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_lengths_on_the_gpu_are_clamped(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrnn._checks.is_readable", lambda tensor: False)  # also where "the GPU" is the CPU
    monkeypatch.setattr("pyrnn.ops.attention.layout.check_range", lambda *_: None)
    query, key, value = (t.to(device) for t in operands(dtype=torch.float32))
    wild, tame = (
        of_kernel(query, key, value, lengths=torch.tensor(lengths, device=device))[0]
        for lengths in ([-2, 99], [0, 7])
    )
    assert torch.equal(wild, tame)


# ------------------------------------------------------------------------------------ what GPUs have


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_training_is_captured_in_a_graph(dtype: torch.dtype) -> None:
    query, key, value = (t.cuda().requires_grad_() for t in operands(T=70, S=90, D=32, V=32, dtype=dtype))
    lengths = torch.tensor([90, 13]).cuda()

    def step() -> tuple[Tensor, ...]:
        (out,) = of_kernel(query, key, value, lengths=lengths, is_causal=True)
        return out, *torch.autograd.grad(out.square().sum(), (query, key, value))

    graph, captured = captured_in_a_graph(step)
    with torch.no_grad():
        query.neg_()
        lengths.copy_(lengths.flip(0))
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(captured, step(), strict=True))


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_and_a_scaler_train(dtype: torch.dtype) -> None:
    layer = pyrnn.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0.1, device="cuda")
    optimizer, scaler = torch.optim.SGD(layer.parameters(), lr=0.1), torch.amp.GradScaler("cuda")
    x = torch.randn(4, 50, 64, device="cuda")
    losses = []
    for _ in range(5):
        with torch.autocast("cuda", dtype):
            loss = layer(x).float().square().mean()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@needs_gpu
def test_no_call_waits_for_the_gpu() -> None:
    tensors = operands(T=70, S=90, D=32, V=32, dtype=torch.bfloat16)
    query, key, value = (t.cuda().requires_grad_() for t in tensors)
    options: dict[str, Any] = {"lengths": torch.tensor([90, 13]).cuda(), "return_weights": "mean"}
    mask = torch.zeros(1, 1, 70, 90, dtype=torch.bfloat16, device="cuda", requires_grad=True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        out, weights = of_kernel(query, key, value, attn_mask=mask, dropout_p=0.1, **options)
        (out.sum() + weights.sum()).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({}, {}),
        ({"causal": True, "window": (3, 2), "alibi": True}, {}),
        (
            {"dropout": 0.5},
            {"need_weights": False, "attn_mask": torch.zeros(4, T), "key_padding_mask": PADDING},
        ),
        ({}, {"key_padding_mask": PADDING.float(), "average_attn_weights": False}),
        ({"add_bias_kv": True}, {"attn_mask": torch.zeros(4, T, dtype=torch.bool), "need_weights": False}),
        (
            {},
            {
                "attn_mask": torch.ones(4, T, dtype=torch.bool).triu(1),
                "is_causal": True,
                "need_weights": False,
            },
        ),
    ],
    ids=["plain", "options", "masks and dropout", "float padding", "extra keys", "hint"],
)
def test_what_explain_plans_is_what_runs(
    options: dict[str, Any], given: dict[str, Any], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = pyrnn.nn.MultiheadAttention(WIDTH, HEADS, **options, batch_first=True, device=device)
    query, key = torch.randn(B, 4, WIDTH, device=device), torch.randn(B, T, WIDTH, device=device)
    call = {"query": query, "key": key, "value": key}
    call |= {name: x.to(device) if isinstance(x, Tensor) else x for name, x in given.items()}
    told, ran = sizes_of(monkeypatch, lambda: (pyrnn.explain(layer, **call), layer(**call))[0])
    assert told == ran


def test_what_explain_plans_with_a_cache_is_what_runs(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = pyrnn.nn.MultiheadAttention(WIDTH, HEADS, causal=True, batch_first=True, device=device)
    cache, x = layer.new_cache(), torch.randn(B, T, WIDTH, device=device)
    with torch.no_grad():
        layer(x, x, x, cache=cache)
        new = x[:, :2]
        call = {"query": new, "key": new, "value": new, "cache": cache}
        told, ran = sizes_of(monkeypatch, lambda: (pyrnn.explain(layer, **call), layer(**call))[0])
    assert told == ran
    assert (ran.S, ran.query_start) == (T + 2, T)


def sizes_of(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> list[NativeSizes]:
    """What the kernels and their plans are told of each call, and that a plan and its words are told, too."""
    seen: list[NativeSizes] = []

    def noted(call: Any) -> Any:
        layout = layout_of(call)
        seen.append(layout.sizes)
        return layout

    monkeypatch.setattr(cuda, "layout_of", noted)
    (entry,) = run().layers
    assert "rows of queries" in entry.engine
    assert "tiles of queries" in entry.split
    return seen
