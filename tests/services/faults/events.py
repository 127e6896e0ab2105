"""The events of a load: new, late, future and malformed ones and copies, each a function of the seed and its number."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from braid.declaration import Declaration

BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
STEP = timedelta(milliseconds=700)
KINDS = ("fresh", "late", "copy", "altered copy", "malformed", "future")
WEIGHTS = (62, 10, 12, 4, 8, 4)
MALFORMED = (
    "", "{", "[1, 2]", "\xff\xfe", '{"image_id": 7}', '{"image_id": "x", "ndvi_mean": 1e-1, "_bad": 1}', "NaN",
)  # fmt: skip
_KEPT = 4000  # of all events so far, however old: what copies are made of


class Event(NamedTuple):
    """One event: its kind, bytes, key, and the partition where it has no key."""

    kind: str
    raw: bytes
    key: bytes | None
    partition: int | None


class Events:
    """Makes event after event.

    Parameters
    ----------
    partitions : of the topic; copies without a key, as a hand or another client would send them, go to any
    """

    def __init__(self, declaration: Declaration, seed: int, partitions: int) -> None:
        self._classes = list(declaration.topics[0].fields["class_name"].values or ())
        self._random = random.Random(f"load {seed}")
        self._seed = seed
        self._partitions = partitions
        self._pool: list[dict] = []

    def next(self, number: int) -> Event:
        """Return event `number`; call it with 0, 1, 2, …"""
        pick = self._random
        kind, partition = pick.choices(KINDS, WEIGHTS)[0], pick.randrange(self._partitions)
        if kind == "malformed":
            text = pick.choice(MALFORMED)
            return Event(kind, text.encode("latin-1") + (f" {number}".encode() if text else b""), None, partition)
        if kind.endswith("copy") and self._pool:
            event = dict(pick.choice(self._pool))
            if kind == "altered copy":
                event["ndvi_mean"] = round(pick.uniform(-1, 1), 6)
            keyed = pick.random() < 0.5
            return Event(kind, _raw(event), _key(event) if keyed else None, None if keyed else partition)
        kind = "fresh" if kind.endswith("copy") else kind
        event = self._made(number, kind)
        if kind == "future":
            return Event(kind, _raw(event), None, partition)
        if len(self._pool) < _KEPT:
            self._pool.append(event)
        else:
            self._pool[pick.randrange(_KEPT)] = event
        return Event(kind, _raw(event), _key(event), None)

    def _made(self, number: int, kind: str) -> dict:
        pick = self._random
        at = BEGIN + number * STEP
        if kind == "late":
            at -= timedelta(hours=pick.choice((1, 6, 30, 24 * 30)), seconds=pick.randrange(60))
        if kind == "future":  # beyond any append time
            at = datetime(2199, 1, 1, tzinfo=UTC) + number * STEP
        lo, mid, hi = sorted(round(pick.uniform(-1, 1), 6) for _ in range(3))
        event = {
            "image_id": f"s{self._seed}-{number}", "class_name": pick.choice(self._classes),
            "timestamp": at.isoformat().replace("+00:00", "Z"), "ndvi_mean": mid, "ndvi_std": round(pick.random(), 6),
            "ndvi_min": lo, "ndvi_max": hi,
        }  # fmt: skip
        # the oracle passes over what is marked so
        return event | ({"_bad": 1} if kind == "future" else {})


def _key(event: dict) -> bytes:
    return f"{event['image_id']}|{event['timestamp']}".encode()


def _raw(event: dict) -> bytes:
    # numbers in plain digits: an exponent would make a dead letter
    plain = {k: f"{v:.6f}" if isinstance(v, float) else json.dumps(v) for k, v in event.items()}
    return ("{" + ", ".join(f'"{k}": {v}' for k, v in plain.items()) + "}").encode()
