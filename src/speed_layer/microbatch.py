"""One micro-batch, from its range to its commit: the protocol of the speed layer.

`steps` is a generator that yields the name of each step when it is done. The stream runs through them; a test stops
after any of them (a crash) or goes on later (a driver that was thought dead), so that what is tested is this code.

The order is the protocol. Fragments, alerts and dead letters are written first, side by side, and nobody sees them: they carry the
(seq, attempt) of a ledger row that does not exist yet. One compare-and-set adds the row, and with it everything
becomes visible at once. Only then are the ids put into the store of seen ids, so that no id of a micro-batch that
never was can be taken for a copy. Projections come last and may be written again at any time. Both may be written while
the next micro-batch is read: the ids are waited for before it looks for its own, and everything before its row is
added, so that only head's can be missing after a crash.

Running a micro-batch twice changes nothing, and running two drivers at once lets one of them win and the other raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from braid import ledger, views
from braid.aggregates import Moments, State
from braid.alerts import Alert
from braid.declaration import AlertRule, Declaration, ViewSpec
from braid.errors import RangeRefused
from braid.ledger import LedgerRow
from braid.ports import Alerts, Aside, Clock, DeadLetters, Fragments, Ledger, Log, Projections, SeenIds, Source, at_once
from braid.seen import taken_over
from braid.views import Fragment, Key, View
from speed_layer import fold


@dataclass(frozen=True, slots=True)
class Ports:
    """The world of one dataset's speed layer; `aside` lets it wait for several stores at once."""

    log: Log
    ledger: Ledger
    fragments: Fragments
    alerts: Alerts
    dead_letters: DeadLetters
    projections: Projections
    clock: Clock
    aside: Aside = at_once


@dataclass(slots=True)
class Driver:
    """What the driver knows between micro-batches: nothing that the stores could not tell it again.

    Attributes
    ----------
    declaration : Declaration, as the ledger holds it
    head : LedgerRow, the newest row, ours or the one read at start
    merged : per view, its states as of head: the baselines of alerts and the source of projections
    seen : SeenIds, whole up to head.seq
    writer : str, unique to this process
    """

    declaration: Declaration
    ports: Ports
    seen: SeenIds
    writer: str
    head: LedgerRow
    merged: dict[str, dict[tuple[int, Key], State]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Work:
    """Everything a micro-batch contributes, computed before anything is written."""

    row: LedgerRow
    fragments: Mapping[str, View]
    alerts: list[Alert]
    batch: fold.Batch
    ids: list[bytes]
    chosen: Mapping[str, tuple[int, int]]  # (n, fp) of the rows that each view counts


def steps(driver: Driver, source: Source) -> Iterator[str]:
    """Run one micro-batch, yielding the name of each step when it is done.

    Parameters
    ----------
    driver : Driver, moved on to the new head by the last steps
    source : Source, the range that Spark hands over and its rows

    Raises
    ------
    RangeRefused, Gap
        The range does not continue the ledger, or the log no longer holds what it should.
    LostRace
        Another driver committed this seq. The process must end: its driver stands on a ledger that is no longer its own.
    """
    ports = driver.ports
    topics = [t.name for t in driver.declaration.topics]
    offered = source.range
    yield "wal"
    if ledger.decide(driver.head, offered) != "commit":
        return
    standing = ports.aside(lambda: (ports.log.earliest(topics), ports.log.topic_ids(topics)))
    try:
        rows = source.rows()
    finally:  # what is wrong with the log itself is told rather than what a reader made of it
        ledger.check_log(driver.head, *standing(), driver.declaration.dataset)
    batch = fold.Batch(driver.declaration, rows, offered)
    yield "computed"
    work = compute(driver, batch, offered)
    yield "folded"
    bucket, attempt = work.row.bucket, work.row.attempt
    alerts = ports.aside(partial(ports.alerts.write, bucket, attempt, work.alerts))
    letters = ports.aside(partial(ports.dead_letters.write, work.row.seq, attempt, work.batch.dead_letters()))
    for spec in driver.declaration.fragment_views:
        states = work.fragments[spec.name]
        fragments = [Fragment(work.row.seq, start, key, state) for (start, key), state in states.items()]
        ports.fragments.write(spec, bucket, attempt, fragments)
        yield "fragments"
    alerts()
    yield "alerts"
    letters()
    yield "written"
    ports.projections.settle()
    yield "projected"
    ports.ledger.append(work.row)
    yield "committed"
    put_ids(driver, work)
    yield "put"
    changed = advance(driver, work)
    project(driver, changed, work.alerts)


def compute(driver: Driver, batch: fold.Batch, offered: ledger.Range) -> Work:
    """Return what a micro-batch contributes: a function of its rows, the ledger before it and the ids before it."""
    declaration, head = driver.declaration, driver.head
    seq = head.seq + 1
    by_id = declaration.dedupe == "by_id"
    known = driver.seen.known(batch.distinct_ids()) if by_id else set()
    mask = batch.counted(known)
    good = int(mask.sum())
    fragments = {v.name: batch.view(v, mask, seq) for v in declaration.fragment_views}
    totals = {name: views.totals(view) for name, view in fragments.items()}
    alerts = [alert for rule in declaration.alerts for alert in batch.alerts(rule, seq, _history(driver, rule), mask)]
    bucket, held = ledger.next_bucket(head)
    row = LedgerRow(
        seq=seq, kind="micro", attempt=ledger.attempt_of(offered, declaration.hash), writer=driver.writer, range=offered,
        good=good, copies=int(batch.good.sum()) - good, dead=batch.dead, absent=batch.absent, fp=batch.fp(mask),
        view_n={name: n for name, (n, _) in totals.items()}, view_fp={name: fp for name, (_, fp) in totals.items()},
        bucket=bucket, bucket_rows=held + max([len(alerts), *(len(view) for view in fragments.values())]), alerts=len(alerts),
        definition=declaration.hash, topic_ids=head.topic_ids, committed_at_us=driver.ports.clock.now_us(),
    )  # fmt: skip
    row = ledger.with_totals(head, row)
    ids = batch.ids_of(mask) if by_id else []
    masks = {view.name: batch.chosen(view, mask) for view in declaration.fragment_views}
    # a view without a condition of its own counts every good row, whose sum stands in the row
    chosen = {
        name: (good, row.fp) if rows is mask else (int(rows.sum()), batch.fp(rows)) for name, rows in masks.items()
    }
    _check(row, ids, by_id, chosen)
    return Work(row, fragments, alerts, batch, ids, chosen)


def _check(row: LedgerRow, ids: list[bytes], by_id: bool, chosen: Mapping[str, tuple[int, int]]) -> None:
    """Before anything is written: counts add up, every view counted its events, an id for every event."""
    ledger.check_chain([row])
    whole = (row.view_n, row.view_fp) == (
        {n: c for n, (c, _) in chosen.items()},
        {n: fp for n, (_, fp) in chosen.items()},
    )
    if not whole or (by_id and len(ids) != row.good):
        raise RangeRefused(
            f"ledger seq {row.seq}: expected {row.good} events with fingerprint {row.fp}, by view {dict(chosen)}, "
            f"got n {dict(row.view_n)}, fp {dict(row.view_fp)}, {len(ids)} ids; this is a defect of the fold: report it"
        )


def _history(driver: Driver, rule: AlertRule) -> dict[Key, Moments]:
    spec = driver.declaration.view(rule.baseline)
    index = next(i for i, m in enumerate(spec.measures) if m.id == rule.measure)
    return fold.histories(driver.merged[spec.name], index)


def put_ids(driver: Driver, work: Work) -> None:
    """Add the committed ids to the seen ids. Never before the commit is known."""
    if not driver.seen.put(work.row.seq, work.ids):
        raise taken_over(driver.declaration.dataset, work.row.seq, driver.seen.through_seq)


def advance(driver: Driver, work: Work) -> dict[str, View]:
    """Move the driver to the new head; return, per view, the merged rows that the micro-batch changed."""
    changed: dict[str, View] = {}
    for spec in driver.declaration.views:
        fine = driver.declaration.finest(spec)
        part = states_of(spec, fine, work.fragments[fine.name])
        whole = driver.merged[spec.name]
        for place, state in part.items():
            views.put(whole, place, state)
        changed[spec.name] = {place: whole[place] for place in part}
    driver.head = work.row
    return changed


def states_of(spec: ViewSpec, fine: ViewSpec, states: View) -> View:
    """Return a view's states from those of the view that has the fragments."""
    return states if spec.name == fine.name else views.coarsen(states, fine, spec)


def project(driver: Driver, changed: Mapping[str, View], alerts: list[Alert]) -> None:
    """Hand over finished numbers for people, as of head; safe to repeat."""
    for spec in driver.declaration.views:
        driver.ports.projections.upsert(spec, driver.head.seq, changed[spec.name])
    for rule in driver.declaration.alerts:
        driver.ports.projections.alerts(rule, [a for a in alerts if a.rule == rule.name])
