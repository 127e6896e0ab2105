"""Other threads for a micro-batch: what may run aside while it waits, and what follows its commit, a step behind.

Behind it, ids and readable rows are written while the next micro-batch is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from braid.alerts import Alert
from braid.declaration import AlertRule, ViewSpec
from braid.errors import BraidError
from braid.ports import Projections, SeenIds
from braid.seen import taken_over
from braid.views import Key, View

T = TypeVar("T")


class Behind:
    """Does what is handed over, one after the other, in another thread.

    Parameters
    ----------
    executor : runs one job at a time, in order; a thread of its own by default
    """

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._begun: tuple[Future[None], ...] = ()  # replaced whole: `look` is called from another thread

    def begin(self, job: Callable[[], None]) -> Future[None]:
        """Take a job over; it is done unless one before it has failed."""
        before = self._begun[-1] if self._begun else None

        def after_that() -> None:
            if before is not None:
                before.result()  # one that failed lets none after it be done: their order is part of what is told
            job()

        begun = self._executor.submit(after_that)
        self._begun = (*self._begun, begun)
        return begun

    def settle(self) -> None:
        """Wait until everything handed over is done.

        Raises
        ------
        BraidError
            What one of them raised; nothing after it is done, and every later call raises the same.
        """
        for job in self._begun:
            job.result()
        self._begun = ()

    def look(self) -> None:
        """Raise what `settle` would raise, without waiting."""
        for job in self._begun:
            if job.done():
                job.result()

    def close(self) -> None:
        """Wait for what is being done, and take over nothing more."""
        self._executor.shutdown(wait=True)


class Aside:
    """Lets jobs run beside the caller, each in a thread of a few."""

    def __init__(self, threads: int = 3) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="aside")

    def __call__(self, job: Callable[[], T], /) -> Callable[[], T]:
        """Begin a job; what is returned waits for it and gives its outcome, or raises its error."""
        return self._executor.submit(job).result

    def close(self) -> None:
        """Wait for what is being done, and take over nothing more."""
        self._executor.shutdown(wait=True)


class BehindProjections:
    """The port `Projections`: takes rows over at once and writes them in the order in which they came."""

    def __init__(self, projections: Projections, behind: Behind) -> None:
        self._projections = projections
        self._behind = behind

    def upsert(self, view: ViewSpec, seq: int, rows: View) -> None:
        """Take over the rows as of `seq`, which nobody may change any more."""
        self._behind.begin(partial(self._projections.upsert, view, seq, rows))

    def alerts(self, rule: AlertRule, alerts: Sequence[Alert]) -> None:
        """Take over alerts for the rule's readable table."""
        self._behind.begin(partial(self._projections.alerts, rule, alerts))

    def remove(self, view: ViewSpec, seq: int, places: Collection[tuple[int, Key]]) -> None:
        """Take rows away as of `seq`, after those that were handed over before."""
        self._behind.begin(partial(self._projections.remove, view, seq, places))

    def truncate(self) -> None:
        """Empty every projection, after what was handed over before."""
        self._behind.begin(self._projections.truncate)

    def settle(self) -> None:
        """Wait until everything handed over is written. Raises what could not be."""
        self._behind.settle()


class BehindSeenIds:
    """The port `SeenIds`: takes ids over at once; whoever asks for one waits until those before are put."""

    def __init__(self, dataset: str, seen: SeenIds, behind: Behind) -> None:
        self._dataset = dataset
        self._seen = seen
        self._behind = behind
        self._last: Future[None] | None = None

    @property
    def through_seq(self) -> int:
        """The ledger seq up to which the ids are whole."""
        return self._put().through_seq

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Return those of the ids that were counted before.

        Raises
        ------
        LostRace
            Ids handed over before were refused: they were not the next.
        """
        return self._put().known(ids)

    def put(self, seq: int, ids: Sequence[bytes]) -> bool:
        """Take over the ids of a committed row; whether it was the next is told by the next question, or by `look`."""
        self._last = self._behind.begin(partial(self._write, seq, ids))
        return True

    def scan(self) -> tuple[int, int]:
        """Return (count, Σ first hash mod 2^64) over the whole store."""
        return self._put().scan()

    def close(self) -> None:
        """Release the store, after what was handed over is put."""
        with suppress(BraidError):  # it has been told, or the stream ends for it
            self._put()
        self._seen.close()

    def _put(self) -> SeenIds:
        if self._last is not None:
            self._last.result()
        return self._seen

    def _write(self, seq: int, ids: Sequence[bytes]) -> None:
        if not self._seen.put(seq, ids):
            raise taken_over(self._dataset, seq, self._seen.through_seq)
