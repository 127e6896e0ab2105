"""`braid explain`: where the rows of an answer came from, or what became of one event."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braid.errors import UsageError
from cli.output import Json, progress, show, show_json, show_table

if TYPE_CHECKING:
    from braid.settings import Settings
    from verify.events import Sighting

MOST_SEQS = 12  # named in a row of the table; --json has them all


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(explain)


def explain(
    what: Annotated[
        list[str],
        typer.Argument(help="The URL of an answer; or an event's id, field by field; or topic:partition:offset."),
    ],
    dataset: Annotated[str, typer.Option(help="The event's dataset; needed when there are several.")] = "",
    as_json: Json = False,
) -> None:
    """Show which generation and seqs made each row of an answer, or why an event is or is not counted."""
    from braid.adapters.environment import load

    if len(what) == 1 and "://" in what[0]:
        _answer(what[0], as_json)
    elif not _event(load(), dataset, what, as_json):
        raise typer.Exit(1)


def _answer(url: str, as_json: bool) -> None:
    from cli.verify import asked

    body, _ = asked(url, explain="merge")
    rows: list[dict[str, Any]] = body["data"] if isinstance(body, dict) else body
    if as_json:
        show_json(rows)
        return
    keys = [
        name
        for name in (rows[0] if rows else {})
        if name not in {"explain", "n", "window_end"} and isinstance(rows[0][name], str)
    ]
    columns = [*keys, "n", "from the generation", "from fragments (seq: events)"]
    show_table(
        "", columns, [[*(str(row[k]) for k in keys), f"{row['n']:,}", *_sources(row["explain"])] for row in rows]
    )
    show(f"{len(rows)} rows")


def _sources(merged: dict[str, Any]) -> tuple[str, str]:
    base, parts = merged["generation"], merged["fragments"]
    more = f" and {len(parts) - MOST_SEQS} more" if len(parts) > MOST_SEQS else ""
    told = ", ".join(f"{part['seq']}: {part['n']:,}" for part in parts[-MOST_SEQS:])
    return (f"{base['n']:,} (generation {base['generation']}, cut seq {base['cut_seq']})" if base else "none"), (
        told or "none"
    ) + more


def _event(settings: "Settings", dataset: str, words: list[str], as_json: bool) -> bool:
    """Show every record of an event; return whether there is one."""
    from braid.declaration_reader import load_all
    from verify.events import find
    from verify.world import opened

    known = list(load_all(settings.root / "datasets"))
    if not dataset and len(known) != 1:
        raise UsageError(f"explain: expected --dataset, one of {', '.join(known)}, got none")
    progress("searching the master and Kafka")
    with opened(settings, dataset or known[0]) as world:
        found = find(world, words)
    if as_json:
        show_json([asdict(one) for one in found])
    else:
        for one in found:
            _show(one)
        show(f"{len(found)} records" if found else f"no record of {' '.join(words)} in the master or in Kafka")
    return bool(found)


def _show(one: "Sighting") -> None:
    from braid.instants import iso

    row = "after head" if one.seq is None else f"seq {one.seq}"
    show(
        f"{one.topic}:{one.partition} offset {one.offset}, {row}, appended {iso(one.append_us)}: {one.verdict}: {one.why}"
    )
    for place in one.places:
        show(f"    {place}")
