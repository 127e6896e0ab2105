"""Rows F4, F5, F6, F20: the stream's driver killed, stopped, doubled, or started over damaged files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.services.faults.campaign import DATASET, SPEED, Campaign

STEPS = ("wal", "computed", "folded", "fragments", "alerts", "written", "projected", "ledger", "committed", "put")
HARMS = ("commits", "offsets", "offsets:empty", "commits:empty", "all")
FILES = ("narrower", "coarser")
STARTS = ("start", "catchup", "rebuild", "seen", "merged")


def killed(c: Campaign, moment: str) -> None:
    """F4: kill the driver at a place, or raise in it, and wait until another goes on."""
    place, _, action = moment.partition(":")
    entry = f"speed.{place}:{action}"
    pid = c.pid(SPEED)
    if place in STARTS:  # a first death leads there: of the process, or of what it knows
        first = f"speed.{'committed' if place == 'catchup' else 'folded'}:{action}"
        c.arm(first, entry)
        c.fires(first)
        if place == "rebuild":
            with (c.settings.home / "speed" / DATASET / "seen-ids.lmdb" / "data.mdb").open("r+b") as file:
                file.write(b"\xff" * 8192)  # both of its first pages
        if action == "kill9":
            pid = c.replaced(SPEED, pid)
    else:
        c.arm(entry)
    c.fires(entry)
    if action == "kill9":
        c.replaced(SPEED, pid)
    c.streaming()


def checkpoint(c: Campaign, moment: str) -> None:
    """F5: damage Spark's checkpoint while the driver is down."""
    pid = c.kill(SPEED)
    damage(c, moment)
    c.replaced(SPEED, pid)
    c.streaming()


def damage(c: Campaign, moment: str) -> None:
    """Damage the newest checkpoint: its driver is dead, and the next one's JVM is only starting."""
    newest = max((c.settings.home / "speed" / DATASET).glob("checkpoint-*"), key=lambda p: p.name.split("-")[1])
    part, _, how = moment.partition(":")
    if part == "all":
        shutil.rmtree(newest)
    else:
        last = max((p for p in (newest / part).iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
        if how == "empty":
            last.write_bytes(b"")
        else:
            last.unlink()
    c.hit(f"checkpoint {moment}")


def flip(path: Path) -> bytes:
    """Flip eight bytes in the middle of a file; return what it held."""
    held = path.read_bytes()
    middle = len(held.rstrip(b"\0")) // 2
    path.write_bytes(held[:middle] + bytes(b ^ 0xFF for b in held[middle : middle + 8]) + held[middle + 8 :])
    return held


def two_drivers(c: Campaign, moment: str) -> None:
    """F6: stop the driver at a place, let a second one commit other ranges, and let the first go on."""
    entry, old = f"speed.{moment}:stop", c.pid(SPEED)
    c.arm(entry)
    c.fires(entry)
    c.eventually("the driver is stopped", lambda: psutil.Process(old).status() == psutil.STATUS_STOPPED)
    c.disarm()
    (c.settings.home / "speed" / DATASET / "lock").unlink()
    log, seq = c.settings.logs / "second-driver.log", c.seq()
    with log.open("w") as said:
        command = c.command("speed_layer/spark_streaming.py", "--dataset", DATASET)
        second = subprocess.Popen(command, env=c.environ(), stdout=said, stderr=said)
        try:
            c.eventually(f"a second driver commits; {log}", lambda: c.seq() > seq)
            os.kill(old, signal.SIGCONT)
            c.eventually("the first driver ends", lambda: not psutil.pid_exists(old) or c._pid(SPEED) != old)
        finally:
            if psutil.pid_exists(old):
                os.kill(old, signal.SIGCONT)
            second.terminate()
            second.wait(120)
    told = (c.settings.logs / f"{SPEED}.log").read_text("utf-8", "replace")[c.log_bytes :]
    assert any(word in told for word in ("another driver is at work", "another driver has taken over")), told[-2000:]
    c.replaced(SPEED, old)
    c.streaming()


def changed_file(c: Campaign, moment: str) -> None:
    """F20: the declaration's file changes while a micro-batch is cut short; the ledger's text stays in force."""
    with _other_declaration(c, moment):
        killed(c, "fragments:kill9")


def over_everything(c: Campaign, moment: str) -> None:
    """F4, F5 and F20 in one restart: killed at a place, over a damaged checkpoint and another declaration's file."""
    place, harm, file = moment.split("+")
    pid, entry = c.pid(SPEED), f"speed.{place}:kill9"
    with _other_declaration(c, file):
        c.arm(entry)
        c.fires(entry)
        damage(c, harm)
        c.replaced(SPEED, pid)
        c.streaming()


@contextmanager
def _other_declaration(c: Campaign, how: str) -> Iterator[None]:
    """Let the file say something else, which a driver that starts meanwhile must see and not follow."""
    path = c.settings.root / "datasets" / f"{DATASET}.yaml"
    text = path.read_text("utf-8")
    old, new = {
        "narrower": ("ndvi_std:   {type: decimal, scale: 6, min: 0, max: 1,", "ndvi_std:   {type: decimal, scale: 6, min: 0, max: 0.5,"),
        "coarser": ("window: 10 minutes", "window: 30 minutes"),
    }[how]  # fmt: skip
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")
    c.hit(f"declaration {how}")
    try:
        yield
    finally:
        path.write_text(text, "utf-8")
    told = (c.settings.logs / f"{SPEED}.log").read_text("utf-8", "replace")[c.log_bytes :]
    assert "the file has changed; the ledger's" in told, told[-2000:]
    assert c.stores.ledger.head().definition == c.declaration.hash
