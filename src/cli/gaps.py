"""`braid accept-gap`: see what of a log is gone, and go on without it. Nothing is given up unless a person says so."""

import os
import socket
import sys
import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braid.errors import UsageError
from cli.output import Json, progress, show, show_json, show_table

if TYPE_CHECKING:
    from braid.ledger import LedgerRow
    from cli.held import Held

_COLUMNS = ["topic", "partition", "from offset", "to", "records", "why"]
_FINAL = (
    "Accepting is final. What is listed above will be in no answer; every later answer names it under `gaps`, and is "
    "complete again with the next generation."
)


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("accept-gap")(accept_gap)


def accept_gap(
    dataset: Annotated[str, typer.Argument(help="The dataset whose log lacks records.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Show which records are gone before they could be counted or archived, and go on without them.

    Exits 0 when nothing is missing or the gap was accepted, 1 when it was not.
    """
    from braid.adapters import kafka, lock
    from braid.adapters.clock import SystemClock
    from braid.adapters.master import Master
    from cli.held import held
    from speed_layer import accept

    writer = f"accept-gap:{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    with (
        held(dataset) as here,
        kafka.KafkaLog(here.settings.kafka_bootstrap) as log,
        # a batch that archives meanwhile would change what is lost
        lock.exclusive(here.settings.home / "batch" / dataset / "lock", f"batch {dataset}"),
    ):
        cuts = Master(here.settings.warehouse_dir, dataset).cuts()
        row = accept.offer(log, here.stores.ledger, cuts[-1].seq if cuts else 0, writer, SystemClock().now_us())
        if row is not None and not as_json:
            _show(dataset, row)
        accepted = row is not None and (yes or _confirmed(dataset, as_json))
        if row is not None and accepted:
            here.stores.ledger.append(row)
    _tell(here, row, accepted, as_json)


def words(dataset: str, row: "LedgerRow | None", accepted: bool) -> dict[str, Any]:
    """Return what is lost as JSON's words; `records` is None when it cannot be known."""
    from braid import gaps

    if row is None:
        return {"dataset": dataset, "missing": [], "lost_rows": [], "records": 0, "accepted": False}
    gap = gaps.accepted(row)
    counts = [loss.records for loss in gap.losses]
    return {
        "dataset": dataset,
        "seq": row.seq,
        "missing": gaps.as_dicts([gap]),
        "lost_rows": [list(span) for span in gap.lost],
        "records": None if None in counts else sum(c for c in counts if c is not None),
        "accepted": accepted,
    }


def _show(dataset: str, row: "LedgerRow") -> None:
    from braid import gaps

    gap = gaps.accepted(row)
    rows = [
        [x.topic, str(x.partition), str(x.start), *_extent(x.end, x.records), x.reason] for x in gap.losses
    ]  # fmt: skip
    show_table(f"{dataset}: gone from the log after ledger seq {row.seq - 1}", _COLUMNS, rows)
    for first, last in gap.lost:
        show(f"ledger seq {first} to {last} had been counted, not archived: they are given up whole")
    show(_FINAL)


def _extent(end: int | None, records: int | None) -> tuple[str, str]:
    return ("?", "unknown: the topic is gone") if end is None or records is None else (str(end), f"{records:,}")


def _confirmed(dataset: str, as_json: bool) -> bool:
    if as_json:
        return False
    if not sys.stdin.isatty():
        raise UsageError("accept-gap: records are given up for good; confirm with --yes")
    typed: str = typer.prompt(f"Type the dataset's name to accept the gap ({dataset})", default="", show_default=False)
    return typed.strip() == dataset


def _tell(here: "Held", row: "LedgerRow | None", accepted: bool, as_json: bool) -> None:
    dataset = here.declaration.dataset
    if as_json:
        show_json(words(dataset, row, accepted))
    if row is None:
        progress(f"{dataset}: nothing is missing: the log still holds all that is to be counted and archived")
    elif accepted:
        progress(f"{dataset}: gap accepted as ledger seq {row.seq}; start the stream again: braid up")
    else:
        progress(f"{dataset}: not accepted; nothing was changed" + ("; accept it with --yes" if as_json else ""))
        raise typer.Exit(1)
