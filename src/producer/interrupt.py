"""Ctrl-C and SIGTERM, heard instead of suffered: the run settles what it has sent and says how far it came."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether the run was told to end; `status` is the exit status that says by what, 0 until then."""

    def __init__(self) -> None:
        self.status = 0

    def heard(self) -> bool:
        """Whether the run was told to end."""
        return bool(self.status)

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Hear a signal; the second one ends the process at once."""
        if self.status:
            raise SystemExit(self.status)
        self.status = 128 + number


@contextmanager
def interrupts() -> Iterator[Interrupt]:
    """Hear signals for a while; outside the main thread, where Python cannot, nothing is changed."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
