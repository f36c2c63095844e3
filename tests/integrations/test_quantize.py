"""quantize_dynamic: a restored model is quantized as torch's, for it looks for torch's classes alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic  # pyright: ignore[reportDeprecated]

import pyrnn
from tests.integrations.model import twins

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def test_a_restored_model_is_quantized_as_torch_s() -> None:
    theirs, ours = (model.eval() for model in twins())
    kinds: Any = {nn.LSTM, nn.GRUCell}  # torch's Transformer layer runs with no quantized Linear
    assert "quantize_dynamic" in str(pyrnn.accelerate(copy.deepcopy(theirs))).splitlines()[-1]
    pyrnn.restore(ours)
    expected, quantized = (
        quantize_dynamic(model, kinds)  # pyright: ignore[reportDeprecated]
        for model in (theirs, ours)
    )
    assert [type(m) for m in quantized.modules()] == [type(m) for m in expected.modules()]
    tokens = torch.randint(0, 11, (4, 6))
    assert torch.equal(quantized(tokens), expected(tokens))
