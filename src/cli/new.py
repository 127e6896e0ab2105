"""`braid new`: a declaration drafted from samples, for a person to make their own."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braid.errors import UsageError
from cli.output import progress

if TYPE_CHECKING:
    from braid.draft import Draft
    from braid.settings import Settings
    from cli.samples import Found, Records, Rows

SAMPLES = 10_000


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(new)


def new(
    name: Annotated[str, typer.Argument(help="The dataset's name: lower-case letters, digits, single underscores.")],
    source: Annotated[
        str,
        typer.Option("--from", help="Samples: .csv, .jsonl or .parquet, a folder of CSV files, or a Kafka topic."),
    ],
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many records to look at.")] = SAMPLES,
    out: Annotated[str, typer.Option("--out", help="Where to write it; - for stdout (datasets/NAME.yaml).")] = "",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
) -> None:
    """Draft a dataset's declaration from samples: types, id, event time, views, alerts. Says what it guessed."""
    from braid.adapters.clock import SystemClock
    from braid.adapters.environment import load
    from braid.draft import draft
    from cli.samples import Records, opened, samples

    settings = load()
    path = Path(out) if out else settings.root / "datasets" / f"{name}.yaml"
    if out != "-":
        _check_free(path, force)
    now_us = SystemClock().now_us()
    found = opened(settings, source, limit, now_us)
    some, records, unreadable = samples(found, now_us)
    progress(f"{found.label}: {len(some):,} records" + (f"; {unreadable:,} more cannot be read" if unreadable else ""))
    topic = found.topic if isinstance(found, Records) and found.topic else f"{name.replace('_', '-')}-events"
    made = draft(name, topic, some, found.label, typed=found.typed)
    _write(out, path, made.text)
    for line in made.told:
        progress(f"  {line}")
    _say_checked(made, found, records, now_us)
    _say_what_next(settings, name, source, out, path, made, found)


def _check_free(path: Path, force: bool) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"new: expected a folder {path.parent}, got none")
    if path.exists() and not force:
        raise UsageError(f"new: {path} exists; --force writes over it, --out PATH writes elsewhere")


def _write(out: str, path: Path, text: str) -> None:
    if out == "-":
        sys.stdout.write(text)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"new: expected to write {path}, got {error}; --out names another file") from error


def _say_checked(made: "Draft", found: "Rows | Records", records: "list[Found]", now_us: int) -> None:
    from braid.dryrun import DryRun
    from cli.check import run
    from cli.samples import Records

    done = DryRun(made.declaration)
    run(done, made.declaration.topics[0], Records(found.label, iter(records)) if records else found, now_us)
    progress(f"of these samples {done.good:,} are good, {done.copies:,} copies, {done.dead:,} dead letters")


def _say_what_next(
    settings: "Settings", name: str, source: str, out: str, path: Path, made: "Draft", found: "Rows | Records"
) -> None:
    from cli.samples import Rows

    if out == "-":
        return
    what = shlex.quote(source)
    own = path.parent.absolute() == (settings.root / "datasets").absolute()
    progress(f"wrote {path}; read it, then:")
    progress(f"  braid check {name if own else shlex.quote(str(path))} --from {what}")
    progress(
        "  braid up" if own else f"  mv {shlex.quote(str(path))} {settings.root / 'datasets'}/{name}.yaml && braid up"
    )
    if isinstance(found, Rows):
        progress(f"  braid produce {name} --data {what} --limit all --rate 1000")
    elif found.topic is None:
        progress(f"  send its records to topic {made.declaration.topics[0].name}, with any producer: docs/own_data.md")
    progress("  make cql        (when you commit it: the tables as text, beside the declaration)")
