"""Earlier answers: the snapshot of a (generation, seq) that was served before, rebuilt from what is still kept.

A generation's files are immutable and a micro-batch's fragments too, so the same two numbers always give the same
states, and the same question the same bytes. What bounds this is keeping: generations are removed some publications
later, fragments expire. Then the answer is 410 with the reason, and never another one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NoReturn

from braid import gaps
from braid.errors import AuditFailed, LedgerError, StoreUnavailable
from braid.ledger import Current, LedgerRow
from braid.ports import PastGenerations
from serving import generations, tail
from serving.follower import Stores
from serving.parameters import AsOfAsked
from serving.problems import BadRequest, Fault, Problem, Unavailable
from serving.snapshot import Snapshot
from serving.tail import Tail

KEEP = 4  # rebuilt snapshots per process; each holds the rows of a generation and of a tail
ROWS_AT_ONCE = 500
LONGEST_CHAIN = 1_000


class History:
    """Rebuilds snapshots, one at a time, and keeps the newest few."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, int, int], Snapshot] = OrderedDict()
        self._lock = threading.Lock()

    def snapshot(self, newest: Snapshot, stores: Stores, asked: AsOfAsked) -> Snapshot:
        """Return the snapshot of a generation and a seq.

        Parameters
        ----------
        newest : what is served now
        stores : `follower.Stores` with `past`

        Raises
        ------
        BadRequest
            There never was such a generation, or the seq lies beyond head or before the generation's cut.
        Problem
            410: the generation or its fragments are no longer kept.
        Unavailable
            A store did not answer.
        """
        if (newest.generation.current.gen, newest.tail.row.seq) == (asked.generation, asked.seq):
            return newest
        key = (newest.declaration.dataset, asked.generation, asked.seq)
        with self._lock:
            try:
                _check(stores, asked)  # also of one that is held: it is gone for all at once
                found = self._held.get(key) or _rebuilt(newest, stores, asked)
            except (StoreUnavailable, LedgerError) as error:
                raise Unavailable(f"as_of: {error}") from error
            self._held[key] = found
            self._held.move_to_end(key)
            while len(self._held) > KEEP:
                self._held.popitem(last=False)
        return found


def _check(stores: Stores, asked: AsOfAsked) -> None:
    current, head = stores.ledger.current(), stores.ledger.head()
    if asked.seq > head.seq:
        _refuse(asked, f"a seq up to head, {head.seq}")
    kept = [*_past(stores).chain(current.gen, LONGEST_CHAIN), 0]
    if asked.generation in kept:
        return
    if asked.generation > current.gen:
        _refuse(asked, f"a generation up to the served one, {current.gen}")
    _gone(asked, f"generation {asked.generation} is no longer kept; kept are {', '.join(map(str, sorted(kept)))}")


def _rebuilt(newest: Snapshot, stores: Stores, asked: AsOfAsked) -> Snapshot:
    try:
        current = _current(stores, asked)
        cut = generations.cut_row(stores.ledger, current)
    except AuditFailed as error:
        _gone(asked, str(error))
    if asked.seq < cut.seq:
        _refuse(asked, f"a seq from the cut of generation {asked.generation}, {cut.seq}, on")
    declaration = generations.in_force(newest.declaration, stores.ledger, cut)
    if declaration.hash != newest.declaration.hash:
        # the question was read by the declaration served now, and the other's fragments are not kept
        _gone(
            asked,
            f"generation {asked.generation} is of another declaration, {declaration.hash[:12]}, than the one served",
        )
    same = newest.generation.current.gen == asked.generation
    try:
        held = newest.generation if same else generations.load(current, declaration, _past(stores))
    except (AuditFailed, StoreUnavailable) as error:
        _gone(asked, f"generation {asked.generation} can no longer be read: {error}")
    found = tail.begin(declaration, cut, gaps.through(stores.ledger, cut))
    while found.row.seq < asked.seq and found.stop is None:
        rows: list[LedgerRow] = stores.ledger.rows(found.row.seq, min(asked.seq, found.row.seq + ROWS_AT_ONCE))
        found = tail.follow(found, declaration, rows, stores.fragments)
    return Snapshot(declaration, held, _whole(found, asked), newest.recent, found.row)


def _current(stores: Stores, asked: AsOfAsked) -> Current:
    """Return the generation as it was published; of generation 0 its cut is genesis."""
    current: Current = _past(stores).published(asked.generation)
    if current.gen:
        return current
    (genesis,) = stores.ledger.rows(-1, 0)
    return Current(0, 0, genesis.end, genesis.definition)


def _past(stores: Stores) -> PastGenerations:
    if stores.past is None:
        raise StoreUnavailable("earlier generations cannot be read here")
    return stores.past


def _whole(found: Tail, asked: AsOfAsked) -> Tail:
    if found.stop is not None:
        _gone(asked, found.stop.reason)
    return found


def _refuse(asked: AsOfAsked, expected: str) -> NoReturn:
    raise BadRequest([Fault("as_of", expected, asked.text)])


def _gone(asked: AsOfAsked, why: str) -> NoReturn:
    raise Problem(
        410, "no-longer-kept", f"as_of {asked.text}: {why}; ask without as_of for the newest answer", as_of=asked.text
    )  # fmt: skip
