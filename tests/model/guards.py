"""The guards of the protocol, each taken away by replacing the function that holds it; none is a flag of the product.

A guard is the name of what protects, and a context in which it does not. `of` is the workload that provokes what it
protects from; the general one serves most.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np

from batch_layer import rollback
from braid import gaps, ledger, views
from braid.adapters import behind, memory
from braid.errors import BraidError, LostRace
from braid.ledger import LedgerRow, Range
from serving import tail
from speed_layer import fold, microbatch, start
from tests.model import batch, spark
from tests.model.world import Profile, run

BUSY = Profile()
# one thing at a time, often
CRASHES = replace(BUSY, freeze=0.0, second_driver=0.0, fused=1.0, crash=0.25, seen=0.0, expire=0.0, faulty_source=0.0)
ZOMBIES = replace(BUSY, crash=0.05, freeze=0.35, fused=0.6, second_driver=0.15, seen=0.0, expire=0.0, faulty_source=0.0)
FILES = replace(BUSY, crash=0.4, freeze=0.0, seen=0.8, trim=0.0, expire=0.0, batch=0.2)
FAULTY = replace(BUSY, faulty_source=0.2, freeze=0.0, seen=0.0)
SHARED = replace(ZOMBIES, checkpoint=0.6)
DOOMED = replace(BUSY, doom=0.3)
EXPIRY = replace(BUSY, expire=0.4, crash=0.3)
LATEST = replace(BUSY, starting="latest")
BACK = replace(BUSY, expire=0.2, rollback=0.4, batch=0.4)
LOSSES = replace(BUSY, lose=0.2, accept=0.4, doom=0.0)
TWO_JOBS = replace(BUSY, batch=1.0, second_job=0.5, turns=60)


@dataclass(frozen=True)
class Guard:
    """What protects, how it is taken away, and where that must show within so many seeds."""

    name: str
    without: Callable[[], AbstractContextManager[Any]]
    of: Profile = BUSY
    seeds: int = 150


def swapped(*swaps: tuple[Any, str, Any]) -> Callable[[], AbstractContextManager[Any]]:
    """Return a context in which some attributes are others."""

    @contextmanager
    def without() -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, other in swaps:
                stack.enter_context(patch.object(owner, name, other))
            yield

    return without


# ---- the ledger ----------------------------------------------------------------------------------------------------

_decide = ledger.decide


def _decide_anything(head: LedgerRow, offered: Range) -> ledger.Decision:
    return "empty" if offered.empty else "commit"


def _append_over(self: memory.MemoryLedger, row: LedgerRow) -> None:
    self._rows[row.seq] = row
    self._newest = max(self._newest, row.seq)


_append = memory.MemoryLedger.append


def _append_and_lose_in_silence(self: memory.MemoryLedger, row: LedgerRow) -> None:
    try:
        _append(self, row)
    except LostRace:
        return


_steps = microbatch.steps


def _lose_and_return(driver: microbatch.Driver, source: Any) -> Iterator[str]:
    try:
        yield from _steps(driver, source)
    except LostRace:
        return


def _publish_over(self: memory.MemoryLedger, current: Any, expected_gen: int) -> None:
    self._current = current


def _check_places_only(head: LedgerRow, earliest: Any, topic_ids: Any, dataset: str) -> None:
    """As `check_log`, but for the ids of the topics."""
    _check_log(head, earliest, head.topic_ids, dataset)


_check_log, _lost_rows = ledger.check_log, gaps.lost_rows


def _rows_gone_only(rows: Any, earliest: Any, topic_ids: Any) -> tuple[LedgerRow, ...]:
    return tuple(row for row in rows if _lost_rows([row], earliest, topic_ids) and row.seq not in gaps.lost(rows))


# ---- the writes ----------------------------------------------------------------------------------------------------

_compute = microbatch.compute


def _ledger_first(driver: microbatch.Driver, batch: fold.Batch, offered: Range) -> microbatch.Work:
    work = _compute(driver, batch, offered)
    driver.ports.ledger.append(work.row)
    return work


def _put_early(driver: microbatch.Driver, batch: fold.Batch, offered: Range) -> microbatch.Work:
    work = _compute(driver, batch, offered)
    driver.seen.put(work.row.seq, work.ids)
    return work


def _fragments_of_any_attempt(self: memory.MemoryFragments, view: Any, rows: Sequence[LedgerRow]) -> list[Any]:
    seqs = {r.seq for r in rows}
    held = [(place, held) for place, held in self._held.items() if place[0] == view.name and place[2] in seqs]
    return [f for _, fragments in sorted(held, key=lambda p: p[0][2]) for f in fragments.values()]


def _alerts_of_any_attempt(self: memory.MemoryAlerts, rows: Sequence[LedgerRow]) -> list[Any]:
    seqs = {r.seq for r in rows}
    return [a for (_, seq, _), held in self._held.items() if seq in seqs for a in held.values()]


def _upsert_over(self: memory.MemoryProjections, view: Any, seq: int, rows: Any) -> None:
    table = self.views.setdefault(view.name, {})
    for place, state in rows.items():
        table[place] = (seq, memory.view_row(view, state))


# ---- the seen ids --------------------------------------------------------------------------------------------------


def _catch_up_on_nothing(rows: Any, seen: Any, history: Any, head: LedgerRow) -> Iterator[str]:
    for row in rows.rows(seen.through_seq, head.seq):
        seen.put(row.seq, [])
        yield "catchup"


def _put_whenever(self: memory.MemorySeenIds, seq: int, ids: Sequence[bytes]) -> bool:
    self._ids.update(ids)
    self._through_seq = seq
    return True


def _open_any(self: memory.MemorySeenStore, identity: Any) -> memory.MemorySeenIds:
    if self.held is None:
        self.held = memory.MemorySeenIds(identity.text())
    return self.held


_trust = start._trust


def _trust_ahead(rows: Any, seen: Any, head: LedgerRow, history: Any) -> None:
    if seen.through_seq <= head.seq:
        _trust(rows, seen, head, history)


def _trust_all(rows: Any, seen: Any, head: LedgerRow, history: Any) -> None:
    return


# ---- the fold ------------------------------------------------------------------------------------------------------


def _copies_within_pass(self: fold.Batch, known: set[bytes]) -> Any:
    ids = self.ids()
    return np.array([bool(good) and i not in known for good, i in zip(self.good, ids, strict=True)], dtype=bool)


def _no_copies_known(self: Any, ids: Sequence[bytes]) -> set[bytes]:
    return set()


_view, _alerts = fold.Batch.view, fold.Batch.alerts


def _fold_all(self: fold.Batch, spec: Any, mask: Any, seq: int) -> Any:
    return _view(self, spec, self.good, seq)


def _judge_all(self: fold.Batch, rule: Any, seq: int, history: Any, mask: Any) -> Any:
    return _alerts(self, rule, seq, history, self.good)


def _own_baseline(driver: microbatch.Driver, batch: fold.Batch, offered: Range) -> microbatch.Work:
    work = _compute(driver, batch, offered)
    ahead = replace(driver, merged={name: dict(view) for name, view in driver.merged.items()})
    microbatch.advance(ahead, work)
    ahead.head = driver.head
    return _compute(ahead, batch, offered)


def _baseline_of_the_generation(driver: microbatch.Driver, current: Any) -> dict[str, list[Any]]:
    return {spec.name: [] for spec in driver.declaration.fragment_views}


# ---- files and Spark -----------------------------------------------------------------------------------------------


def _used_again(self: spark.Checkpoints, begin: Any) -> int:
    """Go on in the newest directory when it ends at the ledger's end, or one micro-batch after it."""
    newest = max(self.folders, default=0)
    last = self.folders[newest].last() if newest else None
    if last is not None:
        _, offered, returned = last
        if dict(offered.end if returned else offered.start) == dict(begin):
            return newest
    self.named = newest + 1
    self.folders[self.named] = spark.Folder(begin)
    return self.named


# ---- batch and serving ---------------------------------------------------------------------------------------------


def _numbers_from_current(self: memory.MemoryGenerations) -> int:
    return 0


def _hold_over(self: memory.MemoryGenerations, gen: int, states: Any) -> None:
    self._held[gen] = {name: dict(view) for name, view in states.items()}


def _none_differs(row: LedgerRow, read: Any) -> None:
    return None


def _last_of_each_id(records: Any) -> Any:
    met: dict[bytes, Any] = {}
    for seq, event in records:
        if event.reason is None:
            met[event.id] = (seq, event)
    return list(met.values())


GUARDS = (
    # the table of guards
    Guard("a restart begins at the ledger's end", swapped(), LATEST),
    Guard("seen ids are brought up to head", swapped((start, "_catch_up", _catch_up_on_nothing))),
    Guard("writes are named by the attempt", swapped((ledger, "attempt_of", lambda offered, definition: 7)), ZOMBIES),
    Guard("readers see fragments of committed attempts only", swapped((memory.MemoryFragments, "read", _fragments_of_any_attempt))),
    Guard("readers see alerts of committed attempts only", swapped((memory.MemoryAlerts, "read", _alerts_of_any_attempt))),
    Guard("ids are put after the commit", swapped((microbatch, "compute", _put_early), (microbatch, "put_ids", lambda driver, work: None)), CRASHES),
    Guard("a range starts at head's end", swapped((ledger, "decide", _decide_anything)), LATEST),
    Guard("one writer wins a seq", swapped((memory.MemoryLedger, "append", _append_over)), ZOMBIES),
    Guard("the loser does not go on", swapped((memory.MemoryLedger, "append", _append_and_lose_in_silence)), ZOMBIES),
    Guard("the loser never returns to Spark", swapped((microbatch, "steps", _lose_and_return)), ZOMBIES),
    Guard("copies have one order", swapped((fold, "_in_ledger_order", lambda table: table))),
    Guard("through_seq is held against head", swapped((start, "_trust", _trust_ahead)), FILES),
    Guard("the file's ids are held against the ledger", swapped((start, "_trust", _trust_all)), FILES),
    Guard("a file of another log is refused", swapped((memory.MemorySeenStore, "open", _open_any)), FILES),
    Guard("ids are put only after seq − 1", swapped((memory.MemorySeenIds, "put", _put_whenever)), ZOMBIES),
    Guard("copies have one order, its own check away too", swapped((fold, "_in_ledger_order", lambda table: table), (fold, "_check_positions", lambda table, offered: None))),
    Guard("copies within a micro-batch are looked for", swapped((fold.Batch, "counted", _copies_within_pass))),
    Guard("copies of earlier micro-batches are looked for", swapped((memory.MemorySeenIds, "known", _no_copies_known))),
    Guard("copies are masked before the fold", swapped((fold.Batch, "view", _fold_all))),
    Guard("copies are masked before the fold, its own check away too", swapped((fold.Batch, "view", _fold_all), (microbatch, "_check", lambda *a: None))),
    Guard("copies are not judged for alerts", swapped((fold.Batch, "alerts", _judge_all))),
    Guard("a projection keeps the newer seq", swapped((memory.MemoryProjections, "upsert", _upsert_over)), ZOMBIES),
    # rules of the protocol
    Guard("fragments are written before the ledger row", swapped((microbatch, "compute", _ledger_first)), CRASHES),
    Guard("every query has its own checkpoint directory", swapped((spark.Checkpoints, "fresh", _used_again)), SHARED, 1500),
    Guard("a driver notices that the log was lost", swapped((ledger, "check_log", lambda head, earliest, topic_ids, dataset: None)), DOOMED),
    Guard("a topic created again is told by its id", swapped((ledger, "check_log", _check_places_only)), LOSSES),
    Guard("what a gap took after it was counted counts no more", swapped((gaps, "lost", lambda rows: frozenset())), LOSSES),
    Guard("copies of what a gap took go with it", swapped((gaps, "lost_rows", _rows_gone_only)), LOSSES, 600),
    Guard("rows that a gap took leave the readable tables", swapped((start, "_remove_lost", lambda driver, lost: None)), LOSSES),
    Guard("alerts behind a gap are projected", swapped((start, "_since_micro", lambda driver: [driver.head])), LOSSES, 600),
    Guard("rows of a range come once", swapped((fold, "_check_positions", lambda table, offered: None)), FAULTY),
    Guard("an event is not in its own baseline", swapped((microbatch, "compute", _own_baseline))),
    Guard("baselines hold the tail", swapped((start, "_tail", _baseline_of_the_generation))),
    Guard("projections are brought up at start", swapped((start, "_bring_projections_up", lambda driver, tail: None)), CRASHES),
    Guard("projections are waited for before the next row", swapped((behind.BehindProjections, "settle", lambda self: None)), CRASHES),
    Guard("ids are waited for before others are looked for", swapped((behind.BehindSeenIds, "_put", lambda self: self._seen)), CRASHES),
    Guard("expired fragments stop a start", swapped((views, "not_whole", lambda name, rows, fragments: [])), EXPIRY),
    Guard("a server merges whole rows only", swapped((tail, "_differs", _none_differs)), EXPIRY),
    Guard("a rollback needs every fragment after the older cut", swapped((rollback, "check_whole", lambda *of: None)), BACK),
    Guard("one publication wins a generation", swapped((memory.MemoryLedger, "publish", _publish_over)), TWO_JOBS),
    Guard("generation numbers are never used twice", swapped((memory.MemoryGenerations, "newest", property(_numbers_from_current)), (memory.MemoryGenerations, "hold", _hold_over)), TWO_JOBS),
    Guard("the batch layer counts the first of each id", swapped((batch, "first_of_each_id", _last_of_each_id))),
)  # fmt: skip


def seeds_until_wrong(number: int) -> tuple[int | None, str]:
    """Return how many seeds it took until the model failed without a guard (None: it did not), and why.

    Any error counts that the code itself raises: a world without a guard may also end in a broken chain or fold.
    """
    guard = GUARDS[number]
    logging.disable()  # servers that refuse a generation say so
    with guard.without():
        for seed in range(guard.seeds):
            try:
                run(seed, guard.of)
            except (AssertionError, BraidError, ArithmeticError, LookupError, ValueError) as wrong:
                return seed + 1, f"{type(wrong).__name__}: {wrong}".splitlines()[0]
    return None, ""
