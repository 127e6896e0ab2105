"""Batch runs as processes of their own, on a real Kafka, Cassandra, Hive and Spark.

The speed layer's side is counted by plain loops (`tests/spark/speed.py`) into the real stores, so that what a
generation must hold is known from elsewhere.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from batch_layer import schedule
from braid.adapters import cassandra, heartbeat, hive, kafka
from braid.adapters.files import FileGenerations
from braid.adapters.hive import HiveCatalogue, HiveGenerations
from braid.adapters.kafka_producer import EventProducer
from braid.adapters.memory import Record
from braid.declaration import Declaration
from braid.declaration_reader import load
from braid.ledger import Current, Range
from braid.settings import Settings
from tests.spark.speed import Speed
from tests.stack_fixture import names

REPOSITORY = Path(__file__).parents[2]


class RealSpeed(Speed):
    """Counts what a real Kafka holds into a real Cassandra."""

    def __init__(
        self, settings: Settings, declaration: Declaration, log: kafka.KafkaLog, stores: cassandra.Stores
    ) -> None:
        self.settings = settings
        super().__init__(declaration, log=log, ledger=stores.ledger, fragments=stores.fragments)

    def send(self, count: int) -> None:
        with EventProducer(self.settings.kafka_bootstrap) as producer:
            for _ in range(count):
                producer.send(self.topic.name, None, self.next()[0] or b"", self.random.randrange(2))

    def held(self, wanted: Range) -> Iterator[Record]:
        for r in kafka.newest(self.settings.kafka_bootstrap, self.topic.name, 10**9):
            place = (self.topic.name, r.partition)
            if wanted.start[place] <= r.offset < wanted.end[place]:
                yield Record(self.topic.name, r.partition, r.offset, r.append_us, r.value)


@dataclass
class Batch:
    """A dataset of its own on the shared stack."""

    settings: Settings
    declaration: Declaration
    speed: RealSpeed
    connection: hive.Hive

    def command(self, *flags: str) -> list[str]:
        file = REPOSITORY / "src" / "batch_layer" / "spark_batch.py"
        return [str(self.settings.python), str(file), "--dataset", self.declaration.dataset, *flags]

    def environ(self) -> dict[str, str]:
        here = {"BRAID_HOME": str(self.settings.home), "BRAID_ROOT": str(self.settings.root)}
        return names(**here) | self.settings.spark_env()

    def run(self, *flags: str) -> dict:
        done = subprocess.run(
            self.command("--json", *flags), env=self.environ(), capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    def killed_after(self, step: str) -> None:
        """Start a run and kill it without a chance to tidy up, right after a step."""
        with subprocess.Popen(self.command(), env=self.environ(), stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if f" s  {step}: " in line:
                    process.kill()
                    break
            process.stderr.read()
            assert process.wait() == -signal.SIGKILL

    def check_served(self) -> Current:
        """Files and Hive hold the truth as of the served cut."""
        current = self.speed.ledger.current()
        files = FileGenerations(self.settings.warehouse_dir, self.declaration)
        stored = HiveGenerations(self.connection, self.declaration)
        for spec in self.declaration.views:
            truth = self.speed.truth[current.cut_seq][spec.name]
            assert files.view(current, spec) == stored.view(current, spec) == truth
        return current

    def selected(self) -> set[int | None]:
        """Return the generations that Hive's plain names select."""
        catalogue = HiveCatalogue(self.connection, self.declaration)
        return {catalogue.served(spec) for spec in self.declaration.views}


@pytest.fixture
def batch(stack: Settings, tmp_path: Path) -> Iterator[Batch]:
    name = f"batch_{uuid.uuid4().hex[:8]}"
    for folder in ("src", "infrastructure"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    (tmp_path / "datasets").mkdir()
    text = (REPOSITORY / "datasets" / "landcover.yaml").read_text("utf-8")
    text = text.replace("dataset: landcover", f"dataset: {name}").replace("image-events", name)
    (tmp_path / "datasets" / f"{name}.yaml").write_text(text, "utf-8")
    declaration = load(tmp_path / "datasets" / f"{name}.yaml")
    settings = replace(stack, root=tmp_path)
    with (
        kafka.KafkaLog(settings.kafka_bootstrap) as log,
        cassandra.connect(settings) as store,
        hive.connect(settings) as connection,
    ):
        store.apply_schema(declaration)
        speed = RealSpeed(settings, declaration, log, store.stores(declaration))
        yield Batch(settings, declaration, speed, connection)
        connection.rows(f"DROP DATABASE IF EXISTS {name} CASCADE", "cleaning up")
    for folder in ("warehouse/master", "warehouse/views", "warehouse/ids", "batch"):
        shutil.rmtree(settings.home / folder / name, ignore_errors=True)


def test_runs_publish_the_truth_whatever_killed_the_one_before(batch: Batch) -> None:
    speed = batch.speed
    speed.send(400)
    for some in (1, 60, 1000):
        speed.count(some)
    summary = batch.run()
    assert (summary["gen"], summary["cut_seq"], summary["audited"]) == (1, 3, {"checked": 3, "unaudited": []})
    assert (summary["mode"], summary["why"], summary["read"]) == ("full", "the first generation", summary["records"])
    assert batch.check_served().gen == 1
    assert batch.selected() == {1}
    for step in ("partition_added", "published"):
        speed.send(50)
        speed.count()
        before = speed.ledger.current().gen
        batch.killed_after(step)
        assert (batch.check_served().gen > before) == (step == "published"), step
    assert batch.selected() == {1}  # the run that was killed last had published, but not yet told Hive
    summary = batch.run()
    assert (summary["published"], len(summary["repaired"])) == (False, 3)
    assert batch.selected() == {batch.check_served().gen}
    speed.send(50)
    speed.count()
    summary = batch.run()
    assert (summary["cut_seq"], summary["mode"], summary["read"]) == (6, "incremental", summary["archived"])
    assert summary["archived"] < summary["records"]
    current = batch.check_served()
    assert batch.selected() == {current.gen}
    files = FileGenerations(batch.settings.warehouse_dir, batch.declaration)
    added = files.manifest(current.gen)
    summary = batch.run("--full")
    assert (summary["gen"], summary["mode"], summary["why"]) == (current.gen + 1, "full", "asked for")
    assert batch.check_served().gen == summary["gen"]
    assert files.manifest(summary["gen"]).views == added.views


def test_a_schedule_runs_when_it_is_due_and_holds_no_jvm_between(batch: Batch, tmp_path: Path) -> None:
    batch.speed.send(40)
    batch.speed.count()
    folder = batch.settings.home / "batch" / batch.declaration.dataset
    schedule.write(folder / schedule.LAST, {"started_us": 0})  # long ago: the first run is due at once

    def planned() -> bool:
        last, plan = schedule.read(folder / schedule.LAST), schedule.read(folder / schedule.NEXT)
        return bool(last and plan and last["started_us"] and plan["next_us"] == last["started_us"] + 300_000_000)

    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(batch.command("--every", "5 minutes"), env=batch.environ(), stdout=log, stderr=log)
        try:
            until = time.monotonic() + 300
            while not planned():
                assert process.poll() is None and time.monotonic() < until, (tmp_path / "log").read_text()[-3000:]
                time.sleep(0.2)
            me = psutil.Process(process.pid)
            assert (me.children(), "schedule.py" in " ".join(me.cmdline())) == ([], True)
            assert me.memory_info().rss < 100e6
            beat = batch.settings.heartbeat(f"batch-{batch.declaration.dataset}")
            assert heartbeat.stage(beat) == "waiting for the next run"
        finally:
            process.terminate()
        assert process.wait(60) == 0
    assert batch.check_served().gen == 1


def test_a_stopped_schedule_stops_its_run(batch: Batch, tmp_path: Path) -> None:
    batch.speed.send(40)
    batch.speed.count()
    folder = batch.settings.home / "batch" / batch.declaration.dataset
    schedule.write(folder / schedule.LAST, {"started_us": 0})
    # a run of so few records could be over before it is told to stop
    environ = batch.environ() | {"BRAID_FAILPOINT": "batch.views:sleep=60000"}
    with subprocess.Popen(
        batch.command("--every", "5 minutes"), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"  read: " in line:
                break
        run = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.stderr.read()
        assert process.wait(60) == 0
        assert psutil.wait_procs(run, timeout=60)[1] == []
    last = schedule.read(folder / schedule.LAST)
    assert last is not None
    assert "error" in last
    assert batch.check_served().gen == 0
