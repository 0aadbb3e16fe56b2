"""The benchmarks' timing: turns are taken in order, preparations are not timed, ratios are paired."""

from __future__ import annotations

import pytest

from wan_lite.benchmarks import timing
from wan_lite.benchmarks.timing import Call, take_turns


class Clock:
    """A clock that moves only when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(timing.time, "process_time", lambda: 2 * self.now)

    def takes(self, *seconds: float) -> Call[float]:
        left = list(seconds)

        def run() -> float:
            self.now += left[0]
            return left.pop(0)

        return Call(run)


def test_ratios_are_taken_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    # the machine is ten times slower in the second round: the ratios do not care
    found = take_turns({"ours": clock.takes(1, 10, 1), "theirs": clock.takes(3, 30, 4)}, 3)
    assert found.median("ours").wall == 1
    assert found.median("theirs") == timing.Seconds(wall=4, cpu=8)
    assert found.ratio("theirs", to="ours").wall == 3
    assert found.results == {"ours": 1, "theirs": 4}


def test_turns_are_taken_and_warm_ups_and_preparations_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = Clock(monkeypatch), []

    def prepare() -> None:
        order.append("prepare")
        clock.now += 100

    calls = {"a": Call(lambda: order.append("a"), prepare), "b": Call(lambda: order.append("b"))}
    found = take_turns(calls, 1, warm_up=1)
    assert order == ["prepare", "a", "b"] * 2
    assert [seconds.wall for seconds in found.seconds["a"]] == [0]
