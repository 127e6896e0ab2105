"""The port `Projections` a step behind: rows are written in another thread, while the next micro-batch is read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial

from braid.alerts import Alert
from braid.declaration import AlertRule, ViewSpec
from braid.ports import Projections
from braid.views import Key, View


class BehindProjections:
    """Takes rows over at once and writes them in the order in which they came; `settle` waits until they are written.

    Parameters
    ----------
    projections : where they are written
    executor : runs one job at a time, in order; a thread of its own by default
    """

    def __init__(self, projections: Projections, executor: Executor | None = None) -> None:
        self._projections = projections
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="projections")
        self._begun: tuple[Future[None], ...] = ()  # replaced whole: `look` is called from another thread

    def upsert(self, view: ViewSpec, seq: int, rows: View) -> None:
        """Take over the rows as of `seq`, which nobody may change any more."""
        self._begin(partial(self._projections.upsert, view, seq, rows))

    def alerts(self, rule: AlertRule, alerts: Sequence[Alert]) -> None:
        """Take over alerts for the rule's readable table."""
        self._begin(partial(self._projections.alerts, rule, alerts))

    def remove(self, view: ViewSpec, seq: int, places: Collection[tuple[int, Key]]) -> None:
        """Take rows away as of `seq`, after those that were handed over before."""
        self._begin(partial(self._projections.remove, view, seq, places))

    def truncate(self) -> None:
        """Empty every projection, after what was handed over before."""
        self._begin(self._projections.truncate)

    def settle(self) -> None:
        """Wait until everything handed over is written.

        Raises
        ------
        StoreUnavailable
            Some of it could not be; nothing after it is written, and every later call raises the same.
        """
        for write in self._begun:
            write.result()
        self._begun = ()

    def look(self) -> None:
        """Raise what `settle` would raise, without waiting."""
        for write in self._begun:
            if write.done():
                write.result()

    def close(self) -> None:
        """Wait for what is being written, and take over nothing more."""
        self._executor.shutdown(wait=True)

    def _begin(self, write: Callable[[], None]) -> None:
        before = self._begun[-1] if self._begun else None

        def after_that() -> None:
            if before is not None:
                before.result()  # one that failed lets none after it be written: their order is part of what is told
            write()

        self._begun = (*self._begun, self._executor.submit(after_that))
