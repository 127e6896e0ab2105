#!/usr/bin/env python3
"""Send land-cover events to Kafka: `python src/producer/kafka_producer.py --limit 500`, from any directory.

Reads the CSV files of data/landcover, joins them by their ids, and sends each row as JSON to the declared topic, keyed
by its event id. `braid produce landcover` is the same program; another dataset of the checkout is named as the first
word. `--help` says what the event times are and why a run can be repeated.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

if __package__ in {None, ""}:  # run as a file: its folder stands first on the path, src/ is wanted there
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from braid import declaration
from braid.adapters import environment
from braid.adapters.kafka import PARTITIONS, EventProducer, KafkaLog
from braid.declaration import Declaration, Topic
from braid.errors import BraidError, StoreUnavailable, UnknownDataset, UsageError
from braid.instants import iso
from braid.settings import Settings
from producer.journal import Entry, Journal
from producer.options import Options, duration_text, parse
from producer.pacing import Pace, SystemWatch
from producer.publish import Outbox, Progress, Run
from producer.report import Report, summary_text, write
from producer.sources import Outgoing, Timeline, events, ids_repeat, made_field
from producer.tables import Refusal, read_folder

DATASET = "landcover"
DRAIN_US = 130_000_000  # a little more than the delivery time-out
INTERRUPTED_DRAIN_US = 10_000_000


def main(argv: list[str] | None = None) -> int:
    """Run the producer.

    Parameters
    ----------
    argv : the words after the command; None for those of this process

    Returns
    -------
    int : exit status, see --help
    """
    options = parse(argv, DATASET)
    report = Report(sys.stderr, options.quiet)
    try:
        return Job(options, environment.load(), report).run()
    except BraidError as error:
        report.end()
        report.say(f"braid produce: {error}")
        return error.exit_code


class Job:
    """One run, from flags to summary."""

    def __init__(self, options: Options, settings: Settings, report: Report) -> None:
        self.options = options
        self.report = report
        self.watch = SystemWatch()
        self.declaration = declared(settings.root / "datasets", options.dataset)
        self.rules = self._rules()
        self.topic = options.topic or self.rules.name
        self.data = read_folder(options.data or settings.root / "data" / options.dataset)
        self.digest = self.data.digest
        self.made = made_field(self.rules, self.data)
        self.bootstrap = options.bootstrap or settings.kafka_bootstrap
        self.journal = Journal(settings.home / "producer", options.dataset, self.topic)
        self.kept = self.journal.held
        self.timeline, self.first = self._begin()

    def _rules(self) -> Topic:
        """Return the declared topic: the one named by --topic, else the first, whose rules then hold for that name."""
        return next((t for t in self.declaration.topics if t.name == self.options.topic), self.declaration.topics[0])

    def _begin(self) -> tuple[Timeline, int]:
        """Return the event times and the first position, from the flags or the journal."""
        if self.options.loop and ids_repeat(self.rules, self.made):
            raise UsageError("--loop: expected ids that change with every pass, got rows whose files hold the whole id")
        found = self.journal.read() if self.options.resume else None
        if found is None:
            return self.options.timeline(self.watch.now_us()), 0
        return resumed(found, self.options, self.digest, self.journal.path)

    def run(self) -> int:
        """Send, say so, and return the exit status."""
        if self.options.resume and not self.journal.held:
            raise UsageError(f"--resume: {self.journal.path} is kept by another run; wait until it ends")
        for line in self.data.ignored:
            self.report.refuse(line)
        with KafkaLog(self.bootstrap) as log:
            log.create(self.topic, PARTITIONS)
        progress = Progress(position=self.first)
        end = self.options.end(len(self.data.rows))
        with interrupts() as interrupt:
            try:
                self._send(progress, end, interrupt)
                failure = None
            except StoreUnavailable as error:
                failure = error
        self.report.end()
        write(sys.stdout, summary_text(self._summary(progress, end, interrupt.status, failure), self.options.as_json))
        if failure is not None:
            raise failure
        return interrupt.status or (0 if progress.sent == progress.acknowledged else 1)

    def _send(self, progress: Progress, end: int | None, interrupt: Interrupt) -> None:
        """Send until the events end or the run is told to; the journal is written whatever happens."""
        sender = EventProducer(self.bootstrap)
        outbox = Outbox(sender, self.topic, progress)
        run = Run(
            outbox,
            pace=Pace(self.options.interval_ns, self.options.duration_us, self.watch),
            watch=self.watch,
            progress=progress,
            stopping=interrupt.heard,
            tick=lambda: self._tick(progress, len(outbox)),
        )
        try:
            run.publish(self._events(progress, end))
            run.drain(INTERRUPTED_DRAIN_US if interrupt.heard() else DRAIN_US)
        finally:
            run.note()
            sender.close(0)
            self.journal.close()

    def _events(self, progress: Progress, end: int | None) -> Iterator[Outgoing]:
        def refused(refusal: Refusal) -> None:
            self._refused(progress, refusal)

        return events(self.rules, self.data, self.timeline, first=self.first, end=end, refused=refused)

    def _refused(self, progress: Progress, refusal: Refusal) -> None:
        progress.refused[refusal.reason] = progress.refused.get(refusal.reason, 0) + 1
        self.report.refuse(refusal)

    def _tick(self, progress: Progress, unacknowledged: int) -> None:
        entry = Entry(self.options.dataset, self.topic, self.digest, *self.timeline, progress.position)
        self.journal.write(entry)
        self.report.progress(progress, unacknowledged)

    def _summary(
        self, progress: Progress, end: int | None, status: int, failure: Exception | None
    ) -> dict[str, object]:
        refused = sum(progress.refused.values())
        nothing = end is not None and self.first >= end
        ended = "failed" if failure else "interrupted" if status else "nothing left" if nothing else "done"
        return {
            "dataset": self.options.dataset,
            "topic": self.topic,
            "bootstrap": self.bootstrap,
            "ended": ended,
            "sent": progress.sent,
            "acknowledged": progress.acknowledged,
            "refused": refused,
            "reasons": progress.refused,
            "ignored": len(self.data.ignored),
            "bytes": progress.bytes,
            "seconds": round(progress.seconds, 3),
            "rate_per_s": round(progress.rate, 1),
            "position": progress.position,
            "rows": len(self.data.rows),
            "first_time": None if progress.first_us is None else iso(progress.first_us),
            "last_time": None if progress.last_us is None else iso(progress.last_us),
            "start": iso(self.timeline.start_us),
            "every": duration_text(self.timeline.every_us),
            "every_us": self.timeline.every_us,
            "journal": str(self.journal.path) if self.kept else None,
        }


def declared(folder: Path, dataset: str) -> Declaration:
    """Return the declaration of a dataset.

    Raises
    ------
    UnknownDataset
        There is none of that name; the text lists those there are.
    """
    path = folder / f"{dataset}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise UnknownDataset(f"{folder}: expected one of the datasets {names}, got {dataset!r}")
    return declaration.load(path)


def resumed(found: Entry, options: Options, digest: str, path: Path) -> tuple[Timeline, int]:
    """Return event times and position of a journal; what the flags say besides must agree with it.

    Raises
    ------
    UsageError
        --start, --every or the data differ from those of the journal: the ids would be others.
    """
    timeline = Timeline(found.start_us, found.every_us)
    if found.data != digest:
        raise UsageError(f"--resume: {path} was written for other data; name that with --data, or leave --resume out")
    if options.start is not None and not options.start.startswith("now"):
        asked = options.timeline(sys.maxsize).start_us
        if asked != timeline.start_us:
            raise UsageError(
                f"--resume: expected --start {iso(timeline.start_us)} as in {path}, got {options.start}; leave it out"
            )
    if options.every_us is not None and options.every_us != timeline.every_us:
        raise UsageError(
            f"--resume: expected --every {duration_text(timeline.every_us)} as in {path}, "
            f"got {duration_text(options.every_us)}; leave it out"
        )
    return timeline, found.position


class Interrupt:
    """Whether the run was told to end, and the exit status that says by what."""

    def __init__(self) -> None:
        self.status = 0

    def heard(self) -> bool:
        """Whether the run was told to end."""
        return bool(self.status)

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Hear a signal; the second one ends the process at once."""
        if self.status:
            raise SystemExit(self.status)
        self.status = 128 + number


@contextmanager
def interrupts() -> Iterator[Interrupt]:
    """Hear Ctrl-C and SIGTERM instead of dying from them; in a thread of somebody else nothing is changed."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
