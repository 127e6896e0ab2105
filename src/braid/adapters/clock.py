"""The machine's clock, as a port; no answer depends on it."""

from __future__ import annotations

import time


class SystemClock:
    """Wall-clock time of this machine."""

    def now_us(self) -> int:
        """Return microseconds since 1970, UTC."""
        return time.time_ns() // 1000
