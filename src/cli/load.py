"""`braid load`: gigabytes of history from files into a dataset, taken in as one ledger row."""

import hashlib
import json
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from braid.errors import BraidError, LedgerError, StoreUnavailable, UsageError
from cli.output import Json, progress, show, show_json, show_table
from cli.streams import Stream

if TYPE_CHECKING:
    from batch_layer.spark_batch import Sessions
    from braid.adapters.cassandra import Cassandra
    from braid.declaration import Declaration
    from braid.ledger import Current, LedgerRow
    from braid.settings import Settings
    from producer.files import Source
    from producer.load import Outcome
    from producer.notes import Journal, Rejects
    from producer.sources import Timeline

_TICK_S = 5.0
_REASONS = 20  # shown of the summary by reason; the file of rejects has all
_PASSED = 5
_WRITERS = "spark.sql.sources.useV1SourceList"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a load was asked for."""

    dataset: str
    sources: "Sequence[Source]"
    timeline: "Timeline"
    journal: "Journal"
    rejects: "Rejects"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(load)


def load(
    dataset: Annotated[str, typer.Argument(help="The dataset that the rows belong to.")],
    paths: Annotated[
        list[str], typer.Argument(help="Files, folders or patterns: .csv, .jsonl (each also .gz), .parquet.")
    ],
    topic: Annotated[
        str, typer.Option("--topic", help="The declared topic of all rows, when files do not say it.")
    ] = "",
    rejects: Annotated[
        Path | None, typer.Option("--rejects", help="Where rejected rows go (a file under BRAID_HOME/load/DATASET).")
    ] = None,
    start: Annotated[str, typer.Option("--start", help="Event time of the first row, where files hold none.")] = "",
    every: Annotated[str, typer.Option("--every", help="Event time between two rows, where files hold none.")] = "10s",
    accept_copies: Annotated[
        bool, typer.Option("--accept-copies", help="For `dedupe: none`: rows that are sent twice may count twice.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and judge, send nothing; no stack has to run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take history in bulk: files to the topic by Spark, then one ledger row and a generation. Safe to interrupt and run again.

    The stream stands still meanwhile. Exits 0, also when rows were rejected; 1 when it did not come to its end; 2 when a file is
    not what it should be.
    """
    from producer.load import Outcome

    began, outcome = time.monotonic(), Outcome()
    with _signals():
        if dry_run:
            asked = _dry(dataset, paths, topic, rejects, _timeline(start, every), outcome)
            current = head = None
        else:
            asked, current, head = _load(
                dataset, paths, topic, rejects, _timeline(start, every), accept_copies, outcome
            )
    _tell(asked, outcome, current, head, time.monotonic() - began, as_json)


def _timeline(start: str, every: str) -> "Timeline":
    from braid.adapters.clock import SystemClock
    from producer.options import DEFAULT_START_US, duration_us, start_us
    from producer.sources import Timeline

    try:
        every_us = duration_us(every)
    except ValueError as error:
        raise UsageError(f"--every: expected a time such as 10s or 1m, got {every!r}") from error
    if start.startswith("now"):  # other ids whenever it is run again
        raise UsageError(f"--start: expected a time such as 2026-01-01T00:00:00Z, got {start!r}")
    return Timeline(start_us(start, SystemClock().now_us()) if start else DEFAULT_START_US, max(every_us, 1))


# ---- nothing sent --------------------------------------------------------------------------------------------------


def _dry(
    dataset: str, paths: Sequence[str], topic: str, rejects: Path | None, timeline: "Timeline", outcome: "Outcome"
) -> Asked:
    from batch_layer.spark_batch import Sessions
    from braid.adapters.environment import load as settings_of
    from producer.plan import declared

    settings = settings_of()
    declaration = declared(settings.root / "datasets", dataset)
    path = rejects or settings.home / "load" / dataset / f"rejects-dry-{uuid.uuid4().hex[:12]}.jsonl"
    asked = _asked(declaration, paths, topic, path, timeline, None, ())
    session = Sessions(settings, "load")
    try:
        for _ in _sending(
            session, settings, asked, dict.fromkeys((t.name for t in declaration.topics), 1), outcome, send=False
        ):
            pass
    finally:
        asked.rejects.close()
        session.close()
    return asked


# ---- the load ------------------------------------------------------------------------------------------------------


def _load(
    dataset: str,
    paths: Sequence[str],
    topic: str,
    rejects: Path | None,
    timeline: "Timeline",
    accept_copies: bool,
    outcome: "Outcome",
) -> "tuple[Asked, Current, LedgerRow]":
    from batch_layer import bulk as protocol
    from batch_layer.archive import check_held
    from braid.adapters import failpoints, kafka, lock
    from braid.adapters.master import Master
    from cli.held import created

    with ExitStack() as closing:
        settings, declared, store = closing.enter_context(created(dataset))
        failpoints.arm(settings)
        folder = settings.home / "load" / dataset
        closing.enter_context(lock.exclusive(folder / "lock", f"load {dataset}"))
        log = closing.enter_context(kafka.KafkaLog(settings.kafka_bootstrap))
        ledger = store.stores(declared).ledger
        # whatever can be wrong is found out before anything stops
        declaration = protocol.check(log, ledger)
        if declaration.dedupe == "none" and not accept_copies:
            raise UsageError(
                f"{dataset}: `dedupe: none` counts every copy, and a load that is interrupted cannot know which rows of the files "
                "under way have arrived: run again, it would send them twice. Send it all the same with --accept-copies (files "
                "that were sent whole are not sent again), or with braid produce"
            )
        cuts = Master(settings.warehouse_dir, dataset).cuts()
        if rows := ledger.rows(cuts[-1].seq if cuts else 0, ledger.head().seq):
            check_held(rows, log, declaration)
        topics = [one.name for one in declaration.topics]
        identity = (declaration.hash, sorted(log.topic_ids(topics).items()))
        asked = _asked(declaration, paths, topic, rejects, timeline, folder, identity)
        closing.callback(asked.rejects.close)
        _run(settings, store, declared, declaration, log, asked, outcome, closing)
        asked.journal.end()
        return asked, ledger.current(), ledger.head()


def _asked(
    declaration: "Declaration",
    paths: Sequence[str],
    topic: str,
    rejects: Path | None,
    timeline: "Timeline",
    folder: Path | None,
    identity: tuple[Any, ...],
) -> Asked:
    """Return what to load, by the files as they are now."""
    from producer.files import found
    from producer.notes import Journal, Rejects

    sources, passed = found(paths, declaration.topics, topic)
    for line in passed[:_PASSED]:
        progress(f"passed over: {line}")
    if len(passed) > _PASSED:
        progress(f"passed over: {len(passed) - _PASSED:,} more")
    for source in sources:
        unused = sorted({c for part in source.parts for c in part.columns} - set(source.topic.fields))
        if source.kind != "json" and unused and not source.others:
            progress(
                f"{source.parts[0].path.name}: columns that no field takes, so they are not sent: {', '.join(unused)}"
            )
    made = any(source.made for source in sources)
    words = [identity, [source.marks() for source in sources], list(timeline) if made else []]
    journal = Journal(folder, hashlib.sha256(json.dumps(words).encode()).hexdigest(), rejects)
    entry = journal.entry
    where = Rejects(Path(entry.rejects), entry.size, fresh=not journal.resumed)
    return Asked(declaration.dataset, sources, timeline, journal, where)


def _run(
    settings: "Settings",
    store: "Cassandra",
    declared: "Declaration",
    declaration: "Declaration",
    log: Any,
    asked: Asked,
    outcome: "Outcome",
    closing: ExitStack,
) -> None:
    """Take every step; whatever ends it early, the stream runs again where it may."""
    from batch_layer import bulk as protocol
    from batch_layer import run as batch
    from batch_layer.publish import Stores
    from batch_layer.spark_batch import Sessions, alone, once
    from braid.adapters import failpoints, files, hive
    from braid.adapters import spark as frames
    from braid.adapters.clock import SystemClock
    from braid.adapters.master import Master

    outcome.recall(asked.sources, asked.journal)  # also where its row is there, and nothing is sent
    dataset, session = asked.dataset, Sessions(settings, "load")
    closing.callback(session.close)
    stream = Stream(settings, dataset, closing.enter_context(ExitStack()), f"braid load {dataset}")
    held = store.stores(declaration)
    connection = closing.enter_context(hive.connect(settings))
    stores = Stores(
        files.FileGenerations(settings.warehouse_dir, declaration), hive.HiveCatalogue(connection, declaration), held.ledger,
        SystemClock(),
    )  # fmt: skip
    ports = batch.Ports(
        log, stores, held.fragments, Master(settings.warehouse_dir, dataset), session.get,
        lambda wanted: frames.static(session.get(), settings, wanted),
    )  # fmt: skip

    def send() -> Iterator[str]:
        asked.journal.begin()
        topics = [one.name for one in declaration.topics]
        partitions = {name: sum(1 for place in log.partitions([name])) for name in topics}
        with _ticking(settings, topics, dataset):
            yield from _sending(session, settings, asked, partitions, outcome, send=True)

    def build() -> Iterator[str]:
        session.close()  # the batch run has one of its own
        summary = once(settings, declared)
        yield (
            f"generation {summary['gen']} published"
            if summary["published"]
            else f"generation {summary['gen']} is served"
        )

    taking = protocol.SparkTaking(ports, declaration)
    world = protocol.Ports(
        log, held.ledger, held.dead_letters, stream, SystemClock(), taking, send,
        lambda: alone(settings.home / "batch" / dataset / "lock", dataset), build,
    )  # fmt: skip
    writer = f"{socket.gethostname()}:{os.getpid()}"
    if asked.journal.resumed:
        progress(f"{dataset}: going on with {asked.journal.entry.load}, which was interrupted")
    try:
        for step in protocol.steps(world, asked.journal.entry.load, writer):
            progress(f"{dataset}: {step}")
            if step in _NAMED:
                failpoints.hit(f"load.{step}")
    except frames.FAILURES as error:
        _given_back(held.ledger, stream, session, dataset)
        raise StoreUnavailable(
            f"{dataset}: Spark: {frames.complaint(error)}; run the load again: it goes on"
        ) from error
    except BaseException:
        _given_back(held.ledger, stream, session, dataset)
        raise


_NAMED = frozenset({"stopped", "counted", "committed", "archived", "built"})


def _given_back(ledger: Any, stream: Stream, session: "Sessions", dataset: str) -> None:
    """Start the stream again after a load that did not come to its end, unless history waits for its generation."""
    from braid import bulk

    with suppress(BraidError):
        session.close()
    if not stream.stopped:
        return
    try:
        head, current = ledger.head(), ledger.current()
        if bulk.pending(head, current):
            progress(f"{dataset}: the stream stays stopped: {bulk.remedy(dataset, head)}")
            return
        stream.start()
        progress(f"{dataset}: the stream runs again, and counts what was sent; run the load again for the rest")
    except (BraidError, LedgerError) as error:
        progress(f"{dataset}: the stream could not be started again: {error}; braid up {dataset}")


def _sending(
    session: "Sessions",
    settings: "Settings",
    asked: Asked,
    partitions: dict[str, int],
    outcome: "Outcome",
    *,
    send: bool,
) -> Iterator[str]:
    """Send what is left, or judge it, yielding what was done."""
    from braid.adapters import spark as frames
    from braid.adapters.clock import SystemClock
    from producer.load import Loading

    spark = session.get()
    before = spark.conf.get(_WRITERS)
    # what a job counts as it goes is seen only by the newer kind of writer, and Kafka's is of both
    spark.conf.set(_WRITERS, ",".join(one for one in str(before).split(",") if one != "kafka"))
    loading = Loading(
        spark, asked.sources, partitions, asked.timeline, SystemClock().now_us(), asked.journal, asked.rejects, outcome,
        (lambda frame, topic: frames.send(frame, settings, topic)) if send else None,
    )  # fmt: skip
    for done in loading.run():
        if not send:
            progress(f"{asked.dataset}: {done}")
        yield done
    spark.conf.set(_WRITERS, str(before))


@contextmanager
def _ticking(settings: "Settings", topics: list[str], dataset: str) -> Iterator[None]:
    """Say every few seconds how many records the topics have more than before."""
    from braid.adapters import kafka

    ended = Event()

    def tick() -> None:
        with suppress(BraidError), kafka.KafkaLog(settings.kafka_bootstrap) as log:
            before, began, last = sum(log.latest(topics).values()), time.monotonic(), 0
            while not ended.wait(_TICK_S):
                sent = sum(log.latest(topics).values()) - before
                if sent != last:
                    progress(f"{dataset}: sent {sent:,} · {sent / (time.monotonic() - began):,.0f}/s")
                last = sent

    thread = Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2 * _TICK_S)


@contextmanager
def _signals() -> Iterator[None]:
    """Let SIGTERM end a load as Ctrl-C does: the stream is started again."""

    def hear(number: int, _: FrameType | None) -> NoReturn:
        raise typer.Exit(128 + number)

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGTERM, hear)
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


# ---- what is said --------------------------------------------------------------------------------------------------


def _tell(
    asked: Asked, outcome: "Outcome", current: "Current | None", head: "LedgerRow | None", seconds: float, as_json: bool
) -> None:
    from braid import bulk
    from producer.load import words

    told = words(outcome) | {
        "dataset": asked.dataset, "dry_run": head is None, "seconds": round(seconds, 1),
        "rejects": str(asked.rejects.path) if asked.rejects.size else None,
        "resumed": asked.journal.resumed, "seq": bulk.newest(head) if head else None,
        "generation": current.gen if current else None,
    }  # fmt: skip
    if as_json:
        show_json(told)
        return
    did = "would be sent" if head is None else "sent"
    show(
        f"{asked.dataset}: {told['rows']:,} rows read, {told['good']:,} {did}, {told['rejected']:,} rejected, in {seconds:.1f} s"
        + (f"; {outcome.ignored:,} lines of joined files belong to no row" if outcome.ignored else "")
    )
    if outcome.reasons:
        rows = [[reason, f"{count:,}"] for reason, count in outcome.reasons.most_common(_REASONS)]
        show_table(f"rejected; each row with file, line and reason in {asked.rejects.path}", ["reason", "rows"], rows)
    if head is not None and current is not None:
        show(f"ledger seq {bulk.newest(head)} holds them; generation {current.gen} covers it, and the stream runs")
    sys.stdout.flush()
