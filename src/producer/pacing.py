"""When to send: each event at its place in a schedule, and never before its own time.

The schedule is fixed at the start (event k at start + k · interval), so a slow moment is caught up and the rate holds;
a fixed pause after each event would add the cost of sending to every pause. An event whose own time lies in the future
waits for it: no event is ever sent that claims to be from later than now.
"""

from __future__ import annotations

import time
from typing import Protocol

# Waiting shorter than this costs more than it orders: at 5,000 events/s ten leave together every 2 ms.
SHORTEST_WAIT_US = 2_000
LONGEST_WAIT_US = 50_000  # so that an interrupt is heard at once


class Watch(Protocol):
    """Two clocks and a wait."""

    def now_us(self) -> int:
        """Return microseconds since 1970, UTC."""
        ...

    def elapsed_us(self) -> int:
        """Return microseconds on a clock that is never set."""
        ...

    def wait_us(self, us: int) -> None:
        """Let time pass."""
        ...


class SystemWatch:
    """The clocks of this machine."""

    def now_us(self) -> int:
        """Return microseconds since 1970, UTC."""
        return time.time_ns() // 1000

    def elapsed_us(self) -> int:
        """Return microseconds on a clock that is never set."""
        return time.monotonic_ns() // 1000

    def wait_us(self, us: int) -> None:
        """Let time pass."""
        time.sleep(us / 1_000_000)


class Pace:
    """A schedule of one event per interval.

    Parameters
    ----------
    interval_ns : nanoseconds between two events; 0 for as fast as possible
    duration_us : when to end, or None
    watch : Watch
    """

    def __init__(self, interval_ns: int, duration_us: int | None, watch: Watch) -> None:
        self._interval_ns = interval_ns
        self._watch = watch
        self._start_us = watch.elapsed_us()
        self._end_us = None if duration_us is None else self._start_us + duration_us
        self._count = 0

    def delay_us(self, event_us: int) -> int:
        """Return how long the next event still has to wait: for its place in the schedule and for its own time."""
        due = self._start_us + self._count * self._interval_ns // 1000 - self._watch.elapsed_us()
        return max(due, event_us - self._watch.now_us(), 0)

    def over(self) -> bool:
        """Whether the duration has passed."""
        return self._end_us is not None and self._watch.elapsed_us() >= self._end_us

    def turn(self, event_us: int) -> bool:
        """Wait for the next event's turn, at most LONGEST_WAIT_US; return whether its turn has come.

        Examples
        --------
        >>> class Still:
        ...     def now_us(self): return 1_000_000
        ...     def elapsed_us(self): return 0
        ...     def wait_us(self, us): pass
        >>> pace = Pace(5_000_000, None, Still())
        >>> pace.turn(0), pace.turn(0), pace.delay_us(0), pace.delay_us(3_000_000)
        (True, False, 5000, 2000000)
        """
        delay = self.delay_us(event_us)
        if delay:
            self._watch.wait_us(min(max(delay, SHORTEST_WAIT_US), LONGEST_WAIT_US))
            if self.delay_us(event_us):
                return False
        self._count += 1
        return True
