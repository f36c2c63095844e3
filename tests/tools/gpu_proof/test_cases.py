"""The cases, what cuDNN does with them, and how fast a step could be."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch

from pyrnn._native import CudaPlan
from pyrnn.bench.recurrent import runners
from tools.gpu_proof.cases import GpuCase, _goal_queues, cases, in_turn
from tools.gpu_proof.cudnn import algorithm, algorithms
from tools.gpu_proof.goals import GOALS
from tools.gpu_proof.limits import Rooflines, bytes_of, limit, step_limit
from tools.gpu_proof.timing import arithmetic, inputs_for, repeats_for

CASE = GpuCase("gru", "bfloat16", "infer", "plain", T=512, B=64, I=1024, H=1024)
PLAN = CudaPlan("persistent", True, 2, 32, 128, 256, 100_000, 0, "")
ROOFLINES = Rooflines({64: 1e-6, 132: 2e-6}, l2=5e12, memory=4e12)


# ---- the list ------------------------------------------------------------------------------------


def test_no_case_comes_twice() -> None:
    assert len(set(cases())) == len(cases()) > 200


def test_every_goal_has_cases_among_the_first() -> None:
    for goal in GOALS:
        assert any(goal.covers(case) for case in cases()[:12]), goal.what


def test_every_engine_is_measured_after_the_goals() -> None:
    everything = cases()
    forced = [number for number, case in enumerate(everything) if case.engine]
    shapes = {
        (case.dtype, case.variant, case.B, case.I, case.H) for case in map(everything.__getitem__, forced)
    }
    assert shapes == {("bfloat16", "plain", 32, 256, 256)}
    assert len(forced) == 2 * 2 * 4
    assert {everything[number].engine for number in forced[:4]} == {
        "cluster",
        "persistent",
        "streamed",
        "step",
    }
    goals = [*in_turn(_goal_queues())]
    assert forced == [*range(len(set(goals)), len(set(goals)) + len(forced))]


def test_the_list_covers_what_it_should() -> None:
    everything = cases()
    assert {case.dtype for case in everything} == {"float16", "bfloat16", "float32"}
    assert {case.cell for case in everything} == {"rnn", "gru", "lstm"}
    assert {128, 2048} <= {case.H for case in everything}
    assert {1, 256} <= {case.B for case in everything}
    assert {128, 2048} <= {case.T for case in everything}
    variants = {"plain", "lengths", "bidirectional", "two-layer", "bidirectional-two-layer"}
    assert {case.variant for case in everything} == variants
    assert {case.mode for case in everything} == {"infer", "train"}


def test_queues_take_turns() -> None:
    a, b = (iter([replace(CASE, T=t) for t in ts]) for ts in ((1, 2, 3), (10,)))
    assert [case.T for case in in_turn([a, b])] == [1, 10, 2, 3]


def test_a_case_returns_from_its_row() -> None:
    case = replace(CASE, arithmetic="default", dtype="float32")
    assert GpuCase.of({**asdict(case), "ratio": 2.0}) == case
    assert str(case) == "gru float32 infer plain 512x64x1024x1024 torch's default arithmetic"
    assert str(replace(CASE, engine="step")) == "gru bfloat16 infer plain 512x64x1024x1024 step engine"


def test_both_sides_compute_two_layers_in_both_directions() -> None:
    case = GpuCase("lstm", "float32", "train", "bidirectional-two-layer", T=4, B=3, I=5, H=6)
    assert (case.layers, case.directions) == (2, 2)
    ours, theirs = runners(case, inputs=2)
    for _ in range(2):  # the second of the inputs too
        for runner in (ours, theirs):
            runner.candidate().timed()
        torch.testing.assert_close(ours.compared(), theirs.compared(), rtol=1e-4, atol=1e-5)
    assert len(theirs.compared()) == 1 + 2 + 1 + 16


# ---- cuDNN ---------------------------------------------------------------------------------------


def asked(
    case: GpuCase, *, backward: bool = False, capability: tuple[int, int] = (9, 0), sms: int = 132
) -> str:
    return algorithm(case, backward=backward, capability=capability, sms=sms)


def test_persistent_is_for_float16_lstm_of_the_right_size() -> None:
    best = replace(CASE, cell="lstm", dtype="float16")
    assert asked(best) == "persistent"
    for changes in (
        {"dtype": "bfloat16"},
        {"dtype": "float32"},
        {"cell": "gru"},
        {"B": 1},
        {"B": 136},
        {"H": 1025},
        {"H": 2048},
        {"I": 100},
        {"variant": "bidirectional"},
        {"variant": "two-layer"},
        {"variant": "lengths"},
    ):
        assert asked(replace(best, **changes)) == "standard", changes
    assert asked(best, sms=56) == "standard"
    assert asked(best, capability=(8, 6)) == "standard"


@pytest.mark.parametrize(
    ("cell", "forward", "backward"), [("gru", 192, 128), ("lstm", 192, 128), ("rnn", 384, 256)]
)
def test_small_hidden_sizes_have_their_own(cell: str, forward: int, backward: int) -> None:
    for is_backward, largest in ((False, forward), (True, backward)):
        case = replace(CASE, cell=cell, B=5)
        assert asked(replace(case, H=largest), backward=is_backward) == "persistent for small H"
        assert asked(replace(case, H=largest + 1), backward=is_backward) == "standard"


def test_a_table_shows_the_backward_algorithm_where_it_differs() -> None:
    small = replace(CASE, H=160, mode="train")
    assert algorithms(small, capability=(9, 0), sms=132) == "persistent for small H / standard"
    assert algorithms(replace(small, H=512), capability=(9, 0), sms=132) == "standard"


# ---- limits --------------------------------------------------------------------------------------


def test_bytes_of_a_step() -> None:
    forward = bytes_of(CASE, PLAN, backward=False)
    assert forward.l2 == 128 * 32 * 1024 * 2
    assert forward.memory == 64 * 1024 * (3 * 4 + 2)
    training = bytes_of(replace(CASE, mode="train"), PLAN, backward=True)
    assert training.l2 == 3 * forward.l2
    assert training.memory == 64 * 1024 * (4 * 4 + 2 + 4 * 2)
    streamed = bytes_of(CASE, PLAN._replace(resident=False), backward=False)
    assert streamed.l2 - forward.l2 == 2 * 3 * 1024**2 * 2


def test_the_limit_is_the_larger_of_barrier_and_bytes() -> None:
    assert step_limit(CASE, PLAN, ROOFLINES, backward=False) == 2e-6
    slow = replace(CASE, B=8)
    assert (
        step_limit(slow, PLAN, Rooflines({132: 1e-9}, 1e12, 4e12), backward=False)
        == 128 * 32 * 1024 * 2 / 1e12
    )
    two = replace(CASE, mode="train", variant="two-layer")
    assert limit(two, [PLAN, PLAN._replace(blocks=64)], ROOFLINES) == pytest.approx(
        2 * 512 * (2e-6 + max(1e-6, 64 * 32 * 3072 * 2 / 5e12))
    )


def test_a_cluster_has_no_limit() -> None:
    cluster = PLAN._replace(engine="cluster")
    assert limit(CASE, [cluster], ROOFLINES) is None
    assert limit(replace(CASE, mode="train"), [PLAN, cluster], ROOFLINES) is None


def test_the_barrier_of_a_grid_is_that_of_the_next_larger_one() -> None:
    assert [ROOFLINES.barrier(blocks) for blocks in (1, 64, 65, 500)] == [1e-6, 1e-6, 2e-6, 2e-6]


def test_without_all_ceilings_there_is_no_limit() -> None:
    rows = [
        {"what": "barrier", "blocks": 64, "seconds": 1e-6},
        {"what": "l2 read", "bytes_per_second": 5e12},
        {"what": "memory", "bytes_per_second": 4e12},
        {"what": "l2", "bytes_per_second": 3e12},
        {"what": "product", "dtype": "float32", "flops": 1e13},
    ]
    assert Rooflines.of(rows) == Rooflines({64: 1e-6}, 5e12, 4e12)
    for missing in range(3):
        assert Rooflines.of(rows[:missing] + rows[missing + 1 :]) is None


# ---- timing --------------------------------------------------------------------------------------


def test_bursts_and_inputs() -> None:
    assert [repeats_for(seconds) for seconds in (1.0, 1e-3, 0.0)] == [1, 4, 20]
    cache = 60 * 2**20
    assert [inputs_for(size, cache) for size in (2**30, 32 * 2**20, 1)] == [2, 4, 8]


def test_exact_arithmetic_forbids_tf32_and_restores_the_settings() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with arithmetic("exact"):
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    with arithmetic("default"):
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
