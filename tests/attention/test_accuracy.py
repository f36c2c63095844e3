"""Every compiled kernel of attention at sizes beside every vector, panel, block and tile."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pyrnn import _native
from tests.attention.cases import DTYPES, KERNELS, MASKS, Case, cases, operands
from tests.attention.checking import check, of_reference, of_torch

pytestmark = pytest.mark.usefixtures("isa_put_back")


@pytest.mark.parametrize("case", [case for kernel in KERNELS for case in cases(*kernel)], ids=str)
def test_as_accurate_as_torch(case: Case) -> None:
    _native.set_isa(case.isa)
    check(case.operands(), case.options(), threads=case.threads)


OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "causal": {"is_causal": True},
    "causal at the end": {"is_causal": True, "query_start": 65},
    "causal before the keys": {"is_causal": True, "query_start": -20},
    "window": {"window": (40, 3)},
    "window of one key": {"window": (0, 0)},
    "causal window": {"window": (9, -1), "is_causal": True},
    "lengths": {"lengths": torch.tensor([131, 1])},
    "padding": {"key_padding_mask": torch.arange(131) % torch.tensor([[3], [7]]) == 0},
    "slopes": {"alibi_slopes": torch.tensor([0.5, 0.01])},
    "softcap": {"softcap": 1.5},
    "dropout": {"dropout_p": 0.4, "seed": torch.tensor(7)},
    "scale": {"scale": -0.3},
    "mean weights": {"return_weights": "mean"},
    "weights": {"return_weights": "full"},
    "dropped weights": {"return_weights": "full", "dropout_p": 0.4, "seed": torch.tensor(7)},
    "everything": {
        "is_causal": True,
        "query_start": 60,
        "window": (100, -1),
        "lengths": torch.tensor([100, 131]),
        "alibi_slopes": torch.tensor([0.1, 0.01]),
        "softcap": 3.0,
        "dropout_p": 0.2,
        "seed": torch.tensor(2**63 - 1),
        "return_weights": "mean",
        "attn_mask": MASKS["float of keys"](2, 2, 66, 131),
    },
}


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("T", [3, 66])
@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_alone(name: str, T: int, dtype: torch.dtype) -> None:
    options = {key: value.to(dtype) if key == "attn_mask" else value for key, value in OPTIONS[name].items()}
    check(operands(T=T, S=131, D=24, V=24, dtype=dtype), options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", MASKS)
def test_each_mask_alone(name: str, dtype: torch.dtype) -> None:
    mask = MASKS[name](2, 2, 66, 70)
    mask = mask if mask.dtype is torch.bool else mask.to(dtype)
    check(operands(T=66, S=70, D=24, V=24, dtype=dtype), {"attn_mask": mask})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("H", "K"), [(4, 1), (6, 3)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_heads_that_share_keys(H: int, K: int, is_causal: bool, dtype: torch.dtype) -> None:
    options = {"enable_gqa": True, "is_causal": is_causal}
    check(operands(H=H, K=K, T=70, S=70, D=32, V=32, dtype=dtype), options)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("return_weights", ["mean", "full"])
@pytest.mark.parametrize(
    ("B", "H", "T", "S"),
    [
        (9, 2, 20, 37),  # with the output, in one pass
        (1, 2, 6, 16_500),  # after it: too many keys for a cache
    ],
)
def test_weights_of_either_pass(
    B: int, H: int, T: int, S: int, return_weights: str, dtype: torch.dtype
) -> None:
    q, k, v = operands(B=B, H=H, T=T, S=S, dtype=dtype)
    options = {"return_weights": return_weights, "is_causal": True, "query_start": S - T - 2}
    check((q, k, v), {**options, "lengths": torch.arange(S, S - B, -1)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_long_sums_are_as_accurate_as_torch(dtype: torch.dtype) -> None:
    """Rounding grows with the length of a chain of sums, and torch's libraries keep theirs short."""
    check(operands(B=1, H=1, T=1023, S=1024, D=64, V=64, dtype=dtype), {"is_causal": True})


@pytest.mark.parametrize("name", [name for name in MASKS if name.startswith("float")])
def test_torch_is_compared_on_the_same_mask(name: str) -> None:
    """Without the mask torch's error would be large, and twice as large a bound would let everything pass."""
    q, k, v = operands(T=9, S=7)
    mask = MASKS[name](2, 2, 9, 7).double()
    (ours,), (theirs,) = (function(q, k, v, attn_mask=mask) for function in (of_reference, of_torch))
    torch.testing.assert_close(theirs, ours, rtol=1e-12, atol=1e-12)
