"""Ports: what the layers need of the world, as protocols; each has a real adapter and a twin in memory.

Both pass the same contract suite (`tests/contracts.py`). Whatever can fail raises; nothing returns a half truth.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from braid.acknowledgements import Acknowledgement
from braid.alerts import Alert
from braid.declaration import AlertRule, Declaration, Topic, ViewSpec
from braid.ledger import Current, LedgerRow, Offsets, Partition, Range
from braid.seen import Identity
from braid.views import Fragment, Key, View

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """A record set aside: its position, why, and its first bytes (whole in the master)."""

    topic: str
    partition: int
    offset: int
    append_us: int
    reason: str
    raw: bytes


class Clock(Protocol):
    """Time as an argument; no answer depends on it."""

    def now_us(self) -> int:
        """Return microseconds since 1970, UTC."""
        ...


class Aside(Protocol):
    """Lets a job run beside the caller; what it returns waits for the outcome, which may be an error."""

    def __call__(self, job: Callable[[], T], /) -> Callable[[], T]:
        """Begin the job."""
        ...


def at_once(job: Callable[[], T], /) -> Callable[[], T]:
    """Do a job before anything else; of the port `Aside` the one without a thread."""
    outcome = job()
    return lambda: outcome


class Log(Protocol):
    """The broker's side of the topics: what stands where. Offsets mean the next record."""

    def create(self, topic: str, partitions: int) -> None:
        """Create a topic with append time as its timestamps; nothing happens when it exists."""
        ...

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str]:
        """Return the broker's unique id of each topic: a topic created again has another."""
        ...

    def earliest(self, topics: Sequence[str]) -> dict[Partition, int]:
        """Return the first offset still held, per partition."""
        ...

    def latest(self, topics: Sequence[str]) -> dict[Partition, int]:
        """Return the end offset, per partition."""
        ...

    def publish_group(self, group: str, ends: Offsets) -> None:
        """Publish the ledger's end as a consumer group's offsets, for standard lag tools."""
        ...


class Message(Protocol):
    """One record of a topic, whole."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def append_us(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class History(Protocol):
    """Good ids of ranges already committed, for catching up and rebuilding the seen ids."""

    def ids(self, rows: Sequence[LedgerRow]) -> Iterable[tuple[LedgerRow, list[bytes]]]:
        """Yield each ledger row with the ids it counted first (copies of earlier rows may be among them).

        Raises
        ------
        Gap
            Neither Kafka nor the master holds the records any more.
        """
        ...


class Ledger(Protocol):
    """The chain of ranges, and which generation is served."""

    def create(self, row: LedgerRow, current: Current) -> None:
        """Write genesis and the first `current`, each only if there is none yet."""
        ...

    def head(self) -> LedgerRow:
        """Return the newest row, linearisably. Raises LedgerError when there is no genesis."""
        ...

    def rows(self, after: int, through: int) -> list[LedgerRow]:
        """Return the rows with after < seq <= through, in order, none missing."""
        ...

    def append(self, row: LedgerRow) -> None:
        """Add a row at its seq if nobody has: the one step that makes a micro-batch visible.

        Raises
        ------
        LostRace
            Another writer holds the seq. The caller must exit, and count nothing more.
        """
        ...

    def current(self) -> Current:
        """Return the served generation, linearisably."""
        ...

    def publish(self, current: Current, expected_gen: int) -> None:
        """Serve another generation if `expected_gen` is still served. Raises LostRace."""
        ...


class Fragments(Protocol):
    """Immutable states of micro-batches; visible when their (seq, attempt) is in the ledger."""

    def write(self, view: ViewSpec, bucket: int, attempt: int, fragments: Sequence[Fragment]) -> None:
        """Write fragments of one micro-batch; writing them again changes nothing."""
        ...

    def read(self, view: ViewSpec, rows: Sequence[LedgerRow]) -> list[Fragment]:
        """Return the fragments of committed rows (matched by seq and attempt), in seq order."""
        ...


class Alerts(Protocol):
    """Alerts by micro-batch; visible like fragments."""

    def write(self, bucket: int, attempt: int, alerts: Sequence[Alert]) -> None:
        """Write the alerts of one micro-batch; writing them again changes nothing."""
        ...

    def read(self, rows: Sequence[LedgerRow]) -> list[Alert]:
        """Return the alerts of committed rows, in ledger order."""
        ...


class Acknowledgements(Protocol):
    """What people say of alerts: the newest word on each, beside the exact path."""

    def write(self, said: Acknowledgement) -> None:
        """Hold a word in the place of an older one on the same alert."""
        ...

    def read(self) -> list[Acknowledgement]:
        """Return every word that is held, in no order."""
        ...


class DeadLetters(Protocol):
    """Records set aside; a function of the record alone, visible when the offset is below head's end."""

    def write(self, seq: int, attempt: int, letters: Sequence[DeadLetterRow]) -> None:
        """Write the dead letters of one micro-batch; writing them again changes nothing."""
        ...

    def newest(self, limit: int) -> list[DeadLetterRow]:
        """Return some of the newest dead letters, newest append time first."""
        ...

    def since(self, append_us: int) -> Iterator[DeadLetterRow]:
        """Yield every dead letter appended at or after a time (microseconds UTC), in no order."""
        ...


class Projections(Protocol):
    """Finished numbers for people: derived, upserted by seq, never read back by Braid.

    Rows may be written after the call that takes them; `settle` waits until they are.
    """

    def upsert(self, view: ViewSpec, seq: int, rows: View) -> None:
        """Write the finished rows as of `seq`; an older seq never overwrites a newer one."""
        ...

    def alerts(self, rule: AlertRule, alerts: Sequence[Alert]) -> None:
        """Write alerts to the rule's readable table."""
        ...

    def remove(self, view: ViewSpec, seq: int, places: Collection[tuple[int, Key]]) -> None:
        """Take rows away as of `seq`: one written as of an older seq, even later, does not come back."""
        ...

    def truncate(self) -> None:
        """Empty every projection, before it is filled again."""
        ...

    def settle(self) -> None:
        """Return when everything taken is written; raise StoreUnavailable when some of it could not be."""
        ...


class SeenIds(Protocol):
    """The 16-byte ids counted so far: a cache of the log, exact up to `through_seq`."""

    @property
    def through_seq(self) -> int:
        """The ledger seq up to which the ids are whole."""
        ...

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Return those of the ids that were counted before."""
        ...

    def put(self, seq: int, ids: Sequence[bytes]) -> bool:
        """Add the ids of a committed row and set `through_seq`, in one transaction, only if it was seq − 1."""
        ...

    def scan(self) -> tuple[int, int]:
        """Return (count, Σ first hash mod 2^64) over the whole store."""
        ...

    def close(self) -> None:
        """Release the store."""
        ...


class SeenStore(Protocol):
    """Where the seen ids of one dataset are kept."""

    def open(self, identity: Identity) -> SeenIds:
        """Open the store, made empty (through_seq 0) when there is none yet.

        Raises
        ------
        SeenIdsRefused
            It cannot be read, or belongs to another log or definition.
        """
        ...

    def rebuild(self, identity: Identity) -> SeenIds:
        """Return an empty store beside the refused one, which is set aside by name."""
        ...

    def adopt(self, seen: SeenIds) -> SeenIds:
        """Put a rebuilt, checked store in the place of the refused one."""
        ...


class Generations(Protocol):
    """Published batch results by number: the states, immutable."""

    def view(self, current: Current, view: ViewSpec) -> View:
        """Return one view of a generation (of generation 0: the empty view), checked against `current.audit`."""
        ...


class PastGenerations(Generations, Protocol):
    """The generations that are kept, and what vouches for each."""

    def chain(self, gen: int, length: int) -> list[int]:
        """Return up to `length` generations that were published one after the other, the newest, `gen`, first."""
        ...

    def published(self, gen: int) -> Current:
        """Return a generation as it was published. Raises StoreUnavailable when it is no longer kept."""
        ...


class Catalogue(Protocol):
    """Where other programs query a dataset: every kept generation, and under the plain names the one being served."""

    def register(self, gen: int, view: ViewSpec, location: str, parts: Mapping[str, str]) -> None:
        """Add a view's parts of a generation (name → location of a whole folder); what is registered stays as it is."""
        ...

    def serve(self, gen: int, cut_seq: int, view: ViewSpec) -> None:
        """Let the plain name of a view select one generation."""
        ...

    def served(self, view: ViewSpec) -> int | None:
        """Return the generation that the plain name of a view selects, None when there is no such name."""
        ...

    def numbers(self, view: ViewSpec) -> set[int]:
        """Return the generations of which a view has parts."""
        ...

    def forget(self, view: ViewSpec, gens: Collection[int]) -> None:
        """Remove the parts of some generations; their files stay."""
        ...

    def reshape(self, view: ViewSpec) -> None:
        """Remove what is registered of a view under other columns than it has now; files stay, and so does all else."""
        ...

    def drop(self, view: ViewSpec) -> None:
        """Remove a view that is no longer declared, its plain name too; files stay."""
        ...


class Tables(Protocol):
    """The tables of a dataset's declaration: made when it is created, changed when it is."""

    def change(self, earlier: Sequence[Declaration], new: Declaration) -> list[str]:
        """Give the derived tables the shape of a declaration; return the names of those that were made or dropped.

        Those of another shape are dropped with their rows and made anew; those that only an earlier declaration has are
        dropped. The ledger, `current`, alerts, dead letters and what people said of alerts stay.
        """
        ...


class Source(Protocol):
    """One micro-batch as it lies in Spark: its range and its rows, read at most once."""

    @property
    def range(self) -> Range: ...

    def rows(self) -> Any:
        """Run the one Spark action and return the slim rows as an Arrow table (columns: `sql.slim`)."""
        ...


def topics_of(topics: Sequence[Topic]) -> tuple[str, ...]:
    """Return the names of some topics."""
    return tuple(t.name for t in topics)
