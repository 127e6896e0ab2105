"""The speed layer as a plain spark-submit file: `spark-submit src/speed_layer/spark_streaming.py [--dataset NAME]`.

Kafka → fragments, alerts, dead letters and the ledger in Cassandra, micro-batch by micro-batch, until a signal stops
it. It starts from the ledger, wherever a crash left everything else.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

from pyspark.sql import SparkSession

from braid import change
from braid.adapters import cassandra, environment, failpoints, files, kafka, lmdb, lock
from braid.adapters import spark as frames
from braid.adapters.behind import Aside, Behind, BehindProjections, BehindSeenIds
from braid.adapters.clock import SystemClock
from braid.adapters.doorbell import ring
from braid.adapters.heartbeat import REFUSED, Heartbeat
from braid.adapters.kafka_producer import EventProducer
from braid.adapters.published import PublishedProjections
from braid.declaration import Declaration
from braid.declaration_reader import load_all
from braid.definitions import in_force
from braid.errors import (
    BeingApplied,
    BraidError,
    BulkPending,
    DeclarationError,
    Gap,
    LedgerError,
    StoreUnavailable,
    UnknownDataset,
)
from braid.ledger import LedgerRow
from braid.ports import Ledger, Projections
from braid.settings import Settings
from speed_layer import pace, start, stream
from speed_layer.history import SparkHistory
from speed_layer.microbatch import Driver, Ports

_GROUP_EVERY_S = 1.0
_NICER = 5  # than the API and the stores: a viewer waits for an answer, and the stream itself for a store
_RETRY_S = 2.0  # between two looks at a store that does not answer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stream of one dataset and return the exit status."""
    options = _options(argv)
    try:
        settings = environment.load()
        failpoints.arm(settings)
        declaration = chosen(settings, options.dataset)
        with lock.exclusive(settings.home / "speed" / declaration.dataset / "lock", f"stream {declaration.dataset}"):
            _run(settings, declaration, options)
    except BraidError as error:
        print(f"braid stream: {error}", file=sys.stderr)  # noqa: T201 - the one line a person reads
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def chosen(settings: Settings, name: str | None) -> Declaration:
    """Return the declaration called `name`, or the only one there is."""
    declared = load_all(settings.root / "datasets")
    if name is None and len(declared) == 1:
        return next(iter(declared.values()))
    if name is None or name not in declared:
        raise UnknownDataset(f"--dataset: expected one of {', '.join(declared)}, got {name or 'none'}")
    return declared[name]


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="spark_streaming.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", help="a declaration under datasets/ (default: the only one)")
    parser.add_argument(
        "--trigger", default="0 seconds", help="how often Spark looks for new records (default: back to back)"
    )
    parser.add_argument(
        "--max-offsets",
        type=int,
        default=stream.MAX_OFFSETS,
        help="records in one micro-batch, at most (default: %(default)s)",
    )
    parser.add_argument(
        "--partitions",
        type=int,
        default=kafka.PARTITIONS,
        help="of a topic that does not exist yet (default: %(default)s)",
    )
    return parser.parse_args(argv)


def _run(settings: Settings, declared: Declaration, options: argparse.Namespace) -> None:
    stop = Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    os.nice(_NICER)  # before there is a JVM, which inherits it
    heart = Heartbeat(settings.heartbeat(f"speed-{declared.dataset}"))
    heart.beat("starting")
    # the start of a JVM takes longer than asking the stores what there is: both at once
    aside = ThreadPoolExecutor(1, thread_name_prefix="session")
    session = aside.submit(frames.session, settings, "speed")
    try:
        while not stop.is_set():
            try:
                _stream(session.result, settings, declared, options, heart, stop)
            except StoreUnavailable as error:
                # the next start rebuilds the driver from the stores, as after a crash; the JVM is kept
                stream.say(f"{error}; trying again")
                heart.beat("waiting for a store")
                stop.wait(_RETRY_S)
            except (BeingApplied, BulkPending, DeclarationError, Gap) as error:
                heart.beat(f"{REFUSED}{error}")  # the supervisor starts it no more
                raise
    finally:
        if session.exception() is None:
            frames.end(session.result())
        aside.shutdown()


def _stream(
    session: Callable[[], SparkSession],
    settings: Settings,
    declared: Declaration,
    options: argparse.Namespace,
    heart: Heartbeat,
    stop: Event,
) -> None:
    """Stand up a driver at head and run the stream until `stop`, or until something is raised."""
    writer = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    with (
        kafka.KafkaLog(settings.kafka_bootstrap) as log,
        cassandra.connect(settings) as store,
        ExitStack() as closing,  # ends before the stores that it writes to
    ):
        declaration = _in_force(log, store, declared, options.partitions, writer)
        stores = store.stores(declaration)
        tables = _projections(settings, declared, declaration, log, stores.projections, closing)
        behind, aside = Behind(), Aside()
        closing.callback(behind.close)
        closing.callback(aside.close)
        ports = Ports(
            log, stores.ledger, stores.fragments, stores.alerts, stores.dead_letters, BehindProjections(tables, behind),
            SystemClock(), aside,
        )  # fmt: skip
        home = settings.home / "speed" / declaration.dataset
        generations = files.FileGenerations(settings.warehouse_dir, declaration)
        history = SparkHistory(session, settings, declaration, log)
        driver = _started(start.steps(ports, generations, lmdb.LmdbSeenStore(home), history, writer), heart)
        driver.seen = BehindSeenIds(declaration.dataset, driver.seen, behind)

        def passed(stage: str) -> None:
            if stage == "committed":  # others can see it
                ring(settings.doorbell(declaration.dataset))
            heart.passing(stage)

        try:
            stream.say(f"{declaration.dataset}: standing at ledger seq {driver.head.seq}; waiting for records")
            committed = _Committed(log, f"braid-{declaration.dataset}", aside)
            stream.run(
                session(), settings, driver, home, stop=stop, beat=passed, committed=committed, measured=heart.measured,
                trigger=options.trigger, max_offsets=options.max_offsets, look=behind.look,
                rest=lambda worked_s: pace.rest_s(worked_s, 1 + heart.at_work(), os.cpu_count() or 1),
            )  # fmt: skip
        finally:
            driver.seen.close()


def _projections(
    settings: Settings,
    declared: Declaration,
    declaration: Declaration,
    log: kafka.KafkaLog,
    tables: Projections,
    closing: ExitStack,
) -> Projections:
    """Return the readable tables, and with them the topics of views that are published, as the file has them now."""
    published = {v.name: v.publish for v in declared.views if v.publish} if declared.hash == declaration.hash else {}
    if not published:
        return tables
    for topic in published.values():
        log.create(topic, kafka.PARTITIONS)
    sender = closing.enter_context(EventProducer(settings.kafka_bootstrap, linger_ms=0))
    return PublishedProjections(tables, declaration, published, sender)


def _in_force(
    log: kafka.KafkaLog, store: cassandra.Cassandra, declared: Declaration, partitions: int, writer: str
) -> Declaration:
    """Return the declaration that the ledger holds, after creating a dataset that is new."""
    held = store.stores(declared).ledger
    head = _head(held) if store.knows(declared.dataset) else None
    if head is None:
        store.apply_schema(declared)
        start.create(log, held, declared, partitions, writer)
        head = held.head()
    declaration = in_force(held, head)
    if change.pending(head, held.current()):  # before the tables are looked at: they still are the old declaration's
        raise BeingApplied(f"{declared.dataset}: {change.remedy(declared.dataset, head)}")
    store.apply_schema(declaration)
    if declaration.hash != declared.hash:
        stream.say(
            f"{declared.dataset}: the file has changed; the ledger's {declaration.hash[:12]} stays in force: "
            f"see what would change: braid plan {declared.dataset}"
        )
    return declaration


def _head(held: Ledger) -> LedgerRow | None:
    try:
        return held.head()
    except LedgerError:
        return None  # tables without a genesis: a creation that was cut short


def _started(steps: start.Steps, heart: Heartbeat) -> Driver:
    """Run the start to its end, saying what it does when it takes long."""
    caught_up, said = 0, time.monotonic()
    while True:
        try:
            step = next(steps)
        except StopIteration as done:
            driver: Driver = done.value
            return driver
        failpoints.hit(f"speed.{step}")
        caught_up += step == "catchup"
        if time.monotonic() - said > 1:
            said = time.monotonic()
            heart.beat(f"starting: {step}")
            stream.say(
                f"starting: {step}" + (f", {caught_up} micro-batches of seen ids read again" if caught_up else "")
            )


class _Committed:
    """After a commit: one line for people, and the ledger's end as a consumer group's offsets for standard tools."""

    def __init__(self, log: kafka.KafkaLog, group: str, aside: Aside) -> None:
        self._log = log
        self._group = group
        self._aside = aside
        self._published = 0.0

    def __call__(self, head: LedgerRow, seconds: float) -> None:
        stream.report(head, seconds)
        if time.monotonic() - self._published < _GROUP_EVERY_S:
            return
        self._published = time.monotonic()
        self._aside(lambda: self._publish(head))

    def _publish(self, head: LedgerRow) -> None:
        try:
            self._log.publish_group(self._group, head.end)
        except StoreUnavailable as error:
            stream.say(f"group {self._group}: not published: {error}")  # derived: the stream does not depend on it


if __name__ == "__main__":
    sys.exit(main())
