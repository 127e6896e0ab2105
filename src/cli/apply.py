"""`braid plan` and `braid apply`: what a changed declaration would change and cost, and bringing it into force."""

import os
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from braid.errors import BraidError, ChangeRefused, UsageError
from cli.held import created
from cli.output import Json, progress, show, show_json, show_table
from cli.streams import Stream

if TYPE_CHECKING:
    from braid.adapters.cassandra import Cassandra, Stores
    from braid.adapters.master import Master
    from braid.change import Cost, Plan
    from braid.declaration import Declaration
    from braid.ledger import Current, LedgerRow
    from braid.settings import Settings

_COLUMNS = ["part", "", "what", "numbers"]
_MEGA = 1e6


@dataclass(frozen=True, slots=True)
class Found:
    """A dataset as its ledger has it, and its declaration as the file has it."""

    settings: "Settings"
    declared: "Declaration"
    in_force: "Declaration"
    store: "Cassandra"
    stores: "Stores"
    master: "Master"
    current: "Current"
    head: "LedgerRow"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(plan)
    app.command()(apply)


def plan(
    dataset: Annotated[str, typer.Argument(help="The dataset whose file has changed.")],
    as_json: Json = False,
) -> None:
    """Show what datasets/DATASET.yaml would change of the declaration in force, and what applying it would cost.

    Exits 0, 1 when it cannot be applied.
    """
    with _found(dataset) as here:
        told = _plan(here)
        price = _cost(here)
        if as_json:
            show_json(told.plain() | {"cost": asdict(price) | {"records": price.records} if told.needed else None})
        else:
            _show(told, price, here)
    if told.refusals:
        raise typer.Exit(1)


def apply(
    dataset: Annotated[str, typer.Argument(help="The dataset whose file has changed.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Bring datasets/DATASET.yaml into force: stop the stream, count everything anew, publish, start. Safe to run again."""
    from braid.adapters import failpoints

    with _found(dataset) as here:
        failpoints.arm(here.settings)
        told = _asked(here, yes, as_json)
        current, head = _applied(here, told)
    if as_json:
        show_json({
            "dataset": dataset, "applied": told.needed, "definition": here.declared.hash, "from": told.old,
            "generation": current.gen, "cut_seq": current.cut_seq, "seq": head.totals.get("definition", 0),
        })  # fmt: skip
    elif told.needed:
        show(f"{dataset}: {here.declared.hash[:12]} is in force; generation {current.gen} counts every event by it")
    else:
        show(f"{dataset}: nothing to apply: the file decides every number as the declaration in force does")


def _asked(here: Found, yes: bool, as_json: bool) -> "Plan":
    """Return what is to be applied, once it can be and a person wants it."""
    dataset, told = here.declared.dataset, _plan(here)
    if told.refusals:
        raise ChangeRefused(f"{dataset}: {'; '.join(told.refusals)}; nothing was changed")
    if told.needed and not as_json:
        _show(told, _cost(here), here)
    if told.needed and not yes and not _confirmed(dataset, as_json):
        progress(f"{dataset}: not applied; nothing was changed")
        raise typer.Exit(1)
    return told


def _applied(here: Found, told: "Plan") -> "tuple[Current, LedgerRow]":
    """Take every step; return what is served then, and head."""
    from batch_layer import apply as protocol
    from braid.adapters import hive, kafka
    from braid.adapters.clock import SystemClock

    with hive.connect(here.settings) as connection, ExitStack() as locks:
        if told.needed:
            with kafka.KafkaLog(here.settings.kafka_bootstrap) as log:
                protocol.check(log, here.master, here.stores.ledger)
        stream = Stream(here.settings, here.declared.dataset, locks, "braid apply")
        ports = protocol.Ports(
            here.stores.ledger, here.store, hive.HiveCatalogue(connection, here.declared), stream,
            SystemClock(), lambda: _build(here),
        )  # fmt: skip
        writer = f"apply:{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        _run(here.declared.dataset, protocol.steps(ports, here.declared, writer))
    return here.stores.ledger.current(), here.stores.ledger.head()


@contextmanager
def _found(dataset: str) -> Iterator[Found]:
    from braid.adapters.master import Master
    from braid.definitions import in_force

    with created(dataset) as (settings, declared, store):
        stores = store.stores(declared)
        current = stores.ledger.current()
        head = stores.ledger.head()
        master = Master(settings.warehouse_dir, dataset)
        yield Found(settings, declared, in_force(stores.ledger, head), store, stores, master, current, head)


def _plan(here: Found) -> "Plan":
    from braid import change

    return change.plan(here.in_force, here.declared, pending=change.pending(here.head, here.current))


def _cost(here: Found) -> "Cost":
    """Return what applying would cost, by the ledger, the manifests and the newest batch run."""
    from batch_layer.schedule import LAST, read
    from braid import change
    from braid.adapters.files import FileGenerations

    cuts = here.master.cuts()
    counted = sum(here.head.totals.get(name, 0) for name in ("good", "copies", "dead"))
    views = FileGenerations(here.settings.warehouse_dir, here.in_force).manifest(here.current.gen).views if here.current.gen else {}  # fmt: skip
    return change.cost(
        here.declared,
        counted=counted,
        archived=sum(cut.records for cut in cuts),
        master_bytes=sum(file.bytes for cut in cuts for file in cut.files.values()),
        rows={name: view.sums.rows for name, view in views.items()},
        generation_bytes=sum(part.file.bytes for view in views.values() for part in view.parts.values()),
        last=read(here.settings.home / "batch" / here.declared.dataset / LAST),
    )


def _show(told: "Plan", price: "Cost", here: Found) -> None:
    from braid import change

    if told.pending:
        show(f"{told.dataset}: {change.remedy(told.dataset, here.head)}")
    if told.differences:
        rows = [
            [d.part, d.what, d.text.removeprefix(f"{d.part}: "), "yes" if d.decides else "no"] for d in told.differences
        ]
        show_table(f"{told.dataset}: {told.old[:12]} in force, {told.new[:12]} in the file", _COLUMNS, rows)
    elif told.old != told.new:
        show(
            f"{told.dataset}: {told.old[:12]} in force, {told.new[:12]} in the file: the same entries, written otherwise"
        )
    for reason in told.refusals:
        show(f"cannot be applied: {reason}")
    if not told.needed:
        only = "only words, paths or the schedule differ; they are read from the file: restart the API to see them"
        show(f"{told.dataset}: nothing to apply: {only if told.differences else 'the file is in force as it is'}")
    elif not told.refusals:
        _show_cost(price)


def _show_cost(price: "Cost") -> None:
    show(
        f"to read again: {price.records:,} records ({price.archived:,} of the master, {price.master_bytes / _MEGA:,.1f} MB; "
        f"{price.unarchived:,} from Kafka)"
    )
    rows = ", ".join(f"{name} {rows:,} rows" for name, rows in price.rows.items()) or "nothing is published yet"
    show(f"views now: {rows}; {price.generation_bytes / _MEGA:,.1f} MB")
    disk = "not known yet" if price.disk_bytes is None else f"about {price.disk_bytes / _MEGA:,.1f} MB"
    took = "not known: no batch run was measured yet" if price.minutes is None else f"about {price.minutes:g} minutes"
    show(f"needed: disk {disk}; time {took}. The old declaration answers meanwhile; records wait in Kafka")


def _confirmed(dataset: str, as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        raise UsageError("apply: stops the stream and counts everything anew; confirm with --yes")
    typed: str = typer.prompt(f"Type the dataset's name to apply it ({dataset})", default="", show_default=False)
    return typed.strip() == dataset


def _run(dataset: str, steps: Iterator[str]) -> None:
    from braid.adapters import failpoints

    defined = False
    try:
        for step in steps:
            defined = defined or step == "defined"
            progress(f"{dataset}: {step}")
            failpoints.hit(f"apply.{step}")
    except BraidError:
        if defined:
            progress(
                f"{dataset}: the old declaration goes on answering, up to the definition row; `braid apply {dataset}` run again "
                "finishes; to give it up, put the old text back into the file and apply that"
            )
        raise


def _build(here: Found) -> Iterator[str]:
    """Run a batch in this process: it reads the definition row and counts everything by it."""
    from batch_layer.spark_batch import once

    summary = once(here.settings, here.declared)
    yield f"generation {summary['gen']} published" if summary["published"] else f"generation {summary['gen']} is served"
