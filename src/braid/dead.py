"""Dead letters as people work with them: places, reasons and rules, and what a record would be today.

A record is set aside for good: its verdict is a function of its bytes, its append time and the declaration that was in
force. What brings an event back is a *new* record with the same bytes, sent again: it has its own place, is judged by
the declaration in force now, and when it is good it counts once, for the old one was never counted. Both stay in the
log, one dead and one good, so offsets covered = good + copies + dead + absent holds as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from braid import grammar, records
from braid.declaration import Declaration, Field, Topic
from braid.errors import UsageError
from braid.gaps import RECREATED, Accepted
from braid.ledger import Offsets
from braid.ports import DeadLetterRow

SHOWN_BYTES = 4096  # how much of a record the store of dead letters keeps


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a record stands: `topic:partition:offset`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Return it as commands take it."""
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Reason:
    """How many records were set aside for one reason, and the newest of them."""

    topic: str
    reason: str
    count: int
    newest: DeadLetterRow


def place_of(letter: DeadLetterRow) -> Place:
    """Return where a dead letter stands."""
    return Place(letter.topic, letter.partition, letter.offset)


def place(text: str) -> Place:
    """Return a place from its text.

    Raises
    ------
    UsageError
        Another form.

    Examples
    --------
    >>> place("image-events:2:1042")
    Place(topic='image-events', partition=2, offset=1042)
    """
    head, _, offset = text.rpartition(":")
    topic, _, partition = head.rpartition(":")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise UsageError(f"expected a place topic:partition:offset, such as orders:2:1042, got {text!r}")
    return Place(topic, int(partition), int(offset))


def visible(letters: Iterable[DeadLetterRow], end: Offsets, gaps: Iterable[Accepted]) -> list[DeadLetterRow]:
    """Return the dead letters that the ledger covers, newest append time first.

    Parameters
    ----------
    end : of head
    gaps : every accepted one: letters of a topic that was deleted stand at offsets of their own
    """
    anew: dict[str, int] = {}
    for gap in gaps:
        anew |= {x.topic: gap.committed_at_us for x in gap.losses if x.reason == RECREATED}
    found = (d for d in letters if d.offset < end.get((d.topic, d.partition), 0) or d.append_us < anew.get(d.topic, 0))
    return sorted(found, key=lambda d: (-d.append_us, d.topic, d.partition, -d.offset))


def by_reason(letters: Iterable[DeadLetterRow]) -> list[Reason]:
    """Return the reasons, the most frequent first.

    Parameters
    ----------
    letters : the newest first
    """
    held: dict[tuple[str, str], list[DeadLetterRow]] = {}
    for letter in letters:
        held.setdefault((letter.topic, letter.reason), []).append(letter)
    found = (Reason(topic, reason, len(some), some[0]) for (topic, reason), some in held.items())
    return sorted(found, key=lambda r: (-r.count, r.topic, r.reason))


def rule(topic: Topic, reason: str) -> tuple[str | None, str]:
    """Return (field, the rule that it broke) for a reason; the field is None when the whole document is meant.

    Examples
    --------
    >>> from braid.declaration import EventTime, Field, Topic
    >>> rides = Topic("rides", {"fare": Field("fare", "decimal", 2, min=0)}, ("fare",), EventTime(None))
    >>> rule(rides, "$.fare: missing")
    ('fare', 'a decimal of scale 2, at least 0')
    >>> rule(rides, "duplicate keys")
    (None, 'a record is one JSON object by docs/records.md, section 1')
    """
    name = reason.removeprefix("$.").partition(":")[0] if reason.startswith("$.") else ""
    held = next((field for field in topic.fields.values() if field.member == name), None)
    if held is None:
        return name or None, "a record is one JSON object by docs/records.md, section 1"
    if topic.event_time.field == held.name and reason == grammar.future(held):
        return held.name, "a time at most 5 minutes after the record's append time"
    return held.name, _declared(held)


def _declared(field: Field) -> str:
    words = [f"a {field.type}" if field.type != "integer" else "an integer"]
    if field.type == "decimal":
        words[0] += f" of scale {field.scale}"
    words += [f"at least {field.min}"] * (field.min is not None) + [f"at most {field.max}"] * (field.max is not None)
    if field.type == "string":
        words.append(f"at most {field.max_length} bytes")
    if field.values:
        words.append(f"one of {', '.join(field.values)}")
    return ", ".join([*words, *(["optional"] if field.optional else [])])


def verdict(declaration: Declaration, topic: str, raw: bytes | None, append_us: int) -> str | None:
    """Return why a record would be set aside if it were appended at `append_us`; None when it would be good."""
    found = records.parse(declaration.topic(topic), raw, append_us)
    return found.reason if isinstance(found, records.DeadLetter) else None


def places(letters: Iterable[DeadLetterRow]) -> Mapping[Place, DeadLetterRow]:
    """Return dead letters by place; of one place under two topics of a name, the newest.

    Parameters
    ----------
    letters : the newest first
    """
    held: dict[Place, DeadLetterRow] = {}
    for letter in letters:
        held.setdefault(place_of(letter), letter)
    return held
