"""Numbers out of the ordinary: nothing to see, NaN where nobody looks, very large and very small scores."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.attention.cases import operands, same_bits
from tests.attention.checking import Composed, check, cotangents, of_kernel, of_reference, run

DTYPES = (torch.float32, torch.bfloat16)
T, S = 70, 133

#: Ways to hide pairs of [B, H, T, S] = [2, 2, T, S].
HIDING: dict[str, dict[str, Any]] = {
    "causal": {"is_causal": True},
    "causal at the end": {"is_causal": True, "query_start": S - T},
    "window": {"window": (3, 2), "query_start": 10},
    "lengths": {"lengths": torch.tensor([65, 2])},
    "padding": {"key_padding_mask": torch.arange(S) % torch.tensor([[2], [5]]) == 1},
    "bool mask": {"attn_mask": torch.arange(T * S).view(T, S) % 3 == 0},
    "float mask": {
        "attn_mask": torch.zeros(T, S).masked_fill(torch.arange(T * S).view(T, S) % 3 > 0, -torch.inf)
    },
}


def at(dtype: torch.dtype, options: dict[str, Any]) -> dict[str, Any]:
    """The options with a float mask in `dtype`."""
    mask = options.get("attn_mask")
    if mask is None or mask.dtype is torch.bool:
        return options
    return {**options, "attn_mask": mask.to(dtype)}


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"lengths": torch.tensor([0, 7])},
        {"key_padding_mask": torch.tensor([[True], [False]]).expand(2, 7)},
        {"attn_mask": torch.arange(5)[:, None] > torch.full((1, 7), 2)},
        {"attn_mask": torch.full((2, 1, 5, 1), -torch.inf) * torch.tensor([0, 1])[:, None, None, None]},
        {"is_causal": True, "query_start": -2},
        {"window": (0, 0), "query_start": 4},
        {"window": (2, -1), "query_start": 1000},
    ],
    ids=str,
)
def test_a_query_that_sees_nothing_gives_zeros(options: dict[str, Any], dtype: torch.dtype) -> None:
    options = at(dtype, options)
    if "attn_mask" in options:
        options = {**options, "attn_mask": options["attn_mask"].nan_to_num(0.0, neginf=-torch.inf)}
    q, k, v = operands(dtype=dtype)
    live = Composed.of(q, k, v, **options).live.expand(2, 2, 5, 1)
    assert not live.all()
    found = run(of_kernel, (q, k, v), {**options, "return_weights": "full"}, dtype)
    for name in ("output", "weights", "d_query", "d_mask"):
        if name in found and found[name].shape[:3] == live.shape[:3]:
            assert not found[name].masked_fill(live, 0.0).any(), name
    assert all(t.isfinite().all() for t in found.values())
    check((q, k, v), options)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("queries", [3, T])
@pytest.mark.parametrize("name", HIDING)
def test_hidden_numbers_reach_nothing(
    name: str, queries: int, dtype: torch.dtype, garbage: float, softcap: float
) -> None:
    """Garbage in a key and value leaves alone the queries that do not see it."""
    options = at(dtype, HIDING[name])
    if "attn_mask" in options:
        options = {"attn_mask": options["attn_mask"][:queries]}
    options = {**options, "softcap": softcap}
    q, k, v = operands(T=queries, S=S, D=9, V=18, dtype=dtype)
    visible = Composed.of(q, k, v, **options).visible.expand(2, 2, queries, S)
    rtol, atol = (0.02, 0.01) if dtype is torch.bfloat16 else (1e-5, 1e-6)
    for j in (0, 64, 65, S - 1):  # 65: a dot product of pairs reads it beside the last key of a length
        spoilt_k, spoilt_v = k.clone(), v.clone()
        spoilt_k[:, :, j, 3] = spoilt_v[:, :, j, 17] = garbage
        masked = ~visible[..., j]  # queries [B, H, T] for which key j is masked
        clean, dirty = (results(q, *pair, options, masked) for pair in ((k, v), (spoilt_k, spoilt_v)))
        for result in ("output", "weights", "d_query"):
            # Not the same bits: a block with garbage in it is summed with more care.
            torch.testing.assert_close(dirty[result][masked], clean[result][masked], rtol=rtol, atol=atol)
        nobody = masked.all(
            -1
        )  # in these heads; elsewhere queries that see garbage hand it on to all they see
        for result in ("d_key", "d_value"):
            torch.testing.assert_close(dirty[result][nobody], clean[result][nobody], rtol=rtol, atol=atol)
            assert not dirty[result][nobody][:, j].any()


def results(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any], queries: Tensor) -> dict[str, Tensor]:
    """Output, weights and gradients, these of the results of `queries` [B, H, T] alone."""
    leaves = [t.clone().requires_grad_() for t in (q, k, v)]
    output, weights = of_kernel(*leaves, **options, return_weights="full")
    given = [g * queries.unsqueeze(-1) for g in cotangents((output, weights), q.dtype)]
    # Queries that see garbage have no part in the gradients: their own rows are cut off, not multiplied by 0.
    found = torch.autograd.grad((output[queries], weights[queries]), leaves, [g[queries] for g in given])
    return dict(
        zip(("output", "weights", "d_query", "d_key", "d_value"), (output, weights, *found), strict=True)
    )


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_garbage_of_a_padded_mask_is_not_read(dtype: torch.dtype, garbage: float) -> None:
    q, k, v = operands(T=T, S=S, dtype=dtype)
    mask = torch.randn(2, 1, T, S).to(dtype)
    lengths = torch.tensor([100, 65])
    spoilt = mask.masked_fill((torch.arange(S) >= lengths[:, None])[:, None, None], garbage)
    clean, dirty = (
        run(of_kernel, (q, k, v), {"attn_mask": m, "lengths": lengths}, dtype) for m in (mask, spoilt)
    )
    assert same_bits(tuple(dirty.values()), tuple(clean.values()))
    assert all(t.isfinite().all() for t in dirty.values())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_garbage_of_a_query_that_sees_nothing_is_not_read(dtype: torch.dtype) -> None:
    q, k, v = operands(T=T, S=S, dtype=dtype)
    q[:, :, :3] = torch.nan
    found = run(of_kernel, (q, k, v), {"is_causal": True, "query_start": -3, "return_weights": "full"}, dtype)
    assert all(t.isfinite().all() for t in found.values())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nan_of_a_visible_key_reaches_results(dtype: torch.dtype) -> None:
    """Of one query: its own results alone. Of a key: those of all queries that see it."""
    q, k, v = operands(T=T, S=S, dtype=dtype)
    clean = of_kernel(q, k, v, is_causal=True)[0]
    spoilt = q.clone()
    spoilt[0, 1, 5, 0] = torch.nan
    out = of_kernel(spoilt, k, v, is_causal=True)[0]
    assert out[0, 1, 5].isnan().all()
    assert out.isnan().sum() == out.shape[-1]
    for which in range(2):
        pair = [k.clone(), v.clone()]
        pair[which][0, 1, 20, 0] = torch.nan
        out = of_kernel(q, *pair, is_causal=True)[0]
        assert out[0, 1, 20:, 0].isnan().all()
        torch.testing.assert_close(out[0, 1, :20], clean[0, 1, :20])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("queries", [1, T])
def test_nan_of_a_mask_is_told_where_it_hides_nothing(queries: int, dtype: torch.dtype) -> None:
    """It is neither above nor below a score, and yet no block of it may be passed over."""
    q, k, v = operands(T=queries, S=S, dtype=dtype)
    for shape in ((1, 1), (queries, S), (1, S)):
        mask = torch.full(shape, torch.nan, dtype=dtype)
        found = run(of_kernel, (q, k, v), {"attn_mask": mask, "return_weights": "full"}, dtype)
        assert all(t.isnan().all() for t in found.values())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("queries", [3, T])
@pytest.mark.parametrize("name", HIDING)
def test_a_query_that_is_nan_spoils_the_gradients_of_the_keys_that_it_sees(
    name: str, queries: int, dtype: torch.dtype
) -> None:
    options = at(dtype, HIDING[name])
    if "attn_mask" in options:
        options = {"attn_mask": options["attn_mask"][:queries]}
    q, k, v = operands(T=queries, S=S, dtype=dtype)
    q[:, :, 1, 0] = torch.nan
    visible = Composed.of(q, k, v, **options).visible.expand(2, 2, queries, S)[:, :, 1]
    found = run(of_kernel, (q, k, v), options, dtype)
    for result in ("d_key", "d_value"):
        assert torch.equal(found[result].isnan(), visible.unsqueeze(-1).expand_as(found[result])), result


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shift", [-3e4, -300.0, 300.0, 3e4])
def test_a_shift_of_all_scores_changes_little(shift: float, dtype: torch.dtype) -> None:
    """exp of the scores alone would be 0 or infinite; the maximum is taken out."""
    q, k, v = operands(T=T, S=S, dtype=dtype)
    mask = torch.full((T, 1), shift).to(dtype)
    check((q, k, v), {"attn_mask": mask})
    assert all(t.isfinite().all() for t in run(of_kernel, (q, k, v), {"attn_mask": mask}, dtype).values())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [-500.0, 500.0, 1e30])
def test_huge_scores_choose_one_key(scale: float, dtype: torch.dtype) -> None:
    q, k, v = operands(T=T, S=S, D=1, dtype=dtype)
    k = torch.randperm(S).view(1, 1, S, 1).expand(2, 2, S, 1).to(dtype) / 64
    q = q.sign() + (q == 0)
    found = run(of_kernel, (q, k, v), {"scale": scale}, dtype)
    exact = of_reference(q.double(), k.double(), v.double(), scale=scale)[0]
    # Neighbours in k differ by 1/64 at least, rounded to bfloat16 some are equal.
    torch.testing.assert_close(found["output"].double(), exact, rtol=0.01, atol=0.01)
    assert all(t.isfinite().all() for t in found.values())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scores_far_below_those_of_other_queries(dtype: torch.dtype) -> None:
    """Maxima of -200 beside those of 200: the backward pass finds the weights of both again."""
    q, k, v = operands(T=T, S=S, dtype=dtype)
    mask = torch.linspace(-200, 200, T)[:, None].to(dtype).expand(T, S)
    check((q, k, v), {"attn_mask": mask, "return_weights": "full"})


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_values_of_any_size_keep_their_digits(scale: float) -> None:
    q, k, v = operands(T=T, S=S, dtype=torch.float32)
    out, scaled = (of_kernel(q, k, each)[0] for each in (v, v * scale))
    torch.testing.assert_close(scaled / scale, out, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("spoilt", ["query", "key", "value"])
@pytest.mark.parametrize("dropout_p", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("queries", [3, T])
def test_weights_of_a_row_with_nan_are_nan_where_it_sees_and_zero_elsewhere(
    queries: int, dropout_p: float, spoilt: str, dtype: torch.dtype
) -> None:
    """Kernel and reference agree: neither a mask nor dropout changes which weights are NaN."""
    q, k, v = (t.requires_grad_() for t in operands(T=queries, S=S, D=9, V=18, dtype=dtype))
    mask = (torch.arange(queries * S).view(queries, S) % 3 > 0).expand(2, 1, queries, S)
    bias = torch.zeros(queries, S, dtype=dtype).masked_fill(~mask, -torch.inf)
    bias[:, 40:45] = -1e30  # keys whose weights exp makes 0 are visible all the same
    with torch.no_grad():
        {"query": q, "key": k, "value": v}[spoilt][0, 1, 2] = torch.nan
    options: dict[str, Any] = {"dropout_p": dropout_p, "seed": torch.tensor(3)}
    for attn_mask in (mask, bias):
        for kind in ("full", "mean", None):
            given = {**options, "attn_mask": attn_mask, "return_weights": kind}
            ours, theirs = (function(q, k, v, **given) for function in (of_kernel, of_reference))
            assert torch.equal(ours[0].isnan(), theirs[0].isnan())
            assert ours[0].isnan().any()
            if kind is not None:
                hidden = ~mask.expand(2, 2, queries, S) if kind == "full" else ~mask[:, 0]
                assert not ours[1][hidden].any()
                assert torch.equal(ours[1].isnan(), theirs[1].isnan())
