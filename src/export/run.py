"""An export of the master: cut by cut, each record counted on its way out and compared with the ledger's count.

The archive compared every cut with the ledger when it was written, and left the ledger's numbers beside it: how many
records, and how many dead ones, each ledger row counted. What leaves a cut must add up to just these, row by row, before
its files get their names. A cut never changes, so one that is here already is not read again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from braid.adapters import durable
from braid.adapters.hours import Hours
from braid.adapters.master import TALLY, Cut, Master
from braid.declaration import Declaration
from braid.errors import MasterRefused
from braid.instants import iso
from export.columns import Column, check_names, columns
from export.folder import Folder, Note, Wanted
from export.sinks import SINKS

Declared = Callable[[str], Declaration]

BATCH_ROWS = 32_768


@dataclass(frozen=True, slots=True)
class Summary:
    """What an export holds.

    Attributes
    ----------
    through_seq : ledger seq of the master's newest cut; 0 when nothing has been archived
    records, dead, files, bytes : by topic
    ledger_records, ledger_dead : what the ledger counts in the cuts that were read
    cuts, written : cuts that were read now or earlier, and now
    outside : cuts without a record of the wanted time, which were not read
    """

    wanted: Wanted
    through_seq: int
    records: Mapping[str, int]
    dead: Mapping[str, int]
    files: Mapping[str, int]
    bytes: Mapping[str, int]
    ledger_records: int
    ledger_dead: int
    cuts: int
    written: int
    outside: int

    @property
    def whole(self) -> bool:
        """Whether everything that was archived is here, and not some time of it."""
        return self.wanted.from_us is None and self.wanted.to_us is None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON's words."""
        topics = {
            topic: {"records": n, "dead": self.dead[topic], "files": self.files[topic], "bytes": self.bytes[topic]}
            for topic, n in sorted(self.records.items())
        }
        return self.wanted.plain() | {
            "through_seq": self.through_seq, "records": sum(self.records.values()), "dead": sum(self.dead.values()),
            "topics": topics, "ledger": {"records": self.ledger_records, "dead": self.ledger_dead, "equal": True},
            "cuts": {"exported": self.cuts, "written_now": self.written, "outside": self.outside},
        }  # fmt: skip


def steps(master: Master, declared: Declared, folder: Folder, wanted: Wanted) -> Generator[str, None, Summary]:
    """Export what is not exported yet, yielding the name of each step when it is done; return what is there then.

    Parameters
    ----------
    declared : returns the declaration of a definition hash, under which a cut was archived

    Raises
    ------
    MasterRefused
        A file is not the one that was archived, or does not hold what the ledger counted.
    UsageError
        The folder holds something else.
    """
    folder.claim(wanted)
    folder.recover()
    cuts = master.cuts()
    notes, written = [], 0
    for cut in cuts:
        note = folder.held(cut)
        if note is None and _meets(master, cut, wanted):
            note = yield from _write(master, declared(cut.definition), folder, wanted, cut)
            written += 1
            yield f"{cut.folder}: {sum(note.records.values()):,} records"
        if note is not None:
            notes.append(note)
    return _summary(wanted, cuts, notes, written)


def _write(
    master: Master, declaration: Declaration, folder: Folder, wanted: Wanted, cut: Cut
) -> Generator[str, None, Note]:
    master.check_files([cut])
    stage = folder.begin()
    hours = Hours(stage, f"cut-{cut.seq:010}", wanted.format, SINKS[wanted.format])
    counted: Counter[int] = Counter()
    counted_dead: Counter[int] = Counter()
    records, dead = Counter[str](), Counter[str]()
    for topic in topics(cut):
        held = columns(declaration.topic(topic))
        for batch in _batches(master.files([cut], topic), held):
            _count(counted, batch.column("seq"))
            _count(counted_dead, batch.column("seq").filter(batch.column("reason").is_valid()))
            chosen = _within(batch, wanted)
            records[topic] += chosen.num_rows
            dead[topic] += chosen.num_rows - chosen.column("reason").null_count
            if chosen.num_rows:
                hours.add(topic, held, chosen)
            yield "batch"
    hours.close()
    ledger_records, ledger_dead = _check(master, cut, counted, counted_dead)
    note = Note(
        cut.seq, cut.digest, dict(records), dict(dead), ledger_records, ledger_dead,
        {name: durable.sum_of(stage / name) for name in sorted(hours.files)},
    )  # fmt: skip
    yield from folder.commit(note)
    return note


def topics(cut: Cut) -> list[str]:
    """Return the topics that a cut has files of."""
    return sorted({name.split("/")[0].removeprefix("topic=") for name in cut.files if "/" in name})


def _batches(paths: Sequence[Path], held: Sequence[Column]) -> Iterator[Any]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            check_names(file.schema_arrow.names, held, str(path))
            yield from file.iter_batches(BATCH_ROWS, columns=[c.source for c in held])


def _count(counter: Counter[int], seqs: Any) -> None:
    for pair in pc.value_counts(seqs).to_pylist():
        counter[pair["values"]] += pair["counts"]


def _check(master: Master, cut: Cut, counted: Counter[int], dead: Counter[int]) -> tuple[int, int]:
    """Compare what was read with the ledger's counts; return how many records, and dead ones, those are."""
    tally = master.tally([cut])
    for seq in sorted({*tally, *counted}):
        expected, got = tally.get(seq, (0, 0)), (counted[seq], dead[seq])
        if got != expected:
            raise MasterRefused(
                f"{master.path / cut.folder}: ledger seq {seq}: expected {expected[0]} records, {expected[1]} of them dead, "
                f"as in {TALLY}, got {got[0]} and {got[1]}; nothing of this cut was exported: restore it from a backup"
            )
    return sum(n for n, _ in tally.values()), sum(d for _, d in tally.values())


# ---- a part of the time --------------------------------------------------------------------------------------------


def _within(batch: Any, wanted: Wanted) -> Any:
    at = batch.column("append_us")
    masks = [] if wanted.from_us is None else [pc.greater_equal(at, wanted.from_us)]
    masks += [] if wanted.to_us is None else [pc.less(at, wanted.to_us)]
    return batch.filter(reduce(pc.and_, masks)) if masks else batch


def _meets(master: Master, cut: Cut, wanted: Wanted) -> bool:
    """Whether a cut may hold records of the wanted time, by its files' footers."""
    if wanted.from_us is None and wanted.to_us is None:
        return True
    spans = (_span(path) for topic in topics(cut) for path in master.files([cut], topic))
    return any(
        (wanted.to_us is None or first < wanted.to_us) and (wanted.from_us is None or last >= wanted.from_us)
        for first, last in spans
    )


def _span(path: Path) -> tuple[float, float]:
    """Return the first and last append time in a file, microseconds; everything when its footer does not say."""
    metadata = pq.read_metadata(path)
    column = metadata.schema.names.index("append_us")
    groups = [metadata.row_group(i).column(column).statistics for i in range(metadata.num_row_groups)]
    if any(group is None or not group.has_min_max for group in groups):
        return float("-inf"), float("inf")
    return min((g.min for g in groups), default=float("inf")), max((g.max for g in groups), default=float("-inf"))


def _summary(wanted: Wanted, cuts: Sequence[Cut], notes: Sequence[Note], written: int) -> Summary:
    records, dead, files, size = (Counter[str]() for _ in range(4))
    for note in notes:
        records.update(note.records)
        dead.update(note.dead)
        for name, held in note.files.items():
            topic = name.split("/")[0].removeprefix("topic=")
            files[topic] += 1
            size[topic] += held.bytes
    return Summary(
        wanted, cuts[-1].seq if cuts else 0, records, dead, files, size, sum(n.ledger_records for n in notes),
        sum(n.ledger_dead for n in notes), len(notes), written, len(cuts) - len(notes),
    )  # fmt: skip


def told(summary: Summary) -> str:
    """Say what was compared, for a person."""
    records, dead = sum(summary.records.values()), sum(summary.dead.values())
    if summary.whole:
        return (
            f"{records:,} records, {dead:,} of them dead letters: equal to the ledger's counts, row by row, up to seq "
            f"{summary.through_seq} (the newest cut)"
        )
    bounds = " ".join(
        f"{word} {iso(at)}"
        for word, at in (("from", summary.wanted.from_us), ("before", summary.wanted.to_us))
        if at is not None
    )
    cuts = "1 cut" if summary.cuts == 1 else f"{summary.cuts:,} cuts"
    return (
        f"{records:,} records appended {bounds}, {dead:,} of them dead letters; out of {cuts} with "
        f"{summary.ledger_records:,} records, equal to the ledger's counts, row by row"
    )
