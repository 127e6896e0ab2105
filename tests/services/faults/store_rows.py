"""Rows F2, F3, F7, F8, F15: Kafka and Cassandra killed and stopped, and everything at once."""

from __future__ import annotations

import os
import signal
import time

import psutil

from stack import home
from tests.services.faults.campaign import DATASET, SPEED, Campaign


def kafka_killed(c: Campaign, moment: str) -> None:
    """F2: kill the broker, under load, at rest, or again as soon as it is back."""
    if moment == "idle":
        c.load.pause()
    pid = c.kill("kafka")
    again = c.replaced("kafka", pid)
    if moment == "twice":
        os.kill(again, signal.SIGKILL)
        c.hit("kill kafka")
        c.replaced("kafka", again)
    c.streaming()


def kafka_stopped(c: Campaign, moment: str) -> None:
    """F3: the broker stands still for some seconds; what was sent meanwhile is acknowledged or unknown."""
    _stopped(c, "kafka", int(moment))
    c.streaming()


def cassandra_killed(c: Campaign, moment: str) -> None:
    """F7: kill Cassandra while the driver is about to write; answers say so, and stay as they were."""
    if moment != "any":
        # the driver sleeps at the place while Cassandra dies: what it does next meets nobody
        entry = {"fragments": "speed.folded:sleep=1500", "ledger": "speed.written:sleep=1500"}[moment]
        c.arm(entry)
        c.fires(entry)
    pid = c.kill("cassandra")
    c.answered("an answer says that Cassandra is silent", lambda a: any("cassandra" in m for m in a.missing))
    c.replaced("cassandra", pid)
    c.streaming()


def cassandra_stopped(c: Campaign, moment: str) -> None:
    """F8: Cassandra stands still longer than its clients wait; writes without an answer are found out."""
    _stopped(c, "cassandra", int(moment))
    c.streaming()
    assert any("cassandra" in m for a in c.recorder.answers for m in a.missing), "no answer said so"


def _stopped(c: Campaign, program: str, seconds: int) -> None:
    """Stop a program's process for some seconds: that long is the fault."""
    pid = c.pid(program)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
    c.hit(f"stop {program}")


def all_killed(c: Campaign, moment: str) -> None:
    """F15: kill every process within a second, in an order of chance; also the supervisor, which `up` replaces."""
    names = ["kafka", "cassandra", "hive", "api", SPEED]
    pids = {name: c.pid(name) for name in names}
    c.random.shuffle(names)
    if moment == "supervisor too":
        processes = home.marked(c.settings)
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=30)
        c.hit("kill everything")
        c.up()
    else:
        for name in names:
            os.kill(pids[name], signal.SIGKILL)
        c.hit("kill all five")
        for name in ("kafka", "cassandra", "hive", "api", SPEED):
            c.replaced(name, pids[name])
    c.streaming(300)
    c.eventually("Hive answers", lambda: c.pipeline.view(c.declaration.views[0].name, DATASET)["meta"]["complete"], 300)
