"""Following a dataset: `current`, at most every 100 ms, then head, and everything that follows from them.

One thread per dataset asks the stores, so that no request ever waits for one; requests take `snapshot`. The order is
the protocol's: `current` is read before head, hence head is never older than the cut. Head is looked at as often, and at once when
the stream says that there is a new one. A newer generation is loaded aside, with the tail above its cut, while the old one goes on; both are swapped in at once, and only when the new pair
reaches at least as far as the old one, so answers never go back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from braid import change, gaps
from braid.adapters import failpoints
from braid.declaration import Declaration
from braid.errors import BraidError, CutPassedHead, LedgerError
from braid.ledger import Current, LedgerRow
from braid.ports import Alerts, Aside, Clock, Fragments, Generations, Ledger, PastGenerations, at_once
from serving import generations, recent, tail
from serving.generations import Generation
from serving.recent import Recent
from serving.snapshot import Snapshot
from serving.tail import Missing, Tail
from serving.watch import Watch

EVERY_S = 0.1
ROWS_AT_ONCE = 500  # ledger rows merged at once when there is much to catch up
RETRY_FIRST_S = 1.0  # of fragments that do not add up, and of a generation that did not load
RETRY_LONGEST_S = 30.0

log = logging.getLogger("braid.serving")


@dataclass(frozen=True, slots=True)
class Stores:
    """What one dataset is read from."""

    ledger: Ledger
    fragments: Fragments
    alerts: Alerts
    generations: Generations
    past: PastGenerations | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A generation and the tail above its cut, read aside."""

    declaration: Declaration
    generation: Generation
    tail: Tail


@dataclass(frozen=True, slots=True)
class Failure:
    """A generation that could not be loaded, and when to try again (monotonic seconds)."""

    gen: int
    missing: Missing
    wait_s: float
    again_s: float


class Follower:
    """Keeps `snapshot` of one dataset up to date.

    Parameters
    ----------
    declared : the declaration as the file has it
    connect : opens the stores; called until it succeeds
    executor : where generations are loaded; one thread by default
    aside : lets fragments and alerts be read side by side
    called : waits for so many seconds, less when there is a new head; None when nobody tells of one
    """

    def __init__(
        self,
        declared: Declaration,
        connect: Callable[[], Stores],
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        executor: Executor | None = None,
        aside: Aside = at_once,
        called: Callable[[float], object] | None = None,
    ) -> None:
        self.declared = declared
        self.snapshot: Snapshot | None = None
        self.newest: tuple[Current, LedgerRow] | None = None
        self.refusal: Missing | None = None
        self._connect = connect
        self._stores: Stores | None = None
        self._clock = clock
        self._monotonic = monotonic
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix=f"load-{declared.dataset}")
        self._loading: tuple[int, Future[Loaded]] | None = None
        self._ready: Loaded | None = None
        self._failure: Failure | None = None
        self._aside = aside
        self._retry_tail_s = 0.0
        self._current_s = 0.0  # when `current` was read, monotonic seconds
        self.watch = Watch("cassandra", self.step, EVERY_S, clock, monotonic, called)

    def start(self) -> None:
        """Follow in a thread of its own."""
        self.watch.start()

    def stop(self) -> None:
        """Stop following; wait briefly for the step under way."""
        self.watch.stop()
        self.watch.join(2.0)
        self._executor.shutdown(wait=False, cancel_futures=True)

    @property
    def stores(self) -> Stores | None:
        """The stores, None until they have answered once."""
        return self._stores

    @property
    def failure(self) -> Missing | None:
        """Why the newest generation could not be loaded, None when it could."""
        return self._failure.missing if self._failure else None

    def step(self) -> None:
        """Ask the stores once and swap in a newer snapshot.

        Raises
        ------
        StoreUnavailable
            A store did not answer; the old snapshot stays. (A ledger that is not there yet is no error but `refusal`.)
        """
        try:
            if self._stores is None:
                self._stores = self._connect()
            current, head = self._read(self._stores.ledger)
            self._load(self._stores, current, head)
            self._advance(self._stores, head)
        except LedgerError as error:
            # the store did answer, and what it holds cannot be followed
            self.refusal = Missing("ledger", str(error))
        else:
            self.refusal = None

    def _read(self, ledger: Ledger) -> tuple[Current, LedgerRow]:
        """Read `current`, then head; an older head than the last one is a stale replica's and is passed over.

        A `current` of less than 100 ms ago was read before head, too.
        """
        now_s = self._monotonic()
        if self.newest is None or now_s - self._current_s >= EVERY_S:
            current, self._current_s = ledger.current(), now_s
        else:
            current = self.newest[0]
        head = ledger.head()
        if self.newest is not None and head.seq < self.newest[1].seq:
            head = self.newest[1]
        if current.cut_seq > head.seq:
            raise CutPassedHead(
                f"{self.declared.dataset}: generation {current.gen}: expected its cut at most at head, "
                f"got cut seq {current.cut_seq} and head seq {head.seq}; the ledger is read again"
            )
        self.newest = (current, head)
        return current, head

    # ---- a newer generation, aside ---------------------------------------------------------------------------------

    def _load(self, stores: Stores, current: Current, head: LedgerRow) -> None:
        self._collect()
        served = self.snapshot.generation.current.gen if self.snapshot else None
        held = self._ready.generation.current.gen if self._ready else served
        if current.gen == held:
            self._failure = None
            return
        waiting = self._failure and self._failure.gen == current.gen and self._monotonic() < self._failure.again_s
        if self._loading is None and not waiting:
            future = self._executor.submit(self._loaded, stores, current, head)
            self._loading = (current.gen, future)
            self._collect()

    def _loaded(self, stores: Stores, current: Current, head: LedgerRow) -> Loaded:
        cut = generations.cut_row(stores.ledger, current)
        declaration = generations.in_force(self.declared, stores.ledger, cut)
        # while a declaration takes another's place, Hive's tables may have its shape already; the files stay as they are
        source = stores.past if stores.past is not None and change.pending(head, current) else stores.generations
        generation = generations.load(current, declaration, source)
        failpoints.hit("serving.loading")
        fresh = tail.begin(declaration, cut, gaps.through(stores.ledger, cut))
        return Loaded(declaration, generation, self._followed(fresh, declaration, stores, head.seq))

    def _collect(self) -> None:
        if self._loading is None or not self._loading[1].done():
            return
        gen, future = self._loading
        self._loading = None
        try:
            self._ready = future.result()
            self._failure = None
        except Exception as error:  # noqa: BLE001 - whatever it is, the old generation goes on and says so
            self._failed(gen, error)

    def _failed(self, gen: int, error: Exception) -> None:
        again = self._failure if self._failure and self._failure.gen == gen else None
        wait_s = min(again.wait_s * 2, RETRY_LONGEST_S) if again else RETRY_FIRST_S
        going_on = "none is loaded" if self.snapshot is None else (
            f"generation {self.snapshot.generation.current.gen} goes on"
        )  # fmt: skip
        if not isinstance(error, BraidError):
            log.error("%s: loading generation %s", self.declared.dataset, gen, exc_info=error)
        missing = Missing("generation", f"generation {gen} could not be loaded, {going_on}: {error}")
        self._failure = Failure(gen, missing, wait_s, self._monotonic() + wait_s)
        if again is None:
            log.warning("%s: %s", self.declared.dataset, missing.reason)

    # ---- the tail --------------------------------------------------------------------------------------------------

    def _advance(self, stores: Stores, head: LedgerRow) -> None:
        old = self.snapshot
        served = None if old is None else Loaded(old.declaration, old.generation, old.tail)
        if self._ready is not None:
            self._ready = self._caught_up(self._ready, stores, head)
            # answers never go back: the new pair waits until it reaches as far as the old one
            if served is None or self._ready.tail.row.seq >= served.tail.row.seq:
                served, self._ready = self._ready, None
        if served is None:
            return
        begun = self._next_alerts(stores, old, head) if served.tail.stop is None else None
        served = self._caught_up(served, stores, head)
        alerts = begun() if begun and served.tail.row.seq == head.seq else self._alerts(stores, old, served.tail.row)
        troubles = (self._failure.missing,) if self._failure else ()
        self.snapshot = Snapshot(served.declaration, served.generation, served.tail, alerts, head, troubles)

    def _caught_up(self, held: Loaded, stores: Stores, head: LedgerRow) -> Loaded:
        if held.tail.stop is not None and self._monotonic() < self._retry_tail_s:
            return held
        more = self._followed(held.tail, held.declaration, stores, head.seq)
        if more.stop is not None:
            self._retry_tail_s = self._monotonic() + RETRY_FIRST_S
        return Loaded(held.declaration, held.generation, more)

    def _followed(self, held: Tail, declaration: Declaration, stores: Stores, through: int) -> Tail:
        """Merge ledger rows up to `through` until one cannot be merged."""
        found = self._merged(held, declaration, stores, through)
        if found.row.seq >= found.until:
            return found
        # begun again because of a gap that cannot be reached: as of an earlier row, what that gave up still counts
        before = self._merged(held, declaration, stores, found.row.seq)
        return replace(before, stop=before.stop or found.stop)

    def _merged(self, held: Tail, declaration: Declaration, stores: Stores, through: int) -> Tail:
        """Merge ledger rows up to `through`, some at a time, until one cannot be merged."""
        while held.row.seq < through:
            rows = self._rows(stores.ledger, held.row.seq, through)
            held = tail.follow(held, declaration, rows, stores.fragments, self._aside)
            failpoints.hit("serving.tail")
            if held.stop is not None:
                break
        return held

    def _alerts(self, stores: Stores, old: Snapshot | None, row: LedgerRow) -> Recent:
        if old is None:
            return recent.begin(row, stores.ledger, stores.alerts, self._clock.now_us())
        held = old.recent
        while held.through_seq < row.seq:
            rows = self._rows(stores.ledger, held.through_seq, row.seq)
            held = recent.follow(held, rows, stores.alerts)
        return held

    def _next_alerts(self, stores: Stores, old: Snapshot | None, head: LedgerRow) -> Callable[[], Recent] | None:
        """Begin to read the alerts of head beside its fragments, when they are all that is new; None when they are not."""
        if old is None or not head.alerts or old.recent.through_seq != head.seq - 1:
            return None
        return self._aside(partial(recent.follow, old.recent, [head], stores.alerts))

    def _rows(self, ledger: Ledger, after: int, through: int) -> list[LedgerRow]:
        """Return the next ledger rows up to `through`; the one that is head has just been read."""
        head = self.newest[1] if self.newest else None
        if head is not None and head.seq == through == after + 1:
            return [head]
        return ledger.rows(after, min(through, after + ROWS_AT_ONCE))
