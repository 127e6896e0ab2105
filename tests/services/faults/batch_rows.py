"""Rows F9, F10, F11: the batch killed, two at once, and the files of a generation and of the master damaged."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from braid.adapters.files import ROWS, FileGenerations
from tests.services.faults.campaign import DATASET, SPEED, Campaign
from tests.services.faults.stream_rows import flip

STEPS = (
    "read", "parquet", "before_manifest", "before_rename", "after_rename", "views", "audited", "written",
    "partition_added", "cas", "published", "served",
)  # fmt: skip


def killed(c: Campaign, moment: str) -> None:
    """F9: kill a batch at a place; the old generation or the new one is whole; the next run succeeds."""
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
    published = place in {"published", "served", "cas"}
    again = c.batch("", *(() if published else ("--force",)))
    assert again.returncode == 0, again.stderr[-1000:]
    whole(c)


def killed_everywhere(c: Campaign, moment: str) -> None:
    """F9: one run after another is killed, each at another place; what they all leave behind the last one masters."""
    c.load.pause()
    places = list(STEPS)
    c.random.shuffle(places)
    for place in places:
        c.load.go()
        c.flows(1)  # something to archive, else the run has no such place
        c.load.pause()
        done = c.batch(f"batch.{place}:kill9", "--force")
        assert c.fired(f"batch.{place}:kill9") and done.returncode == -signal.SIGKILL, (place, done.stderr[-1000:])
        c.hit(f"batch.{place}:kill9")
    again = c.batch("", "--force")
    assert again.returncode == 0, again.stderr[-1000:]
    whole(c)


def whole(c: Campaign) -> None:
    """C7 and C8 of the generation that is served now."""
    gen = c.stores.ledger.current().gen
    view = c.declaration.views[0].name
    c.eventually(f"generation {gen}", lambda: c.pipeline.view(view, DATASET)["meta"]["as_of"]["generation"] == gen)
    c.load.pause()
    c.pipeline.caught_up(DATASET)
    c.checks.read()
    wrong = c.checks.generation()
    assert not wrong, wrong[:3]


def two_jobs(c: Campaign, moment: str) -> None:
    """F10: two batch jobs over one served generation: one compare-and-set wins; or a batch while the driver restarts."""
    c.load.pause()
    if moment == "driver restarts":
        pid = c.kill(SPEED)
        done = c.batch("", "--force")
        assert done.returncode == 0, done.stderr[-1000:]
        c.replaced(SPEED, pid)
        c.streaming()
        return whole(c)
    entry = f"batch.{moment}:stop"
    command = c.command("batch_layer/spark_batch.py", "--dataset", DATASET, "--json", "--force")
    with subprocess.Popen(
        command, env=c.environ(entry), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as first:
        try:
            c.fires(entry)
            (c.settings.home / "batch" / DATASET / "lock").unlink()
            second = c.batch("", "--force")
            assert second.returncode == 0, second.stderr[-1000:]
            gen = c.stores.ledger.current().gen
        finally:
            os.kill(first.pid, signal.SIGCONT)
        _, said = first.communicate(timeout=180)
    assert first.returncode == 1 and "another batch run published first" in said, said[-1000:]
    assert c.stores.ledger.current().gen == gen
    return whole(c)


def damaged(c: Campaign, moment: str) -> None:
    """F11: a file of the served generation or of the master is not what was written: named, never a wrong number."""
    c.load.pause()
    if c.stores.ledger.current().gen == 0:
        assert c.batch().returncode == 0
    if moment == "master":
        path = max((c.settings.warehouse_dir / "master" / DATASET).glob("cut=*/**/*.parquet"), key=str)
        held = flip(path)
        done = c.batch("", "--force")
        path.write_bytes(held)
        c.hit("master flipped")
        assert done.returncode == 1 and path.name in done.stderr and "sha256" in done.stderr, done.stderr[-1000:]
        return
    path = _served_file(c)
    if moment == "flip":
        flip(path)
    else:
        path.unlink()
    c.hit(f"generation {moment}")
    pid = c.kill("api")  # the new one loads the generation from the damaged file
    c.replaced("api", pid)
    view = c.declaration.views[0].name
    c.eventually("the API refuses the generation by name", lambda: _refuses(c, view))
    done = c.batch()
    assert done.returncode == 0, done.stderr[-1000:]
    whole(c)


def _refuses(c: Campaign, view: str) -> bool:
    status = c.pipeline.status(DATASET)
    return "generation" in str(status.get("reason", "")) or "generation" in str(status.get("serving", ""))


def _served_file(c: Campaign) -> Path:
    files = FileGenerations(c.settings.warehouse_dir, c.declaration)
    made = files.manifest(c.stores.ledger.current().gen)
    part = next(iter(made.views[c.declaration.views[0].name].parts.values()))
    return c.settings.warehouse_dir / part.path / ROWS
