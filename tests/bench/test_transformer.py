"""The benchmark of Transformer layers: counts, cases, and both sides computing the same thing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pyrnn.bench.harness import check_agreement
from pyrnn.bench.transformer import BENCHMARK, LAYERS, VARIANT_SHAPES, Case, sides

SMALL = Case("encoder", "float32", "train", "plain", T=5, B=3, E=128)


def test_operations() -> None:
    tokens, E = 5 * 3, 128
    attention = 4 * 3 * 5 * 5 * E
    projections, feed_forward = 2 * tokens * E * 4 * E, 2 * 2 * tokens * E * 4 * E
    infer = replace(SMALL, mode="infer")
    assert replace(infer, layer="attention").operations() == projections + attention
    assert infer.operations() == projections + feed_forward + attention
    assert SMALL.operations() == 3 * (projections + feed_forward) + 3.5 * attention
    causal = attention * 15 // 25
    assert replace(infer, layer="decoder").operations() == 2 * projections + feed_forward + attention + causal


def test_selection() -> None:
    selected = list(BENCHMARK.cases(BENCHMARK.arguments(["--dtype", "bfloat16"])))
    assert len(selected) == len(set(selected))
    counts = {variant: sum(case.variant == variant for case in selected) for variant in VARIANT_SHAPES}
    assert counts == {"plain": 36, "dropout": 18, "weights": 12, "batch-first": 18}
    assert {case.layer for case in selected if case.variant == "weights"} == {"attention"}
    assert {case.mode for case in selected if case.variant == "dropout"} == {"train"}


@pytest.mark.parametrize("variant", [variant for variant in VARIANT_SHAPES if variant != "dropout"])
@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("layer", LAYERS)
def test_contenders_compute_the_same(layer: str, mode: str, variant: str) -> None:
    case = replace(SMALL, layer=layer, mode=mode, variant=variant)
    if not case.meaningful():
        return
    ours, theirs = sides(case)
    ours.run()
    theirs.run()
    check_agreement(ours.compared(), theirs.compared(), str(case))
    results = 2 if variant == "weights" else 1
    inputs = 2 if layer == "decoder" else 1
    trained = inputs + len(theirs.parameters) if mode == "train" else 0
    assert len(theirs.compared()) == results + trained


@pytest.mark.parametrize("layer", LAYERS)
def test_dropout_is_measured_after_agreement_without_it(layer: str) -> None:
    row = BENCHMARK.measure(replace(SMALL, layer=layer, variant="dropout", T=16, B=8), seconds=0.0, repeats=3)
    assert (row["dropout"], row["variant"], row["heads"]) == (0.1, "dropout", 2)
    assert row["difference"] < 1e-4
    assert row["rounds"] == 3


def test_the_decoder_sees_its_target_causally() -> None:
    _, theirs = sides(replace(SMALL, layer="decoder", mode="infer"))
    target, memory = theirs.inputs
    before = theirs.forward(target, memory)[0]
    with torch.no_grad():
        target[-1] += 1
    after = theirs.forward(target, memory)[0]
    torch.testing.assert_close(before[:-1], after[:-1])
    assert not torch.allclose(before[-1], after[-1])
