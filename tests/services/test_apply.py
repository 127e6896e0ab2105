"""`braid plan` and `braid apply` on the whole running Braid: under load, killed midway, and exact under either declaration.

A kill after every step is tests/model/test_apply.py; here two of them are real, and all with APPLY_KILLS=all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from braid.declaration import Declaration
from braid.declaration_reader import load_all
from stack.status import statuses
from tests.services.api import landcover_as
from tests.services.pipeline import Pipeline, Record, by_hand, good, recomputes, root_with, running, scaled, served

CHECKOUT = Path(__file__).parents[2]
EVERYWHERE = os.environ.get("APPLY_KILLS") == "all"  # at eight places, in ten minutes; else at two
DATASET = "relabelled"  # land cover by a name of its own: other suites hold the other to its first text
SPEED = f"speed-{DATASET}"
DATA = CHECKOUT / "data" / "landcover"
WATCHED = "landcover_aggregates"
ADDED = """  ndvi_by_hour:
    title: NDVI per class and hour
    by: [class_name]
    window: 1 hour
    measures: {nir: {of: nir1_mean, stats: [mean, max]}}
"""
CHANGES = (
    ("ndvi_mean:  {type: decimal, scale: 6, min: -1, max: 1,", "ndvi_mean:  {type: decimal, scale: 4, min: -1, max: 0.5,"),
    ("\nviews:\n", f"\nviews:\n{ADDED}"),
    ("      nir2:  {of: nir2_mean, stats: [mean, stddev, min, max]}\n", ""),
)  # fmt: skip


class Changing(Pipeline):
    """A running Braid whose declaration changes, and everything it answered meanwhile."""

    dataset = DATASET

    def __init__(self, settings, again) -> None:
        super().__init__(settings)
        self.up = again
        self.old = self.declared[DATASET]
        self.answers: list[dict] = []
        self.receipt = ""  # of an answer by the old declaration
        self.stopped = threading.Event()

    def braid(self, *words: str, failpoint: str = "") -> subprocess.CompletedProcess:
        """Run a command to its end, however it ends."""
        environ = self.environ | self.settings.spark_env() | ({"BRAID_FAILPOINT": failpoint} if failpoint else {})
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *words], env=environ, capture_output=True, text=True, check=False, timeout=300
        )  # fmt: skip

    def told(self, *words: str) -> Any:
        """Run a command with --json and return what it printed."""
        done = self.braid(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def killed(self, failpoint: str, often: bool = False) -> None:
        """Run `braid apply` into a kill -9 at a failpoint; at one that is hit `often` only when all are asked for."""
        if often and not EVERYWHERE:
            return
        done = self.braid("apply", DATASET, "--yes", failpoint=f"{failpoint}:kill9")
        assert done.returncode == -9, (done.returncode, done.stderr[-3000:])

    def edit(self) -> Declaration:
        """Write the new text into the declaration's file; return it."""
        path = self.settings.root / "datasets" / f"{DATASET}.yaml"
        text = path.read_text("utf-8")
        for old, new in CHANGES:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path.write_text(text, "utf-8")
        self.declared = load_all(self.settings.root / "datasets")
        return self.declared[DATASET]

    def record(self) -> None:
        """Ask one view over and over, and keep every answer."""
        while not self.stopped.is_set():
            with suppress(OSError):  # the API was killed: the next one answers
                self.answers.append(self.view(WATCHED))
            time.sleep(0.2)

    def check(self, answers: list[dict], declaration: Declaration, records: list[Record]) -> None:
        """Hold answers of one view against the recompute of the log up to their as_of by a declaration."""
        by_end: dict[str, list[dict]] = {}
        for answer in answers:
            assert answer["meta"]["definition"] == declaration.hash
            by_end.setdefault(json.dumps(answer["meta"]["as_of"]["offsets"]), []).append(answer)
        view = answers[0]["meta"]["view"]
        ends = [json.loads(end) for end in by_end]
        for end, expected in recomputes(declaration, view, within(records, declaration), ends):
            for answer in by_end[json.dumps(end)]:
                assert served(answer, declaration, view) == expected, answer["meta"]


def within(records: list[Record], declaration: Declaration) -> list[Record]:
    """Return the records whose numbers lie within the declared bounds: the pipeline's oracle does not look."""
    fields = [
        f for f in declaration.topics[0].fields.values() if f.numeric and (f.min is not None or f.max is not None)
    ]

    def fits(record: Record) -> bool:
        event = good(record, declaration)
        if event is None:
            return False
        for f in fields:
            if event.get(f.name) is not None:
                x = scaled(Decimal(event[f.name]), f.scale)
                if (f.min is not None and x < f.min.scaleb(f.scale)) or (
                    f.max is not None and x > f.max.scaleb(f.scale)
                ):
                    return False
        return True

    return [record for record in records if fits(record)]


@pytest.fixture(scope="module")
def changing(stack, tmp_path_factory):
    text = by_hand(landcover_as(DATASET))
    root = root_with(tmp_path_factory.mktemp("apply") / "root", CHECKOUT, {DATASET: text})
    with running(stack, dataclasses.replace(stack, root=root)) as again:
        found = Changing(again(), again)
        try:
            yield found
        finally:
            found.stopped.set()


@pytest.mark.timeout(1200)  # a dozen Spark programs, one after another
def test_a_declaration_is_changed_under_load_and_killed_midway(changing):
    c = changing
    for limit in ("1200", "300"):  # the second time copies
        c.produce(
            "--data", str(DATA), "--start", "2026-01-01T00:00:00Z", "--every", "40s", "--limit", limit, "--rate", "2000"
        )
    c.caught_up()
    c.batch()
    c.receipt = c.eventually("generation 1 is served", lambda: first(c))["meta"]["receipt"]
    command = [
        str(c.settings.python), str(c.settings.root / "src/producer/kafka_producer.py"), DATASET, "--data", str(DATA),
        "--loop", "--rate", "60", "--start", "2026-03-01T00:00:00Z", "--every", "40s", "--quiet",
    ]  # fmt: skip
    load = subprocess.Popen(command, env=c.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    asking = threading.Thread(target=c.record)
    asking.start()
    try:
        new = changed(c)
    finally:
        load.terminate()
        load.wait(30)
        c.stopped.set()
        asking.join(30)
    c.caught_up()
    records = c.log()
    for spec in new.views:
        c.check([c.view(spec.name)], new, records)
    assert (
        c.view("ndvi_by_hour")["data"]
        and any(r for r in records if good(r, new))
        and len(within(records, new)) < len(records)
    )
    for one in (c.old, new):
        c.check([answer for answer in c.answers if answer["meta"]["definition"] == one.hash], one, records)
    hashes = [answer["meta"]["definition"] for answer in c.answers]
    turn = hashes.index(new.hash)
    assert set(hashes[:turn]) == {c.old.hash} and set(hashes[turn:]) == {new.hash}, "answers went back"
    pending = [a["meta"] for a in c.answers[:turn] if any(m["what"] == "definition" for m in a["meta"]["missing"])]
    assert pending and not any(meta["complete"] for meta in pending)


def test_afterwards_everything_agrees_with_a_second_path_and_there_is_no_way_back(changing):
    c = changing
    c.batch()
    records = c.log()
    for said in (c.braid("verify", DATASET), c.braid("verify", c.receipt)):
        assert said.returncode == 0, said.stdout + said.stderr
    back = c.braid("rollback", DATASET, "--to", "1")
    assert back.returncode == 1 and "declaration" in back.stderr, back.stderr
    counts = c.status()["counts"]
    assert counts["good"] == sum(row["n"] for row in c.view(WATCHED)["data"])
    assert counts["good"] + counts["copies"] + counts["dead"] == len(records)
    assert c.told("apply", DATASET)["applied"] is False


def changed(c: Changing) -> Declaration:
    """Change the declaration, with a kill at one place after another, and see what is said in between."""
    assert c.told("plan", DATASET)["needed"] is False
    new = c.edit()
    plan = c.told("plan", DATASET)
    assert {(d["what"], d["part"], d["name"]) for d in plan["differences"]} == {
        ("changed", "fields", "ndvi_mean"), ("added", "views", "ndvi_by_hour"), ("changed", "views", "spectral_by_class"),
    }  # fmt: skip
    assert plan["cost"]["records"] >= 1500 and plan["cost"]["minutes"] > 0 and plan["cost"]["disk_bytes"] > 0
    c.killed("apply.stopped", often=True)
    c.killed("apply.defined")
    meta = c.eventually("answers say so", lambda: waiting(c))
    assert meta["definition"] == c.old.hash
    assert any(f"braid apply {DATASET}" in text for text in c.status()["problems"])
    refused = c.braid("plan", DATASET)
    assert "is being applied" in refused.stdout
    with pytest.raises(Exception, match=f"braid apply {DATASET}"):
        c.up()
    c.killed("batch.views", often=True)
    c.killed("batch.partition_added")
    c.kill("api")  # a new one loads the old generation while Hive has the new shape
    assert c.eventually("the new API answers by the old declaration", lambda: waiting(c))["definition"] == c.old.hash
    if EVERYWHERE:
        c.killed("batch.published")
        c.eventually("the new generation is served", lambda: c.view(WATCHED)["meta"]["definition"] == new.hash)
    for place in ("apply.built", "apply.tables", "apply.dropped"):
        c.killed(place, often=True)
    done = c.braid("apply", DATASET, "--yes")
    assert done.returncode == 0, done.stderr
    (speed,) = [one for one in statuses(c.settings, []) if one.name == SPEED]
    assert speed.state == "RUNNING"
    return new


def first(c: Changing):
    answer = c.view(WATCHED)
    return answer if answer["meta"]["as_of"]["generation"] == 1 and answer["meta"]["complete"] else None


def waiting(c: Changing):
    meta = c.view(WATCHED)["meta"]
    return meta if any(m["what"] == "definition" for m in meta["missing"]) and not meta["complete"] else None
