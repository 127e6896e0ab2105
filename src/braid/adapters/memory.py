"""Twins in memory of every port: what the real stores promise, in plain dicts.

Each passes the contract of `tests/contracts.py` that its real sibling passes, so a unit test or the protocol model may
use it and mean the real thing. The key of each dict is the primary key of the table it stands for: writing the same
key again replaces the value, which is what makes every write of the protocol repeatable.

A twin has no faults of its own. The model wraps it to add crashes, half-done writes and unknown outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from braid import cql, hiveql
from braid.acknowledgements import Acknowledgement, Place
from braid.aggregates import FP_MODULUS, State, finished_of
from braid.alerts import Alert
from braid.declaration import AlertRule, Declaration, ViewSpec
from braid.errors import Gap, LedgerError, LostRace, SeenIdsRefused, StoreUnavailable
from braid.generations import Audited, audit_text, check, sums_of_view
from braid.ledger import Current, LedgerRow, Offsets, Partition, Range
from braid.ports import DeadLetterRow, SeenIds
from braid.seen import Identity
from braid.views import Fragment, Key, View

DAY_US = 86_400_000_000


class FixedClock:
    """A clock that stands still until it is told the time."""

    def __init__(self, now_us: int = 0) -> None:
        self.at_us = now_us

    def now_us(self) -> int:
        """Return the microseconds it was last told."""
        return self.at_us

    def advance(self, by_us: int) -> None:
        """Move the clock, in either direction."""
        self.at_us += by_us


# ---- the log -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """What stands at one offset: the append time (microseconds UTC) and the raw bytes, None for a null value."""

    topic: str
    partition: int
    offset: int
    append_us: int
    value: bytes | None
    key: bytes | None = None


class MemoryLog:
    """The broker: partitions as rows of records, with holes, retention and topic ids."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._created = 0
        self._records: dict[Partition, list[Record | None]] = {}  # None: an offset that holds no record
        self._earliest: dict[Partition, int] = {}
        self.groups: dict[str, dict[Partition, int]] = {}

    def create(self, topic: str, partitions: int) -> None:
        """Create a topic; nothing happens when it exists."""
        if topic in self._ids:
            return
        self._created += 1
        self._ids[topic] = f"topic-{self._created}"
        for partition in range(partitions):
            self._records[topic, partition] = []
            self._earliest[topic, partition] = 0

    def grow(self, topic: str, partitions: int) -> None:
        """Add partitions to a topic, up to a number of them."""
        for partition in range(partitions):
            self._records.setdefault((topic, partition), [])
            self._earliest.setdefault((topic, partition), 0)

    def delete(self, topic: str) -> None:
        """Delete a topic with its records; created again it has another id."""
        del self._ids[topic]
        for place in [p for p in self._records if p[0] == topic]:
            del self._records[place], self._earliest[place]

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str]:
        """Return the id of each topic."""
        return {topic: self._id(topic) for topic in topics}

    def earliest(self, topics: Sequence[str]) -> dict[Partition, int]:
        """Return the first offset still held, per partition."""
        return {place: self._earliest[place] for place in self._places(topics)}

    def latest(self, topics: Sequence[str]) -> dict[Partition, int]:
        """Return the end offset, per partition."""
        return {place: len(self._records[place]) for place in self._places(topics)}

    def publish_group(self, group: str, ends: Offsets) -> None:
        """Keep the ends as the group's offsets."""
        self.groups.setdefault(group, {}).update(ends)

    def send(self, topic: str, partition: int, value: bytes | None, append_us: int, key: bytes | None = None) -> int:
        """Append a record and return its offset."""
        rows = self._records[topic, partition]
        rows.append(Record(topic, partition, len(rows), append_us, value, key))
        return len(rows) - 1

    def skip(self, topic: str, partition: int, offsets: int = 1) -> None:
        """Let the next offsets hold no record, as the markers of a foreign transaction do."""
        self._records[topic, partition].extend([None] * offsets)

    def trim(self, place: Partition, before: int) -> None:
        """Let retention delete the records below an offset."""
        self._earliest[place] = max(self._earliest[place], min(before, len(self._records[place])))

    def read(self, wanted: Range) -> Iterator[Record]:
        """Yield the records of exactly a range, in ledger order.

        Raises
        ------
        Gap
            Some of the range is no longer held, or not yet there.
        """
        for topic, partition, start, end in wanted.partitions():
            place = (topic, partition)
            first, last = self._earliest.get(place, 0), len(self._records.get(place, ())) - 1
            if start < first or end > last + 1:
                raise Gap(
                    f"{topic} partition {partition}: expected offsets {start} to {end - 1}, got {first} to {last}"
                )
            yield from (record for record in self._records[place][start:end] if record is not None)

    def _id(self, topic: str) -> str:
        if topic not in self._ids:
            raise StoreUnavailable(f"{topic}: expected a topic of that name, got {sorted(self._ids)}")
        return self._ids[topic]

    def _places(self, topics: Sequence[str]) -> list[Partition]:
        for topic in topics:
            self._id(topic)
        return sorted(place for place in self._records if place[0] in topics)


class MemoryHistory:
    """Ids of committed ranges out of a `MemoryLog`.

    Parameters
    ----------
    log : MemoryLog, still holding the ranges asked for
    ids_of : callable, the 16-byte ids of some records in order; malformed records have none
    """

    def __init__(self, log: MemoryLog, ids_of: Callable[[Iterable[Record]], list[bytes]]) -> None:
        self._log = log
        self._ids_of = ids_of

    def ids(self, rows: Sequence[LedgerRow]) -> Iterator[tuple[LedgerRow, list[bytes]]]:
        """Yield each row with the ids of its good records, each once."""
        for row in rows:
            yield row, list(dict.fromkeys(self._ids_of(self._log.read(row.range))))


# ---- Cassandra ---------------------------------------------------------------------------------------------------


class MemoryLedger:
    """The ledger's rows and `current`, each compared and set at once."""

    def __init__(self) -> None:
        self._rows: dict[int, LedgerRow] = {}
        self._newest = -1
        self._current: Current | None = None

    def create(self, row: LedgerRow, current: Current) -> None:
        """Write genesis and `current`, each only if there is none yet."""
        self._rows.setdefault(row.seq, row)
        self._newest = max(self._newest, row.seq)
        if self._current is None:
            self._current = current

    def head(self) -> LedgerRow:
        """Return the newest row; LedgerError when there is no genesis."""
        if not self._rows:
            raise LedgerError("ledger: expected a genesis row, got none; create the dataset first: braid up")
        return self._rows[self._newest]

    def rows(self, after: int, through: int) -> list[LedgerRow]:
        """Return the rows with after < seq <= through; LedgerError when one is missing."""
        missing = [seq for seq in range(after + 1, through + 1) if seq not in self._rows]
        if missing:
            raise LedgerError(f"ledger: expected seq {after + 1} to {through}, got none at seq {missing[0]}")
        return [self._rows[seq] for seq in range(after + 1, through + 1)]

    def append(self, row: LedgerRow) -> None:
        """Add a row at its seq if nobody has; LostRace when another writer has."""
        held = self._rows.setdefault(row.seq, row)
        if (held.writer, held.attempt) != (row.writer, row.attempt):
            raise LostRace(
                f"ledger seq {row.seq}: expected it to be free, got a row of writer {held.writer}; "
                "another driver is at work: this one must exit"
            )
        self._newest = max(self._newest, row.seq)

    def current(self) -> Current:
        """Return the served generation; LedgerError before genesis."""
        if self._current is None:
            raise LedgerError("current: expected a generation, got none; create the dataset first: braid up")
        return self._current

    def publish(self, current: Current, expected_gen: int) -> None:
        """Serve another generation if `expected_gen` still is; LostRace when not."""
        held = self.current()
        if held.gen != expected_gen:
            raise LostRace(
                f"current: expected generation {expected_gen} to be served, got {held.gen}; "
                "another batch run published first: run the batch again"
            )
        self._current = current


class MemoryFragments:
    """Fragments by (view, bucket, seq, attempt), then by (window, key)."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int, int, int], dict[tuple[int, Key], Fragment]] = {}

    def write(self, view: ViewSpec, bucket: int, attempt: int, fragments: Sequence[Fragment]) -> None:
        """Write fragments; the same again changes nothing."""
        for f in fragments:
            self._held.setdefault((view.name, bucket, f.seq, attempt), {})[f.window_start_us, f.key] = f

    def read(self, view: ViewSpec, rows: Sequence[LedgerRow]) -> list[Fragment]:
        """Return the fragments of committed rows, in seq order."""
        found: list[Fragment] = []
        for row in sorted(rows, key=lambda r: r.seq):
            found += self._held.get((view.name, row.bucket, row.seq, row.attempt), {}).values()
        return found

    def expire(self, through: int) -> None:
        """Let the time to live of every seq up to `through` run out."""
        self._held = {place: held for place, held in self._held.items() if place[2] > through}

    def drop(self, view: str) -> None:
        """Drop the table of a view."""
        self._held = {place: held for place, held in self._held.items() if place[0] != view}


class MemoryTables:
    """The derived tables by name, over the twins that hold their rows.

    Parameters
    ----------
    declaration : whose tables are there at first
    """

    def __init__(self, declaration: Declaration, fragments: MemoryFragments, projections: MemoryProjections) -> None:
        self.held = {table.name: table for table in cql.derived(declaration)}
        self._fragments = fragments
        self._projections = projections

    def change(self, earlier: Sequence[Declaration], new: Declaration) -> list[str]:
        """Give the derived tables the shape of a declaration; return those that were made or dropped."""
        wanted = {table.name: table for table in cql.derived(new)}
        known = {table.name for one in earlier for table in cql.derived(one)}
        done = [
            n for n, table in self.held.items() if (n in known or n in wanted) and not cql.alike(table, wanted.get(n))
        ]
        for name in done:
            del self.held[name]
            if name.endswith("__fragments"):
                self._fragments.drop(name.removesuffix("__fragments"))
            else:
                self._projections.drop(name)
        made = [name for name in wanted if name not in self.held]
        self.held |= {name: wanted[name] for name in made}
        return sorted({*done, *made})


class MemoryAlerts:
    """Alerts by (bucket, seq, attempt), then by position and rule."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, int, int], dict[tuple[str, int, int, str], Alert]] = {}

    def write(self, bucket: int, attempt: int, alerts: Sequence[Alert]) -> None:
        """Write alerts; the same again changes nothing."""
        for a in alerts:
            place = (a.topic, a.partition, a.offset, a.rule)
            self._held.setdefault((bucket, a.seq, attempt), {})[place] = a

    def read(self, rows: Sequence[LedgerRow]) -> list[Alert]:
        """Return the alerts of committed rows, in ledger order."""
        found: list[Alert] = []
        for row in sorted(rows, key=lambda r: r.seq):
            held = self._held.get((row.bucket, row.seq, row.attempt), {})
            found += [held[place] for place in sorted(held)]
        return found


class MemoryAcknowledgements:
    """What people say of alerts, by place."""

    def __init__(self) -> None:
        self._held: dict[Place, Acknowledgement] = {}

    def write(self, said: Acknowledgement) -> None:
        """Hold a word in the place of an older one."""
        self._held[said.place] = said

    def read(self) -> list[Acknowledgement]:
        """Return every word that is held."""
        return list(self._held.values())


class MemoryDeadLetters:
    """Dead letters by (topic, day of the append time), then by position."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int, int, int], DeadLetterRow] = {}

    def write(self, seq: int, attempt: int, letters: Sequence[DeadLetterRow]) -> None:
        """Write dead letters; a replay meets its own rows."""
        del seq, attempt  # columns of the table that no reader asks for
        for d in letters:
            self._held[d.topic, d.append_us // DAY_US, d.partition, d.offset] = d

    def newest(self, limit: int) -> list[DeadLetterRow]:
        """Return at most `limit` of the newest, newest append time first."""
        return sorted(self._held.values(), key=lambda d: (-d.append_us, d.topic, d.partition, d.offset))[:limit]

    def since(self, append_us: int) -> Iterator[DeadLetterRow]:
        """Yield every one appended at or after a time."""
        return (d for d in self._held.values() if d.append_us >= append_us)


class MemoryProjections:
    """Readable rows, each with the seq that wrote it: a write of an older seq is passed over."""

    def __init__(self) -> None:
        self.views: dict[str, dict[tuple[int, Key], tuple[int, dict[str, Any]]]] = {}
        self.alert_rows: dict[str, dict[tuple[Key, int, str, int, int], Alert]] = {}
        self._removed: dict[tuple[str, tuple[int, Key]], int] = {}  # the seq as of which a row was taken away

    def upsert(self, view: ViewSpec, seq: int, rows: View) -> None:
        """Write finished rows; an older seq never overwrites a newer one."""
        table = self.views.setdefault(view.name, {})
        for place, state in rows.items():
            newest = table[place][0] if place in table else self._removed.get((view.name, place), -1) + 1
            if newest <= seq:
                table[place] = (seq, view_row(view, state))

    def alerts(self, rule: AlertRule, alerts: Sequence[Alert]) -> None:
        """Write alerts to the rule's table."""
        table = self.alert_rows.setdefault(rule.name, {})
        for a in alerts:
            table[a.key, a.event_us, a.topic, a.partition, a.offset] = a

    def remove(self, view: ViewSpec, seq: int, places: Collection[tuple[int, Key]]) -> None:
        """Take rows away as of `seq`."""
        table = self.views.setdefault(view.name, {})
        for place in places:
            self._removed[view.name, place] = max(seq, self._removed.get((view.name, place), 0))
            if place in table and table[place][0] <= seq:
                del table[place]

    def drop(self, table: str) -> None:
        """Drop one readable table."""
        self.views.pop(table, None)
        self.alert_rows.pop(table, None)
        self._removed = {place: seq for place, seq in self._removed.items() if place[0] != table}

    def truncate(self) -> None:
        """Empty every projection."""
        self.views.clear()
        self.alert_rows.clear()
        self._removed.clear()

    def settle(self) -> None:
        """Nothing is ever left to be written."""


def view_row(view: ViewSpec, state: State) -> dict[str, int | float | None]:
    """Return the finished columns of one state: n, then every statistic in declared order."""
    return {"n": state.n} | finished_of(view, state)


# ---- files -------------------------------------------------------------------------------------------------------


class MemorySeenIds:
    """One file of seen ids. Handles share it: what one puts the other finds, as with two processes on one file.

    Attributes
    ----------
    whose : str, the text of the `Identity` it was made for
    """

    def __init__(self, whose: str = "") -> None:
        self.whose = whose
        self._ids: set[bytes] = set()
        self._through_seq = 0

    @property
    def through_seq(self) -> int:
        """The ledger seq up to which the ids are whole."""
        return self._through_seq

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Return those of the ids that were counted before."""
        return self._ids.intersection(ids)

    def put(self, seq: int, ids: Sequence[bytes]) -> bool:
        """Add the ids and set `through_seq`, only if it was seq − 1; say whether it was done."""
        if self._through_seq != seq - 1:
            return False
        self._ids.update(ids)
        self._through_seq = seq
        return True

    def scan(self) -> tuple[int, int]:
        """Return (count, Σ first hash mod 2^64)."""
        return len(self._ids), sum(int.from_bytes(i[:8], "big") for i in self._ids) % FP_MODULUS

    def close(self) -> None:
        """Do nothing: memory needs no release."""


class MemorySeenStore:
    """Where the file of seen ids lies: the one in its place, and those that were set aside."""

    def __init__(self) -> None:
        self.held: MemorySeenIds | None = None
        self.aside: list[MemorySeenIds] = []

    def open(self, identity: Identity) -> MemorySeenIds:
        """Open the file, made empty when there is none; SeenIdsRefused when it holds ids of another log."""
        if self.held is None:
            self.held = MemorySeenIds(identity.text())
        if self.held.whose != identity.text():
            raise SeenIdsRefused(f"seen ids: expected those of {identity.text()}, got those of {self.held.whose}")
        return self.held

    def rebuild(self, identity: Identity) -> MemorySeenIds:
        """Set the refused file aside and return an empty one, not yet in its place."""
        if self.held is not None:
            self.aside.append(self.held)
            self.held = None
        return MemorySeenIds(identity.text())

    def adopt(self, seen: SeenIds) -> MemorySeenIds:
        """Put a rebuilt file in its place."""
        assert isinstance(seen, MemorySeenIds)  # noqa: S101 - narrows the port to this twin
        self.held = seen
        return seen


class MemoryGenerations:
    """Published states by generation and view, as the batch layer handed them over."""

    def __init__(self) -> None:
        self._held: dict[int, dict[str, View]] = {}

    @property
    def newest(self) -> int:
        """The highest number ever used, 0 when none was."""
        return max(self._held, default=0)

    def hold(self, gen: int, states: Mapping[str, View]) -> None:
        """Keep the views of a generation; a number is never used twice."""
        if gen in self._held:
            raise LedgerError(f"generation {gen}: expected a number never used, got one that is held")
        self._held[gen] = {name: dict(view) for name, view in states.items()}

    def view(self, current: Current, view: ViewSpec) -> View:
        """Return one view of a generation, checked against `current.audit`; generation 0 is empty.

        Raises
        ------
        AuditFailed
            The states are not those that were audited.
        """
        if current.gen == 0:
            return {}
        if current.gen not in self._held:
            raise StoreUnavailable(f"generation {current.gen}: expected its views, got none; run the batch again")
        states = self._held[current.gen][view.name]
        check(current, view, states, "memory")
        return states


class MemoryCatalogue:
    """What is registered for queries: parts by (view, generation), and which generation each plain name selects."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[int, dict[str, str]]] = {}
        self._served: dict[str, int] = {}
        self._shapes: dict[str, tuple[hiveql.Column, ...]] = {}

    def register(self, gen: int, view: ViewSpec, location: str, parts: Mapping[str, str]) -> None:
        """Add a view's parts of a generation; what is registered stays as it is."""
        del location  # of the table: only Hive asks for it
        if self._shapes.setdefault(view.name, hiveql.columns(view)) != hiveql.columns(view):
            raise StoreUnavailable(
                f"{view.name}: expected the columns that it was registered with, got others; reshape it first"
            )
        if parts:
            held = self.parts.setdefault(view.name, {}).setdefault(gen, {})
            held.update({name: uri for name, uri in parts.items() if name not in held})

    def serve(self, gen: int, cut_seq: int, view: ViewSpec) -> None:
        """Let the plain name of a view select one generation."""
        del cut_seq  # for people, in a comment
        self._served[view.name] = gen

    def served(self, view: ViewSpec) -> int | None:
        """Return the generation that the plain name selects, None when there is no such name."""
        return self._served.get(view.name)

    def numbers(self, view: ViewSpec) -> set[int]:
        """Return the generations of which a view has parts."""
        return set(self.parts.get(view.name, {}))

    def forget(self, view: ViewSpec, gens: Collection[int]) -> None:
        """Remove the parts of some generations."""
        for gen in gens:
            self.parts.get(view.name, {}).pop(gen, None)

    def reshape(self, view: ViewSpec) -> None:
        """Remove what is registered of a view under other columns than it has now."""
        if self._shapes.get(view.name, hiveql.columns(view)) != hiveql.columns(view):
            self.parts.pop(view.name, None)
            del self._shapes[view.name]

    def drop(self, view: ViewSpec) -> None:
        """Remove a view, its plain name too."""
        self.parts.pop(view.name, None)
        self._served.pop(view.name, None)
        self._shapes.pop(view.name, None)


def audit_of(declaration: Declaration, states: Mapping[str, View]) -> str:
    """Return the text of `current.audit` for some views, nothing audited."""
    sums = {name: sums_of_view(declaration.view(name), view) for name, view in states.items()}
    return audit_text(sums, Audited())


class MemorySource:
    """One micro-batch at hand: its range, and what makes its rows when they are asked for."""

    def __init__(self, offered: Range, rows: Callable[[], Any]) -> None:
        self._range = offered
        self._rows = rows

    @property
    def range(self) -> Range:
        """The offsets that were handed over."""
        return self._range

    def rows(self) -> Any:
        """Return the slim rows."""
        return self._rows()
