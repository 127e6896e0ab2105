"""A whole running Braid for tests: services, streams and API of a folder of declarations, and an oracle that shares no code.

The oracle reads the raw bytes that Kafka holds and recomputes with `json`, `Decimal` and plain loops.
"""

import functools
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from braid.adapters.chosen import running as chosen_datasets
from braid.adapters.kafka_producer import EventProducer
from braid.declaration import Declaration
from braid.settings import Settings
from stack.layers import layers
from stack.programs import Program
from stack.services import services
from stack.status import statuses
from stack.supervisor import Supervisor
from stack.up import up
from tests.stack_fixture import names

PATIENCE_S = 180


@dataclass(frozen=True)
class Record:
    """A Kafka record: position, append time in microseconds UTC, raw bytes."""

    topic: str
    partition: int
    offset: int
    append_us: int
    raw: bytes


class Pipeline:
    """One running Braid. `settings.root` names the folder whose datasets/ it runs.

    Attributes
    ----------
    dataset : str, the one that is meant where none is named
    """

    dataset = "landcover"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.declared = chosen_datasets(settings)
        self.environ = names(BRAID_HOME=str(settings.home), BRAID_ROOT=str(settings.root))

    # ---- doing -------------------------------------------------------------------------------------------------

    def python(self, file: str, *arguments: str, **more) -> subprocess.CompletedProcess:
        """Run one of the plain scripts to its end."""
        command = [str(self.settings.python), str(self.settings.root / "src" / file), *arguments]
        return subprocess.run(
            command, env=self.environ | self.settings.spark_env(), capture_output=True, text=True, check=False, **more
        )

    def produce(self, *flags: str, dataset: str = "") -> dict:
        """Run the producer and return its summary."""
        done = self.python(
            "producer/kafka_producer.py", dataset or self.dataset, *flags, "--json", "--quiet", timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def batch(self, dataset: str = "") -> None:
        """Run one batch to its end."""
        done = self.python("batch_layer/spark_batch.py", "--dataset", dataset or self.dataset, "--once", timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]

    def send(self, topic: str, values: list, key=lambda _value: None) -> None:
        """Send raw bytes, acknowledged."""
        with EventProducer(self.settings.kafka_bootstrap) as producer:
            deliveries = [producer.send(topic, key(value), value) for value in values]
        assert all(d.is_done and d.exception is None for d in deliveries)

    def kill(self, program: str) -> int:
        """Send SIGKILL to a supervised program and return the pid it had."""
        pid = self.pid(program)
        os.kill(pid, signal.SIGKILL)
        return pid

    def pid(self, program: str) -> int:
        """Return the pid of a supervised program that runs."""
        return next(s.pid for s in statuses(self.settings, []) if s.name == program and s.pid)

    # ---- asking ------------------------------------------------------------------------------------------------

    def get(self, path: str, timeout_s: float = 10):
        """Return the JSON of an API path."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.settings.ports.api}{path}", timeout=timeout_s) as answer:
            return json.load(answer)

    def status(self, dataset: str = "") -> dict:
        """Return the API's status of a dataset."""
        return {d["dataset"]: d for d in self.get("/api/v1/status")["datasets"]}[dataset or self.dataset]

    def view(self, view: str, dataset: str = "", **query: str) -> dict:
        """Return a merged answer with its exact states."""
        text = "&".join(f"{k}={v}" for k, v in ({"state": "1", "limit": "10000"} | query).items())
        return self.get(f"/api/v1/datasets/{dataset or self.dataset}/views/{view}?{text}")

    def eventually(self, what: str, ask, patience_s: float = PATIENCE_S):
        """Return the first truthy answer of `ask`, asked until patience ends; errors of a store that is down are waited out."""
        until, last = time.monotonic() + patience_s, None
        while time.monotonic() < until:
            try:
                if last := ask():
                    return last
            except (OSError, KafkaError) as error:
                last = error
            time.sleep(0.1)
        raise AssertionError(f"{what}: not within {patience_s} s; last: {last!r}")

    def caught_up(self, dataset: str = "", patience_s: float = PATIENCE_S) -> dict:
        """Wait until the served head is the end of the log as Kafka has it now; return the status."""
        dataset = dataset or self.dataset
        found = self.eventually("the broker answers", lambda: self.ends(dataset), patience_s)
        ends = {f"{t}:{p}": e for (t, p), e in found.items()}

        def there():
            view = self.declared[dataset].views[0].name
            meta = self.view(view, dataset)["meta"]
            # the status after the answer: one from before it may be of an earlier seq
            return self.status(dataset) if meta["complete"] and meta["as_of"]["offsets"] == ends else None

        return self.eventually(f"{dataset}: the answer covers {ends}", there, patience_s)

    # ---- the log -------------------------------------------------------------------------------------------------

    def _consumer(self) -> KafkaConsumer:
        return KafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap, isolation_level="read_committed", enable_auto_commit=False
        )

    def ends(self, dataset: str = "") -> dict:
        """Return the end offset of every partition."""
        consumer = self._consumer()
        topics = [topic.name for topic in self.declared[dataset or self.dataset].topics]
        found = consumer.end_offsets([TopicPartition(t, p) for t in topics for p in consumer.partitions_for_topic(t)])
        consumer.close()
        return {(p.topic, p.partition): end for p, end in found.items()}

    def log(self, dataset: str = "") -> list[Record]:
        """Return every record of the dataset's topic, in ledger order."""
        consumer, ends = self._consumer(), self.ends(dataset)
        places = [TopicPartition(*p) for p in ends]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        records: list[Record] = []
        while any(consumer.position(p) < ends[p.topic, p.partition] for p in places):
            for batch in consumer.poll(1000).values():
                records += [Record(r.topic, r.partition, r.offset, r.timestamp * 1000, r.value) for r in batch]
        consumer.close()
        return sorted(records, key=lambda r: (r.topic, r.partition, r.offset))


# ---- the oracle ------------------------------------------------------------------------------------------------------


def scaled(text: Decimal, scale: int) -> int:
    """Return a decimal as a scaled integer, half-even."""
    return int(text.scaleb(scale).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


class Count:
    """The states of one view over the records handed over so far: plain loops, each id once."""

    def __init__(self, declaration: Declaration, view: str) -> None:
        self._declaration = declaration
        self._spec = declaration.view(view)
        self._seen: set = set()
        self._cells: dict[tuple, dict] = {}

    def add(self, records) -> None:
        """Count records; those that are no good event are named by their dead letters elsewhere and are passed over."""
        topic, window_us = self._declaration.topics[0], self._spec.window_us
        for r in records:
            event = good(r, self._declaration)
            if event is None:
                continue
            at_us = instant_us(event[topic.event_time.field])
            identity = tuple(
                instant_us(event[f]) if topic.fields[f].type == "time" else event[f] for f in topic.event_id
            )
            if identity in self._seen:
                continue
            self._seen.add(identity)
            start = at_us // window_us * window_us if window_us else 0
            place = (start, *(event[c] for c in self._spec.by))
            cell = dict(self._cells.get(place) or {m.name: (0, 0, 0, None, None) for m in self._spec.measures})
            for m in self._spec.measures:
                if event.get(m.of) is not None:
                    cell[m.name] = with_one(cell[m.name], scaled(Decimal(event[m.of]), m.scale))
            self._cells[place] = cell  # a new one: what was handed out stays as it was

    def states(self) -> dict:
        """Return {(window start in µs, *keys): {measure: (n, sum, sumsq, min, max)}}."""
        return dict(self._cells)


def with_one(moments: tuple, x: int) -> tuple:
    """Return (n, Σx, Σx², min, max) with one more value."""
    n, total, squares, low, high = moments
    return n + 1, total + x, squares + x * x, x if n == 0 else min(low, x), x if n == 0 else max(high, x)


def recompute(declaration: Declaration, view: str, records: list[Record], until: dict | None = None) -> dict:
    """Return the states of a view over the records before `until` (by "topic:partition"; None for all), in their order."""
    count = Count(declaration, view)
    count.add(r for r in records if until is None or r.offset < until[f"{r.topic}:{r.partition}"])
    return count.states()


def recomputes(declaration: Declaration, view: str, records: list[Record], untils: list[dict]):
    """Yield (until, states) for many ends at once, the earliest first: each counts on from the one before.

    Ends of ledger rows are one chain, each covering the one before: that is asserted here.
    """
    count, covered = Count(declaration, view), dict.fromkeys(untils[0], 0) if untils else {}
    for until in sorted(untils, key=lambda u: sum(u.values())):
        assert all(covered[p] <= until[p] for p in until), f"{until} does not continue {covered}"
        count.add(r for r in records if covered[p := f"{r.topic}:{r.partition}"] <= r.offset < until[p])
        covered = until
        yield until, count.states()


def good(record: Record, declaration: Declaration) -> dict | None:
    """Return the event of a record that the tests meant as good: JSON with every required field."""
    event = parsed(record.raw)
    if not isinstance(event, dict) or event.get("_bad"):
        return None
    topic = declaration.topics[0]
    return event if all(event.get(n) is not None for n, f in topic.fields.items() if not f.optional) else None


@functools.cache
def parsed(raw: bytes):
    """Return the JSON of a record's bytes with exact decimals, None when they hold none; once per record."""
    try:
        return json.loads(raw, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, TypeError):
        return None


@functools.cache
def instant_us(text: str) -> int:
    """Return an ISO time as microseconds UTC; a time without a zone is UTC."""
    at = datetime.fromisoformat(text)
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 10**6)


def served(answer: dict, declaration: Declaration, view: str) -> dict:
    """Return an answer's exact states in the oracle's form."""
    spec, result = declaration.view(view), {}
    for row in answer["data"]:
        start = instant_us(row["window_start"]) if spec.window_us else 0
        measures = row["state"]["measures"]
        result[start, *(row[c] for c in spec.by)] = {
            m.name: (
                int(measures[m.name]["n"]), int(measures[m.name]["sum"]), int(measures[m.name]["sumsq"]),
                measures[m.name]["min"], measures[m.name]["max"],
            )
            for m in spec.measures
        }  # fmt: skip
    return result


def check_views(pipeline: Pipeline, dataset: str = "landcover", offset_us: int = 0) -> dict:
    """Assert that every merged view equals the recompute of the log up to its as_of; return the last answer's meta.

    `offset_us` is what the declared zone of times written without one adds to them.
    """
    records, declaration = pipeline.log(dataset), pipeline.declared[dataset]
    meta = {}
    for spec in declaration.views:
        answer = pipeline.view(spec.name, dataset)
        meta = answer["meta"]
        assert meta["complete"], meta
        expected = recompute(declaration, spec.name, records, meta["as_of"]["offsets"])
        shifted = {(at + offset_us if spec.window_us else at, *key): cell for (at, *key), cell in expected.items()}
        assert served(answer, declaration, spec.name) == shifted
    return meta


def check_verified(pipeline: Pipeline, dataset: str) -> None:
    """Assert that `braid verify` finds all of a dataset equal, and the receipt of every view and layer."""
    command = [str(pipeline.settings.python), "-m", "cli.main", "verify"]
    done = subprocess.run(
        [*command, dataset], env=pipeline.environ, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(line.startswith("equal ") for line in done.stdout.splitlines()), done.stdout
    views = [spec.name for spec in pipeline.declared[dataset].views]
    tokens = [
        pipeline.view(view, dataset, layer=layer)["meta"]["receipt"]
        for view in views
        for layer in ("merged", "batch", "speed")
    ]
    done = subprocess.run(
        [*command, "-"], input="\n".join(tokens), env=pipeline.environ, capture_output=True, text=True, check=False,
        timeout=180,
    )  # fmt: skip
    assert done.stdout == f"{len(tokens)} of {len(tokens)} receipts are equal\n", done.stdout + done.stderr


@contextmanager
def running(stack: Settings, settings: Settings, *, schedules: bool = False) -> Iterator[Callable[[], Settings]]:
    """Run the streams and the API of a root over the services of `stack`; they are stopped and forgotten at the end.

    Batches are run by hand, so that a test knows when, unless `schedules` run as well. Yields what a person does with `braid up`: it starts what does
    not run, and returns the settings of the running Braid.
    """

    def programs(chosen: Settings) -> list[Program]:
        mine = layers(chosen, list(chosen_datasets(chosen)))
        mine = [p for p in mine if schedules or not p.name.startswith("batch-")]
        started.update(p.name for p in mine)
        return [*services(stack), *mine]  # the services as they run: of another root's paths they would be started anew

    started: set[str] = set()
    try:
        yield lambda: up(settings, programs)
    finally:
        keeper = Supervisor.of(stack)
        if keeper:
            keeper.remove(sorted(started))


def by_hand(text: str) -> str:
    """Return a declaration whose next scheduled batch is a month away."""
    every = "batch: {every: 10 minutes}"
    assert text.count(every) == 1
    return text.replace(every, "batch: {every: 30 days}")


def root_with(folder: Path, checkout: Path, datasets: dict[str, str]) -> Path:
    """Make a root whose datasets/ holds these YAML texts and whose everything else is the checkout's."""
    folder.mkdir(parents=True)
    for part in ("src", "infrastructure", "dashboard", "data", "pyproject.toml"):
        (folder / part).symlink_to(checkout / part)
    for inner in ("datasets", "cql"):
        (folder / inner).mkdir()
    for name, text in datasets.items():
        (folder / "datasets" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder
