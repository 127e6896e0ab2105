"""One event, followed: where its records lie in the log, which of them counts and where, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from braid import gaps, records, windows
from braid.adapters.kafka import KafkaLog, between
from braid.declaration import Declaration, Topic
from braid.instants import iso
from braid.ledger import LedgerRow
from braid.records import Event
from verify import odd
from verify.search import Record, containing
from verify.world import World

Position = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One record of an event.

    Attributes
    ----------
    verdict : counted, copy, dead, waiting (after head), lost (in a gap)
    seq : the ledger row that covers it, None after head
    why : for people: of which record it is a copy, why it is dead
    places : of a counted one, each view with the window, the keys and where its number stands
    """

    topic: str
    partition: int
    offset: int
    append_us: int
    seq: int | None
    verdict: str
    why: str
    places: tuple[str, ...] = ()
    identity: tuple[str | int | None, ...] = field(default=())


def find(world: World, words: Sequence[str]) -> list[Sighting]:
    """Return every record of an event, in ledger order.

    Parameters
    ----------
    words : the fields of its id, in declared order, from the first on (fewer find every event that begins so); or one
        word `topic:partition:offset`

    Raises
    ------
    MasterRefused, Gap, StoreUnavailable
        The log cannot be read.
    """
    current = world.stores.ledger.current()
    rows = world.stores.ledger.rows(-1, world.stores.ledger.head().seq)
    declaration = world.declared(rows[-1].definition, rows)
    position = _position(declaration, words)
    found = [
        sighting
        for topic in declaration.topics
        for record in _candidates(world, topic, words, position)
        if (sighting := _sighting(topic, record, rows, words, position)) is not None
    ]
    if position is not None and (named := next((s for s in found if s.identity), None)):
        return find(world, _words_of(declaration.topic(position[0]), named))
    ordered = sorted(found, key=lambda s: (s.seq is None, s.seq, s.topic, s.partition, s.offset))
    return list(_judged(declaration, ordered, current.gen, current.cut_seq, world))


def _position(declaration: Declaration, words: Sequence[str]) -> Position | None:
    topic, _, rest = words[0].rpartition(":")
    name, _, partition = topic.rpartition(":")
    known = name in {t.name for t in declaration.topics} and partition.isdecimal() and rest.isdecimal()
    return (name, int(partition), int(rest)) if known and len(words) == 1 else None


def _words_of(topic: Topic, sighting: Sighting) -> list[str]:
    """Return the words that find an event again, from the id that one of its records has."""
    pairs = zip(topic.event_id, sighting.identity, strict=True)
    return [
        iso(value) if topic.fields[name].type == "time" and isinstance(value, int) else str(value)
        for name, value in pairs
    ]


def _candidates(world: World, topic: Topic, words: Sequence[str], position: Position | None) -> Iterator[Record]:
    texts = [w for name, w in zip(topic.event_id, words, strict=False) if topic.fields[name].type == "string"]
    cuts = world.master.cuts()
    yield from containing(world.master.files(cuts, topic.name), texts if position is None else [], position)
    with KafkaLog(world.settings.kafka_bootstrap) as log:
        first, last = log.earliest([topic.name]), log.latest([topic.name])
    start = {p: max(first[p], cuts[-1].end.get(p, 0) if cuts else 0) for p in last}
    for name, some in between(world.settings.kafka_bootstrap, start, last):
        for r in some:
            at = (name, r.partition, r.offset)
            raw = r.value or b""
            here = at == position if position else b"\\" in raw or all(t.encode() in raw for t in texts)
            if here:
                yield Record(name, r.partition, r.offset, r.append_us, r.value)


def _sighting(
    topic: Topic, record: Record, rows: Sequence[LedgerRow], words: Sequence[str], position: Position | None
) -> Sighting | None:
    """Return a record as far as it alone tells, None when it is of another event."""
    read = records.parse(topic, record.raw, record.append_us)
    row = next((r for r in rows if _covers(r, record)), None)
    seq = row.seq if row else None
    at = (record.topic, record.partition, record.offset)
    if isinstance(read, Event):
        identity = tuple(read.values[name] for name in topic.event_id)
        if position is None and not _is(topic, identity, words):
            return None
        return Sighting(*at, record.append_us, seq, "counted", "", _windows(read, topic), identity)
    if position is None and not any(f'"{word}"'.encode() in (record.raw or b"") for word in words):
        return None
    return Sighting(*at, record.append_us, seq, "dead", read.reason)


def _covers(row: LedgerRow, record: Record) -> bool:
    place = (record.topic, record.partition)
    return row.range.start.get(place, 0) <= record.offset < row.range.end.get(place, 0)


def _is(topic: Topic, identity: Sequence[str | int | None], words: Sequence[str]) -> bool:
    for name, value, word in zip(topic.event_id, identity, words, strict=False):
        declared = topic.fields[name]
        if declared.type == "time":
            wanted: str | int | None = odd.moment(word, topic.event_time.zone)
        else:
            wanted = word if declared.type == "string" else odd.number(declared, word)
        if value != wanted:
            return False
    return True


def _windows(event: Event, topic: Topic) -> tuple[str, ...]:
    """Return what of the event the views need: its time and its keys, one JSON-like text a field."""
    return (iso(event.event_us), *(f"{name} {event.values[name]!r}" for name in topic.columns))


def _judged(
    declaration: Declaration, found: Sequence[Sighting], gen: int, cut_seq: int, world: World
) -> Iterator[Sighting]:
    """Yield each record with its verdict among the others of its event."""
    rows = {row.seq: row for row in world.stores.ledger.rows(-1, max((s.seq or 0 for s in found), default=0))}
    lost = gaps.lost(list(rows.values()))
    first: dict[tuple[object, ...], Sighting] = {}
    for s in found:
        if s.verdict == "dead":
            yield replace(s, why=s.why if s.seq is not None else f"{s.why} (after head)")
        elif s.seq is not None and (rows[s.seq].kind == "gap" or s.seq in lost):
            yield replace(s, verdict="lost", why=f"ledger seq {s.seq} was given up by an accepted gap", places=())
        elif (earlier := first.get((s.topic, *s.identity))) and declaration.dedupe == "by_id":
            where = f"{earlier.topic}:{earlier.partition} offset {earlier.offset}"
            yield replace(s, verdict="copy", why=f"of {where}, which is first in ledger order and counts", places=())
        elif s.seq is None:
            yield replace(s, verdict="waiting", why=f"after head, seq {max(rows)}: not counted yet", places=())
        else:
            first[s.topic, *s.identity] = s
            side = f"generation {gen} (cut seq {cut_seq})" if s.seq <= cut_seq else f"the tail, fragment of seq {s.seq}"
            yield replace(s, why=f"counts once, in {side}", places=_places(declaration, s))


def _places(declaration: Declaration, s: Sighting) -> tuple[str, ...]:
    topic, (time, *pairs) = declaration.topic(s.topic), s.places
    held = dict(zip(topic.columns, pairs, strict=True))
    found = []
    for view in declaration.views:
        if s.topic in view.topics:
            start = windows.start_us(odd.instant(time, "UTC"), view.window_us)
            window = f"window {iso(start)}" if view.window_us else "all time"
            found.append(f"{view.name}: {window}, {', '.join(held[column] for column in view.by)}")
    return tuple(found)
