"""Token buckets: so many requests a second each, and a burst when nothing was asked for a while."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST_CLIENTS = 10_000  # remembered at once; whoever was quiet longest is forgotten, and has a full bucket again


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one request.

    Attributes
    ----------
    left : requests that may follow at once
    wait_s : whole seconds until one may come again, 0 when it was allowed
    """

    allowed: bool
    left: int
    wait_s: int


class Buckets:
    """One bucket per client; safe to share between threads.

    Parameters
    ----------
    rate_per_s : requests a second that a client may keep up
    burst : requests that it may send at once
    monotonic : seconds
    """

    def __init__(self, rate_per_s: float, burst: int, monotonic: Callable[[], float]) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._monotonic = monotonic
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str) -> Taken:
        """Take one token of a client's bucket, if there is one."""
        now_s = self._monotonic()
        with self._lock:
            level, at_s = self._held.get(client, (float(self.burst), now_s))
            level = min(level + (now_s - at_s) * self.rate_per_s, float(self.burst))
            allowed = level >= 1
            level -= allowed
            self._held[client] = (level, now_s)
            self._held.move_to_end(client)
            while len(self._held) > MOST_CLIENTS:
                self._held.popitem(last=False)
        wait_s = 0 if allowed else max(1, math.ceil((1 - level) / self.rate_per_s))
        return Taken(allowed, int(level), wait_s)
