"""The running service: one follower per dataset, one watch per part, and what of it a request may use."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from braid import gaps, status
from braid.acknowledgements import Acknowledgement, Place
from braid.declaration import Declaration
from braid.errors import Gap
from braid.ledger import Offsets, check_log
from braid.ports import Acknowledgements, Aside, Clock, at_once
from serving import operations, vitals
from serving.answers import Covered
from serving.cursors import Cursor, Pins
from serving.follower import Follower, Stores
from serving.history import History
from serving.notes import EVERY_S as NOTES_EVERY_S
from serving.notes import Notes
from serving.operations import Operations
from serving.params import Query
from serving.problems import NotFound, Problem, Unavailable
from serving.snapshot import Snapshot, What
from serving.tail import Missing
from serving.vitals import Rates
from serving.watch import Contact, Watch

ENDS_EVERY_S = 1.0
HIVE_EVERY_S = 2.0
HELD_EVERY_S = 2.0
QUERY_S = 5.0  # what one answer may take to compute

HeldLog: TypeAlias = tuple[Offsets, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset to serve: its declaration, and how its parts are reached once the worker has been forked.

    Attributes
    ----------
    stores : opens ledger, fragments, alerts and generations; raises StoreUnavailable as long as it cannot
    ends : asks the broker for the end offsets of the dataset's topics
    held : asks it for what it still holds: the earliest offsets, and the ids of the topics
    jobs : what the heartbeats of its jobs say, by `speed` and `batch`; None for one that does not run
    said : opens what people say of its alerts
    operations : asks the stores for what people look after
    called : waits for so many seconds, less when the stream tells of a new head
    """

    declaration: Declaration
    stores: Callable[[], Stores]
    ends: Callable[[], Offsets]
    held: Callable[[], HeldLog] | None = None
    jobs: Callable[[], Mapping[str, Mapping[str, Any] | None]] = dict
    said: Callable[[], Acknowledgements] | None = None
    operations: Callable[[], Operations] | None = None
    called: Callable[[float], object] | None = None


@dataclass(slots=True)
class Waiting:
    """Since when the oldest uncounted record has been seen: the ends of the topic over time, thinned out."""

    samples: deque[tuple[int, Offsets]] = field(default_factory=lambda: deque(maxlen=4096))

    def since_us(self, head: Offsets) -> int | None:
        """Return the time of the oldest sample that lies beyond head, None when none does."""
        while self.samples and all(end <= head.get(place, 0) for place, end in self.samples[0][1].items()):
            self.samples.popleft()
        return self.samples[0][0] if self.samples else None

    def add(self, now_us: int, ends: Offsets) -> None:
        """Remember the ends when they moved."""
        if not self.samples or dict(self.samples[-1][1]) != dict(ends):
            self.samples.append((now_us, ends))


class Service:
    """Follows every dataset in the background; requests read from it and never wait.

    Parameters
    ----------
    datasets : by name
    hive : asks HiveServer2 for a sign of life; raises StoreUnavailable
    aside : lets a follower read several things side by side
    """

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        hive: Callable[[], object],
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        aside: Aside = at_once,
    ) -> None:
        self.clock = clock
        self._monotonic = monotonic
        self.pins = Pins(monotonic)
        self.history = History()
        self.followers = {
            name: Follower(d.declaration, d.stores, clock, monotonic, aside=aside, called=d.called)
            for name, d in datasets.items()
        }
        self._waiting = {name: Waiting() for name in datasets}
        self._rates = {name: Rates() for name in datasets}
        self._jobs = {name: d.jobs for name, d in datasets.items()}
        self.notes = {name: Notes(d.said) for name, d in datasets.items() if d.said and d.declaration.alerts}
        self.said = [Watch("acknowledgements", n.look, NOTES_EVERY_S, clock, monotonic) for n in self.notes.values()]
        self.ends = {
            name: Watch("kafka", self._sampled(name, d.ends), ENDS_EVERY_S, clock, monotonic)
            for name, d in datasets.items()
        }
        self.held = {
            name: Watch("kafka", d.held, HELD_EVERY_S, clock, monotonic) for name, d in datasets.items() if d.held
        }
        self.hive = Watch("hive", hive, HIVE_EVERY_S, clock, monotonic)
        self.operations = {
            name: Watch("cassandra", d.operations, operations.EVERY_S, clock, monotonic)
            for name, d in datasets.items()
            if d.operations
        }

    def start(self) -> None:
        """Start every thread; only after the worker was forked."""
        for follower in self.followers.values():
            follower.start()
        for watch in self._watches():
            watch.start()

    def stop(self) -> None:
        """Stop every thread."""
        for watch in self._watches():
            watch.stop()
        for follower in self.followers.values():
            follower.stop()

    def step(self) -> None:
        """Do once what the threads do over and over, in this thread: for tests."""
        for watch in (*(f.watch for f in self.followers.values()), *self._watches()):
            watch.step()

    def _watches(self) -> list[Watch[Any]]:
        return [*self.ends.values(), *self.held.values(), *self.said, *self.operations.values(), self.hive]

    def _sampled(self, name: str, ends: Callable[[], Offsets]) -> Callable[[], Offsets]:
        def ask() -> Offsets:
            newest = self.followers[name].newest
            self._rates[name].add(self._monotonic(), newest[1] if newest else None)
            found = ends()
            self._waiting[name].add(self.clock.now_us(), found)
            return found

        return ask

    # ---- what requests take ----------------------------------------------------------------------------------------

    def follower(self, dataset: str) -> Follower:
        """Return the follower of a dataset. Raises NotFound."""
        if dataset not in self.followers:
            raise NotFound("dataset", dataset, list(self.followers))
        return self.followers[dataset]

    def declaration(self, dataset: str) -> Declaration:
        """Return the declaration in force: the one that decided the numbers served. Raises NotFound."""
        follower = self.follower(dataset)
        return follower.snapshot.declaration if follower.snapshot else follower.declared

    def snapshot(self, dataset: str) -> Snapshot:
        """Return the newest snapshot.

        Raises
        ------
        Unavailable
            There is none yet: the stores have not answered, or the dataset has no ledger.
        """
        follower = self.follower(dataset)
        snapshot = follower.snapshot
        if snapshot is not None:
            return snapshot
        why, command = self.reason(follower)
        raise Unavailable(f"{dataset}: {why}", next=command)

    def of_listing(self, newest: Snapshot, cursor: Cursor | None) -> Snapshot:
        """Return the snapshot that a request is about: the newest, or that of the listing it goes on with.

        Raises
        ------
        Problem
            410: the listing's snapshot is no longer held.
        """
        return newest if cursor is None else self.pins.get(newest, cursor)

    def earlier(self, newest: Snapshot, query: Query) -> Snapshot:
        """Return the snapshot that a query asks for by `as_of`, the newest when it asks for none.

        Raises
        ------
        BadRequest, Problem, Unavailable
            As `history.History.snapshot`.
        """
        if query.as_of is None:
            return newest
        return self.history.snapshot(newest, self.stores(newest.declaration.dataset), query.as_of)

    def stores(self, dataset: str) -> Stores:
        """Return the stores of a dataset, for the few requests that read from them. Raises Unavailable."""
        stores = self.follower(dataset).stores
        if stores is None:
            raise Unavailable(f"{dataset}: the stores have not answered", next="braid status")
        return stores

    def hurry(self) -> Callable[[], None]:
        """Return what raises Problem 400 once the request at hand has taken too long."""
        until_s = self._monotonic() + QUERY_S

        def look() -> None:
            if self._monotonic() > until_s:
                raise Problem(
                    400, "too-much",
                    f"query: expected an answer within {QUERY_S:.0f} s, got a longer one; "
                    "ask for fewer keys, a shorter time, a coarser window or a smaller limit",
                )  # fmt: skip

        return look

    def loading(self, follower: Follower) -> bool:
        """Return whether a dataset will answer by itself soon: nothing stands in its way, it has not been read yet."""
        silent = follower.refusal or follower.failure or follower.watch.contact.error
        return follower.snapshot is None and not silent

    def reason(self, follower: Follower) -> tuple[str, str]:
        """Return why a dataset has no snapshot yet, and the command that mends it."""
        if follower.refusal is not None and follower.newest is None:
            return follower.refusal.reason, "braid up"
        for missing in (follower.refusal, follower.failure):
            if missing is not None:
                return missing.reason, "braid status"
        error = follower.watch.contact.error
        return (f"the stores have not answered: {error}" if error else "it is being loaded"), "braid status"

    def covered(self, snapshot: Snapshot, what: What, query: Query | None = None) -> Covered:
        """Return a snapshot with what is missing from it now: in itself, and because a store is silent.

        Raises
        ------
        Unavailable
            The query is strict and something is missing.
        """
        follower = self.followers[snapshot.declaration.dataset]
        now_s = self._monotonic()
        stores = (follower.watch.contact, self.hive.contact)
        silent = [missing for contact in stores if (missing := contact.silence(now_s))]
        refusal = [follower.refusal] if follower.refusal else []
        gap = [] if what == "batch" else self.gap(snapshot.declaration.dataset)
        covered = Covered(snapshot, what, (*snapshot.missing(what), *gap, *refusal, *silent))
        if query is not None and query.strict and not covered.complete:
            told = [m.as_dict() for m in covered.missing]
            raise Unavailable("the answer would not be complete, and strict=1 asks for that", missing=told)
        return covered

    def gap(self, dataset: str) -> list[Missing]:
        """Return what the log lacks after head and nobody has accepted yet: the stream cannot go on; empty when it can."""
        watch, newest = self.held.get(dataset), self.followers[dataset].newest
        if watch is None or watch.value is None or newest is None:
            return []
        earliest, topic_ids = watch.value
        try:
            check_log(newest[1], earliest, topic_ids, dataset)
        except Gap as error:
            losses = reversed(gaps.find(newest[1], earliest, topic_ids))
            offsets = {f"{x.topic}:{x.partition}": (x.start, x.end) for x in losses if x.records != 0}
            return [Missing("gap", str(error), newest[1].seq + 1, None, offsets)]
        return []

    def freshness_s(self, snapshot: Snapshot) -> float:
        """Return how old an answer may be, in seconds: since when something newer may have been committed.

        That is when the stores last confirmed head; or, when the tail stopped before head, its last row's commit.
        """
        if snapshot.tail.row.seq < snapshot.head.seq:
            return max(self.clock.now_us() - snapshot.tail.row.committed_at_us, 0) / 1_000_000
        answered_s = self.followers[snapshot.declaration.dataset].watch.contact.answered_s
        return 0.0 if answered_s is None else max(self._monotonic() - answered_s, 0.0)

    def status(self, dataset: str) -> dict[str, Any]:
        """Return how far a dataset has come, with what is served of it."""
        follower = self.follower(dataset)
        current, head = follower.newest or (None, None)
        ends = self.ends[dataset]
        since_us = self._waiting[dataset].since_us(head.end) if head else None
        parts = (follower.watch.contact, ends.contact, self.hive.contact)
        problems = tuple(f"{m.what}: {m.reason}" for c in parts if (m := c.silence(self._monotonic())))
        problems = (*(m.reason for m in self.gap(dataset)), *problems)
        if follower.refusal:
            problems = (follower.refusal.reason, *problems)
        facts = status.Facts(
            self.declaration(dataset), self.clock.now_us(), ends.value, head, current, since_us, problems
        )
        served = follower.snapshot
        fresh = {"freshness_s": None if served is None else round(self.freshness_s(served), 3)}
        more = vitals.report(facts.now_us, head, current, self._jobs[dataset]())
        found = status.report(facts) | fresh | {"throughput": self._rates[dataset].report()} | more
        watch = self.operations.get(dataset)
        found |= operations.report(watch.value if watch else None) | {"serving": self._serving(served)}
        if served is None:
            why, command = self.reason(follower)
            found |= {"reason": why, "next": command}
        return found

    def _serving(self, snapshot: Snapshot | None) -> dict[str, Any] | None:
        if snapshot is None:
            return None
        covered = self.covered(snapshot, "merged")
        return covered.meta(snapshot.declaration.hash)

    def contacts(self) -> dict[str, Contact]:
        """Return the newest contact with each part.

        Of Cassandra's, asked per dataset, the worst: answers need it. Of Kafka's the best: a topic that is not there
        yet is the trouble of its dataset (`unlogged`), and the broker has said so.
        """

        def when(contact: Contact) -> float:
            return -1.0 if contact.answered_s is None else contact.answered_s

        cassandra = [f.watch.contact for f in self.followers.values()]
        kafka = [watch.contact for watch in self.ends.values()]
        found = {c[0].name: pick(c, key=when) for c, pick in ((cassandra, min), (kafka, max)) if c}
        return found | {"hive": self.hive.contact}

    def unlogged(self, dataset: str) -> str | None:
        """Return why the ends of a dataset's topics are not known, None when they are."""
        contact = self.ends[dataset].contact
        return None if self.answers(contact) else contact.error or None

    def words(self, dataset: str) -> Mapping[Place, Acknowledgement]:
        """Return what people said of a dataset's alerts."""
        return self.notes[dataset].held if dataset in self.notes else {}

    def silent(self, part: str) -> Missing | None:
        """Return a part as missing when it has not answered lately."""
        return self.contacts()[part].silence(self._monotonic())

    def answers(self, contact: Contact) -> bool:
        """Return whether a part has answered lately."""
        return contact.silence(self._monotonic()) is None
