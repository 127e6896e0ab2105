"""Memory of the whole stack as proportional set size, at 1,000 events a second."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import lmdb

from bench import stats
from bench.lab import Lab, Watcher, eventually, memory
from bench.results import Result, Row, Size, Target
from bench.slices import Braid, Numbers, measured
from braid.adapters import cassandra

NAME = "weighed"
RATE = 1_000


def run(lab: Lab, size: Size) -> Result:
    """Send for a while and weigh every program every few seconds."""
    found = Result("memory", "Memory of the whole stack at 1,000 events/s, PSS", "MB")
    numbers = Numbers()
    lab.declared(NAME)
    with lab.running(NAME), Watcher(lambda: memory(lab.settings), 5.0) as weighed:
        arm = Braid(lab, NAME)
        before = disk(lab)
        one = measured(lab, arm, RATE, size.of(60, 10), "weighed", numbers)
    found.samples += [{"at_s": at, **each} for at, each in weighed.found]
    if one.void:
        found.failed("memory", one.void)
        return found
    newest = weighed.found[-1][1]
    totals = [(at, sum(each.values())) for at, each in weighed.found]
    late = totals[len(totals) // 3 :]
    slope = stats.slope(late)
    note = f"slope over the last two thirds {0.0 if slope is None else slope * 3600:+,.0f} MB an hour; an hour's soak is another run"
    found.rows.append(
        Row(
            "all programs together, at most",
            "MB",
            max(total for _, total in totals),
            target=Target("product", "at most", 6_000),
            note=note,
        )
    )
    found.rows += [Row(name, "MB", mb) for name, mb in sorted(newest.items())]
    after = disk(lab)
    found.rows += [grown(name, before[name], after[name], one.load["sent"]) for name in after]
    found.rows.append(_tables(lab, one.load["sent"]))
    found.bars = dict(sorted(newest.items(), key=lambda item: -item[1]))
    lab.drop(NAME)
    return found


def disk(lab: Lab) -> dict[str, int]:
    """Return how many bytes of the disk each store uses now, in whole blocks; LMDB's by its pages, as its map is allocated ahead."""
    home = lab.settings.home
    found = {"Kafka": _used(home / "kafka")}
    with lmdb.open(str(home / "speed" / NAME / "seen-ids.lmdb"), readonly=True, lock=False, max_dbs=2) as env:
        return found | {"seen ids": (env.info()["last_pgno"] + 1) * int(env.stat()["psize"])}


def grown(name: str, before: int, after: int, events: int) -> Row:
    """Return the row of a store's growth an event; no number where the store shrank, as it does when files of earlier data sets go."""
    shrank = after <= before
    note = "less than before: files of earlier data sets went meanwhile" if shrank else "growth on disk, used blocks"
    return Row(f"{name}, bytes an event", "bytes", None if shrank else (after - before) / events, note=note)


def _tables(lab: Lab, events: int) -> Row:
    """Return the row of the bytes an event that Cassandra's tables take, once it has written all of them from memory to the disk.

    Its commit log is allocated ahead and ends with a size; what grows are the tables' files, which it writes when memory is full.
    """
    folder = lab.settings.home / "cassandra" / "data" / NAME
    with cassandra.connect(lab.settings) as store:
        tables = [
            name
            for (name,) in store._session.run(
                "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?", (NAME,)
            )
            if store._session.run(f"SELECT * FROM {NAME}.{name} LIMIT 1")
        ]
        for name in tables:
            store._session.define(f"ALTER TABLE {NAME}.{name} WITH memtable_flush_period_in_ms = 1000")
        eventually(
            "every table of the data set on the disk",
            lambda: all([*folder.glob(f"{name}-*/*-TOC.txt")] for name in tables),
        )
    note = f"the {len(tables)} tables that hold rows, compressed, after a minute; besides, a commit log of a fixed size"
    return Row("Cassandra, bytes an event", "bytes", _used(folder) / events, note=note)


def _used(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # compacted away meanwhile
            total += path.stat().st_blocks * 512
    return total
