"""`braid generations` and `braid rollback`: what was published and how it was audited, and the way back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braid.errors import UsageError
from cli.output import Json, progress, show, show_json, show_table

if TYPE_CHECKING:
    from batch_layer.publish import Stores
    from batch_layer.rollback import Listed
    from braid.adapters.files import Publication
    from cli.held import Held

_COLUMNS = ["generation", "state", "cut at seq", "published", "records", "rows", "audit"]


@dataclass(frozen=True, slots=True)
class Open:
    """A dataset, and where its generations are."""

    held: "Held"
    stores: "Stores"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(generations)
    app.command()(rollback)


def generations(
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    show_gen: Annotated[int | None, typer.Option("--show", help="The audit report of this generation.")] = None,
    as_json: Json = False,
) -> None:
    """List what was published: cut, size, and what the audit compared; served, kept, removed or left."""
    from batch_layer import rollback as back

    with _open(dataset) as here:
        current = here.stores.ledger.current()
        found = back.listed(here.stores, current)
    if show_gen is not None:
        _show_one(dataset, found, show_gen, as_json)
    elif as_json:
        show_json({"dataset": dataset, "served": current.gen, "generations": [words(one) for one in found]})
    elif found:
        show_table(f"{dataset}: generation {current.gen} is served", _COLUMNS, [_row(one) for one in found])
    else:
        progress(f"{dataset}: nothing has been published yet; braid batch {dataset}")


def rollback(
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    to: Annotated[int | None, typer.Option("--to", help="The generation; by default the one served before.")] = None,
    as_json: Json = False,
) -> None:
    """Serve an older generation again; refused when what came after its cut is no longer whole."""
    from batch_layer import rollback as back
    from braid.adapters import lock

    with (
        _open(dataset) as here,
        lock.exclusive(here.held.settings.home / "batch" / dataset / "lock", f"batch {dataset}"),
    ):
        served = here.stores.ledger.current()
        declaration = here.held.declaration
        for step in back.steps(here.stores, declaration, here.held.stores.fragments, served, to):
            progress(f"{dataset}: {step}")
        current = here.stores.ledger.current()
    if as_json:
        show_json({"dataset": dataset, "from": served.gen, "to": current.gen, "cut_seq": current.cut_seq})
    else:
        show(
            f"{dataset}: generation {current.gen} is served, cut at ledger seq {current.cut_seq}; "
            f"{served.gen} was left. The next batch publishes a new number over all records."
        )


@contextmanager
def _open(dataset: str) -> Iterator[Open]:
    from batch_layer.publish import Stores
    from braid.adapters import hive
    from braid.adapters.clock import SystemClock
    from braid.adapters.files import FileGenerations
    from cli.held import held

    with held(dataset) as found, hive.connect(found.settings) as connection:
        files = FileGenerations(found.settings.warehouse_dir, found.declaration)
        catalogue = hive.HiveCatalogue(connection, found.declaration)
        yield Open(found, Stores(files, catalogue, found.stores.ledger, SystemClock()))


def words(one: "Listed") -> dict[str, Any]:
    """Return one generation as JSON's words, its audit report with it."""
    from braid.instants import iso

    current = one.publication.plain()["current"]
    return {
        "generation": current["gen"],
        "state": one.state,
        "previous": one.publication.previous,
        "cut_seq": current["cut_seq"],
        "cut": current["cut"],
        "published_at": iso(current["published_at_us"]),
        "definition": current["definition"],
        "records": one.publication.records,
        "audit": current["audit"],
    }


def _row(one: "Listed") -> list[str]:
    told = words(one)
    rows = sum(view["rows"] for view in told["audit"]["views"].values())
    cells = (told["generation"], one.state, told["cut_seq"], told["published_at"], f"{told['records']:,}", f"{rows:,}")
    return [*map(str, cells), _audit(one.publication)]


def _audit(publication: "Publication") -> str:
    audit = publication.plain()["current"]["audit"]
    spans = [f"seq {u['seq']} to {u['through']} by counts: {u['reason']}" for u in audit["unaudited"]]
    return "; ".join([f"{audit['checked']:,} micro-batches equal", *spans])


def _show_one(dataset: str, found: "list[Listed]", gen: int, as_json: bool) -> None:
    one = next((one for one in found if one.publication.current.gen == gen), None)
    if one is None:
        known = ", ".join(str(each.publication.current.gen) for each in found) or "none"
        raise UsageError(f"generations: expected one of {known}, got {gen}; see `braid generations {dataset}`")
    told = words(one)
    if as_json:
        show_json(told)
        return
    show(
        f"{dataset}: generation {gen}, {one.state}; cut at ledger seq {told['cut_seq']}, published {told['published_at']}"
    )
    show(f"{told['records']:,} records; after generation {told['previous']}; declaration {told['definition'][:12]}")
    rows = [
        [name, f"{v['rows']:,}", f"{v['n']:,}", str(v["fp"]), v["digest"]] for name, v in told["audit"]["views"].items()
    ]
    show_table("", ["view", "rows", "n", "fp", "sha256 of its states"], rows)
    show(f"audit: {_audit(one.publication)}")
