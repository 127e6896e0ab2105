"""The ledger: which part of the log has been counted, decided with values only.

Theory. The log of a dataset is a set of partitions, each an endless row of offsets. Offsets here always mean the
*next* record: `end = 7` covers the records 0 to 6. A *range* is a half-open interval [start, end) per partition, and
the ledger is a chain of ranges, numbered by `seq`, in which each begins where the one before it ended:

    genesis          seq 1           seq 2           head
    end = 0   ──►  [0, 500)   ──►  [500, 730)  ──►  …

So the ranges tile the log: no hole, no overlap, and "the log up to seq s" has exactly one meaning. Everything else
follows. An answer names the seq it covers. A micro-batch may be replayed, and finds its range already there. A driver
that was thought dead and comes back finds its seq taken, because a row is added by compare-and-set at head.seq + 1
and by nothing else. Batch and speed are cut at the end of a row, and a late event is on the right side of that cut by
its offset, whatever its time says.

Spark's checkpoint also knows offsets, but it is written beside our stores and not with them, so it is treated as a
cache: `decide` compares what Spark hands over with the head, and refuses anything that does not continue the chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, TypeAlias

from braid.errors import Gap, RangeRefused
from braid.seen import first_hash

Partition: TypeAlias = tuple[str, int]
Offsets: TypeAlias = Mapping[Partition, int]
Kind = Literal["genesis", "micro", "bulk", "gap", "definition"]

ENGINE = 1  # raised when the meaning of a state changes, so that old and new code never share an attempt
REMEDY = "see what is lost, and go on without it: braid accept-gap"
ROWS_PER_LEDGER_BUCKET = 10_000
ROWS_PER_FRAGMENT_BUCKET = 50_000  # keeps a Cassandra partition of fragments under 10 MB


@dataclass(frozen=True, slots=True)
class Range:
    """Half-open offsets [start, end) of every partition of a dataset."""

    start: Offsets
    end: Offsets

    @property
    def empty(self) -> bool:
        """Whether the range covers no offset."""
        return all(self.end[p] == self.start.get(p, 0) for p in self.end)

    @property
    def size(self) -> int:
        """How many offsets the range covers, over all partitions."""
        return sum(end - self.start.get(p, 0) for p, end in self.end.items())

    def partitions(self) -> Iterable[tuple[str, int, int, int]]:
        """Yield (topic, partition, start, end) of every partition with at least one offset, in ledger order."""
        for (topic, partition), end in sorted(self.end.items()):
            start = self.start.get((topic, partition), 0)
            if end > start:
                yield topic, partition, start, end


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One committed step of the ledger.

    Attributes
    ----------
    seq : int, its number; genesis is 0
    attempt : int, signed 64-bit: names the writes that this row made visible
    writer : str, unique to the process that committed it
    range : Range, the offsets it covers
    good, copies, dead, absent : int, their sum is range.size; `absent` offsets hold no record
    fp : int, Σ hash64 of the good ids mod 2^64
    view_n, view_fp : per finest view, totals over its fragments of this seq
    bucket, bucket_rows : the fragment bucket written to, and how many rows it held afterwards
    alerts : int, how many alerts its events gave
    totals : running sums over seq 0 to this row of good, copies, dead, absent, alerts and fp (mod 2^64), so that
        status and the check of the seen ids read one row and not the whole ledger; `gap`, `definition` and `bulk` are the
        seqs of the newest rows of those kinds
    definition : hash of the declaration in force; `text` its YAML, in genesis and definition rows; in gap rows, what
        was given up (`braid.gaps`)
    """

    seq: int
    kind: Kind
    attempt: int
    writer: str
    range: Range
    good: int = 0
    copies: int = 0
    dead: int = 0
    absent: int = 0
    fp: int = 0
    view_n: Mapping[str, int] = field(default_factory=dict)
    view_fp: Mapping[str, int] = field(default_factory=dict)
    bucket: int = 0
    bucket_rows: int = 0
    alerts: int = 0
    totals: Mapping[str, int] = field(default_factory=dict)
    definition: str = ""
    text: str = ""
    topic_ids: Mapping[str, str] = field(default_factory=dict)
    committed_at_us: int = 0

    @property
    def end(self) -> Offsets:
        """The end offsets of the row: what the next one must start from."""
        return self.range.end

    def conserves(self) -> bool:
        """Whether every offset of the range is accounted for, exactly once."""
        return self.range.size == self.good + self.copies + self.dead + self.absent


@dataclass(frozen=True, slots=True)
class Current:
    """Which generation is served, and where it was cut. Generation 0 is the empty one, cut at genesis."""

    gen: int
    cut_seq: int
    cut: Offsets
    definition: str
    audit: str = "{}"
    published_at_us: int = 0


Decision = Literal["commit", "already", "empty"]


def decide(head: LedgerRow, offered: Range) -> Decision:
    """Say what to do with a range that Spark hands over.

    Parameters
    ----------
    head : LedgerRow, the newest row
    offered : Range, of one micro-batch

    Returns
    -------
    str
        "commit" when it continues the ledger, "already" when it is the head's own range (Spark replays a micro-batch
        whose commit it did not record), "empty" when it holds nothing and the chain is not hurt.

    Raises
    ------
    RangeRefused
        The range neither continues the ledger nor repeats its head.

    Examples
    --------
    >>> zero, one, two = {("t", 0): 0}, {("t", 0): 10}, {("t", 0): 25}
    >>> head = LedgerRow(1, "micro", 5, "w", Range(zero, one), good=10)
    >>> decide(head, Range(one, two)), decide(head, Range(zero, one)), decide(head, Range(one, one))
    ('commit', 'already', 'empty')
    """
    if dict(offered.start) == dict(head.end):
        return "empty" if offered.empty else "commit"
    if dict(offered.end) == dict(head.end) and dict(offered.start) == dict(head.range.start):
        return "already"
    raise RangeRefused(
        f"micro-batch {text_of(offered.start)}..{text_of(offered.end)}: expected it to start at the end of ledger seq "
        f"{head.seq}, got head end {text_of(head.end)}; restart the stream: it begins anew at the ledger's end"
    )


def check_log(head: LedgerRow, earliest: Offsets, topic_ids: Mapping[str, str], dataset: str = "DATASET") -> None:
    """Refuse to go on when Kafka no longer holds what comes after head, or holds another topic of the same name.

    Every refusal names the way on: `braid accept-gap` shows what is lost and goes on without it.

    Raises
    ------
    Gap
        The topic was created again, its partitions changed, or retention has passed head.
    """
    if dict(topic_ids) != dict(head.topic_ids):
        raise Gap(
            f"topic ids: expected {dict(head.topic_ids)} as in ledger seq {head.seq}, got {dict(topic_ids)}; "
            f"the topic was deleted and created again: its offsets name other records; {REMEDY} {dataset}"
        )
    if set(earliest) != set(head.end):
        raise Gap(
            f"partitions: expected {sorted(head.end)} as in ledger seq {head.seq}, got {sorted(earliest)}; "
            f"the partitions of a live topic were changed; {REMEDY} {dataset}"
        )
    for (topic, partition), first in sorted(earliest.items()):
        end = head.end[topic, partition]
        if first > end:
            raise Gap(
                f"{topic} partition {partition}: expected offset {end} to be still there, got {first} as the earliest; "
                f"the records {end} to {first - 1} were deleted by retention before they were counted; {REMEDY} {dataset}"
            )


def start_after(before: LedgerRow, row: LedgerRow) -> Offsets:
    """Return where a row must start: where the one before it ended.

    In a gap row a partition that is new, or whose topic was created again, starts at 0.
    """
    if row.kind != "gap":
        return before.end
    same = {topic for topic, id_ in row.topic_ids.items() if before.topic_ids.get(topic) == id_}
    return {p: before.end.get(p, 0) if p[0] in same or not row.topic_ids else 0 for p in row.end}


def check_chain(rows: Sequence[LedgerRow]) -> None:
    """Check that consecutive rows tile the log and that each accounts for every offset.

    Raises
    ------
    RangeRefused
        A seq is missing, a row does not start where the one before it ended, or counts do not add up.
    """
    for before, row in pairwise(rows):
        if row.seq != before.seq + 1 or dict(row.range.start) != dict(start_after(before, row)):
            raise RangeRefused(
                f"ledger seq {row.seq}: expected it to start at {text_of(start_after(before, row))}, the end of seq {before.seq}, "
                f"got {text_of(row.range.start)}"
            )
    for row in rows:
        if not row.conserves():
            raise RangeRefused(
                f"ledger seq {row.seq}: expected {row.range.size} offsets accounted for, "
                f"got {row.good} good + {row.copies} copies + {row.dead} dead + {row.absent} absent"
            )


def attempt_of(offered: Range, definition: str) -> int:
    """Return the signed 64-bit name of the writes for a range under a definition.

    Equal for every replay of the same range, so a replay overwrites its own rows; different for another range of the
    same seq, so the rows of a driver that lost the race can never be taken for the winner's.
    """
    words = [text_of(offered.start), text_of(offered.end), definition, ENGINE]
    digest = hashlib.sha256(json.dumps(words, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def genesis(
    topic_ids: Mapping[str, str], partitions: Iterable[Partition], definition: str, text: str, writer: str
) -> LedgerRow:
    """Return row 0: it covers nothing and says where the log begins."""
    zero = dict.fromkeys(partitions, 0)
    return LedgerRow(
        0, "genesis", 0, writer, Range(zero, zero), definition=definition, text=text, topic_ids=dict(topic_ids)
    )


def with_totals(head: LedgerRow, row: LedgerRow) -> LedgerRow:
    """Return `row` with the running sums that follow `head`'s.

    Examples
    --------
    >>> row = LedgerRow(1, "micro", 1, "w", Range({}, {}), good=3, fp=9)
    >>> with_totals(LedgerRow(0, "genesis", 0, "w", Range({}, {})), row).totals
    {'good': 3, 'copies': 0, 'dead': 0, 'absent': 0, 'alerts': 0, 'fp': 9}
    """
    names = ("good", "copies", "dead", "absent", "alerts", "fp")
    sums = {name: head.totals.get(name, 0) + getattr(row, name) for name in names}
    kept = {name: head.totals[name] for name in ("gap", "definition", "bulk") if name in head.totals}
    kept |= {row.kind: row.seq} if row.kind in {"definition", "bulk"} else {}
    return replace(row, totals=sums | {"fp": sums["fp"] % (1 << 64)} | kept)


def next_bucket(head: LedgerRow) -> tuple[int, int]:
    """Return (bucket, rows already in it) for the fragments of the next micro-batch."""
    if head.bucket_rows >= ROWS_PER_FRAGMENT_BUCKET:
        return head.bucket + 1, 0
    return head.bucket, head.bucket_rows


def fp_of(ids: Iterable[bytes]) -> int:
    """Return Σ of the first hashes of 16-byte ids mod 2^64: the fingerprint of a row whose ids these are.

    Examples
    --------
    >>> fp_of([bytes([0] * 7 + [5] + [9] * 8), bytes([255] * 16)])
    4
    """
    return sum(first_hash(i) for i in ids) % (1 << 64)


# ---- text forms --------------------------------------------------------------------------------------------------


def text_of(offsets: Offsets) -> dict[str, int]:
    """Return offsets as `topic:partition` → offset, the form of Cassandra's maps and of answers.

    Examples
    --------
    >>> text_of({("image-events", 0): 42})
    {'image-events:0': 42}
    """
    return {f"{topic}:{partition}": offset for (topic, partition), offset in sorted(offsets.items())}


def offsets_of(text: Mapping[str, int]) -> dict[Partition, int]:
    """Return offsets from their text form.

    Examples
    --------
    >>> offsets_of({"image-events:0": 42})
    {('image-events', 0): 42}
    """
    return {(key.rpartition(":")[0], int(key.rpartition(":")[2])): offset for key, offset in text.items()}


def spark_of(offsets: Offsets) -> str:
    """Return offsets as the JSON that Spark's Kafka source reads: {"topic": {"0": 42}}."""
    nested: dict[str, dict[str, int]] = {}
    for (topic, partition), offset in sorted(offsets.items()):
        nested.setdefault(topic, {})[str(partition)] = offset
    return json.dumps(nested)


def offsets_of_spark(text: str) -> dict[Partition, int]:
    """Return offsets from Spark's JSON.

    Examples
    --------
    >>> offsets_of_spark('{"image-events": {"0": 42, "1": 7}}')
    {('image-events', 0): 42, ('image-events', 1): 7}
    """
    return {(topic, int(p)): offset for topic, parts in json.loads(text).items() for p, offset in parts.items()}
