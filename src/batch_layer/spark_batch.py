"""The batch layer as a plain spark-submit file: `spark-submit src/batch_layer/spark_batch.py [--dataset NAME]`.

Kafka → master → views → audit → Hive and `current`: one run, from the ledger's head to a served generation. With
`--every` it stays and runs on a schedule instead, holding no JVM between the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from batch_layer import publication, schedule
from batch_layer.publish import Stores
from batch_layer.run import Ports, Report, run
from braid.adapters import cassandra, environment, failpoints, files, hive, kafka, lock
from braid.adapters import spark as frames
from braid.adapters.clock import SystemClock
from braid.adapters.master import Master
from braid.adapters.publication import Run as PublishedRun
from braid.declaration import Declaration
from braid.declaration_file import duration_us
from braid.declaration_reader import load_all
from braid.definitions import in_force
from braid.errors import AlreadyRunning, BraidError, StoreUnavailable, UnknownDataset
from braid.ledger import Range
from braid.settings import Settings

_DECLARED = "declared"
# Java's first compiler alone takes a quarter off a run over so few records, and makes one over many slower
_FEW = 100_000
_PATIENCE_S = 600.0  # for the turn of this machine's batches
_SHUFFLES = "8"  # history is large; Spark joins small ones by itself


def main(argv: Sequence[str] | None = None) -> int:
    """Run one batch of a dataset, or a schedule of them, and return the exit status."""
    options = _options(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        settings = environment.load()
        failpoints.arm(settings)
        declared = _chosen(settings, options.dataset)
        if options.every:
            _become_schedule(settings, declared, options.every)
        summary = once(settings, declared, force=options.force, full=options.full)
    except BraidError as error:
        print(f"braid batch: {error}", file=sys.stderr)  # noqa: T201 - the one line a person reads
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    print(json.dumps(summary) if options.json else _text(summary))  # noqa: T201 - the result goes to stdout
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="spark_batch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", help="a declaration under datasets/ (default: the only one)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="run one batch and end (default)")
    how.add_argument(
        "--every", nargs="?", const=_DECLARED, metavar="DURATION",
        help="stay, and run one batch every so often, such as '10 minutes' (default: as the dataset declares)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="publish a generation even when there is nothing new")
    parser.add_argument(
        "--full", action="store_true",
        help="read all archived records again, and publish what comes out, in place of adding what is new to the served generation",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the summary as one line of JSON")
    return parser.parse_args(argv)


def _chosen(settings: Settings, name: str | None) -> Declaration:
    declared = load_all(settings.root / "datasets")
    if name is None and len(declared) == 1:
        return next(iter(declared.values()))
    if name is None or name not in declared:
        raise UnknownDataset(f"--dataset: expected one of {', '.join(declared)}, got {name or 'none'}")
    return declared[name]


def _become_schedule(settings: Settings, declared: Declaration, every: str) -> None:
    """Go on as the schedule, in a process that has loaded no Spark: it is idle nearly always."""
    if every == _DECLARED:
        every_us = declared.batch_every_us
        if every_us is None:
            raise UnknownDataset(
                f"--every: expected a duration, or 'batch: {{every: …}}' in datasets/{declared.dataset}.yaml, got neither"
            )
    else:
        try:
            every_us = duration_us(every)
        except ValueError as error:
            raise UnknownDataset(f"--every: {error}, got '{every}'") from error
    sys.stdout.flush()
    arguments = [declared.dataset, str(every_us), str(Path(__file__).resolve())]
    os.execve(  # noqa: S606 - our own file, by our own interpreter
        settings.python, [str(settings.python), schedule.__file__, *arguments], {**os.environ, **settings.spark_env()}
    )


def once(settings: Settings, declared: Declaration, *, force: bool = False, full: bool = False) -> dict[str, Any]:
    """Run one batch; return its summary, which also stays in the dataset's batch folder."""
    home = settings.home / "batch" / declared.dataset
    started, sessions = time.monotonic(), Sessions(settings)
    record: dict[str, Any] = {"started_us": SystemClock().now_us()}
    told = _Told(declared.dataset, started)
    with alone(home / "lock", declared.dataset), turn(settings.home / "batch" / "turn", declared.dataset):
        try:
            record |= _run(settings, declared, sessions, told, force=force, full=full)
        except frames.FAILURES as error:
            record["error"] = f"{declared.dataset}: Spark: {frames.complaint(error)}"
            raise StoreUnavailable(f"{record['error']}; the served generation stays: run the batch again") from error
        except BaseException as error:
            record["error"] = str(error) or type(error).__name__
            raise
        finally:
            sessions.close()
            record |= {"finished_us": SystemClock().now_us(), "steps": told.seconds}
            schedule.write(home / schedule.LAST, record)
    return record


def _run(
    settings: Settings, declared: Declaration, sessions: Sessions, told: _Told, *, force: bool, full: bool
) -> dict[str, Any]:
    with (
        kafka.KafkaLog(settings.kafka_bootstrap) as log,
        cassandra.connect(settings) as store,
        hive.connect(settings) as connection,
    ):
        ledger = store.stores(declared).ledger
        head = ledger.head()
        sessions.brief = sum(head.end.values()) < _FEW
        declaration = in_force(ledger, head)
        held = store.stores(declaration)
        made = files.FileGenerations(settings.warehouse_dir, declaration)
        stores = Stores(made, hive.HiveCatalogue(connection, declaration), held.ledger, SystemClock())
        master = Master(settings.warehouse_dir, declaration.dataset)
        ports = Ports(
            log, stores, held.fragments, master, sessions.get,
            lambda wanted: frames.static(sessions.get(), settings, wanted),
            lambda report, in_force: _messages(settings, log, report, in_force, declared),
        )  # fmt: skip
        report = run(ports, force=force, full=full, said=told)
    return {name: value for name, value in asdict(report).items() if name != "note"}


def _messages(settings: Settings, log: kafka.KafkaLog, report: Report, *texts: Declaration) -> Iterator[str]:
    """Archive what came to the published topics since the newest run."""

    def said(topic: str, run: PublishedRun) -> None:
        report.messages[topic] = run.records
        gone = f", offsets {dict(run.missing)} gone before they were archived" if run.missing else ""
        report.note = f"{run.records:,} messages of {topic}{gone}"

    def read(wanted: Range) -> Iterator[kafka.Seen]:
        return (one for _, some in kafka.between(settings.kafka_bootstrap, wanted.start, wanted.end) for one in some)

    return publication.steps(settings.warehouse_dir, texts[0].dataset, publication.topics(*texts), log, read, said)


class Sessions:
    """Spark, started when it is first asked for."""

    def __init__(self, settings: Settings, app: str = "batch") -> None:
        self.brief = False  # to be told before the first `get`
        self._settings = settings
        self._app = app
        self._spark: SparkSession | None = None

    def get(self) -> SparkSession:
        if self._spark is None:
            self._spark = frames.session(self._settings, self._app, brief=self.brief)
            self._spark.conf.set("spark.sql.shuffle.partitions", _SHUFFLES)
        return self._spark

    def close(self) -> None:
        if self._spark is not None:
            frames.end(self._spark)  # one that a signal has torn is as good as stopped
            self._spark = None


class _Told:
    """Progress: a line on stderr for every step that is done, and how many seconds each took."""

    def __init__(self, dataset: str, started: float) -> None:
        self._dataset = dataset
        self._started = self._before = started
        self.seconds: dict[str, float] = {}

    def __call__(self, step: str, report: Report) -> None:
        now = time.monotonic()
        self.seconds[step] = round(self.seconds.get(step, 0.0) + now - self._before, 3)
        self._before = now
        _say(f"{self._dataset}: {now - self._started:6.1f} s  {step}: {report.note}")
        failpoints.hit(f"batch.{step}")


@contextmanager
def alone(path: Path, dataset: str) -> Iterator[None]:
    """Hold the dataset's lock, after another run that is at work has ended."""
    with _held(lambda: lock.exclusive(path, f"batch {dataset}"), "waiting for it to end", inf):
        yield


@contextmanager
def turn(path: Path, dataset: str, patience_s: float = _PATIENCE_S) -> Iterator[None]:
    """Hold the turn of this machine's batches: side by side, each would take longer, and as much memory as one.

    A batch that hangs keeps those of the other datasets waiting so many seconds, and no longer.
    """
    said = f"batch {dataset} waits for its turn"
    with _held(lambda: lock.exclusive(path, "a batch of another dataset"), said, patience_s):
        yield


@contextmanager
def _held(locked: Callable[[], AbstractContextManager[None]], said: str, patience_s: float) -> Iterator[None]:
    """Hold a lock once its holder gives it back; go on without it when patience ends."""
    since = time.monotonic()
    with ExitStack() as held:
        waiting = False
        while True:
            try:
                held.enter_context(locked())
                break
            except AlreadyRunning as error:
                if time.monotonic() - since > patience_s:
                    _say(f"{error}; not waiting any longer")
                    break
                if not waiting:
                    _say(f"{error}; {said}")
                waiting = True
                time.sleep(0.2)
        yield


def _text(summary: dict[str, Any]) -> str:
    """Return what a run did, for people."""
    messages = [f"  archive  {n:>12,} messages of {topic}" for topic, n in summary["messages"].items()]
    served = f"generation {summary['gen']}, every event up to ledger seq {summary['cut_seq']}"
    if not summary["published"]:
        mended = f"; Hive brought up to it: {', '.join(summary['repaired'])}" if summary["repaired"] else ""
        return "\n".join([f"{summary['dataset']}: nothing new since {served}{mended}", *messages])
    seconds = (summary["finished_us"] - summary["started_us"]) / 1e6
    lines = [f"{summary['dataset']}: {served}, published in {seconds:.1f} s"]
    lines.append(f"  master   {summary['records']:>12,} records, {summary['archived']:,} of them archived now")
    lines.append(f"  {summary['mode']:<11}{summary['read']:>10,} records read: {summary['why']}")
    lines += [f"  view     {rows:>12,} rows of {name}" for name, rows in summary["rows"].items()]
    audited = summary["audited"]
    lines.append(f"  audit    {audited['checked']:>12,} micro-batches equal in batch and speed, to the last bit")
    lines += [f"  unaudited seq {u['seq']} to {u['through']}: {u['reason']}" for u in audited["unaudited"]]
    return "\n".join([*lines, *messages])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress of a job


if __name__ == "__main__":
    sys.exit(main())
