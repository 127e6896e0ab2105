"""Dead letters sent again: the same bytes as a new record, and a journal of which went where.

The journal saves work and spares the log: what was sent once is not sent again. It is no guard of the numbers. Without
it a second replay makes copies, and a copy of an id counts once (but for a dataset declared `dedupe: none`, where every
record counts).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

from braid import dead
from braid.dead import Place
from braid.declaration import Declaration
from braid.ports import Clock, DeadLetterRow

JOURNAL = "replayed.jsonl"
Outcome = Literal["sent", "would be sent", "sent before", "still bad"]


class Sender(Protocol):
    """Sends one record and waits for its acknowledgement."""

    def delivered(self, topic: str, key: bytes | None, value: bytes | None) -> tuple[int, int]:
        """Return the partition and offset of the record."""
        ...


@dataclass(frozen=True, slots=True)
class Bytes:
    """A record's whole value, and its key where that is known."""

    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one dead letter.

    Attributes
    ----------
    reason : why it was set aside
    now : why it would be set aside today, None when it would be good
    sent_to : its new place, of records that were sent now or before
    """

    place: Place
    reason: str
    outcome: Outcome
    now: str | None = None
    sent_to: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Return it as JSON's words."""
        return asdict(self) | {"place": str(self.place)}


class Journal:
    """What was sent again from this home: one line of JSON each.

    Parameters
    ----------
    folder : `<home>/dead/<dataset>`
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL

    def read(self) -> dict[tuple[str, int], str]:
        """Return the new place by (old place, append time in microseconds UTC); a torn last line is passed over."""
        found = {}
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return {}
        for line in lines:
            try:
                told = json.loads(line)
                found[str(told["place"]), int(told["append_us"])] = str(told["sent_to"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def add(self, letter: DeadLetterRow, sent_to: str, now_us: int) -> None:
        """Note that a letter was sent again."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        told = {
            "place": str(dead.place_of(letter)), "append_us": letter.append_us, "sent_to": sent_to, "at_us": now_us,
        }  # fmt: skip
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")


def replay(
    declaration: Declaration,
    letters: Sequence[DeadLetterRow],
    whole: Callable[[DeadLetterRow], Bytes],
    sender: Sender | None,
    journal: Journal,
    clock: Clock,
    *,
    force: bool = False,
    again: bool = False,
) -> Iterator[Replayed]:
    """Send dead letters again, the oldest first, yielding what became of each.

    Parameters
    ----------
    declaration : in force: what judges the new records
    whole : returns the whole bytes of a letter
    sender : None for a dry run, which sends nothing
    force : send what would be set aside again, too
    again : send what the journal says was sent before, too
    """
    before = journal.read()
    for letter in sorted(letters, key=lambda d: (d.append_us, d.topic, d.partition, d.offset)):
        place = dead.place_of(letter)
        known = before.get((str(place), letter.append_us))
        if known is not None and not again:
            yield Replayed(place, letter.reason, "sent before", None, known)
            continue
        held = whole(letter)
        now = dead.verdict(declaration, letter.topic, held.value, clock.now_us())
        if now is not None and not force:
            yield Replayed(place, letter.reason, "still bad", now)
        elif sender is None:
            yield Replayed(place, letter.reason, "would be sent", now)
        else:
            partition, offset = sender.delivered(letter.topic, held.key, held.value)
            sent_to = str(Place(letter.topic, partition, offset))
            journal.add(letter, sent_to, clock.now_us())
            yield Replayed(place, letter.reason, "sent", now, sent_to)
