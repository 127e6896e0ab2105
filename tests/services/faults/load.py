"""A seeded load: new, late, future and malformed events and copies, and what became of each.

Everything about event number n is a function of the seed and n; only how fast they go is a matter of the machine. An
acknowledged event is kept with the place that the broker gave it. One that failed may have arrived all the same: it is
`unknown`, and the log is asked afterwards.
"""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from braid.adapters.kafka import EventProducer, KafkaLog
from braid.declaration import Declaration
from braid.errors import StoreUnavailable

BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
STEP = timedelta(milliseconds=700)
MOST_WAITING = 20_000
KINDS = ("fresh", "late", "copy", "altered copy", "malformed", "future")
WEIGHTS = (62, 10, 12, 4, 8, 4)
MALFORMED = (
    "", "{", "[1, 2]", "\xff\xfe", '{"image_id": 7}', '{"image_id": "x", "ndvi_mean": 1e-1, "_bad": 1}', "NaN",
)  # fmt: skip


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
        self._classes = list(declaration.topics[0].fields["class_name"].values or ())
        self._bootstrap = bootstrap
        self._random = random.Random(f"load {seed}")
        self._seed = seed
        self._partitions = partitions
        self._pool: list[dict] = []  # events that copies are made of: some of all, however old
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
        number = len(self.sent)
        kind, raw, key = self._event(number)
        # copies without a key, as a hand or another client would send them, may lie in another partition
        partition = self._random.randrange(self._partitions) if key is None else None
        try:
            self.sent.append(
                Sent(number, kind, raw, self._producer.send(self.topic, key, raw, partition), self.topic_id)
            )
        except StoreUnavailable:
            time.sleep(0.2)  # not handed over: it has no number

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

    # ---- events --------------------------------------------------------------------------------------------------

    def _event(self, number: int) -> tuple[str, bytes, bytes | None]:
        pick = self._random
        kind = pick.choices(KINDS, WEIGHTS)[0]
        if kind == "malformed":
            text = pick.choice(MALFORMED)
            return kind, text.encode("latin-1") + (f" {number}".encode() if text else b""), None
        if kind.endswith("copy") and self._pool:
            event = dict(pick.choice(self._pool))
            if kind == "altered copy":
                event["ndvi_mean"] = round(pick.uniform(-1, 1), 6)
            key = None if pick.random() < 0.5 else f"{event['image_id']}|{event['timestamp']}".encode()
            return kind, _raw(event), key
        if kind.endswith("copy"):
            kind = "fresh"
        event = self._fresh(number, kind)
        if kind == "future":
            return kind, _raw(event), None
        if len(self._pool) < 4000:
            self._pool.append(event)
        else:
            self._pool[pick.randrange(4000)] = event
        return kind, _raw(event), f"{event['image_id']}|{event['timestamp']}".encode()

    def _fresh(self, number: int, kind: str) -> dict:
        pick = self._random
        at = BEGIN + number * STEP
        if kind == "late":
            at -= timedelta(hours=pick.choice((1, 6, 30, 24 * 30)), seconds=pick.randrange(60))
        if kind == "future":
            at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
        lo, mid, hi = sorted(round(pick.uniform(-1, 1), 6) for _ in range(3))
        event = {
            "image_id": f"s{self._seed}-{number}", "class_name": pick.choice(self._classes),
            "timestamp": at.isoformat().replace("+00:00", "Z"), "ndvi_mean": mid, "ndvi_std": round(pick.random(), 6),
            "ndvi_min": lo, "ndvi_max": hi,
        }  # fmt: skip
        if kind == "future":
            event["_bad"] = 1  # the oracle passes it over
        return event


def _raw(event: dict) -> bytes:
    # numbers in plain digits: an exponent would make a dead letter
    plain = {k: f"{v:.6f}" if isinstance(v, float) else json.dumps(v) for k, v in event.items()}
    return ("{" + ", ".join(f'"{k}": {v}' for k, v in plain.items()) + "}").encode()
