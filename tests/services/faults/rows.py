"""The rows of the fault matrix: what is killed or broken, at which moments, on a running campaign.

A row is a function of the campaign and one of its moments. It leaves the system broken or healing; the campaign then
stops the load, waits until everything is counted, and checks.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.services.faults.campaign import DATASET, SPEED, Campaign


@dataclass(frozen=True)
class Row:
    """One row: its moments, of which `make test` takes one; `allowed` names HTTP failures that it explains."""

    name: str
    title: str
    moments: tuple[str, ...]
    run: Callable[[Campaign, str], None]
    allowed: str = ""


# ---- F1: the producer ------------------------------------------------------------------------------------------------

_FEW = 120  # rows sent by one run


def _producer(c: Campaign, moment: str) -> None:
    """Kill the producer at a place, resume it from its journal, and let it end."""
    number = sum(r["row"] == "F1" for r in c.tally.rows)
    c.checks.foreign = b'"sat-'
    flags = [
        "--start",
        f"2026-07-{1 + number % 28:02d}T{number // 28 % 24:02d}:00:00Z",
        "--every",
        "10s",
        "--limit",
        str(_FEW),
    ]
    flags += ["--rate", "100", "--data", str(c.settings.root / "data" / "landcover"), "--json", "--quiet"]
    # late enough that a journal was written, where the place comes by often
    entry = f"producer.{moment}:kill9" + ("" if moment == "mid_file" else ":110")
    command = c.command("producer/kafka_producer.py", DATASET, *flags)
    killed = subprocess.run(command, env=c.environ(entry), capture_output=True, text=True, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-500:]
    c.hit(entry.split(":", maxsplit=1)[0])
    before = len(_of_producer(c))
    again = subprocess.run(
        [*command, "--resume"], env=c.environ(), capture_output=True, text=True, check=False, timeout=120
    )
    assert again.returncode == 0, again.stderr[-500:]
    summary = json.loads(again.stdout)
    assert summary["position"] == _FEW and summary["sent"] == summary["acknowledged"]
    # what was re-sent was in the log before: copies, counted as such by the check of every ledger row
    assert before + summary["acknowledged"] >= _FEW
    c.producer_copies += max(0, before + summary["acknowledged"] - _FEW)


def _of_producer(c: Campaign) -> list:
    return [r for r in c.pipeline.log(DATASET) if c.checks.foreign in (r.raw or b"") and _day(r.raw, c)]


def _day(raw: bytes, c: Campaign) -> bool:
    number = sum(r["row"] == "F1" for r in c.tally.rows)
    return f"2026-07-{1 + number % 28:02d}T{number // 28 % 24:02d}:".encode() in raw


# ---- F4, F5: the stream ----------------------------------------------------------------------------------------------


def _speed(c: Campaign, moment: str) -> None:
    """Kill the stream's driver at a place, or raise in it, and wait until another goes on."""
    place, _, action = moment.partition(":")
    entry = f"speed.{place}:{action}"
    pid = c.pid(SPEED)
    started = place in {"start", "catchup", "rebuild", "seen", "merged"}
    if started:  # a place of the start: a first death leads there
        first = "speed.committed:kill9" if place == "catchup" else "speed.folded:kill9"
        c.arm(first, entry)
        c.fires(first)
        if place == "rebuild":
            _flip(c.settings.home / "speed" / DATASET / "seen-ids.lmdb" / "data.mdb")
        if action == "kill9":
            pid = c.replaced(SPEED, pid)
    else:
        c.arm(entry)
    c.fires(entry)
    if action == "kill9":
        c.replaced(SPEED, pid)
    c.streaming()


def _checkpoint(c: Campaign, moment: str) -> None:
    """Damage Spark's checkpoint while the driver is down."""
    pid = c.kill(SPEED)
    damage(c, moment)
    c.replaced(SPEED, pid)
    c.streaming()


def damage(c: Campaign, moment: str) -> None:
    """Damage the newest checkpoint: its driver is dead, and the next has not begun a query yet."""
    newest = max((c.settings.home / "speed" / DATASET).glob("checkpoint-*"), key=lambda p: p.name.split("-")[1])
    part, _, how = moment.partition(":")
    if part == "all":
        for path in sorted(newest.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        newest.rmdir()
    else:
        last = max((p for p in (newest / part).iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
        last.write_bytes(b"") if how == "empty" else last.unlink()
    c.hit(f"checkpoint {moment}")


def _flip(path: Path, at: int | None = None) -> bytes:
    """Flip some bytes of a file; return what it held."""
    held = path.read_bytes()
    middle = len(held) // 2 if at is None else at
    damaged = bytearray(held)
    for i in range(middle, min(middle + 8, len(held))):
        damaged[i] ^= 0xFF
    path.write_bytes(damaged)
    return held


# ---- F9: the batch ---------------------------------------------------------------------------------------------------


def _batch(c: Campaign, moment: str) -> None:
    """Kill a batch at a place; the old generation or the new one is whole; the next run succeeds."""
    place, _, action = moment.partition(":")
    entry = f"batch.{place}:{action}"
    c.load.pause()  # two jobs' worth of cores are enough; what was sent is being counted meanwhile
    done = c.batch(entry, "--force")
    assert c.fired(entry), done.stderr[-1000:]
    c.hit(entry)
    if action == "kill9":
        assert done.returncode == -signal.SIGKILL, done.stderr[-1000:]
    elif action == "raise":
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr[-1000:]
    again = c.batch("", *(() if place in {"published", "served", "cas"} else ("--force",)))
    assert again.returncode == 0, again.stderr[-1000:]
    generation_is_whole(c)


def generation_is_whole(c: Campaign) -> None:
    """C7 and C8 of the generation that is served now, and Hive's plain names select it."""
    gen = c.stores.ledger.current().gen
    view = c.declaration.views[0].name
    c.eventually(f"generation {gen}", lambda: c.pipeline.view(view, DATASET)["meta"]["as_of"]["generation"] == gen)
    c.load.pause()
    c.pipeline.caught_up(DATASET)
    c.checks._read()
    wrong = c.checks.generation()
    assert not wrong, wrong[:3]


SPEED_STEPS = ("wal", "computed", "folded", "fragments", "alerts", "written", "ledger", "committed", "put", "projected")
SPEED_STARTS = ("start", "catchup", "rebuild", "seen", "merged")
BATCH_STEPS = (
    "read", "parquet", "before_manifest", "before_rename", "after_rename", "views", "audited", "written",
    "partition_added", "cas", "published", "served",
)  # fmt: skip

ROWS = (
    Row("F1", "kill -9 producer, resume", ("acked", "sent", "before_send", "mid_file"), _producer),
    Row("F4", "kill -9 Spark driver; an error in it, the process living on",
        (*(f"{s}:kill9" for s in SPEED_STEPS), *(f"{s}:raise" for s in (*SPEED_STEPS, *SPEED_STARTS)), "ledger:unknown",
         *(f"{s}:kill9" for s in SPEED_STARTS)), _speed),
    Row("F5", "the checkpoint lost or damaged while the driver is down",
        ("commits", "offsets", "offsets:empty", "commits:empty", "all"), _checkpoint),
    Row("F9", "kill -9 batch job", (*(f"{s}:kill9" for s in BATCH_STEPS), "cas:unknown", "audited:raise"), _batch),
)  # fmt: skip
