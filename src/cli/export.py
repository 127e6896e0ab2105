"""`braid export`: the master as files that any Parquet, Avro or CSV tool reads."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braid.errors import UnknownDataset, UsageError
from cli.output import Json, progress, show, show_json, show_table
from cli.times import instant

if TYPE_CHECKING:
    from braid.declaration import Declaration
    from braid.settings import Settings
    from export.run import Summary

FORMATS = ("avro", "csv", "parquet")
_COLUMNS = ["topic", "records", "dead letters", "files", "MB"]


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(export)


def export(
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    as_format: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")] = "parquet",
    out: Annotated[Path | None, typer.Option(help="The folder; by default export/DATASET/FORMAT.")] = None,
    from_: Annotated[
        str, typer.Option("--from", help="Only records appended since: 2026-01-31T12:00:00Z, or now-1h (s, m, h, d).")
    ] = "",
    to: Annotated[str, typer.Option("--to", help="Only records appended before.")] = "",
    as_json: Json = False,
) -> None:
    """Write every archived record as files by topic and hour of append time. Running it again adds what is new."""
    from braid.adapters import lock
    from braid.adapters.environment import load
    from braid.adapters.master import Master
    from export import run
    from export.folder import Folder, Wanted

    if as_format not in FORMATS:
        raise UsageError(f"--format: expected one of {', '.join(FORMATS)}, got {as_format!r}")
    settings = load()
    folder = Folder(out or Path("export") / dataset / as_format)
    wanted = Wanted(
        dataset, as_format, instant("--from", from_) if from_ else None, instant("--to", to) if to else None
    )
    master, declared = Master(settings.warehouse_dir, dataset), _declarations(settings, dataset)
    folder.check(wanted)
    with lock.exclusive(folder.kept / "lock", f"export into {folder.path}"):
        steps = run.steps(master, declared, folder, wanted)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                summary: Summary = end.value
                break
            if step.startswith("cut="):
                progress(f"{dataset}: {step}")
    if as_json:
        show_json(summary.plain() | {"folder": str(folder.path)})
    elif not summary.through_seq:
        progress(f"{dataset}: nothing has been archived yet; braid batch {dataset}")
    else:
        _show(summary, folder.path)


def _show(summary: "Summary", folder: Path) -> None:
    from export.run import told

    rows = [
        [topic, f"{n:,}", f"{summary.dead[topic]:,}", f"{summary.files[topic]:,}", f"{summary.bytes[topic] / 1e6:,.1f}"]
        for topic, n in sorted(summary.records.items())
    ]
    show_table(f"{summary.wanted.dataset}: {folder}", _COLUMNS, rows)
    show(told(summary))


def _declarations(settings: "Settings", dataset: str) -> "Callable[[str], Declaration]":
    """Return how the declaration of a hash is found: in its file, else, for an older one, in the ledger."""
    from braid.declaration_reader import load_all
    from braid.errors import MasterRefused

    known = load_all(settings.root / "datasets")
    if dataset not in known:
        raise UnknownDataset(f"expected a dataset, one of {', '.join(known)}, got {dataset!r}")
    found = {known[dataset].hash: known[dataset]}

    def declared(definition: str) -> "Declaration":
        if definition not in found:
            found.update(_in_ledger(dataset))
        if definition not in found:
            raise MasterRefused(
                f"{dataset}: expected the declaration {definition[:12]} of an archived cut in datasets/ or in the "
                "ledger, got it in neither; restore the ledger from a backup that holds it"
            )
        return found[definition]

    return declared


def _in_ledger(dataset: str) -> "dict[str, Declaration]":
    from braid.declaration_reader import parse
    from cli.held import held

    progress(f"{dataset}: some records were archived under an earlier declaration; reading it from the ledger")
    with held(dataset) as here:
        rows = here.stores.ledger.rows(-1, here.stores.ledger.head().seq)
    found = (parse(row.text, where=f"ledger seq {row.seq}") for row in rows if row.text and row.kind != "gap")
    return {declaration.hash: declaration for declaration in found}
