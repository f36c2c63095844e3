"""Decoding with caches gives what the whole sequence gives, token for token."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import pyrnn.nn
from pyrnn.nn import CacheList, KeyValueCache, MultiheadAttention, RotaryEmbedding
from tests.nn.pairs import assert_same

OPTIONS: list[dict[str, Any]] = [
    {},
    {"window": (3, 0)},
    {"window": (0, -1)},
    {"alibi": True},
    {"rotary": RotaryEmbedding(4)},
    {"rotary": RotaryEmbedding(2), "window": (4, 2), "batch_first": True},
]


def attention(**options: Any) -> MultiheadAttention:
    torch.manual_seed(0)
    return MultiheadAttention(8, 2, dtype=torch.float64, causal=True, **options).eval()


def pieces(x: Tensor, sizes: list[int], dim: int = 0) -> tuple[Tensor, ...]:
    assert sum(sizes) == x.shape[dim]
    return x.split(sizes, dim)


@pytest.mark.parametrize("no_grad", [True, False])
@pytest.mark.parametrize("sizes", [[1] * 40, [40], [7, 1, 1, 20, 0, 11]])
@pytest.mark.parametrize("options", OPTIONS)
def test_steps_are_the_whole(options: dict[str, Any], sizes: list[int], no_grad: bool) -> None:
    layer, x = attention(**options), torch.randn(40, 2, 8, dtype=torch.float64)
    time = 1 if layer.batch_first else 0
    x = x.transpose(0, 1) if time else x
    whole, weights = layer(x, x, x)
    cache, outputs, end = layer.new_cache(), [], 0
    with torch.set_grad_enabled(not no_grad):
        for piece in pieces(x, sizes, time):
            output, seen = layer(piece, piece, piece, cache=cache)
            outputs.append(output)
            start, end = end, end + piece.shape[time]
            assert_same(seen, weights[:, start:end, end - seen.shape[2] : end])
    assert_same(torch.cat(outputs, dim=time), whole)
    assert cache.position == 40


def test_unbatched_steps() -> None:
    layer, x = attention(rotary=RotaryEmbedding(4)), torch.randn(5, 8, dtype=torch.float64)
    cache = layer.new_cache()
    steps = [layer(token, token, token, cache=cache)[0] for token in x.split(1)]
    assert_same(torch.cat(steps), layer(x, x, x)[0])


@torch.no_grad()
def test_padding_is_remembered() -> None:
    """Rows of different lengths, padded on the left; rotation makes positions relative."""
    layer = attention(rotary=RotaryEmbedding(4))
    x = torch.randn(9, 2, 8, dtype=torch.float64)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[1, 2:4] = True
    expected, _ = layer(x, x, x, padding)
    cache = layer.new_cache()
    first = layer(x[:2], x[:2], x[:2], cache=cache)[0]
    assert cache.padding is None
    second = layer(x[2:5], x[2:5], x[2:5], padding[:, 2:5], cache=cache)[0]
    steps = [layer(token, token, token, cache=cache)[0] for token in x[5:].split(1)]
    assert_same(torch.cat([first, second, *steps]), expected)
    assert torch.equal(cache.padding, padding)  # type: ignore[arg-type]


@torch.no_grad()
def test_masks_cover_old_and_new_keys() -> None:
    layer = attention()
    x = torch.randn(6, 2, 8, dtype=torch.float64)
    mask = torch.randn(6, 6, dtype=torch.float64)
    expected, _ = layer(x, x, x, attn_mask=mask)
    cache = layer.new_cache()
    parts = [
        layer(x[:4], x[:4], x[:4], attn_mask=mask[:4, :4], cache=cache)[0],
        layer(x[4:], x[4:], x[4:], attn_mask=mask[4:], cache=cache)[0],
    ]
    assert_same(torch.cat(parts), expected)
    with pytest.raises(RuntimeError, match=r"should be \(1, 7\)"):
        layer(x[:1], x[:1], x[:1], attn_mask=mask[:1], cache=cache)
    assert cache.length == 6


@pytest.mark.parametrize("no_grad", [True, False])
def test_reorder_is_that_of_the_sequences(no_grad: bool) -> None:
    layer = attention(rotary=RotaryEmbedding(4))
    x = torch.randn(8, 3, 8, dtype=torch.float64)
    cache = layer.new_cache()
    with torch.set_grad_enabled(not no_grad):
        cache.reorder(torch.tensor([1, 0]))  # nothing yet: nothing to do
        layer(x[:5], x[:5], x[:5], torch.zeros(3, 5, dtype=torch.bool), cache=cache)
        beams = torch.tensor([2, 0, 0, 1])
        cache.reorder(torch.arange(3))
        cache.reorder(beams)
        new = torch.randn(3, 4, 8, dtype=torch.float64)
        steps = [layer(token, token, token, cache=cache)[0] for token in new.split(1)]
    sequences = torch.cat((x[:5, beams], new))
    assert_same(torch.cat(steps), layer(sequences, sequences, sequences)[0][5:])


@torch.no_grad()
def test_reorder_looks_at_no_number_of_a_device() -> None:
    """The host would wait for it; here there are none to look at."""
    layer, x = attention().to("meta"), torch.randn(5, 3, 8, dtype=torch.float64, device="meta")
    cache = layer.new_cache()
    layer(x, x, x, cache=cache)
    cache.reorder(torch.arange(3, device="meta"))
    cache.reorder(torch.tensor([2, 0, 0, 1], device="meta"))
    assert cache.keys is not None
    assert cache.keys.shape[0] == 4


@torch.no_grad()
def test_truncate_takes_tokens_back() -> None:
    layer, x = attention(rotary=RotaryEmbedding(4)), torch.randn(9, 2, 8, dtype=torch.float64)
    prompt = x.clone()
    cache = layer.new_cache()
    layer(x, x, x, cache=cache)
    keys = cache.keys
    assert keys is not None
    kept = keys.clone()
    cache.truncate(4)
    assert (cache.length, cache.position) == (4, 4)
    again, _ = layer(x[4:6], x[4:6], x[4:6], cache=cache)
    assert_same(again, layer(x, x, x)[0][4:6])
    assert torch.equal(keys, kept)  # what the first call made is not written to
    assert torch.equal(x, prompt)
    with pytest.raises(ValueError, match="from 0 to the 6 keys kept"):
        cache.truncate(7)
    cache.clear()
    assert (cache.length, cache.position, cache.keys, cache.padding) == (0, 0, None, None)


@torch.no_grad()
def test_capacity_grows_geometrically(monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[int] = []
    move = KeyValueCache._move

    def counted(cache: KeyValueCache, capacity: int, indices: Tensor | None = None) -> None:
        moves.append(cache.length)
        move(cache, capacity, indices)

    monkeypatch.setattr(KeyValueCache, "_move", counted)
    cache, row = KeyValueCache(), torch.zeros(1, 1, 1, 2)
    for _ in range(1000):
        cache.append(row, row)
    assert len(moves) <= 10
    assert sum(moves) < 2000
    moves.clear()
    cache = KeyValueCache(keep=10)
    for _ in range(1000):
        cache.append(row, row)
    assert cache.length == 11
    assert sum(moves) < 1100
    buffer = cache._buffers[0]
    assert buffer.shape[2] <= 22


def test_gradients_flow_through_the_pieces() -> None:
    layer, x = attention(), torch.randn(6, 2, 8, dtype=torch.float64, requires_grad=True)
    cache = layer.new_cache()
    parts = [layer(piece, piece, piece, cache=cache)[0] for piece in x.split(2)]
    found = torch.autograd.grad(torch.cat(parts).square().sum(), [x, *layer.parameters()])
    whole = layer(x, x, x)[0].square().sum()
    assert_same(list(found), list(torch.autograd.grad(whole, [x, *layer.parameters()])))
    cache.detach()
    output, _ = layer(x[:1], x[:1], x[:1], cache=cache)
    (grad,) = torch.autograd.grad(output.sum(), x)
    assert not grad[1:].any()


def test_a_cache_made_in_inference_mode_goes_on_outside() -> None:
    layer, x = attention(), torch.randn(6, 2, 8, dtype=torch.float64)
    cache = layer.new_cache()
    with torch.inference_mode():
        for token in x[:3].split(1):
            layer(token, token, token, cache=cache)
    with torch.no_grad():
        steps = [layer(token, token, token, cache=cache)[0] for token in x[3:].split(1)]
    assert_same(torch.cat(steps), layer(x, x, x)[0][3:])


def test_copies_and_pickles() -> None:
    layer, x = attention(), torch.randn(4, 2, 8, dtype=torch.float64)
    cache = layer.new_cache()
    with torch.no_grad():
        layer(x, x, x, cache=cache)
        for other in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
            assert repr(other) == repr(cache)
            assert_same(layer(x, x, x, cache=other)[0], layer(x, x, x, cache=copy.deepcopy(cache))[0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: KeyValueCache(keep=-1), "keep >= 0"),
        (lambda: KeyValueCache(keep=1, fixed=True), "None with fixed=True"),
        (
            lambda cache: cache.append(torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4)),
            r"shape \(3, 2, 1, 4\)",
        ),
        (lambda cache: cache.append(*[torch.zeros(3, 2, 1, 4).double()] * 2), "torch.float32"),
        (
            lambda cache: cache.append(*[torch.zeros(3, 2, 1, 4)] * 2, torch.zeros(3, 2).bool()),
            "padding of shape",
        ),
        (lambda cache: cache.append(*[torch.zeros(3, 2, 1, 4)] * 2, torch.zeros(3, 1)), "torch.bool"),
    ],
)
def test_misuse(call: Any, words: str) -> None:
    cache = KeyValueCache()
    cache.append(*[torch.zeros(3, 2, 5, 4)] * 2)
    with pytest.raises(ValueError, match=words):
        call(*[cache] * call.__code__.co_argcount)


# ---- a memory ------------------------------------------------------------------------------------


def test_a_memory_is_projected_once() -> None:
    layer = MultiheadAttention(8, 2, kdim=5, vdim=3, dtype=torch.float64)
    key, value = torch.randn(7, 2, 5).double(), torch.randn(7, 2, 3).double()
    padding = torch.arange(7) >= torch.tensor([[7], [4]])
    x = torch.randn(4, 2, 8).double()
    expected, _ = layer(x, key, value, padding)
    cache = KeyValueCache(fixed=True)
    steps = [layer(x[:1], key, value, padding, cache=cache)[0]]
    held = cache.keys
    nothing = torch.full_like(key, torch.nan), torch.full_like(value, torch.nan)
    steps += [layer(token, *nothing, cache=cache)[0] for token in x[1:].split(1)]
    assert_same(torch.cat(steps), expected)
    assert held is not None
    assert cache.keys.data_ptr() == held.data_ptr()  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="filled once"):
        cache.append(held, held)
    with pytest.raises(ValueError, match="not fixed"):
        cache.truncate(2)


def test_masks_over_a_memory_are_kept_whatever_the_hint() -> None:
    layer = MultiheadAttention(8, 2, dtype=torch.float64)
    x = torch.randn(4, 2, 8).double()
    mask = torch.ones(4, 4, dtype=torch.bool).triu(1)
    expected, _ = layer(x, x, x, attn_mask=mask)
    cache = KeyValueCache(fixed=True)
    for n, token in enumerate(x.split(1)):
        options = {"attn_mask": mask[n : n + 1], "is_causal": True, "need_weights": False}
        assert_same(layer(token, x, x, cache=cache, **options)[0], expected[n : n + 1])
    with pytest.raises(RuntimeError, match="is_causal is a hint"):
        layer(x[:1], x, x, is_causal=True, cache=cache)


@torch.no_grad()
def test_a_decoder_decodes_step_by_step_and_searches_beams() -> None:
    torch.manual_seed(0)
    layer = pyrnn.nn.TransformerDecoderLayer(8, 2, 16, causal=True, norm_first=True, dtype=torch.float64)
    decoder = pyrnn.nn.TransformerDecoder(layer, 3, nn.LayerNorm(8, dtype=torch.float64)).eval()
    memory, x = torch.randn(5, 2, 8).double(), torch.randn(6, 2, 8).double()
    padding = torch.arange(5) >= torch.tensor([[5], [3]])
    whole = decoder(x, memory, memory_key_padding_mask=padding)
    cache = decoder.new_cache()
    steps = [decoder(token, memory, memory_key_padding_mask=padding, cache=cache) for token in x.split(1)]
    assert_same(torch.cat(steps), whole)
    assert cache.position == 6
    beams = torch.tensor([1, 1, 0])
    cache.reorder(beams)
    token = torch.randn(1, 3, 8).double()
    found = decoder(token, memory[:, beams], cache=cache)
    sequences = torch.cat((x[:, beams], token))
    expected = decoder(sequences, memory[:, beams], memory_key_padding_mask=padding[beams])
    assert_same(found, expected[6:])
    cache.truncate(6)
    assert_same(decoder(token, memory, cache=cache), found)
    cache.detach()
    cache.clear()
    assert cache.position == 0


@torch.no_grad()
def test_an_encoder_with_causal_layers_decodes() -> None:
    layer = pyrnn.nn.TransformerEncoderLayer(
        8, 2, 16, causal=True, rotary=RotaryEmbedding(4), window=(5, 0), batch_first=True, dtype=torch.float64
    )
    model = pyrnn.nn.TransformerEncoder(layer, 2).eval()
    x = torch.randn(3, 30, 8).double()
    cache = model.new_cache()
    steps = [model(token, cache=cache) for token in x.split(1, dim=1)]
    assert_same(torch.cat(steps, dim=1), model(x))
    assert isinstance(cache, CacheList)
    assert [each.length for each in cache] == [6, 6]  # type: ignore[union-attr]


def test_torch_s_layers_have_no_cache() -> None:
    layer = pyrnn.nn.TransformerEncoderLayer(8, 2, 16)
    layer.self_attn = nn.MultiheadAttention(8, 2)
    with pytest.raises(TypeError, match=r"only pyrnn\.nn\.MultiheadAttention takes a cache"):
        layer.new_cache()
    with pytest.raises(TypeError, match=r"only pyrnn's layers take a cache"):
        pyrnn.nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2).new_cache()


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "branch", "select", "truncate"]), st.integers(0, 99)),
        max_size=30,
    )
)
def test_branches_are_values(actions: list[tuple[str, int]]) -> None:
    """What one cache is told, those it came from and those that came from it do not see."""
    new = itertools.count()
    caches = [(KeyValueCache(keep=5), [[], []])]  # beside the keys that each of two rows should hold
    with torch.no_grad():
        for action, number in actions:
            cache, rows = caches[number % len(caches)]
            if action == "append":
                numbers = [[float(next(new)) for _ in range(1 + number % 3)] for _ in rows]
                keys = torch.tensor(numbers).view(2, 1, -1, 1)
                cache.append(keys, keys + 0.5)
                rows[:] = [row[-5:] + added for row, added in zip(rows, numbers, strict=True)]
            elif action == "truncate":
                length = number % (cache.length + 1) if cache.length else 0
                cache.truncate(length)
                rows[:] = [row[:length] for row in rows]
            else:
                other, held = cache.branch(), [[*row] for row in rows]
                if action == "select":
                    order = [number % 2, number // 2 % 2]
                    other.reorder(torch.tensor(order))
                    held = [[*rows[n]] for n in order]
                caches.append((other, held))
            for each, expected in caches:
                found = each.keys
                assert ([[], []] if found is None else found[:, 0, :, 0].tolist()) == expected
                assert found is None or (found + 0.5 == each.values).all()
