"""`braid check`: a declaration tried on records before anything is sent, stored or counted."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braid.errors import DeclarationError, UsageError
from cli.output import Json, progress, show, show_json, show_table

if TYPE_CHECKING:
    from braid.declaration import Declaration, Topic
    from braid.dryrun import DryRun
    from braid.settings import Settings
    from cli.samples import Records, Rows

MOST = 1_000_000
_SHOWN = 70  # characters of a record in the table
_EVERY = 50_000  # records between two lines of progress


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(check)


def check(
    name: Annotated[str, typer.Argument(help="A dataset, or the path of a declaration.")],
    source: Annotated[
        str,
        typer.Option(
            "--from", help="Records: .csv, .jsonl, .parquet, a folder of CSV files, or a Kafka topic (data/NAME)."
        ),
    ] = "",
    topic: Annotated[
        str, typer.Option("--topic", help="The declared topic whose rules hold, when there are several.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Records at most; of a topic, the newest.")] = MOST,
    as_json: Json = False,
) -> None:
    """Read a declaration and try it on records: good, copies, dead letters by reason, what views hold. Exits 1 on any dead."""
    from braid.adapters.clock import SystemClock
    from braid.adapters.environment import load
    from braid.dryrun import DryRun
    from cli.samples import opened

    settings, now_us = load(), SystemClock().now_us()
    declared = declaration(settings, name)
    places = _places(settings, declared, topic, source)
    if not places:
        _say_read(declared, as_json)
        return
    done, labels = DryRun(declared), []
    for place, known in places:
        found = opened(settings, place, limit, now_us)
        rules = known or _rules(declared, found)
        labels.append(found.label)
        _say_unsent(rules, found)
        before = done.records
        run(done, rules, found, now_us)
        if done.records - before == limit:
            progress(f"{found.label}: stopped after {limit:,} records; --limit takes more")
    if as_json:
        show_json(facts(done, labels))
    else:
        _show(done, labels)
    if done.dead:
        raise typer.Exit(1)


def _places(settings: "Settings", declared: "Declaration", topic: str, source: str) -> "list[tuple[str, Topic | None]]":
    """Return where to read what: a folder is looked through as the producer looks through data/NAME."""
    from producer.plan import folder_of

    known = {one.name: one for one in declared.topics}
    if topic and topic not in known:
        raise UsageError(f"check: expected --topic, one of {', '.join(known)}, got {topic!r}")
    if source and not Path(source).is_dir():
        return [(source, known.get(topic))]
    own = Path(source) if source else settings.root / "data" / declared.dataset
    found: list[tuple[str, Topic | None]] = []
    for rules in [known[topic]] if topic else declared.topics:
        folder = folder_of(own, rules)
        if not folder.is_dir() or (folder == own and len(known) > 1 and not topic):
            continue  # of several topics, each has a folder of its own, or --topic says whose files these are
        found.append((str(folder), rules))
    if source and not found:
        raise UsageError(f"check: {source}: expected folders of the names {', '.join(known)}, or --topic, got neither")
    return found


def declaration(settings: "Settings", name: str) -> "Declaration":
    """Return a declaration by its dataset's name, or by its path.

    Raises
    ------
    DeclarationError
        It cannot be used: line, key, expected, got.
    UnknownDataset
        There is none of that name.
    """
    from braid.declaration_reader import load
    from producer.plan import declared

    if "/" in name or name.endswith((".yaml", ".yml")):
        return load(Path(name))
    found = declared(settings.root / "datasets", name)
    if found.dataset != name:
        raise DeclarationError(
            f"datasets/{name}.yaml: $.dataset: expected '{name}' like the file, got '{found.dataset}'"
        )
    return found


def _say_read(declared: "Declaration", as_json: bool) -> None:
    """Say that a declaration is one; without records there is no more to say."""
    if as_json:
        show_json({"dataset": declared.dataset, "sources": [], "records": 0})
    else:
        topics, views = (", ".join(one.name for one in some) for some in (declared.topics, declared.views))
        show(f"{declared.dataset}: a declaration of topic {topics} and views {views}")
    progress(f"tried on no record: there is no data/{declared.dataset}; name some with --from FILE or TOPIC")


def _rules(declared: "Declaration", found: "Rows | Records") -> "Topic":
    """Return the topic whose rules hold for records of which nobody said it."""
    from cli.samples import Records

    known = {one.name: one for one in declared.topics}
    name = found.topic if isinstance(found, Records) and found.topic else ""
    if name not in known and len(known) > 1:
        raise UsageError(f"check: expected --topic, one of {', '.join(known)}, got none")
    return known.get(name) or declared.topics[0]


def _say_unsent(topic: "Topic", source: "Rows | Records") -> None:
    """Say what of a table is no part of any record."""
    from cli.samples import Rows

    if not isinstance(source, Rows):
        return
    unused = [name for name in source.data.file_of if name not in topic.fields]
    if unused:
        progress(f"columns that no field takes, so they are not sent: {', '.join(unused)}")
    for line in source.data.ignored:
        progress(f"not sent: {line}")


def run(done: "DryRun", topic: "Topic", source: "Rows | Records", now_us: int) -> None:
    """Try records: rows of a table as the producer would send them, others as they are."""
    from cli.samples import Rows

    if isinstance(source, Rows):
        _rows(done, topic, source, now_us)
        return
    for one in source.records:
        done.take(topic, one.place, one.raw, one.append_us)
        _count(done)


def _count(done: "DryRun") -> None:
    if done.records % _EVERY == 0:
        progress(f"{done.records:,} records")


def _rows(done: "DryRun", topic: "Topic", source: "Rows", now_us: int) -> None:
    """Try rows: what the producer refuses to send counts as dead, for sent by anybody else it would be."""
    from producer.options import DEFAULT_EVERY_US, DEFAULT_START_US
    from producer.sources import THE_FILE_HAS, Timeline, events, made_field
    from producer.tables import Refusal

    def refused(one: "Refusal") -> None:
        reason, _, cell = one.reason.partition(THE_FILE_HAS)
        done.refuse(f"{one.file}:{one.line}", f"$.{one.column}: {reason}" if one.column else reason, cell)
        _count(done)

    data = source.data
    made = made_field(topic, data)
    timeline = Timeline(DEFAULT_START_US, DEFAULT_EVERY_US) if made else Timeline(now_us, 0)
    for event in events(topic, data, timeline, end=len(data.rows), refused=refused):
        row = data.rows[event.position]
        file, line = ("", 0) if isinstance(row, Refusal) else next(iter(row.lines.items()))
        done.take(topic, f"{file}:{line}", event.value, max(now_us, event.event_us))
        _count(done)


def facts(done: "DryRun", labels: list[str]) -> dict[str, Any]:
    """Return what became of the records, as JSON holds it."""
    return {
        "dataset": done.declaration.dataset,
        "sources": labels,
        "records": done.records,
        "good": done.good,
        "copies": done.copies,
        "dead": done.dead,
        "reasons": [asdict(reason) for reason in done.reasons()],
        "views": [asdict(held) for held in done.held()],
    }


def _show(done: "DryRun", labels: list[str]) -> None:
    show(
        f"{', '.join(labels)}: {done.records:,} records: {done.good:,} good, {done.copies:,} copies, {done.dead:,} dead letters"
    )
    if done.dead:
        rows = [[r.reason, f"{r.count:,}", r.place, _preview(r.sample)] for r in done.reasons()]
        show_table("would be set aside", ["reason", "records", "the first", "what it holds"], rows)
    views = [[h.view, f"{h.keys:,}", f"{h.windows:,}", f"{h.rows:,}", f"{h.events:,}"] for h in done.held()]
    show_table("the views would hold", ["view", "keys", "windows", "rows", "events"], views)


def _preview(text: str) -> str:
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: _SHOWN + 1])
    return plain if len(text) <= _SHOWN else plain[: _SHOWN - 1] + "…"
