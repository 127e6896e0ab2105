"""What the simulated producer sends: events that are a pure function of the seed, and how they look to the driver.

Three values of a class and two of a site make sure that most events meet others in a view; ids come back at any
distance, with the same payload or another, in any partition, also of a record that was malformed the first time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import pyarrow as pa

from braid.declaration_reader import parse
from braid.seen import id_bytes
from tests import naive

DECLARATION = parse(
    """
dataset: model
topic: model-events
event_id: [name]
event_time: {field: at, zone: UTC}
fields:
  name: {type: string}
  at:   {type: time}
  kind: {type: string}
  site: {type: string}
  x:    {type: decimal, scale: 3}
  y:    {type: integer, optional: true}
views:
  by_minute: {by: [kind, site], window: 1 minute, measures: {x: {of: x, stats: [mean, stddev]}, y: {of: y, stats: [max]}}}
  by_kind:   {by: [kind], window: all, measures: {x: {of: x, stats: [mean, stddev]}, y: {of: y, stats: [max]}}}
  by_site:   {by: [site], window: all, measures: {y: {of: y, stats: [mean, min]}}}
alerts:
  odd_x: {of: x, by: [kind], rule: sigma, beyond: 1, min_count: 3, show: [name]}
  odd_y: {of: y, by: [site], rule: sigma, beyond: 1, min_count: 2}
""",
    where="tests/model/events.py",
)
TOPIC = DECLARATION.topics[0].name
MINUTE_US = 60_000_000
BEGIN_US = 1_700_000_000_000_000
EDGE = 3 * 10**9 - 1
_USUAL = (10, 11, 12, 13, 14, 15, 16, 17)
_TYPES = {
    "topic": pa.string(), "partition": pa.int32(), "offset": pa.int64(), "append_us": pa.int64(), "reason": pa.string(),
    "raw": pa.binary(), "id64": pa.int64(), "salted64": pa.int64(), "event_us": pa.int64(), "f_name": pa.string(),
    "f_kind": pa.string(), "f_site": pa.string(), "f_x": pa.int64(), "f_y": pa.int64(),
}  # fmt: skip
SCHEMA = pa.schema(list(_TYPES.items()))


def signed(word: int) -> int:
    """Return the low 64 bits as a signed number."""
    word %= 1 << 64
    return word - (1 << 64) if word >> 63 else word


@cache
def mixed(number: int) -> int:
    """Return a well-spread signed 64-bit hash (the finaliser of splitmix64)."""
    z = (number + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return signed(z ^ (z >> 31))


@dataclass(frozen=True, slots=True)
class Event:
    """One record as the driver's SQL would show it; `name` None when it is malformed."""

    partition: int
    offset: int
    append_us: int
    reason: str | None
    name: int | None = None
    event_us: int = 0
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def id64(self) -> int:
        """The first hash of the id."""
        return mixed(self.name or 0)

    @property
    def id(self) -> bytes:
        """The 16 bytes of the id."""
        return id_bytes(self.id64, mixed(~(self.name or 0)))

    def slim(self) -> tuple[Any, ...]:
        """Return the row of `SCHEMA`."""
        place = (TOPIC, self.partition, self.offset, self.append_us)
        if self.reason is not None:
            return (*place, self.reason, b"raw %d" % self.offset, *[None] * 8)
        v = self.values
        hashes = (self.id64, mixed(~(self.name or 0)))
        return (*place, None, None, *hashes, self.event_us, v["name"], v["kind"], v["site"], v["x"], v["y"])

    def plain(self, seq: int) -> naive.Record:
        """Return what the oracle sees."""
        place = (seq, TOPIC, self.partition, self.offset)
        if self.reason is not None:
            return naive.Record(*place, dead=True)
        return naive.Record(*place, False, self.name, self.id64 % 2**64, self.event_us, self.values)


def table(rows: Iterable[tuple[Any, ...]]) -> pa.Table:
    """Return slim rows as an Arrow table."""
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


class Producer:
    """Sends events, copies, late, future and malformed ones, and lets offsets stay empty; counts what it did."""

    def __init__(self, rng: Random, partitions: int) -> None:
        self.rng = rng
        self.partitions = partitions
        self.sent: list[int] = []  # names of good or once malformed events, the oldest first
        self.names = 0

    def burst(self, size: int) -> list[tuple[int, dict[str, Any] | None]]:
        """Return (partition, fields of an Event) for some records; None for an offset that holds no record."""
        return [self._one() for _ in range(size)]

    def _one(self) -> tuple[int, dict[str, Any] | None]:
        rng = self.rng
        partition, dice = rng.randrange(self.partitions), rng.random()
        if dice < 0.04:
            return partition, None
        copied = bool(self.sent) and dice < 0.34
        if copied:
            near = dice < 0.19
            name = self.sent[-1 - int(rng.random() * min(6, len(self.sent)))] if near else rng.choice(self.sent)
        else:
            self.names += 1
            name = self.names
            self.sent.append(name)
        if rng.random() < 0.08:
            reasons = ("expected one JSON object", "$.at: expected at most 5 minutes after the append time")
            return partition, {"reason": rng.choice(reasons)}
        # a copy is mostly the same to the bit; one in four has another payload
        payload = Random(name * 4 if not copied or rng.random() < 0.75 else name * 4 + rng.randrange(1, 4))
        return partition, _good(name, payload)


def _good(name: int, payload: Random) -> dict[str, Any]:
    late_us = payload.choice((0, 0, 0, MINUTE_US, 90 * MINUTE_US, 30 * 24 * 60 * MINUTE_US))
    values = {
        "name": f"e{name}", "kind": "abc"[payload.randrange(3)], "site": "uv"[payload.randrange(2)],
        "x": payload.choice(_USUAL * 4 + (90, -60, EDGE, -EDGE)),
        "y": None if payload.random() < 0.3 else payload.choice((1, 2, 3, 4, 50)),
    }  # fmt: skip
    return {"reason": None, "name": name, "event_us": BEGIN_US + name * 7_000_000 - late_us, "values": values}
