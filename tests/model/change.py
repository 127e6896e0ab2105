"""A small world of raw records, in which a declaration changes: real bytes, the reference parser, the shipping protocol.

Other than in `tests/model/world.py` the declaration is no constant: every record is a text, read again by whoever asks.
Generations lie in real files, published by the shipping code; what Spark would compute is computed by the reference fold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from batch_layer import apply, publish
from batch_layer.audit import Counts, Own, audit
from batch_layer.recompute import Recomputed
from braid import change, generations, records, sql, views
from braid.adapters import memory
from braid.adapters.files import FileGenerations
from braid.declaration import Declaration, ViewSpec
from braid.declaration_reader import parse
from braid.definitions import in_force
from braid.errors import StoreUnavailable
from braid.instants import iso
from braid.ledger import Current, LedgerRow, Range
from braid.seen import id_bytes
from braid.views import View
from serving.follower import Follower
from serving.follower import Stores as Served
from speed_layer import microbatch, start
from speed_layer.microbatch import Driver
from tests.model.world import Inline

TOPIC = "plant-log"
BEGIN_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
_HEAD = """
dataset: plant
topic: plant-log
event_id: [name]
event_time: {field: at, zone: UTC}
"""
OLD = parse(
    _HEAD
    + """
fields:
  name: {type: string}
  at:   {type: time}
  kind: {type: string}
  site: {type: string}
  x:    {type: decimal, scale: 2}
  y:    {type: integer, optional: true}
views:
  by_minute: {by: [kind, site], window: 1 minute, measures: {x: {of: x, stats: [mean]}, y: {of: y, stats: [max]}}}
  by_kind:   {by: [kind], window: all, measures: {x: {of: x, stats: [mean]}, y: {of: y, stats: [max]}}}
  old_only:  {by: [site], window: all, measures: {y: {of: y, stats: [mean]}}}
alerts:
  odd_x: {of: x, by: [kind], rule: sigma, beyond: 1, min_count: 3, show: [name]}
""",
    where="OLD",
)
# another scale, tighter bounds, a field that must be there, a derived column, other keys of a view, one view less and one
# more, with a condition and other states, another rule
NEW = parse(
    _HEAD
    + """
fields:
  name: {type: string}
  at:   {type: time}
  kind: {type: string}
  site: {type: string}
  x:    {type: decimal, scale: 1, max: 30}
  y:    {type: integer}
derived:
  twice: {type: decimal, scale: 1, sql: "x * 2"}
views:
  by_minute: {by: [kind], window: 1 minute, measures: {x: {of: x, stats: [mean, stddev]}}}
  by_kind:   {by: [kind], window: all, measures: {x: {of: x, stats: [mean, stddev]}}}
  by_hour:
    by: [site]
    window: 1 hour
    where: "y > 2"
    measures: {y: {of: y, stats: [sum]}, t: {of: twice, stats: [mean, p50]}}
alerts:
  odd_x: {of: x, by: [kind], rule: sigma, beyond: 2, min_count: 2, show: [name, site]}
""",
    where="NEW",
)
_TYPES = {
    "topic": pa.string(), "partition": pa.int32(), "offset": pa.int64(), "append_us": pa.int64(), "reason": pa.string(),
    "raw": pa.binary(), "id64": pa.int64(), "salted64": pa.int64(), "event_us": pa.int64(),
}  # fmt: skip
_read: dict[Any, records.Event | records.DeadLetter] = {}  # of a declaration's hash, the bytes, the append time
Counted = tuple[int, records.Event]  # with the seq of the ledger row that covers it


@dataclass
class World:
    """Everything outside the processes, and the processes as functions of it."""

    root: Path
    seed: int = 1
    log: memory.MemoryLog = field(default_factory=memory.MemoryLog)
    ledger: memory.MemoryLedger = field(default_factory=memory.MemoryLedger)
    fragments: memory.MemoryFragments = field(default_factory=memory.MemoryFragments)
    alerts: memory.MemoryAlerts = field(default_factory=memory.MemoryAlerts)
    dead: memory.MemoryDeadLetters = field(default_factory=memory.MemoryDeadLetters)
    projections: memory.MemoryProjections = field(default_factory=memory.MemoryProjections)
    seen: memory.MemorySeenStore = field(default_factory=memory.MemorySeenStore)
    catalogue: memory.MemoryCatalogue = field(default_factory=memory.MemoryCatalogue)
    clock: memory.FixedClock = field(default_factory=lambda: memory.FixedClock(BEGIN_US))
    streams: list[str] = field(default_factory=list)  # what was done to the stream
    started: int = 0

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.files = FileGenerations(self.root, OLD)
        self.tables = memory.MemoryTables(OLD, self.fragments, self.projections)
        start.create(self.log, self.ledger, OLD, 2, "creator")
        self.names = 0

    # ---- the log -----------------------------------------------------------------------------------------------------

    def produce(self, size: int) -> None:
        """Append records: copies, late ones, some that only one of the two declarations accepts, some that none does."""
        rng = self.rng
        for _ in range(size):
            self.clock.advance(SECOND_US)
            copied = self.names and rng.random() < 0.3
            self.names += not copied
            name = f"e{rng.randrange(1, self.names + 1) if copied else self.names}"
            at_us = self.clock.now_us() - rng.choice((0, 0, 90, 4000)) * SECOND_US
            event: dict[str, Any] = {
                "name": name, "at": iso(at_us), "kind": rng.choice("abc"), "site": rng.choice("uv"),
                "x": rng.choice((1.25, 2.35, 3.05, 2.5, 2.75, 3.0, 29.9, 31.5)),
            }  # fmt: skip
            if rng.random() < 0.8:
                event["y"] = rng.randrange(9)
            raw = b"{" if rng.random() < 0.06 else json.dumps(event).encode()
            self.log.send(TOPIC, rng.randrange(2), raw, self.clock.now_us())

    def parsed(
        self, declaration: Declaration, wanted: Range
    ) -> list[tuple[memory.Record, records.Event | records.DeadLetter]]:
        """Return the records of a range as a declaration reads them, in ledger order."""
        found = []
        for r in self.log.read(wanted):
            key = (declaration.hash, r.value, r.append_us)
            if key not in _read:
                _read[key] = records.parse(declaration.topics[0], r.value, r.append_us)
            found.append((r, _read[key]))
        return found

    # ---- the speed layer -----------------------------------------------------------------------------------------------

    def driver(self) -> Driver:
        """Start a driver, as a new process does."""
        self.started += 1
        ports = microbatch.Ports(
            self.log, self.ledger, self.fragments, self.alerts, self.dead, self.projections, self.clock
        )  # fmt: skip
        declaration = in_force(self.ledger, self.ledger.head())
        steps = start.steps(
            ports, self.files, self.seen, memory.MemoryHistory(self.log, _ids(declaration)), f"d{self.started}"
        )
        return ran(steps)

    def source(self, declaration: Declaration, offered: Range) -> memory.MemorySource:
        """Return a micro-batch as Spark would hand it over."""
        return memory.MemorySource(offered, lambda: self._slim(declaration, offered))

    def rest(self, driver: Driver, size: int = 10**6) -> Range:
        """Return what is not counted, or so many offsets a partition of it."""
        ends = self.log.latest([TOPIC])
        return Range(dict(driver.head.end), {p: min(end, driver.head.end[p] + size) for p, end in ends.items()})

    def count(self, driver: Driver, size: int = 10**6) -> None:
        """Run one micro-batch to its end."""
        list(microbatch.steps(driver, self.source(driver.declaration, self.rest(driver, size))))

    def _slim(self, declaration: Declaration, offered: Range) -> pa.Table:
        topic = declaration.topics[0]
        fields = sql.used(declaration, topic)
        chosen = [v for v in declaration.fragment_views if v.where is not None]
        rows = []
        for r, found in self.parsed(declaration, offered):
            place = (r.topic, r.partition, r.offset, r.append_us)
            if isinstance(found, records.DeadLetter):
                rows.append((*place, found.reason, r.value, *[None] * (3 + len(fields) + len(chosen))))
            else:
                values = [found.values[name] for name in fields]
                values += [bool(v.where and v.where.compute(found.values)) for v in chosen]
                rows.append((*place, None, None, found.id64, found.salted64, found.event_us, *values))
        kinds = _TYPES | {f"f_{n}": pa.string() if topic.columns[n].type == "string" else pa.int64() for n in fields}
        kinds |= {f"w_{v.name}": pa.bool_() for v in chosen}
        columns = list(zip(*rows, strict=True)) or [()] * len(kinds)
        return pa.table([pa.array(c, k) for c, k in zip(columns, kinds.values(), strict=True)], list(kinds))

    # ---- the batch layer -----------------------------------------------------------------------------------------------

    def build(self) -> Iterator[str]:
        """Run a batch: the reference fold in the place of Spark's, and the shipping audit and publication."""
        head, served = self.ledger.head(), self.ledger.current()
        declaration = in_force(self.ledger, head)
        yield "read"
        if head.seq == served.cut_seq:
            return
        rows = self.ledger.rows(-1, head.seq)
        found = [(row.seq, one) for row in rows for _, one in self.parsed(declaration, row.range)]
        counted = first_of_each(declaration, found)
        states = {v.name: views.fold(v, [e for _, e in counted]) for v in declaration.views}
        yield "views"
        audited = audit(
            declaration, rows[served.cut_seq + 1 :], _own(declaration, found, counted, served.cut_seq), self.fragments
        )
        yield "audited"
        whole = Counts(
            len(found),
            len(counted),
            sum(e.id64 for _, e in counted) % 2**64,
            sum(isinstance(e, records.DeadLetter) for _, e in found),
        )
        changed = served.definition != declaration.hash
        base = apply.base(declaration, head, whole) if changed else generations.base_of(served)
        result = Recomputed(states, Own(), len(found))
        built = publish.Built(head, (), result, audited, base)
        yield from publish.steps(self.publishing(), declaration, built, served)

    def publishing(self) -> publish.Stores:
        """Return where generations go."""
        return publish.Stores(self.files, self.catalogue, self.ledger, self.clock)

    def publish(self) -> None:
        """Run one batch to its end."""
        list(self.build())

    # ---- the change ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop the stream."""
        self.streams.append("stop")

    def start(self) -> None:
        """Start the stream: a driver that stands at head."""
        self.streams.append("start")
        self.driver().seen.close()

    def applying(self, new: Declaration, writer: str = "applier") -> Iterator[str]:
        """Return the shipping protocol, ready to take its steps."""
        ports = apply.Ports(self.ledger, self.tables, self.catalogue, self, self.clock, self.build)
        return apply.steps(ports, new, writer)

    # ---- what must hold ------------------------------------------------------------------------------------------------

    def follower(self, declared: Declaration = OLD) -> Follower:
        """Return a worker of the API that has looked at the stores once."""
        stores = Served(self.ledger, self.fragments, self.alerts, Catalogued(self), self.files)
        minutes = partial(next, count(0.0, 60.0))  # every look is a minute later
        found = Follower(declared, lambda: stores, self.clock, minutes, Inline())
        found.step()
        return found

    def oracle(self, declaration: Declaration, seq: int) -> dict[str, View]:
        """Return every view of everything up to a seq, from the raw records and nothing else."""
        rows = self.ledger.rows(-1, seq)
        found = [(row.seq, one) for row in rows for _, one in self.parsed(declaration, row.range)]
        return {v.name: views.fold(v, [e for _, e in first_of_each(declaration, found)]) for v in declaration.views}

    def check_answers(self, follower: Follower) -> tuple[str, int]:
        """Hold every view of what a worker answers against the oracle; return the declaration's hash and the seq."""
        snapshot = follower.snapshot
        assert snapshot is not None, follower.failure or follower.refusal
        seq = snapshot.as_of("merged").row.seq
        for name, expected in self.oracle(snapshot.declaration, seq).items():
            assert views.merge_views(snapshot.sides(name, "merged")) == expected, (name, seq)
        head = snapshot.head
        if not snapshot.missing("merged"):
            assert seq == head.seq
        if change.pending(head, snapshot.generation.current):
            assert "definition" in {m.what for m in snapshot.missing("merged")}
            assert seq < change.since(head)
        return snapshot.declaration.hash, seq

    def readable(self, declaration: Declaration) -> dict[str, Any]:
        """Return what the readable tables must hold at rest, without the seqs that wrote it."""
        states = self.oracle(declaration, self.ledger.head().seq)
        return {v.name: {p: memory.view_row(v, s) for p, s in states[v.name].items()} for v in declaration.views}

    def shown(self) -> dict[str, Any]:
        """Return what the readable tables hold."""
        return {n: {p: row for p, (_, row) in t.items()} for n, t in self.projections.views.items() if t}


class Catalogued:
    """Generations as a server reads them through Hive: what is not registered any more, it does not find."""

    def __init__(self, world: World) -> None:
        self._world = world

    def view(self, current: Current, view: ViewSpec) -> View:
        """Return one view of a generation."""
        held = self._world.files.manifest(current.gen).views[view.name].parts if current.gen else {}
        if held and current.gen not in self._world.catalogue.parts.get(view.name, {}):
            raise StoreUnavailable(f"Hive: {view.name}: expected parts of generation {current.gen}, got none")
        return self._world.files.view(current, view)


def first_of_each(declaration: Declaration, found: list[tuple[int, Any]]) -> list[Counted]:
    """Reject first, dedupe second, in ledger order."""
    if declaration.dedupe == "none":
        return [(seq, one) for seq, one in found if isinstance(one, records.Event)]
    met: dict[tuple[int, int], Counted] = {}
    for seq, one in found:
        if isinstance(one, records.Event):
            met.setdefault((one.id64, one.salted64), (seq, one))
    return list(met.values())


def _own(declaration: Declaration, found: list[tuple[int, Any]], counted: list[Counted], after: int) -> Own:
    counts, partials = {}, {v.name: {} for v in declaration.fragment_views}
    for seq in {seq for seq, _ in found if seq > after}:
        mine = [e for s, e in counted if s == seq]
        records_ = [one for s, one in found if s == seq]
        dead = sum(isinstance(one, records.DeadLetter) for one in records_)
        counts[seq] = Counts(len(records_), len(mine), sum(e.id64 for e in mine) % 2**64, dead)
        for v in declaration.fragment_views:
            partials[v.name][seq] = views.fold(v, mine)
    return Own(counts, partials)


def _ids(declaration: Declaration) -> Any:
    topic = declaration.topics[0]

    def ids_of(rows: Iterator[memory.Record]) -> list[bytes]:
        found = [records.parse(topic, r.value, r.append_us) for r in rows]
        return [id_bytes(e.id64, e.salted64) for e in found if isinstance(e, records.Event)]

    return ids_of


def ran(steps: Any) -> Any:
    """Run a generator to its end and return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def until(steps: Iterator[str], name: str) -> list[str]:
    """Take steps up to and with one of a name; return them."""
    taken = []
    for step in steps:
        taken.append(step)
        if step == name:
            return taken
    raise AssertionError(f"no step {name} in {taken}")


def loaded(root: Path, seed: int = 1) -> tuple[World, Driver]:
    """Return a world in which the old declaration has counted: a generation, a tail above it, and more in the log."""
    world = World(root, seed)
    world.produce(60)
    driver = world.driver()
    world.count(driver, 9)
    world.count(driver, 12)
    world.publish()
    world.produce(30)
    world.count(driver, 14)
    world.count(driver)
    world.produce(15)
    return world, driver


def definition_rows(world: World) -> list[LedgerRow]:
    """Return the rows by which declarations came into force after genesis."""
    return [row for row in world.ledger.rows(0, world.ledger.head().seq) if row.kind == "definition"]
