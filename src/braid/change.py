"""Changing a declaration: what differs, what it costs, and the ledger row by which the new one comes into force.

Theory. Which numbers a record gives is decided by the declaration, so numbers of two declarations are of two kinds and may
not be added. The ledger keeps them apart with one row of kind `definition`: it covers no offset, holds the text of the new
declaration, and is added by the same compare-and-set as a micro-batch. Hence a driver of the old declaration that still
runs, or comes back, finds its seq taken and ends. What was counted before the row is counted anew, from the raw records:
the first generation of the new declaration is cut at the row or after it. Until that generation is served the row is
*pending*: the old declaration goes on answering up to the row, and no stream starts.

The running sums of the ledger go on across the row. What they lack of the new declaration's own counts is the same number
for every row after it, its *base*; it is found once, by the recount, and every generation carries it (`generations.base_of`).

Two declarations of equal hash decide every number alike. Between them only words, paths and the schedule may differ, and
those are read from the file; there is nothing to apply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from braid import ledger
from braid.declaration import Declaration
from braid.declaration_file import plain
from braid.ledger import Current, LedgerRow, Range

What = Literal["added", "removed", "changed"]
_NAMED = ("fields", "derived", "views", "alerts", "api")  # mappings by name: compared entry by entry
_TOPIC = ("event_id", "event_time", "fields", "derived")
# they decide no number: read from the file, whatever the ledger holds
_WORDS = frozenset({"title", "description", "attribution", "unit", "meaning", "api", "batch", "start", "generator"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One entry of a declaration that two texts of it have differently.

    Attributes
    ----------
    part : where it stands, such as `views` or `topics.<name>.fields`
    name : of the entry
    old, new : its words, by path within the entry; of what was added or removed the one side is empty
    decides : whether it can change a number; otherwise it is a title, a path, the schedule
    """

    what: What
    part: str
    name: str
    old: Mapping[str, Any] = field(default_factory=dict)
    new: Mapping[str, Any] = field(default_factory=dict)
    decides: bool = True

    @property
    def text(self) -> str:
        """Say it in one line."""
        if self.what != "changed":
            return f"{self.part}: {self.name} {self.what}"
        paths = sorted({*self.old, *self.new})
        told = [f"{path + ' ' if path else ''}{_told(self.old, path)} → {_told(self.new, path)}" for path in paths]
        return f"{self.part}: {self.name}: {'; '.join(told)}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What applying would cost; None where nothing is known yet.

    Attributes
    ----------
    archived, unarchived : records to read again, from the master and from Kafka
    master_bytes : size of the master's files, all of which are read
    rows, generation_bytes : of the views of the served generation, now
    disk_bytes : about what is needed beside: the new generation, and the master's growth
    minutes : about how long it would take, from the newest batch run
    """

    archived: int
    unarchived: int
    master_bytes: int
    rows: Mapping[str, int]
    generation_bytes: int
    disk_bytes: int | None
    minutes: float | None

    @property
    def records(self) -> int:
        """All records to read again."""
        return self.archived + self.unarchived


@dataclass(frozen=True, slots=True)
class Plan:
    """What a declaration's file would change of the declaration in force.

    Attributes
    ----------
    old, new : hashes, of the declaration in force and of the file
    pending : whether the one in force is itself not applied to its end
    refusals : why it cannot be applied; empty when it can
    """

    dataset: str
    old: str
    new: str
    pending: bool
    differences: tuple[Difference, ...]
    refusals: tuple[str, ...]

    @property
    def needed(self) -> bool:
        """Whether there is anything to apply."""
        return self.old != self.new or self.pending

    def plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self) | {"needed": self.needed, "differences": [asdict(d) for d in self.differences]}


def plan(old: Declaration, new: Declaration, *, pending: bool = False) -> Plan:
    """Return what would change between the declaration in force and another text of it.

    Parameters
    ----------
    old, new : Declaration, the one in force and the file's
    pending : whether no generation covers the row by which `old` came into force

    Examples
    --------
    >>> from braid.declaration_reader import parse
    >>> text = "dataset: d\\ntopic: t\\nevent_id: [k]\\nevent_time: append\\nfields: {k: {type: string}, x: {type: integer}}\\n"
    >>> text += "views: {v: {by: [k], window: all, measures: {x: {of: x, stats: [mean]}}}}\\n"
    >>> found = plan(parse(text), parse(text.replace("type: integer", "type: integer, max: 9")))
    >>> [d.text for d in found.differences], found.needed
    (['fields: x: max nothing → 9'], True)
    """
    same = old.hash == new.hash
    # of equal hashes nothing that differs decides a number, a default that is written out neither
    found = tuple(d if not same else _words_only(d) for d in differences(old, new))
    return Plan(new.dataset, old.hash, new.hash, pending, found, tuple(refusals(old, new)))


def differences(old: Declaration, new: Declaration) -> Iterator[Difference]:
    """Yield every entry in which two declarations differ, part by part."""
    a, b = _parts(plain(old.text)), _parts(plain(new.text))
    for part in dict.fromkeys((*a, *b)):
        before, after = a.get(part, {}), b.get(part, {})
        for name in dict.fromkeys((*before, *after)):
            if name not in before:
                yield Difference("added", part, name, {}, _flat(after[name]), _decides(part, name))
            elif name not in after:
                yield Difference("removed", part, name, _flat(before[name]), {}, _decides(part, name))
            elif before[name] != after[name]:
                yield _changed(part, name, _flat(before[name]), _flat(after[name]))


def refusals(old: Declaration, new: Declaration) -> Iterator[str]:
    """Yield why a declaration cannot take another's place; nothing when it can."""
    if new.dataset != old.dataset:
        yield (
            f"dataset: expected '{old.dataset}' as in the ledger, got '{new.dataset}'; "
            "another name is another dataset: give it a file of its own"
        )
    held, wanted = {t.name for t in old.topics}, {t.name for t in new.topics}
    if held != wanted:
        yield (
            f"topics: expected {', '.join(sorted(held))} as in the ledger, got {', '.join(sorted(wanted))}; the ledger counts "
            "the offsets of these topics: declare another dataset for other ones"
        )


# ---- the row -------------------------------------------------------------------------------------------------------


def row_of(head: LedgerRow, new: Declaration, writer: str, now_us: int) -> LedgerRow:
    """Return the row by which a declaration comes into force: it covers no offset, and comes right after head.

    Parameters
    ----------
    writer : unique to this process
    now_us : microseconds UTC, for people

    Examples
    --------
    >>> from braid.declaration_reader import parse
    >>> text = "dataset: d\\ntopic: t\\nevent_id: [k]\\nevent_time: append\\nfields: {k: {type: string}, x: {type: integer}}\\n"
    >>> new = parse(text + "views: {v: {by: [k], window: all, measures: {x: {of: x, stats: [mean]}}}}\\n")
    >>> end = {("t", 0): 7}
    >>> row = row_of(LedgerRow(4, "micro", 1, "w", Range({("t", 0): 2}, end), totals={"good": 7}), new, "me", 0)
    >>> row.seq, row.range.empty, row.totals["good"], row.totals["definition"]
    (5, True, 7, 5)
    """
    nothing = Range(dict(head.end), dict(head.end))
    # another attempt than an empty micro-batch's would be
    attempt = ledger.attempt_of(nothing, f"definition {new.hash}")
    row = LedgerRow(
        head.seq + 1, "definition", attempt, writer, nothing, bucket=head.bucket, bucket_rows=head.bucket_rows,
        definition=new.hash, text=new.text, topic_ids=dict(head.topic_ids), committed_at_us=now_us,
    )  # fmt: skip
    return ledger.with_totals(head, row)


def since(row: LedgerRow) -> int:
    """Return the seq of the definition row that a ledger row stands under; 0 for the declaration of genesis."""
    return row.totals.get("definition", 0)


def pending(head: LedgerRow, current: Current) -> bool:
    """Return whether the declaration in force has no generation yet: it is being applied."""
    return since(head) > current.cut_seq


def remedy(dataset: str, head: LedgerRow) -> str:
    """Return what to say, and to type, while a declaration is pending."""
    return (
        f"a changed declaration, {head.definition[:12]}, is being applied from ledger seq {since(head)} on and no generation "
        f"of it is served yet; finish it: braid apply {dataset}"
    )


# ---- the cost ------------------------------------------------------------------------------------------------------

_MEASURABLE = 10_000  # records; fewer are parsed in the time that Spark needs to begin


def cost(
    new: Declaration,
    *,
    counted: int,
    archived: int,
    master_bytes: int,
    rows: Mapping[str, int],
    generation_bytes: int,
    last: Mapping[str, Any] | None,
) -> Cost:
    """Return what applying would cost.

    Parameters
    ----------
    counted : records that the ledger counts up to head
    archived, master_bytes : records in the master, and the size of its files
    rows, generation_bytes : of the served generation's views, and the size of its files
    last : the record of the newest batch run, None when there was none

    Examples
    --------
    >>> from braid.declaration_reader import parse
    >>> text = "dataset: d\\ntopic: t\\nevent_id: [k]\\nevent_time: append\\nfields: {k: {type: string}, x: {type: integer}}\\n"
    >>> new = parse(text + "views: {v: {by: [k], window: all, measures: {x: {of: x, stats: [mean]}}}}\\n")
    >>> last = {"records": 50_000, "archived": 20_000, "steps": {"parquet": 4.0, "views": 10.0, "written": 2.0}}
    >>> sizes = {"master_bytes": 6_000, "rows": {"v": 9}, "generation_bytes": 800, "last": last}
    >>> found = cost(new, counted=100_000, archived=60_000, **sizes)
    >>> found.records, found.unarchived, found.disk_bytes, found.minutes
    (100000, 40000, 4800, 0.7)
    """
    unarchived = max(counted - archived, 0)
    grown = max(len(new.views) / len(rows), 1.0) if rows else 1.0
    known = archived > 0 and bool(rows)
    disk = round(generation_bytes * grown + unarchived * master_bytes / archived) if known else None
    return Cost(archived, unarchived, master_bytes, dict(rows), generation_bytes, disk, _minutes(counted, last))


def _minutes(counted: int, last: Mapping[str, Any] | None) -> float | None:
    """Return about how long it takes, by the newest run: its views over more records, and every record parsed again."""
    run = last or {}
    held, archived = int(run.get("records", 0)), int(run.get("archived", 0))
    seconds: dict[str, float] = run.get("steps", {})
    if not held or not seconds.get("views"):
        return None
    parse_s = seconds.get("parquet", 0.0) / archived if archived >= _MEASURABLE else seconds["views"] / held
    rest_s = sum(took for step, took in seconds.items() if step not in {"views", "parquet"})
    return round((rest_s + seconds["views"] * max(1.0, counted / held) + counted * parse_s) / 60, 1)


# ---- texts ---------------------------------------------------------------------------------------------------------


def _parts(raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a declaration's entries by part; one topic written at the top level is one of `topics`."""
    topics = raw.get("topics") or {raw.get("topic", ""): {k: raw[k] for k in _TOPIC if k in raw}}
    found: dict[str, dict[str, Any]] = {"declaration": {"topics": sorted(topics)}}
    for topic, held in topics.items():
        _enter(found, held, "" if len(topics) == 1 else f"topics.{topic}.")
    of_topic = () if "topics" in raw else _TOPIC
    _enter(found, {k: v for k, v in raw.items() if k not in {"topic", "topics", *of_topic}}, "")
    return found


def _enter(found: dict[str, dict[str, Any]], entries: Mapping[str, Any], at: str) -> None:
    for key, value in entries.items():
        if key in _NAMED:
            found[at + key] = dict(value or {})
        else:
            found["declaration"][at + key] = value


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of an entry by path; a list is a leaf."""
    if not isinstance(value, Mapping):
        return {path: value}
    found: dict[str, Any] = {}
    for key, held in value.items():
        found |= _flat(held, f"{path}.{key}" if path else str(key))
    return found or {path: {}}


def _changed(part: str, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Difference:
    paths = [
        path for path in dict.fromkeys((*old, *new)) if (path in old, old.get(path)) != (path in new, new.get(path))
    ]
    # a view's map is looked at, as its title is
    deciding = [p for p in paths if p.rpartition(".")[2] not in _WORDS and p.partition(".")[0] != "map"]
    decides = _decides(part, name) and bool(deciding)
    return Difference(
        "changed", part, name, {p: old[p] for p in paths if p in old}, {p: new[p] for p in paths if p in new}, decides
    )


def _decides(part: str, name: str) -> bool:
    return part not in _WORDS and (part != "declaration" or name not in _WORDS)


def _words_only(one: Difference) -> Difference:
    return Difference(one.what, one.part, one.name, one.old, one.new, decides=False)


def _told(side: Mapping[str, Any], path: str) -> str:
    if path not in side:
        return "nothing"
    value = side[path]
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
