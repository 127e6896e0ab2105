"""How often a part is asked for a sign of life: from one question to the next, with a rest, and less often while it fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from braid.adapters.memory import FixedClock
from braid.errors import StoreUnavailable
from serving.watch import LONGEST_WAIT_S, Watch
from tests.unit.serving_world import Monotonic


class Turns:
    """An event that lets a watch ask some times, and keeps how long it waited before each."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.waited: list[float] = []

    def wait(self, wait_s: float) -> bool:
        self.waited.append(wait_s)
        self.left -= 1
        return self.left < 0


def waits(took_s: list[float | None], called: Callable[[float], object] | None = None) -> list[float]:
    """Return how long a watch that asks every 100 ms waits after questions that took so long, None for one that failed."""
    monotonic, answers = Monotonic(), iter(took_s)

    def ask() -> None:
        took = next(answers)
        if took is None:
            raise StoreUnavailable("nobody there")
        monotonic.at_s += took

    watch = Watch("part", ask, 0.1, FixedClock(0), monotonic, called)
    turns = Turns(len(took_s))
    watch._stopped = turns  # type: ignore[assignment]
    watch._run()
    return turns.waited[1:]


def test_questions_are_so_far_apart_from_beginning_to_beginning() -> None:
    assert waits([0.0, 0.03, 0.06]) == pytest.approx([0.1, 0.07, 0.04])


def test_a_slow_part_has_a_rest_between_two_questions() -> None:
    assert waits([0.09, 0.1, 5.0]) == pytest.approx([0.025, 0.025, 0.025])


def test_a_part_that_fails_is_asked_less_and_less_often_until_it_answers() -> None:
    assert waits([None] * 8 + [0.0])[:2] == pytest.approx([0.1, 0.2])
    assert waits([None] * 8 + [0.0])[-2:] == pytest.approx([LONGEST_WAIT_S, 0.1])


def test_a_part_that_calls_is_waited_for_no_longer_than_its_turn_and_one_that_fails_is_not_called_for() -> None:
    until_called: list[float] = []
    assert waits([0.0, 0.03, None, None, 0.06], until_called.append) == pytest.approx([0.0, 0.0, 0.1, 0.2, 0.0])
    assert until_called == pytest.approx([0.1, 0.07, 0.04])
