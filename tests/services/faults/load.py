"""A load of seeded events, and what became of each.

Only how fast they go is a matter of the machine. An acknowledged event is kept with the place that the broker gave it. One that failed may have arrived all the same: it is
`unknown`, and the log is asked afterwards.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from braid.adapters.kafka import KafkaLog
from braid.adapters.kafka_producer import EventProducer
from braid.declaration import Declaration
from braid.errors import StoreUnavailable
from tests.services.faults.events import KINDS, Events

MOST_WAITING = 20_000


@dataclass(slots=True)
class Sent:
    """One event: its number, kind, bytes, and the delivery to ask."""

    number: int
    kind: str
    raw: bytes
    delivery: Any
    topic_id: str
    place: tuple[int, int] | None = None  # partition and offset, once acknowledged
    unknown: bool = False


class Load:
    """Sends events at a rate, in a thread of its own, until it is told to pause.

    Parameters
    ----------
    partitions : of the topic
    rate_per_s : events a second

    Attributes
    ----------
    topic_id : of the topic as it is now; a row that creates the topic again sets another
    """

    def __init__(self, bootstrap: str, declaration: Declaration, seed: int, partitions: int, rate_per_s: float) -> None:
        self.topic = declaration.topics[0].name
        self.rate_per_s = rate_per_s
        self.sent: list[Sent] = []
        self._events = Events(declaration, seed, partitions)
        self._bootstrap = bootstrap
        self.settled = 0  # events whose outcome is known
        self._producer = EventProducer(bootstrap)
        with KafkaLog(bootstrap) as log:
            self.topic_id = log.topic_ids([self.topic])[self.topic]
        self._going, self._ended = threading.Event(), threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    # ---- controls ------------------------------------------------------------------------------------------------

    def go(self) -> None:
        """Send, from now on."""
        self._idle.clear()
        self._going.set()

    def pause(self, patience_s: float = 180) -> None:
        """Send no more, and wait until it is known of every event what became of it."""
        self._going.clear()
        assert self._idle.wait(patience_s), "the load did not pause"
        until = time.monotonic() + patience_s
        while self._settle() < len(self.sent):
            assert time.monotonic() < until, f"{len(self.sent) - self.settled} events have no outcome"
            time.sleep(0.02)

    def close(self) -> None:
        """End the thread."""
        self._going.clear()
        self._ended.set()
        self._thread.join(30)
        self._producer.close(5)

    def renew(self) -> None:
        """Follow a topic that was created again: a producer of its own, and the topic's new id."""
        self._producer.close(5)
        self._producer = EventProducer(self._bootstrap)
        with KafkaLog(self._bootstrap) as log:
            self.topic_id = log.topic_ids([self.topic])[self.topic]

    def counts(self) -> dict[str, int]:
        """Return how many were sent, acknowledged, and are unknown, and how many of each kind."""
        kinds = {kind: sum(s.kind == kind for s in self.sent) for kind in KINDS}
        known = sum(s.place is not None for s in self.sent)
        return {"sent": len(self.sent), "acknowledged": known, "unknown": sum(s.unknown for s in self.sent)} | kinds

    # ---- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        tick_s, owed = 0.05, 0.0
        while not self._ended.is_set():
            if not self._going.is_set():
                self._idle.set()
                self._going.wait(0.05)
                continue
            owed += self.rate_per_s * tick_s
            while owed >= 1 and self._settle() + MOST_WAITING > len(self.sent):
                owed -= 1
                self._send()
            owed = min(owed, self.rate_per_s)
            time.sleep(tick_s)

    def _send(self) -> None:
        event = self._events.next(len(self.sent))
        delivery = None
        while delivery is None and not self._ended.is_set():
            try:
                delivery = self._producer.send(self.topic, event.key, event.raw, event.partition)
            except StoreUnavailable:
                time.sleep(0.2)  # not handed over: nobody has it
        if delivery is not None:
            self.sent.append(Sent(len(self.sent), event.kind, event.raw, delivery, self.topic_id))

    def _settle(self) -> int:
        """Note the outcome of the oldest events; return how many are known."""
        while self.settled < len(self.sent) and self.sent[self.settled].delivery.is_done:
            one = self.sent[self.settled]
            if one.delivery.exception is None:
                one.place = (one.delivery.value.partition, one.delivery.value.offset)
            else:
                one.unknown = True
            one.delivery = None
            self.settled += 1
        return self.settled
