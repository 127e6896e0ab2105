"""Applying a changed declaration: the stream stops, the new one counts everything anew, and takes the old one's place at once.

`steps` is a generator that yields the name of each step when it is done, as a batch run does; a test stops after any of them,
which is a crash, and runs again.

    stopped ─► defined ─► a batch run: read, archive …, views, audited, written, partition_added, published, served, tidied
            ─► built ─► tables ─► dropped ─► started

The order is the protocol. The definition row goes into the ledger first (`braid.change` says what it does): from there on a
driver of the old declaration loses every race, and none of the new one starts, because no generation covers the row. The
batch run reads all records again, by the new declaration's rules, and publishes by the same compare-and-set as ever; until
that the old generation and its tail answer, up to the row. Only when nobody reads by the old declaration any more are tables
of another shape dropped and made anew. The readable rows are written again by the stream's own start, which empties them
first as long as no micro-batch of the new declaration is there.

Each step looks at the stores before it does anything, so running it all again finishes what was begun, wherever it ended.
To give up half-way is to apply again what was in force before: one more row, and again a generation that covers it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from batch_layer import archive
from batch_layer.audit import Counts
from braid import change, definitions
from braid.adapters.master import Master
from braid.declaration import Declaration
from braid.errors import AuditFailed, BeingApplied, ChangeRefused
from braid.ledger import LedgerRow
from braid.ports import Catalogue, Clock, Ledger, Log, Tables


class Stream(Protocol):
    """The speed layer of the dataset, whoever keeps it."""

    def stop(self) -> None:
        """Stop it, and see to it that none runs until `start`; raises when one does all the same."""
        ...

    def start(self) -> None:
        """Let it run again."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The world of one dataset whose declaration changes.

    Attributes
    ----------
    build : runs a batch to its end, yielding its steps
    """

    ledger: Ledger
    tables: Tables
    catalogue: Catalogue
    stream: Stream
    clock: Clock
    build: Callable[[], Iterator[str]]


def steps(ports: Ports, new: Declaration, writer: str) -> Iterator[str]:
    """Bring a declaration into force, yielding the name of each step when it is done; safe to run again.

    Parameters
    ----------
    new : Declaration, as its file has it
    writer : unique to this process

    Raises
    ------
    ChangeRefused
        It cannot take the place of the one in force; nothing was done.
    LostRace
        Somebody moved the ledger's head meanwhile: run it again.
    BraidError
        Whatever the batch run raised: the old declaration goes on answering up to the definition row.
    """
    current = ports.ledger.current()  # before head, as every reader does
    head = ports.ledger.head()
    held = definitions.in_force(ports.ledger, head)
    refused = tuple(change.refusals(held, new))
    if refused:
        raise ChangeRefused(f"{held.dataset}: {'; '.join(refused)}; nothing was changed")
    if head.definition != new.hash or change.pending(head, current):
        ports.stream.stop()
        yield "stopped"
        head = ports.ledger.head()  # read again: the stream may have gone on until it ended
    if head.definition != new.hash:
        head = change.row_of(head, new, writer, ports.clock.now_us())
        ports.ledger.append(head)
        yield "defined"
    if change.pending(head, ports.ledger.current()):
        yield from ports.build()
    head = ports.ledger.head()
    if change.pending(head, ports.ledger.current()) or head.definition != new.hash:
        raise BeingApplied(f"{new.dataset}: {change.remedy(new.dataset, head)}")
    yield "built"
    earlier = definitions.earlier(ports.ledger, head)
    ports.tables.change(earlier, new)
    yield "tables"
    names = {view.name for view in new.views}
    for view in {view.name: view for one in earlier for view in one.views if view.name not in names}.values():
        ports.catalogue.drop(view)
    yield "dropped"
    ports.stream.start()
    yield "started"


def check(log: Log, master: Master, ledger: Ledger) -> None:
    """Check that every record can be read again, before anything is done.

    Raises
    ------
    Gap
        Kafka no longer holds records that are not archived.
    MasterRefused
        The archive is not what was archived.
    """
    head, cuts = ledger.head(), master.cuts()
    rows = ledger.rows(cuts[-1].seq if cuts else 0, head.seq)
    if rows:
        archive.check_held(rows, log, definitions.in_force(ledger, head))


def base(declaration: Declaration, head: LedgerRow, whole: Counts) -> Mapping[str, int]:
    """Return what the ledger's running sums lack of a declaration's own counts, where it has just come into force.

    Parameters
    ----------
    head : the ledger row up to which everything was counted again
    whole : what was found

    Raises
    ------
    AuditFailed
        Not as many records were read as the ledger counted: one declaration or another, they are the same.
    """
    copies = whole.records - whole.good - whole.dead
    found = {"good": whole.good, "copies": copies, "dead": whole.dead}
    expected = sum(head.totals.get(name, 0) for name in found)
    if whole.records != expected:
        raise AuditFailed(
            f"{declaration.dataset}: up to ledger seq {head.seq}: expected {expected} records to count again, got "
            f"{whole.records}; nothing was published: compare the master and the topic with the ledger"
        )
    lacking = {name: count - head.totals.get(name, 0) for name, count in found.items()}
    return lacking | {"fp": (whole.fp - head.totals.get("fp", 0)) % (1 << 64)}
