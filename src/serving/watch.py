"""Asking a part for a sign of life, in the background, and remembering when it last answered."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from braid.errors import BraidError
from braid.instants import iso
from braid.ports import Clock
from serving.tail import Missing

SILENT_S = 5.0  # a store that has not answered for so long makes answers incomplete (design §6)
LONGEST_WAIT_S = 2.0

T = TypeVar("T")

log = logging.getLogger("braid.serving")


@dataclass(frozen=True, slots=True)
class Contact:
    """When a part last answered.

    Attributes
    ----------
    answered_s : monotonic seconds of the last answer, None when there was none yet
    answered_us : the same as microseconds UTC, for people
    latency_s : how long that answer took
    error : why the newest request failed, empty when it did not
    """

    name: str
    answered_s: float | None = None
    answered_us: int | None = None
    latency_s: float = 0.0
    error: str = ""

    def silence(self, now_s: float) -> Missing | None:
        """Return the part as missing when it has been silent for more than 5 s.

        The text holds no running time, so that it is the same for every answer during one outage.
        """
        if self.answered_s is not None and now_s - self.answered_s <= SILENT_S:
            return None
        since = "no answer yet" if self.answered_us is None else f"no answer since {iso(self.answered_us)}"
        return Missing(self.name, f"{since}: {self.error}" if self.error else since)


class Watch(Generic[T]):
    """Calls `ask` again and again in a thread of its own; requests read `contact` and `value` and never wait.

    Parameters
    ----------
    ask : returns a value, or raises BraidError
    every_s : seconds from one call to the next; failures double the wait, up to 2 s
    called : waits for so many seconds, less when it is worth asking sooner; None for nothing but time
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[], T],
        every_s: float,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        called: Callable[[float], object] | None = None,
    ) -> None:
        self.contact = Contact(name)
        self.value: T | None = None
        self._ask = ask
        self._every_s = every_s
        self._clock = clock
        self._monotonic = monotonic
        self._called = called
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch-{name}", daemon=True)

    def start(self) -> None:
        """Start asking."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; a call under way is left to end."""
        self._stopped.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def step(self) -> bool:
        """Ask once; return whether it answered."""
        began_s = self._monotonic()
        try:
            self.value = self._ask()
        except BraidError as error:
            self.contact = replace(self.contact, error=str(error))
            return False
        except Exception as error:
            # a fault of ours must not end the thread: then nothing would ever say that answers stand still
            log.exception("asking %s", self.contact.name)
            self.contact = replace(self.contact, error=f"internal error, {type(error).__name__}; see the log")
            return False
        now_s = self._monotonic()
        self.contact = Contact(self.contact.name, now_s, self._clock.now_us(), now_s - began_s)
        return True

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopped.wait(wait_s):
            began_s = self._monotonic()
            if not self.step():
                wait_s = min(max(wait_s, 0.05) * 2, max(LONGEST_WAIT_S, self._every_s))
                continue
            # a store that is slow is not asked without a rest
            wait_s = max(self._every_s - (self._monotonic() - began_s), self._every_s / 4)
            if self._called:
                self._called(wait_s)
                wait_s = 0.0
