"""One batch run, from the ledger's head to a served generation.

`steps` is a generator that yields the name of each step when it is done. `spark_batch.py` runs through them; a test
stops after any of them, which is a crash, and runs again.

    read ─► archive: parquet, before_manifest, before_rename, after_rename ─► views ─► audited
         ─► publish: written, partition_added (one a view), published, served, tidied
         ─► of each published topic: messages_written, messages_noted, messages_moved (one a file), messages_finished, messages

Nothing is believed because it is there: the cuts of the master continue one another and end where the ledger says,
their files have the recorded sums, and what is published was compared with what the speed layer counted. A served
generation whose files were damaged is made anew, even when nothing came since.

A run is *incremental* when the served generation can be added to: it reads the records that came since, leaves out those
whose id counted before (`braid.adapters.ids`), and adds what is left to the parts of the views that it touches. Every other
run is *full* and reads everything. Both come to the same generation, sum by sum; `batch_layer.onto` says which it is, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pyspark.sql import SparkSession

from batch_layer import apply, archive, onto, publish
from batch_layer.archive import Read
from batch_layer.audit import audit
from batch_layer.publish import Built, Stores
from batch_layer.recompute import incremental, recompute
from braid import generations, ledger
from braid.adapters.master import Cut, Master
from braid.declaration import Declaration
from braid.definitions import in_force
from braid.errors import CutPassedHead, MasterRefused
from braid.generations import Audited
from braid.ledger import Current, LedgerRow
from braid.ports import Fragments, Log


@dataclass(frozen=True, slots=True)
class Ports:
    """The world of one dataset's batch layer.

    Attributes
    ----------
    spark : starts Spark when it is first called: a run with nothing to do needs none
    read : returns the records of a range as a frame
    messages : archives what came to the published topics since, step by step, given the declaration in force
    """

    log: Log
    stores: Stores
    fragments: Fragments
    master: Master
    spark: Callable[[], SparkSession]
    read: Read
    messages: Callable[[Report, Declaration], Iterator[str]] = lambda *_: iter(())


@dataclass(slots=True)
class Report:
    """What a run did, filled in as it goes.

    Attributes
    ----------
    note : a few words on the step just done
    archived, records : records added to the master by this run, and all it holds
    mode, why : whether all records were read or those that came since the served generation, and what decided that
    read : how many records the views were computed from
    gen, cut_seq : the generation served at the end, and its cut
    messages : how many were archived now, by published topic
    """

    dataset: str = ""
    note: str = ""
    published: bool = False
    gen: int = 0
    cut_seq: int = 0
    archived: int = 0
    records: int = 0
    mode: Literal["", "incremental", "full"] = ""
    why: str = ""
    read: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    audited: Audited = field(default_factory=Audited)
    repaired: list[str] = field(default_factory=list)
    messages: dict[str, int] = field(default_factory=dict)


def steps(ports: Ports, report: Report, *, force: bool = False, full: bool = False) -> Iterator[str]:
    """Run one batch, yielding the name of each step when it is done.

    Parameters
    ----------
    report : filled in step by step
    force : publish a generation even when nothing came since the served one
    full : read all records again, and publish what comes out, whatever came since

    Raises
    ------
    Gap, MasterRefused, AuditFailed, LostRace, StoreUnavailable
        The served generation stays.
    """
    head, served = ports.stores.ledger.head(), ports.stores.ledger.current()
    declaration = in_force(ports.stores.ledger, head)
    report.dataset, report.gen, report.cut_seq = declaration.dataset, served.gen, served.cut_seq
    if head.seq < served.cut_seq:
        raise CutPassedHead(
            f"{declaration.dataset}: generation {served.gen}: expected its cut, seq {served.cut_seq}, at or before head, "
            f"got head seq {head.seq}; the ledger is older than the generation: restore both from one backup"
        )
    damage = ports.stores.files.damage(served.gen) if served.gen else None
    new = head.seq > served.cut_seq or served.definition != declaration.hash or damage is not None
    report.note = f"ledger seq {head.seq}, generation {served.gen} covers seq {served.cut_seq}" + (
        f"; made anew: {damage}" if damage else ""
    )
    yield "read"
    cuts = yield from archived(ports, report, declaration, head)
    if damage is None:
        report.repaired = publish.repair(ports.stores, declaration, served)
    if not (new or force or full):
        yield from ports.messages(report, declaration)
        report.note = "nothing new"
        yield "nothing new"
        return
    why = "asked for" if full else f"made anew: {damage}" if damage else ""
    why = why or onto.unfit(ports.stores, declaration, cuts, head, served)
    built = yield from _build(ports, report, declaration, cuts, head, served, why)
    current = yield from _publish(ports, report, declaration, built, served)
    made = ports.stores.files.manifest(current.gen)
    report.rows = {spec.name: made.views[spec.name].sums.rows for spec in declaration.views}
    report.published, report.gen, report.cut_seq = True, current.gen, current.cut_seq
    yield from ports.messages(report, declaration)


def archived(
    ports: Ports, report: Report, declaration: Declaration, head: LedgerRow
) -> Generator[str, None, list[Cut]]:
    """Bring the master up to head; return its cuts, from the first on."""
    store, master = ports.stores.ledger, ports.master
    cuts = master.cuts()
    if cuts:
        _check_ends(ports, cuts, head)
    after = cuts[-1].seq if cuts else 0
    if after < head.seq:
        rows = store.rows(after - 1, head.seq)
        ledger.check_chain(rows)
        rows = rows[1:]
        archive.check_held(rows, ports.log, declaration)
        writing = archive.steps(ports.spark(), declaration, rows, master, ports.read)
        report.note = f"seq {after + 1} to {head.seq}: {sum(r.range.size - r.absent for r in rows):,} records"
        cut = yield from writing
        cuts.append(cut)
        report.archived = cut.records
    report.records = sum(cut.records for cut in cuts)
    return cuts


def _check_ends(ports: Ports, cuts: list[Cut], head: LedgerRow) -> None:
    """Check the first cut against genesis and the newest against its ledger row; the chain holds those between."""
    store, first, last = ports.stores.ledger, cuts[0], cuts[-1]
    genesis = store.rows(-1, 0)[0]
    if any(first.start.get(place) != offset for place, offset in genesis.end.items()):
        raise MasterRefused(
            f"{ports.master.path / first.folder}: expected to start at {ledger.text_of(genesis.end)} like genesis, "
            f"got {ledger.text_of(first.start)}; it belongs to another ledger: move the master aside"
        )
    if last.seq > head.seq:
        raise MasterRefused(
            f"{ports.master.path / last.folder}: expected a seq up to head, {head.seq}, got {last.seq}; the ledger is older "
            "than the master: restore both from one backup, or move the later folders aside: they are archived again"
        )
    ports.master.check_ledger(last, store.rows(last.seq - 1, last.seq)[0])


def _build(
    ports: Ports, report: Report, declaration: Declaration, cuts: list[Cut], head: LedgerRow, served: Current, why: str
) -> Generator[str, None, Built]:
    """Compute the views, or what is to be added to them, and hold it against the speed layer's.

    Parameters
    ----------
    why : str, why all records must be read; empty when those after the served cut will do
    """
    known = None
    if not why:
        known, why = onto.known(ports.stores, ports.master, ports.spark, declaration, cuts, served)
    report.mode, report.why = ("full", why) if why else ("incremental", f"onto generation {served.gen}")
    read = cuts if why else [cut for cut in cuts if cut.seq > served.cut_seq]
    checked = ports.master.check_files(read)
    if why:
        changed = served.definition != declaration.hash
        result = recompute(ports.spark(), declaration, ports.master, cuts, served.cut_seq, whole=changed)
    else:
        result = incremental(ports.spark(), declaration, ports.master, cuts, served.cut_seq, known)
    report.read = sum(cut.records for cut in read)
    rows_of = ", ".join(f"{name} {len(view):,} rows" for name, view in result.states.items())
    report.note = f"{report.mode} ({report.why}): {report.read:,} of {result.records:,} records, {checked / 1e6:,.1f} MB: {rows_of}"
    yield "views"
    rows = ports.stores.ledger.rows(served.cut_seq, head.seq)
    report.audited = audit(declaration, rows, result.own, ports.fragments)
    unaudited = [f"{u.seq}–{u.through} {u.reason}" for u in report.audited.unaudited]
    report.note = f"{report.audited.checked:,} micro-batches equal" + "".join(
        f"; unaudited: {text}" for text in unaudited
    )
    yield "audited"
    base = generations.base_of(served) if result.whole is None else apply.base(declaration, head, result.whole)
    return Built(head, tuple(cut.folder for cut in cuts), result, report.audited, base)


def _publish(
    ports: Ports, report: Report, declaration: Declaration, built: Built, served: Current
) -> Generator[str, None, Current]:
    report.note = f"up to seq {built.head.seq}"
    return (yield from publish.steps(ports.stores, declaration, built, served))


def run(
    ports: Ports, *, force: bool = False, full: bool = False, said: Callable[[str, Report], Any] = lambda *_: None
) -> Report:
    """Run one batch to its end; `said` is called after each step."""
    report = Report()
    for step in steps(ports, report, force=force, full=full):
        said(step, report)
    return report
