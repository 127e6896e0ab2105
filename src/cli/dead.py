"""`braid dead`: records that were set aside, why, their whole bytes, and sending them again."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braid.errors import UsageError
from cli.output import Json, progress, show, show_json, show_table
from cli.times import instant

if TYPE_CHECKING:
    from braid.adapters.kafka import KafkaLog
    from braid.dead import Place
    from braid.ports import DeadLetterRow
    from cli.held import Held
    from producer.replay import Bytes, Replayed

_PREVIEW = 60  # characters of a record in the list
Dataset = Annotated[str, typer.Argument(help="The dataset.")]
Since = Annotated[str, typer.Option("--since", help="An instant (2026-01-31T12:00:00Z), or now-1h (s, m, h, d).")]
OfReason = Annotated[str, typer.Option("--reason", help="Only reasons that contain this text.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    dead = typer.Typer(help="Records that were set aside: list them, show one, send them again.", no_args_is_help=True)
    dead.command("list")(list_)
    dead.command("show")(show_)
    dead.command("replay")(replay)
    app.add_typer(dead, name="dead")


def list_(
    dataset: Dataset,
    reason: OfReason = "",
    since: Since = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many records to list, newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """Count dead letters by reason, and list the newest."""
    from braid import dead
    from braid.generations import counts
    from cli.held import held

    with held(dataset) as here:
        letters = _letters(here, reason, since)
        current = here.stores.ledger.current()
        total = counts(here.stores.ledger.head(), current).get("dead", 0)
    reasons = dead.by_reason(letters)
    if as_json:
        show_json({
            "dataset": dataset, "dead": total, "listed": len(letters),
            "reasons": [{"topic": r.topic, "reason": r.reason, "count": r.count, "newest": _words(r.newest)} for r in reasons],
            "letters": [_words(letter) for letter in letters[:limit]],
        })  # fmt: skip
        return
    rows = [[r.topic, r.reason, f"{r.count:,}", str(dead.place_of(r.newest))] for r in reasons]
    show_table(f"{dataset}: dead letters by reason", ["topic", "reason", "records", "newest"], rows)
    some = [[str(dead.place_of(d)), _appended(d), d.reason, _preview(d.raw)] for d in letters[:limit]]
    if some:
        show_table(f"the newest {len(some)} of {len(letters):,}", ["place", "appended", "reason", "record"], some)
    progress(f"{dataset}: {total:,} dead letters in all; those of the last 30 days are listed")


def show_(
    dataset: Dataset,
    position: Annotated[str, typer.Argument(help="topic:partition:offset")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the bytes, as they are.")] = False,
    as_json: Json = False,
) -> None:
    """Show one record: its whole bytes, why it was set aside, and what it would be today."""
    from braid import dead
    from braid.adapters import kafka
    from braid.adapters.clock import SystemClock
    from braid.adapters.raw import whole
    from braid.instants import iso
    from cli.held import held

    place = dead.place(position)
    with held(dataset) as here, kafka.KafkaLog(here.settings.kafka_bootstrap) as log:
        _check_topic(here, place)
        letter = dead.places(_letters(here, "", "")).get(place)
        found = whole(here.settings, log, dataset, place, letter.append_us if letter else None)
        topic = here.declaration.topic(place.topic)
    if raw:
        sys.stdout.buffer.write(found.value or b"")
        return
    then = (
        letter.reason
        if letter
        else found.reason or dead.verdict(here.declaration, place.topic, found.value, found.append_us)
    )
    now = dead.verdict(here.declaration, place.topic, found.value, SystemClock().now_us())
    field, rule = dead.rule(topic, then) if then else (None, "")
    told = {
        "place": str(place), "appended_at": iso(found.append_us), "source": found.source, "key": _text(found.key),
        "bytes": len(found.value or b""), "reason": then, "field": field, "rule": rule or None, "now": now, "raw": _text(found.value),
    }  # fmt: skip
    if as_json:
        show_json(told)
        return
    show(f"{place}, appended {told['appended_at']}, {told['bytes']:,} bytes from {found.source}")
    show(f"reason: {then or 'none: this record is a good one'}")
    if then:
        show(f"rule:   {f'{field} is ' if field else ''}{rule}")
        show(f"now:    {'good: braid dead replay sends it again' if now is None else f'still bad: {now}'}")
    show(str(told["raw"]))


def replay(
    dataset: Dataset,
    positions: Annotated[list[str] | None, typer.Argument(help="topic:partition:offset, any number.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
    reason: OfReason = "",
    since: Since = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be sent; send nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Send what would be set aside again, too.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Send what was sent before, too.")] = False,
    as_json: Json = False,
) -> None:
    """Send dead letters again, as new records of the same bytes; those that would be set aside again stay."""
    from braid.adapters import kafka
    from braid.adapters.clock import SystemClock
    from braid.adapters.kafka_producer import EventProducer
    from cli.held import held
    from producer.replay import Journal
    from producer.replay import replay as run

    if bool(positions) + every + bool(reason) != 1:
        raise UsageError("dead replay: expected places, --reason or --all, one of them")
    with held(dataset) as here, kafka.KafkaLog(here.settings.kafka_bootstrap) as log:
        letters = _chosen(here, log, positions or [], reason, since)
        journal = Journal(here.settings.home / "dead" / dataset)
        sender = nullcontext() if dry_run else EventProducer(here.settings.kafka_bootstrap, linger_ms=0)
        found = []
        with sender as producer:
            for one in run(
                here.declaration, letters, lambda d: _bytes(here, log, d), producer, journal, SystemClock(),
                force=force, again=again,
            ):  # fmt: skip
                found.append(one)
                if len(found) % 1000 == 0:
                    progress(f"{dataset}: {len(found):,} of {len(letters):,}")
    _tell(dataset, found, as_json)


def _tell(dataset: str, found: "Sequence[Replayed]", as_json: bool) -> None:
    counts = {
        outcome: sum(one.outcome == outcome for one in found) for outcome in dict.fromkeys(o.outcome for o in found)
    }
    if as_json:
        show_json({"dataset": dataset, "counts": counts, "letters": [one.as_dict() for one in found]})
    elif found:
        rows = [[str(one.place), one.reason, one.outcome, one.sent_to or one.now or ""] for one in found]
        show_table(f"{dataset}: dead letters sent again", ["place", "reason", "outcome", "new place, or why not"], rows)
    progress(
        f"{dataset}: "
        + (", ".join(f"{n:,} {outcome}" for outcome, n in counts.items()) or "no dead letter of that kind")
    )


def _letters(here: "Held", reason: str, since: str) -> "list[DeadLetterRow]":
    from braid import dead, gaps

    head = here.stores.ledger.head()
    found = here.stores.dead_letters.since(instant("--since", since) if since else 0)
    seen = dead.visible(found, head.end, gaps.through(here.stores.ledger, head))
    return [letter for letter in seen if reason in letter.reason]


def _chosen(here: "Held", log: "KafkaLog", positions: Sequence[str], reason: str, since: str) -> "list[DeadLetterRow]":
    from braid import dead

    letters = _letters(here, reason, since)
    if not positions:
        return letters
    held = dead.places(letters)
    return [held.get(place) or _older(here, log, place) for place in map(dead.place, positions)]


def _older(here: "Held", log: "KafkaLog", place: "Place") -> "DeadLetterRow":
    """Return a dead letter that is no longer in Cassandra, from its record."""
    from braid import dead
    from braid.adapters.raw import whole
    from braid.ports import DeadLetterRow

    _check_topic(here, place)
    found = whole(here.settings, log, here.declaration.dataset, place)
    reason = found.reason or dead.verdict(here.declaration, place.topic, found.value, found.append_us)
    if reason is None:
        raise UsageError(f"{place}: expected a dead letter, got a good record: it is counted, or a copy of one that is")
    shown = (found.value or b"")[: dead.SHOWN_BYTES]
    return DeadLetterRow(place.topic, place.partition, place.offset, found.append_us, reason, shown)


def _bytes(here: "Held", log: "KafkaLog", letter: "DeadLetterRow") -> "Bytes":
    from braid import dead
    from braid.adapters.raw import whole
    from producer.replay import Bytes

    if len(letter.raw) < dead.SHOWN_BYTES:
        return Bytes(None, letter.raw)  # it is whole; only longer ones have to be looked up
    found = whole(here.settings, log, here.declaration.dataset, dead.place_of(letter), letter.append_us)
    return Bytes(found.key, found.value)


def _check_topic(here: "Held", place: "Place") -> None:
    topics = [topic.name for topic in here.declaration.topics]
    if place.topic not in topics:
        raise UsageError(f"{place}: expected a topic of {here.declaration.dataset}, one of {', '.join(topics)}")


def _words(letter: "DeadLetterRow") -> dict[str, Any]:
    from braid import dead

    return {
        "place": str(dead.place_of(letter)),
        "appended_at": _appended(letter),
        "reason": letter.reason,
        "raw": _text(letter.raw),
        "whole": len(letter.raw) < dead.SHOWN_BYTES,
    }


def _appended(letter: "DeadLetterRow") -> str:
    from braid.instants import iso

    return iso(letter.append_us)


def _preview(raw: bytes) -> str:
    text = _text(raw[: 4 * _PREVIEW]) or ""
    return text if len(text) <= _PREVIEW else text[: _PREVIEW - 1] + "…"


def _text(raw: bytes | None) -> str | None:
    """Return bytes as text that a terminal cannot be confused by: what is no printable UTF-8 is escaped."""
    if raw is None:
        return None
    return "".join(_printable(raw.decode("utf-8", "backslashreplace")))


def _printable(text: str) -> Iterator[str]:
    for sign in text:
        yield sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode()
