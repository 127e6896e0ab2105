"""Every declared dataset side by side, under load, while each kind of process is killed: every view is exact all the same.

Streams, JVMs beneath them, Kafka, Cassandra, HiveServer2, the API's server and its worker, a batch in its middle, a schedule over
its batch and the supervisor die by `kill -9`, each dataset publishes meanwhile, and events, copies of events and rubbish come in
all the while. What the API answers, during it and at the end, is held against `recount`: the raw bytes that Kafka holds, counted
by DuckDB from the YAML text. Nothing here knows a dataset or a view.
"""

from __future__ import annotations

import dataclasses
import os
import random
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from batch_layer.schedule import LAST, write
from braid.adapters import cassandra
from braid.adapters.clock import SystemClock
from braid.adapters.kafka import KafkaLog
from braid.adapters.kafka_producer import EventProducer
from braid.declaration import Declaration, Topic
from braid.declaration_reader import load_all
from braid.errors import StoreUnavailable
from producer.plan import folder_of
from producer.sources import Timeline, events, made_field
from producer.tables import read_folder
from stack.supervisor import Supervisor
from tests.services.pipeline import Pipeline, root_with, running
from tests.services.recount import Recount, Span

CHECKOUT = Path(__file__).parents[2]
DECLARED = load_all(CHECKOUT / "datasets")
SERVICES = ("kafka", "cassandra", "hive")
BURST, EVERY_S = 25, 3.0  # events of each topic at once; streams that never rest leave two cores nothing for batches
PATIENCE_S = 300


def by_hand(text: str) -> str:
    """Return a declaration that runs always, and whose schedule waits until it is told."""
    text = re.sub(r"^batch: .*$", "batch: {every: 30 days}", text, flags=re.MULTILINE)
    return re.sub(r"^start: by_name", "start: always", text, flags=re.MULTILINE)


class Load(threading.Thread):
    """Sends the sample rows of every topic in bursts, now and then one again, under any key or none, and rubbish."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(name="load", daemon=True)
        self.sent: dict[str, list] = {name: [] for name in DECLARED}  # deliveries
        self._rows = {
            (name, topic.name): self._events(declaration, topic)
            for name, declaration in DECLARED.items()
            for topic in declaration.topics
        }
        self._broker = bootstrap
        self._ended = threading.Event()
        self._chance = random.Random(7)

    def _events(self, declaration: Declaration, topic: Topic) -> Iterator[tuple[bytes, bytes]]:
        data = read_folder(folder_of(CHECKOUT / "data" / declaration.dataset, topic))
        made = made_field(topic, data)
        # from 2026-01-01 on; rows that hold their time keep it, and none may lie ahead of now
        timeline = Timeline(1_767_225_600_000_000, 10_000_000) if made else Timeline(SystemClock().now_us(), 0)
        for event in events(topic, data, timeline):  # round and round: after the last row come copies
            yield event.key, event.value

    def run(self) -> None:
        with EventProducer(self._broker) as producer:
            for topic in [t.name for d in DECLARED.values() for t in d.topics]:
                with KafkaLog(self._broker) as log:
                    log.create(topic, 3)
            while not self._ended.is_set():
                for (name, topic), rows in self._rows.items():
                    burst = [next(rows) for _ in range(BURST)]
                    again = (None, self._chance.choice(burst)[1])  # a copy of any event, wherever it comes to lie
                    bad = (b"bad", self._chance.choice([b"{", b"[1]", b'{"some": "thing"}', b"\xff\xfe"]))
                    for key, value in [*burst, again, bad]:
                        self._send(producer, name, topic, key, value)
                self._ended.wait(EVERY_S)

    def _send(self, producer: EventProducer, name: str, topic: str, key: bytes | None, value: bytes) -> None:
        delivery = None
        while delivery is None:
            try:
                delivery = producer.send(topic, key, value)
            except StoreUnavailable:
                time.sleep(0.2)  # not handed over: nobody has it
        self.sent[name].append(delivery)

    def stop(self) -> None:
        """Send no more, and wait until what was sent is acknowledged."""
        self._ended.set()
        self.join(PATIENCE_S)
        until = time.monotonic() + PATIENCE_S
        while not all(d.is_done for sent in self.sent.values() for d in sent):
            assert time.monotonic() < until, "events without an outcome"
            time.sleep(0.05)


class Braid(Pipeline):
    """All datasets, with what breaks them."""

    def __init__(self, settings, up) -> None:
        super().__init__(settings)
        self.up = up
        self.load = Load(settings.kafka_bootstrap)

    def keeper(self) -> Supervisor:
        """Return the running supervisor, after starting again what it gave up, as a person would."""
        keeper = self.eventually("the supervisor answers", lambda: Supervisor.of(self.settings), PATIENCE_S)
        for name, state in keeper.states().items():
            if state.state in {"STOPPED", "FATAL", "EXITED"}:
                (self.settings.run / "gave-up" / f"{name}.json").unlink(missing_ok=True)
                keeper.start(name)
        return keeper

    def now(self, name: str) -> int:
        """Return the pid of a supervised program, once it runs."""

        def running_pid() -> int:
            state = self.keeper().states().get(name)
            return state.pid if state and state.state in {"STARTING", "RUNNING"} else 0

        return self.eventually(f"{name} runs", running_pid, PATIENCE_S)

    def beneath(self, name: str, kind: str, age_s: float = 0.0) -> list[psutil.Process]:
        """Return the processes of a name below a supervised program that have lived for some seconds (launchers have not)."""
        try:
            found = psutil.Process(self.now(name)).children(recursive=True)
            return [p for p in found if kind in p.name() and time.time() - p.create_time() >= age_s]
        except psutil.NoSuchProcess:
            return []

    def killed(self, *names: str) -> None:
        """Kill programs at once, and wait until others have taken their places."""
        pids = {name: self.now(name) for name in names}
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        for name, pid in pids.items():
            self.eventually(f"{name} comes back", lambda name=name, pid=pid: self.now(name) != pid, PATIENCE_S)

    def heads(self) -> dict[str, int]:
        """Return the head that the API tells of every dataset."""
        return {d["dataset"]: (d.get("head") or {"seq": 0})["seq"] for d in self.get("/api/v1/status")["datasets"]}

    def flows(self) -> None:
        """Wait until every dataset has counted something that came after now."""
        before = self.eventually("the status", self.heads, PATIENCE_S)

        def on() -> bool:
            self.keeper()
            now = self.heads()
            return all(now[name] > before[name] for name in DECLARED)

        self.eventually("every dataset counts on", on, PATIENCE_S)

    def due(self, *names: str, since_us: int = 0) -> None:
        """Let the schedules of datasets find that their newest run was long ago, or at another time."""
        for name in names:
            write(self.settings.home / "batch" / name / LAST, {"started_us": since_us})

    def generation(self, name: str) -> int:
        """Return the generation in the answers."""
        return self.status(name)["generation"]["generation"]

    def answers(self) -> dict[tuple[str, str], dict]:
        """Return a merged answer with its states of every view."""
        return {
            (name, view.name): self.eventually("an answer", partial(self.view, view.name, name, limit="100000"))
            for name, declaration in DECLARED.items()
            for view in declaration.views
        }

    def recount(self, name: str) -> Recount:
        """Return a count of everything that Kafka holds of a dataset and the ledger covers."""
        records = [(r.topic, r.partition, r.offset, r.append_us, r.raw) for r in self.log(name)]
        with cassandra.connect(self.settings) as store:
            ledger = store.stores(self.declared[name]).ledger
            rows = ledger.rows(-1, ledger.head().seq)
        spans = [
            Span(row.seq, topic, partition, start, end)
            for row in rows
            for topic, partition, start, end in row.range.partitions()
            if end > start
        ]
        return Recount((CHECKOUT / "datasets" / f"{name}.yaml").read_text("utf-8"), records, spans)


@pytest.fixture(scope="module")
def braid(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    texts = {name: by_hand(declaration.text) for name, declaration in DECLARED.items()}
    root = root_with(folder / "root", CHECKOUT, texts)
    told = folder / "failpoints"
    told.write_text("", "ascii")
    settings = dataclasses.replace(stack, root=root, failpoints=f"@{told}")
    with running(stack, settings, schedules=True) as up:
        found = Braid(up(), up)
        found.told = told
        found.load.start()
        yield found
        found.load.stop()


@pytest.mark.timeout(1800)  # every stream starts three times, every batch runs
def test_every_view_of_every_dataset_is_exact_whatever_is_killed(braid):
    began = time.monotonic()

    def note(what: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)  # noqa: T201 - how long each part took

    braid.flows()
    note("every dataset counts")
    publications(braid, note)
    early = braid.answers()

    for name in SERVICES:
        braid.killed(name)
        braid.flows()
        note(f"{name} killed, every dataset counts on")
    jvms = {name: braid.beneath(f"speed-{name}", "java") for name in DECLARED}
    pids = {name: braid.now(f"speed-{name}") for name in DECLARED}
    assert all(jvms.values())
    for one in [p for some in jvms.values() for p in some]:
        one.kill()
    for name, pid in pids.items():
        braid.eventually(
            f"{name}'s driver ends with its JVM", lambda n=name, p=pid: braid.now(f"speed-{n}") != p, PATIENCE_S
        )
    braid.flows()
    note("the JVM of every stream killed, every dataset counts on")

    keeper = int((braid.settings.run / "supervisord.pid").read_text("ascii"))
    drivers = [braid.now(f"speed-{name}") for name in DECLARED]
    for pid in (keeper, *drivers):  # the supervisor first, so that nobody starts the others again
        os.kill(pid, signal.SIGKILL)
    braid.eventually("no supervisor", lambda: Supervisor.of(braid.settings) is None)
    braid.up()
    braid.flows()
    note("the supervisor and every stream's driver killed, `up`, every dataset counts on")

    late = braid.answers()
    braid.load.stop()
    for name in DECLARED:
        braid.caught_up(name, PATIENCE_S)
    whole = braid.answers()
    note("the load is stopped, everything is counted")
    for name in DECLARED:
        exact(braid, name, early, late, whole)
        text = (braid.settings.logs / f"speed-{name}.log").read_text("utf-8", "replace")
        assert not re.search(r"StackOverflowError|FileNotFoundError", text), name
    note("every answer is recounted")


def publications(braid, note) -> None:
    """Publish every dataset by its schedule; a job dies in its middle, a schedule over its job, a JVM beneath a job, and the API."""
    first, second, third, *others = DECLARED
    mark = braid.settings.run / "failpoints" / "batch.views:kill9"
    mark.unlink(missing_ok=True)
    braid.told.write_text("batch.views:kill9", "ascii")
    braid.due(first)
    braid.killed("api")
    worker, *_ = braid.eventually("the API has a worker", lambda: braid.beneath("api", ""))
    worker.kill()
    braid.flows()
    note("the API and its worker killed, every dataset counts on")
    braid.eventually("a batch is killed in its middle", mark.exists, PATIENCE_S)
    braid.told.write_text("", "ascii")
    note("a batch killed in its middle")
    braid.due(second)  # batches of one machine take turns: the others would come before it
    schedule = braid.now(f"batch-{second}")
    braid.eventually("a batch runs", lambda: braid.beneath(f"batch-{second}", "java"), PATIENCE_S)
    os.kill(schedule, signal.SIGKILL)  # its job goes on without it
    braid.due(second, since_us=SystemClock().now_us())
    braid.eventually("the schedule comes back", lambda: braid.now(f"batch-{second}") != schedule, PATIENCE_S)
    braid.due(third)
    last = braid.settings.home / "batch" / third / LAST

    def dies() -> bool:
        for jvm in braid.beneath(f"batch-{third}", "java", 4.0):
            with suppress(psutil.NoSuchProcess):  # a launcher, which ends by itself
                jvm.kill()
        return "error" in last.read_text("utf-8")

    braid.eventually("a batch's JVM is killed, and its schedule knows", dies, PATIENCE_S)
    braid.due(third, first, *others)
    note("a schedule killed over its batch, and a JVM beneath a batch")
    for name in DECLARED:
        braid.eventually(f"{name} is published", lambda name=name: braid.generation(name) > 0, 2 * PATIENCE_S)
    braid.flows()
    note("every dataset is published and counts on")


def exact(braid, name: str, early: dict, late: dict, whole: dict) -> None:
    """Hold every answer about a dataset against the recount at the answer's own offsets."""
    recount = braid.recount(name)
    for answers in (early, late, whole):
        for (dataset, view), answer in answers.items():
            if dataset == name:
                assert answer["data"], (name, view)
                assert recount.differences(view, answer) == [], (name, view)
    for (dataset, view), answer in whole.items():
        if dataset == name:
            assert answer["meta"]["complete"], (view, answer["meta"]["missing"])
            assert answer["meta"]["as_of"]["generation"] >= 1
    counts = braid.status(name)["counts"]
    assert (recount.good, recount.copies, recount.dead) == tuple(counts[kind] for kind in ("good", "copies", "dead"))
    sent = braid.load.sent[name]
    known = {(d.value.topic, d.value.partition, d.value.offset) for d in sent if d.exception is None}
    held = {(r.topic, r.partition, r.offset) for r in braid.log(name)}
    assert known <= held
    assert len(known) > 500
