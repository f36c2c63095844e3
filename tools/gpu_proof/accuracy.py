"""How far the results of a case are from float64, beside torch's own distance: the rule of the tests."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pyrnn.bench.recurrent import Case, Runner, flat, torch_forward
from pyrnn.bench.step import Step


def exact_results(case: Case, theirs: Runner) -> list[Tensor]:
    """What torch.nn gives in float64 on the parameters, last input and gradient of `theirs`."""
    layer = copy.deepcopy(theirs.layer).double()
    trains = theirs.gradient is not None
    inputs = tuple(x.detach().double().requires_grad_(trains) for x in theirs.inputs)
    gradient = theirs.gradient.double() if theirs.gradient is not None else None
    parameters = [*layer.parameters()]
    step = Step(flat(torch_forward(case, layer)), [inputs], gradient=gradient, parameters=parameters)
    step.drop_gradients()
    step.run()
    return step.compared()


def share_of_allowed(ours: Sequence[Tensor], theirs: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """The largest error of `ours` as a share of what is allowed: above 1 a result is wrong.

    Allowed is max|ours - exact| <= 2 max|theirs - exact| + 4 eps max|exact|, of each tensor.
    """
    shares = [0.0]
    for mine, other, true in zip(ours, theirs, exact, strict=True):
        if not mine.shape == other.shape == true.shape:
            shapes = " against ".join(str([*each.shape]) for each in (mine, other, true))
            raise ValueError(f"results have different shapes: {shapes}")
        error, torchs = ((each.detach().double() - true).abs().max().item() for each in (mine, other))
        allowed = 2 * torchs + 4 * torch.finfo(mine.dtype).eps * true.abs().max().item()
        shares.append(math.inf if math.isnan(error) else error / max(allowed, 1e-300))
    return max(shares)
