import pytest

from pyrnn.train import Schedule
from pyrnn.train.schedule import Decay


@pytest.mark.parametrize("decay", ["cosine", "linear", "constant"])
def test_warm_up_rises_in_equal_steps_to_the_peak(decay: Decay) -> None:
    schedule = Schedule(peak=0.4, warmup_steps=4, total_steps=20, decay=decay)
    assert [schedule(step) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])


@pytest.mark.parametrize(
    ("decay", "halfway", "end"), [("cosine", 0.5, 0), ("linear", 0.5, 0), ("constant", 1, 1)]
)
def test_decay_after_the_warm_up(decay: Decay, halfway: float, end: float) -> None:
    schedule = Schedule(peak=1.0, warmup_steps=4, total_steps=24, decay=decay)
    assert schedule(14) == pytest.approx(halfway)
    assert schedule(24) == pytest.approx(end)
    assert schedule(99) == pytest.approx(end)
    rates = [schedule(step) for step in range(4, 25)]
    assert rates == sorted(rates, reverse=True)


def test_cosine_falls_slowly_first() -> None:
    cosine, linear = (Schedule(1.0, 0, 100, decay) for decay in ("cosine", "linear"))
    assert cosine(25) > linear(25)
    assert cosine(75) < linear(75)


def test_a_run_shorter_than_its_warm_up_never_exceeds_the_peak() -> None:
    schedule = Schedule(peak=1.0, warmup_steps=10, total_steps=5)
    assert max(schedule(step) for step in range(20)) <= 1.0
