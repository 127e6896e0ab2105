"""`braid load` on the whole running Braid: three kinds of files with bad rows, killed midway and run again, exact afterwards."""

from __future__ import annotations

import dataclasses
import gzip
import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from braid.adapters import cassandra
from braid.instants import instant_us, iso
from stack.status import statuses
from tests.services.pipeline import Pipeline, check_verified, check_views, root_with, running

CHECKOUT = Path(__file__).parents[2]
DATASET, SPEED = "noise", "speed-noise"
TEXT = """
dataset: noise
topic: noise-log
event_id: [sensor, at]
event_time: {field: at, zone: UTC}
batch: {every: 30 days}
fields:
  sensor: {type: string, max_length: 20}
  room:   {type: string}
  at:     {type: time}
  db:     {type: decimal, scale: 2, min: 0, max: 200}
views:
  by_hour: {by: [room], window: 1 hour, measures: {db: {of: db, stats: [mean, stddev, min, max]}}}
  by_room: {by: [room], window: all, measures: {db: {of: db, stats: [mean, stddev, min, max]}}}
alerts:
  loud: {of: db, by: [room], rule: sigma, beyond: 3, min_count: 30, show: [sensor]}
"""
BEGIN_US = instant_us("2026-02-01T00:00:00Z")
CSV, PARQUET, JSON = 6000, 3000, 2000


class Loaded(Pipeline):
    """A running Braid, and its command."""

    def braid(self, *words: str, failpoint: str = "", timeout_s: float = 280) -> subprocess.CompletedProcess:
        """Run a command to its end, however it ends."""
        environ = self.environ | self.settings.spark_env() | ({"BRAID_FAILPOINT": failpoint} if failpoint else {})
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *words], env=environ, capture_output=True, text=True, check=False, timeout=timeout_s
        )  # fmt: skip

    def bulk_rows(self) -> list[Any]:
        with cassandra.connect(self.settings) as store:
            ledger = store.stores(self.declared[DATASET]).ledger
            return [row for row in ledger.rows(-1, ledger.head().seq) if row.kind == "bulk"]

    def speed_state(self) -> str:
        return next(one.state for one in statuses(self.settings, []) if one.name == SPEED)


def rows(first: int, count: int, seed: int) -> list[tuple[str, str, str, str]]:
    """Return good rows: sensor, room, time, number."""
    rng = Random(seed)
    return [
        (f"s{i}", rng.choice(("lab", "hall", "é")), iso(BEGIN_US + i * 7_000_000), f"{rng.uniform(20, 90):.3f}")
        for i in range(first, first + count)
    ]


def csv_text(some: list[tuple[str, str, str, str]]) -> str:
    return "sensor,room,at,db\n" + "".join(",".join(row) + "\n" for row in some)


@pytest.fixture(scope="module")
def noise(stack, tmp_path_factory):
    root = root_with(tmp_path_factory.mktemp("load") / "root", CHECKOUT, {DATASET: TEXT})
    with running(stack, dataclasses.replace(stack, root=root)) as again:
        yield Loaded(again())


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Path:
    """Return a folder of three files with bad rows; the CSV also holds some of what was sent before."""
    folder = tmp_path_factory.mktemp("history")
    bad = [("late", "lab", "yesterday", "1"), ("x", "lab", iso(BEGIN_US), "loud"), ("", "lab", iso(BEGIN_US), "1")]
    csv = [*rows(0, 100, 1), *rows(1000, CSV, 2), *bad]
    (folder / "one.csv.gz").write_bytes(gzip.compress(csv_text(csv).encode()))
    some = rows(10_000, PARQUET, 3)
    columns = list(zip(*some, strict=True))
    numbers = [float(text) for text in columns[3]]
    numbers[7] = 1000.0  # beyond its bound
    table = pa.table({"sensor": columns[0], "room": columns[1], "at": columns[2], "db": numbers})
    pq.write_table(table, folder / "two.parquet", row_group_size=1000)
    lines = [
        json.dumps(dict(zip(("sensor", "room", "at"), row, strict=False)))[:-1] + f', "db": {row[3]}}}'
        for row in rows(20_000, JSON, 4)
    ]
    lines[5] = "{"
    (folder / "three.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.mark.timeout(1200)
def test_history_is_loaded_once_though_it_was_killed_twice(noise: Loaded, history: Path, tmp_path: Path) -> None:
    c = noise
    before = tmp_path / "before.csv"
    before.write_text(csv_text(rows(0, 400, 1)), "utf-8")
    c.produce("--data", str(before), "--limit", "all", "--rate", "5000", dataset=DATASET)
    c.caught_up(DATASET)
    c.batch(DATASET)
    more = tmp_path / "more.csv"
    more.write_text(csv_text(rows(400, 60, 5)), "utf-8")
    c.produce("--data", str(more), "--limit", "all", "--rate", "5000", dataset=DATASET)
    told = c.caught_up(DATASET)
    head = told["head"]["seq"]

    wrong = c.braid("load", DATASET, str(history / "nothing.csv"))
    assert wrong.returncode == 2 and len(wrong.stderr.splitlines()) == 1 and "nothing.csv" in wrong.stderr
    assert c.speed_state() == "RUNNING"

    killed = c.braid("load", DATASET, str(history), failpoint="load.sent:kill9")
    assert killed.returncode == -9, killed.stderr[-3000:]
    assert c.speed_state() != "RUNNING" and not c.bulk_rows()
    assert c.view("by_room", DATASET)["meta"]["complete"]  # of what was counted: records wait in Kafka

    killed = c.braid("load", DATASET, str(history), failpoint="load.committed:kill9")
    assert killed.returncode == -9, killed.stderr[-3000:]
    meta = c.eventually("answers name it", lambda: waiting(c))
    assert meta["as_of"]["seq"] == head and meta["missing"][0]["from_seq"] == head + 1
    assert sum(b - a for a, b in meta["missing"][0]["offsets"].values()) >= CSV + PARQUET + JSON
    assert any("in bulk" in text for text in c.status(DATASET)["problems"])

    done = c.braid("load", DATASET, str(history), "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["resumed"] and (told["rows"], told["rejected"]) == (100 + CSV + 3 + PARQUET + JSON, 5)
    (row,) = c.bulk_rows()
    assert (row.seq, row.good, row.dead) == (head + 1, CSV + PARQUET - 1 + JSON - 1, 0) and row.copies >= 100
    assert told["seq"] == row.seq
    rejects = [json.loads(line) for line in Path(told["rejects"]).read_text("utf-8").splitlines()]
    assert sorted((r["file"], r.get("line", r.get("row"))) for r in rejects) == [
        ("one.csv.gz", CSV + 102), ("one.csv.gz", CSV + 103), ("one.csv.gz", CSV + 104), ("three.jsonl", 6), ("two.parquet", 8),
    ]  # fmt: skip
    assert {r["raw"] for r in rejects} >= {"late,lab,yesterday,1", "{"}

    c.eventually("the stream runs", lambda: c.speed_state() == "RUNNING")
    meta = check_views(c, DATASET)
    assert meta["as_of"]["seq"] == row.seq and meta["as_of"]["cut_seq"] == row.seq


@pytest.mark.timeout(600)
def test_afterwards_the_stream_goes_on_and_everything_agrees(noise: Loaded, tmp_path: Path) -> None:
    c = noise
    after = tmp_path / "after.csv"
    after.write_text(csv_text([*rows(1000, 50, 2), *rows(30_000, 70, 6)]), "utf-8")  # the first are copies of history
    c.produce("--data", str(after), "--limit", "all", "--rate", "5000", dataset=DATASET)
    counts = c.caught_up(DATASET)["counts"]
    assert counts["good"] == 460 + CSV + PARQUET - 1 + JSON - 1 + 70
    check_views(c, DATASET)
    check_verified(c, DATASET)
    shown = c.braid("generations", DATASET, "--show", "2")
    assert "bulk" in shown.stdout, shown.stdout + shown.stderr
    back = c.braid("rollback", DATASET, "--to", "1")
    assert back.returncode == 1 and "kind bulk" in back.stderr, back.stderr


def waiting(c: Loaded):
    meta = c.view("by_room", DATASET)["meta"]
    return meta if any(m["what"] == "bulk" for m in meta["missing"]) and not meta["complete"] else None
