"""Before the first micro-batch: from whatever a crash left behind to a driver that stands exactly at head.

Everything is derived from the stores. The declaration is the text in the ledger. The seen ids are brought up to head,
or built anew when their file is damaged or speaks of another log. The merged views, which alerts are judged against,
are the served generation plus the fragments after its cut, each checked against its ledger row. The projections are
brought up to head, because a crash may have come between the commit and them.

A driver starts only behind history in bulk (`braid.bulk`) that a generation covers. Under a declaration that has changed no driver starts before a generation of it is served (`braid apply`); until its first
micro-batch every start empties the projections before it fills them, for their rows are of the declaration before.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from typing import TypeAlias

from braid import bulk, change, gaps, grammar, ledger, views
from braid.declaration import Declaration
from braid.definitions import in_force
from braid.errors import BeingApplied, BulkPending, Gap, SeenIdsRefused
from braid.generations import counts
from braid.ledger import Current, LedgerRow
from braid.ports import Generations, History, Ledger, Log, SeenIds, SeenStore
from braid.seen import Identity
from braid.views import Fragment
from speed_layer import microbatch
from speed_layer.microbatch import Driver, Ports

Steps: TypeAlias = Generator[str, None, Driver]


def create(log: Log, store: Ledger, declaration: Declaration, partitions: int, writer: str) -> None:
    """Create a dataset's topic and its ledger, once: genesis and `current`, and a gap row when records are gone.

    Parameters
    ----------
    partitions : int, of a topic that does not exist yet; never changed afterwards
    writer : str, unique to this process
    """
    names = [t.name for t in declaration.topics]
    for name in names:
        log.create(name, partitions)
    earliest, topic_ids = log.earliest(names), log.topic_ids(names)
    row = ledger.genesis(topic_ids, earliest, declaration.hash, declaration.text, writer)
    store.create(row, Current(0, 0, row.end, declaration.hash))
    head = store.head()
    if head.kind == "genesis" and any(earliest[p] > head.end.get(p, 0) for p in earliest):
        # a gap at birth: records were gone before the dataset was declared
        store.append(gaps.row_of(head, earliest, head.topic_ids, (), writer, head.committed_at_us))


def steps(ports: Ports, generations: Generations, store: SeenStore, history: History, writer: str) -> Steps:
    """Bring everything up to head, yielding the name of each step when it is done; return the driver.

    Raises
    ------
    BeingApplied
        The declaration in force has changed and has no generation yet.
    BulkPending
        History in bulk is in no generation yet.
    Gap
        Kafka no longer holds what comes after head, or neither Kafka nor the master what the seen ids lack, or
        fragments after the cut have expired.
    """
    current = ports.ledger.current()  # before head, as every reader does
    head = ports.ledger.head()
    declaration = in_force(ports.ledger, head)
    if change.pending(head, current):
        raise BeingApplied(f"{declaration.dataset}: {change.remedy(declaration.dataset, head)}")
    topics = [t.name for t in declaration.topics]
    ledger.check_log(head, ports.log.earliest(topics), ports.log.topic_ids(topics), declaration.dataset)
    if bulk.pending(head, current):  # it has no fragments: what a driver begins with would lack it
        raise BulkPending(f"{declaration.dataset}: {bulk.remedy(declaration.dataset, head)}")
    yield "start"
    identity = Identity(declaration.dataset, dict(head.topic_ids), declaration.hash, grammar.SALT)
    by_id = declaration.dedupe == "by_id"
    seen = yield from seen_ids(ports.ledger, store, history if by_id else NoIds(), identity, head)
    yield "seen"
    driver = Driver(declaration, ports, seen, writer, head)
    current = ports.ledger.current()
    tail = _tail(driver, current)
    _merge(driver, generations, current, tail)
    yield "merged"
    _bring_projections_up(driver, tail)
    ports.projections.settle()
    yield "projected"
    return driver


# ---- the seen ids ------------------------------------------------------------------------------------------------


class NoIds:
    """The history of a dataset declared `dedupe: none`: no id is ever kept."""

    def ids(self, rows: Sequence[LedgerRow]) -> Iterator[tuple[LedgerRow, list[bytes]]]:
        """Yield every row without ids."""
        return ((row, []) for row in rows)


def seen_ids(
    rows: Ledger, store: SeenStore, history: History, identity: Identity, head: LedgerRow
) -> Generator[str, None, SeenIds]:
    """Return the seen ids, whole through head: opened and caught up, or rebuilt when they cannot be trusted."""
    with suppress(SeenIdsRefused):
        seen = store.open(identity)
        try:
            _trust(rows, seen, head, history)
            yield from _catch_up(rows, seen, history, head)
        except SeenIdsRefused:
            seen.close()
        else:
            return seen
    fresh = store.rebuild(identity)
    yield from _catch_up(rows, fresh, history, head)
    _trust(rows, fresh, head, history)
    yield "rebuild"
    return store.adopt(fresh)


def _trust(rows: Ledger, seen: SeenIds, head: LedgerRow, history: History) -> None:
    """Check the whole store against the ledger: as many ids, with the same sum of hashes, up to `through_seq`."""
    through, current = seen.through_seq, rows.current()
    if through > head.seq:
        raise SeenIdsRefused(
            f"seen ids: expected through_seq at most {head.seq}, got {through}: an older ledger was restored"
        )
    forgotten = sorted(seq for seq in gaps.lost(rows.rows(through, head.seq)) if seq <= through)
    if forgotten:
        raise SeenIdsRefused(f"seen ids through seq {through}: hold those of seq {forgotten[0]}, which a gap gave up")
    row = head if through == head.seq else rows.rows(through - 1, through)[0]
    # as of a row before the declaration changed this is no number of anything: such a file is refused, and built anew
    sums = counts(row, current)
    wanted = (0, 0) if isinstance(history, NoIds) or not through else (sums.get("good", 0), sums.get("fp", 0))
    if seen.scan() != wanted:
        raise SeenIdsRefused(
            f"seen ids through seq {through}: expected (count, sum) {wanted} as in the ledger, got {seen.scan()}"
        )


def _catch_up(rows: Ledger, seen: SeenIds, history: History, head: LedgerRow) -> Iterator[str]:
    """Put the ids of the missing rows, seq by seq, each checked against its ledger row.

    A row that another declaration counted says nothing of what counts now; those up to head are checked together.
    """
    missing = rows.rows(seen.through_seq, head.seq)
    lost = gaps.lost(missing)  # their records are gone, and so are their ids
    read = iter(history.ids([row for row in missing if row.seq not in lost]))
    for row in missing:
        distinct = [] if row.seq in lost else sorted(set(next(read)[1]))
        known = seen.known(distinct)
        fresh = [i for i in distinct if i not in known]
        expected = (0, 0) if row.seq in lost or isinstance(history, NoIds) else (row.good, row.fp)
        ours = row.definition in {"", head.definition}
        if ours and (len(fresh), ledger.fp_of(fresh)) != expected:
            raise SeenIdsRefused(
                f"seen ids: ledger seq {row.seq}: expected {row.good} new ids with fingerprint {row.fp}, "
                f"got {len(fresh)} with {ledger.fp_of(fresh)}"
            )
        seen.put(row.seq, fresh)
        yield "catchup"
    if any(row.definition not in {"", head.definition} for row in missing):
        _trust(rows, seen, head, history)


# ---- the merged views --------------------------------------------------------------------------------------------


def _tail(driver: Driver, current: Current) -> dict[str, list[Fragment]]:
    """Return the fragments after the cut, per finest view, each seq checked against its ledger row.

    Raises
    ------
    Gap
        Fragments of a row are not all there.
    """
    rows = driver.ports.ledger.rows(current.cut_seq, driver.head.seq)
    lost = gaps.lost(rows)
    rows = [row for row in rows if row.seq not in lost]
    tail = {}
    for spec in driver.declaration.fragment_views:
        tail[spec.name] = driver.ports.fragments.read(spec, rows)
        broken = views.not_whole(spec.name, rows, tail[spec.name])
        if broken:
            raise Gap(
                f"{driver.declaration.dataset}: {spec.name}: expected the fragments of ledger seq {broken[0]} to {broken[-1]} "
                f"to add up to the ledger's counts, got fewer: they have expired; run `braid batch {driver.declaration.dataset}`, "
                "whose generation covers them, then `braid up`"
            )
    return tail


def _merge(driver: Driver, generations: Generations, current: Current, tail: dict[str, list[Fragment]]) -> None:
    for spec in driver.declaration.fragment_views:
        base = generations.view(current, spec)
        driver.merged[spec.name] = views.answer(base, tail[spec.name], current.cut_seq, driver.head.seq)
    for spec in driver.declaration.views:
        fine = driver.declaration.finest(spec)
        if spec.name != fine.name:
            driver.merged[spec.name] = views.coarsen(driver.merged[fine.name], fine, spec)


def _bring_projections_up(driver: Driver, tail: dict[str, list[Fragment]]) -> None:
    """Write again what head's micro-batch changed: every earlier one was projected before the next was committed.

    When head's fragments are not in the tail (a generation covers them, or head is no micro-batch) all rows are. Behind
    gap rows the newest micro-batch's alerts are, too.
    """
    head, passed = driver.head, _since_micro(driver)
    if passed[0].kind == "definition":  # the readable rows are of the declaration before
        driver.ports.projections.truncate()
    _remove_lost(driver, sorted(gaps.lost(passed)))
    last = {
        name: {(f.window_start_us, f.key): f.state for f in part if f.seq == head.seq} for name, part in tail.items()
    }
    alerts = driver.ports.alerts.read([row for row in passed if row.kind == "micro"])
    changed = {}
    for spec in driver.declaration.views:
        fine = driver.declaration.finest(spec)
        whole = driver.merged[spec.name]
        part = microbatch.states_of(spec, fine, last[fine.name])
        changed[spec.name] = {place: whole[place] for place in part} if any(last.values()) else whole
    microbatch.project(driver, changed, alerts)


def _since_micro(driver: Driver) -> list[LedgerRow]:
    """Return the newest rows back to a micro-batch: a crash behind its commit may have left it unprojected.

    Or back to the row by which the declaration changed: what was before it is projected no more.
    """
    rows = [driver.head]
    while rows[0].kind not in {"micro", "definition"} and rows[0].seq > 0:
        rows = [*driver.ports.ledger.rows(rows[0].seq - 2, rows[0].seq - 1), *rows]
    return rows


def _remove_lost(driver: Driver, lost: Sequence[int]) -> None:
    """Take away the readable rows that only lost micro-batches had made; alerts stay: they were judged when they came."""
    rows = driver.ports.ledger.rows(lost[0] - 1, lost[-1]) if lost else []
    rows = [row for row in rows if row.seq in lost and row.kind == "micro"]
    if not rows:
        return
    touched = {v.name: driver.ports.fragments.read(v, rows) for v in driver.declaration.fragment_views}
    for spec in driver.declaration.views:
        fine = driver.declaration.finest(spec)
        states = views.merge_views({(f.window_start_us, f.key): f.state} for f in touched[fine.name])
        vanished = microbatch.states_of(spec, fine, states).keys() - driver.merged[spec.name].keys()
        driver.ports.projections.remove(spec, driver.head.seq, sorted(vanished))
