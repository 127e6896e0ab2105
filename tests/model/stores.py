"""The stores as one process sees them: twins behind a fuse that may blow before, within or after any write.

A blown fuse either ends the process (`Crash`; a write may be half done, a compare-and-set may have been applied or
not), or freezes it: what it had not yet written it writes when it is thawed, long after a successor has gone on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from random import Random
from typing import Any

from braid.adapters import memory
from braid.adapters.behind import Behind, BehindProjections
from braid.alerts import Alert
from braid.declaration import AlertRule, ViewSpec
from braid.errors import LostRace
from braid.ledger import LedgerRow
from braid.ports import Aside, DeadLetterRow, Log, Projections, at_once
from braid.seen import Identity
from braid.views import Fragment, Key, View
from speed_layer.microbatch import Ports
from tests.model.events import TOPIC, Event

Write = Callable[[], object]


class Crash(BaseException):
    """The process was killed here."""


class Fuse:
    """Counts the writes of one process and blows at one of them.

    Attributes
    ----------
    left : int, writes before it blows; below 0 never
    late : writes still to be done when the process is thawed
    frozen : whether it blew by freezing
    """

    def __init__(self, rng: Random, left: int, freezes: bool) -> None:
        self.rng = rng
        self.left = left
        self.freezes = freezes
        self.frozen = False
        self.late: list[Write] = []

    def write(self, whole: Write, pieces: Sequence[Write]) -> object:
        """Do a write, of which `pieces` are the parts that may be done or not, in any order."""
        if self.left < 0 or self.left > 0:
            self.left -= self.left > 0
            return whole()
        self.left = -1
        rest = list(pieces)
        self.rng.shuffle(rest)
        for piece in rest[: (done := self.rng.randrange(len(rest) + 1))]:
            piece()
        if not self.freezes:
            raise Crash
        self.frozen = True
        self.late += rest[done:]
        return True  # what a process believes that has been stopped before it could see the outcome

    def thaw(self) -> None:
        """Do what was left undone."""
        self.frozen = False
        self.done()

    def done(self) -> None:
        """Do what was left undone; also for a process that reads on within the step in which it froze, as none can."""
        late, self.late = self.late, []
        for piece in late:
            piece()


class Fused:
    """One store behind the fuse: reads go through, writes may not."""

    def __init__(self, store: Any, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class FusedFragments(Fused):
    def write(self, view: ViewSpec, bucket: int, attempt: int, fragments: Sequence[Fragment]) -> None:
        write = self._store.write
        pieces = [lambda f=f: write(view, bucket, attempt, [f]) for f in fragments]
        self._fuse.write(lambda: write(view, bucket, attempt, fragments), pieces)


class FusedAlerts(Fused):
    def write(self, bucket: int, attempt: int, alerts: Sequence[Alert]) -> None:
        write = self._store.write
        pieces = [lambda a=a: write(bucket, attempt, [a]) for a in alerts]
        self._fuse.write(lambda: write(bucket, attempt, alerts), pieces)


class FusedDeadLetters(Fused):
    def write(self, seq: int, attempt: int, letters: Sequence[DeadLetterRow]) -> None:
        write = self._store.write
        pieces = [lambda d=d: write(seq, attempt, [d]) for d in letters]
        self._fuse.write(lambda: write(seq, attempt, letters), pieces)


class FusedLedger(Fused):
    def append(self, row: LedgerRow) -> None:
        once: Write = lambda: self._store.append(row)  # noqa: E731
        self._fuse.write(once, [once])

    def publish(self, current: Any, expected_gen: int) -> None:
        once: Write = lambda: self._store.publish(current, expected_gen)  # noqa: E731
        self._fuse.write(once, [once])


class FusedProjections(Fused):
    def upsert(self, view: ViewSpec, seq: int, rows: View) -> None:
        upsert = self._store.upsert
        pieces = [lambda p=p, s=s: upsert(view, seq, {p: s}) for p, s in rows.items()]
        self._fuse.write(lambda: upsert(view, seq, rows), pieces)

    def alerts(self, rule: AlertRule, alerts: Sequence[Alert]) -> None:
        write = self._store.alerts
        pieces = [lambda a=a: write(rule, [a]) for a in alerts]
        self._fuse.write(lambda: write(rule, alerts), pieces)

    def remove(self, view: ViewSpec, seq: int, places: Sequence[tuple[int, Key]]) -> None:
        remove = self._store.remove
        pieces = [lambda p=p: remove(view, seq, [p]) for p in places]
        self._fuse.write(lambda: remove(view, seq, places), pieces)


class Lazy(Future[Any]):
    """A job that runs when somebody waits for it: as late as a thread may run it."""

    def __init__(self, job: Callable[[], Any]) -> None:
        super().__init__()
        self._job = job

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            try:
                self.set_result(self._job())
            except BaseException as error:  # noqa: BLE001 - a crash, too, is what came of it
                self.set_exception(error)
        return super().result(timeout)


class Lazily(Executor):
    """Runs nothing before it is waited for."""

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return Lazy(partial(job, *args, **kwargs))


class FusedSeen(Fused):
    """A handle on the file of seen ids. Its put is one transaction: done or not done."""

    def put(self, seq: int, ids: Sequence[bytes]) -> bool:
        def late() -> None:
            if not self._store.put(seq, ids):
                raise LostRace(f"seen ids: put of seq {seq} refused")

        if self._fuse.left == 0:
            return bool(self._fuse.write(late, [late]))
        return bool(self._fuse.write(lambda: self._store.put(seq, ids), []))

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        self._fuse.done()  # a put that is waited for within this step
        known: set[bytes] = self._store.known(ids)
        return known


class FusedSeenStore:
    """The folder of the file, handing out handles behind the fuse."""

    def __init__(self, store: memory.MemorySeenStore, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse

    def open(self, identity: Identity) -> FusedSeen:
        return FusedSeen(self._store.open(identity), self._fuse)

    def rebuild(self, identity: Identity) -> FusedSeen:
        return FusedSeen(self._store.rebuild(identity), self._fuse)

    def adopt(self, seen: FusedSeen) -> FusedSeen:
        return FusedSeen(self._store.adopt(seen._store), self._fuse)


class Master:
    """The archived records: immutable runs of ledger rows, each renamed into place whole."""

    def __init__(self) -> None:
        self.runs: dict[tuple[int, int], list[tuple[int, Event]]] = {}  # (after, cut) → (seq, record) in ledger order

    def chain(self, through: int) -> list[tuple[int, int]]:
        """Return the runs from genesis on, each starting where the one before it ended, as far as they go."""
        at, found = 0, []
        while True:
            longest = max((run for run in self.runs if run[0] == at and run[1] <= through), default=None)
            if longest is None:
                return found
            found.append(longest)
            at = longest[1]

    def records(self, runs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Event]]:
        """Yield (seq, record) of some runs."""
        for run in runs:
            yield from self.runs[run]


class ModelHistory:
    """Ids of committed ranges: from the master where archived, from the log otherwise."""

    def __init__(self, log: memory.MemoryLog, events: dict[int, list[Event | None]], master: Master) -> None:
        self._log = log
        self._events = events
        self._master = master

    def ids(self, rows: Sequence[LedgerRow]) -> Iterator[tuple[LedgerRow, list[bytes]]]:
        """Yield each row with the ids of its good records, copies among them."""
        archived = self._master.chain(rows[-1].seq) if rows else []
        by_seq: dict[int, list[bytes]] = {}
        for seq, event in self._master.records(archived):
            by_seq.setdefault(seq, []).extend([event.id] if event.reason is None else [])
        for row in rows:
            if archived and row.seq <= archived[-1][1]:
                yield row, by_seq.get(row.seq, [])
                continue
            records = [self._events[r.partition][r.offset] for r in self._log.read(row.range)]
            yield row, [e.id for e in records if e is not None and e.reason is None]


class Stores:
    """Everything outside the processes: it outlives them all."""

    def __init__(self, partitions: int, clock: memory.FixedClock) -> None:
        self.clock = clock
        self.log = memory.MemoryLog()
        self.log.create(TOPIC, partitions)
        self.ledger = memory.MemoryLedger()
        self.fragments = memory.MemoryFragments()
        self.alerts = memory.MemoryAlerts()
        self.dead_letters = memory.MemoryDeadLetters()
        self.projections = memory.MemoryProjections()
        self.seen = memory.MemorySeenStore()
        self.generations = memory.MemoryGenerations()
        self.master = Master()

    def ports(self, fuse: Fuse, behind: Behind | None = None) -> Ports:
        """Return the stores as a driver behind a fuse sees them, the readable ones a step behind if so."""
        log: Log = self.log
        fused: Projections = FusedProjections(self.projections, fuse)  # type: ignore[assignment] # the rest by __getattr__
        projections = BehindProjections(fused, behind) if behind else fused
        aside: Aside = (lambda job: Lazy(job).result) if fuse.rng.random() < 0.5 else at_once
        return Ports(
            log, FusedLedger(self.ledger, fuse), FusedFragments(self.fragments, fuse), FusedAlerts(self.alerts, fuse),
            FusedDeadLetters(self.dead_letters, fuse), projections, self.clock, aside,
        )  # fmt: skip
