"""Send events, count the acknowledged, keep the journal.

An event is *sent* when the client took it and *acknowledged* when the broker said that it is on every replica. The
outbox holds what lies between, oldest first: its front is where a resumed run must begin. It is bounded, because the
client's own buffer is not; a broker that stalls stalls the run, and nothing grows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from braid.adapters import failpoints
from braid.errors import StoreUnavailable
from producer.pacing import Pace, Watch

MAX_UNACKNOWLEDGED = 20_000
TICK_US = 1_000_000  # progress line and journal
LOOK_US = 10_000
SETTLE_US = 5_000
STALLED_US = 5_000_000


class Delivery(Protocol):
    """What became of one event: `is_done` once answered, `exception` when it was refused."""

    @property
    def is_done(self) -> bool: ...
    @property
    def exception(self) -> BaseException | None: ...


class Sendable(Protocol):
    """One event: its place in the run, its time, when it is due (microseconds), where it goes if not where the run does."""

    @property
    def position(self) -> int: ...
    @property
    def event_us(self) -> int: ...
    @property
    def due_us(self) -> int: ...
    @property
    def topic(self) -> str | None: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes: ...


class Sender(Protocol):
    """The way into the log."""

    def send(self, topic: str, key: bytes | None, value: bytes) -> Delivery:
        """Hand over one event, without waiting for the answer."""
        ...


@dataclass(slots=True)
class Progress:
    """Counts of one run; `position` is the first one that is neither acknowledged nor refused."""

    position: int
    sent: int = 0
    acknowledged: int = 0
    bytes: int = 0
    seconds: float = 0.0
    waits_until_us: int | None = None
    stalled: bool = False
    first_us: int | None = None
    last_us: int | None = None
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Events sent per second of the run."""
        return self.sent / self.seconds if self.seconds else 0.0


class Outbox:
    """Events between sent and acknowledged, oldest first.

    Parameters
    ----------
    topic : where events go that name none
    remedy : what to do when an event is not acknowledged
    """

    def __init__(self, sender: Sender, topic: str, progress: Progress, remedy: str = "go on with --resume") -> None:
        self._sender = sender
        self._topic = topic
        self._progress = progress
        self._remedy = remedy
        self._waiting: deque[tuple[int, Delivery]] = deque()

    def __len__(self) -> int:
        """Return how many events are sent and not acknowledged."""
        return len(self._waiting)

    def send(self, event: Sendable) -> None:
        """Hand over one event."""
        failpoints.hit("producer.before_send")
        topic = event.topic or self._topic
        self._waiting.append((event.position, self._sender.send(topic, event.key, event.value)))
        failpoints.hit("producer.sent")
        progress = self._progress
        progress.sent += 1
        progress.bytes += len(event.key or b"") + len(event.value)
        progress.last_us = event.event_us
        if progress.first_us is None:
            progress.first_us = event.event_us

    def settle(self) -> None:
        """Count what was acknowledged since.

        Raises
        ------
        StoreUnavailable
            The broker refused an event, or did not answer within the delivery time-out.
        """
        waiting, progress = self._waiting, self._progress
        while waiting and waiting[0][1].is_done:
            position, delivery = waiting[0]
            if delivery.exception is not None:
                raise StoreUnavailable(
                    f"{self._topic}: row {position + 1} was not acknowledged: {delivery.exception}; everything "
                    f"before it was; {self._remedy}"
                ) from delivery.exception
            waiting.popleft()
            progress.acknowledged += 1
            progress.position = position + 1
            failpoints.hit("producer.acked")


class Run:
    """One run of the producer.

    Parameters
    ----------
    outbox, pace, watch : where to, how fast, by which clock
    stopping : whether the run was told to end
    tick : called every second and at the end; writes the journal and the progress line
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        pace: Pace,
        watch: Watch,
        progress: Progress,
        stopping: Callable[[], bool],
        tick: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._pace = pace
        self._watch = watch
        self._progress = progress
        self._stopping = stopping
        self._tick = tick
        self._start_us = self._looked_us = self._ticked_us = self._moved_us = watch.elapsed_us()

    def publish(self, events: Iterator[Sendable]) -> bool:
        """Send events, each at its turn, until they end, the duration is over or the run is told to stop.

        Returns
        -------
        bool : True when the events came to their end

        Raises
        ------
        StoreUnavailable : an event was not acknowledged within the delivery time-out
        """
        for event in events:
            if not (self._room() and self._turn(event)) or self._ended():
                return False
            self._outbox.send(event)
        return True

    def drain(self, timeout_us: int) -> bool:
        """Wait until everything is acknowledged, at most `timeout_us`; return whether it is."""
        end_us = self._watch.elapsed_us() + timeout_us
        self._outbox.settle()
        while len(self._outbox) and self._watch.elapsed_us() < end_us:
            self._watch.wait_us(SETTLE_US)
            self._look(None)
        return not len(self._outbox)

    def note(self) -> None:
        """Report where the run stands, now."""
        self._progress.seconds = (self._watch.elapsed_us() - self._start_us) / 1e6
        self._tick()

    def _room(self) -> bool:
        """Wait until the outbox has room; return False when the run ends before."""
        if self._watch.elapsed_us() - self._looked_us >= LOOK_US:
            self._look(None)
        while len(self._outbox) >= MAX_UNACKNOWLEDGED:
            self._watch.wait_us(SETTLE_US)
            self._look(None)
            if self._ended():
                return False
        return True

    def _turn(self, event: Sendable) -> bool:
        """Wait until it is the event's turn; return False when the run ends before."""
        while not self._pace.turn(event.due_us):
            self._look(event)
            if self._ended():
                return False
        return True

    def _ended(self) -> bool:
        return self._stopping() or self._pace.over()

    def _look(self, waiting: Sendable | None) -> None:
        before = self._progress.acknowledged
        self._outbox.settle()
        self._looked_us = now_us = self._watch.elapsed_us()
        if self._progress.acknowledged > before or not len(self._outbox):
            self._moved_us = now_us
        if now_us - self._ticked_us >= TICK_US:
            self._ticked_us = now_us
            early = waiting is not None and waiting.due_us > self._watch.now_us()
            self._progress.waits_until_us = waiting.due_us if waiting is not None and early else None
            self._progress.stalled = now_us - self._moved_us >= STALLED_US
            self.note()
