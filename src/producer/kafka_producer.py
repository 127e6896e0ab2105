#!/usr/bin/env python3
"""Send land-cover events to Kafka: `python src/producer/kafka_producer.py --limit 500`, from any directory.

Reads the CSV files of data/landcover, joins them by their ids, and sends each row as JSON to the declared topic, keyed
by its event id. `braid produce landcover` is the same program; another dataset of the checkout is named as the first
word. `--help` says what the event times are and why a run can be repeated.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

if __package__ in {None, ""}:  # run as a file: its folder stands first on the path, src/ is wanted there
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from braid.adapters import environment, failpoints
from braid.adapters.kafka import PARTITIONS, EventProducer, KafkaLog
from braid.errors import BraidError, StoreUnavailable
from braid.instants import iso
from producer.interrupt import Interrupt, interrupts
from producer.journal import Journal
from producer.options import Options, duration_text, parse
from producer.pacing import Pace, SystemWatch
from producer.plan import Plan, names_of, plan
from producer.publish import Outbox, Progress, Run
from producer.report import Report, summary_text, write
from producer.sources import Outgoing
from producer.tables import Refusal

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
    report, status = Report(sys.stderr, options.quiet), 0
    try:
        settings = environment.load()
        bootstrap = options.bootstrap or settings.kafka_bootstrap
        failpoints.check(settings.failpoints, bootstrap.split(","))
        failpoints.arm(settings)
        for topic in names_of(options, settings):
            asked = replace(options, topic=topic)
            with Journal(settings.home / "producer", options.dataset, topic) as journal:
                settled = plan(asked, settings, journal, SystemWatch().now_us())
                status = Job(asked, settled, bootstrap, journal, report).run()
            if status:
                break
    except BraidError as error:
        report.end()
        report.say(f"braid produce: {error}")
        return error.exit_code
    return status


class Job:
    """One run, from a settled plan to the summary."""

    def __init__(self, options: Options, settled: Plan, bootstrap: str, journal: Journal, report: Report) -> None:
        self.options = options
        self.plan = settled
        self.bootstrap = bootstrap
        self.journal = journal
        self.report = report
        self.progress = Progress(position=settled.first)

    def run(self) -> int:
        """Send, say so, and return the exit status.

        Raises
        ------
        StoreUnavailable
            Kafka is not reachable, or an event was not acknowledged; after the summary, where something was sent.
        """
        for line in self.plan.data.ignored:
            self.report.refuse(line)
        with KafkaLog(self.bootstrap) as log:
            log.create(self.plan.topic, PARTITIONS)
        failure = None
        with interrupts() as interrupt:
            try:
                self._send(interrupt)
            except StoreUnavailable as error:
                failure = error
        self.report.end()
        ended = "failed" if failure else "interrupted" if interrupt.heard() else "done"
        write(sys.stdout, summary_text(self._summary(ended), self.options.as_json))
        if failure is not None:
            raise failure
        return interrupt.status or (0 if self.progress.sent == self.progress.acknowledged else 1)

    def _send(self, interrupt: Interrupt) -> None:
        """Send until the events end or the run is told to; the journal is written whatever happens."""
        watch = SystemWatch()
        sender = EventProducer(self.bootstrap)
        # before the first event: --resume after a death at any moment goes on with this run, not with the one before
        self.journal.write(self.plan.entry(self.progress.position))
        outbox = Outbox(sender, self.plan.topic, self.progress)
        run = Run(
            outbox,
            pace=Pace(self.options.interval_ns, self.options.duration_us, watch),
            watch=watch,
            progress=self.progress,
            stopping=interrupt.heard,
            tick=lambda: self._tick(len(outbox)),
        )
        try:
            run.publish(self._halved(self.plan.events(self._refused)))
            run.drain(INTERRUPTED_DRAIN_US if interrupt.heard() else DRAIN_US)
        finally:
            sender.close(0)
            run.note()

    def _halved(self, events: Iterator[Outgoing]) -> Iterator[Outgoing]:
        """Pass events on, with a failpoint where half of the rows are handed over."""
        rows, half = len(self.plan.data.rows), (self.plan.end or len(self.plan.data.rows)) // 2
        for event in events:
            if event.position % rows == half:
                failpoints.hit("producer.mid_file")
            yield event

    def _refused(self, refusal: Refusal) -> None:
        reasons = self.progress.refused
        reasons[refusal.reason] = reasons.get(refusal.reason, 0) + 1
        self.report.refuse(refusal)

    def _tick(self, unacknowledged: int) -> None:
        self.journal.write(self.plan.entry(self.progress.position))
        self.report.progress(self.progress, unacknowledged)

    def _summary(self, ended: str) -> dict[str, object]:
        settled, progress = self.plan, self.progress
        return {
            "dataset": settled.dataset,
            "topic": settled.topic,
            "bootstrap": self.bootstrap,
            "ended": "nothing left" if ended == "done" and settled.nothing_left else ended,
            "sent": progress.sent,
            "acknowledged": progress.acknowledged,
            "refused": sum(progress.refused.values()),
            "reasons": progress.refused,
            "ignored": len(settled.data.ignored),
            "bytes": progress.bytes,
            "seconds": round(progress.seconds, 3),
            "rate_per_s": round(progress.rate, 1),
            "position": progress.position,
            "rows": len(settled.data.rows),
            "first_time": None if progress.first_us is None else iso(progress.first_us),
            "last_time": None if progress.last_us is None else iso(progress.last_us),
            "start": iso(settled.timeline.start_us),
            "every": duration_text(settled.timeline.every_us),
            "every_us": settled.timeline.every_us,
            "journal": str(self.journal.path) if self.journal.held else None,
        }


if __name__ == "__main__":
    sys.exit(main())
