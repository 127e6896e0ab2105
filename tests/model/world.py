"""A whole run from one number: a log that grows, drivers that crash, freeze and come back, batch jobs, servers.

Every choice is drawn from one `Random(seed)`, so a run is repeated by its seed. What is driven is the shipping code:
`start.steps`, `microbatch.steps`, `checkpoint.usable`, `serving.follower.Follower`, on the twins of every port.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any
from unittest.mock import patch

from batch_layer import bulk, rollback
from braid import definitions, gaps, ledger, views
from braid.adapters import memory
from braid.adapters.behind import Behind, BehindSeenIds
from braid.bulk import Counted
from braid.errors import BraidError, CutPassedHead, Gap, RollbackRefused
from braid.ledger import Current, Offsets, Range
from braid.ports import Aside, DeadLetterRow, at_once
from braid.seen import id_bytes
from serving.follower import Follower
from serving.follower import Stores as Served
from speed_layer import accept, microbatch, start
from tests.model import batch, events
from tests.model.events import BEGIN_US, DECLARATION, TOPIC, Event, Producer
from tests.model.oracle import Oracle, Wrong, expect
from tests.model.spark import Checkpoints, ConcurrentUpdate, Query
from tests.model.stores import (
    Crash,
    Fuse,
    FusedDeadLetters,
    FusedLedger,
    FusedSeenStore,
    Lazily,
    Lazy,
    ModelHistory,
    Stores,
)

SECOND_US = 1_000_000


class Inline(Executor):
    """Runs what is submitted at once, so that a run has one thread."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed on, as an executor does
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class Profile:
    """How often what goes wrong, as chances per turn; `turns` is the length of a run."""

    turns: int = 36
    crash: float = 0.10
    freeze: float = 0.10
    fused: float = 0.5
    second_driver: float = 0.04
    batch: float = 0.12
    second_job: float = 0.015
    checkpoint: float = 0.15
    seen: float = 0.2
    trim: float = 0.06
    expire: float = 0.02
    doom: float = 0.006
    lose: float = 0.02
    accept: float = 0.15
    rollback: float = 0.02
    faulty_source: float = 0.01
    load: float = 0.03
    load_crash: float = 0.06
    partitions: tuple[int, ...] = (1, 2, 3)
    starting: str = "ledger"


class Driver:
    """One process of the speed layer: start, then the query, as one row of steps."""

    def __init__(self, world: World, number: int, fuse: Fuse) -> None:
        self.world = world
        self.fuse = fuse
        self.writer = f"writer-{number}"
        self.ready: microbatch.Driver | None = None
        self.last = ""
        self.steps = self._steps()

    def _steps(self) -> Iterator[str]:
        world, stores = self.world, self.world.stores
        behind = Behind(Lazily()) if self.fuse.rng.random() < 0.5 else None
        ports = stores.ports(self.fuse, behind)
        history = ModelHistory(stores.log, world.oracle.log, stores.master)
        seen = world.fused_seen(self.fuse)
        driver = yield from start.steps(ports, stores.generations, seen, history, self.writer)
        if behind:
            driver.seen = BehindSeenIds(DECLARATION.dataset, driver.seen, behind)
        self.ready = driver
        yield "ready"
        begin = stores.log.latest([TOPIC]) if world.profile.starting == "latest" else driver.head.end
        number = world.checkpoints.fresh(begin)
        query = Query(
            world.checkpoints,
            number,
            world.next_end,
            world.source,
            lambda source: microbatch.steps(driver, source),
            world.spark_commits,
        )
        yield from query.steps()


class World:
    """The state of one run; `run` plays it."""

    def __init__(self, seed: int, profile: Profile) -> None:
        self.rng = rng = Random(seed)
        self.profile = profile
        self.partitions = rng.choice(profile.partitions)
        self.clock = memory.FixedClock(BEGIN_US)
        self.stores = Stores(self.partitions, self.clock)
        self.producer = Producer(rng, self.partitions)
        self.oracle = Oracle(self.partitions)
        self.oracle.topic_id = self.stores.log.topic_ids([TOPIC])[TOPIC]
        self.checkpoints = Checkpoints()
        self.drivers: list[Driver] = []
        self.zombies: list[tuple[int, Driver]] = []
        self.jobs: list[Iterator[str]] = []
        self.load: Iterator[str] | None = None  # history that is taken in; it holds the stream's lock
        self.followers = [self._follower(), self._follower(late=True)]
        self.shown: dict[int, Any] = {}
        self.asked: dict[int, int] = {}
        self.files: list[memory.MemorySeenIds] = []  # copies of the seen-ids file, as a backup would hold them
        self.turn = 0
        self.numbers = 0
        self.expired = -1
        self.told: Counter[str] = Counter()
        self.last_error: BaseException | None = None
        self.doomed: str | None = None  # why no driver may go on
        self.gap = False  # the log lost something that nobody has accepted yet
        start.create(self.stores.log, self.stores.ledger, DECLARATION, self.partitions, "creator")
        self.oracle.look(self.stores.ledger)

    # ---- what the processes ask of the world -----------------------------------------------------------------------

    def fused_seen(self, fuse: Fuse) -> FusedSeenStore:
        """Return the folder of the seen-ids file as a process behind a fuse sees it."""
        return FusedSeenStore(self.stores.seen, fuse)

    def next_end(self, begin: Offsets) -> Offsets:
        """Return some end after `begin`: a micro-batch of random size, over some of the partitions."""
        latest = self.stores.log.latest([TOPIC])
        size = self.rng.choice((2, 5, 9, 1000))
        end = {place: min(latest.get(place, at), at + self.rng.randrange(size + 1)) for place, at in begin.items()}
        # a log that was created again may be shorter than what was read of it
        end = {place: max(at, begin[place]) for place, at in end.items()}
        return latest if end == dict(begin) and all(latest.get(place, -1) >= at for place, at in end.items()) else end

    def source(self, written: Range, running: Range) -> memory.MemorySource:
        """Return what Spark reads of a range, in any order; now and then a faulty read."""
        return memory.MemorySource(written, lambda: events.table(self._rows(running)))

    def _rows(self, offered: Range) -> list[tuple[Any, ...]]:
        records = [self.oracle.log[r.partition][r.offset] for r in self.stores.log.read(offered)]
        rows = [e.slim() for e in records if e is not None]
        self.rng.shuffle(rows)
        if rows and self.rng.random() < self.profile.faulty_source:
            self.told["faulty source"] += 1
            rows.append(self.rng.choice(rows))
        return rows

    def spark_commits(self, offered: Range) -> None:
        """Spark records that a micro-batch returned: it must be in the ledger, or empty."""
        self.oracle.look(self.stores.ledger)
        expect(
            offered.empty or self.oracle.covers(offered), f"Spark commits a range that is not in the ledger: {offered}"
        )

    # ---- turns -----------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Play all turns, then mend everything and check the end."""
        while self.turn < self.profile.turns:
            self._turn()
            self.turn += 1
        self.mend()

    def _turn(self) -> None:
        rng, profile = self.rng, self.profile
        self.clock.advance(rng.choice((SECOND_US, 20 * SECOND_US, -3600 * SECOND_US, 1900 * SECOND_US)))
        if rng.random() < 0.5 and not self.doomed:
            self.produce(rng.randrange(1, 9))
        if rng.random() < profile.lose and not self.doomed:
            self.lose()
        if self.gap and rng.random() < profile.accept:
            self.accept()
        self._thaw()
        if not self.drivers:
            self._between_drivers()
        self._history()
        chance = 0.0 if self.load else (0.7, profile.second_driver, 0.0)[min(len(self.drivers), 2)]
        if rng.random() < chance:
            self.begin()
        for driver in list(self.drivers):
            self.advance(driver, rng.randrange(1, 12))
        for driver in list(self.drivers):
            if rng.random() < profile.crash:
                self.told[f"crash after {driver.last}"] += 1
                self.drivers.remove(driver)
            elif rng.random() < profile.freeze:
                self.freeze(driver)
        self._batch()
        if rng.random() < profile.rollback:
            self.rollback()
        if rng.random() < 0.02:
            self.followers[0] = self._follower()
            self.asked.pop(0, None)

    def produce(self, size: int) -> None:
        """Append some records to the log."""
        for partition, fields in self.producer.burst(size):
            if fields is None:
                self.stores.log.skip(TOPIC, partition)
                self.oracle.log[partition].append(None)
                continue
            now_us = self.clock.now_us()
            offset = self.stores.log.send(TOPIC, partition, None, now_us)
            self.oracle.log[partition].append(Event(partition, offset, now_us, **fields))

    def begin(self, *, faults: bool = True) -> Driver:
        """Start a driver, perhaps with a fuse that will blow in one of its writes."""
        self.numbers += 1
        fused = faults and self.rng.random() < self.profile.fused
        fuse = Fuse(self.rng, self.rng.randrange(40) if fused else -1, self.rng.random() < 0.5)
        driver = Driver(self, self.numbers, fuse)
        self.drivers.append(driver)
        return driver

    def advance(self, driver: Driver, steps: int) -> str:
        """Let a driver take some steps, checking after each; return the last, `` when it ended."""
        for _ in range(steps):
            try:
                driver.last = next(driver.steps)
            except Crash:
                self.told["crash in a write"] += 1
                return self._ended(driver, None)
            except (BraidError, ConcurrentUpdate) as error:
                return self._ended(driver, error)
            self.told[driver.last] += 1
            self.look(driver)
            if driver.fuse.frozen:
                self.told["freeze in a write"] += 1
                self.freeze(driver)
                return ""
            if driver.last == "idle":
                break
        return driver.last

    def _ended(self, driver: Driver, error: BaseException | None) -> str:
        if error is not None:
            self.told[type(error).__name__] += 1
            self.last_error = error
        if driver in self.drivers:
            self.drivers.remove(driver)
        self.look(None)
        return ""

    def freeze(self, driver: Driver) -> None:
        """Stop a driver as SIGSTOP does; it will go on, thinking that no time has passed."""
        self.told[f"freeze after {driver.last}"] += 1
        if driver in self.drivers:
            self.drivers.remove(driver)
        self.zombies.append((self.turn + self.rng.randrange(1, 10), driver))

    def _thaw(self) -> None:
        for due, driver in list(self.zombies):
            if due > self.turn:
                continue
            self.zombies.remove((due, driver))
            self.told["thawed"] += 1
            try:
                driver.fuse.thaw()
            except BraidError as error:
                self._ended(driver, error)
                continue
            self.look(None)
            self.drivers.append(driver)
            self.advance(driver, self.rng.randrange(1, 12))
            self.check_stores()
            self.oracle.check_projections(self.stores.projections, at_rest=False)

    # ---- what happens to files and stores between drivers ------------------------------------------------------------

    def _between_drivers(self) -> None:
        rng, profile = self.rng, self.profile
        if rng.random() < profile.checkpoint and self.checkpoints.folders:
            self._hurt_checkpoint()
        if rng.random() < profile.seen and self.stores.seen.held is not None:
            self._hurt_seen(self.stores.seen.held)
        if rng.random() < profile.trim:
            self.trim()
        if rng.random() < profile.expire:
            self.expired = max(self.expired, rng.randrange(self.oracle.rows[-1].seq + 1))
            self.stores.fragments.expire(self.expired)
            self.oracle.expired = self.expired
            self.told["fragments expire"] += 1
        # a load that has read everything commits it, whatever the log loses then: its archive has the records
        if rng.random() < profile.doom and not (self.zombies or self.load or self.doomed or self.gap):
            self.doom()

    def doom(self) -> None:
        """Let the log lose what was not counted: every driver must refuse to go on, by name."""
        log, head = self.stores.log, self.oracle.rows[-1]
        behind = [place for place, end in log.latest([TOPIC]).items() if end > head.end[place]]
        if self.rng.random() < 0.5 and behind:
            self.doomed = "deleted by retention"
            log.trim(behind[0], head.end[behind[0]] + 1)
        else:
            self.doomed = "created again"
            log.delete(TOPIC)
            log.create(TOPIC, self.partitions)
            for place, end in head.end.items():
                for _ in range(end + 5):
                    log.send(*place, None, self.clock.now_us())
        self.told[self.doomed] += 1

    def lose(self) -> None:
        """Let the log lose records, counted or not, archived or not, or be another one: a person may accept that."""
        log, kind = self.stores.log, self.rng.choice(("retention", "created again", "partition added"))
        if kind == "retention":
            place, end = self.rng.choice(sorted(log.latest([TOPIC]).items()))
            log.trim(place, self.rng.randrange(end + 1))
        elif kind == "partition added":
            self.partitions += 1
            self.producer.partitions = self.partitions
            log.grow(TOPIC, self.partitions)
            self.oracle.log[self.partitions - 1] = []
        else:
            self.partitions = self.rng.choice(self.profile.partitions)
            self.producer.partitions = self.partitions
            log.delete(TOPIC)
            log.create(TOPIC, self.partitions)
            old, self.oracle.topic_id = self.oracle.topic_id, log.topic_ids([TOPIC])[TOPIC]
            self.oracle.created_again(old, self.oracle.topic_id, self.partitions)
        self.told[f"log: {kind}"] += 1
        self.gap = True

    def accept(self, *, faults: bool = True) -> None:
        """Let a person accept what is lost, by the shipping code; the process may be killed in its one write."""
        if self.jobs or self.load:  # all hold the dataset's batch lock: the second comer is refused
            return
        self.numbers += 1
        rng, stores = self.rng, self.stores
        fuse = Fuse(rng, 0 if faults and rng.random() < 0.2 else -1, freezes=False)
        archived = stores.master.chain(stores.ledger.head().seq)
        through = archived[-1][1] if archived else 0
        row = accept.offer(stores.log, stores.ledger, through, f"person-{self.numbers}", self.clock.now_us())
        if row is not None:
            self.told["gap accepted"] += 1
            self.told["counted rows lost"] += bool(gaps.accepted(row).lost)
            try:
                FusedLedger(stores.ledger, fuse).append(row)
            except Crash:
                self.told["crash in an acceptance"] += 1
        self.gap = row is not None and stores.ledger.head() != row
        self.look(None)

    def _hurt_checkpoint(self) -> None:
        kind = self.rng.choice(("lost", "commit", "offsets", "torn", "both", "older"))
        newest = self.checkpoints.folders[max(self.checkpoints.folders)]
        self.told[f"checkpoint {kind}"] += 1
        if kind == "lost":
            self.checkpoints.folders.clear()
        elif kind == "torn" and newest.offsets:
            newest.offsets[max(newest.offsets)] = None
        if kind in {"commit", "both"} and newest.commits:
            newest.commits.discard(max(newest.commits))
        if kind in {"offsets", "both"} and newest.offsets:
            del newest.offsets[max(newest.offsets)]
        if kind == "older" and newest.offsets:
            keep = self.rng.randrange(max(newest.offsets) + 1)
            newest.offsets = {n: end for n, end in newest.offsets.items() if n <= keep}
            newest.commits = {n for n in newest.commits if n <= keep}

    def _hurt_seen(self, file: memory.MemorySeenIds) -> None:
        self.files.append(copy_of(file))
        kind = self.rng.choice(("lost", "older", "ahead", "foreign", "short", "long"))
        self.told[f"seen ids {kind}"] += 1
        fresh = copy_of(file)
        if kind == "lost":
            self.stores.seen.held = None
            return
        if kind == "older":
            fresh = copy_of(self.rng.choice(self.files))
        elif (
            kind == "ahead"
        ):  # the ids of what is not yet counted, as if the ledger had been restored from an older day
            ahead = [e.id for rows in self.oracle.log.values() for e in rows if e is not None and e.reason is None]
            fresh.put(fresh.through_seq + 1, ahead)
        elif kind == "foreign":  # same first hashes, another salt: count and sum are right
            fresh.whose = "another"
            fresh._ids = {i[:8] + id_bytes(1, 1)[8:] for i in fresh._ids}
        elif kind == "short" and fresh._ids:
            fresh._ids.discard(self.rng.choice(sorted(fresh._ids)))
        elif kind == "long":
            fresh._ids.add(id_bytes(self.rng.getrandbits(60), 1))
        self.stores.seen.held = fresh

    def trim(self) -> None:
        """Let retention delete what is archived."""
        chain = self.stores.master.chain(self.oracle.rows[-1].seq)
        if chain and self.oracle.rows[chain[-1][1]].topic_ids == self.stores.log.topic_ids([TOPIC]):
            for place, end in self.oracle.rows[chain[-1][1]].end.items():
                self.stores.log.trim(place, self.rng.randrange(end + 1))
            self.told["trim"] += 1

    def rollback(self) -> None:
        """Let a person go back to some older generation, by the shipping check; refused is fine, half an answer is not."""
        store = self.stores.ledger
        served, head = store.current(), store.head()
        older = [current for gen, current in self.oracle.gens.items() if 0 < gen < served.gen]
        if not older:
            return
        target = self.rng.choice(older)
        try:
            rollback.check_whole(DECLARATION, target, store.rows(target.cut_seq, head.seq), self.stores.fragments)
        except RollbackRefused:
            self.told["rollback refused"] += 1
            return
        self.oracle.back = target.gen
        store.publish(target, served.gen)
        self.told["rollback"] += 1
        self.look(None)
        self.oracle.back = None
        fresh = self._follower()
        fresh.step()
        reached = fresh.snapshot.tail.row.seq if fresh.snapshot else None
        expect(
            reached == head.seq,
            f"after a rollback to generation {target.gen} answers stop at seq {reached} of {head.seq}",
        )

    # ---- batch and serving -------------------------------------------------------------------------------------------

    def _batch(self) -> None:
        rng = self.rng
        if (
            not self.load
            and len(self.jobs) < 2
            and rng.random() < (self.profile.second_job if self.jobs else self.profile.batch)
        ):
            left = rng.randrange(2) if rng.random() < 0.2 else -1
            self.jobs.append(batch.steps(self.stores, self.oracle.log, Fuse(rng, left, freezes=False)))
        for job in list(self.jobs):
            if rng.random() < 0.05:
                self.told["batch job killed"] += 1
                self.jobs.remove(job)
            elif rng.random() < 0.6:
                self.step(job)

    def _history(self) -> None:
        """Let a person load history, by the shipping protocol; the process may be killed after any step, or in a write."""
        rng = self.rng
        if self.load is None and not self.jobs and not self.doomed and rng.random() < self.profile.load:
            self.numbers += 1
            fuse = Fuse(rng, rng.randrange(4) if rng.random() < 0.2 else -1, freezes=False)
            self.load = bulk.steps(Loads(self, fuse).ports(), f"load-{self.numbers}", "person")
            self.told["load begun"] += 1
        for _ in range(rng.randrange(1, 5)):
            if self.load is None:
                return
            try:
                last = next(self.load)
            except StopIteration:
                self.load = None
            except Crash:
                self.told["load: crash in a write"] += 1
                self.load = None
            except BraidError as error:
                self.told[f"load: {type(error).__name__}"] += 1
                self.load = None
            else:
                self.told[f"load: {last}"] += 1
                if rng.random() < self.profile.load_crash:
                    self.told[f"load: crash after {last}"] += 1
                    self.load = None
            self.look(None)

    def step(self, job: Iterator[str]) -> None:
        """Let a batch job take one step."""
        try:
            self.told[f"batch {next(job)}"] += 1
        except (StopIteration, Crash):
            self.jobs.remove(job)
        except BraidError as error:
            self.told[f"batch {type(error).__name__}"] += 1
            expect(type(error).__name__ in {"LostRace", "Gap", "LedgerError"}, f"batch: {error}")
            self.jobs.remove(job)
        self.look(None)

    def _follower(self, *, late: bool = False) -> Follower:
        stores = self.stores
        served = Served(stores.ledger, stores.fragments, stores.alerts, stores.generations)
        aside: Aside = (lambda begun: Lazy(begun).result) if late else at_once
        return Follower(DECLARATION, lambda: served, self.clock, lambda: float(self.turn * 40), Inline(), aside)

    def ask(self, number: int) -> None:
        """Let one worker look at the stores, and hold its answers against the oracle."""
        follower = self.followers[number]
        try:
            follower.step()
        except CutPassedHead:
            return
        snapshot = follower.snapshot
        if snapshot is None:
            return
        shown = (snapshot.generation, snapshot.tail, snapshot.recent, snapshot.head)
        if all(a is b for a, b in zip(shown, self.shown.get(number, ()), strict=False)) and number in self.shown:
            return
        self.shown[number] = shown
        seq = snapshot.as_of("merged").row.seq
        expect(
            seq >= self.asked.get(number, 0),
            f"answers of a worker went back from seq {self.asked.get(number)} to {seq}",
        )
        self.asked[number] = seq
        who = f"worker {number}, generation {snapshot.generation.current.gen}"
        for spec in DECLARATION.views:
            merged = views.merge_views(snapshot.sides(spec.name, "merged"))
            self.oracle.check_view(who, spec, seq, merged)
        recent = snapshot.recent
        self.oracle.check_alerts(who, recent.through_seq, list(recent.alerts), recent.from_seq)
        if not snapshot.missing("merged"):
            expect(seq == snapshot.head.seq, f"{who}: says complete at seq {seq} with head at {snapshot.head.seq}")
        self.told["answers"] += 1

    def look(self, driver: Driver | None) -> None:
        """Check what can have changed after one step."""
        before, gen = len(self.oracle.rows) - 1, self.oracle.gen
        if self.oracle.look(self.stores.ledger):
            expect(not self.doomed, f"{self.doomed}, and the ledger went on")
            self.check_stores(before)
        if self.oracle.gen != gen:
            self._check_generation(self.stores.ledger.current())
        if driver is not None and driver.ready is not None and driver.last in {"ready", "put", "projected"}:
            self._check_driver(driver, driver.ready)
        self.ask(self.rng.randrange(len(self.followers)))

    def check_stores(self, after: int = -1) -> None:
        """Check what the stores hold of the ledger rows after a seq."""
        stores = self.stores
        self.oracle.check_stores(stores.fragments, stores.alerts, stores.dead_letters, self.expired, after)

    def _check_generation(self, current: Current) -> None:
        """What is published can be loaded, and is the recompute at its cut."""
        for spec in DECLARATION.views:
            try:
                loaded = self.stores.generations.view(current, spec)
            except BraidError as error:
                raise Wrong(f"generation {current.gen} cannot be loaded: {error}") from error
            self.oracle.check_view(f"generation {current.gen}", spec, current.cut_seq, loaded)

    def _check_driver(self, driver: Driver, ready: microbatch.Driver) -> None:
        """Check what the driver that stands at head keeps: one that another has overtaken has nothing to keep."""
        head = self.oracle.rows[-1].seq
        if ready.head.seq + (driver.last == "put") != head or driver.fuse.frozen:
            return
        if not isinstance(ready.seen, BehindSeenIds):
            self.oracle.check_seen(ready.seen._store, head)
        elif driver.last == "projected":  # before that its newest ids may not be put
            self.oracle.check_seen(ready.seen._seen._store, head)
        if driver.last == "ready" or (driver.last == "projected" and head % 3 == 0):
            self.oracle.check_projections(self.stores.projections, at_rest=True)

    # ---- the end ---------------------------------------------------------------------------------------------------

    def mend(self) -> None:
        """No more faults: a driver must count all there is, a batch job publish it, and every answer be right."""
        while self.zombies:
            self.turn += 1
            self._thaw()
        self.drivers.clear()
        self.jobs.clear()
        self.load = None
        if self.doomed:
            self._refused()
            return
        latest = self.stores.log.latest([TOPIC])
        for _ in range(8):
            self.accept(faults=False)
            driver = self.begin(faults=False)
            for _ in range(60):
                if self.advance(driver, 30) in {"", "idle"}:
                    break
            if driver in self.drivers and dict(self.stores.ledger.head().end) == latest:
                break
            self.drivers.clear()
            self._publish()  # a generation covers fragments that have expired
        else:
            raise Wrong(f"stuck: head at {dict(self.stores.ledger.head().end)}, log at {latest}: {self.last_error!r}")
        self._publish()
        self.check_stores()
        self.turn += 100
        for number in range(len(self.followers)):
            self.ask(number)
            expect(self.asked[number] == self.oracle.rows[-1].seq, f"worker {number} never saw head")

    def _refused(self) -> None:
        """What is lost stays lost: a driver says so, and what was counted before is still answered."""
        head = self.stores.ledger.head()
        for _ in range(3):
            self.advance(self.begin(faults=False), 200)
            named = "retention" in self.doomed or self.doomed in str(self.last_error)
            expect(
                not self.drivers and isinstance(self.last_error, Gap) and named, f"{self.doomed}: {self.last_error!r}"
            )
        expect(self.stores.ledger.head() == head, f"{self.doomed}, and the ledger went on")
        self.check_stores()

    def _publish(self) -> None:
        self.jobs = [batch.steps(self.stores, self.oracle.log, Fuse(self.rng, -1, freezes=False))]
        while self.jobs:
            self.step(self.jobs[0])


class Loads:
    """The world as history that is taken in meets it: the stream, the batch layer, the log."""

    def __init__(self, world: World, fuse: Fuse) -> None:
        self.world = world
        self.fuse = fuse
        self._aside: list[tuple[int, Event]] | None = None

    def ports(self) -> bulk.Ports:
        """Return them as the protocol takes them."""
        world, stores = self.world, self.world.stores
        ledger_, dead = FusedLedger(stores.ledger, self.fuse), FusedDeadLetters(stores.dead_letters, self.fuse)
        return bulk.Ports(
            stores.log, ledger_, dead, self, world.clock, self, self._send, nullcontext,  # nobody else takes its lock here
            lambda: batch.steps(stores, world.oracle.log, Fuse(world.rng, -1, freezes=False)),
        )  # fmt: skip

    def stop(self) -> None:
        """Stop the stream: one that is frozen does not hear it."""
        self.world.drivers.clear()

    def start(self) -> None:
        """Nothing: the world starts drivers by itself once nobody holds the lock."""

    def _send(self) -> Iterator[str]:
        for _ in range(self.world.rng.randrange(1, 4)):
            self.world.produce(self.world.rng.randrange(12))
            yield "sent"

    def archived(self, head: ledger.LedgerRow) -> Iterator[str]:
        """Bring the master up to head."""
        yield from batch.archive(self.world.stores, self.world.oracle.log, head)

    def counted(self, head: ledger.LedgerRow, offered: Range) -> Counted:
        """Count a range by the reference, against all that the master holds."""
        stores, log = self.world.stores, self.world.oracle.log
        before = list(stores.master.records(stores.master.chain(head.seq)))
        read = [log[r.partition][r.offset] for r in stores.log.read(offered)]
        self._aside = [(head.seq + 1, e) for e in read if e is not None]
        good = [e for seq, e in batch.first_of_each_id([*before, *self._aside]) if seq > head.seq]
        dead = sum(e.reason is not None for _, e in self._aside)
        return Counted(len(self._aside), len(good), sum(e.id64 for e in good) % 2**64, dead)

    def dead(self) -> Iterator[DeadLetterRow]:
        """Yield the dead of what was counted."""
        for _, e in self._aside or ():
            if e.reason is not None:
                yield DeadLetterRow(TOPIC, e.partition, e.offset, e.append_us, e.reason, b"")

    def keep(self, row: ledger.LedgerRow) -> None:
        """Give what lies aside its name."""
        self.world.stores.master.runs[row.seq - 1, row.seq] = self._aside or []

    def drop(self) -> None:
        """Forget what lies aside."""
        self._aside = None


def copy_of(file: memory.MemorySeenIds) -> memory.MemorySeenIds:
    """Return another file with the same contents."""
    return deepcopy(file)


_parsed = cache(definitions.parse)


def run(seed: int, profile: Profile | None = None) -> Counter[str]:
    """Play one run and return what happened in it; `Wrong` with the seed when anything was."""
    world = World(seed, profile or Profile())
    try:
        # the text in the ledger never changes here, and reading it anew takes as long as ten micro-batches
        with (
            patch.object(definitions, "parse", _parsed),
            patch.object(start, "parse", _parsed, create=True),
            patch.object(ledger, "ROWS_PER_FRAGMENT_BUCKET", 8),
        ):
            world.play()
    except Wrong as wrong:
        raise Wrong(f"seed {seed}, turn {world.turn}: {wrong}") from wrong
    world.told["rows"] += len(world.oracle.rows)
    world.told["events"] += len(world.oracle.counted)
    return world.told
