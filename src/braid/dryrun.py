"""What would become of records: each judged as the engine judges it, nothing sent and nothing stored.

A record is good, a copy, or a dead letter, by the same rules and in the same order as in the speed layer: the record
first, its id second. What the views would hold is counted by the reference fold over the good ones. So a dry run over a
whole log says what the log would be worth; over a part of it, what that part is by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from braid import records, views
from braid.declaration import Declaration, Topic
from braid.records import DeadLetter, Event

_TOGETHER = 5_000  # events folded at once


@dataclass(slots=True)
class Reason:
    """Why records would be set aside: how many, and the first of them, where it stands and what it is."""

    reason: str
    count: int
    place: str
    sample: str


@dataclass(frozen=True, slots=True)
class Held:
    """What a view would hold: so many keys, windows and rows of both, of so many events."""

    view: str
    keys: int
    windows: int
    rows: int
    events: int


class DryRun:
    """A run over some records.

    Parameters
    ----------
    declaration : the rules
    """

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        self.good = 0
        self.copies = 0
        self.dead = 0
        self._reasons: dict[str, Reason] = {}
        self._seen: set[tuple[int, int]] = set()
        self._places: dict[str, set[tuple[int, views.Key]]] = {v.name: set() for v in declaration.views}
        self._events: dict[str, int] = dict.fromkeys(self._places, 0)
        self._waiting: dict[str, list[Event]] = {}

    @property
    def records(self) -> int:
        """How many records were looked at."""
        return self.good + self.copies + self.dead

    def take(self, topic: Topic, place: str, raw: bytes | None, append_us: int) -> None:
        """Judge one record, as if appended at `append_us` (microseconds UTC); `place` names it."""
        verdict = records.parse(topic, raw, append_us)
        if isinstance(verdict, DeadLetter):
            self.refuse(place, verdict.reason, (raw or b"").decode("utf-8", "backslashreplace"))
            return
        identity = (verdict.id64, verdict.salted64)
        if self.declaration.dedupe == "by_id":
            if identity in self._seen:
                self.copies += 1
                return
            self._seen.add(identity)
        self.good += 1
        waiting = self._waiting.setdefault(topic.name, [])
        waiting.append(verdict)
        if len(waiting) >= _TOGETHER:
            self._fold(topic.name)

    def refuse(self, place: str, reason: str, sample: str) -> None:
        """Count a record that is set aside; of each reason the first is kept."""
        self.dead += 1
        self._reasons.setdefault(reason, Reason(reason, 0, place, sample)).count += 1

    def _fold(self, topic: str) -> None:
        events = self._waiting.pop(topic, [])
        for spec in self.declaration.views:
            if topic in spec.topics:
                states = views.fold(replace(spec, measures=()), events)  # what is measured changes no count
                self._places[spec.name].update(states)
                self._events[spec.name] += sum(state.n for state in states.values())

    def reasons(self) -> list[Reason]:
        """Return why records would be set aside, the most frequent reason first."""
        return sorted(self._reasons.values(), key=lambda r: (-r.count, r.reason))

    def held(self) -> list[Held]:
        """Return what each view would hold, in declared order."""
        for topic in list(self._waiting):
            self._fold(topic)
        return [
            Held(name, len({key for _, key in at}), len({start for start, _ in at}), len(at), self._events[name])
            for name, at in self._places.items()
        ]
